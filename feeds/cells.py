"""Frames: out of files that are no text (Parquet, Feather, Excel, JSON), and to rows of symbols.

An index of dates becomes a column, several rows of names stay, and nothing is dropped.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from hybrid_bt.bars import RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.dialect import SAMPLE_LINES, Dialect, arranged
from hybrid_bt.feeds.figures import THOUSANDS, UNSURE, decimal_mark
from hybrid_bt.feeds.layout import plan_of
from hybrid_bt.feeds.names import field_of, is_foreign, meaning_of
from hybrid_bt.feeds.reading import Plan, Reading
from hybrid_bt.feeds.table import Table
from hybrid_bt.feeds.written import is_count, is_stamp

Frames = Iterator[tuple[str, pd.DataFrame]]  #: with the symbol that each names, "" for none


def dated(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its dates as a column, taken from the index if they are there, and rows counted from 0."""
    if not len(frame.columns):
        raise BarsError("bars: the table has no columns; give a date and a close at least")
    index = frame.index
    named = [name for name in index.names if meaning_of(name) in ("date", "clock", "symbol")]
    first = index[0] if len(index) else None
    dates = isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)) or isinstance(first, date) or is_stamp(str(first))
    dates |= isinstance(first, (str, int, np.integer)) and len(str(first)) > 8 and is_count(str(first))
    tops = {str(column[0] if isinstance(column, tuple) else column) for column in frame.columns}
    if (named or dates) and not any(field_of(column) == "date" for column in tops):
        names = [name or ("date" if place == 0 else f"level {place}") for place, name in enumerate(index.names)]
        frame = frame.set_axis(index.set_names(names), axis=0).reset_index()
    return frame.reset_index(drop=True)


def rows_of_frame(
    frame: pd.DataFrame, where: str, own: str, symbols: Sequence[str] | None = None, date_format: str | None = None
) -> tuple[dict[str, RawBars], Reading]:
    """Every symbol of one frame, which `dated` gave, long, wide, of two rows of names, or of one symbol named `own`.

    Raises
    ------
    BarsError
        If it has no rows, or columns that cannot be understood.
    """
    if not len(frame):
        raise BarsError(f"bars: {where} has no rows; give at least 2 bars")
    levels = [frame.columns.get_level_values(level) for level in range(frame.columns.nlevels)]
    headers = tuple(tuple(str(name) for name in level) for level in levels)
    frame = frame.set_axis(range(len(frame.columns)), axis=1)
    head = frame.head(SAMPLE_LINES)
    columns = (head[place] for place in head)
    shown = (column.dt.end_time if isinstance(column.dtype, pd.PeriodDtype) else column for column in columns)
    sample = tuple(zip(*([str(cell) for cell in column] for column in shown), strict=True))
    written = Dialect("", "", 0, headers, sample)
    plan = plan_of(written, where, symbols)
    table = Table(plan, where, own, mark_of(plan, written, where), date_format)
    table.add(frame)
    return table.finished()


def mark_of(plan: Plan, written: Dialect, where: str) -> str:
    """The decimal mark that the first rows show in the columns that are read, else in the others."""
    cells, others = (_cells(written, places) for places in (plan.numeric, plan.others))
    foreign, beside = is_foreign(plan.names), any(re.fullmatch(r"-?[\d.]*\d,(?!\d{3}$)\d+", cell) for cell in others)
    if not (foreign or beside) and not any("," in cell or cell.count(".") > 1 for cell in cells):
        pointed = [cell for cell in cells if "." in cell]
        volumes = _cells(written, [fields["volume"] for fields in plan.tables.values() if "volume" in fields])
        if not (written.separator and any("." in c for c in volumes) and all(map(THOUSANDS.fullmatch, pointed))):
            return "." if pointed else ""
        foreign = True  # prices and volumes, all of three digits behind a point
    try:
        mark, unsure = decimal_mark(cells)
    except ValueError as error:
        raise BarsError(f"bars: {where} has two decimal marks: {error}; keep one") from None
    if beside and not mark:
        return ","
    if foreign and not mark and not unsure:
        return UNSURE
    if unsure and not mark and foreign:
        what = "numbers whose points may part thousands or decimals"
        raise BarsError(f"bars: {where} has {what}; write decimals with a comma")
    return mark


def _cells(written: Dialect, places: Sequence[int]) -> list[str]:
    return [row[place] for row in written.sample for place in places if place < len(row)]


def single(frame: pd.DataFrame, symbol: str, date_format: str | None = None) -> RawBars:
    """One symbol's rows of a frame that holds no other. An empty price stays NaN."""
    found, _ = rows_of_frame(frame, symbol, symbol, None, date_format)
    if len(found) > 1:
        shown = ", ".join(list(found)[:4])
        raise BarsError(f"bars: the frame of {symbol} holds {len(found)} symbols ({shown}); give one each")
    return next(iter(found.values()))


