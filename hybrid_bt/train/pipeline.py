"""From bars to one frozen file: the steps of `hybrid-bt train`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies, build, resolve_pairs
from hybrid_bt.config import Config
from hybrid_bt.envs import AssetTrack, RegimeEnv, asset_tracks
from hybrid_bt.features import CLIP
from hybrid_bt.history import MarketHistory, read_history
from hybrid_bt.hybrid import MarketReader
from hybrid_bt.legs.sac import OBSERVATION as ASSET_OBSERVATION
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.recording import record
from hybrid_bt.records import Decisions
from hybrid_bt.regime import OBSERVATION as MARKET_OBSERVATION
from hybrid_bt.train.gate import regime_env, regime_track, train_gate
from hybrid_bt.train.sac import train_sac
from hybrid_bt.train.spec import GateSpec, SacSpec

if TYPE_CHECKING:
    from stable_baselines3 import SAC

__all__ = ["Lesson", "best_constant_regime", "cross_fitted_legs", "learn_gate", "learn_sac"]

LEAST_CLOSE = 2.5  #: a close rounded to 3 decimals is off by more than 2 bps below it; see sample/PROVENANCE.md
CONSTANT_REGIMES = (-1.0, -0.5, 0.0, 0.5, 1.0)


class Lesson(NamedTuple):
    """What all trainings share."""

    bars: Bars  #: warm-up and training bars; nothing after `end` is looked at
    config: Config
    mode: str
    pairs: tuple[str, ...]
    start: date  #: first training day
    end: date  #: last training day
    seeds: tuple[int, ...]
    tensorboard_log: Path | None = None
    progress: bool = False

    def history(self) -> MarketHistory:
        """Features of all bars up to the end of training."""
        bars = self.bars.between(None, self.end)
        pairs = resolve_pairs(self.pairs, bars.symbols)
        params = [self.config.kalman_params()] * len(pairs)
        return read_history(bars, MarketReader(bars.n_symbols, pairs, params, self.config.spread_params()))

    def manifest(self, spec: SacSpec | GateSpec, symbols: Sequence[str], bars: Bars) -> dict[str, Any]:
        """Fields of the manifest that do not depend on the kind."""
        return {
            "observation_clip": CLIP,
            "train_start": self.start,
            "train_end": self.end,
            "symbols": tuple(symbols),
            "data_sha256": bars.sha256,
            "costs": self.config.costs.model_dump(),
            "reward": {"risk_aversion": spec.risk_aversion, **spec.model_dump(mode="json")},
            "mode": self.mode,
        }


def learn_sac(lesson: Lesson, spec: SacSpec, steps: int, out: Path) -> FrozenPolicy:
    """Train one SAC per seed on the training span and freeze them into one ensemble."""
    from hybrid_bt.freeze import freeze_sac

    history = lesson.history()
    tracks = _tracks(history, lesson.start, lesson.end)
    models = [_sac(lesson, spec, tracks, steps, seed) for seed in lesson.seeds]
    fields = lesson.manifest(spec, [track.symbol for track in tracks], history.bars)
    fields |= {
        "observation": ASSET_OBSERVATION,
        "action_meaning": "exposure to one asset in units of risk: 1 is risk_unit of volatility per year",
        "seeds": lesson.seeds,
    }
    return freeze_sac(models, fields, out)


def learn_gate(
    lesson: Lesson, spec: GateSpec, sac_spec: SacSpec, steps: int, sac_steps: int, out: Path
) -> FrozenPolicy:
    """Train one RecurrentPPO per seed on cross-fitted legs and freeze them into one ensemble."""
    from hybrid_bt.freeze import freeze_recurrent_ppo

    history = lesson.history()
    legs = cross_fitted_legs(lesson, history, sac_spec, sac_steps)
    track = regime_track(history, legs, str(lesson.start), str(lesson.end))
    base = best_constant_regime(regime_env(track, lesson.config, spec, whole_span=True))
    models = [
        train_gate(
            track,
            lesson.config,
            spec,
            steps=steps,
            seed=seed,
            base_regime=base,
            tensorboard_log=lesson.tensorboard_log,
            progress=lesson.progress,
        )
        for seed in lesson.seeds
    ]
    fields = lesson.manifest(spec, history.bars.symbols, history.bars)
    fields |= {
        "observation": MARKET_OBSERVATION,
        "action_meaning": "regime score r: -1 mean reversion, +1 trend",
        "seeds": lesson.seeds,
        "results": {"best_constant_regime": base},
    }
    return freeze_recurrent_ppo(models, fields, out)


def cross_fitted_legs(lesson: Lesson, history: MarketHistory, spec: SacSpec, steps: int) -> Decisions:
    """Targets of both legs on the training span, SAC's from models that have not seen the half they answer for.

    A gate that learned from the targets of a policy on its own training bars would learn to trust it too much.
    """
    middle = lesson.start + (lesson.end - lesson.start) / 2
    halves = (lesson.start, middle), (middle + timedelta(days=1), lesson.end)
    records = [_legs_of(lesson, history, spec, steps, half) for half in reversed(halves)]
    in_second = history.bars.stamps >= np.datetime64(halves[1][0])
    sac = np.where(in_second[:, None], records[1].legs["sac"], records[0].legs["sac"])
    records[0].legs["sac"] = sac
    return records[0]


def _legs_of(lesson: Lesson, history: MarketHistory, spec: SacSpec, steps: int, half: tuple[date, date]) -> Decisions:
    """Targets on all bars, SAC trained on one half of the span."""
    from hybrid_bt.freeze import freeze_sac

    tracks = _tracks(history, *half)
    model = _sac(lesson, spec, tracks, steps, lesson.seeds[0])
    fields = lesson.manifest(spec, [track.symbol for track in tracks], history.bars)
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


def _sac(lesson: Lesson, spec: SacSpec, tracks: Sequence[AssetTrack], steps: int, seed: int) -> SAC:
    return train_sac(
        tracks,
        lesson.config,
        spec,
        steps=steps,
        seed=seed,
        tensorboard_log=lesson.tensorboard_log,
        progress=lesson.progress,
    )
