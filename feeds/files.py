"""CSV and Parquet files to rows of symbols: a folder with one file per symbol, one long file, or a wide file of closes.

    folder   KO.csv, PEP.csv.gz, XOM.parquet: the file's name is the symbol
    long     one file with a `symbol` column
    wide     first column the date, every other column one symbol's close; no column may be named after a price field

Columns are matched without case: date|datetime|timestamp, open, high, low, close, volume, adj, and whatever letters
say "adjusted close" (`hybrid_bt.feeds.cells`). Close alone is enough; columns that are not read are named. Dates are
ISO (YYYY-MM-DD, with a time if there is one) without time zone. Numbers are read to the last digit. A file is read in
parts, so that a long one never stands in memory as text.
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hybrid_bt.bars.checks import RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.alike import lies_apart
from hybrid_bt.feeds.cells import dated, field_of, refuse_repeats, rows_of_frames
from hybrid_bt.feeds.panel import Rows, pick

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SUFFIXES = (".csv.gz", ".csv", ".parquet")
EMPTY = ("", "NaN", "nan", "NA", "N/A", "null", "NULL", "None")
PART_ROWS = 65_536  #: rows of CSV that stand in memory as text at a time
MOST_ROWS = 50_000_000  #: of one file; 200 years of minutes, while a small compressed file may hold any number
LONGEST_LINE = 1 << 20  #: bytes; a line beyond is no line of prices, and a compressed one could fill the memory


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
    found = list(rows)
    wanted = pick(str(path), dict.fromkeys(symbol for symbol, _ in found), symbols)
    return [one for symbol in wanted for one in found if one[0] == symbol]


def _rows_of_files(paths: Iterable[Path], place: Path, refusing: bool) -> Rows:
    spans: dict[str, list[tuple[np.datetime64, np.datetime64]]] = {}
    for path in paths:
        stem = stem_of(path)
        rows: dict[str, RawBars | BarsError]
        try:
            rows = {**rows_of_frames(parts_of(path), path.name, stem)}
        except BarsError as error:
            rows = {stem: error}
        for symbol in list(rows):
            raw = rows.pop(symbol)
            if not isinstance(raw, BarsError) and not lies_apart(raw.stamps, spans.setdefault(symbol, [])):
                raw = BarsError(f"bars: {symbol} comes from {path.name} and from another file in {place}; keep one")
            if refusing and isinstance(raw, BarsError):
                raise raw
            yield symbol, raw


def files_of(path: Path) -> list[Path]:
    """The table at a path, or the tables of a folder in alphabetical order."""
    try:
        if path.is_file():
            if not path.name.lower().endswith(SUFFIXES):
                raise BarsError(f"bars: {path} is no table; give one of {', '.join(SUFFIXES)} or a folder of them")
            return [path]
        found = [one for one in sorted(path.iterdir()) if one.name.lower().endswith(SUFFIXES) and one.name[0] != "."]
    except OSError as error:
        raise BarsError(f"bars: {path} cannot be read: {error.strerror or error}; give another path") from error
    if not found:
        raise BarsError(f"bars: folder {path} holds no {', '.join(SUFFIXES)} file; put one file per symbol there")
    return found


def stem_of(path: Path) -> str:
    """The file's name without what says how it is written: the symbol, in a folder."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.resolve().name


def parts_of(path: Path) -> Iterator[pd.DataFrame]:
    """Frames that together are the file; rows are counted through all of them. BarsError if it cannot be read."""
    if not path.is_file():  # a pipe would be waited for, a folder or a circle of links has no rows
        raise BarsError(f"bars: {path} cannot be read: it is no regular file; remove it, or give a table")
    rows = 0
    for part in _parquet(path) if path.name.lower().endswith(".parquet") else _csv(path):
        rows += len(part)
        refuse_more(rows, path)
        yield part
    if not rows:
        raise BarsError(f"bars: {path} has no rows; give at least 2 bars")


def refuse_more(rows: int, path: Path) -> None:
    if rows > MOST_ROWS:
        raise BarsError(f"bars: {path} has more than {MOST_ROWS:,} rows; split it, or make longer bars first")


class _Lines(io.RawIOBase):
    """A stream that refuses to go on where a line does not end."""

    def __init__(self, stream: io.BufferedIOBase, name: str) -> None:
        super().__init__()
        self._stream, self._name, self._open = stream, name, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer)
        block = self._stream.read(min(len(room), LONGEST_LINE))
        end = block.rfind(b"\n")
        self._open = self._open + len(block) if end < 0 else len(block) - end - 1
        if self._open > LONGEST_LINE:
            raise OSError(f"{self._name} has a line of more than {LONGEST_LINE} bytes")
        room[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _opened(path: Path) -> io.TextIOWrapper:
    stream = gzip.GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb")
    lines = io.BufferedReader(_Lines(stream, path.name), 1 << 18)
    return io.TextIOWrapper(lines, encoding="utf-8-sig", newline="", errors="strict")


def _csv(path: Path) -> Iterator[pd.DataFrame]:
    """Dates and symbols as text, all else as numbers where every cell is one; nothing is guessed or dropped."""
    try:
        with _opened(path) as stream:
            head = pd.read_csv(stream, header=None, nrows=1, dtype=str, keep_default_na=False)
        names = [str(cell).strip() for cell in head.iloc[0]]
        refuse_repeats(names, path.name)
        text = {name: str for i, name in enumerate(names) if field_of(name) in ("date", "symbol") or i == 0}
        with warnings.catch_warnings(), _opened(path) as stream:
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            yield from pd.read_csv(
                stream,
                header=0,
                names=names,
                index_col=False,
                dtype=text,
                keep_default_na=False,
                na_values={name: list(EMPTY) for name in names if name not in text},
                low_memory=False,
                chunksize=PART_ROWS,
                **_exact_floats(pd.__version__),
            )
    except pd.errors.EmptyDataError:
        raise BarsError(f"bars: {path} is empty; give a header and at least 2 bars") from None
    except BarsError:
        raise
    except (pd.errors.ParserWarning, OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        raise BarsError(f"bars: {path} cannot be read as CSV in UTF-8: {cause}; mend the file") from error


def _exact_floats(pandas_version: str) -> dict[str, str]:
    """The option that makes pandas read every digit; from 3.1 it always does, and the option is deprecated."""
    major, minor = (int(part) for part in pandas_version.split(".")[:2])
    return {} if (major, minor) >= (3, 1) else {"float_precision": "round_trip"}


def _parquet(path: Path) -> Iterator[pd.DataFrame]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise BarsError(f"bars: {path} needs pyarrow; pip install pyarrow, or give CSV") from error
    try:
        refuse_more(parquet.read_metadata(path).num_rows, path)  # before any of them stands in memory
        yield dated(pd.read_parquet(path))
    except BarsError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        cause = " ".join(str(error).split())[:200]
        raise BarsError(f"bars: {path} cannot be read as Parquet: {cause}; mend the file") from error
