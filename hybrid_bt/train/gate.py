"""Train the regime gate: RecurrentPPO over the fused portfolio of two recorded legs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.bars import instant
from hybrid_bt.config import Config
from hybrid_bt.envs import RegimeEnv, RegimeTrack, Reward, Span
from hybrid_bt.history import MarketHistory
from hybrid_bt.records import Opinions
from hybrid_bt.train.spec import GateSpec

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.callbacks import BaseCallback


def regime_track(history: MarketHistory, legs: Opinions, start: str, end: str) -> RegimeTrack:
    """The market and the recorded legs, with episodes between two dates, both included."""
    bars = history.bars
    inside = (bars.stamps >= instant(start)) & (bars.stamps <= instant(end)) & history.market_warm
    rows = np.flatnonzero(inside)
    return RegimeTrack(
        history.market,
        legs.legs["sac"].tolist(),
        legs.legs["kalman"].tolist(),
        history.volatility.tolist(),
        history.correlation.tolist(),
        bars.open.tolist(),
        bars.close.tolist(),
        bars.stamps.astype("datetime64[D]").astype(np.int64).tolist(),
        Span(int(rows[0]), int(rows[-1])),
    )


def regime_env(
    track: RegimeTrack,
    config: Config,
    spec: GateSpec,
    *,
    base_regime: float = 0.0,
    reward_unit: float = 1.0,
    whole_span: bool = False,
) -> RegimeEnv:
    """The environment of the fused account under a mode's costs and order rules."""
    return RegimeEnv(
        track,
        fusion=config.fusion,
        risk=config.risk,
        reward=Reward(spec.risk_aversion),
        costs=config.costs,
        rules=config.order_rules,
        episode_bars=None if whole_span else spec.episode_bars,
        base_regime=base_regime,
        reward_unit=reward_unit,
    )


def train_gate(
    track: RegimeTrack,
    config: Config,
    spec: GateSpec,
    *,
    steps: int,
    seed: int,
    base_regime: float = 0.0,
    reward_unit: float = 1.0,
    tensorboard_log: Path | None = None,
    callback: BaseCallback | None = None,
) -> RecurrentPPO:
    """Train one RecurrentPPO model; the same seed gives the same weights on one thread."""
    base = {"base_regime": base_regime, "reward_unit": reward_unit}
    model = new_gate(track, config, spec, seed=seed, **base, tensorboard_log=tensorboard_log)
    return model.learn(steps, callback=callback, tb_log_name=f"gate_{seed}")


def new_gate(
    track: RegimeTrack,
    config: Config,
    spec: GateSpec,
    *,
    seed: int,
    base_regime: float = 0.0,
    reward_unit: float = 1.0,
    tensorboard_log: Path | None = None,
) -> RecurrentPPO:
    """A RecurrentPPO model that has not learned yet."""
    import torch
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    torch.set_num_threads(1)

    def make() -> RegimeEnv:
        return regime_env(track, config, spec, base_regime=base_regime, reward_unit=reward_unit)

    return RecurrentPPO(
        "MlpLstmPolicy",
        VecMonitor(DummyVecEnv([make] * spec.n_envs)),
        learning_rate=spec.learning_rate,
        n_steps=spec.n_steps,
        batch_size=spec.batch_size,
        n_epochs=spec.n_epochs,
        gamma=spec.gamma,
        gae_lambda=spec.gae_lambda,
        ent_coef=spec.entropy,
        policy_kwargs={
            "lstm_hidden_size": spec.lstm_hidden,
            "net_arch": list(spec.net),
            "log_std_init": math.log(spec.first_sd),
        },
        seed=seed,
        device="cpu",
        tensorboard_log=str(tensorboard_log) if tensorboard_log else None,
    )
