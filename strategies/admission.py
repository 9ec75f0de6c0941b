"""Which of a feed's bars are bars: those with a close, later than the last; daily ones by the date of their session.

Joined frames have rows without a close where a symbol is not listed. Live stores send the last bars again after a
reconnect, and downloads hold a day twice. The broker would fill and mark at such bars, so they are taken out of the
feed itself, for everybody in the Cerebro.

Backtrader stamps a daily bar of a CSV file 23:59:59.999989 and of a frame 00:00. Where the feeds that are traded differ
so, or some are of minutes, daily bars stand at the end of their date, all on one row: later in time, never earlier, as
what is known by a stamp is all that a decision may see. Live feeds keep their stamps; `LateRows` gathers their dates.
"""

from __future__ import annotations

import math
import warnings
from array import array
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.journal import said
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds.array import moment_at
from hybrid_bt.feeds.framework import Framework, bt

FloatArray = NDArray[np.float64]
DAY_END = time(23, 59, 59, 999_990)  #: Backtrader's own
WALK = "advance", "advance_peek", "_tick_fill", "_tick_nullify"  #: of a feed
FALLS = 3  #: stamps, each earlier than the one before: nothing was sent again, the order is that of the newest first
FIRST_BARS = 5  #: looked at where feeds are read bar by bar: minutes show on their first day that they are none


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
    owner, kind = type(strategy).__name__, _Loaded if strategy.cerebro._dopreload else _Coming
    own = [kind(feed, symbol, owner, passed_over) for symbol, feed in zip(symbols, feeds, strict=True)]
    daily = [one for one in own if one.is_daily]
    n_moments, n_dates = (
        len(np.unique(np.concatenate([np.empty(0), *values]) % kind.period))
        for values in ([one.stamps for one in daily], [one.days for one in daily])
    )
    beside_minutes = daily and any(len(one.stamps) and not one.is_daily for one in own)
    if n_moments > n_dates or beside_minutes or any(one.zones for one in daily):
        zones = list({one.feed._tz: one.feed for one in daily}.values())
        for one in daily:
            one.stamps = np.array([_end_of(day, zones) for day in one.days])
            one.align(zones)
    elsewhere = [one.symbol for one in own if not np.array_equal(one.stamps, own[0].stamps)]
    if elsewhere and strategy.cerebro.p.oldsync:
        raise ConfigError(
            f"{owner}: oldsync pairs bars by their number, and those of {elsewhere[0]} are not those of {symbols[0]}; "
            "leave out oldsync, or give feeds with the same dates"
        )
    return passed_over


class _Bars:
    """A feed, and what is known of its bars, all of them or the first: `stamps` and `days` of those that are taken."""

    zones: Sequence[Framework] = ()  #: clocks at whose day's end bars that come are put

    def __init__(self, feed: Framework, symbol: str, owner: str, passed_over: Counter[str]) -> None:
        self.feed, self.symbol, self.owner, self.passed_over = feed, symbol, owner, passed_over
        self.stamps, self.days, self.is_daily = np.empty(0), np.empty(0), False  #: goes by its dates
        #: ticks of one moment follow each other
        self.may_repeat = bt.TimeFrame.Ticks in (feed._timeframe, feed.p.timeframe)

    def know(self, stamps: FloatArray) -> None:
        """Stamps that the feed has, in its order."""
        is_plain = self.feed._tz is None
        days = np.floor(stamps) if is_plain else np.array([day_of(self.feed, one) for one in stamps.tolist()])
        self.stamps, self.days, steps = stamps, days, np.diff(days[np.unique(stamps, return_index=True)[1]])
        is_long = len(stamps) and self.feed._timeframe >= bt.TimeFrame.Days
        self.is_daily = bool(is_long and (not len(steps) or np.median(steps) >= 1.0))

    def pass_over(self, count: int, stamp: float, last: float) -> None:
        """Count bars of which this stamp is the first; the first of all are told."""
        if not self.passed_over:
            warnings.warn(
                f"{self.owner}: bars that are not later than the last of their feed are passed over, and counted in "
                f"passed_over: {self.symbol} {count}, the first {said(stamp)} behind {said(last)}",
                stacklevel=1,
            )
        self.passed_over[self.symbol] += count

    def refuse_backwards(self, first: Sequence[float]) -> None:
        """A feed of which the first three stamps fall."""
        if len(first) == FALLS and sorted(first, reverse=True) == first:
            raise BarsError(
                f"{self.owner}: the bars of {self.symbol} come newest first, {said(first[0])} before {said(first[1])}: "
                "sort them by date, or give the frame to ArrayFeed, which does"
            )


