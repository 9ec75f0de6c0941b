"""Which of a feed's bars are bars: those with a close, later than the last; daily ones by the date of their session.

Joined frames have rows without a close where a symbol is not listed. Live stores send the last bars again after a
reconnect, and downloads hold a day twice. The broker would fill and mark at such bars, so they are taken out of the
feed itself, for everybody in the Cerebro.

Backtrader stamps a daily bar of a CSV file 23:59:59.999989 and of a frame 00:00. Where the feeds that are traded differ
so, their daily bars stand at the end of their date, all on one row: later in time, never earlier, since what is known
by a stamp is all that a decision may see. Live feeds keep their stamps; `LateRows` gathers their dates.
"""

from __future__ import annotations

import math
import warnings
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.journal import said
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds.framework import Framework, bt

FloatArray = NDArray[np.float64]
DAY_END = time(23, 59, 59, 999_990)  #: Backtrader's own
FALLS = 3  #: stamps, each earlier than the one before: nothing was sent again, the order is that of the newest first
FIRST_BARS = (
    5  #: that are looked at where feeds are read bar by bar: minutes show on their first day that they are none
)


def admit(strategy: Framework, symbols: Sequence[str], feeds: Sequence[Framework]) -> Counter[str]:
    """Take out what is no bar, and align daily bars.

    Returns
    -------
    Counter
        Bars by symbol that were not later than the last of their feed; counted on where bars are still to come.

    Raises
    ------
    BarsError
        For a feed that begins with its newest bars.
    ConfigError
        For feeds with different dates under Cerebro's `oldsync`.
    """
    passed_over: Counter[str] = Counter()
    owner, is_loaded = type(strategy).__name__, bool(strategy.cerebro._dopreload)
    kind = _Loaded if is_loaded else _Coming
    own = [kind(feed, symbol, owner, passed_over) for symbol, feed in zip(symbols, feeds, strict=True)]
    if is_loaded and passed_over:
        _warn(
            owner,
            ", ".join(f"{symbol} {count}" for symbol, count in passed_over.items()),
            next(one.first_passed for one in own if one.first_passed),
        )
    daily = [one for one in own if one.is_daily]
    if _clocks_differ(daily, is_loaded):
        zones = list({one.feed._tz: one.feed for one in daily}.values())
        for one in daily:
            one.align(zones)
    elsewhere = [one.symbol for one in own if not np.array_equal(one.stamps, own[0].stamps)]
    if elsewhere and strategy.cerebro.p.oldsync:
        raise ConfigError(
            f"{owner}: oldsync pairs bars by their number, and those of {elsewhere[0]} are not those of {symbols[0]}; "
            "leave out oldsync, or give feeds with the same dates"
        )
    return passed_over


def _clocks_differ(daily: Sequence[_Bars], is_loaded: bool) -> bool:
    """Whether a date has several stamps; where only first bars are known, whether times of day differ."""
    if not is_loaded:
        return len(_distinct(one.stamps - np.floor(one.stamps) for one in daily)) > 1
    return len(_distinct(one.stamps for one in daily)) > len(_distinct(one.days for one in daily))


def _distinct(values: Iterable[FloatArray]) -> FloatArray:
    return np.unique(np.concatenate([np.empty(0), *values]))


def _warn(owner: str, how_many: str, first: str) -> None:
    rule = "bars that are not later than the last of their feed are passed over"
    warnings.warn(f"{owner}: {rule}: {how_many}; the first is {first}", stacklevel=1)


class _Bars:
    """A feed, and what is known of its bars: all of them, or the first.

    Attributes
    ----------
    stamps, days : (T,)
        Of those that are taken.
    is_daily : bool
        Whether they go by their dates.
    first_passed : str
        The first that was passed over, for people.
    """

    def __init__(self, feed: Framework, symbol: str, owner: str, passed_over: Counter[str]) -> None:
        self.feed, self.symbol, self.owner, self.passed_over = feed, symbol, owner, passed_over
        self.is_daily, self.first_passed = False, ""
        #: ticks of one moment follow each other
        self.may_repeat = bt.TimeFrame.Ticks in (feed._timeframe, feed.p.timeframe)

    def know(self, stamps: FloatArray) -> None:
        """Stamps that the feed has, in its order."""
        self.stamps = stamps
        self.days = (
            np.floor(stamps) if self.feed._tz is None else np.array([day_of(self.feed, one) for one in stamps.tolist()])
        )
        steps = np.diff(np.sort(self.days))
        is_long = self.feed._timeframe >= bt.TimeFrame.Days
        self.is_daily = bool(is_long and (not len(steps) or np.median(steps) >= 1.0))

    def pass_over(self, count: int, stamp: float, last: float) -> None:
        """Count bars of which this stamp is the first."""
        self.passed_over[self.symbol] += count
        self.first_passed = self.first_passed or f"{self.symbol} {said(stamp)} behind {said(last)}"

    def refuse_backwards(self, first: Sequence[float]) -> None:
        """A feed of which the first three stamps fall."""
        if len(first) == FALLS and sorted(first, reverse=True) == first:
            raise BarsError(
                f"{self.owner}: the bars of {self.symbol} come newest first, {said(first[0])} before {said(first[1])}: "
                "sort them by date, or give the frame to ArrayFeed, which does"
            )


