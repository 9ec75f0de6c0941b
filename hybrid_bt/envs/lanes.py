"""Many episodes of an environment stepped in one call, compiled or not.

`hybrid_bt.train.models` makes a `VecEnv` of lanes, and `TradingEnv` is one of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hybrid_bt.envs.episodes import Episode, Span, Track
from hybrid_bt.envs.specs import Spec, as_action, refuse
from hybrid_bt.equations import env_step as step
from hybrid_bt.equations.book import NO_TAPE, Account, Book, book_of
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.equations.compiled import have_numba
from hybrid_bt.equations.env_step import BARRED, FLOAT_ROWS, INT_ROWS, LAST, ROW, SCALARS, WORTH, Task, World
from hybrid_bt.equations.rewards import are_ours, paying, remembered
from hybrid_bt.errors import ConfigError

#: of (lane, first row, last row); makers of one of (actions, and `Outcome` written), and of lane 0 alone
Kernels: TypeAlias = tuple[Callable[..., None], Callable[[], Callable[..., Any]], Callable[[], Callable[..., Any]]]
#: observations, rewards, how the steps ended
Outcome = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
LEAST_STEPS = 100_000  # interpreted 2 s or more; to be compiled, a reward takes some 7 s
MOST_LISTED = 4_000_000  #: numbers that are laid out in lists, 32 bytes each


class TrackRows(NamedTuple):
    """All tracks, one behind the other: R rows of N assets."""

    features: NDArray[np.float32]  #: (R, F)
    #: (5 to 7, R, N) opens, closes, volatility, days, correlation, labels where it joins, waits; see `World`
    panel: NDArray[np.float64]
    said: NDArray[np.float64]  #: (R, S + K), see `World`
    layout: NDArray[np.int64]  #: (3, S): of those sides, filled up with -1
    joins: bool  #: whether a track has `sides`
    lines: NDArray[np.float64]  #: (3 K,) see `World`
    offsets: NDArray[np.int64]  #: first row of each track
    spans: tuple[Span, ...]  #: of the tracks

    @classmethod
    def of(cls, tracks: Sequence[Track]) -> TrackRows:
        """The tracks laid out."""
        panels, joins = [], any(len(track.sides) > 0 for track in tracks)
        for track in tracks:
            shape = track.opens.shape
            days, correlation = (np.broadcast_to(row[:, None], shape) for row in (track.days, track.correlation))
            labels = track.sides if len(track.sides) else np.arange(shape[1])
            sides = [np.broadcast_to(labels, shape)] if joins else []
            market = track.opens, track.closes, track.volatility, days, correlation
            panels.append(np.stack([*market, *sides, *track.waits]))
        parts = tracks[0].layout
        layout = np.full((3, len(parts.columns)), -1, np.int64)
        for row, part in zip(layout, map(list, parts), strict=True):
            row[: len(part)] = part
        return cls(
            np.ascontiguousarray(np.concatenate([track.features for track in tracks]), np.float32),
            np.concatenate(panels, axis=1).astype(np.float64),
            np.concatenate([track.said for track in tracks]),
            layout,
            joins,
            np.array(tracks[0].lines, np.float64).ravel(),
            np.cumsum([0, *(len(track.days) for track in tracks)]),
            tuple(track.span for track in tracks),
        )


class Lanes:
    """L episodes on a market.

    Parameters
    ----------
    spec, market, task, n_lanes
    cash : float
        Start value of an account.
    compiled : bool, optional
        Step under numba (same bits); by default where it is installed, rewards of one's own after `LEAST_STEPS`.
    reuse : bool
        Steps write to two sets of arrays by turns: what a step returns is good until the second step after it.

    Attributes
    ----------
    waiting : set of int
        Lanes that have to `begin` before the next step: all at first, then those whose episode has ended.
    shape, n_seen : tuple, int
        Of the actions of a step; how many numbers a lane shows.
    """

    def __init__(
        self,
        spec: Spec,
        market: TrackRows,
        task: Task,
        n_lanes: int,
        *,
        cash: float,
        compiled: bool | None,
        reuse: bool,
    ) -> None:
        self._again = partial(type(self), spec, market, task, n_lanes, cash=cash, compiled=compiled, reuse=reuse)
        n_assets, n_accounts = market.panel.shape[2], n_lanes * spec.accounts
        self.n_lanes, self.waiting, self.ends = n_lanes, set(range(n_lanes)), (task.low, task.high)
        self._offsets, self._spans, self._features = market.offsets.tolist(), market.spans, market.features
        self.n_seen = market.features.shape[1] + spec.sees * n_assets
        self.shape = n_lanes, n_assets if spec.per_asset else 1
        self._now: Outcome | None = self._fresh() if reuse else None
        self._next: Outcome | None = self._fresh() if reuse else None
        terms = () if callable(spec.reward) else spec.reward
        self._fresh_memory = remembered(terms)
        n_rows = FLOAT_ROWS + bool(terms)
        floats, ints = np.zeros((n_accounts, n_rows, n_assets)), np.zeros((n_accounts, INT_ROWS, n_assets), np.int64)
        self._state: tuple[Any, ...] = floats, ints, np.zeros((n_accounts, SCALARS + len(self._fresh_memory)))
        is_own, is_long = not are_ours(spec.reward), market.features.size > MOST_LISTED
        #: steps that are still to be interpreted, before a reward of one's own is compiled
        self._left = LEAST_STEPS * (compiled is None and is_own and not is_long and have_numba())
        kernels = None
        if compiled is not False and not self._left and have_numba():
            from hybrid_bt.equations.compiled.envs import bound

            kernels = bound((spec.act, spec.see, spec.reward), task, n_lanes, cash, self._state, market[:6])
        self._begin, many, one = kernels or self._interpreted(spec, market, task, cash)
        self._steps = {"_many": many, "one": one}
        self._many, self.one = (partial(self._paid if is_own else self._first, name) for name in self._steps)

    def _first(self, name: str, *given: Any) -> Any:  # noqa: ANN401  as the kernel of this name
        """A step that makes its kernel; from then on that is called itself."""
        setattr(self, name, self._steps[name]())
        return getattr(self, name)(*given)

    def _interpreted(self, spec: Spec, market: TrackRows, task: Task, cash: float) -> Kernels:
        """On lists, which CPython reads faster than arrays."""
        floats, ints, scalars = self._state
        self._state = floats.tolist(), ints.tolist(), scalars.tolist()
        n_assets, panel, marks_from = market.panel.shape[2], market.panel.tolist(), 5 + market.joins
        labels = market.joins * n_assets, panel[5 * market.joins]
        n_legs, n_sides = len(market.lines) // 3, market.layout.shape[1]
        layout = Layout(*([value for value in row if value >= 0] for row in market.layout.tolist()))
        room = [[0.0] * n for n in (n_sides, n_legs, n_legs, n_assets)]
        rows: tuple[Any, ...] = market.features.tolist(), *panel[:5], *labels, panel[marks_from:], market.said.tolist()
        world = World._make((*self._state, *rows, layout, market.lines.tolist(), room, task, NO_TAPE))
        begin = partial(step.begin_lane, world, self.n_lanes, cash)
        rules = spec.act, spec.see, spec.reward if callable(spec.reward) else paying(spec.reward)
        return begin, lambda: partial(step.step_lanes, *rules, world), lambda: partial(step.step_lane, *rules, world, 0)

    def _paid(self, name: str, *given: Any) -> Any:  # noqa: ANN401  as the kernel of this name
        """A step that a reward of one's own pays; ConfigError where that is no number."""
        if self._left:
            self._left = max(self._left - self.n_lanes, 0)
            if not self._left:
                fast = self._again(compiled=True)
                fast.restore(self.state())
                self._state, self._begin, self._steps = fast._state, fast._begin, fast._steps
        made = self._steps[name]()(*given)
        end, paid = (made[1], math.isfinite(made[0])) if name == "one" else (made, np.isfinite(given[2]).all())
        if end != BARRED and not paid:
            raise ConfigError("environment: a step paid a reward that is no finite number; mend the function")
        return made

    def _fresh(self) -> Outcome:
        """Room for what a step writes."""
        n = self.n_lanes
        return np.empty((n, self.n_seen), np.float32), np.empty(n, np.float32), np.empty(n, np.int64)

    def begin(self, lane: int, episode: Episode) -> NDArray[np.float32]:
        """Start an episode, in cash; its first observation. ConfigError for no lane or track, or outside its span."""
        span = self._spans[episode.track] if 0 <= episode.track < len(self._spans) else Span(0, 0)
        if not (0 <= lane < self.n_lanes and span.first <= episode.first < episode.last <= span.last):
            raise ConfigError(
                f"episode: {tuple(episode)} of lane {lane}: {self.n_lanes} lanes and {len(self._spans)} tracks are "
                f"counted from 0, and a step or more lies within the track's span {tuple(span)}"
            )
        row = self._offsets[episode.track] + episode.first
        self.waiting.discard(lane)
        self._begin(lane, row, row + episode.last - episode.first)
        self._state[2][lane][SCALARS:] = self._fresh_memory
        seen = np.zeros(self.n_seen, np.float32)  # nothing is held
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
        ActionError
            For actions of another shape or type, NaN, or outside the action space; no lane is stepped then.
        """
        if self.waiting:
            raise ResetNeeded(f"lanes: {sorted(self.waiting)} have ended or not begun; call begin for each")
        asked = as_action(actions, self.shape, self.ends)
        self._now, self._next = self._next, self._now
        out = self._now or self._fresh()
        over = self._many(asked, *out)
        if over == BARRED:
            refuse(asked, self.shape, self.ends)
        if over:
            self.waiting = set(np.flatnonzero(out[2]).tolist())
        return out

    def account(self, lane: int = 0) -> Account:
        """Of one lane, at its last close."""
        return step.load_account(np.array(self._state[2][lane]).tolist())

    def book(self, lane: int = 0) -> Book:
        """Of one lane, a copy."""
        return book_of(*(np.array(part[lane]) for part in self._state[:2]))

    def stands(self, lane: int = 0) -> tuple[int, float]:
        """The row of all tracks that a lane is at, and its equity at the open behind it."""
        scalars = self._state[2][lane]
        return int(scalars[ROW]), float(scalars[WORTH])

    def state(self) -> list[NDArray[Any]]:
        """Where all lanes stand, for `restore`; compiled or not it is the same."""
        return [np.array(part) for part in self._state]

    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        """Go back to what `state` gave; ConfigError if it is of other lanes."""
        rows = np.asarray(state[2])[..., [ROW, LAST]]
        if [np.shape(part) for part in state] != [np.shape(part) for part in self._state] or not (
            (rows >= 0) & (rows < len(self._features) - 1)
        ).all():
            raise ConfigError("lanes: the state is of others; give what state() gave, on the same market")
        for mine, saved in zip(self._state, state, strict=True):
            mine[:] = saved if isinstance(mine, np.ndarray) else saved.tolist()
        self.waiting = {lane for lane, (row, last) in enumerate(rows[: self.n_lanes]) if row >= last}

    def __reduce__(self) -> tuple[Any, ...]:
        """The same lanes on the same market, and where they stand."""
        return self._again, (), self.state()

    __setstate__ = restore
