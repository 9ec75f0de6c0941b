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
from collections.abc import Callable
from datetime import datetime, tzinfo
from functools import lru_cache, partial
from typing import ClassVar

from hybrid_bt.bars import FIELDS, Bars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.feeds.lines import Shown, Tick

DATETIME = 6  # position of the datetime line, the last of Backtrader's seven
_utc: Callable[[float], datetime] = lru_cache(maxsize=8)(bt.num2date)  # the feeds of a Cerebro share their stamps


def moment_at(clock: Framework, ago: int = 0, tz: tzinfo | None = None, naive: bool = True) -> datetime:
    """What `data.datetime.datetime()` answers; the broker asks it of every position on every bar."""
    if tz or clock._tz or not naive:
        return type(clock).datetime(clock, ago, tz, naive)  # type: ignore[no-any-return]
    return _utc(clock.array[clock._idx + ago])


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
        All of Backtrader's: name, timeframe (`bt.TimeFrame.Minutes` for intraday bars), fromdate, todate, filters, tz.

    Attributes
    ----------
    unread : tuple of str, columns of the DataFrame that became no line

    Raises
    ------
    BarsError : no bars, an unknown symbol, several symbols and none named, or whatever is wrong with a DataFrame.

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
        *((line, -1) for line in (*FIELDS, "openinterest")),
    )

    datafields: ClassVar = [*FIELDS, "openinterest", "datetime"]  #: for subclasses written for PandasData

    tick_open, tick_high, tick_low, tick_close, tick_volume = map(Tick, FIELDS)
    tick_last, tick_openinterest = Tick("close"), Tick("openinterest")

    _name: str
    _light = False  #: True while nothing but whole bars passes: ticks are bars, and the lines move as one
    _row = 0  #: next bar of the bar-by-bar path
    _columns: tuple[array.array[float], ...] = ()  #: one per line, in line order; empty until a bar is asked for
    #: lines with their columns where bars pass whole, empty where they do not, None until the first bar
    _stream: tuple[tuple[Framework, array.array[float]], ...] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._shown = self._source()
        self.unread = self._shown.unread
        self._cursors = tuple(self.lines.lines)
        self._cursors[DATETIME].datetime = partial(moment_at, self._cursors[DATETIME])
        named = dict(zip(self.getlinealiases(), self._cursors, strict=False))
        # `data.close` is found here at once rather than through LineSeries.__getattr__ and a descriptor.
        self.__dict__.update({alias: line for alias, line in named.items() if not hasattr(type(self), alias)})
        ticks = {f"tick_{alias}": line for alias, line in named.items() if alias != "datetime"}
        self._ticks = ticks | {"tick_last": named["close"]}

    def _source(self) -> Shown:
        given = self.p.bars if self.p.bars is not None else self.p.dataname
        if isinstance(given, Bars):
            return self._of_bars(given)
        if not hasattr(given, "columns"):
            raise BarsError(f"bars: ArrayFeed got {type(given).__name__}; give bars=Bars or dataname=DataFrame")
        from hybrid_bt.feeds.frame import frame_lines

        self._name = self.p.name or self.p.symbol or ""
        return frame_lines(given, self._name, [line for line in self.getlinealiases() if line], self.p)

    def _of_bars(self, given: Bars) -> Shown:
        for choice in (*ArrayFeed.datafields, "nocase", "adjusted", "on_bad_data"):
            if not self.p.isdefault(choice):
                raise BarsError(f"bars: {choice}={getattr(self.p, choice)!r} is about a DataFrame, and Bars are given")
        symbol = self.p.symbol
        if symbol is None and given.n_symbols != 1:
            raise BarsError(f"bars: {given.name} holds {given.n_symbols} symbols; say which one with symbol=...")
        column = 0 if symbol is None else given.index_of(symbol)
        self._name = self.p.name or given.symbols[column]
        return Shown(given, column)

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
                column.extend([math.nan] * line.extension)
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
        own, read_by = type(self), ("_load", "load", "_last", "start")
        ours = all(getattr(own, name) is getattr(ArrayFeed, name) for name in read_by)
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

    def advance(self, size: int = 1, datamaster: Framework | None = None, ticks: bool = True) -> None:
        if not self._light or datamaster is not None:
            super().advance(size, datamaster, ticks)
            return
        # The seven lines are unbounded and move as one, for which seven times LineBuffer.advance comes down to this.
        a, b, c, d, e, f, g = self._cursors
        a._idx = b._idx = c._idx = d._idx = e._idx = f._idx = g._idx = a._idx + size
        a.lencount = b.lencount = c.lencount = d.lencount = e.lencount = f.lencount = g.lencount = a.lencount + size

    def next(self, datamaster: Framework | None = None, ticks: bool = True) -> bool:
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
        if not self._light and (force or self.__dict__.get("tick_close") is None):
            self.__dict__.update({name: line[0] for name, line in self._ticks.items()})

    def _packed_columns(self) -> tuple[array.array[float], ...]:
        """One array for each line, in order; cut to `fromdate` and `todate` where that leaves them as `load` does."""
        span = (self.fromdate, self.todate) if self._may_cut() else (-math.inf, math.inf)
        return self._shown.packed(map(self._getlinealias, range(len(self._cursors))), *span)


def to_feeds(bars: Bars, **params: object) -> list[ArrayFeed]:
    """One feed per symbol, in order and named after it; `params` as in `ArrayFeed`."""
    return [ArrayFeed(**{"bars": bars, "symbol": symbol, "name": symbol, **params}) for symbol in bars.symbols]
