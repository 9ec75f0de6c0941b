"""Many episodes of one environment stepped in one call, compiled or not; `hybrid_bt.train.models` makes a `VecEnv` of
them, and `TradingEnv` is one of them alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hybrid_bt.envs.episodes import Episode, Track
from hybrid_bt.equations.book import NO_TAPE, Account, Book
from hybrid_bt.equations.env_step import (
    FLOAT_ROWS,
    INT_ROWS,
    LAST,
    ROW,
    SCALARS,
    START_CASH,
    Spec,
    Task,
    World,
    begin_lane,
    book_of,
    load_account,
    step_lane,
    step_lanes,
)
from hybrid_bt.errors import ConfigError

#: observations, rewards, how the steps ended
Outcome = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


class Market(NamedTuple):
    """All tracks, one behind the other: R rows of N assets."""

    features: NDArray[np.float32]  #: (R, F)
    panel: NDArray[np.float64]  #: (3 and more, R, N) opens, closes, volatility; and the legs', see `step.World`
    rows: NDArray[np.float64]  #: (2, R) days, correlation
    lines: NDArray[np.float64]  #: of further legs, see `step.World`

    @classmethod
    def of(cls, tracks: Sequence[Track]) -> Market:
        """The tracks laid out."""
        panels = [np.stack([track.opens, track.closes, track.volatility, *track.legs]) for track in tracks]
        return cls(
            np.ascontiguousarray(np.concatenate([track.features for track in tracks]), np.float32),
            np.concatenate(panels, axis=1).astype(np.float64),
            np.hstack([np.array([track.days, track.correlation], np.float64) for track in tracks]),
            np.array(tracks[0].lines, np.float64).ravel(),
        )


class Lanes:
    """L episodes on some tracks.

    Parameters
    ----------
    spec : Spec
    tracks : sequence of Track
    task : Task
    n_lanes : int
    cash : float
        Start value of an account.
    compiled : bool
        Step under numba (same bits).
    reuse : bool
        Steps write to two sets of arrays by turns: what a step returns is good until the second step after it.
    market : Market, optional
        Of the tracks, where they are laid out already.

    Attributes
    ----------
    waiting : set of int
        Lanes that have to `begin` before the next step: all at first, then those whose episode has ended.
    """

    def __init__(
        self,
        spec: Spec,
        tracks: Sequence[Track],
        task: Task,
        n_lanes: int,
        *,
        cash: float = START_CASH,
        compiled: bool = False,
        reuse: bool = False,
        market: Market | None = None,
    ) -> None:
        n_assets, n_accounts, market = len(tracks[0].symbols), n_lanes * spec.accounts, market or Market.of(tracks)
        self.n_lanes, self.waiting = n_lanes, set(range(n_lanes))
        self._offsets = np.cumsum([0, *(len(track.days) for track in tracks)]).tolist()
        self._features = market.features
        self._n_seen = market.features.shape[1] + len(spec.bounds(n_assets, task))
        self._asked = np.zeros((n_lanes, n_assets if spec.per_asset else 1), np.float32)
        self._now: Outcome | None = self._fresh() if reuse else None
        self._next: Outcome | None = self._fresh() if reuse else None
        blank = np.zeros((n_accounts, FLOAT_ROWS, n_assets)), np.zeros((n_accounts, INT_ROWS, n_assets), np.int64)
        scalars = np.zeros((n_accounts, SCALARS))
        self._state: tuple[Any, Any, Any] = *blank, scalars
        self._begin: Callable[..., None]  #: (lane, first row, last row)
        self._many: Callable[..., int]  #: (actions, and `Outcome` written)
        self.one: Callable[..., tuple[float, int]]  #: (actions, observation written) of lane 0
        if compiled:
            from hybrid_bt.equations.compiled.envs import bound

            self._begin, self._many, self.one = bound(spec, task, n_lanes, cash, self._state, market)
            return
        # lists, which CPython reads faster than arrays
        self._state = blank[0].tolist(), blank[1].tolist(), scalars.tolist()
        opens, closes, volatility, *legs = market.panel.tolist()
        days, correlation = market.rows.tolist()
        seen = market.features, opens, closes, volatility, legs, market.lines.tolist(), days, correlation
        world = World(*self._state, *seen, task, NO_TAPE)
        self._begin = partial(begin_lane, world, n_lanes, cash)
        self._many = partial(step_lanes, spec.act, spec.see, spec.baseline, world)
        self.one = partial(step_lane, spec.act, spec.see, spec.baseline, world, 0)

    def _fresh(self) -> Outcome:
        """Room for what a step writes."""
        n = self.n_lanes
        return np.empty((n, self._n_seen), np.float32), np.empty(n, np.float32), np.empty(n, np.int64)

    def begin(self, lane: int, episode: Episode) -> NDArray[np.float32]:
        """Start an episode, in cash; its first observation."""
        row = self._offsets[episode.track] + episode.first
        self.waiting.discard(lane)
        self._begin(lane, row, row + episode.last - episode.first)
        seen = np.zeros(self._n_seen, np.float32)  # nothing is held
        features = self._features[row]
        seen[: len(features)] = features
        return seen

    def step(self, actions: NDArray[np.float32]) -> Outcome:
        """Step every lane.

        Parameters
        ----------
        actions : (L, 1), or (L, N) where an action holds a number for each asset

        Returns
        -------
        Observations (L, features), rewards (L,) and how the steps ended (L,); see `step.step_lanes`.

        Raises
        ------
        gymnasium.error.ResetNeeded
            If a lane has not begun since its episode ended.
        """
        if self.waiting:
            raise ResetNeeded(f"lanes: {sorted(self.waiting)} have ended or not begun; call begin for each")
        if actions.shape != self._asked.shape:
            raise ConfigError(f"lanes: actions are lanes x numbers, {self._asked.shape}, not {actions.shape}")
        self._asked[...] = actions  # one type and layout: numba would compile anew for another
        self._now, self._next = self._next, self._now
        out = self._now or self._fresh()
        if self._many(self._asked, *out):
            self.waiting = set(np.flatnonzero(out[2]).tolist())
        return out

    def account(self, lane: int = 0) -> Account:
        """Of one lane, at its last close."""
        return load_account(np.array(self._state[2][lane]).tolist())

    def book(self, lane: int = 0) -> Book:
        """Of one lane, a copy."""
        return book_of(np.array(self._state[0][lane]), np.array(self._state[1][lane]))

    def state(self) -> list[NDArray[Any]]:
        """Where all lanes stand, for `restore`; compiled or not it is the same."""
        return [np.array(part) for part in self._state]

    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        """Go back to what `state` gave."""
        for mine, saved in zip(self._state, state, strict=True):
            mine[:] = saved if isinstance(mine, np.ndarray) else saved.tolist()
        self.waiting = {lane for lane, (row, last) in enumerate(state[2][: self.n_lanes, [ROW, LAST]]) if row >= last}
