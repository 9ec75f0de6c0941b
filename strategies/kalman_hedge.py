"""The hedge ratio of a pair as an ordinary Backtrader indicator."""

from __future__ import annotations

import math
from typing import TypeVar

from hybrid_bt.brain.journal import said
from hybrid_bt.brain.legs.base import check_closes
from hybrid_bt.config import load_config
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import SpreadParams, first_pair, pair_bar, pair_view, rates_of
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.strategies.admission import day_of, loaded
from hybrid_bt.strategies.honesty import refuse_unknown

LINES = ("alpha", "beta", "spread", "zscore")
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

    The two data are feeds, or lines such as `self.data0.close`; parameters are those of the modes, by name, and None
    takes the stable mode's number. A bar on which the second has no close (NaN, or no bar under `runonce=False`) is a
    prediction without an update: all lines stay where they were, NaN before the first bar on which both have one.

    Raises
    ------
    ConfigError
        Unless there are two data, for an unknown parameter, or a value out of range.
    BarsError
        At a close that is neither NaN nor positive and finite; feed, bar and value are named. Where Backtrader pairs
        bars by their number, as it does ahead of the run (`runonce`), and the feeds have other dates.

    Examples
    --------
    >>> class Watching(bt.Strategy):
    ...     def __init__(self):
    ...         self.hedge = KalmanHedge(self.data0, self.data1)  # self.hedge.zscore[0] in `next`
    """

    _mindatas = 2
    lines = LINES
    params = tuple((name, None) for cls in (KalmanParams, SpreadParams) for name in cls._fields)
    plotinfo = {"subplot": True, "plotname": "Kalman hedge"}
    plotlines = {"alpha": {"_plotskip": True}, "spread": {"_plotskip": True}}

    def __init__(self, *others: object, **unknown: object) -> None:
        refuse_unknown(self, unknown)
        self._feeds = [_feed_of(data) for data in self.datas]
        n_given, n_feeds = len(self.datas) + len(others), len({id(feed) for feed in self._feeds if feed is not None})
        if not n_given == n_feeds == 2:
            raise ConfigError(
                "KalmanHedge: give two feeds, or a line of each, the dependent and the hedge, and parameters by name: "
                f"KalmanHedge(self.data0, self.data1, ...); of {n_given} given {n_feeds} are different feeds"
            )
        self._names = [feed._name or f"data{i}" for i, feed in enumerate(self._feeds)]
        config = load_config("stable")
        self._params, self._lengths = self._given(config.kalman_params), [0, 0]
        self._pair = first_pair(0, 1, self._params)
        self._rates = rates_of(self._given(config.spread_params))

    def _given(self, usual: Params) -> Params:
        """The stable mode's numbers, but for those that somebody gave."""
        asked = {name: getattr(self.p, name) for name in usual._fields}
        known = usual._asdict() | {name: value for name, value in asked.items() if value is not None}
        return validated(type(usual), known, "KalmanHedge")

    def nextstart(self) -> None:
        cerebro = self._feeds[0]._env
        self._is_ahead = cerebro._dopreload and cerebro._dorunonce
        if self._is_ahead:
            self._refuse_other_dates()
        self.next()

    def next(self) -> None:
        before, self._lengths = self._lengths, [len(data) for data in self.datas]
        if self._lengths[0] == before[0]:
            return  # a bar of another feed
        y = self._log_close(0)
        x = self._log_close(1) if self._lengths[1] > before[1] else math.nan
        self._pair = pair_bar(self._pair, y, x, self._params, self._rates)
        seen = pair_view(self._pair)
        for name in LINES:
            getattr(self.lines, name)[0] = getattr(seen, name)

    def _refuse_other_dates(self) -> None:
        y, x = ([day_of(feed, stamp) for stamp in loaded(feed.lines.datetime).tolist()] for feed in self._feeds)
        if y != x:
            first = next((one for one, other in zip(y, x, strict=False) if one != other), max(y[-1], x[-1]))
            raise BarsError(
                f"KalmanHedge: Backtrader pairs bars by their number, and {' and '.join(self._names)} have other "
                f"dates from {said(first)} on: run with runonce=False, or give feeds with the same dates"
            )

    def _log_close(self, i: int) -> float:
        """Of a data's last bar, NaN where it has no close."""
        close = float(self.datas[i][0])
        if 0.0 < close < math.inf:
            return math.log(close)
        stamps = self._feeds[i].lines.datetime
        stamp = stamps.array[len(self.datas[i]) - 1] if self._is_ahead else stamps[0]
        check_closes([close], self._names[i:], f" on {said(stamp)}")
        return math.nan


def _feed_of(data: Framework) -> Framework:
    """The feed that a data is, or of whose lines it is one; None of anything else."""
    owner = data if isinstance(data, bt.feed.AbstractDataBase) else getattr(data, "_owner", None)
    return owner if isinstance(owner, bt.feed.AbstractDataBase) else None
