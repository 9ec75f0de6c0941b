"""Text and frames to cells: names of columns, dates and numbers read to the last digit, nothing guessed or dropped."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.bars.checks import PRICES, RawBars
from hybrid_bt.bars.stamps import nanoseconds, say_stamp
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.panel import NO_ZONE

FIELDS = {name: name for name in ("open", "high", "low", "close", "volume")} | {
    "date": "date",
    "datetime": "date",
    "timestamp": "date",
    "adj": "adj",
    "symbol": "symbol",
}
_CLOSE = r"(?:clos(?:e|ing)(?:price)?|price|cp)"
ADJUSTED = re.compile(rf"adj(?:usted)?{_CLOSE}|{_CLOSE}adj(?:usted)?")  #: of a name's letters; adjcp is FinRL's
BEYOND_DOUBLES = r"[+-]?[\d.]+[eE]\+?\d{3,}"  #: infinite for Python, text for pandas before 3
ISO = r"\d{4}-?\d{2}-?\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?"
ZONED = r".*\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})"


def field_of(column: object) -> str | None:
    """What a column's name means: date, symbol, open, high, low, close, volume or adj; None for any other."""
    name = str(column).strip().lower()
    return "adj" if ADJUSTED.fullmatch(re.sub("[^a-z]", "", name)) else FIELDS.get(name)


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
            raise BarsError(
                f"bars: {symbol} has no {needed} column; found {', '.join(map(str, frame.columns[:12]))}"
                + hint_delimiter(list(frame.columns))
            )
    stamps, zones = stamps_of(frame[columns["date"]], symbol)
    values = {
        field: numbers(frame[columns[field]], f"{symbol} {field}", stamps)
        for field in (*PRICES, "volume")
        if field in columns
    }
    unread = (column for column in frame.columns if column not in columns.values())
    numeric = (str(column) for column in unread if pd.to_numeric(frame[column], errors="coerce").notna().any())
    return RawBars(stamps, values, zones, tuple(numeric))


def hint_delimiter(columns: Sequence[object]) -> str:
    """What to say where all columns are one."""
    if len(columns) == 1 and any(mark in str(columns[0]) for mark in ";\t|"):
        return "; separate the columns by commas"
    return ""


def stamps_of(column: pd.Series, owner: str) -> tuple[NDArray[np.datetime64], frozenset[str]]:
    """Dates as datetime64[ns], and the time zones that they carried.

    The clock is taken as written; the panel refuses or drops the zone. Whatever is not plainly an ISO date is refused.
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zones = frozenset({str(column.dtype.tz)})
        return nanoseconds(column.dt.tz_localize(None).to_numpy(), owner), zones
    if column.dtype.kind == "M":
        return nanoseconds(column.to_numpy(), owner), frozenset()
    text = column.astype(str).str.strip().str.replace("/", "-", regex=False)
    zones = frozenset()
    zoned = text.str.fullmatch(ZONED).to_numpy(dtype=bool)
    if zoned.any():
        zones = frozenset(text[zoned].str.extract(r"(Z|[+-]\d{2}:?\d{2})$")[0].dropna().unique())
        zones |= frozenset() if zoned.all() else {NO_ZONE}
        text = text.str.replace(r"\s*(?:Z|[+-]\d{2}:?\d{2})$", "", regex=True).where(zoned, text)
    parsed = pd.to_datetime(text.where(text.str.fullmatch(ISO)), format="ISO8601", errors="coerce")
    bad = parsed.isna().to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        raise BarsError(
            f"bars: {owner} row {_row(column, row)} date {_short(column.iloc[row])} is no date; write YYYY-MM-DD"
        )
    return nanoseconds(parsed.to_numpy(), owner), zones


def numbers(column: pd.Series, owner: str, stamps: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """A column as float64; BarsError naming the first cell that is text."""
    if column.dtype.kind in "fiu" and isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64)  # type: ignore[no-any-return]
    row = 0
    if column.dtype.kind not in "bcmM":
        is_text = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        bad = (is_text & ~column.astype(str).str.fullmatch(BEYOND_DOUBLES)).to_numpy(dtype=bool)
        if not bad.any():
            return _exactly(column)
        row = int(np.argmax(bad))
    comma = "; write decimals with a point and thousands without a mark" if "," in str(column.iloc[row]) else ""
    day = "" if np.isnat(stamps[row]) else f" ({say_stamp(stamps[row])})"
    raise BarsError(
        f"bars: {owner} row {_row(column, row)}{day} is {_short(column.iloc[row])}, not a number{comma}; "
        "mend the value or remove the row"
    )


def _exactly(column: pd.Series) -> NDArray[np.float64]:
    """Python reads text to the last digit; pandas' own conversion may miss it."""
    return np.array([np.nan if pd.isna(cell) else float(cell) for cell in column.astype(object)], dtype=np.float64)


def _row(column: pd.Series, position: int) -> int:
    """The row as people count, from 1, through all parts of a file that is read in parts."""
    return int(column.index[position]) + 1


def _short(value: object) -> str:
    text = repr(value if isinstance(value, (str, bool, int, float)) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."
