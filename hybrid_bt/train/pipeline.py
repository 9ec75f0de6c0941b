"""From bars to one frozen file: the steps of `hybrid-bt train`.

A shipped policy learns from every bar before the test span, so nothing there can validate it. What can be validated is
its recipe: a *rehearsal* is the same training (settings, first seed) up to an earlier day, tried on the bars behind it
for the manifest. Its weights are dropped, and its span lies inside the training span, so it takes no bars away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.bars import Bars, instant
from hybrid_bt.bars.market import Market, may_teach
from hybrid_bt.brain.reader import MarketHistory
from hybrid_bt.config import Config
from hybrid_bt.envs import history_of
from hybrid_bt.equations.features import ASSET_FEATURES, CLIP
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.files.texts import plain
from hybrid_bt.policies.freeze import freeze
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.ground import LABEL_BARS, REGIME_BARS, REGIME_SEES, ground_of, regime_ground_of
from hybrid_bt.train.members import Member, Practice, Tell, Trained, named, train_all
from hybrid_bt.train.spec import GateSpec, SacSpec
from hybrid_bt.train.validation import GateValidation, SacValidation, Validation, reversal_legs, rows_after

REHEARSED_SEEDS = 1  #: the first so many: enough to see whether a recipe works, at a fair part of the time

MEANINGS = {
    "sac": "what an asset will earn beside the others on the next bars: its standard score tilts the base",
    "gate": "regime score r: -1 mean reversion, +1 trend; a SAC that learnt reversal has less weight at +1",
}  #: of an action
SEES = {"sac": ASSET_FEATURES, "gate": REGIME_SEES}


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

    @property
    def market(self) -> Market:
        """The first: that of validation, whose bars are behind those of training; nothing later is looked at."""
        return self.markets[0]

    def history(self) -> MarketHistory:
        """Features of all bars up to the end of validation, or of training where there is none."""
        market = self.market.until(self.valid_end or self.end)
        return history_of(market.bars, market.pairs, self.config)


def learn(kind: str, lesson: Lesson, out: Path | None) -> FrozenPolicy:
    """Train one model per seed on the training span, and freeze them into one ensemble; None writes no file."""
    if lesson.valid_end is not None:  # refused before anything is learned
        if lesson.valid_end <= lesson.end:
            raise ConfigError(
                f"--valid-end {lesson.valid_end} is not after --train-end {lesson.end}; choose a later day"
            )
        lesson.market.bars.between(lesson.end + timedelta(days=1), lesson.valid_end)
    results = _rehearse(kind, lesson) if lesson.rehearse_to else {}
    members = MEMBERS[kind](lesson)
    trained = train_all(members, lesson.tell)
    fields = manifest(lesson, members) | {"results": results}
    if lesson.valid_end:
        results["validation"] = _validated(members, trained)
    return freeze([one.model for one in trained], fields, out)


def _sac_members(lesson: Lesson) -> list[Member]:
    history, spec = lesson.history(), validated(SacSpec, lesson.sac, "training of sac")
    validation = SacValidation(history, rows_after(history.bars, lesson.end), lesson.config)
    first = Member("", "sac", grounds_of(lesson, "sac"), lesson.config, spec, lesson.sac_steps, 0)
    return _for_seeds(lesson, first, validation)


def _gate_members(lesson: Lesson) -> list[Member]:
    history, spec = lesson.history(), validated(GateSpec, lesson.gate, "training of gate")
    legs = reversal_legs(history, lesson.market.pairs, lesson.config)
    validation = GateValidation(history, rows_after(history.bars, lesson.end), lesson.config, legs)
    first = Member("", "gate", grounds_of(lesson, "gate"), lesson.config, spec, lesson.ppo_steps, 0)
    return _for_seeds(lesson, first, validation)


MEMBERS: dict[str, Callable[[Lesson], list[Member]]] = {"sac": _sac_members, "gate": _gate_members}


def _for_seeds(lesson: Lesson, first: Member, validation: Validation) -> list[Member]:
    first = first._replace(practice=lesson.practice, validation=validation if lesson.valid_end else None)
    n, kind = len(lesson.seeds), first.kind
    return [
        first._replace(name=f"{kind}_seed{seed}", seed=seed, number=k, of=n) for k, seed in enumerate(lesson.seeds, 1)
    ]


def grounds_of(lesson: Lesson, kind: str) -> tuple[Any, ...]:
    """`Ground` of each market for SAC, `RegimeGround` for a gate; without markets that are too short for those left."""
    of_sac = kind == "sac"
    spec, label_bars = (lesson.sac, LABEL_BARS) if of_sac else (lesson.gate, REGIME_BARS)
    start, found = instant(lesson.start) if lesson.start else None, []
    for market in (market.until(lesson.end) for market in lesson.markets):
        history = history_of(market.bars, (), lesson.config)
        ground: Any = ground_of(history, start) if of_sac else regime_ground_of(history, start)
        if lesson.left_out is not None:
            teaches = may_teach(market.bars, lesson.left_out, label_bars + 1)
            ground = ground._replace(usable=(ground.usable.T & teaches).T)
        if lesson.left_out is None or ground.lasts(spec.window_bars):
            found.append(ground)
    if not found:
        raise BarsError(
            f"training: no market has {spec.window_bars} bars in a row that teach nothing about the one left out; name "
            "markets of other countries or years"
        )
    return tuple(found)


def manifest(lesson: Lesson, members: Sequence[Member]) -> dict[str, Any]:
    """Fields of the manifest that training adds to those that are read off the models."""
    first = members[0]
    markets = [_market_read(market.name, market.until(lesson.end).bars) for market in lesson.markets]
    return {
        "observation": SEES[first.kind],
        "action_meaning": MEANINGS[first.kind],
        "observation_clip": CLIP,
        "train_start": lesson.start or min(market["start"] for market in markets),
        "train_end": lesson.end,
        "valid_start": lesson.end + timedelta(days=1) if lesson.valid_end else None,
        "valid_end": lesson.valid_end,
        "symbols": tuple(dict.fromkeys(symbol for market in markets for symbol in market["symbols"])),
        "data_sha256": markets[0]["sha256"],
        "markets": markets if len(markets) > 1 else (),
        "costs": {},  # what a change costs is the business of what stands behind the policies
        "reward": plain(first.spec._asdict()),
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
    folder, seeds = lesson.practice.checkpoint_dir, lesson.seeds[:REHEARSED_SEEDS]
    practice = lesson.practice._replace(checkpoint_dir=folder and folder / "rehearsal")
    markets, end = tuple(market.until(lesson.end) for market in lesson.markets), lesson.rehearse_to
    shorter = lesson._replace(end=end, valid_end=lesson.end, markets=markets, seeds=seeds, practice=practice)
    members = MEMBERS[kind](shorter)
    validation = members[0].validation
    assert validation is not None
    unwatched = [member._replace(validation=None) for member in members]  # nothing is chosen on the way
    models = [one.model for one in train_all(unwatched, named(lesson.tell, "rehearsal"))]
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
        results["left_out"] = _left_out(lesson._replace(markets=markets, rehearse_to=None))
    return results


def _left_out(lesson: Lesson) -> dict[str, Any]:
    """What r was worth on each market, by the first seed's training on the others: Sharpe ratio less that of the
    constant with its own mean; and the part of its strength that this evidence justifies, max(0, 1 - (SE / gain)^2).
    """
    found: dict[str, Any] = {}
    gains = []
    for number, market in enumerate(lesson.markets, 1):
        others = tuple(other for other in lesson.markets if other is not market)
        apart = lesson._replace(markets=others, left_out=market.bars, seeds=lesson.seeds[:REHEARSED_SEEDS])
        name, of = f"gate_without_{market.name.replace(':', '_')}", len(lesson.markets)
        member = _gate_members(apart)[0]._replace(name=name, number=number, of=of)
        model = train_all([member], lesson.tell)[0].model
        history = history_of(market.bars, market.pairs, lesson.config)
        legs = reversal_legs(history, market.pairs, lesson.config)
        first = int(np.argmax(history.market_warm))
        reading = GateValidation(history, first, lesson.config, legs).reading([model])
        gains.append(reading["sharpe"] - reading["sharpe_of_own_mean"])
        found[market.name] = reading
    gain, error = float(np.mean(gains)), float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    justified = max(0.0, 1.0 - (error / gain) ** 2) if gain > 0.0 else 0.0
    return plain({**found, "gain": gain, "standard_error": error, "strength_justified": justified})
