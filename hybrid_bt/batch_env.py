"""Many asset environments stepped in one call, compiled or not; `hybrid_bt.train.vecenv` makes a `VecEnv` of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounting import NO_TAPE
from hybrid_bt.envs import AssetTrack, Episode
from hybrid_bt.errors import ConfigError
from hybrid_bt.lanes import LaneMarket, LaneState, begin_lane, step_lanes
from hybrid_bt.paper import AssetTask

__all__ = ["Lanes"]


def _driver(compiled: bool, task: AssetTask) -> tuple[Callable[..., None], Callable[..., None]]:
    """begin(lane, first, last, state, market) and step(actions, low, high, state, market, observations, rewards,
    ended); see `hybrid_bt.lanes`."""
    if compiled:
        from hybrid_bt.kernels.lanes import compiled_lanes

        return compiled_lanes(task)

    def begin(lane: int, first: int, last: int, state: LaneState, market: LaneMarket) -> None:
        begin_lane(lane, first, last, state, market, task, NO_TAPE)

    def step(actions: Any, low: float, high: float, state: LaneState, market: LaneMarket, *out: Any) -> None:
        step_lanes(actions, low, high, state, market, task, NO_TAPE, *out)

    return begin, step


class Lanes:
    """L lanes on some tracks.

    Parameters
    ----------
    tracks : sequence of AssetTrack
    task : AssetTask
    action_range : (low, high)
        As float32 has them (`AssetEnv.action_range`).
    n_lanes : int
    compiled : bool
        Step under numba (same bits).

    Attributes
    ----------
    waiting : set of int
        Lanes that have to `begin` before the next step: all at first, then those whose episode has ended.
    """

    def __init__(
        self,
        tracks: Sequence[AssetTrack],
        task: AssetTask,
        action_range: tuple[float, float],
        n_lanes: int,
        *,
        compiled: bool,
    ) -> None:
        self.n_lanes, self._range = n_lanes, action_range
        self.waiting = set(range(n_lanes))
        self._offsets = np.cumsum([0, *(len(track.days) for track in tracks)]).tolist()
        self._market = LaneMarket(
            np.ascontiguousarray(np.concatenate([track.observations for track in tracks])),
            np.concatenate([np.array(track.volatility) for track in tracks]),
            np.concatenate([np.array(track.opens) for track in tracks]),
            np.concatenate([np.array(track.closes) for track in tracks]),
            np.concatenate([np.array(track.days, np.int64) for track in tracks]),
        )
        n = n_lanes
        rows = (np.zeros(n, np.int64) for _ in range(3))
        self._state = LaneState(np.zeros((n, 7, 1)), np.zeros((n, 4, 1), np.int64), np.zeros((n, 10)), *rows)
        self._begin, self._step = _driver(compiled, task)

    def begin(self, lane: int, episode: Episode) -> NDArray[np.float32]:
        """Start an episode; its first observation."""
        self.waiting.discard(lane)
        offset = self._offsets[episode.track]
        self._begin(lane, offset + episode.first, offset + episode.last, self._state, self._market)
        seen: NDArray[np.float32] = self._market.observations[offset + episode.first]
        return seen

    def step(self, actions: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Observations (L, features), rewards (L,) and how the steps ended (L,); see `step_lanes`.

        Raises
        ------
        ConfigError
            If a lane has not begun since its episode ended.
        """
        if self.waiting:
            raise ConfigError(f"lanes: {sorted(self.waiting)} have ended or not begun; call begin for each")
        observations = np.empty((self.n_lanes, self._market.observations.shape[1]), np.float32)
        rewards, ended = np.empty(self.n_lanes, np.float32), np.empty(self.n_lanes, np.int64)
        self._step(actions, *self._range, self._state, self._market, observations, rewards, ended)
        if ended.any():
            self.waiting = set(np.flatnonzero(ended).tolist())
        return observations, rewards, ended
