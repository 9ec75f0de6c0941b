"""Many environments stepped in one call, compiled or not; `hybrid_bt.train.vecenv` makes a `VecEnv` of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounting import NO_TAPE, Account, Book
from hybrid_bt.costs import Costs
from hybrid_bt.errors import ConfigError
from hybrid_bt.lanes import (
    LaneMarket,
    LaneState,
    begin_lane,
    book_of,
    load_account,
    step_lane,
    step_lanes,
    store_account,
)
from hybrid_bt.paper import START_CASH, AssetTask
from hybrid_bt.portfolio import PortfolioMarket, PortfolioTask, step_portfolio, step_portfolios
from hybrid_bt.tracks import AssetTrack, Episode, PortfolioTrack

#: observations, rewards, how the steps ended
Outcome = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


class _Lanes:
    """L accounts, each in an episode of its own.

    Attributes
    ----------
    waiting : set of int
        Lanes that have to `begin` before the next step: all at first, then those whose episode has ended.
    """

    _offsets: list[int]
    _market: Any
    _begin: Callable[..., None]
    _step: Callable[..., int]
    step_one: Callable[..., tuple[float, int]]  #: (actions (N,), observation, written) of lane 0

    def __init__(self, n_lanes: int, n_assets: int, n_features: int, reuse: bool) -> None:
        n = n_lanes
        self.n_lanes, self.n_features = n, n_features
        self._asked = np.zeros((n, n_assets), np.float32)
        self._now: Outcome | None = self._fresh() if reuse else None
        self._next: Outcome | None = self._fresh() if reuse else None
        self.waiting = set(range(n))
        floats, ints = np.zeros((n, 7, n_assets)), np.zeros((n, 4, n_assets), np.int64)
        self._arrays = floats, ints, np.zeros((n, 10)), np.zeros((3, n), np.int64)
        self._state = LaneState(*self._arrays[:3], *self._arrays[3])

    def _beginner(self, cash: float, costs: Costs) -> Callable[..., None]:
        market = self._market

        def begin(lane: int, first: int, last: int) -> None:
            prices = market.opens, market.closes, market.days
            begin_lane(lane, first, last, cash, self._state, *prices, costs, NO_TAPE)

        return begin

    def start(self, lane: int, episode: Episode) -> int:
        """Start an episode, in cash; the row that it stands on."""
        self.waiting.discard(lane)
        offset = self._offsets[episode.track]
        self._begin(lane, offset + episode.first, offset + episode.last)
        return offset + episode.first

    def _fresh(self) -> Outcome:
        """Room for what a step writes."""
        n = self.n_lanes
        return np.empty((n, self.n_features), np.float32), np.empty(n, np.float32), np.empty(n, np.int64)

    def step(self, actions: NDArray[np.float32]) -> Outcome:
        """Step every lane.

        Parameters
        ----------
        actions : (L, N)

        Returns
        -------
        Observations (L, features), rewards (L,) and how the steps ended (L,); see `lanes.step_lanes`.

        Raises
        ------
        ConfigError
            If a lane has not begun since its episode ended.
        """
        if self.waiting:
            raise ConfigError(f"lanes: {sorted(self.waiting)} have ended or not begun; call begin for each")
        if actions.shape != self._asked.shape:
            raise ConfigError(f"lanes: actions are lanes x assets, {self._asked.shape}, not {actions.shape}")
        self._asked[...] = actions  # one type and layout: numba would compile anew for another
        self._now, self._next = self._next, self._now
        out = self._now or self._fresh()
        if self._step(self._asked, *out):
            self.waiting = set(np.flatnonzero(out[2]).tolist())
        return out

    def offset(self, track: int) -> int:
        """Row at which a track begins."""
        return self._offsets[track]

    def rows(self, lane: int = 0) -> tuple[int, int, int]:
        """First row of a lane's episode, the row it stands on, and the last."""
        first, row, last = self._arrays[3][:, lane].tolist()
        return first, row, last

    def place(self, first: int, row: int, last: int, account: Account, book: Book) -> None:
        """Put lane 0 where an account stands, in the midst of its episode; rows of all tracks, one behind the other."""
        self.waiting.discard(0)
        self._arrays[3][:, 0] = first, row, last
        store_account(self._state.accounts[0], account)
        for mine, theirs in zip(self.book(), book, strict=True):
            mine[:] = theirs

    def account(self, lane: int = 0) -> Account:
        """Of one lane, at its last close."""
        return load_account(self._state.accounts[lane].tolist())

    def book(self, lane: int = 0) -> Book:
        """Of one lane, as it lies in memory."""
        return book_of(self._state.floats[lane], self._state.ints[lane])


