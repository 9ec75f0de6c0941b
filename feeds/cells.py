"""Frames to rows of symbols: names of columns, dates and numbers read to the last digit, nothing guessed or dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.bars.checks import FIELDS, PRICES, RawBars
from hybrid_bt.bars.stamps import nanoseconds, say_stamp
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.clock import NO_ZONE, offsets_of

MEANINGS = {name: name for name in (*FIELDS, "date", "adj", "symbol")} | {"datetime": "date", "timestamp": "date"}
_CLOSE = r"(?:clos(?:e|ing)(?:price)?|price|cp)"
ADJUSTED = re.compile(rf"adj(?:usted)?{_CLOSE}|{_CLOSE}adj(?:usted)?")  #: of a name's letters; adjcp is FinRL's
BEYOND_DOUBLES = r"[+-]?[\d.]+[eE]\+?\d{3,}"  #: infinite for Python, text for pandas before 3
ISO = r"\d{4}-?\d{2}-?\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?"
ZONED = r".*\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})"


def field_of(column: object) -> str | None:
    """What a column's name means: date, symbol, open, high, low, close, volume or adj; None for any other."""
    name = str(column).strip().lower()
    return "adj" if ADJUSTED.fullmatch(re.sub("[^a-z]", "", name)) else MEANINGS.get(name)


def refuse_repeats(names: list[str], where: str) -> None:
    """BarsError if two columns have one name or one meaning."""
    seen: dict[str, str] = {}
    for name in names:
        meaning = field_of(name) or name
        if meaning in seen:
            both = f"{seen[meaning]!r} and {name!r}"
            raise BarsError(f"bars: {where} has more than one column for {meaning!r}: {both}; keep one")
        seen[meaning] = name


