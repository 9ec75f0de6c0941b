"""Tables written as text: unpacked, decoded, and read in parts by pandas, whose messages reach nobody."""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from hybrid_bt.bars import FIELDS
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.cells import mark_of
from hybrid_bt.feeds.dialect import SAMPLE_BYTES, SAMPLE_LINES, Dialect, dialect_of, encoding_of
from hybrid_bt.feeds.figures import EMPTY, UNSURE
from hybrid_bt.feeds.layout import plan_of
from hybrid_bt.feeds.reading import Plan
from hybrid_bt.feeds.table import LEAN_SCALE, Table
from hybrid_bt.feeds.written import is_count, is_stamp

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PART_ROWS = 65_536  #: rows of CSV that stand in memory as text at a time
LONGEST_LINE = 1 << 20  #: bytes; a line beyond is no line of prices, and a compressed one could fill the memory
LEAN_DAY = re.compile(r"(\d{8})_(\w+)_(?:minute|second)_trade\.csv")
FOOTER_ROWS = 5  #: behind the data, with one cell each


class Asked(NamedTuple):
    """What is asked of a file."""

    symbols: Sequence[str] | None = None
    date_format: str | None = None
    most_rows: int = 1 << 62


class _Lines(io.RawIOBase):
    """A stream that refuses to go on where a line does not end, or where text holds a NUL."""

    def __init__(self, stream: io.BufferedIOBase, name: str, *, wide: bool = False) -> None:
        super().__init__()
        self._stream, self._name, self._open, self._wide = stream, name, 0, wide

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer)
        block = self._stream.read(min(len(room), LONGEST_LINE))
        end = block.rfind(b"\n")
        self._open = self._open + len(block) if end < 0 else len(block) - end - 1
        if self._open > LONGEST_LINE:
            raise OSError(f"{self._name} has a line of more than {LONGEST_LINE} bytes")
        if not self._wide and b"\0" in block:
            raise OSError(f"{self._name} holds NUL characters")
        room[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()


def members(path: Path) -> list[str]:
    """Names of the tables in a zip; one, without a name, for any other file."""
    if not path.name.lower().endswith(".zip"):
        return [""]
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
    except (OSError, zipfile.BadZipFile) as error:
        raise BarsError(f"bars: {path} cannot be read as zip: {error}; mend the file") from None
    if not names:
        raise BarsError(f"bars: {path} is empty; give a zip of tables")
    return names


@contextmanager
def _binary(path: Path, member: str) -> Iterator[io.BufferedIOBase]:
    if member:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            yield stream  # type: ignore[misc]
    else:
        with gzip.GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            yield stream


def read_text(path: Path, member: str, own: str, asked: Asked) -> Table:
    """The table of a file of text, or of a zip's member.

    Raises
    ------
    BarsError
        If it cannot be read as a table, with the line.
    """
    try:
        with _binary(path, member) as stream:
            head = io.BufferedReader(_Lines(stream, path.name, wide=True)).read(SAMPLE_BYTES)
        encoding = encoding_of(head, path.name)
        text = head.decode(encoding, errors="ignore")  # whatever is wrong is told when all of it is read
        if len(head) == SAMPLE_BYTES:
            text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
            if not text:
                raise BarsError(f"bars: {path} cannot be read as CSV: it has a line of more than {SAMPLE_BYTES} bytes")
        if not text.strip():
            raise BarsError(f"bars: {path} is empty; give a header and at least 2 bars")
        lean = LEAN_DAY.fullmatch(member)  # a day of minutes, counted in milliseconds
        if lean is None:
            written = dialect_of(text, encoding)
        else:
            cells = tuple(tuple(line.split(",")) for line in text.splitlines()[:SAMPLE_LINES])
            written, own = Dialect(encoding, ",", 0, (("date", *FIELDS),), cells), lean[2]
        plan = plan_of(written, path.name, asked.symbols)
        if lean or (plan.format == "LEAN" and member == f"{own}.csv" and own.islower()):
            plan = plan._replace(format="LEAN", scale=LEAN_SCALE)
        table = Table(plan, path.name, own, mark_of(plan, written, path.name), asked.date_format)
        rows = 0
        for part in _without_footer(_parts(path, member, written, plan, table.decimal), plan, table):
            rows += len(part)
            if rows > asked.most_rows:
                most = f"{asked.most_rows:,} rows"
                raise BarsError(f"bars: {path} has more than {most}; split it, or make longer bars first")
            if lean:
                midnight = np.datetime64(f"{lean[1][:4]}-{lean[1][4:6]}-{lean[1][6:]}", "ns")
                part[0] = midnight + part[0].astype("int64").to_numpy().astype("m8[ms]")
            if len(part):
                table.add(part)
    except BarsError:
        raise
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        said = "a quotation mark is opened and never closed"
        if found:
            said = f"line {int(found[2]) + written.skip} has {found[3]} values, where there are {found[1]} names"
        raise BarsError(f"bars: {path} cannot be read as CSV: {said}; mend the file") from None
    except pd.errors.ParserWarning:
        said = f"its rows have more values than the {len(plan.names)} names of the header"
        raise BarsError(f"bars: {path} cannot be read as CSV: {said}; mend it") from None
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, zipfile.BadZipFile) as error:
        raise BarsError(f"bars: {path} cannot be read as CSV in UTF-8: {_said(error)}; mend the file") from error
    if not rows:
        raise BarsError(f"bars: {path} has no rows; give at least 2 bars")
    return table