class Lanes(_Lanes):
    """L lanes on some tracks, each with one asset.

    Parameters
    ----------
    tracks : sequence of AssetTrack
    task : AssetTask
    action_range : (low, high)
        As float32 has them (`AssetEnv.action_range`).
    n_lanes : int
    compiled : bool
        Step under numba (same bits).
    reuse : bool
        Steps write to two sets of arrays by turns: what a step returns is good until the second step after it.
    """

    def __init__(
        self,
        tracks: Sequence[AssetTrack],
        task: AssetTask,
        action_range: tuple[float, float],
        n_lanes: int,
        *,
        compiled: bool,
        reuse: bool = False,
    ) -> None:
        super().__init__(n_lanes, 1, tracks[0].observations.shape[1], reuse)
        self._offsets = np.cumsum([0, *(len(track.days) for track in tracks)]).tolist()
        market = self._market = LaneMarket(
            np.ascontiguousarray(np.concatenate([track.observations for track in tracks])),
            np.concatenate([np.array(track.volatility) for track in tracks]),
            np.concatenate([np.array(track.opens) for track in tracks]),
            np.concatenate([np.array(track.closes) for track in tracks]),
            np.concatenate([np.array(track.days, np.int64) for track in tracks]),
        )
        state = self._state
        if compiled:
            from hybrid_bt.kernels.lanes import asset_kernels

            kernels = asset_kernels(task, action_range, START_CASH, self._arrays, market)
            self._begin, self._step, self.step_one = kernels
            return
        self._begin = self._beginner(START_CASH, task.costs)
        self._step = lambda actions, *out: step_lanes(actions, *action_range, state, market, task, NO_TAPE, *out)
        self.step_one = lambda actions, seen: step_lane(0, actions, *action_range, state, market, task, NO_TAPE, seen)

    def begin(self, lane: int, episode: Episode) -> NDArray[np.float32]:
        """Start an episode; its first observation."""
        seen: NDArray[np.float32] = self._market.observations[self.start(lane, episode)]
        return seen


class PortfolioLanes(_Lanes):
    """L accounts on one track, each with all of its assets.

    Parameters
    ----------
    track : PortfolioTrack
    task : PortfolioTask
    cash : float
        Start value.
    n_lanes : int
    compiled : bool
        Step under numba (same bits).
    reuse : bool
        Steps write to two sets of arrays by turns: what a step returns is good until the second step after it.
    """

    def __init__(
        self,
        track: PortfolioTrack,
        task: PortfolioTask,
        n_lanes: int,
        *,
        compiled: bool,
        cash: float = START_CASH,
        reuse: bool = False,
    ) -> None:
        n_features, n_assets = track.features.shape[1], len(track.symbols)
        super().__init__(n_lanes, n_assets, n_features + n_assets, reuse)
        self._offsets = [0]
        market = self._market = PortfolioMarket(
            features=np.ascontiguousarray(track.features, np.float32),
            volatility=track.volatility,
            opens=track.opens,
            closes=track.closes,
            correlation=np.ascontiguousarray(track.correlation),
            days=np.ascontiguousarray(track.days, np.int64),
        )
        state = self._state
        if compiled:
            from hybrid_bt.kernels.lanes import portfolio_kernels

            self._begin, self._step, self.step_one = portfolio_kernels(task, cash, self._arrays, market)
            return
        self._begin = self._beginner(cash, task.costs)
        self._step = lambda actions, *out: step_portfolios(actions, state, market, task, NO_TAPE, *out)
        self.step_one = lambda actions, seen: step_portfolio(0, actions, state, market, task, NO_TAPE, seen)

    def begin(self, lane: int, episode: Episode) -> NDArray[np.float32]:
        """Start an episode; its first observation."""
        seen = np.zeros(self.n_features, np.float32)  # nothing is held
        features = self._market.features[self.start(lane, episode)]
        seen[: len(features)] = features
        return seen
