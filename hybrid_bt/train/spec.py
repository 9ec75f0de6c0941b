"""Every number that moves a trained policy.

How each was chosen, on training and validation spans only: docs/research-log.md.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt

from hybrid_bt.errors import ConfigError


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


def check_sac_steps(steps: int, spec: SacSpec) -> None:
    """Refuse a training of SAC that would be over before it learns; PPO learns behind any rollout, the first included.

    Raises
    ------
    ConfigError
    """
    if steps <= spec.learning_starts:
        raise ConfigError(
            f"--sac-steps {steps}: the first {spec.learning_starts} steps are random actions that nothing is learned "
            f"from, so the network would be frozen untrained; give {spec.learning_starts + 1} or more"
        )


class GateSpec(NamedTuple):
    """Training of the regime gate (`hybrid_bt.train.ground`)."""

    price_of_size: Annotated[float, Ge(0), "p, of r^2"] = 0.15
    price_of_change: Annotated[float, Ge(0), "q, of |r - r before|"] = 0.1
    lstm_hidden: Annotated[int, Ge(1)] = 32
    net: Annotated[tuple[int, ...], "hidden layers behind the LSTM"] = (32,)
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    entropy: Annotated[float, Ge(0), "weight of the entropy bonus"] = 0.0
    first_sd: Annotated[float, Gt(0), "standard deviation of r around the policy's mean at first"] = 0.5
    n_steps: Annotated[int, Ge(2), "bars per environment and update"] = 128
    batch_size: Annotated[int, Ge(1)] = 512
    n_epochs: Annotated[int, Ge(1)] = 4
    n_envs: Annotated[int, Ge(1), "windows side by side"] = 16
    window_bars: Annotated[int, Ge(2), "that a market is kept for"] = 252
