"""The gymnasium environment: the fast backtester with a reward, for one asset, a regime or a whole portfolio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hybrid_bt.account.replay import checked_terms
from hybrid_bt.envs.actions import as_action, refuse
from hybrid_bt.envs.episodes import Track, draw_episode
from hybrid_bt.envs.lanes import REGIME, Lanes, Spec, TrackRows
from hybrid_bt.equations.book import Account, Capital
from hybrid_bt.equations.compiled import have_numba
from hybrid_bt.equations.env_step import BARRED, GOES_ON, RUINED, Task
from hybrid_bt.equations.features import CLIP
from hybrid_bt.errors import ConfigError

Observation = NDArray[np.float32]


class TradingEnv(gym.Env[Observation, NDArray[np.float32]]):
    """Accounts as Backtrader's broker keeps them, to the bit, on a track and from a bar that are drawn at each reset.

    The action of a close fills at the next open, pays spread, fee and interest, and is marked at the next close. The
    reward is 100 (g - aversion / 2 g^2) of the net log return g from that open to the one after, which is what this
    action earned, less that of a baseline, in units of `reward_unit`; ruin is -100. So a reward looks one bar further
    than the observation beside it. The end of the data is truncation, ruin is termination.

    ASSET
        Action (1,): exposure in units of risk (`equations.fusion.exposure`). Observation: the asset's
        features. Baseline: `base_action` held without costs.
    REGIME
        Action (1,): r, which mixes two recorded legs. Observation: the market's features. Baseline: an account that
        keeps r = `base_action` throughout.
    PORTFOLIO
        Action (N,): signed fractions of equity, limited by `risk`. Observation: all features, the weights held. No
        baseline.

    Parameters
    ----------
    kind : Spec
        ASSET, REGIME or PORTFOLIO.
    tracks : sequence of Track
        With the same number of assets and features. See `asset_tracks`, `regime_track`, `portfolio_track`.
    task : Task
        Ends of the action space, reward, limits, costs, order rules.
    episode_bars : int
        Length of an episode, cut at the end of the span; None runs from the first bar of the span to its last.
    cash : float
        Start value; whole lots make it matter.
    compiled : bool, optional
        Step under numba (same bits); by default where it is installed.

    Raises
    ------
    ConfigError
        For ranges, costs, rules, cash, lengths or tracks that make no sense.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  gymnasium's own declaration

    def __init__(
        self,
        kind: Spec,
        tracks: Sequence[Track],
        task: Task = Task(),  # noqa: B008  an immutable tuple
        *,
        episode_bars: int | None = 252,
        cash: float = Capital().cash,
        compiled: bool | None = None,
    ) -> None:
        if episode_bars is not None and episode_bars < 1:
            raise ConfigError(f"episode_bars must be at least 1, or None for the whole span; not {episode_bars}")
        self.kind, self.tracks, self.episode_bars = kind, _checked_tracks(kind, tracks), episode_bars
        self._cash, self.task = checked_task(cash, task)
        self.compiled = have_numba() if compiled is None else compiled and have_numba()
        n, low, high = len(self.tracks[0].symbols), self.task.low, self.task.high
        n_seen = self.tracks[0].features.shape[1] + kind.sees * n
        self.action_space = gym.spaces.Box(low, high, (n if kind.per_asset else 1,), np.float32)
        self.observation_space = gym.spaces.Box(-CLIP, CLIP, (n_seen,), np.float32)
        self._market = TrackRows.of(self.tracks)
        self._lane = self.lanes(1)
        self._asked, self._seen = (n if kind.per_asset else 1,), np.zeros(n_seen, np.float32)

    def lanes(self, n_lanes: int, *, compiled: bool | None = None, reuse: bool = False) -> Lanes:
        """The same environment many times over, stepped in one call."""
        fast = self.compiled if compiled is None else compiled
        return Lanes(self.kind, self._market, self.task, n_lanes, cash=self._cash, compiled=fast, reuse=reuse)

    @property
    def account(self) -> Account:
        """As marked at the last close."""
        return self._lane.account()

    @property
    def sizes(self) -> NDArray[np.float64]:
        """(N,) signed shares held."""
        return np.asarray(self._lane.book().size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start in cash on a track and a bar that are drawn, or on `options["track"]` and `options["row"]` of it."""
        super().reset(seed=seed)
        episode = draw_episode(self.np_random, self.tracks, self.episode_bars, options or {})
        return self._lane.begin(0, episode), {"symbol": self.tracks[episode.track].symbol}

    def step(
        self, action: NDArray[np.float32] | Sequence[float]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Trade what the action asks for, and go to the next close.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before `reset`, and after the end of an episode.
        ActionError
            For an action that is none of the action space; the environment stands where it was.
        """
        seen, lane = self._seen, self._lane
        reward, end = lane.one(as_action(action, self._asked, lane.ends), seen)
        if end == GOES_ON:
            return seen.copy(), reward, False, False, {}
        if end == BARRED:
            if lane.waiting:
                raise ResetNeeded("the environment has not begun, or its episode has ended; call reset() before step()")
            refuse(action, self._asked, lane.ends)
        lane.waiting.add(0)
        return seen.copy(), reward, end == RUINED, end != RUINED, {}


def _checked_tracks(kind: Spec, tracks: Sequence[Track]) -> list[Track]:
    if not tracks:
        raise ConfigError("environment: no track to trade on; give at least one")
    shapes = {(len(track.symbols), track.features.shape[1], str(track.layout), track.lines) for track in tracks}
    if len(shapes) > 1:
        raise ConfigError(
            f"environment: tracks differ in their assets, features or legs {sorted(shapes)}; make several"
        )
    if kind == REGIME and not tracks[0].waits:
        raise ConfigError("environment: a regime mixes recorded legs, and the track has none; see regime_track")
    for track in tracks:
        n, legs = len(track.days), len(track.layout.columns) + len(track.lines)
        wide = track.opens, track.closes, track.volatility, *track.waits, *([track.sides] if len(track.sides) else [])
        fits = {np.shape(part) for part in wide} == {(n, len(track.symbols))} and len(track.features) == n
        fits = fits and len(track.correlation) == n and np.shape(track.said) == ((n, legs) if legs else (0, 0))
        if not (fits and 0 <= track.span.first < track.span.last < n - 1):
            raise ConfigError(
                f"environment: parts of {track.symbol} are not of one shape, or the span {tuple(track.span)} does not "
                f"fit {n} rows; rewards look one row behind it"
            )
    return list(tracks)


def checked_task(cash: float, task: Task) -> tuple[float, Task]:
    """Start value and task, in range, the action space as float32 can say it."""
    low, high = float(np.float32(task.low)), float(np.float32(task.high))  # what an action space can say
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"action range {task.low, task.high}: two finite ends, the lower below the upper")
    cash, costs, rules = checked_terms(cash, task.costs, task.rules)
    return cash, task._replace(low=low, high=high, costs=costs, rules=rules)
