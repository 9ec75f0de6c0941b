"""One symbol's bars as Backtrader's lines: arrays of doubles, dates as its own numbers, ticks that are bars."""

from __future__ import annotations

import array
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hybrid_bt.bars import FIELDS, Bars, FloatArray, Stamps

if TYPE_CHECKING:
    from hybrid_bt.feeds.framework import Framework

UNIX_EPOCH_ORDINAL = 719_163  # date(1970, 1, 1).toordinal()
BINADE = 524_288.0  # 2**19: every datetime64[ns] date has an ordinal in [2**19, 2**20)
DAY_US = 86_400_000_000


class Shown(NamedTuple):
    """What a feed shows."""

    bars: Bars
    column: int = 0  #: the symbol's
    others: Mapping[str, FloatArray] = {}  #: lines that hold no price, (T,) each, NaN where there is nothing
    unread: tuple[str, ...] = ()  #: columns of a frame that became no line

    def packed(self, lines: Iterable[str], first: float, last: float) -> tuple[array.array[float], ...]:
        """The symbol's own bars from one date number to another, both included: one array for each line, in order."""
        rows = np.flatnonzero(self.bars.traded[:, self.column])
        numbers = date_numbers(self.bars.stamps[rows])
        span = slice(np.searchsorted(numbers, first, "left"), np.searchsorted(numbers, last, "right"))
        rows, numbers = rows[span], numbers[span]
        values = {name: getattr(self.bars, name)[rows, self.column] for name in FIELDS}
        values |= {name: line[rows] for name, line in self.others.items()} | {"datetime": numbers}
        empty = np.full(len(rows), math.nan)  # as Backtrader leaves a line that the source does not fill
        columns = (np.ascontiguousarray(values.get(line, empty), dtype=np.float64) for line in lines)
        return tuple(array.array("d", column.tobytes()) for column in columns)


def date_numbers(stamps: Stamps) -> FloatArray:
    """Backtrader's `date2num` of each stamp, bit for bit.

    `date2num` is the correctly rounded sum of the day's ordinal and four fractions. All ordinals in question share one
    binade, so the rounded fraction depends on the time of day alone and is worked out once for each of those.

    Parameters
    ----------
    stamps : ndarray of datetime64[ns], shape (T,)
        Nanoseconds are cut off, as `Timestamp.to_pydatetime` does.

    Returns
    -------
    ndarray of float64, shape (T,)
        Days since 0001-01-01 plus one.
    """
    microseconds = stamps.astype("M8[us]").astype(np.int64)
    days, clock = np.divmod(microseconds, DAY_US)
    times, which = np.unique(clock, return_inverse=True)
    fractions = np.array([_day_fraction(int(time)) for time in times])
    numbers: FloatArray = (days + UNIX_EPOCH_ORDINAL).astype(np.float64) + fractions[which]
    return numbers


def _day_fraction(clock_us: int) -> float:
    """What a time of day adds to an ordinal, after rounding to the ordinals' precision."""
    seconds, microsecond = divmod(clock_us, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    parts = (BINADE, hour / 24.0, minute / (24.0 * 60.0), second / 86_400.0, microsecond / (86_400.0 * 1e6))
    return math.fsum(parts) - BINADE


class Tick:
    """`data.tick_open` and its kin: on complete bars the tick is the bar.

    A non-data descriptor, so that the ordinary path's own attributes win. None before the first bar, which makes the
    broker look at the line itself, as it does after Backtrader's `_tick_nullify`.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __get__(self, feed: Framework | None, owner: type | None = None) -> object:
        if feed is None:
            return self
        line = getattr(feed.lines, self.alias)
        return line[0] if line.lencount else None
