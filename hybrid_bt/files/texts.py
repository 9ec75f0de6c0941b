"""Numbers and names as texts: stamps, cells of CSV files, rows of HTML, plain data for JSON; nothing obeys them."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json, to_jsonable_python

_QUOTED = re.compile(r'[,"\r\n]')  #: what a cell may hold between quotes only
#: what a spreadsheet would run, and is no number
_FORMULA = re.compile(r"[=@\t\r]|[+-](?!(?:[\d.,]+(?:e[+-]?\d+)?|inf|nan)%?$)", re.IGNORECASE)
#: sizes that JSON writes as Python does, all digits before or behind a point, in a third of the time
DECIMAL = 1e-4, 1e15
TEXT = ' class="text"'  #: of a cell of HTML that holds no number


class Cells(list[str]):
    """Cells of a CSV file that are made already."""


def coarse(stamps: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The same stamps in one unit for all: days if all lie at midnight, else seconds or as fine as it takes."""
    units = ("datetime64[D]", "datetime64[s]", stamps.dtype)
    return next(found for unit in units if ((found := stamps.astype(unit)) == stamps).all())


def stamp_texts(stamps: NDArray[np.datetime64]) -> list[str]:
    """One text per stamp, all of one form."""
    return cells(coarse(stamps))


def end_days(stamps: NDArray[np.datetime64]) -> tuple[str, str]:
    """Date of the first and of the last stamp."""
    return str(stamps[0].astype("datetime64[D]")), str(stamps[-1].astype("datetime64[D]"))


def cells(values: Iterable[object]) -> list[str]:
    """Of a row or column of a CSV file (RFC 4180): floats read back exactly, NaN is empty; arrays row by row, of stamps
    in their own unit. A text that a spreadsheet would take for a formula stands behind an apostrophe.
    """
    if isinstance(values, Cells):
        return values
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "M":
            return Cells(np.datetime_as_string(values).tolist())
        flat = values.ravel()
        size = np.abs(flat)
        with_exponent = np.flatnonzero(~((size >= DECIMAL[0]) & (size < DECIMAL[1]) | (size == 0.0)))
        texts = to_json(flat.tolist())[1:-1].decode().split(",") if flat.size else []
        for place, value in zip(with_exponent.tolist(), flat[with_exponent].tolist(), strict=True):
            texts[place] = "" if value != value else repr(value)
        return texts
    texts = [_inert(value) if isinstance(value, str) else "" if value != value else str(value) for value in values]
    if not _QUOTED.search("".join(texts)):
        return texts
    return ['"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text for text in texts]


def _inert(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def csv_of_rows(rows: Iterable[Iterable[object]]) -> str:
    """A table; its head is the first row."""
    return "".join(",".join(cells(row)) + "\n" for row in rows)


def csv_of_columns(columns: Iterable[Iterable[object]], head: Sequence[str] = ()) -> str:
    """Columns of one length as a table, below its head if there is one: the way for long tables."""
    lines = [",".join(cells(head))] if head else []
    return "\n".join([*lines, *map(",".join, zip(*map(cells, columns), strict=True)), ""])


def cell(value: float, how: str, nothing: str = "") -> str:
    """A figure in a format; a measure without a value is left empty, or called what a sentence needs."""
    return nothing if value != value else format(value, how)


def real_minus(text: str) -> str:
    """The sign of a figure as typography has it."""
    return text.replace("-", "\u2212")


def shown(text: str) -> str:
    """As a terminal and a page may have it: what they would obey, or no encoding holds, is written out (`\\x1b`)."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def escape(text: str) -> str:
    """The same as HTML."""
    return html.escape(shown(text))


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, chief: str = "", kinds: Sequence[str] = ()
) -> str:
    """A table of texts; the row whose first cell is `chief` stands out, and `kinds` are the columns' attributes."""
    lines = [html_row("th", head, kinds)] if head else []
    lines += [html_row("td", row, kinds, " class=chief" if chief and row[0] == chief else "") for row in rows]
    return html_rows(lines)


def html_rows(rows: Iterable[str]) -> str:
    """A table that scrolls where the page is narrower."""
    return f'<div style="overflow-x:auto"><table>{"".join(rows)}</table></div>'


def html_row(tag: str, texts: Iterable[str], kinds: Sequence[str] = (), mark: str = "") -> str:
    """Cells with an attribute each; a figure gets a real minus."""
    cells = zip(texts, chain(kinds, repeat("")), strict=False)
    parts = (f"<{tag}{kind}>{escape(real_minus(text[:1]) + text[1:])}</{tag}>" for text, kind in cells)
    return f"<tr{mark}>{''.join(parts)}</tr>"


def html_image(path: Path, about: str) -> str:
    """A PNG within the page."""
    return f'<img alt="{escape(about)}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


def json_object(line: bytes) -> dict[str, Any] | None:
    """Of a line of a journal; None where it is none, as behind a crash."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Mappings in mappings as one, its keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def plain(values: Mapping[str, object]) -> dict[str, Any]:
    """Dicts, lists, texts, numbers, booleans and None; NaN and infinities become None.

    Raises
    ------
    TypeError
        For a type that has no obvious JSON form.
    """
    found: dict[str, Any] = to_jsonable_python(values, inf_nan_mode="null", fallback=_of_numpy)
    return found


def _of_numpy(value: object) -> object:
    if isinstance(value, np.datetime64):
        return stamp_texts(np.array([value]))[0]
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"run.json: {type(value).__name__} {value!r} has no JSON form")
