"""The hedge ratio of a pair as an ordinary Backtrader indicator."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from hybrid_bt.config import load_config
from hybrid_bt.equations import kalman
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import SpreadParams, initial_spread, rates_of, spread_step
from hybrid_bt.equations.parameters import validated
from hybrid_bt.feeds.framework import bt

Params = TypeVar("Params", KalmanParams, SpreadParams)


class KalmanHedge(bt.Indicator):
    """Recursive Kalman regression of the first data's log close on the second's.

    Lines
    -----
    alpha, beta
        Posterior intercept and hedge ratio: log close of the first = alpha + beta * log close of the second.
    spread, zscore
        See `equations.pair`: decaying sum of innovations, and the same in its own standard deviations (0 until
        its scale has seen `warmup_bars`).

    Parameters are those of the modes; None takes the stable mode's number. The two data must tick together: the
    indicator pairs values by index, as all Backtrader indicators do.

    Examples
    --------
    >>> class Watching(bt.Strategy):
    ...     def __init__(self):
    ...         self.hedge = KalmanHedge(self.data0, self.data1)  # self.hedge.zscore[0] in `next`
    """

    lines = ("alpha", "beta", "spread", "zscore")
    params = tuple((name, None) for cls in (KalmanParams, SpreadParams) for name in cls._fields)
    plotinfo = {"subplot": True, "plotname": "Kalman hedge"}
    plotlines = {"alpha": {"_plotskip": True}, "spread": {"_plotskip": True}}

    def __init__(self) -> None:
        config = load_config("stable")
        self._params = self._given(config.kalman_params)
        self._rates = rates_of(self._given(config.spread_params))

    def _given(self, usual: Params) -> Params:
        """The stable mode's numbers, but for those that somebody gave."""
        asked = {name: getattr(self.p, name) for name in usual._fields}
        known = usual._asdict() | {name: value for name, value in asked.items() if value is not None}
        return validated(type(usual), known, "KalmanHedge")

    def nextstart(self) -> None:
        self._state = kalman.initial_state(self._params)
        self._spread = initial_spread()
        self._last: tuple[float, float] | None = None
        self.next()

    def next(self) -> None:
        y, x = math.log(self.data0.close[0]), math.log(self.data1.close[0])
        last_y, last_x = self._last or (y, x)
        self._state = kalman.follow(self._state, y - last_y, x - last_x, self._params)
        if self._last:
            self._spread = spread_step(self._spread, self._state.innovation, self._rates)
        self._last = y, x
        lines: Any = self.lines
        lines.alpha[0] = kalman.intercept(self._state, y, x)
        lines.beta[0] = self._state.beta
        lines.spread[0] = self._spread.spread
        lines.zscore[0] = self._spread.zscore
