"""The work of a study: recording what the legs say, and trading it in many ways. Plain data in, plain arrays out.

A job knows everything it needs, so any process on any machine gives the same result; its key is the sha256 of that.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import traceback
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.registry import Panel, account
from hybrid_bt.config.build import Policies, taking_part
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.brain.records import Opinions
from hybrid_bt.config.task import Task

_PLAIN = ("regime", "volatility", "correlation", "warm")  #: fields of `Opinions` that are arrays
FORMAT = 2  #: of results on disk; another one is computed anew
ENSEMBLE = -1  #: instead of the number of a member

Arrays = dict[str, NDArray[Any]]


class Lessons(NamedTuple):
    """How policies of a window are trained."""

    train_start: date
    train_end: date
    sac_steps: int
    ppo_steps: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class VoiceJob:
    """Ask the legs and the gate about every bar of a panel."""

    name: str
    task: Task
    member: int = ENSEMBLE
    lessons: Lessons | None = None  #: train policies first, instead of those given

    @cached_property
    def key(self) -> str:
        """Of everything that the answer depends on."""
        market, config, policies = self.task.market, self.task.config, self.task.policies.loaded()
        taught = None if self.lessons is None else [self.task.mode, *map(str, self.lessons)]
        files = {name: policy.sha256 for name, policy in policies.items()} if taught is None else {}
        decided_by = config.without_news(), market.pairs, self.task.fitted
        return _key("voice", market.bars.sha256, *decided_by, files, taught, self.member)

    def run(self) -> Arrays:
        """`arrays_of` what is said of all bars."""
        task = self.task
        policies = task.policies if self.lessons is None else _learn(task, self.lessons)
        if self.member != ENSEMBLE:
            policies = Policies(*(p.member(min(self.member, p.manifest.members - 1)) if p else None for p in policies))
        brain = task._replace(policies=policies).brain()
        return arrays_of(opinions(brain, read_panel(task.market.bars.close, brain.reader)))


@dataclass(frozen=True, eq=False)
class TradeJob:
    """Trade what was said of one window, in some accounts (`hybrid_bt.account.registry`)."""

    name: str
    panel: Panel
    accounts: tuple[str, ...]

    @cached_property
    def key(self) -> str:
        """Of everything that the accounts depend on."""
        panel = self.panel
        said = hashlib.sha256()
        for array in (*arrays_of(panel.opinions).values(), panel.momentum):
            said.update(np.ascontiguousarray(array).tobytes())
        return _key("trade", panel.bars.sha256, said.hexdigest(), panel.terms, panel.seed, self.accounts)

    def run(self) -> Arrays:
        """Equity, (T,), and traded notional, costs, rejected orders, (3,), of each account."""
        found: Arrays = {}
        for name in self.accounts:
            path = account(self.panel, name)
            columns = path.fills.columns if hasattr(path.fills, "columns") else ()
            notional = float(np.abs(columns[3] * columns[4]).sum()) if columns else 0.0
            paid = float(columns[5].sum()) if columns else 0.0
            found[f"equity:{name}"] = path.equity
            found[f"totals:{name}"] = np.array([notional, paid + float(path.borrow.sum()), float(path.rejected)])
        return found


class Result(NamedTuple):
    """What came of a job: arrays, or why there are none."""

    key: str
    arrays: Arrays
    failure: str = ""


def run_job(job: VoiceJob | TradeJob) -> Result:
    """Run a job anywhere. Whatever goes wrong in it is told, so that one cell cannot take the others with it."""
    try:
        return Result(job.key, job.run())
    except Exception as error:  # the boundary of a cell: reported in every table and in the exit status
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Result(job.key, {}, f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")


def arrays_of(said: Opinions) -> Arrays:
    """What was said as arrays that a file can hold."""
    ties = json.dumps(list(said.ties.items())).encode()
    plain = {name: getattr(said, name) for name in _PLAIN}
    return plain | {f"leg:{name}": leg for name, leg in said.legs.items()} | {"ties": np.frombuffer(ties, np.uint8)}


def opinions_of(arrays: Arrays, rows: slice) -> Opinions:
    """Some rows of `arrays_of`, back again."""
    found = json.loads(arrays["ties"].tobytes())
    ties = {row: [[tuple(bundle) for bundle in leg] for leg in legs] for row, legs in found}
    legs = {name.removeprefix("leg:"): array for name, array in arrays.items() if name.startswith("leg:")}
    return Opinions(legs=legs, ties=ties, **{name: arrays[name] for name in _PLAIN}).rows(rows)


def _learn(task: Task, lessons: Lessons) -> Policies:
    from hybrid_bt.train.pipeline import Lesson, learn

    market = task.market.until(lessons.train_end)
    span, steps = (lessons.train_start, lessons.train_end), (lessons.sac_steps, lessons.ppo_steps)
    lesson = Lesson(market, task.config, task.mode, *span, lessons.seeds, *steps)
    with tempfile.TemporaryDirectory() as folder:
        found = {kind: learn(kind, lesson, Path(folder) / f"{kind}.onnx") for kind in Policies._fields}
    return taking_part(Policies(**found), task.config)


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps((FORMAT, *parts), sort_keys=True, default=str).encode()).hexdigest()