class _Loaded(_Bars):
    """A feed that is preloaded whole: what is no bar is cut out of its lines."""

    period = math.inf  #: days within which stamps are compared

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
        for line in feed.lines if not is_bar.all() else ():
            values = np.array(line.array, dtype=np.float64)
            line.array = array("d", np.delete(values, np.flatnonzero(~is_bar)).tobytes())
        if all(getattr(type(feed), name) is getattr(bt.feed.DataBase, name) for name in WALK):
            _Walk(feed)

    def align(self, zones: Sequence[Framework]) -> None:
        """Give the lines the stamps."""
        self.feed.lines.datetime.array[: len(self.stamps)] = array("d", self.stamps.tobytes())


class _Walk:
    """Takes a feed in memory from bar to bar, and answers as Backtrader does, in a fifth of the time.

    `feed.close` is found at once, not through `__getattr__` and a descriptor; lines move, and become ticks, together;
    a date is made once for all feeds.
    """

    def __init__(self, feed: Framework) -> None:
        named = dict(zip(feed.getlinealiases(), feed.lines.lines, strict=False))
        feed.__dict__.update({alias: line for alias, line in named.items() if not hasattr(type(feed), alias)})
        self._feed, self._lines, self._clock = feed, list(feed.lines.lines), named.pop("datetime")
        self._ticks = [("tick_last", self._lines[0]), *((f"tick_{alias}", line) for alias, line in named.items())]
        feed.advance, feed.advance_peek = self.advance, self.peek
        self._clock.datetime = partial(moment_at, self._clock)

    def advance(self, size: int = 1, datamaster: Framework | None = None, ticks: bool = True) -> None:
        first = self._lines[0]
        if datamaster is not None or first.mode != first.UnBounded:
            type(self._feed).advance(self._feed, size, datamaster, ticks)
            return
        for line in self._lines:
            line._idx += size
            line.lencount += size
        if ticks:
            is_bar = first.lencount < len(first.array) - first.extension  # the last one is none to Backtrader
            self._feed.__dict__.update(
                [(name, line.array[line._idx] if is_bar else None) for name, line in self._ticks]
            )

    def peek(self) -> float:
        clock = self._clock
        more = clock.lencount < len(clock.array) - clock.extension
        return clock.array[clock._idx + 1] if more else math.inf


class _Coming(_Bars):
    """A feed that is read bar by bar: a filter of it, behind its own, or before one that makes other bars of them.

    The first bars are read ahead, and put on the feed's stack to be loaded again; not those of a live feed.
    """

    period = 1.0  #: the first bars of two feeds may have no date in common

    def __init__(self, feed: Framework, symbol: str, owner: str, passed_over: Counter[str]) -> None:
        super().__init__(feed, symbol, owner, passed_over)
        self.last = self.last_stamp = -math.inf
        self.first: list[float] = []
        makes_others = feed.resampling or feed.replaying
        self.run = feed._env.runningstrats  # a new list in each run
        for gate in [one[0] for one in feed._filters if isinstance(one[0], _Coming) and one[0].run is self.run]:
            self.zones = gate.zones  # of a strategy before this one, which has aligned the bars read ahead
        filters = [one for one in feed._filters if not isinstance(one[0], _Coming)]
        feed._filters[:] = [(self, [], {}), *filters] if makes_others else [*filters, (self, [], {})]
        bars: list[list[float]] = []
        is_ours = not (makes_others or feed._clone or feed.islive())
        while is_ours and len(bars) < FIRST_BARS and feed.load():
            bars.append([line[0] for line in feed.itersize()])
            feed.backwards(force=True)
        feed._barstack.extendleft(reversed(bars))
        self.know(np.array([bar[feed.DateTime] for bar in bars]))
        self.last = self.days[-1] if self.is_daily else self.last

    def align(self, zones: Sequence[Framework]) -> None:
        """Give the bars that were read ahead the stamps, and those that come their dates' ends."""
        self.zones = zones
        for bar, stamp in zip(self.feed._barstack, self.stamps.tolist(), strict=False):
            bar[self.feed.DateTime] = stamp

    def __call__(self, feed: Framework) -> bool:
        """Whether the bar that was loaded has been taken back."""
        stamp, is_bar = feed.datetime[0], not math.isnan(feed.close[0])
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
            self.pass_over(1, stamp, self.last_stamp)
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


def _end_of(day: float, zones: Sequence[Framework]) -> float:
    """Stamp of a date's end, the last of any of the clocks."""
    end = datetime.combine(date.fromordinal(int(day)), DAY_END)
    return max(float(feed.date2num(end)) for feed in zones)


def loaded(line: Framework) -> FloatArray:
    """A line's preloaded values, without the room for what looks ahead."""
    return np.array(line.array[: line.buflen()], dtype=np.float64)
