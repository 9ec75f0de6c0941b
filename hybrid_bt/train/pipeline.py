"""From bars to one frozen file: the steps of `hybrid-bt train`.

A shipped policy learns from every bar before the test span, so nothing there can validate it. What can be validated is
its recipe: a *rehearsal* is the same training (settings, first seed) up to an earlier day, tried on the bars behind it
for the manifest. Its weights are dropped, and its span lies inside the training span, so it takes no bars away.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace as with_changes
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.bars import Bars, instant
from hybrid_bt.bars.market import Market, may_teach
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import MarketHistory, read_panel
from hybrid_bt.brain.records import Opinions
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies, build
from hybrid_bt.envs import TradingEnv, history_of, regime_track
from hybrid_bt.equations.features import CLIP, OBSERVATIONS
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError
from hybrid_bt.files.texts import plain
from hybrid_bt.policies.freeze import freeze
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.ground import LABEL_BARS, Ground, ground_of
from hybrid_bt.train.members import Member, Practice, Tell, Trained, train_all
from hybrid_bt.train.spec import (
    GATE_SPECS,
    GateSpec,
    SacSpec,
    best_constant_regime,
    regime_env,
    regime_reward_unit,
)
from hybrid_bt.train.validation import GateValidation, Model, SacValidation, Validation, rows_after

GATE_START = date(1995, 1, 1)  #: first training day of a gate where none is named
REHEARSED_SEEDS = 1  #: the first so many: enough to see whether a recipe works, at a fair part of the time

MEANINGS = {
    "sac": "what an asset will earn beside the others on the next bars: its standard score tilts the base",
    "gate": "regime score r: -1 mean reversion, +1 trend",
}  #: of an action


class Lesson(NamedTuple):
    """What all trainings share."""

    markets: tuple[Market, ...]  #: warm-up and training bars; SAC learns from all, a gate from the first
    config: Config
    mode: str
    start: date | None  #: first training day; None for the first warm one
    end: date  #: last training day
    seeds: tuple[int, ...]
    sac_steps: int  #: environment steps of a SAC
    ppo_steps: int  #: of a gate
    valid_end: date | None = None  #: last day of validation, which begins behind `end`; None for no validation
    rehearse_to: date | None = None  #: last training day of a rehearsal; None for none
    left_out: Bars | None = None  #: SAC is to be judged on these: nothing is learned from what they may share
    practice: Practice = Practice()
    tell: Tell = lambda event: None
    sac: SacSpec = SacSpec()
    gate: GateSpec | None = None  #: by default the mode's

    @property
    def market(self) -> Market:
        """The first: that of validation, whose bars are behind those of training; nothing later is looked at."""
        return self.markets[0]

    def history(self) -> MarketHistory:
        """Features of all bars up to the end of validation, or of training where there is none."""
        market = self.market.until(self.valid_end or self.end)
        return history_of(market.bars, market.pairs, self.config)


def learn(kind: str, lesson: Lesson, out: Path) -> FrozenPolicy:
    """Train one model per seed, SAC on the training span or a gate on cross-fitted legs, and freeze them into one
    ensemble."""
    if lesson.valid_end is not None:  # refused before anything is learned
        if lesson.valid_end <= lesson.end:
            raise ConfigError(
                f"--valid-end {lesson.valid_end} is not after --train-end {lesson.end}; choose a later day"
            )
        lesson.market.bars.between(lesson.end + timedelta(days=1), lesson.valid_end)
    results = _rehearse(kind, lesson) if lesson.rehearse_to else {}
    members = MEMBERS[kind](lesson)
    trained = train_all(members, lesson.tell)
    env = members[0].env
    if isinstance(env, TradingEnv):
        task = env.task
        results |= {"best_constant_regime": task.base_action, "reward_unit": task.reward_unit}
    fields = manifest(lesson, members) | {"results": results}
    if lesson.valid_end:
        results["validation"] = _validated(members, trained)
    return freeze([one.model for one in trained], fields, out)


def _sac_members(lesson: Lesson) -> list[Member]:
    history = lesson.history()
    first = _sac_member(lesson, "", (lesson.start, lesson.end))
    return _for_seeds(lesson, first, SacValidation(history, rows_after(history.bars, lesson.end), lesson.config))


def _gate_members(lesson: Lesson) -> list[Member]:
    history, config, spec = lesson.history(), lesson.config, lesson.gate or GATE_SPECS[lesson.mode]
    legs = cross_fitted_legs(lesson, history)
    tracks = [regime_track(history, legs, config.lines(), str(lesson.start or GATE_START), str(lesson.end))]
    whole = regime_env(tracks, config, spec._replace(episode_bars=None))
    base, unit = best_constant_regime(whole), regime_reward_unit(whole)
    env = regime_env(tracks, config, spec, base_regime=base, reward_unit=unit)
    first = Member("", "gate", env, config, spec, lesson.ppo_steps, 0)
    validation = GateValidation(history, rows_after(history.bars, lesson.end), config, legs, base)
    return _for_seeds(lesson, first, validation)


MEMBERS: dict[str, Callable[[Lesson], list[Member]]] = {"sac": _sac_members, "gate": _gate_members}


def _for_seeds(lesson: Lesson, first: Member, validation: Validation) -> list[Member]:
    first = first._replace(practice=lesson.practice, validation=validation if lesson.valid_end else None)
    return [first._replace(name=f"{first.kind}_seed{seed}", seed=seed) for seed in lesson.seeds]


def grounds_of(lesson: Lesson, start: date | None, end: date) -> tuple[Ground, ...]:
    """Of each market, on some days."""
    grounds = [_ground(lesson, market.until(end), start) for market in lesson.markets]
    least = lesson.sac.window_bars if lesson.left_out is not None else 0
    return tuple(ground for ground in grounds if np.count_nonzero(ground.usable.any(axis=1)) >= least)


def _ground(lesson: Lesson, market: Market, start: date | None) -> Ground:
    ground = ground_of(history_of(market.bars, (), lesson.config), instant(start) if start else None)
    if lesson.left_out is None:
        return ground
    teaches = may_teach(market.bars, lesson.left_out, LABEL_BARS + 1)
    return ground._replace(usable=ground.usable & teaches[:, None])


def _sac_member(lesson: Lesson, name: str, span: tuple[date | None, date]) -> Member:
    """A training of SAC on some days, with the first seed."""
    spec = validated(SacSpec, lesson.sac, "training of sac")
    return Member(name, "sac", grounds_of(lesson, *span), lesson.config, spec, lesson.sac_steps, lesson.seeds[0])


def manifest(lesson: Lesson, members: Sequence[Member]) -> dict[str, Any]:
    """Fields of the manifest that training adds to those that are read off the models."""
    first, learned = members[0], lesson.markets if members[0].kind == "sac" else (lesson.market,)
    markets = [_market_read(market.name, market.until(lesson.end).bars) for market in learned]
    return {
        "observation": OBSERVATIONS[first.kind],
        "action_meaning": MEANINGS[first.kind],
        "observation_clip": CLIP,
        "train_start": lesson.start or min(market["start"] for market in markets),
        "train_end": lesson.end,
        "valid_start": lesson.end + timedelta(days=1) if lesson.valid_end else None,
        "valid_end": lesson.valid_end,
        "symbols": tuple(dict.fromkeys(symbol for market in markets for symbol in market["symbols"])),
        "data_sha256": markets[0]["sha256"],
        "markets": markets if len(markets) > 1 else (),
        "costs": lesson.config.sections()["costs"] if first.kind == "gate" else {},
        "reward": plain(first.spec._asdict()),
        "mode": lesson.mode if first.kind == "gate" else None,
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
    models = [one.model for one in train_all(unwatched, lesson.tell)]
    found = {
        "train_end": str(lesson.rehearse_to),
        "valid_end": str(lesson.end),
        "ensemble": validation.score(models)._asdict(),
        "member_sharpes": [validation.score([model]).sharpe for model in models],
        "reference": validation.reference()._asdict(),
        **validation.reading(models),
    }
    return {"rehearsal": plain(found)}


def cross_fitted_legs(lesson: Lesson, history: MarketHistory) -> Opinions:
    """What all legs say on all bars, SAC's from models that have not seen the half they answer for.

    A gate that learned from the targets of a policy on its own training bars would learn to trust it too much. Bars
    behind training are unseen by both models; the one of the first half answers for them, as for the second.
    """
    start, seed = lesson.start or GATE_START, lesson.seeds[0]
    middle = start + (lesson.end - start) / 2
    halves = {"half2": (middle + timedelta(days=1), lesson.end), "half1": (start, middle)}
    members = [
        _sac_member(lesson, f"{half}_seed{seed}", span)._replace(practice=lesson.practice)
        for half, span in halves.items()
    ]
    trained = train_all(members, lesson.tell)
    said = zip(members, trained, strict=True)
    first, second = (_said_by(one.model, lesson, member, history.bars) for member, one in said)
    in_second = history.bars.stamps >= instant(halves["half2"][0])
    apart = {name: getattr(first, name).copy() for name in ("amounts", "risks")}
    for name, values in apart.items():  # what no model has a part in is the same in both
        values[in_second] = getattr(second, name)[in_second]
    return with_changes(first, **apart)


def _said_by(model: Model, lesson: Lesson, member: Member, bars: Bars) -> Opinions:
    """What the legs say on all bars, SAC being a model that was trained on one half of the span."""
    with tempfile.TemporaryDirectory() as folder:
        policy = freeze([model], manifest(lesson, [member]), Path(folder) / "half.onnx")
    brain = build(lesson.config, bars.symbols, lesson.market.pairs, Policies(policy, None))
    return opinions(brain, read_panel(bars.close, brain.reader))
