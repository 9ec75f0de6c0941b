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
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import MarketHistory, read_panel
from hybrid_bt.brain.records import Opinions
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies, build
from hybrid_bt.envs import TradingEnv, asset_tracks, regime_track
from hybrid_bt.envs.ready import history_of
from hybrid_bt.equations.features import CLIP, OBSERVATIONS
from hybrid_bt.errors import ConfigError
from hybrid_bt.files.texts import plain
from hybrid_bt.policies.freeze import freeze
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.controls import played
from hybrid_bt.train.members import Member, Practice, Tell, Trained, train_all
from hybrid_bt.train.spec import GATE_SPECS, LEAST_CLOSE, SAC_SPECS, GateSpec, SacSpec, asset_env, regime_env
from hybrid_bt.train.validation import GateValidation, Model, SacValidation, rows_after

CONSTANT_REGIMES = (-1.0, -0.5, 0.0, 0.5, 1.0)
REHEARSED_SEEDS = 1  #: the first so many: enough to see whether a recipe works, at a fair part of the time

#: kind -> what its policy sees, and what its action means
MEANINGS = {
    "sac": (OBSERVATIONS["sac"], "exposure to one asset in units of risk: 1 is risk_unit of volatility per year"),
    "gate": (OBSERVATIONS["gate"], "regime score r: -1 mean reversion, +1 trend"),
}


class Lesson(NamedTuple):
    """What all trainings share."""

    market: Market  #: warm-up and training bars, validation bars behind them; nothing later is looked at
    config: Config
    mode: str
    start: date  #: first training day
    end: date  #: last training day
    seeds: tuple[int, ...]
    valid_end: date | None = None  #: last day of validation, which begins behind `end`; None for no validation
    rehearse_to: date | None = None  #: last training day of a rehearsal; None for none
    practice: Practice = Practice()
    tell: Tell = lambda event: None

    def history(self) -> MarketHistory:
        """Features of all bars up to the end of validation, or of training where there is none."""
        market = self.market.until(self.valid_end or self.end)
        return history_of(market.bars, market.pairs, self.config)


MembersOf = Callable[[Lesson], list[Member]]


def learn_sac(lesson: Lesson, spec: SacSpec, steps: int, out: Path) -> FrozenPolicy:
    """Train one SAC per seed on the training span and freeze them into one ensemble."""

    def members_of(lesson: Lesson) -> list[Member]:
        history = lesson.history()
        env = _asset_env(lesson, history, spec, lesson.start, lesson.end)
        validation = SacValidation(history, rows_after(history.bars, lesson.end), lesson.config)
        return _for_seeds(lesson, Member("", "sac", env, lesson.config, spec, steps, 0, validation))

    return _learn(lesson, members_of, out)


def learn_gate(
    lesson: Lesson, spec: GateSpec, sac_spec: SacSpec, steps: int, sac_steps: int, out: Path
) -> FrozenPolicy:
    """Train one RecurrentPPO per seed on cross-fitted legs and freeze them into one ensemble."""

    def members_of(lesson: Lesson) -> list[Member]:
        history, config = lesson.history(), lesson.config
        legs = cross_fitted_legs(lesson, history, sac_spec, sac_steps)
        tracks = [regime_track(history, legs, config.mix(), str(lesson.start), str(lesson.end))]
        whole = regime_env(tracks, config, spec._replace(episode_bars=None))
        base, unit = best_constant_regime(whole), regime_reward_unit(whole)
        env = regime_env(tracks, config, spec, base_regime=base, reward_unit=unit)
        validation = GateValidation(history, rows_after(history.bars, lesson.end), config, legs, base)
        return _for_seeds(lesson, Member("", "gate", env, config, spec, steps, 0, validation))

    return _learn(lesson, members_of, out)


def learn(kind: str, lesson: Lesson, sac_steps: int, ppo_steps: int, out: Path) -> FrozenPolicy:
    """Train a policy of one kind as its mode's spec says."""
    spec = SAC_SPECS[lesson.mode]
    if kind == "sac":
        return learn_sac(lesson, spec, sac_steps, out)
    return learn_gate(lesson, GATE_SPECS[lesson.mode], spec, ppo_steps, sac_steps, out)


def _for_seeds(lesson: Lesson, blank: Member) -> list[Member]:
    blank = blank._replace(practice=lesson.practice, validation=blank.validation if lesson.valid_end else None)
    return [blank._replace(name=f"{blank.kind}_seed{seed}", seed=seed) for seed in lesson.seeds]


def _learn(lesson: Lesson, members_of: MembersOf, out: Path) -> FrozenPolicy:
    if lesson.valid_end is not None:  # refused before anything is learned
        if lesson.valid_end <= lesson.end:
            raise ConfigError(
                f"--valid-end {lesson.valid_end} is not after --train-end {lesson.end}; choose a later day"
            )
        lesson.market.bars.between(lesson.end + timedelta(days=1), lesson.valid_end)
    results = _rehearse(lesson, members_of) if lesson.rehearse_to else {}
    members = members_of(lesson)
    trained = train_all(members, lesson.tell)
    task = members[0].env.task
    if members[0].kind == "gate":
        results |= {"best_constant_regime": task.base_action, "reward_unit": task.reward_unit}
    fields = manifest(lesson, members) | {"results": results}
    if lesson.valid_end:  # trainings may end early: `steps` is that of the longest
        results["validation"] = _validated(members, trained)
        fields["steps"] = max(one.model.num_timesteps for one in trained)
    return freeze([one.model for one in trained], fields, out)


