"""Train the regime gate: RecurrentPPO over the fused portfolio of recorded legs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_bt.config import Config
from hybrid_bt.envs import REGIME, Task, Track, TradingEnv
from hybrid_bt.train.spec import GateSpec

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO


def regime_env(
    tracks: Sequence[Track],
    config: Config,
    spec: GateSpec,
    *,
    base_regime: float = 0.0,
    reward_unit: float = 1.0,
    whole_span: bool = False,
) -> TradingEnv:
    """The environment of the fused account under a mode's costs and order rules."""
    task = Task(
        risk_aversion=spec.risk_aversion,
        base_action=base_regime,
        reward_unit=reward_unit,
        fusion=config.mix().fusion,
        risk=config.risk,
        costs=config.costs,
        rules=config.order_rules,
    )
    return TradingEnv(REGIME, tracks, task, episode_bars=None if whole_span else spec.episode_bars)


def new_gate(
    tracks: Sequence[Track],
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

    from hybrid_bt.train.vecenv import vec_env

    torch.set_num_threads(1)
    env = regime_env(tracks, config, spec, base_regime=base_regime, reward_unit=reward_unit)
    return RecurrentPPO(
        "MlpLstmPolicy",
        vec_env(env, spec.n_envs),
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
