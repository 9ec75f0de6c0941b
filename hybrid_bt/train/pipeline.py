"""From bars to one frozen file: the steps of `hybrid-bt train`.

A shipped policy learns from every bar before the test span, so nothing there can validate it. What can be validated is
its recipe: a *rehearsal* is the same training (settings, first seed) up to an earlier day, tried on the bars behind it
for the manifest. Its weights are dropped, and its span lies inside the training span, so it takes no bars away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market, may_teach
from hybrid_bt.config import Config
from hybrid_bt.equations.features import ASSET_FEATURES, CLIP
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.files.texts import plain
from hybrid_bt.policies.freeze import freeze
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.agents import AgentValidation, observation_of, world_taught
from hybrid_bt.train.ground import LABEL_BARS, REGIME_BARS, REGIME_SEES, ground_of, ground_on, regime_ground_of
from hybrid_bt.train.members import Member, Practice, Tell, Trained, named, train_all
from hybrid_bt.train.spec import AgentSpec, GateSpec, SacSpec, Spec
from hybrid_bt.train.validation import GateValidation, Model, SacValidation, Validation

Judge: TypeAlias = Validation | AgentValidation

REHEARSED_SEEDS = 1  #: the first so many: enough to see whether a recipe works, at a fair part of the time


class Lesson(NamedTuple):
    """What all trainings share."""

    markets: tuple[Market, ...]  #: warm-up and training bars
    config: Config
    start: date | None  #: first training day; None for the first warm one
    end: date  #: last training day
    seeds: tuple[int, ...]
    sac_steps: int  #: environment steps of a SAC
    ppo_steps: int  #: of a gate
    valid_end: date | None = None  #: last day of validation, which begins behind `end`; None for no validation
    rehearse_to: date | None = None  #: last training day of a rehearsal; None for none
    left_out: Bars | None = None  #: to be judged on: nothing is learned from what they may share
    practice: Practice = Practice()
    tell: Tell = lambda event: None
    sac: SacSpec = SacSpec()
    gate: GateSpec = GateSpec()
    agent: AgentSpec = AgentSpec()
    steps: int = 0  #: environment steps of an agent

    @property
    def market(self) -> Market:
        """The first: that of validation, whose bars are behind those of training; nothing later is looked at."""
        return self.markets[0]

    def spec(self, kind: str) -> Spec:
        """The numbers of a kind."""
        found: Spec = getattr(self, kind)
        return found

    def label(self, kind: str) -> str:
        """What trainings of a kind are called: an agent's by its algorithm."""
        return self.agent.algo if kind == "agent" else kind


class Kind(NamedTuple):
    """What is trained: by what numbers, what is learned from, and how it is judged."""

    steps: str  #: field of a lesson
    spec: type[Spec]
    #: of a market from a day on, of those of its bars that teach; None where nothing is left
    ground: Callable[[Market, Config, Any, date | None, NDArray[np.bool_] | None], Any]
    label_bars: int  #: that a reward looks ahead
    judge: Callable[[Market, Config, Any, date | None], Judge]  #: on a market from behind a day on, or where it is warm
    sees: Callable[[Any, Sequence[str]], Sequence[str]]  #: by the names of the symbols
    meaning: str  #: of an action


KINDS = {
    "sac": Kind(
        *("sac_steps", SacSpec, partial(ground_on, ground_of), LABEL_BARS, SacValidation.on),
        lambda spec, symbols: ASSET_FEATURES,
        "what an asset will earn beside the others on the next bars: its standard score tilts the base",
    ),
    "gate": Kind(
        *("ppo_steps", GateSpec, partial(ground_on, regime_ground_of), REGIME_BARS, GateValidation.on),
        lambda spec, symbols: REGIME_SEES,
        "regime score r: -1 mean reversion, +1 trend; a SAC that learnt reversal has less weight at +1",
    ),
    "agent": Kind(
        *("steps", AgentSpec, world_taught, 1, AgentValidation.on, observation_of), "what the environment takes"
    ),
}


