"""Files of prices to rows of symbols: a folder with one file per symbol, one long file, or a wide file of closes.

    bytes -> unpacked (.gz, .zip) -> text, a table of Parquet, Feather, Excel, or JSON
    text  -> dialect: encoding, separator, lines before the header, rows of headers     (hybrid_bt.feeds.dialect)
    names -> what each column is, whose export it is                    (hybrid_bt.feeds.layout, names, formats)
    parts -> numbers and dates                                           (hybrid_bt.feeds.table, figures, dates)
    whole -> order of day and month, zones, doubts                              (hybrid_bt.feeds.dates, doubts)

Numbers are read to the last digit. A text is read in parts, so that a long one never stands in memory as such.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from hybrid_bt.account import give_back
from hybrid_bt.bars import RawBars
from hybrid_bt.errors import BarsError, os_errors
from hybrid_bt.feeds.alike import lies_apart
from hybrid_bt.feeds.cells import READERS, dated, frames_of, rows_of_frame
from hybrid_bt.feeds.names import symbol_of
from hybrid_bt.feeds.panel import Rows, pick
from hybrid_bt.feeds.reading import Reading, Told
from hybrid_bt.feeds.table import without_idle
from hybrid_bt.feeds.texts import Asked, members, read_text

TABLES = (".csv.gz", ".csv", ".parquet", ".tsv", ".tsv.gz", ".feather")  #: always read
OTHERS = (".txt.gz", ".txt", ".zip", ".xlsx", ".json")  #: in a folder, read where there is none of those
SUFFIXES = (*TABLES, *OTHERS)
ROWS_TO_COLLECT = 500_000  #: whose cells were texts, in cycles of pandas: ten times what they are as numbers
MOST_ROWS = 50_000_000  #: of one file; 200 years of minutes, while a small compressed file may hold any number


def rows_of_path(
    path: Path,
    symbols: Sequence[str] | None,
    *,
    refusing: bool = True,
    hint: str = "",
    date_format: str | None = None,
    told: Told | None = None,
) -> Rows:
    """Symbols with their rows, one file in memory at a time where each file is one symbol.

    Parameters
    ----------
    refusing : bool
        Raise what cannot be read; else it stands in the place of its rows.
    told : Told, optional
        How each file was understood is added to it, as the files are read.
    """
    if not os.path.exists(path):  # which is no error where a name is too long
        raise BarsError(f"bars: {str(path)[:200]} is neither a source nor an existing path{hint}")
    paths = files_of(path)
    owners = [symbol_of(stem_of(one)) for one in paths]
    alone = symbols is not None and path.is_dir() and set(symbols) <= set(owners)
    if alone:  # pieces of one history may be several files
        picked = pick(str(path), dict.fromkeys(owners), symbols)
        paths = [one for symbol in picked for one, own in zip(paths, owners, strict=True) if own == symbol]
    asked = Asked(None if path.is_dir() else symbols, date_format, MOST_ROWS)
    rows = _rows_of_files(paths, path, asked, refusing, Told() if told is None else told)
    if symbols is None or alone:
        return rows
    found = list(rows)
    wanted = pick(str(path), dict.fromkeys(symbol for symbol, _ in found), symbols)
    return [one for symbol in wanted for one in found if one[0] == symbol]


def _rows_of_files(paths: Iterable[Path], place: Path, asked: Asked, refusing: bool, told: Told) -> Rows:
    spans: dict[str, list[tuple[np.datetime64, np.datetime64]]] = {}
    n_read = 0
    for path in paths:
        if n_read > ROWS_TO_COLLECT:
            give_back()
            n_read = 0
        own = symbol_of(stem_of(path))
        try:
            tables: list[dict[str, RawBars] | dict[str, BarsError]] = []
            for found, reading in _tables_of(path, own, asked):
                tables.append(found)
                told.append(reading)
        except BarsError as error:
            tables = [{own: error}]
        for rows in tables:
            for symbol in list(rows):
                raw = rows.pop(symbol)
                if not isinstance(raw, BarsError) and not lies_apart(raw.stamps, spans.setdefault(symbol, [])):
                    raw = BarsError(f"bars: {symbol} comes from {path.name} and from another file in {place}; keep one")
                if refusing and isinstance(raw, BarsError):
                    raise raw
                n_read += 0 if isinstance(raw, BarsError) else len(raw.stamps)
                yield symbol, raw if isinstance(raw, BarsError) else without_idle(raw)


def _tables_of(path: Path, own: str, asked: Asked) -> Iterator[tuple[dict[str, RawBars], Reading]]:
    """The tables of one file, each with its symbols."""
    if not path.is_file():  # a pipe would be waited for, a folder or a circle of links has no rows
        raise BarsError(f"bars: {path} cannot be read: it is no regular file; remove it, or give a table")
    if path.suffix.lower() in READERS:
        for name, frame in frames_of(path, asked.most_rows):
            yield rows_of_frame(dated(frame), path.name, name or own, asked.symbols, asked.date_format)
        return
    names = members(path)
    for name in names:
        yield read_text(path, name, own if len(names) == 1 else symbol_of(stem_of(Path(name))), asked).finished()


def files_of(path: Path) -> list[Path]:
    """The table at a path, or the tables of a folder in alphabetical order."""
    with os_errors(BarsError, f"bars: {path} cannot be read", "give another path"):
        if path.is_file():
            if not path.name.lower().endswith(SUFFIXES):
                raise BarsError(f"bars: {path} is no table; give one of {', '.join(SUFFIXES)} or a folder of them")
            return [path]
        seen = [one for one in sorted(path.iterdir()) if one.name[0] != "."]
    found = [one for one in seen if one.name.lower().endswith(TABLES)]
    found = found or [one for one in seen if one.name.lower().endswith(OTHERS)]
    if not found:
        raise BarsError(f"bars: folder {path} holds no {', '.join(SUFFIXES)} file; put one file per symbol there")
    return found


def stem_of(path: Path) -> str:
    """The file's name without what says how it is written: the symbol, in a folder."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.resolve().name
