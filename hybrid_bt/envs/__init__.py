"""Gymnasium environments that trade as Backtrader's broker does: one `TradingEnv`, three specs of it.

After `import hybrid_bt.envs` they are made by name, on an embedded sample or on bars of one's own
(`hybrid_bt.envs.ready.ready_env`): `gymnasium.make("hybrid_bt/Portfolio-v0", bars=bars)`.
"""

import gymnasium as gym

from hybrid_bt.envs.episodes import (
    Episode,
    Span,
    Track,
    asset_tracks,
    draw_episode,
    portfolio_track,
    regime_track,
    seeded,
)
from hybrid_bt.envs.lanes import ASSET, PORTFOLIO, REGIME, SPECS, Lanes, Spec
from hybrid_bt.envs.trading import TradingEnv
from hybrid_bt.equations.env_step import NO_LIMITS, UNLEVERED, Task

__all__ = [
    "ASSET",
    "NO_LIMITS",
    "PORTFOLIO",
    "REGIME",
    "SPECS",
    "UNLEVERED",
    "Episode",
    "Lanes",
    "Span",
    "Spec",
    "Task",
    "Track",
    "TradingEnv",
    "asset_tracks",
    "draw_episode",
    "portfolio_track",
    "regime_track",
    "seeded",
]

for _name in SPECS:
    gym.register(f"hybrid_bt/{_name}-v0", entry_point="hybrid_bt.envs.ready:ready_env", kwargs={"spec": _name})