def apart(lesson: Lesson, name: str) -> Lesson:
    """The same under a name of its own, with checkpoints in a folder of that name."""
    folder = lesson.practice.checkpoint_dir
    practice = lesson.practice._replace(checkpoint_dir=folder and folder / name)
    return lesson._replace(practice=practice, tell=named(lesson.tell, name))


def learn(kind: str, lesson: Lesson, out: Path | None) -> FrozenPolicy:
    """Train one model per seed on the training span, and freeze them into one ensemble; None writes no file."""
    trained, fields = taught(kind, lesson)
    return freeze([one.model for one in trained], fields, out)


def taught(kind: str, lesson: Lesson) -> tuple[list[Trained], dict[str, Any]]:
    """One trained model per seed, and fields of a manifest."""
    if lesson.valid_end is not None:  # refused before anything is learned
        if lesson.valid_end <= lesson.end:
            raise ConfigError(
                f"--valid-end {lesson.valid_end} is not after --train-end {lesson.end}; choose a later day"
            )
        lesson.market.bars.between(lesson.end + timedelta(days=1), lesson.valid_end)
    results = _rehearse(kind, lesson) if lesson.rehearse_to else {}
    members = members_of(kind, lesson)
    trained = train_all(members, lesson.tell)
    if lesson.valid_end:
        results["validation"] = _validated(members, trained)
    if kind == "agent" and len(lesson.markets) > 1:
        results["left_out"] = _left_out(kind, lesson)
    return trained, manifest(lesson, members) | {"results": results}


def members_of(kind: str, lesson: Lesson) -> list[Member]:
    """One a seed."""
    row, n, config = KINDS[kind], len(lesson.seeds), lesson.config
    spec = validated(row.spec, lesson.spec(kind), f"training of {kind}")
    watched = row.judge(lesson.market.until(lesson.valid_end), config, spec, lesson.end) if lesson.valid_end else None
    grounds, steps = grounds_of(lesson, kind), getattr(lesson, row.steps)
    first = Member("", kind, grounds, config, spec, steps, 0, watched, lesson.practice)
    named = f"{lesson.label(kind)}_seed"
    return [first._replace(name=f"{named}{seed}", seed=seed, number=k, of=n) for k, seed in enumerate(lesson.seeds, 1)]


def grounds_of(lesson: Lesson, kind: str) -> tuple[Any, ...]:
    """What each market gives to learn from; without markets that are too short for those left."""
    row, spec, found = KINDS[kind], lesson.spec(kind), []
    for market in (market.until(lesson.end) for market in lesson.markets):
        left_out = lesson.left_out
        teaches = None if left_out is None else may_teach(market.bars, left_out, row.label_bars + 1)
        found.append(row.ground(market, lesson.config, spec, lesson.start, teaches))
    grounds = tuple(ground for ground in found if ground is not None)
    if not grounds:
        bars = getattr(spec, "window_bars", 3)
        raise BarsError(
            f"training: no market has {bars} bars in a row that teach nothing about the one left out; name "
            "markets of other countries or years"
        )
    return grounds


def manifest(lesson: Lesson, members: Sequence[Member]) -> dict[str, Any]:
    """Fields of the manifest that training adds to those that are read off the models."""
    first = members[0]
    markets = [_market_read(market.name, market.until(lesson.end).bars) for market in lesson.markets]
    return {
        "observation": tuple(KINDS[first.kind].sees(first.spec, lesson.market.bars.symbols)),
        "action_meaning": KINDS[first.kind].meaning,
        "observation_clip": CLIP,
        "train_start": lesson.start or min(market["start"] for market in markets),
        "train_end": lesson.end,
        "valid_start": lesson.end + timedelta(days=1) if lesson.valid_end else None,
        "valid_end": lesson.valid_end,
        "symbols": tuple(dict.fromkeys(symbol for market in markets for symbol in market["symbols"])),
        "data_sha256": markets[0]["sha256"],
        "markets": markets if len(markets) > 1 else (),
        "costs": {},  # what a change costs is the business of what stands behind the policies
        "reward": {} if first.kind == "agent" else plain(first.spec._asdict()),
        "seeds": tuple(member.seed for member in members),
    }