def _said(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())[:200]


def _parts(path: Path, member: str, written: Dialect, plan: Plan, decimal: str) -> Iterator[pd.DataFrame]:
    """Dates and names as text, all else as numbers where every cell is one; nothing is guessed or dropped."""
    width = len(plan.names)
    texts = {*plan.dates, *plan.texts, plan.clock, plan.symbol} - {None}
    if decimal in (",", UNSURE):
        texts |= {*plan.numeric, *plan.others}
    with warnings.catch_warnings(), _binary(path, member) as stream:
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        lines = io.BufferedReader(_Lines(stream, path.name, wide="16" in written.encoding), 1 << 18)
        with io.TextIOWrapper(lines, encoding=written.encoding, newline="", errors="strict") as text:
            for _ in range(written.skip):
                text.readline()
            try:
                yield from pd.read_csv(
                    text,
                    sep=written.separator,
                    header=None,
                    names=range(width),
                    index_col=False,
                    dtype={place: str for place in texts},
                    keep_default_na=False,
                    na_values={place: list(EMPTY) for place in range(width) if place not in texts},
                    low_memory=False,
                    chunksize=PART_ROWS,
                    **_exact_floats(pd.__version__),
                )
            except pd.errors.EmptyDataError:
                return


def _without_footer(parts: Iterator[pd.DataFrame], plan: Plan, table: Table) -> Iterator[pd.DataFrame]:
    """All rows but the last where these hold one cell each, and no date: a source or a copyright."""
    held: pd.DataFrame | None = None
    for part in parts:
        if held is not None:
            yield held
        held = part
    if held is None:
        return
    kept = len(held)
    lines = 0
    for row in range(len(held) - 1, -1, -1):
        cells = [str(cell).strip() for cell in held.iloc[row] if not pd.isna(cell)]
        said = [cell for cell in cells if cell]
        date = str(held.iloc[row, plan.dates[0]])
        lines += bool(said)
        if len(said) > 1 or lines > FOOTER_ROWS or is_stamp(date) or is_count(date):
            break
        kept = row
        table.rules += [f"left out behind the last row: {said[0][:60]}"] if said else []
    yield held.iloc[:kept]


def _exact_floats(pandas_version: str) -> dict[str, str]:
    """The option that makes pandas read every digit; from 3.1 it always does, and the option is deprecated."""
    major, minor = (int(part) for part in pandas_version.split(".")[:2])
    return {} if (major, minor) >= (3, 1) else {"float_precision": "round_trip"}
