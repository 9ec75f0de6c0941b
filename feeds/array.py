"""ArrayFeed: a Backtrader data feed over one symbol of a `Bars`, loaded in bulk.

Backtrader's PandasData reads a frame cell by cell; that is most of an empty backtest's time. This feed leaves the very
state that a preload of PandasData leaves (line arrays, look-ahead extension, index at home) with one copy per line, and
moves its lines without the tick bookkeeping that only replayed and live feeds need. Where something has to see each bar
as it loads, the ordinary bar-by-bar path runs instead: filters, resampling, replaying, an input time zone, `exactbars`,
`preload=False`, line bindings, or a subclass that overrides loading. Numbers are the same to the last digit on both.
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bar_checks import SYMBOL
from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError
from hybrid_bt.strategies.framework import bt

UNIX_EPOCH_ORDINAL = 719_163  # date(1970, 1, 1).toordinal()
BINADE = 524_288.0  # 2**19: every datetime64[ns] date has an ordinal in [2**19, 2**20)
DAY_US = 86_400_000_000
PRICES = ("open", "high", "low", "close")
DATETIME = 6  # position of the datetime line, the last of Backtrader's seven
NO_VALUE = float("nan")  # what Backtrader leaves in a line that the source does not fill


def date_numbers(stamps: NDArray[np.datetime64]) -> NDArray[np.float64]:
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
    numbers: NDArray[np.float64] = (days + UNIX_EPOCH_ORDINAL).astype(np.float64) + fractions[which]
    return numbers


@lru_cache(maxsize=8)  # the feeds of a Cerebro share their stamps
def _utc(number: float) -> datetime:
    """`num2date` without a time zone."""
    return bt.num2date(number)  # type: ignore[no-any-return]


def _day_fraction(clock_us: int) -> float:
    """What a time of day adds to an ordinal, after rounding to the ordinals' precision."""
    seconds, microsecond = divmod(clock_us, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    parts = (BINADE, hour / 24.0, minute / (24.0 * 60.0), second / 86_400.0, microsecond / (86_400.0 * 1e6))
    return math.fsum(parts) - BINADE


class _Tick:
    """`data.tick_open` and its kin: on complete bars the tick is the bar.

    A non-data descriptor, so that the ordinary path's own attributes win. None before the first bar, which makes the
    broker look at the line itself, as it does after Backtrader's `_tick_nullify`.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __get__(self, feed: Any, owner: type | None = None) -> Any:
        if feed is None:
            return self
        line = getattr(feed.lines, self.alias)
        return line[0] if line.lencount else None


class ArrayFeed(bt.feed.DataBase):
    """One symbol's bars as a Backtrader data feed; bars on which the symbol did not trade are left out.

    Parameters
    ----------
    bars : Bars
        Or `dataname`: Bars, or one symbol's DataFrame as PandasData takes it.
    symbol : str, optional
        Needed when `bars` holds several. Becomes the feed's name unless `name` is given.
    datetime, open, high, low, close, volume, openinterest, nocase
        Columns of a DataFrame, as in PandasData: None for one that it lacks, -1 for the one of that name, a position or
        a name; of `datetime`, None is the index. Lines that a subclass adds (`lines = ("pe",)`) are read alike. Prices
        are those of the columns; one that is lacking stands at the close, where PandasData leaves it empty.
    adjusted : bool
        Scale a DataFrame's prices by its adjusted close, as `hybrid-bt run` does; the columns as they are by default.
    on_bad_data : "fail", "mend" or "warn"
        What becomes of errors in a DataFrame, as in `load_bars`.
    **params
        All of Backtrader's feed parameters: name, timeframe, compression, fromdate, todate, sessionstart, sessionend,
        filters, tz, tzinput, calendar, plot, ... For intraday bars say `timeframe=bt.TimeFrame.Minutes`.

    Attributes
    ----------
    unread : tuple of str
        Columns of the DataFrame that became no line.

    Raises
    ------
    BarsError
        No bars, an unknown symbol, several symbols and none named, or whatever is wrong with a DataFrame.

    Examples
    --------
    >>> cerebro, bars = bt.Cerebro(), load_bars("us20", symbols=["KO", "PEP"])
    >>> feed = cerebro.adddata(ArrayFeed(bars=bars, symbol="KO"))
    """

    params = (
        ("bars", None),
        ("symbol", None),
        ("adjusted", False),
        ("on_bad_data", "fail"),
        ("nocase", True),
        ("datetime", None),
        *((line, -1) for line in (*PRICES, "volume", "openinterest")),
    )

    datafields: ClassVar = [*PRICES, "volume", "openinterest", "datetime"]  #: for subclasses written for PandasData

    tick_open, tick_high, tick_low = _Tick("open"), _Tick("high"), _Tick("low")
    tick_close, tick_last = _Tick("close"), _Tick("close")
    tick_volume, tick_openinterest = _Tick("volume"), _Tick("openinterest")

    _name: str
    _light = False  #: True while nothing but whole bars passes: ticks are bars, and the lines move as one
    _row = 0  #: next bar of the bar-by-bar path
    _columns: tuple[array.array[float], ...] = ()  #: one per line, in line order; empty until a bar is asked for
    #: lines with their columns where bars pass whole, empty where they do not, None until the first bar
    _stream: tuple[tuple[Any, array.array[float]], ...] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._bars, self._column, self._others, self.unread = self._source()
        # `data.close` is found here at once rather than through LineSeries.__getattr__ and a descriptor.
        for alias, line in zip(self.getlinealiases(), self.lines.lines, strict=False):
            if not hasattr(type(self), alias):
                self.__dict__[alias] = line
        self._cursors = tuple(self.lines.lines)
        named = zip(self.getlinealiases(), self._cursors, strict=False)
        self._ticks = {f"tick_{alias}": line for alias, line in named if alias != "datetime"}
        self._ticks["tick_last"] = self._cursors[0]

        self._cursors[DATETIME].datetime = self._moment

    def _source(self) -> tuple[Bars, int, Mapping[str, NDArray[np.float64]], tuple[str, ...]]:
        """The bars, this symbol's column of them, lines that hold no price, and what of a frame is not read."""
        given = self.p.bars if self.p.bars is not None else self.p.dataname
        symbol = self.p.symbol
        if hasattr(given, "columns") and not isinstance(given, Bars):
            from hybrid_bt.feeds.frame_columns import frame_bars

            self._name = self.p.name or symbol or ""
            found = frame_bars(
                given,
                {line: getattr(self.p, line, -1) for line in self.getlinealiases() if line},
                owner=self._name if SYMBOL.fullmatch(str(self._name)) else "data",
                nocase=self.p.nocase,
                adjusted=self.p.adjusted,
                on_bad_data=self.p.on_bad_data,
            )
            return found.bars, 0, found.others, found.unread
        if not isinstance(given, Bars):
            raise BarsError(f"bars: ArrayFeed got {type(given).__name__}; give bars=Bars or dataname=DataFrame")
        for choice in (*ArrayFeed.datafields, "nocase", "adjusted", "on_bad_data"):
            if not self.p.isdefault(choice):
                raise BarsError(f"bars: {choice}={getattr(self.p, choice)!r} is about a DataFrame, and Bars are given")
        if symbol is None and given.n_symbols != 1:
            raise BarsError(f"bars: {given.name} holds {given.n_symbols} symbols; say which one with symbol=...")
        column = 0 if symbol is None else given.index_of(symbol)
        self._name = self.p.name or given.symbols[column]
        return given, column, {}, ()

    def _moment(self, ago: int = 0, tz: Any = None, naive: bool = True) -> datetime:
        """What `data.datetime.datetime()` answers; the broker asks it of every position on every bar."""
        line = self._cursors[DATETIME]
        if tz or line._tz or not naive:
            return type(line).datetime(line, ago, tz, naive)  # type: ignore[no-any-return]
        return _utc(line[ago])

    def __len__(self) -> int:
        return self._cursors[0].lencount  # type: ignore[no-any-return]

    def start(self) -> None:
        super().start()
        self._light, self._row, self._columns, self._stream = False, 0, (), None

    def preload(self) -> None:
        fresh = all(len(line.array) == line.extension for line in self._cursors)
        if not (self._plain() and fresh and self._unbounded() and self._may_cut()):
            super().preload()
        else:
            for line, column in zip(self._cursors, self._packed_columns(), strict=True):
                column.extend([NO_VALUE] * line.extension)
                line.array = column
            self._lighten()
            self.home()
        # A later `load` finds no more bars, and the columns' memory is free.
        self._row, self._columns, self._stream = 0, (array.array("d"),) * len(self._cursors), ()

    def load(self) -> bool:
        if self._stream is None:
            self._open_stream()
        row = self._row
        # The end of the data is left to Backtrader, which then steps forward and back in its own way.
        if not self._stream or row >= len(self._columns[0]) or self._filters or self._barstack or self._barstash:
            self._light = self._light and not self._filters
            return super().load()  # type: ignore[no-any-return]  # a subclass may answer None: no bar yet
        self._row = row + 1
        if self._light:
            for line, column in self._stream:
                line._idx += 1
                line.lencount += 1
                line.array.append(column[row])
            return True
        for line, column in self._stream:
            line.idx += 1  # a bounded line keeps its index once it is full
            line.lencount += 1
            line.array.append(column[row])
        return True

    def _open_stream(self) -> None:
        """Choose the path of the first bar: whole bars appended to the lines, or Backtrader's own `load`."""
        self._columns = self._packed_columns()
        whole = self._plain() and not self._cursors[0].extension
        self._stream = tuple(zip(self._cursors, self._columns, strict=True)) if whole else ()
        if whole and self._unbounded():
            self._lighten()

    def _load(self) -> bool:
        if not self._columns:
            self._columns = self._packed_columns()
        row = self._row
        if row >= len(self._columns[0]):
            return False
        for line, column in zip(self._cursors, self._columns, strict=False):
            line[0] = column[row]
        self._row = row + 1
        return True

    def _plain(self) -> bool:
        """Whether nothing has to see, change or drop single bars while they load."""
        asked = self._filters or self._ffilters or self._barstack or self._barstash or self._tzinput
        ours = all(
            getattr(type(self), name) is getattr(ArrayFeed, name) for name in ("_load", "load", "_last", "start")
        )
        bound = any(line.bindings for line in self._cursors)
        return ours and not (asked or bound or self.resampling or self.replaying)

    def _may_cut(self) -> bool:
        """Whether bars outside fromdate and todate leave no trace.

        An input time zone shifts the bars first; in a look-ahead extension Backtrader leaves the bar after `todate`.
        """
        return not self._tzinput and (not self._cursors[0].extension or self.fromdate == -math.inf == -self.todate)

    def _unbounded(self) -> bool:
        return all(line.mode == line.UnBounded for line in self._cursors)

    def _lighten(self) -> None:
        for alias in [name for name in self.__dict__ if name.startswith("tick_")]:
            del self.__dict__[alias]  # left by an earlier run on the ordinary path
        self._light = len(self._cursors) == DATETIME + 1  # those that `advance` moves

    def advance_peek(self) -> float:
        line = self._cursors[DATETIME]
        if line.lencount < len(line.array) - line.extension:
            return line.array[line._idx + 1]  # type: ignore[no-any-return]
        return math.inf

    def advance(self, size: int = 1, datamaster: Any = None, ticks: bool = True) -> None:
        if not self._light or datamaster is not None:
            super().advance(size, datamaster, ticks)
            return
        # The seven lines are unbounded and move as one, for which seven times LineBuffer.advance comes down to this.
        a, b, c, d, e, f, g = self._cursors
        a._idx = b._idx = c._idx = d._idx = e._idx = f._idx = g._idx = a._idx + size
        a.lencount = b.lencount = c.lencount = d.lencount = e.lencount = f.lencount = g.lencount = a.lencount + size

    def next(self, datamaster: Any = None, ticks: bool = True) -> bool:
        if not self._light or datamaster is not None:
            return super().next(datamaster, ticks)  # type: ignore[no-any-return]
        line = self._cursors[0]
        if line.lencount < len(line.array) - line.extension:
            self.advance()
            return True
        return self.load()

    def _tick_nullify(self) -> None:
        if not self._light:
            self.__dict__.update(dict.fromkeys(self._ticks))

    def _tick_fill(self, force: bool = False) -> None:
        if self._light:
            return
        ticks = self.__dict__
        if force or ticks.get("tick_close") is None:
            for name, line in self._ticks.items():
                ticks[name] = line[0]

    def _packed_columns(self) -> tuple[array.array[float], ...]:
        """The symbol's own bars, one array for each line in order.

        `fromdate` and `todate` are applied here where that leaves the lines as `load` does, which applies them again.
        """
        bars, column = self._bars, self._column
        rows = np.flatnonzero(bars.traded[:, column])
        numbers = date_numbers(bars.stamps[rows])
        if self._may_cut():
            first, last = (
                np.searchsorted(numbers, self.fromdate, "left"),
                np.searchsorted(numbers, self.todate, "right"),
            )
            rows, numbers = rows[first:last], numbers[first:last]
        values = {name: getattr(bars, name)[rows, column] for name in (*PRICES, "volume")}
        values |= {name: line[rows] for name, line in self._others.items()} | {"datetime": numbers}
        empty = np.full(len(rows), NO_VALUE)
        aliases = [self._getlinealias(line) for line in range(len(self._cursors))]
        return tuple(_packed(values.get(alias, empty)) for alias in aliases)


def to_feeds(bars: Bars, **params: Any) -> list[ArrayFeed]:
    """One feed per symbol, in order and named after it; `params` as in `ArrayFeed`."""
    return [ArrayFeed(**{"bars": bars, "symbol": symbol, "name": symbol, **params}) for symbol in bars.symbols]


def _packed(values: NDArray[np.float64]) -> array.array[float]:
    """The same doubles as an `array.array`, by one copy."""
    packed = array.array("d")
    packed.frombytes(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return packed
