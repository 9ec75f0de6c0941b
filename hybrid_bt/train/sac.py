"""Train the SAC leg: one shared policy, many assets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_bt.accounting import OrderRules
from hybrid_bt.config import Config
from hybrid_bt.envs import ASSET, Task, Track, TradingEnv
from hybrid_bt.train.spec import SacSpec

if TYPE_CHECKING:
    from stable_baselines3 import SAC
    from stable_baselines3.common.callbacks import BaseCallback


def asset_env(tracks: Sequence[Track], config: Config, spec: SacSpec) -> TradingEnv:
    """The environment of one asset under a mode's costs; shares are fractional, since an account of one asset stands
    for a slice of a large one."""
    costs = config.costs
    task = Task(
        low=spec.action_low,
        high=spec.action_high,
        risk_aversion=spec.risk_aversion,
        base_action=spec.base_action,
        unit=config.risk_unit,
        costs=costs._replace(
            spread_bps=costs.spread_bps * spec.cost_multiple,
            fee_bps=costs.fee_bps * spec.cost_multiple,
            leverage=1.0,
        ),
        rules=OrderRules(lot=0.0, rebalance_band=spec.rebalance_band),
    )
    return TradingEnv(ASSET, tracks, task, episode_bars=spec.episode_bars)


def train_sac(
    tracks: Sequence[Track],
    config: Config,
    spec: SacSpec,
    *,
    steps: int,
    seed: int,
    tensorboard_log: Path | None = None,
    callback: BaseCallback | None = None,
) -> SAC:
    """Train one SAC model; the same seed gives the same weights on one thread. Parameters as in `new_sac`."""
    model = new_sac(tracks, config, spec, steps=steps, seed=seed, tensorboard_log=tensorboard_log)
    return model.learn(steps, callback=callback, tb_log_name=f"sac_{seed}")


def new_sac(
    tracks: Sequence[Track],
    config: Config,
    spec: SacSpec,
    *,
    steps: int,
    seed: int,
    tensorboard_log: Path | None = None,
) -> SAC:
    """A SAC model that has not learned yet.

    Parameters
    ----------
    tracks : sequence of Track
        Bars of the training span only.
    steps : int
        Environment steps in all, over all environments.
    """
    import torch
    from stable_baselines3 import SAC

    from hybrid_bt.train.vecenv import vec_env

    torch.set_num_threads(1)
    arguments: dict[str, Any] = {
        "learning_rate": spec.learning_rate,
        "batch_size": spec.batch_size,
        "buffer_size": max(steps, spec.batch_size),
        "learning_starts": spec.learning_starts,
        "gamma": spec.gamma,
        "ent_coef": f"auto_{spec.first_entropy_coefficient}",
        "train_freq": 1,
        "gradient_steps": spec.gradient_steps,
        "policy_kwargs": {"net_arch": list(spec.net)},
    }
    return SAC(
        "MlpPolicy",
        vec_env(asset_env(tracks, config, spec), spec.n_envs),
        seed=seed,
        device="cpu",
        tensorboard_log=str(tensorboard_log) if tensorboard_log else None,
        **arguments,
    )
