"""The work of a study: the spans on which it trades, recording what the legs say, and trading it in many ways. Plain
data in, plain arrays out.

A job knows everything it needs, so any process on any machine gives the same result; its key is the sha256 of that.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.registry import Panel, account
from hybrid_bt.bars import Bars
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.brain.records import Opinions
from hybrid_bt.config.build import Policies
from hybrid_bt.config.task import Case
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.errors import BarsError

BAR_BY_BAR = ("amounts", "risks", "regime", "volatility", "correlation", "warm")  #: fields of `Opinions`, (T, ...)
_PLAIN = (*BAR_BY_BAR, "before")  #: those that are arrays
FORMAT = 3  #: of results on disk; another one is computed anew
LEAST_BARS = 40  #: of a window; statistics of fewer bars say nothing
ENSEMBLE = -1  #: instead of the number of a member

Arrays = dict[str, NDArray[Any]]


class Window(NamedTuple):
    """Rows of a panel, both ends included."""

    name: str
    first: int  #: row of the first decision
    last: int
    train_start: date  #: for policies that are trained for this window
    train_end: date


def split(
    bars: Bars,
    first: int,
    n_windows: int,
    *,
    scheme: Literal["anchored", "rolling"] = "anchored",
    purge_bars: int = 1,
    embargo_bars: int = 5,
) -> list[Window]:
    """Cut the bars from row `first` on into windows of equal length that follow one another.

    Parameters
    ----------
    scheme : anchored or rolling
        Training begins on the first bar of all, or moves on with the windows, as long as for the first of them.
    purge_bars : int
        Bars at the end of training whose rewards reach beyond it: a reward is earned over the next bar, so 1.
    embargo_bars : int
        Bars left out between training and window.

    Raises
    ------
    BarsError
        If the windows would be shorter than `LEAST_BARS`, or nothing lies before the first one.
    """
    rows = bars.n_bars - first
    if n_windows < 1 or rows // n_windows < LEAST_BARS:
        raise BarsError(
            f"study: {rows} bars give {n_windows} windows of {rows // max(n_windows, 1)}; "
            f"{LEAST_BARS} bars a window are the least, so ask for fewer windows or give a longer history"
        )
    gap = purge_bars + embargo_bars
    if first - gap < 1:
        raise BarsError(f"study: {first} bars before the first window, purge and embargo take {gap}; start later")
    edges = np.linspace(first, bars.n_bars, n_windows + 1).astype(int).tolist()
    days = bars.stamps.astype("datetime64[D]")
    found = []
    for begin, end in pairwise(edges):
        train_first = 0 if scheme == "anchored" else begin - first
        name, taught = f"{days[begin]} to {days[end - 1]}", (days[train_first], days[begin - 1 - gap])
        found.append(Window(name, begin, end - 1, *(day.item() for day in taught)))
    return found


class Lessons(NamedTuple):
    """How policies of a window are trained."""

    train_start: date
    train_end: date
    sac_steps: int
    ppo_steps: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Job(ABC):
    """Work that any process can do."""

    name: str

    @abstractmethod
    def depends_on(self) -> tuple[object, ...]:
        """Everything that the answer depends on."""

    @abstractmethod
    def run(self) -> Arrays:
        """The answer."""

    @cached_property
    def key(self) -> str:
        """sha256 of what the answer depends on."""
        whole = json.dumps((FORMAT, *self.depends_on()), sort_keys=True, default=str)
        return hashlib.sha256(whole.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class VoiceJob(Job):
    """Ask the legs and the gate about every bar of a panel."""

    task: Case
    member: int = ENSEMBLE
    lessons: Lessons | None = None  #: train policies first, instead of those given

    def depends_on(self) -> tuple[object, ...]:
        """As `Job.depends_on`."""
        task, market = self.task, self.task.market
        taught = None if self.lessons is None else [task.mode, *map(str, self.lessons)]
        files = task.policies.sha256s() if taught is None else {}
        decided_by = task.config.without_news(), market.pairs, task.fitted
        return "voice", market.bars.sha256, *decided_by, files, taught, self.member

    def run(self) -> Arrays:
        """`arrays_of` what is said of all bars."""
        task = self.task
        policies = task.policies if self.lessons is None else _learn(task, self.lessons)
        if self.member != ENSEMBLE:
            policies = Policies(*(p.member(min(self.member, p.manifest.members - 1)) if p else None for p in policies))
        brain = task._replace(policies=policies).brain()
        return arrays_of(opinions(brain, read_panel(task.market.bars.close, brain.reader)))


@dataclass(frozen=True, eq=False)
class TradeJob(Job):
    """Trade what was said of one window, in some accounts (`hybrid_bt.account.registry`)."""

    panel: Panel
    accounts: tuple[str, ...]

    def depends_on(self) -> tuple[object, ...]:
        """As `Job.depends_on`."""
        panel = self.panel
        said = hashlib.sha256()
        for array in (*arrays_of(panel.opinions).values(), panel.momentum):
            said.update(np.ascontiguousarray(array).tobytes())
        return "trade", panel.bars.sha256, said.hexdigest(), panel.terms, panel.seed, self.accounts

    def run(self) -> Arrays:
        """Equity, (T,), and the numbers of a `Summary` of each account."""
        found: Arrays = {}
        for name in self.accounts:
            path = account(self.panel, name)
            _, _, *measures = path.summary(self.panel.bars)
            found[f"equity:{name}"], found[f"summary:{name}"] = path.equity, np.array(measures)
        return found


class Result(NamedTuple):
    """What came of a job: arrays, or why there are none."""

    key: str
    arrays: Arrays
    failure: str = ""


def run_job(job: Job) -> Result:
    """Run a job anywhere. Whatever goes wrong in it is told, so that one cell cannot take the others with it."""
    try:
        return Result(job.key, job.run())
    except Exception as error:  # the boundary of a cell: reported in every table and in the exit status
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Result(job.key, {}, f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")


def arrays_of(said: Opinions) -> Arrays:
    """What was said as arrays that a file can hold."""
    plain = {name: getattr(said, name) for name in _PLAIN}
    layout = {f"layout:{name}": np.array(part, np.int64) for name, part in said.layout._asdict().items()}
    return plain | layout | {"names": np.array(said.names)}


def opinions_of(arrays: Arrays, rows: slice) -> Opinions:
    """Some rows of `arrays_of`, back again."""
    layout = Layout(*(arrays[f"layout:{name}"].tolist() for name in Layout._fields))
    names = tuple(arrays["names"].tolist())
    return Opinions(names=names, layout=layout, **{name: arrays[name] for name in _PLAIN}).rows(rows)


def _learn(task: Case, lessons: Lessons) -> Policies:
    from hybrid_bt.train.pipeline import Lesson, learn

    market = task.market.until(lessons.train_end)
    span, steps = (lessons.train_start, lessons.train_end), (lessons.sac_steps, lessons.ppo_steps)
    lesson = Lesson((market,), task.config, *span, lessons.seeds, *steps)
    kinds = [kind for kind in Policies._fields if getattr(task.config, kind).enabled]
    found = {kind: learn(kind, lesson, None) for kind in kinds}
    return Policies(found.get("sac"), found.get("gate"))
