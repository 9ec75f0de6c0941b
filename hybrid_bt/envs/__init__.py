"""Gymnasium environments that trade as Backtrader's broker does: one `TradingEnv`, three specs of it.

After `import hybrid_bt.envs` they are made by name, on an embedded sample or on bars of one's own, as `ready_env` takes
them: `gymnasium.make("hybrid_bt/Portfolio-v0", bars=bars)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import names_of
from hybrid_bt.brain.observing import Candle, Feature, Observation
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.config import Config, load_config
from hybrid_bt.config.build import build, load_policies
from hybrid_bt.envs.episodes import Episode, Span, Track, asset_tracks, history_of, portfolio_track, regime_track
from hybrid_bt.envs.lanes import Lanes
from hybrid_bt.envs.specs import ASSET, PORTFOLIO, REGIME, SPECS, ActionError, Spec, named
from hybrid_bt.envs.trading import LaneVectorEnv, TradingEnv
from hybrid_bt.equations.env_step import NO_LIMITS, UNLEVERED, Task
from hybrid_bt.equations.rewards import Outcome, Reward, terms_of
from hybrid_bt.errors import ConfigError, check_names
from hybrid_bt.feeds import load_bars

__all__ = [
    "ASSET", "NO_LIMITS", "PORTFOLIO", "REGIME", "SPECS", "UNLEVERED", "ActionError", "Candle", "Episode", "Feature",
    "LaneVectorEnv", "Lanes", "Observation", "Outcome", "Reward", "Span", "Spec", "Task", "Track", "TradingEnv",
    "asset_tracks", "declared", "history_of", "named", "portfolio_track", "ready_env", "ready_lanes", "regime_track",
    "task_of",
]  # fmt: skip

SAMPLE, SAMPLE_PAIRS = ("KO", "PEP", "JNJ"), ("KO:PEP",)
DECLARED = "observation", "reward"  #: words of `ready_env` that are no field of `Task`
OF_ENV = "cash", "render_mode", "info"  #: and of `TradingEnv`
SAMPLE_SPAN = "2000-01-01", "2009-12-31"  # bars that the policies learned on


def task_of(config: Config, **terms: object) -> Task:
    """A mode's costs, limits and order rules, or fields of one's own in their place, of which a table names some keys;
    ConfigError for unknown ones.
    """
    check_names(terms, Task._fields, "environment: there is no setting")
    unit, own = Task().unit._replace(bars_per_year=config.risk.bars_per_year), dict[str, Any](terms)
    modes = Task(unit=unit, risk=config.risk, costs=config.costs, rules=config.order_rules)
    for name, table in terms.items():
        part: Any = getattr(modes, name)
        if isinstance(table, Mapping) and hasattr(part, "_fields"):
            check_names(table, part._fields, f"environment: {name} has no")
            own[name] = part._replace(**table)
    return modes._replace(**own)


def declared(spec: str, config: Config, terms: Mapping[str, Any]) -> tuple[Spec, Task]:
    """What makes an environment, out of a key of `SPECS` and the words of `ready_env`; ConfigError for others."""
    check_names(terms, (*Task._fields, *DECLARED), "environment: there is no setting")
    observation, reward = map(terms.get, DECLARED)
    if isinstance(observation, Mapping):
        check_names(observation, Observation._fields, "observation: there is no part")
        observation = Observation(**observation)
    kind = SPECS[named(spec)]
    if not isinstance(observation, Observation | None):
        raise ConfigError(
            f"environment: observation is {observation!r}; give an Observation, or a mapping of its parts"
        )
    seen = kind.observation if observation is None else observation.checked()
    task = task_of(config, **{name: terms[name] for name in terms if name not in DECLARED})
    if reward is not None and (task.risk_aversion, task.base_action) != (0.0, 0.0):
        raise ConfigError("environment: risk_aversion and base_action belong to the default reward; leave out reward")
    return kind._replace(observation=seen, reward=kind.reward if reward is None else terms_of(reward)), task


def ready_env(
    spec: str,
    bars: Bars | str | None = None,
    *,
    mode: str = "stable",
    pairs: Sequence[str] | None = None,
    start: str | None = None,
    end: str | None = None,
    episode_bars: int | None = 252,
    compiled: bool | None = None,
    **terms: Any,  # noqa: ANN401  of many kinds
) -> TradingEnv:
    """An environment on bars, under a mode's costs, limits and order rules.

    Parameters
    ----------
    spec : str
        A key of `SPECS`: Asset, Regime or Portfolio; or gymnasium's name.
    bars : Bars or str, optional
        Or a name that `load_bars` knows. By default KO, PEP and JNJ of the embedded sample, 2000 to 2009, with the
        pair KO:PEP.
    pairs : sequence of str, optional
        Of the features and the Kalman leg, `Y:X`; by default none on bars of one's own.
    start, end : str, optional
        First and last day of the episodes; by default all bars, once they are warm.
    observation : Observation, or mapping of its parts
        What the agent sees, in the place of `SPECS[spec].observation`.
    reward : str, function, Reward, or mapping of these to their weights
        What steps pay, by a name of `equations.rewards.REWARDS` or of one's own, in the place of growth over a
        baseline.
    episode_bars, cash, compiled, render_mode, info
        As `TradingEnv`.
    terms
        Fields of `Task` in the place of the mode's, e.g. `risk_aversion=1.0`, or tables: `costs={"fee_bps": 2.0}`.

    Raises
    ------
    ConfigError
        For a term, feature or reward that there is not, and as `TradingEnv`.
    """
    config, given = load_config(mode), {name: terms.pop(name) for name in OF_ENV if name in terms}
    kind, task = declared(spec, config, terms)
    if bars is None:
        bars = load_bars("us20", symbols=SAMPLE).between(*SAMPLE_SPAN)
        pairs = SAMPLE_PAIRS if pairs is None else pairs
    bars = load_bars(bars) if isinstance(bars, str) else bars
    names = names_of(pairs or ())
    history = history_of(bars, names, config)
    span = start or bars.stamps[0], end or bars.stamps[-1]
    if kind.act is ASSET.act:
        tracks = asset_tracks(history, *span, seen=kind.observation)
    elif kind.per_asset:
        tracks = [portfolio_track(history, *span, seen=kind.observation)]
    else:
        brain = build(config, bars.symbols, names, load_policies(config))
        said = opinions(brain, read_panel(bars.close, brain.reader))
        tracks = [regime_track(history, said, config.lines(), *span, seen=kind.observation)]
    return TradingEnv(kind, tracks, task, episode_bars=episode_bars, compiled=compiled, **given)


def ready_lanes(
    num_envs: int, *, autoreset_mode: str = AutoresetMode.SAME_STEP.value, **given: object
) -> LaneVectorEnv:
    """Many of `ready_env`, stepped in one call."""
    own: dict[str, Any] = given
    return LaneVectorEnv(ready_env(**own), num_envs, autoreset_mode)


ready_env.metadata = ready_lanes.metadata = TradingEnv.metadata  # type: ignore[attr-defined]  # gymnasium looks there
for _name in SPECS:
    gym.register(
        f"hybrid_bt/{_name}-v0",
        entry_point="hybrid_bt.envs:ready_env",
        vector_entry_point="hybrid_bt.envs:ready_lanes",
        kwargs={"spec": _name},
    )
