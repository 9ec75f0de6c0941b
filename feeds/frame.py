"""Prices that are in memory already: pandas frames, and the feeds of any other Backtrader project.

A feed over one frame chooses columns as Backtrader's PandasData does: None, the frame has no such column; -1, the
column of that name, if there is one; a position from 0 on; or a name. For `datetime`, None is the index.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.bars import FIELDS, Bars
from hybrid_bt.bars.checks import SYMBOL, RawBars
from hybrid_bt.errors import BarsError, did_you_mean
from hybrid_bt.feeds.cells import dated, rows_of_frame, single
from hybrid_bt.feeds.clock import on_exchange_clock
from hybrid_bt.feeds.figures import numbers
from hybrid_bt.feeds.lines import Shown
from hybrid_bt.feeds.names import field_of, refuse_mixed
from hybrid_bt.feeds.panel import Handling, Query, build_panel, pick
from hybrid_bt.feeds.reading import found_in
from hybrid_bt.feeds.table import without_idle

if TYPE_CHECKING:
    from hybrid_bt.feeds.framework import Framework

KINDS = "give a source's name, a path, a DataFrame, a dict of DataFrames, or Backtrader feeds"


def load_objects(source: object, query: Query) -> Bars:
    """Checked bars from objects.

    Parameters
    ----------
    source : DataFrame, mapping of str to DataFrame, or a Backtrader feed or a sequence of them
        One frame is long (a `symbol` column) or wide (date, then one column of closes per symbol), named and typed as
        in a file; dates may be the index. Feeds are run once through a Cerebro of their own, with their filters,
        `fromdate` and `todate`; they can be used again behind it.

    Raises
    ------
    BarsError
        Anything else, and whatever is wrong with the prices.
    """
    if isinstance(source, pd.DataFrame):
        found = rows_of_frame(dated(source), "the frame", "data", query.symbols, query.handling.date_format)[0]
    elif isinstance(source, Mapping):
        found = {str(symbol): _framed(symbol, frame, query.handling.date_format) for symbol, frame in source.items()}
    else:
        found = dict(_from_feeds(source))
    if not found:
        raise BarsError(f"bars: nothing to read; {KINDS}")
    rows = [(symbol, without_idle(found[symbol])) for symbol in pick("the data", found, query.symbols)]
    return build_panel("data", rows, query.handling)


def _framed(symbol: object, frame: object, date_format: str | None) -> RawBars:
    if not isinstance(frame, pd.DataFrame):
        raise BarsError(f"bars: {symbol} is {type(frame).__name__}, no DataFrame; {KINDS}")
    refuse_mixed([str(symbol)], "the data")
    return single(dated(frame), str(symbol), date_format)


def _from_feeds(source: object) -> Iterator[tuple[str, RawBars]]:
    from hybrid_bt.feeds.framework import bt

    feeds = [source] if isinstance(source, bt.feed.DataBase) else source
    if not isinstance(feeds, Sequence) or not all(isinstance(feed, bt.feed.DataBase) for feed in feeds):
        raise BarsError(f"bars: {type(source).__name__} is no source; {KINDS}")
    seen: set[str] = set()
    for feed in feeds:
        name = str(feed._name or "")
        if not name or name in seen:
            raise BarsError(f"bars: feed {name!r} needs a name of its own; give each feed name=SYMBOL")
        seen.add(name)
        try:
            rows = _played(feed)
        except Exception as error:  # somebody else's code, which may raise anything
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise BarsError(f"bars: the feed {name} cannot be played: {cause}; mend the feed") from error
        if not len(rows.stamps):
            raise BarsError(f"bars: the feed {name} delivered no bar; check its fromdate, todate and filters")
        yield name, rows


def _played(feed: Framework) -> RawBars:
    """What a strategy would see of a feed, bar by bar."""
    from hybrid_bt.feeds.framework import bt, quietly

    seen: list[tuple[float, ...]] = []
    stamps: list[datetime] = []

    class Reader(bt.Strategy):
        def next(self) -> None:
            stamps.append(self.data.datetime.datetime(0))
            seen.append(tuple(getattr(self.data, line)[0] for line in FIELDS))

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.addstrategy(Reader)
    with quietly():
        cerebro.run(runonce=False)
    values = np.array(seen, dtype=np.float64).reshape(len(seen), len(FIELDS))
    columns = {line: np.ascontiguousarray(values[:, i]) for i, line in enumerate(FIELDS)}
    unread = tuple(line for line in feed.getlinealiases() if line not in (*FIELDS, "openinterest", "datetime"))
    zone = getattr(getattr(getattr(feed.p, "dataname", None), "index", None), "tz", None)
    zones = frozenset() if zone is None else frozenset({str(zone)})  # Backtrader turns it into UTC
    return RawBars(np.array(stamps, dtype="M8[us]").astype("M8[ns]"), columns, zones, unread)


def frame_lines(frame: pd.DataFrame, name: str, lines: Iterable[str], params: Framework) -> Shown:
    """Read, check and line up the columns that a feed's parameters ask for.

    Parameters
    ----------
    name : str
        Of the feed; names the symbol in errors.
    params : Backtrader's own
        `nocase` matches names without case, `adjusted` scales prices by the frame's adjusted close, `on_bad_data` is
        that of `load_bars`, and what has the name of a line, or `datetime`, is the choice of its column.

    Raises
    ------
    BarsError
        For a column that is not there or there twice, text among numbers, and prices that cannot be traded on.
    """
    handling = Handling(not params.adjusted, params.on_bad_data, stamps="end")
    owner = name if SYMBOL.fullmatch(str(name)) else "data"
    if isinstance(frame.columns, pd.MultiIndex):
        levels = [frame.columns.get_level_values(level) for level in range(frame.columns.nlevels)]
        several = [level for level in levels if level.nunique() > 1]
        if len(several) != 1:
            raise BarsError(f"bars: {owner}: the frame has several rows of headers; keep one (frame.droplevel, axis=1)")
        frame = frame.set_axis(several[0], axis=1)  # yfinance's, of one symbol
    choices = {line: getattr(params, line, -1) for line in lines}
    places = {line: _place(frame, owner, line, choice, params.nocase) for line, choice in choices.items()}
    dates = _dates(frame, owner, places["datetime"])
    if len(dates) > 1 and dates.is_monotonic_decreasing and dates.iloc[0] > dates.iloc[-1]:  # newest first
        frame, dates = frame.iloc[::-1], dates.iloc[::-1].reset_index(drop=True)
    if params.adjusted:
        places["adj"] = _adjusted(frame, owner)
    at = {line: place for line, place in places.items() if place is not None}
    if "close" not in at:
        raise BarsError(f"bars: {owner} has no close column; {found_in(frame.columns)}; name it with close='COLUMN'")
    columns = {line: frame.iloc[:, place].reset_index(drop=True) for line, place in at.items() if line != "datetime"}
    prices = {line: column for line, column in columns.items() if line in (*FIELDS, "adj")}
    raw = single(pd.DataFrame({"date": dates, **prices}), owner)
    raw, _ = on_exchange_clock(owner, raw)
    raw = _completed(raw, [line for line in FIELDS[:4] if choices[line] is None])
    bars = build_panel(owner, [(owner, raw)], handling)
    rows = _rows_of(bars, raw)
    others = {"volume": np.full(bars.n_bars, np.nan)}
    for line in [line for line in columns if line in choices and line not in FIELDS[:4]]:
        column = columns[line].astype(object) if columns[line].dtype.kind == "b" else columns[line]  # 1 and 0
        others[line] = numbers(column, f"{owner} {line}", dates)[rows]
    # volume as checked or mended, but an empty cell stays empty
    others["volume"] = np.where(np.isnan(others["volume"]), np.nan, bars.volume[:, 0])
    left = (name for place, name in enumerate(frame.columns) if place not in at.values() and field_of(name) != "date")
    return Shown(bars, others=others, unread=tuple(map(str, left)))


def _place(frame: pd.DataFrame, owner: str, line: str, choice: Hashable, nocase: bool) -> int | None:
    """Position of a line's column; None where it has none."""
    if choice is None:
        return None
    wanted, shown = choice, found_in(frame.columns)
    if isinstance(choice, (int, np.integer)):
        if choice >= len(frame.columns):
            raise BarsError(f"bars: {owner}: {line}={choice} is no column; {shown}; they count from 0")
        if choice >= 0:
            return int(choice)
        wanted = line
    found = [place for place, name in enumerate(frame.columns) if _folded(name, nocase) == _folded(wanted, nocase)]
    if len(found) > 1:
        raise BarsError(f"bars: {owner} has more than one column for {line!r}; {shown}; keep one, or give a number")
    if not found and wanted is choice:
        hint = did_you_mean(str(choice), map(str, frame.columns))
        raise BarsError(f"bars: {owner}: {line}={choice!r} is no column{hint}; {shown}")
    return found[0] if found else None


