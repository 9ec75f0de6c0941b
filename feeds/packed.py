"""Tables that are no text: Parquet, Feather, Excel and JSON to frames, each with the symbol that it names, or none."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.dialect import SAMPLE_LINES, arranged

Frames = Iterator[tuple[str, pd.DataFrame]]


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
        rows = [
            ["" if pd.isna(cell) else str(cell) for cell in row]
            for row in sheet.head(SAMPLE_LINES).itertuples(index=False)
        ]
        for row in rows[:3]:  # of merged cells the first alone is written
            filled = [row[place] for place in range(1, len(row)) if row[place]]
            if filled and row[-1] == "" and len(filled) > 1:
                row[1:] = pd.Series(row[1:]).replace("", None).ffill().fillna("")
        written = arranged(rows)
        frame = sheet.iloc[written.skip :].reset_index(drop=True)
        names: object = (
            pd.MultiIndex.from_arrays(written.headers) if len(written.headers) > 1 else list(*written.headers)
        )
        yield (name if len(sheets) > 1 else ""), frame.set_axis(names, axis=1) if written.headers else frame


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
