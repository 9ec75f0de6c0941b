"""Prices from files: a folder with one file per symbol, one long file, or one wide file of closes.

    folder   KO.csv, PEP.csv.gz, XOM.parquet: the file's name is the symbol
    long     one file with a `symbol` column
    wide     first column the date, every other column one symbol's close; no column may be named after a price field

Columns are matched without case: date|datetime|timestamp, open, high, low, close, volume, adj, and whatever letters
say "adjusted close" (`hybrid_bt.feeds.cells`). Close alone is enough; columns that are not read are named. Dates are
ISO (YYYY-MM-DD, with a time if there is one) without time zone. Numbers are read to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hybrid_bt.bars import Bars
from hybrid_bt.bars.checks import PRICES, RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.cells import field_of, hint_delimiter, numbers, single, stamps_of
from hybrid_bt.feeds.files import files_of, parts_of, stem_of
from hybrid_bt.feeds.panel import Handling, Rows, build_panel, pick


def load_table(path: Path, handling: Handling, *, symbols: Sequence[str] | None = None, hint: str = "") -> Bars:
    """Checked bars from a folder or a file.

    Parameters
    ----------
    path : Path
        Folder, .csv, .csv.gz or .parquet (which needs pyarrow).
    handling : Handling
        Raw or adjusted prices, what to do about errors, calendars.
    symbols : sequence of str, optional
        Which ones, in this order. All by default: a folder's in alphabetical order, a file's as they come.
    hint : str
        Ends the message about a missing path.

    Raises
    ------
    BarsError
        Missing path, empty folder, no rows, missing columns, text among numbers, unreadable, unsorted, repeated or
        zoned dates, prices that cannot be traded on; by file or symbol, date and value, with what to do.
    """
    rows = rows_of_path(path, symbols, hint=hint)
    return build_panel(stem_of(path), rows, handling)


def rows_of_path(path: Path, symbols: Sequence[str] | None, *, refusing: bool = True, hint: str = "") -> Rows:
    """Symbols with their rows, one file in memory at a time where each file is one symbol.

    With `refusing` what cannot be read is raised, else it stands in the place of its rows.
    """
    try:
        there = path.exists()
    except OSError:  # too long a name, say
        there = False
    if not there:
        raise BarsError(f"bars: {str(path)[:200]} is neither a source nor an existing path{hint}")
    paths = files_of(path)
    by_stem = {stem_of(one): one for one in paths}
    alone = symbols is not None and path.is_dir() and set(symbols) <= set(by_stem)
    if alone:
        paths = [by_stem[symbol] for symbol in pick(str(path), by_stem, symbols)]
    rows = _rows_of_files(paths, path, refusing)
    if symbols is None or alone:
        return rows
    found = dict(rows)
    return [(symbol, found[symbol]) for symbol in pick(str(path), found, symbols)]


def _rows_of_files(paths: Iterable[Path], place: Path, refusing: bool) -> Rows:
    seen: set[str] = set()
    for path in paths:
        stem = stem_of(path)
        rows: dict[str, RawBars | BarsError]
        try:
            rows = {**rows_of_frames(parts_of(path), path.name, stem)}
        except BarsError as error:
            rows = {stem: error}
        for symbol in list(rows):
            raw = rows.pop(symbol)
            if symbol in seen:
                raw = BarsError(f"bars: {symbol} comes from {path.name} and from another file in {place}; keep one")
            if refusing and isinstance(raw, BarsError):
                raise raw
            seen.add(symbol)
            yield symbol, raw


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
    if len(pieces) == 1:
        whole = pieces[0]
    else:
        stamps = np.concatenate([piece.stamps for piece in pieces])
        parts = [dict(piece.columns) for piece in pieces]
        pieces.clear()  # each part goes as soon as it stands in the whole
        columns = {field: np.concatenate([part.pop(field) for part in parts]) for field in list(parts[0])}
        whole = RawBars(stamps, columns, zones, unread)
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
            f"found {', '.join(map(str, frame.columns[:12]))}" + hint_delimiter(list(frame.columns))
        )
    stamps, zones = stamps_of(frame[first], where)
    series = {}
    for symbol in map(str, symbols):
        closes = numbers(frame[symbol], f"{symbol} close", stamps)
        here = ~np.isnan(closes)
        series[symbol] = RawBars(stamps[here], {"close": closes[here]}, zones)
    return series
