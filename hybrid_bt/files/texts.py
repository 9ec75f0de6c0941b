"""Numbers as texts: stamps, the cells of a CSV file, plain data for JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_QUOTED = re.compile(r'[,"\r\n]')  #: what a cell may hold between quotes only


def stamp_texts(stamps: NDArray[np.datetime64]) -> list[str]:
    """One text per stamp, all of one form: dates if all lie at midnight, else seconds or as fine as it takes."""
    for unit in ("D", "s"):
        coarse = stamps.astype(f"datetime64[{unit}]")
        if (coarse == stamps).all():
            stamps = coarse
            break
    texts: list[str] = np.datetime_as_string(stamps).tolist()
    return texts


def end_days(stamps: NDArray[np.datetime64]) -> tuple[str, str]:
    """Date of the first and of the last stamp."""
    return str(stamps[0].astype("datetime64[D]")), str(stamps[-1].astype("datetime64[D]"))


def cells(values: Iterable[object]) -> list[str]:
    """Of a row or column of a CSV file (RFC 4180): floats read back exactly, NaN is empty; arrays row by row."""
    if isinstance(values, np.ndarray):
        texts = list(map(repr, values.ravel().tolist()))
        for place in np.flatnonzero(np.isnan(values)).tolist():
            texts[place] = ""
        return texts
    texts = [value if isinstance(value, str) else "" if value != value else str(value) for value in values]
    if not _QUOTED.search("".join(texts)):
        return texts
    return ['"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text for text in texts]


def csv_of_rows(rows: Iterable[Iterable[object]]) -> str:
    """A table; its head is the first row."""
    return "".join(",".join(cells(row)) + "\n" for row in rows)


def csv_of_columns(columns: Iterable[Iterable[object]], head: Sequence[str] = ()) -> str:
    """Columns of one length as a table, below its head if there is one: the way for long tables."""
    lines = [",".join(cells(head))] if head else []
    return "\n".join([*lines, *map(",".join, zip(*map(cells, columns), strict=True)), ""])


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Mappings in mappings as one, its keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def plain(value: Any) -> Any:
    """Dicts, lists, texts, numbers, booleans and None; NaN and infinities become None.

    Raises
    ------
    TypeError
        For a type that has no obvious JSON form.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.datetime64):
        return stamp_texts(np.array([value]))[0]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"run.json: {type(value).__name__} {value!r} has no JSON form")
