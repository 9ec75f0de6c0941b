"""One account of N assets as a gymnasium environment: for agents of one's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounting import Account, OrderRules
from hybrid_bt.batch import have_numba
from hybrid_bt.batch_env import PortfolioLanes
from hybrid_bt.costs import Costs
from hybrid_bt.envs import Reward
from hybrid_bt.errors import ConfigError
from hybrid_bt.features import CLIP
from hybrid_bt.lanes import GOES_ON, RUINED
from hybrid_bt.paper import START_CASH
from hybrid_bt.portfolio import UNLEVERED, PortfolioTask
from hybrid_bt.risk import RiskParams
from hybrid_bt.scenarios import checked_terms
from hybrid_bt.tracks import Episode, PortfolioTrack, draw_episode


class PortfolioEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """N assets in one account that Backtrader's broker would keep to the same bits.

    Observation: float32 (F + N,), the track's features and the weights held at this close. Action: float32 (N,),
    signed fractions of equity, cut to `action_range` and then limited by `risk`; NaN keeps what is held. They are
    traded at the next open of each asset. Reward: net log return of the account in percent, less a variance penalty
    (`Reward`); ruin, which ends the episode, costs 100.

    Parameters
    ----------
    track : PortfolioTrack
        See `hybrid_bt.tracks.portfolio_track`.
    action_range : (low, high)
        Ends of the action space; (0, 1) for an account without shorts.
    risk : RiskParams
        As a mode's own (`Config.risk`); by default targets of more than 0.97 of equity in all are scaled to
        it. `hybrid_bt.portfolio.NO_LIMITS` hands them to the broker as they are.
    cash : float
        Start value; whole lots make it matter.
    episode_bars : int
        Length of an episode, cut at the end of the span; None runs from the first bar of the span to its last.
    compiled : bool, optional
        Step under numba (same bits); by default where it is installed.

    Raises
    ------
    ConfigError
        For ranges, costs, rules, cash or lengths that make no sense.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  gymnasium's own declaration

    def __init__(
        self,
        track: PortfolioTrack,
        *,
        action_range: tuple[float, float] = (-1.0, 1.0),
        risk: RiskParams = UNLEVERED,
        reward: Reward = Reward(0.0),  # noqa: B008  an immutable tuple
        costs: Costs = Costs(),  # noqa: B008
        rules: OrderRules = OrderRules(),  # noqa: B008
        cash: float = START_CASH,
        episode_bars: int | None = 252,
        compiled: bool | None = None,
    ) -> None:
        low, high = (float(np.float32(end)) for end in action_range)  # what an action space can say
        if not (low < high and math.isfinite(low) and math.isfinite(high)):
            raise ConfigError(f"action range {action_range}: two finite ends, the lower below the upper")
        if episode_bars is not None and episode_bars < 1:
            raise ConfigError(f"episode_bars must be at least 1, or None for the whole span; not {episode_bars}")
        terms = checked_terms(cash, costs, rules)
        self.tracks, self.episode_bars, self._cash = [track], episode_bars, terms[0]
        self.task = PortfolioTask(low, high, reward.risk_aversion, risk, *terms[1:])
        n = len(track.symbols)
        self.action_space = gym.spaces.Box(low, high, (n,), np.float32)
        self.observation_space = gym.spaces.Box(-CLIP, CLIP, (track.features.shape[1] + n,), np.float32)
        self._lane = self.lanes(1, compiled=have_numba() if compiled is None else compiled and have_numba())
        self._n, self._asked, self._seen = n, np.zeros(n, np.float32), np.zeros(self._lane.n_features, np.float32)
        self._step = partial(self._lane.step_one, self._asked, self._seen)

    def lanes(self, n_lanes: int, *, compiled: bool, reuse: bool = False) -> PortfolioLanes:
        """The same environment many times over, stepped in one call."""
        return PortfolioLanes(self.tracks[0], self.task, n_lanes, cash=self._cash, compiled=compiled, reuse=reuse)

    @property
    def account(self) -> Account:
        """As marked at the last close."""
        return self._lane.account()

    @property
    def sizes(self) -> NDArray[np.float64]:
        """(N,) signed shares held."""
        held: NDArray[np.float64] = self._lane.book().size.copy()
        return held

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start in cash, on a random bar or on `options["row"]` of the track."""
        super().reset(seed=seed)
        episode: Episode = draw_episode(self.np_random, self.tracks, self.episode_bars, options or {})
        return self._lane.begin(0, episode), {"symbol": self.tracks[0].symbol}

    def step(
        self, action: NDArray[np.float32] | Sequence[float]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold the weights that the action asks for until the next close."""
        if len(action) != self._n:
            raise ConfigError(f"portfolio: an action has one weight per asset, {self._n}, not {len(action)}")
        self._asked[:] = action
        reward, end = self._step()
        return self._seen.copy(), reward, end == RUINED, end != GOES_ON and end != RUINED, {}