def _folded(name: Hashable, nocase: bool) -> Hashable:
    return name.strip().lower() if nocase and isinstance(name, str) else name


def _adjusted(frame: pd.DataFrame, owner: str) -> int:
    found = [place for place, name in enumerate(frame.columns) if field_of(name) == "adj"]
    if len(found) != 1:
        raise BarsError(
            f"bars: {owner}: adjusted=True needs one column of adjusted closes, not {len(found)}; "
            f"{found_in(frame.columns)}; call it 'Adj Close', or leave out adjusted"
        )
    return found[0]


def _dates(frame: pd.DataFrame, owner: str, place: int | None) -> pd.Series:
    """The column asked for; else the index where it is of dates, else a column of dates."""
    if place is not None:
        return frame.iloc[:, place].reset_index(drop=True)
    if isinstance(frame.index, pd.DatetimeIndex):
        return frame.index.to_series().reset_index(drop=True)
    table = dated(frame)
    named = [name for name in table.columns if field_of(name) == "date"]
    if not named:
        what = f"has dates neither as index nor as a column; {found_in(frame.columns)}"
        raise BarsError(f"bars: {owner} {what}; give datetime='COLUMN'")
    return table[named[0]]


def _completed(raw: RawBars, absent: list[str]) -> RawBars:
    """Prices that were said to be absent stand at the close, a high or low at the greater or lesser of it and the open.

    PandasData leaves them empty, and the broker would fill at no price at all.
    """
    if not any(line in raw.columns for line in ("open", "high", "low")):
        return raw  # closes alone
    columns, close = dict(raw.columns), raw.columns["close"]
    for line, reach in (("open", np.minimum), ("high", np.maximum), ("low", np.minimum)):
        if line in absent:
            columns[line] = reach(columns.get("open", close), close)
    return raw._replace(columns=columns)


def _rows_of(bars: Bars, raw: RawBars) -> NDArray[np.intp]:
    """Row of the frame behind each bar: of repeated dates the last, as mending keeps it."""
    order = np.argsort(raw.stamps, kind="stable")
    return order[np.searchsorted(raw.stamps[order], bars.stamps, "right") - 1]
