"""From bars to one frozen file: the steps of `hybrid-bt train`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as with_changes
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybrid_bt.bars import Bars, instant
from hybrid_bt.build import Policies, build, resolve_pairs
from hybrid_bt.config import Config
from hybrid_bt.envs import Track, TradingEnv, asset_tracks, regime_track
from hybrid_bt.errors import ConfigError
from hybrid_bt.features import CLIP
from hybrid_bt.history import MarketHistory, read_history
from hybrid_bt.legs.sac import OBSERVATION as ASSET_OBSERVATION
from hybrid_bt.opinions import opinions
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.reader import MarketReader, read_panel
from hybrid_bt.records import Opinions
from hybrid_bt.regime import OBSERVATION as MARKET_OBSERVATION
from hybrid_bt.train.gate import regime_env
from hybrid_bt.train.members import Trained, train_all
from hybrid_bt.train.practice import Event, Member, Practice
from hybrid_bt.train.spec import GateSpec, SacSpec
from hybrid_bt.train.validation import GateValidation, SacValidation, Score

if TYPE_CHECKING:
    from stable_baselines3 import SAC

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
    rehearse_to: date | None = None  #: last training day of a rehearsal, see `hybrid_bt.train.rehearsal`
    practice: Practice = Practice()
    tell: Callable[[Event], None] = _silent

    def history(self) -> MarketHistory:
        """Features of all bars up to the end of validation, or of training where there is none."""
        bars = self.bars.between(None, self.valid_end or self.end)
        pairs = resolve_pairs(self.pairs, bars.symbols)
        params = [self.config.kalman_params] * len(pairs)
        return read_history(bars, MarketReader(bars.n_symbols, pairs, params, self.config.spread_params))

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
            "costs": self.config.sections()["costs"],
            "reward": {"risk_aversion": spec.risk_aversion, **spec.model_dump(mode="json")},
            "mode": self.mode,
        }


def sac_members(lesson: Lesson, history: MarketHistory, spec: SacSpec, steps: int) -> list[Member]:
    """One SAC per seed on the training span."""
    tracks = _tracks(history, lesson.start, lesson.end)
    validation = SacValidation.of(history, lesson.end, lesson.config) if lesson.valid_end else None
    return [_sac_member(lesson, spec, tracks, steps, seed)._replace(validation=validation) for seed in lesson.seeds]


def gate_members(
    lesson: Lesson, history: MarketHistory, spec: GateSpec, sac_spec: SacSpec, steps: int, sac_steps: int
) -> list[Member]:
    """One RecurrentPPO per seed on the training span, with the legs cross-fitted."""
    legs = cross_fitted_legs(lesson, history, sac_spec, sac_steps)
    tracks = [regime_track(history, legs, lesson.config.mix(), str(lesson.start), str(lesson.end))]
    env = regime_env(tracks, lesson.config, spec, whole_span=True)
    base, unit = best_constant_regime(env), regime_reward_unit(env)
    validation = GateValidation.of(history, lesson.end, lesson.config, legs, base) if lesson.valid_end else None
    blank = Member("", "gate", tracks, lesson.config, spec, steps, 0, base, validation, lesson.practice, unit)
    return [blank._replace(name=f"gate_seed{seed}", seed=seed) for seed in lesson.seeds]


def learn_sac(
    lesson: Lesson, spec: SacSpec, steps: int, out: Path, results: Mapping[str, Any] = MappingProxyType({})
) -> FrozenPolicy:
    """Train one SAC per seed on the training span and freeze them into one ensemble; `results` go into its manifest."""
    from hybrid_bt.freeze import freeze_sac

    lesson.check_span()
    history = lesson.history()
    members = sac_members(lesson, history, spec, steps)
    trained = train_all(members, lesson.tell)
    fields = lesson.manifest(spec, [track.symbol for track in members[0].tracks], history.bars)
    fields |= {
        "observation": ASSET_OBSERVATION,
        "action_meaning": "exposure to one asset in units of risk: 1 is risk_unit of volatility per year",
        "seeds": lesson.seeds,
        "results": dict(results),
    } | _validated(members, trained, results)
    return freeze_sac([one.model for one in trained], fields, out)


def learn_gate(
    lesson: Lesson,
    spec: GateSpec,
    sac_spec: SacSpec,
    steps: int,
    sac_steps: int,
    out: Path,
    results: Mapping[str, Any] = MappingProxyType({}),
) -> FrozenPolicy:
    """Train one RecurrentPPO per seed on cross-fitted legs and freeze them into one ensemble."""
    from hybrid_bt.freeze import freeze_recurrent_ppo

    lesson.check_span()
    history = lesson.history()
    members = gate_members(lesson, history, spec, sac_spec, steps, sac_steps)
    trained = train_all(members, lesson.tell)
    fields = lesson.manifest(spec, history.bars.symbols, history.bars)
    said = {**results, "best_constant_regime": members[0].base_regime, "reward_unit": members[0].reward_unit}
    fields |= {
        "observation": MARKET_OBSERVATION,
        "action_meaning": "regime score r: -1 mean reversion, +1 trend",
        "seeds": lesson.seeds,
        "results": said,
    } | _validated(members, trained, said)
    return freeze_recurrent_ppo([one.model for one in trained], fields, out)


def _validated(members: Sequence[Member], trained: Sequence[Trained], results: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of the validation; `steps` is that of the longest training, since they may end early."""
    validation = members[0].validation
    if validation is None:
        return {}
    rows = [
        {"seed": member.seed, "step": one.kept.step, **plain_score(one.kept.score)}
        for member, one in zip(members, trained, strict=True)
        if one.kept
    ]
    found = {"keep": members[0].practice.keep, "members": rows, "reference": plain_score(validation.reference())}
    return {"steps": max(one.model.num_timesteps for one in trained), "results": {**results, "validation": found}}