def _parquet(path: Path, most_rows: int) -> Frames:
    from pyarrow import parquet

    rows = parquet.read_metadata(path).num_rows
    if rows > most_rows:  # before any of them stands in memory
        raise BarsError(f"bars: {path} has more than {most_rows:,} rows; split it, or make longer bars first")
    yield "", pd.read_parquet(path)


def _feather(path: Path, most_rows: int) -> Frames:
    yield "", pd.read_feather(path)


def _excel(path: Path, most_rows: int) -> Frames:
    """Sheets that hold anything; of several, each is the symbol of its name."""
    if not zipfile.is_zipfile(path) or "xl/workbook.xml" not in zipfile.ZipFile(path).namelist():
        raise ValueError("it is no workbook")
    sheets = {name: sheet for name, sheet in pd.read_excel(path, sheet_name=None, header=None).items() if len(sheet)}
    for name, sheet in sheets.items():
        head = sheet.head(SAMPLE_LINES).itertuples(index=False)
        rows = [["" if pd.isna(cell) else str(cell) for cell in row] for row in head]
        for row in rows[:3]:  # of merged cells the first alone is written
            filled = [row[place] for place in range(1, len(row)) if row[place]]
            if filled and row[-1] == "" and len(filled) > 1:
                row[1:] = pd.Series(row[1:]).replace("", None).ffill().fillna("")
        written = arranged(rows)
        frame = sheet.iloc[written.skip :].reset_index(drop=True)
        if headers := written.headers:
            frame.columns = pd.MultiIndex.from_arrays(headers) if len(headers) > 1 else list(*headers)
        yield (name if len(sheets) > 1 else ""), frame


def _json(path: Path, most_rows: int) -> Frames:
    text = path.read_text(encoding="utf-8-sig")
    try:
        value = json.loads(text)
    except ValueError:
        value = [json.loads(line) for line in text.splitlines() if line.strip()]
    found = dict(_frames_of(value))
    if not found:
        raise ValueError("it holds no table")
    yield from found.items()


def _frames_of(value: object, name: str = "") -> Frames:
    """Tables of every orientation of pandas, and what services answer, at whatever depth."""
    inner = list(value.values()) if isinstance(value, dict) else []
    columns = [column for column in inner if isinstance(column, list) and column and not _is_table(column)]
    if isinstance(value, list) and _is_table(value):
        yield name, pd.json_normalize(value) if isinstance(value[0], dict) else pd.DataFrame(value)
    elif isinstance(value, dict) and {"columns", "data"} <= value.keys():
        yield name, pd.DataFrame(value["data"], index=value.get("index"), columns=value["columns"])
    elif isinstance(value, dict) and {"schema", "data"} <= value.keys():
        yield name, pd.DataFrame(value["data"])
    elif isinstance(value, dict) and len(columns) > 1 and len({len(column) for column in columns}) == 1:
        yield name, pd.DataFrame({key: column for key, column in value.items() if isinstance(column, list)})
    elif isinstance(value, dict) and inner and all(isinstance(row, dict) and row and not _nested(row) for row in inner):
        frame = pd.DataFrame(value)
        yield name, frame.T if next(iter(value))[:1].isdigit() else frame  # by row: the keys are dates
    elif isinstance(value, dict):
        symbols = all(map(_is_table, inner))
        for key, held in value.items():
            if isinstance(held, (dict, list)):
                yield from _frames_of(held, str(key) if symbols and len(inner) > 1 else name)


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, (dict, list)) for row in value)


def _nested(row: dict[str, object]) -> bool:
    return any(isinstance(cell, (dict, list)) for cell in row.values())


#: by the end of a file's name: who reads it, what that needs, what it is called
READERS: dict[str, tuple[Callable[[Path, int], Frames], str, str]] = {
    ".parquet": (_parquet, "pyarrow", "Parquet"),
    ".feather": (_feather, "pyarrow", "Feather"),
    ".xlsx": (_excel, "openpyxl", "Excel"),
    ".json": (_json, "", "JSON"),
}


def frames_of(path: Path, most_rows: int) -> Frames:
    """The tables of a file; "" where it names no symbol.

    Raises
    ------
    BarsError
        If the package for it is missing, or it cannot be read.
    """
    read, package, kind = READERS[path.suffix.lower()]
    try:
        yield from read(path, most_rows)
    except ImportError as error:
        raise BarsError(f"bars: {path} needs {package}; pip install {package}, or give CSV") from error
    except BarsError:
        raise
    except Exception as error:  # somebody else's readers, which may raise anything
        cause = " ".join(str(error).split())[:200]
        raise BarsError(f"bars: {path} cannot be read as {kind}: {cause}; mend the file") from error
