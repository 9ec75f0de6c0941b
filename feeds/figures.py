"""Columns of numbers, read to the last digit: decimal points and commas, thousands, currencies, K, M and B.

One table has one decimal mark, told by its first rows: a mark that is followed by another number of digits than three,
or that comes last of two kinds, is decimal; one that comes twice parts thousands. A cell that breaks what was told, or
one that may be either where nothing tells, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.errors import BarsError

EMPTY = ("", "NaN", "nan", "NA", "N/A", "null", "NULL", "None", "#N/A", "n/a", ".", "-", "--")
BEYOND_DOUBLES = re.compile(r"[+-]?[\d.]+[eE]\+?\d{3,}")  #: infinite for Python, text for pandas before 3
UNSURE = "?"  #: mark of a table that has shown none, in a language that may write a comma
MONEY = r"(?:[$€£¥₹]|(?:USD|EUR|GBP|CHF|JPY|US\$|Rs\.?)(?=[\s\d-])|(?<=\d)\s*(?:USD|EUR|GBP|CHF|JPY|zł))"
UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
THOUSANDS = re.compile(r"[+-]?\d{1,3}\.\d{3}")  #: or three decimals
_LOOKS = re.compile(
    rf"[+-]?\s*{MONEY}?\s*[+-]?[\d.,'\u2019\s\u00a0\u202f]*\d[\d.,]*(?:[eE][+-]?\d+)?\s*{MONEY}?[KMBTkmb]?%?"
)
_GROUPED = {  #: thousands marked
    ".": re.compile(r"[+-]?\d{1,3}(?:(?:,\d{2,3})*,\d{3}|(?:[' \u2019\u00a0\u202f]\d{3})+)(?:\.\d*)?"),
    ",": re.compile(r"[+-]?\d{1,3}(?:(?:\.\d{3})+|(?:[' \u2019\u00a0\u202f]\d{3})+)(?:,\d*)?"),
}
_BARE = {
    ".": re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?"),
}
_SPACES = r"[' \u2019\u00a0\u202f]"
_PARTED = re.compile(rf"[+-]?\d{{1,3}}(?:{_SPACES}\d{{3}})+")
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)


def looks_numeric(cell: str) -> bool:
    """Whether a cell is a number in some notation."""
    return _LOOKS.fullmatch(cell.strip()) is not None


def decimal_mark(cells: Iterable[str]) -> tuple[str, bool]:
    """The mark before decimals that the cells show, "" where none shows; and whether a point may part thousands.

    Raises
    ------
    ValueError
        If both marks are decimal, with a cell of either.
    """
    shown: dict[str, str] = {}
    unsure = False
    for cell in cells:
        text = re.sub(rf"{MONEY}|[KMBTkmb%\s]$", "", cell.strip())
        if not looks_numeric(cell):
            continue
        marks = [c for c in text if c in ".,"]
        if not marks:
            continue
        head, _, tail = text.rpartition(marks[-1])
        if len(set(marks)) > 1:
            shown.setdefault(marks[-1], cell)
        elif len(marks) > 1:
            shown.setdefault("," if marks[0] == "." else ".", cell)
        elif len(re.match(r"\d*", tail)[0]) != 3 or not 1 <= len(head.lstrip("+-")) <= 3 or head.lstrip("+-") == "0":  # type: ignore[index]
            shown.setdefault(marks[-1], cell)
        else:
            unsure |= marks[0] == "."
    if len(shown) > 1:
        raise ValueError(" and ".join(map(repr, shown.values())))
    return next(iter(shown), ""), unsure


def numbers(column: pd.Series, owner: str, days: pd.Series | None = None, decimal: str = ".") -> NDArray[np.float64]:
    """A column as float64, an empty cell NaN; BarsError naming the first cell that is no number.

    Parameters
    ----------
    days : Series, optional
        The dates of the rows, as written, for the error.
    decimal : ".", ",", "" or UNSURE
        The table's mark; "" where no row has shown it.
    """
    if column.dtype.kind in "fiu" and isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64)  # type: ignore[no-any-return]
    row = 0
    if column.dtype.kind not in "bcmM":
        values = np.full(len(column), np.nan)
        for row, cell in enumerate(column):
            value = value_of(cell, decimal)
            if value is None:
                break
            values[row] = value
        else:
            return values
    cell, place = column.iloc[row], int(column.index[row]) + 1
    comma = "; write decimals with a point and thousands without a mark" if "," in str(cell) else ""
    day = "" if days is None else f" ({str(days.iloc[row])[:40]})"
    what = f"{shown_cell(cell)}, not a number{comma}"
    raise BarsError(f"bars: {owner} row {place}{day} is {what}; mend the value or remove the row")


def shown_cell(cell: object) -> str:
    """A cell for an error: as written, and short."""
    text = repr(cell if isinstance(cell, (str, bool, int, float)) else str(cell))
    return text if len(text) <= 60 else text[:57] + "..."


def value_of(cell: object, decimal: str) -> float | None:
    """A number as written, NaN for an empty cell; None for what is none under this decimal mark."""
    if isinstance(cell, (int, float, np.number, np.bool_)):
        return float(cell)
    if not isinstance(cell, (str, Decimal)):
        return np.nan if cell is None or cell is pd.NA or cell is pd.NaT else None
    text = str(cell).strip()
    if text in EMPTY:
        return np.nan
    if _PARTED.fullmatch(text):  # by marks that are no decimals
        text = re.sub(_SPACES, "", text)
    if decimal == UNSURE:
        return float(text) if text.isdecimal() else None
    bare = _BARE[decimal or "."]
    if bare.fullmatch(text) and (decimal or "," not in text):
        return float(text.replace(",", "."))
    if _INFINITE.fullmatch(text) or BEYOND_DOUBLES.fullmatch(text):
        return float(text)
    text = re.sub(MONEY, "", text).strip()
    if text[:1] == "(" and text[-1:] == ")":
        text = f"-{text[1:-1]}"
    unit = UNITS.get(text[-1:].upper(), 1)
    text = text[:-1].strip() if unit > 1 else text
    if not decimal and re.search("[.,]", text):
        return None  # nothing tells what the mark is
    if _GROUPED[decimal or "."].fullmatch(text):
        text = re.sub(_SPACES, "", text).replace("." if decimal == "," else ",", "")
    elif not bare.fullmatch(text):
        return None
    return float(Decimal(text.replace(",", ".")) * unit)
