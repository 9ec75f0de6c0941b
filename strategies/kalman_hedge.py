"""The hedge ratio of a pair as an ordinary Backtrader indicator."""

from __future__ import annotations

import math
from typing import Any

from hybrid_bt import kalman, spread
from hybrid_bt.config import load_config
from hybrid_bt.strategies.framework import bt

__all__ = ["KalmanHedge"]


class KalmanHedge(bt.Indicator):
    """Recursive Kalman regression of the first data's log close on the second's.

    Lines
    -----
    alpha, beta
        Posterior intercept and hedge ratio: log close of the first = alpha + beta * log close of the second.
    spread, zscore
        See `hybrid_bt.spread`: decaying sum of innovations, and the same in its own standard deviations (0 until
        its scale has seen `warmup_bars`).

    Parameters are those of the modes; None takes the stable mode's number. The two data must tick together: the
    indicator pairs values by index, as all Backtrader indicators do.
    """

    lines = ("alpha", "beta", "spread", "zscore")
    params = (
        ("alpha_var_per_bar", None),
        ("beta_var_per_bar", None),
        ("noise_var", None),
        ("spread_half_life_bars", None),
        ("scale_half_life_bars", None),
        ("warmup_bars", None),
    )
    plotinfo = {"subplot": True, "plotname": "Kalman hedge"}
    plotlines = {"alpha": {"_plotskip": True}, "spread": {"_plotskip": True}}

    def __init__(self) -> None:
        config = load_config("stable")
        given = {name: getattr(self.p, name) for name in self.p._getkeys() if getattr(self.p, name) is not None}
        if "spread_half_life_bars" in given:
            given["half_life_bars"] = given["spread_half_life_bars"]  # the spread itself calls it by its short name
        self._params = config.kalman_params()._replace(
            **{name: value for name, value in given.items() if name in kalman.KalmanParams._fields}
        )
        self._spread_params = config.spread_params()._replace(
            **{name: value for name, value in given.items() if name in spread.SpreadParams._fields}
        )
        self._state = kalman.initial_state(self._params)
        self._spread = spread.initial_state()
        self._last: tuple[float, float] | None = None

    def nextstart(self) -> None:
        self._state = kalman.initial_state(self._params)
        self._spread = spread.initial_state()
        self._last = None
        self.next()

    def next(self) -> None:
        y, x = math.log(self.data0.close[0]), math.log(self.data1.close[0])
        last_y, last_x = self._last or (y, x)
        self._state = kalman.follow(self._state, y - last_y, x - last_x, self._params)
        if self._last:
            self._spread = spread.step(self._spread, self._state.innovation, self._spread_params)
        self._last = y, x
        lines: Any = self.lines
        lines.alpha[0] = kalman.intercept(self._state, y, x)
        lines.beta[0] = self._state.beta
        lines.spread[0] = self._spread.spread
        lines.zscore[0] = self._spread.zscore
