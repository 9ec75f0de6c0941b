"""The bandits that policies learn from (`hybrid_bt.train.ground`), as Stable-Baselines3 steps them: groups of symbols
for SAC, windows of markets for the gate.

Imports Stable-Baselines3: import this module inside functions only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.envs.episodes import box, seeded
from hybrid_bt.envs.specs import ResetNeeded, refuse
from hybrid_bt.equations.features import CLIP
from hybrid_bt.equations.tilt import score_bar
from hybrid_bt.errors import BarsError
from hybrid_bt.train.ground import LABEL_BARS, REGIME_BARS, FloatArray, Ground, RegimeGround
from hybrid_bt.train.spec import GateSpec, SacSpec
from hybrid_bt.train.vec_envs import AlikeVecEnv, Stepped

LEAST_SYMBOLS = 2  #: of a group


class _Windows(AlikeVecEnv):
    """Windows of markets, drawn with equal odds; where one is over another is drawn."""

    window_bars: int
    _starts: list[NDArray[np.int64]]  #: of each market, the rows at which a window may begin
    _rng: np.random.Generator
    _where: NDArray[np.int64]  #: (W, 3) market, row, bars of the window that are left
    _more: FloatArray | NDArray[np.int64]  #: what else a window is

    @abstractmethod
    def _drawn(self, market: int, row: int) -> float | NDArray[np.int64]:
        """What else a window is that begins there."""

    @abstractmethod
    def _seen(self) -> NDArray[np.float32]:
        """(n, F) of each lane."""

    def _begin(self, window: int) -> None:
        market = int(self._rng.integers(len(self._starts)))
        row = int(self._rng.choice(self._starts[market]))
        self._where[window] = market, row, self.window_bars
        self._more[window] = self._drawn(market, row)

    def reset(self) -> NDArray[np.float32]:
        """Draw all windows."""
        if self._seeds[0] is not None:
            self._rng = seeded(self._seeds[0])
        self._reset_seeds()
        for window in range(len(self._where)):
            self._begin(window)
        return self._seen()

    def _asked(self) -> FloatArray:
        """The actions, (n,); one outside the action space is its nearer end."""
        if not self._where[0, 2]:
            raise ResetNeeded("windows have not begun; call reset() before step()")
        if not np.isfinite(self._actions).all():
            refuse(self._actions, self._actions.shape, self.ends)
        return np.clip(self._actions[:, 0].astype(np.float64), *self.ends)

    def _next_bar(self) -> NDArray[np.bool_]:
        """Whether each window is over."""
        self._where += 0, 1, -1
        over: NDArray[np.bool_] = self._where[:, 2] == 0
        for window in np.flatnonzero(over).tolist():
            self._begin(window)
        return over

    def state(self) -> dict[str, Any]:
        """The running windows and the generator, for `restore`."""
        return {"lanes": [self._where.copy(), self._more.copy()], "rngs": [self._rng.bit_generator.state]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._where[...], self._more[...] = state["lanes"]
        self._rng.bit_generator.state = dict(state["rngs"][0])


class GroupVecEnv(_Windows):
    """Groups side by side, one lane a symbol of a group; an episode is a window of a market.

    Parameters
    ----------
    grounds : sequence of Ground
    spec : SacSpec
        Groups are smaller than it says where the smallest market is.

    Raises
    ------
    BarsError
        If a market has no window on which two symbols are warm.
    """

    def __init__(self, grounds: Sequence[Ground], spec: SacSpec) -> None:
        self.grounds, self.window_bars = tuple(grounds), spec.window_bars
        last = spec.window_bars - 1
        self._whole = [ground.usable[: len(ground.usable) - last] & ground.usable[last:] for ground in grounds]
        widest = [int(whole.sum(axis=1).max(initial=0)) for whole in self._whole]
        for ground, most in zip(grounds, widest, strict=True):
            if most < LEAST_SYMBOLS:
                raise BarsError(
                    f"training: {', '.join(ground.symbols):.60} are never {LEAST_SYMBOLS} warm symbols on a window of "
                    f"{spec.window_bars} bars and {LABEL_BARS + 1} behind it; choose an earlier start or more data"
                )
        self.size = min(spec.n_symbols, *widest)
        self._starts = [np.flatnonzero(whole.sum(axis=1) >= self.size) for whole in self._whole]
        self._rng, shape = seeded(None), (spec.n_groups, self.size)
        self._where, self._more = np.zeros((spec.n_groups, 3), np.int64), np.zeros(shape, np.int64)  # more: columns
        seen = box(-CLIP, CLIP, grounds[0].features.shape[2])
        super().__init__(spec.n_groups * self.size, seen, box(-1.0, 1.0, 1))

    def _drawn(self, market: int, row: int) -> NDArray[np.int64]:
        return self._rng.permutation(np.flatnonzero(self._whole[market][row]))[: self.size]

    def _of_groups(self, field: str) -> NDArray[Any]:
        """Rows of a field of `Ground`, (G, S, ...)."""
        picked = zip(self._where.tolist(), self._more, strict=True)
        return np.stack([getattr(self.grounds[market], field)[row, columns] for (market, row, _), columns in picked])

    def _seen(self) -> NDArray[np.float32]:
        return self._of_groups("features").reshape(self.num_envs, -1)

    def step_wait(self) -> Stepped:
        """Pay for the actions and go on a bar."""
        asked: FloatArray = self._asked().reshape(self._more.shape)
        gains, z, warm = self._of_groups("gains"), np.zeros(self._more.shape), [True] * self.size
        for scores, actions in zip(z, asked.tolist(), strict=True):
            score_bar(scores, actions, warm, 0.0)
        paid = z * (gains - gains.mean(axis=1, keepdims=True)) / self._of_groups("risk")
        over = np.repeat(self._next_bar(), self.size)
        return self._seen(), paid.ravel().astype(np.float32), over, [{} for _ in range(self.num_envs)]


class RegimeVecEnv(_Windows):
    """Windows side by side, one lane each; an action is r.

    Parameters
    ----------
    grounds : sequence of RegimeGround
    spec : GateSpec

    Raises
    ------
    BarsError
        If a market has no window.
    """

    def __init__(self, grounds: Sequence[RegimeGround], spec: GateSpec) -> None:
        self.grounds, self._spec, n, self.window_bars = tuple(grounds), spec, spec.n_envs, spec.window_bars
        self._starts = [ground.starts(self.window_bars) for ground in grounds]
        for ground, starts in zip(grounds, self._starts, strict=True):
            if not len(starts):
                raise BarsError(
                    f"training: {', '.join(ground.symbols):.60} have no window of {self.window_bars} warm bars with "
                    f"a year before it and {REGIME_BARS + 1} bars behind it; choose an earlier start or more data"
                )
        self._rng = seeded(None)
        self._where, self._more = np.zeros((n, 3), np.int64), np.zeros(n)  # more: r before, NaN on the first bar
        super().__init__(n, box(-CLIP, CLIP, grounds[0].features.shape[1]), box(-1.0, 1.0, 1))

    def _drawn(self, market: int, row: int) -> float:
        return np.nan

    def _of_windows(self, field: str) -> NDArray[Any]:
        """Rows of a field of `RegimeGround`, (W, ...)."""
        return np.stack([getattr(self.grounds[market], field)[row] for market, row, _ in self._where.tolist()])

    def _seen(self) -> NDArray[np.float32]:
        return self._of_windows("features")

    def step_wait(self) -> Stepped:
        """Pay for the actions and go on a bar."""
        r, spec = self._asked(), self._spec
        change = np.abs(r - np.where(np.isnan(self._more), r, self._more))
        paid = r * self._of_windows("gains") - spec.price_of_size * r**2 - spec.price_of_change * change
        self._more[...] = r
        over = self._next_bar()
        return self._seen(), paid.astype(np.float32), over, [{} for _ in range(self.num_envs)]