def manifest(lesson: Lesson, members: Sequence[Member]) -> dict[str, Any]:
    """Fields of the manifest that training adds to those that are read off the models."""
    first = members[0]
    observation, meaning = MEANINGS[first.kind]
    return {
        "observation": observation,
        "action_meaning": meaning,
        "observation_clip": CLIP,
        "train_start": lesson.start,
        "train_end": lesson.end,
        "valid_start": lesson.end + timedelta(days=1) if lesson.valid_end else None,
        "valid_end": lesson.valid_end,
        "symbols": tuple(symbol for track in first.env.tracks for symbol in track.symbols),
        "data_sha256": lesson.market.until(lesson.end).bars.sha256,
        "costs": lesson.config.sections()["costs"],
        "reward": plain(first.spec._asdict()),
        "mode": lesson.mode,
        "seeds": tuple(member.seed for member in members),
    }


def _validated(members: Sequence[Member], trained: Sequence[Trained]) -> dict[str, Any]:
    validation = members[0].validation
    assert validation is not None
    rows = [
        {"seed": member.seed, "step": one.kept.step, **one.kept.score._asdict()}
        for member, one in zip(members, trained, strict=True)
        if one.kept
    ]
    found = {"keep": members[0].practice.keep, "members": rows, "reference": validation.reference()._asdict()}
    return dict(plain(found))


def _rehearse(lesson: Lesson, members_of: MembersOf) -> dict[str, Any]:
    """Results for the manifest."""
    assert lesson.rehearse_to is not None
    folder, seeds = lesson.practice.checkpoint_dir, lesson.seeds[:REHEARSED_SEEDS]
    practice = lesson.practice._replace(keep="last", patience=None, checkpoint_dir=folder and folder / "rehearsal")
    market, end = lesson.market.until(lesson.end), lesson.rehearse_to
    members = members_of(lesson._replace(end=end, valid_end=lesson.end, market=market, seeds=seeds, practice=practice))
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


def cross_fitted_legs(lesson: Lesson, history: MarketHistory, spec: SacSpec, steps: int) -> Opinions:
    """What all legs say on all bars, SAC's from models that have not seen the half they answer for.

    A gate that learned from the targets of a policy on its own training bars would learn to trust it too much. Bars
    behind training are unseen by both models; the one of the first half answers for them, as for the second.
    """
    middle, seed = lesson.start + (lesson.end - lesson.start) / 2, lesson.seeds[0]
    halves = {"half2": (middle + timedelta(days=1), lesson.end), "half1": (lesson.start, middle)}
    practice = lesson.practice._replace(patience=None, keep="last")
    members = []
    for half, span in halves.items():
        env = _asset_env(lesson, history, spec, *span)
        members.append(Member(f"{half}_seed{seed}", "sac", env, lesson.config, spec, steps, seed, None, practice))
    trained = train_all(members, lesson.tell)
    said = zip(members, trained, strict=True)
    first, second = (_said_by(one.model, lesson, member, history.bars) for member, one in said)
    in_second = history.bars.stamps >= instant(halves["half2"][0])
    sac = np.where(in_second[:, None], second.legs["sac"], first.legs["sac"])
    return with_changes(first, legs={**first.legs, "sac": sac})


def _said_by(model: Model, lesson: Lesson, member: Member, bars: Bars) -> Opinions:
    """What the legs say on all bars, SAC being a model that was trained on one half of the span."""
    with tempfile.TemporaryDirectory() as folder:
        policy = freeze([model], manifest(lesson, [member]), Path(folder) / "half.onnx")
    brain = build(lesson.config, bars.symbols, lesson.market.pairs, Policies(policy, None))
    return opinions(brain, read_panel(bars.close, brain.reader))


def best_constant_regime(env: TradingEnv) -> float:
    """The constant r with the highest total reward over the whole span."""
    return max(CONSTANT_REGIMES, key=lambda r: sum(_rewards(env, r)))


def regime_reward_unit(env: TradingEnv) -> float:
    """Half the standard deviation of a bar's difference in reward between r = +1 and r = -1; 1 where there is none."""
    trend, reversion = (np.array(_rewards(env, r)) for r in (1.0, -1.0))
    n = min(len(trend), len(reversion))
    return float((trend[:n] - reversion[:n]).std() / 2.0) or 1.0


def _rewards(env: TradingEnv, r: float) -> list[float]:
    """Of a constant gate on every bar of the span."""
    action = np.array([r], dtype=np.float32)
    return list(played(env, lambda seen: action))


def _asset_env(lesson: Lesson, history: MarketHistory, spec: SacSpec, start: date, end: date) -> TradingEnv:
    return asset_env(asset_tracks(history, str(start), str(end), LEAST_CLOSE), lesson.config, spec)
