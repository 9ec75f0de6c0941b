"""Gymnasium environments that trade as Backtrader's broker does: one `TradingEnv`, three specs of it.

After `import hybrid_bt.envs` they are made by name, on an embedded sample or on bars of one's own, as `ready_env` takes
them: `gymnasium.make("hybrid_bt/Portfolio-v0", bars=bars)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from hybrid_bt.bars import Bars
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.config import Config, load_config
from hybrid_bt.config.build import build, load_policies
from hybrid_bt.envs.actions import ActionError
from hybrid_bt.envs.episodes import Episode, Span, Track, asset_tracks, history_of, portfolio_track, regime_track
from hybrid_bt.envs.lanes import ASSET, PORTFOLIO, REGIME, SPECS, Lanes, Spec
from hybrid_bt.envs.trading import TradingEnv
from hybrid_bt.envs.vector import LaneVectorEnv
from hybrid_bt.equations.env_step import NO_LIMITS, UNLEVERED, Task
from hybrid_bt.errors import check_names
from hybrid_bt.feeds import load_bars

__all__ = [
    "ASSET", "NO_LIMITS", "PORTFOLIO", "REGIME", "SPECS", "UNLEVERED", "ActionError", "Episode", "LaneVectorEnv",
    "Lanes", "Span", "Spec", "Task", "Track", "TradingEnv", "asset_tracks", "history_of", "portfolio_track",
    "ready_env", "ready_lanes", "regime_track", "task_of",
]  # fmt: skip

SAMPLE, SAMPLE_PAIRS = ("KO", "PEP", "JNJ"), ("KO:PEP",)
SAMPLE_SPAN = "2000-01-01", "2009-12-31"  # bars that the policies learned on


def task_of(config: Config, **terms: object) -> Task:
    """A mode's costs, limits and order rules, or fields of one's own in their place; ConfigError for unknown ones."""
    check_names(terms, Task._fields, "environment: there is no setting")
    unit, own = Task().unit._replace(bars_per_year=config.risk.bars_per_year), dict[str, Any](terms)
    return Task(unit=unit, risk=config.risk, costs=config.costs, rules=config.order_rules)._replace(**own)


def ready_env(
    spec: str,
    bars: Bars | None = None,
    *,
    mode: str = "stable",
    pairs: Sequence[str] | None = None,
    start: str | None = None,
    end: str | None = None,
    episode_bars: int | None = 252,
    compiled: bool | None = None,
    **terms: object,
) -> TradingEnv:
    """An environment on bars, under a mode's costs, limits and order rules.

    Parameters
    ----------
    spec : str
        A key of `SPECS`: Asset, Regime or Portfolio.
    bars : Bars, optional
        By default KO, PEP and JNJ of the embedded sample, 2000 to 2009, with the pair KO:PEP.
    pairs : sequence of str, optional
        Of the features and the Kalman leg, `Y:X`; by default none on bars of one's own.
    start, end : str, optional
        First and last day of the episodes; by default all bars, once they are warm.
    terms
        Fields of `Task` in the place of the mode's, e.g. `risk_aversion=1.0`.

    Raises
    ------
    ConfigError
        For a term that there is not, and as `TradingEnv`.
    """
    check_names([spec], SPECS, "environment: there is no spec")
    config = load_config(mode)
    task = task_of(config, **terms)
    if bars is None:
        bars = load_bars("us20", symbols=SAMPLE).between(*SAMPLE_SPAN)
        pairs = SAMPLE_PAIRS if pairs is None else pairs
    names = tuple(pairs or ())
    history = history_of(bars, names, config)
    span = start or bars.stamps[0], end or bars.stamps[-1]
    if spec == "Asset":
        tracks = asset_tracks(history, *span)
    elif spec == "Portfolio":
        tracks = [portfolio_track(history, *span)]
    else:
        brain = build(config, bars.symbols, names, load_policies(config))
        said = opinions(brain, read_panel(bars.close, brain.reader))
        tracks = [regime_track(history, said, config.lines(), *span)]
    return TradingEnv(SPECS[spec], tracks, task, episode_bars=episode_bars, compiled=compiled)


def ready_lanes(num_envs: int, **given: object) -> LaneVectorEnv:
    """Many of `ready_env`, stepped in one call."""
    own: dict[str, Any] = given
    return LaneVectorEnv(ready_env(**own), num_envs)


for _name in SPECS:
    gym.register(
        f"hybrid_bt/{_name}-v0",
        entry_point="hybrid_bt.envs:ready_env",
        vector_entry_point="hybrid_bt.envs:ready_lanes",
        kwargs={"spec": _name},
    )