class _Loaded(_Bars):
    """A feed that is preloaded whole: what is no bar is cut out of its lines."""

    def __init__(self, feed: Framework, symbol: str, owner: str, passed_over: Counter[str]) -> None:
        super().__init__(feed, symbol, owner, passed_over)
        is_bar = ~np.isnan(loaded(feed.lines.close))
        rows = np.flatnonzero(is_bar)
        self.know(loaded(feed.lines.datetime)[rows])
        self.refuse_backwards(self.stamps[np.diff(self.stamps, prepend=math.nan) != 0.0][:FALLS].tolist())
        keys = self.days if self.is_daily else self.stamps
        last = np.maximum.accumulate(np.concatenate([[-math.inf], keys]))[:-1]
        late = keys < last if self.may_repeat else keys <= last
        if late.any():
            first = int(np.argmax(late))
            self.pass_over(int(late.sum()), self.stamps[first], self.stamps[:first].max())
            is_bar[rows[late]] = False
            self.stamps, self.days = self.stamps[~late], self.days[~late]
        if not is_bar.all():
            for line in feed.lines:
                values = np.array(line.array, dtype=np.float64)
                line.array = array("d", np.delete(values, np.flatnonzero(~is_bar)).tobytes())

    def align(self, zones: Sequence[Framework]) -> None:
        """Put the bars at the end of their dates."""
        self.stamps = np.array([_end_of(day, zones) for day in self.days])
        self.feed.lines.datetime.array[: len(self.days)] = array("d", self.stamps.tobytes())


class _Coming(_Bars):
    """A feed that is read bar by bar: a filter of it, behind its own, or before one that makes other bars of them.

    The first bars are read ahead, and put on the feed's stack to be loaded again; not those of a live feed.
    """

    def __init__(self, feed: Framework, symbol: str, owner: str, passed_over: Counter[str]) -> None:
        super().__init__(feed, symbol, owner, passed_over)
        self.last = self.last_stamp = -math.inf
        self.first: list[float] = []
        self.zones: Sequence[Framework] = ()
        makes_others = feed.resampling or feed.replaying
        filters = [one for one in feed._filters if not isinstance(one[0], _Coming)]  # of a run before
        feed._filters[:] = [(self, [], {}), *filters] if makes_others else [*filters, (self, [], {})]
        bars = [] if makes_others or feed._clone or feed.islive() else self._read_ahead()
        self.know(np.array([bar[feed.DateTime] for bar in bars]))
        if self.is_daily and bars:
            self.last = self.days[-1]
        self.is_daily = self.is_daily and bool(bars)
        feed._barstack.extendleft(reversed(bars))

    def _read_ahead(self) -> list[list[float]]:
        bars: list[list[float]] = []
        while len(bars) < FIRST_BARS and self.feed.load():
            bars.append([line[0] for line in self.feed.itersize()])
            self.feed.backwards(force=True)
        return bars

    def align(self, zones: Sequence[Framework]) -> None:
        """Put the bars at the end of their dates, those that were read ahead and those that come."""
        self.zones, self.stamps = zones, np.array([_end_of(day, zones) for day in self.days])
        for bar, stamp in zip(self.feed._barstack, self.stamps.tolist(), strict=False):
            bar[self.feed.DateTime] = stamp

    def __call__(self, feed: Framework) -> bool:
        """Whether the bar that was loaded has been taken back."""
        stamp = feed.datetime[0]
        is_bar = not math.isnan(feed.close[0])
        key = day_of(feed, stamp) if self.is_daily else stamp
        if is_bar and len(self.first) < FALLS and stamp not in self.first[-1:]:
            self.first.append(stamp)
            self.refuse_backwards(self.first)
        if is_bar and (key > self.last or (key == self.last and self.may_repeat)):
            self.last, self.last_stamp = key, stamp
            if self.zones:
                feed.lines.datetime[0] = _end_of(key, self.zones)
            return False
        if is_bar:
            is_first = not self.passed_over
            self.pass_over(1, stamp, self.last_stamp)
            if is_first:
                _warn(self.owner, "counted in the strategy's passed_over", self.first_passed)
        feed.backwards()
        return True


def day_of(feed: Framework, stamp: float) -> float:
    """Number of a stamp's date on the feed's own clock."""
    if feed._tz is None:
        return math.floor(stamp)
    local = feed.num2date(stamp)
    if feed.date2num(local) > stamp:  # a day's end, which Backtrader rounds to the next midnight
        local -= timedelta(seconds=1)
    return float(local.toordinal())


def _end_of(day: float, zones: Iterable[Framework]) -> float:
    """Stamp of a date's end, the last of any of the clocks."""
    end = datetime.combine(date.fromordinal(int(day)), DAY_END)
    return max(float(feed.date2num(end)) for feed in zones)


def loaded(line: Framework) -> FloatArray:
    """A line's preloaded values, without the room for what looks ahead."""
    return np.array(line.array[: line.buflen()], dtype=np.float64)