def plain_score(score: Score) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in score._asdict().items()}


def cross_fitted_legs(lesson: Lesson, history: MarketHistory, spec: SacSpec, steps: int) -> Opinions:
    """What all legs say on all bars, SAC's from models that have not seen the half they answer for.

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
    said = [_said_of(lesson, history, spec, member, one.model) for member, one in zip(members, trained, strict=True)]
    in_second = history.bars.stamps >= instant(halves[1][0])
    sac = np.where(in_second[:, None], said[1].legs["sac"], said[0].legs["sac"])
    return with_changes(said[0], legs={**said[0].legs, "sac": sac})


def _said_of(lesson: Lesson, history: MarketHistory, spec: SacSpec, member: Member, model: SAC) -> Opinions:
    """What the legs say on all bars, SAC being a model that was trained on one half of the span."""
    from hybrid_bt.freeze import freeze_sac

    fields = lesson.manifest(spec, [track.symbol for track in member.tracks], history.bars)
    fields |= {"observation": ASSET_OBSERVATION, "action_meaning": "exposure", "seeds": lesson.seeds[:1]}
    with tempfile.TemporaryDirectory() as folder:
        policy = freeze_sac([model], fields, Path(folder) / "half.onnx")
    brain = build(lesson.config, history.bars.symbols, lesson.pairs, Policies(policy, None))
    return opinions(brain, read_panel(history.bars.close, brain.reader))


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
    env.reset(seed=0)
    action = np.array([r], dtype=np.float32)
    rewards, done = [], False
    while not done:
        _, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        done = terminated or truncated
    return rewards


def _tracks(history: MarketHistory, start: date, end: date) -> list[Track]:
    return asset_tracks(history, str(start), str(end), LEAST_CLOSE)


def _sac_member(lesson: Lesson, spec: SacSpec, tracks: list[Track], steps: int, seed: int) -> Member:
    return Member(f"sac_seed{seed}", "sac", tracks, lesson.config, spec, steps, seed, practice=lesson.practice)
