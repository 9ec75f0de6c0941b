"""From bars to one frozen file: the steps of `hybrid-bt train`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies, build, resolve_pairs
from hybrid_bt.config import Config
from hybrid_bt.envs import AssetTrack, RegimeEnv, asset_tracks
from hybrid_bt.errors import ConfigError
from hybrid_bt.features import CLIP
from hybrid_bt.history import MarketHistory, read_history
from hybrid_bt.hybrid import MarketReader
from hybrid_bt.legs.sac import OBSERVATION as ASSET_OBSERVATION
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.recording import record
from hybrid_bt.records import Decisions
from hybrid_bt.regime import OBSERVATION as MARKET_OBSERVATION
from hybrid_bt.train.gate import regime_env, regime_track
from hybrid_bt.train.members import Trained, train_all
from hybrid_bt.train.practice import Event, Member, Practice
from hybrid_bt.train.spec import GateSpec, SacSpec
from hybrid_bt.train.validation import GateValidation, SacValidation, Score

if TYPE_CHECKING:
    from stable_baselines3 import SAC

__all__ = ["Lesson", "best_constant_regime", "cross_fitted_legs", "learn_gate", "learn_sac"]

LEAST_CLOSE = 2.5  #: a close rounded to 3 decimals is off by more than 2 bps below it; see sample/PROVENANCE.md
CONSTANT_REGIMES = (-1.0, -0.5, 0.0, 0.5, 1.0)


def _silent(event: Event) -> None:
    """Listen to nothing."""


class Lesson(NamedTuple):
    """What all trainings share."""

    bars: Bars  #: warm-up and training bars, validation bars behind them; nothing later is looked at
    config: Config
    mode: str
    pairs: tuple[str, ...]
    start: date  #: first training day
    end: date  #: last training day
    seeds: tuple[int, ...]
    valid_end: date | None = None  #: last day of validation, which begins behind `end`; None for no validation
    practice: Practice = Practice()
    tell: Callable[[Event], None] = _silent

    def history(self) -> MarketHistory:
        """Features of all bars up to the end of validation, or of training where there is none."""
        bars = self.bars.between(None, self.valid_end or self.end)
        pairs = resolve_pairs(self.pairs, bars.symbols)
        params = [self.config.kalman_params()] * len(pairs)
        return read_history(bars, MarketReader(bars.n_symbols, pairs, params, self.config.spread_params()))

    def check_span(self) -> None:
        """Refuse a validation span without bars, before anything is learned."""
        if self.valid_end is None:
            return
        if self.valid_end <= self.end:
            raise ConfigError(f"--valid-end {self.valid_end} is not after --train-end {self.end}; choose a later day")
        self.bars.between(self.end + timedelta(days=1), self.valid_end)

    def manifest(self, spec: SacSpec | GateSpec, symbols: Sequence[str], bars: Bars) -> dict[str, Any]:
        """Fields of the manifest that do not depend on the kind."""
        validated = {"valid_start": self.end + timedelta(days=1), "valid_end": self.valid_end}
        return (validated if self.valid_end else {}) | {
            "observation_clip": CLIP,
            "train_start": self.start,
            "train_end": self.end,
            "symbols": tuple(symbols),
            "data_sha256": bars.between(None, self.end).sha256,
            "costs": self.config.costs.model_dump(),
            "reward": {"risk_aversion": spec.risk_aversion, **spec.model_dump(mode="json")},
            "mode": self.mode,
        }


def learn_sac(lesson: Lesson, spec: SacSpec, steps: int, out: Path) -> FrozenPolicy:
    """Train one SAC per seed on the training span and freeze them into one ensemble."""
    from hybrid_bt.freeze import freeze_sac

    lesson.check_span()
    history = lesson.history()
    tracks = _tracks(history, lesson.start, lesson.end)
    validation = SacValidation.of(history, lesson.end, lesson.config) if lesson.valid_end else None
    members = [_sac_member(lesson, spec, tracks, steps, seed)._replace(validation=validation) for seed in lesson.seeds]
    trained = train_all(members, lesson.tell)
    fields = lesson.manifest(spec, [track.symbol for track in tracks], history.bars)
    fields |= {
        "observation": ASSET_OBSERVATION,
        "action_meaning": "exposure to one asset in units of risk: 1 is risk_unit of volatility per year",
        "seeds": lesson.seeds,
    }
    if validation is not None:
        fields |= _validated(members, trained, validation.reference(), {})
    return freeze_sac([one.model for one in trained], fields, out)


def learn_gate(
    lesson: Lesson, spec: GateSpec, sac_spec: SacSpec, steps: int, sac_steps: int, out: Path
) -> FrozenPolicy:
    """Train one RecurrentPPO per seed on cross-fitted legs and freeze them into one ensemble."""
    from hybrid_bt.freeze import freeze_recurrent_ppo

    lesson.check_span()
    history = lesson.history()
    legs = cross_fitted_legs(lesson, history, sac_spec, sac_steps)
    track = regime_track(history, legs, str(lesson.start), str(lesson.end))
    base = best_constant_regime(regime_env(track, lesson.config, spec, whole_span=True))
    validation = GateValidation.of(history, lesson.end, lesson.config, legs, base) if lesson.valid_end else None
    blank = Member("", "gate", track, lesson.config, spec, steps, 0, base, validation, lesson.practice)
    members = [blank._replace(name=f"gate_seed{seed}", seed=seed) for seed in lesson.seeds]
    trained = train_all(members, lesson.tell)
    fields = lesson.manifest(spec, history.bars.symbols, history.bars)
    results = {"best_constant_regime": base}
    fields |= {
        "observation": MARKET_OBSERVATION,
        "action_meaning": "regime score r: -1 mean reversion, +1 trend",
        "seeds": lesson.seeds,
        "results": results,
    }
    if validation is not None:
        fields |= _validated(members, trained, validation.reference(), results)
    return freeze_recurrent_ppo([one.model for one in trained], fields, out)


def _validated(
    members: Sequence[Member], trained: Sequence[Trained], reference: Score, results: dict[str, Any]
) -> dict[str, Any]:
    """What the manifest says of the validation; `steps` is that of the longest training, since they may end early."""
    rows = [
        {"seed": member.seed, "step": one.kept.step, **_plain(one.kept.score)}
        for member, one in zip(members, trained, strict=True)
        if one.kept
    ]
    found = {"keep": members[0].practice.keep, "members": rows, "reference": _plain(reference)}
    return {"steps": max(one.model.num_timesteps for one in trained), "results": {**results, "validation": found}}


def _plain(score: Score) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in score._asdict().items()}


def cross_fitted_legs(lesson: Lesson, history: MarketHistory, spec: SacSpec, steps: int) -> Decisions:
    """Targets of both legs on all bars, SAC's from models that have not seen the half they answer for.

    A gate that learned from the targets of a policy on its own training bars would learn to trust it too much. Bars
    behind training are unseen by both models; the one of the first half answers for them, as for the second.
    """
    middle = lesson.start + (lesson.end - lesson.start) / 2
    halves = (lesson.start, middle), (middle + timedelta(days=1), lesson.end)
    tracks = [_tracks(history, *half) for half in reversed(halves)]
    practice = lesson.practice._replace(patience=None, keep="last")
    members = [
        _sac_member(lesson, spec, tracks[k], steps, lesson.seeds[0])._replace(name=name, practice=practice)
        for k, name in enumerate((f"half2_seed{lesson.seeds[0]}", f"half1_seed{lesson.seeds[0]}"))
    ]
    trained = train_all(members, lesson.tell)
    records = [_legs_of(lesson, history, spec, member, one.model) for member, one in zip(members, trained, strict=True)]
    in_second = history.bars.stamps >= np.datetime64(halves[1][0])
    sac = np.where(in_second[:, None], records[1].legs["sac"], records[0].legs["sac"])
    records[0].legs["sac"] = sac
    return records[0]


def _legs_of(lesson: Lesson, history: MarketHistory, spec: SacSpec, member: Member, model: SAC) -> Decisions:
    """Targets on all bars of a model that was trained on one half of the span."""
    from hybrid_bt.freeze import freeze_sac

    fields = lesson.manifest(spec, [track.symbol for track in member.tracks], history.bars)
    fields |= {"observation": ASSET_OBSERVATION, "action_meaning": "exposure", "seeds": lesson.seeds[:1]}
    with tempfile.TemporaryDirectory() as folder:
        policy = freeze_sac([model], fields, Path(folder) / "half.onnx")
    brain = build(lesson.config, history.bars.symbols, lesson.pairs, Policies(policy, None))
    return record(brain, history.bars, lesson.pairs).decisions()


def best_constant_regime(env: RegimeEnv) -> float:
    """The constant r with the highest total reward over the whole span."""
    return max(CONSTANT_REGIMES, key=lambda r: _total_reward(env, r))


def _total_reward(env: RegimeEnv, r: float) -> float:
    env.reset(seed=0)
    action = np.array([r], dtype=np.float32)
    total, done = 0.0, False
    while not done:
        _, reward, terminated, truncated, _ = env.step(action)
        total += reward
        done = terminated or truncated
    return total


def _tracks(history: MarketHistory, start: date, end: date) -> list[AssetTrack]:
    return asset_tracks(history, str(start), str(end), LEAST_CLOSE)


def _sac_member(lesson: Lesson, spec: SacSpec, tracks: list[AssetTrack], steps: int, seed: int) -> Member:
    return Member(f"sac_seed{seed}", "sac", tracks, lesson.config, spec, steps, seed, practice=lesson.practice)