def dated(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its dates as a column, taken from the index if they are there, and rows counted from 0."""
    if isinstance(frame.columns, pd.MultiIndex):
        raise BarsError("bars: a table with two rows of headers holds several symbols; give one table per symbol")
    if not len(frame.columns):
        raise BarsError("bars: the table has no columns; give a date and a close at least")
    if not any(field_of(column) == "date" for column in frame.columns):
        if isinstance(frame.index, pd.DatetimeIndex):
            frame = frame.rename_axis(index="date").reset_index()
        elif any(field_of(name) == "date" for name in frame.index.names):  # (symbol, date), or dates as text
            frame = frame.reset_index()
    refuse_repeats([str(column) for column in frame.columns], "the table")
    return frame.reset_index(drop=True)


def single(frame: pd.DataFrame, symbol: str) -> RawBars:
    """One symbol's columns; those with numbers that mean nothing here are named. An empty price stays NaN."""
    columns = {field: column for column in frame.columns if (field := field_of(column)) is not None}
    for needed in ("date", "close"):
        if needed not in columns:
            raise BarsError(f"bars: {symbol} has no {needed} column; {found_in(frame)}")
    stamps, zones = stamps_of(frame[columns["date"]], symbol)
    values = {
        field: numbers(frame[columns[field]], f"{symbol} {field}", stamps)
        for field in (*PRICES, "volume")
        if field in columns
    }
    unread = [column for column in frame.columns if column not in columns.values()]
    numeric = (str(column) for column in unread if pd.to_numeric(frame[column], errors="coerce").notna().any())
    return RawBars(stamps, values, zones, tuple(numeric), _telling(frame[unread], stamps))


def _telling(unread: pd.DataFrame, stamps: NDArray[np.datetime64]) -> str:
    """A column of text in which all rows of one date differ; "" for none, and where no date comes twice."""
    twins = pd.Index(stamps).duplicated(keep=False)
    texts = unread.select_dtypes(exclude=["number", "bool"]) if twins.any() else ()
    cells = ((str(name), [stamps[twins], unread[name][twins]]) for name in texts)
    return next((name for name, pair in cells if not pd.MultiIndex.from_arrays(pair).has_duplicates), "")


def rows_of_frames(parts: Iterable[pd.DataFrame], where: str, stem: str) -> dict[str, RawBars]:
    """Every symbol of the frames that together are one table, long, wide or of one symbol named `stem`."""
    pieces: dict[str, list[RawBars]] = {}
    for frame in parts:
        for symbol, piece in _split(frame, where, stem).items():
            pieces.setdefault(symbol, []).append(piece)
    return {symbol: _joined(pieces.pop(symbol), symbol, where) for symbol in list(pieces)}


def _split(frame: pd.DataFrame, where: str, stem: str) -> dict[str, RawBars]:
    fields = [field_of(column) for column in frame.columns]
    if "symbol" in fields:
        return _long(frame, where)
    if any(field in PRICES for field in fields) or "volume" in fields:
        return {stem: single(frame, stem)}
    return _wide(frame, where)


def _joined(pieces: list[RawBars], symbol: str, where: str) -> RawBars:
    zones = frozenset(zone for piece in pieces for zone in piece.zones)
    unread = tuple(dict.fromkeys(column for piece in pieces for column in piece.unread))
    apart = next((piece.apart for piece in pieces if piece.apart), "")
    if len(pieces) == 1:
        whole = pieces[0]
    else:
        stamps = np.concatenate([piece.stamps for piece in pieces])
        parts = [dict(piece.columns) for piece in pieces]
        pieces.clear()  # each part goes as soon as it stands in the whole
        columns = {field: np.concatenate([part.pop(field) for part in parts]) for field in list(parts[0])}
        whole = RawBars(stamps, columns, zones, unread, apart)
    if not len(whole.stamps):
        raise BarsError(f"bars: {symbol} has no price at all in {where}; remove the column")
    return whole


def _long(frame: pd.DataFrame, where: str) -> dict[str, RawBars]:
    column = next(name for name in frame.columns if field_of(name) == "symbol")
    names = frame[column].astype(object).where(frame[column].notna(), "").astype(str).str.strip()
    if (names == "").any():
        row = int(frame.index[int(np.argmax(names == ""))]) + 1
        raise BarsError(f"bars: {where} row {row} has no symbol; fill it in")
    groups = frame.drop(columns=column).groupby(names.to_numpy(), sort=False)
    return {str(symbol): single(group, str(symbol)) for symbol, group in groups}


def _wide(frame: pd.DataFrame, where: str) -> dict[str, RawBars]:
    """One close per symbol and row. Here an empty cell is the only way to say that a symbol has no bar."""
    first, *symbols = frame.columns
    if field_of(first) != "date" or len(symbols) < 2:
        raise BarsError(
            f"bars: {where} has no close column, and is no table of closes (date first, then two or more symbols); "
            + found_in(frame)
        )
    stamps, zones = stamps_of(frame[first], where)
    series = {}
    for symbol in map(str, symbols):
        closes = numbers(frame[symbol], f"{symbol} close", stamps)
        here = ~np.isnan(closes)
        series[symbol] = RawBars(stamps[here], {"close": closes[here]}, zones)
    return series


def found_in(frame: pd.DataFrame) -> str:
    """The columns that are there, and what to do where all of them are one."""
    remedy = len(frame.columns) == 1 and any(mark in str(frame.columns[0]) for mark in ";\t|")
    return f"found {', '.join(map(str, frame.columns[:12]))}{'; separate the columns by commas' if remedy else ''}"


def stamps_of(column: pd.Series, owner: str) -> tuple[NDArray[np.datetime64], frozenset[str]]:
    """Dates as datetime64[ns], and the time zones that they carried: in UTC where there are any, else as written.

    Whatever is not plainly an ISO date is refused.
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zones = frozenset({str(column.dtype.tz)})
        return nanoseconds(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), owner), zones
    if column.dtype.kind == "M":
        return nanoseconds(column.to_numpy(), owner), frozenset()
    text = column.astype(str).str.strip().str.replace("/", "-", regex=False)
    zones, shift = frozenset(), np.zeros(len(text), "m8[ns]")
    zoned = text.str.fullmatch(ZONED).to_numpy(dtype=bool)
    if zoned.any():
        suffix = text.where(zoned).str.extract(r"(Z|[+-]\d{2}:?\d{2})$")[0]
        zones = frozenset(suffix.dropna().unique())
        for zone in zones:
            shift[suffix == zone] = np.timedelta64(offsets_of([zone])[0], "ns")
        zones |= frozenset() if zoned.all() else {NO_ZONE}
        text = text.str.replace(r"\s*(?:Z|[+-]\d{2}:?\d{2})$", "", regex=True).where(zoned, text)
    parsed = pd.to_datetime(text.where(text.str.fullmatch(ISO)), format="ISO8601", errors="coerce")
    bad = parsed.isna().to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        raise BarsError(
            f"bars: {owner} row {_row(column, row)} date {_short(column.iloc[row])} is no date; write YYYY-MM-DD"
        )
    return nanoseconds(parsed.to_numpy(), owner) - shift, zones


def numbers(column: pd.Series, owner: str, stamps: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """A column as float64; BarsError naming the first cell that is text."""
    if column.dtype.kind in "fiu" and isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64)  # type: ignore[no-any-return]
    row = 0
    if column.dtype.kind not in "bcmM":
        is_text = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        bad = (is_text & ~column.astype(str).str.fullmatch(BEYOND_DOUBLES)).to_numpy(dtype=bool)
        if not bad.any():
            cells = column.astype(object)  # Python reads text to the last digit; pandas' own conversion may miss it
            return np.array([np.nan if pd.isna(cell) else float(cell) for cell in cells], dtype=np.float64)
        row = int(np.argmax(bad))
    comma = "; write decimals with a point and thousands without a mark" if "," in str(column.iloc[row]) else ""
    day = "" if np.isnat(stamps[row]) else f" ({say_stamp(stamps[row])})"
    raise BarsError(
        f"bars: {owner} row {_row(column, row)}{day} is {_short(column.iloc[row])}, not a number{comma}; "
        "mend the value or remove the row"
    )


def _row(column: pd.Series, position: int) -> int:
    """The row as people count, from 1, through all parts of a file that is read in parts."""
    return int(column.index[position]) + 1


def _short(value: object) -> str:
    text = repr(value if isinstance(value, (str, bool, int, float)) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."
