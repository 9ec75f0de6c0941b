"""What is learned, and from what: every number that moves a trained policy, and the environments that they make.

How each was chosen, on training and validation spans only: docs/research-log.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from hybrid_bt.config import Config
from hybrid_bt.envs import REGIME, Track, TradingEnv, task_of
from hybrid_bt.equations.parameters import validated

CONSTANT_REGIMES = (-1.0, -0.5, 0.0, 0.5, 1.0)


class SacSpec(NamedTuple):
    """Training of the SAC leg (`hybrid_bt.train.ground`)."""

    net: Annotated[tuple[int, ...], "hidden layers of actor and critics"] = (32, 32)
    learning_rate: Annotated[float, Gt(0)] = 5e-4
    temperature: Annotated[
        float, Gt(0), "fixed; high against the reward, so that the mean action is the slope of Q and not its noise"
    ] = 0.2
    batch_size: Annotated[int, Ge(1)] = 1024
    replays: Annotated[float, Gt(0), "how often each transition is learned from"] = 8.0
    learning_starts: Annotated[int, Ge(0), "steps of random actions before learning"] = 5_000
    n_groups: Annotated[int, Ge(1), "learned from side by side"] = 16
    n_symbols: Annotated[int, Ge(2), "of a group"] = 16
    window_bars: Annotated[int, Ge(2), "that a group is kept for"] = 126


class GateSpec(NamedTuple):
    """Training of the regime gate of one mode."""

    risk_aversion: Annotated[float, Ge(0), "weight of the variance penalty in the reward"]
    gamma: Annotated[float, Gt(0), Lt(1), "discount per bar"] = 0.9
    gae_lambda: Annotated[float, Gt(0), Le(1)] = 0.9
    lstm_hidden: Annotated[int, Ge(1)] = 32
    net: Annotated[tuple[int, ...], "hidden layers behind the LSTM"] = (32,)
    learning_rate: Annotated[float, Gt(0)] = 3e-3
    entropy: Annotated[float, Ge(0), "weight of the entropy bonus"] = 1e-3
    first_sd: Annotated[float, Gt(0), "standard deviation of r around the policy's mean at first"] = 1.0
    n_steps: Annotated[int, Ge(2), "bars per environment and update"] = 128
    batch_size: Annotated[int, Ge(1)] = 512
    n_epochs: Annotated[int, Ge(1)] = 4
    n_envs: Annotated[int, Ge(1)] = 16
    episode_bars: Annotated[int, Ge(2)] | None = 504  #: None for the whole span


GATE_SPECS = {
    "stable": GateSpec(risk_aversion=4.0),
    "aggressive": GateSpec(risk_aversion=1.0),
}


def regime_env(
    tracks: Sequence[Track], config: Config, spec: GateSpec, *, base_regime: float = 0.0, reward_unit: float = 1.0
) -> TradingEnv:
    """The fused account under a mode's costs and order rules."""
    spec = validated(GateSpec, spec, "training of gate")
    task = task_of(config)._replace(risk_aversion=spec.risk_aversion, base_action=base_regime, reward_unit=reward_unit)
    return TradingEnv(REGIME, tracks, task, episode_bars=spec.episode_bars)


def played(env: TradingEnv, act: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Iterator[float]:
    """The rewards of an episode, one after each step."""
    seen, over = env.reset(seed=0)[0], False
    while not over:
        seen, reward, terminated, truncated, _ = env.step(act(seen))
        over = terminated or truncated
        yield reward


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
