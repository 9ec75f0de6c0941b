"""The hedge ratio of a pair as an ordinary Backtrader indicator."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from hybrid_bt.brain.journal import said
from hybrid_bt.brain.legs.base import check_closes
from hybrid_bt.config import load_config
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import SpreadParams, first_pair, pair_bar, pair_view, rates_of
from hybrid_bt.equations.parameters import validated
from hybrid_bt.feeds.framework import Framework, bt

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
    indicator pairs values by index, as all Backtrader indicators do. A bar on which either has no close (NaN) is a
    prediction without an update: all lines stay where they were, NaN before the first bar on which both have one.

    Raises
    ------
    BarsError
        At a close that is neither NaN nor positive and finite; feed, bar and value are named.

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
        self._pair = first_pair(0, 1, self._params)
        self.next()

    def next(self) -> None:
        y, x = _log_close(self.data0), _log_close(self.data1)
        self._pair = pair_bar(self._pair, y, x, self._params, self._rates)
        seen = pair_view(self._pair)
        lines: Any = self.lines
        lines.alpha[0] = seen.alpha
        lines.beta[0] = seen.beta
        lines.spread[0] = seen.spread
        lines.zscore[0] = seen.zscore


def _log_close(feed: Framework) -> float:
    """Of the feed's last bar, NaN where it has no close."""
    close = float(feed.close[0])
    if 0.0 < close < math.inf:
        return math.log(close)
    check_closes([close], [feed._name or f"data{feed._id - 1}"], f" on {said(feed.datetime[0])}")
    return math.nan