def _market_read(name: str, bars: Bars) -> dict[str, Any]:
    days = bars.stamps[[0, -1]].astype("M8[D]").tolist()
    return {"name": name, "sha256": bars.sha256, "symbols": bars.symbols, "start": days[0], "end": days[1]}


def _validated(members: Sequence[Member], trained: Sequence[Trained]) -> dict[str, Any]:
    validation = members[0].validation
    assert validation is not None
    rows = [
        {"seed": member.seed, "step": one.evaluations[-1].step, **one.evaluations[-1].score._asdict()}
        for member, one in zip(members, trained, strict=True)
    ]
    return plain({"members": rows, "reference": validation.reference()._asdict()})


def _rehearse(kind: str, lesson: Lesson) -> dict[str, Any]:
    """Results for the manifest."""
    assert lesson.rehearse_to is not None
    markets, seeds = tuple(market.until(lesson.end) for market in lesson.markets), lesson.seeds[:REHEARSED_SEEDS]
    shorter = apart(lesson, "rehearsal")._replace(end=lesson.rehearse_to, valid_end=None, markets=markets, seeds=seeds)
    validation = KINDS[kind].judge(markets[0], lesson.config, lesson.spec(kind), lesson.rehearse_to)
    models = [one.model for one in train_all(members_of(kind, shorter), shorter.tell)]
    found = {
        "train_end": str(lesson.rehearse_to),
        "valid_end": str(lesson.end),
        "ensemble": validation.score(models)._asdict(),
        "member_sharpes": [validation.score([model]).sharpe for model in models],
        "reference": validation.reference()._asdict(),
        **validation.reading(models),
    }
    results = {"rehearsal": plain(found)}
    if kind == "gate" and len(markets) > 1:
        results["left_out"] = _left_out(kind, lesson._replace(markets=markets, rehearse_to=None))
    return results


def left_out(kind: str, lesson: Lesson) -> Iterator[tuple[Market, Judge, Model]]:
    """Each market up to the end, how it is judged, and what the first seed learned on the others."""
    markets, label = [market.until(lesson.end) for market in lesson.markets], lesson.label(kind)
    alone = lesson._replace(seeds=lesson.seeds[:REHEARSED_SEEDS], valid_end=None)
    for number, market in enumerate(markets, 1):
        others = tuple(other for other in markets if other is not market)
        name = f"{label}_without_{market.name.replace(':', '_')}"
        member = members_of(kind, alone._replace(markets=others, left_out=market.bars))[0]
        model = train_all([member._replace(name=name, number=number, of=len(markets))], lesson.tell)[0].model
        yield market, KINDS[kind].judge(market, lesson.config, lesson.spec(kind), None), model


def _left_out(kind: str, lesson: Lesson) -> dict[str, Any]:
    """What an answer was worth on each market, by the first seed's training on the others: Sharpe ratio less that of
    the constant with r's own mean, or of an action that is held (0 for an account that never moves); and the part of
    its strength that this evidence justifies, max(0, 1 - (SE / gain)^2).
    """
    found: dict[str, Any] = {}
    gains = []
    for market, judge, model in left_out(kind, lesson):
        reading = found[market.name] = judge.reading([model])
        gains.append(np.nan_to_num(reading["sharpe"]) - np.nan_to_num(reading[judge.against]))
    gain, error = float(np.mean(gains)), float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    justified = max(0.0, 1.0 - (error / gain) ** 2) if gain > 0.0 else 0.0
    return plain({**found, "gain": gain, "standard_error": error, "strength_justified": justified})
