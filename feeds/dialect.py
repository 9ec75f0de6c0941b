"""How a file of text is written, told by its first lines: encoding, separator, lines before the header, the header.

bytes -> lines -> rows by the separator that makes most of them dates beside numbers
      -> title, comment and `sep=` lines | rows of headers, none, one or two | data
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.figures import looks_numeric
from hybrid_bt.feeds.names import meaning_of
from hybrid_bt.feeds.written import is_count, is_stamp

SEPARATORS = (",", ";", "\t", "|")
BLANKS = r"\s+"  #: runs of spaces part columns where nothing else does
SAMPLE_LINES, SCORED_LINES, SAMPLE_BYTES = 60, 12, 1 << 16
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
GUESSES = ("cp1252", "gb18030", "cp932", "euc_kr", "cp1251", "cp1250")  #: tried on what is no UTF-8


class Dialect(NamedTuple):
    """How a text is to be read."""

    encoding: str
    separator: str
    skip: int  #: lines before the data
    headers: tuple[tuple[str, ...], ...]  #: rows of names, as long as the rows of data; none where there is no header
    sample: tuple[tuple[str, ...], ...]  #: the first rows of data
    above: tuple[str, ...] = ()  #: the last line before them


def encoding_of(head: bytes, name: str) -> str:
    """By its mark, else UTF-8 if it is that, else the encoding in which the header's words are known."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = head[start::2].count(0)
        if len(head) > 8 and zeros > 0.9 * len(head[start::2]) and not head[1 - start :: 2].count(0):
            return encoding
    if b"\0" in head:
        raise BarsError(f"bars: {name} cannot be read as CSV in UTF-8: it holds NUL characters; mend the file")
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")("strict").decode(head)
        return "utf-8-sig"
    known = Counter[str]()
    for encoding in GUESSES:
        try:
            lines = codecs.getincrementaldecoder(encoding)("strict").decode(head).splitlines()[:30]
        except UnicodeDecodeError:
            continue
        words = {cell.strip() for line in lines for cell in re.split("[,;\t|]", line) if not cell.isascii()}
        known[encoding] = sum(meaning_of(word) is not None for word in words)
    best = known.most_common(1)
    if not best or not best[0][1]:
        why = "its header is in another encoding, in which no word is known"
        raise BarsError(f"bars: {name} cannot be read as CSV in UTF-8: {why}; save the file as UTF-8")
    return best[0][0]


def dialect_of(text: str, encoding: str) -> Dialect:
    """The dialect of a text that begins like this; its first line is a header where no row is data."""
    lines = text.splitlines()[:SAMPLE_LINES]
    found = [one for one in SEPARATORS if one in text] or [",", BLANKS]
    last = {one: [_cells(line, one) for line in lines[-SCORED_LINES:]] for one in found}
    widths = {one: Counter(len(row) for row in rows if _is_data(row)) for one, rows in last.items()}
    scores = {one: max(counted.values(), default=0) for one, counted in widths.items()}  # rows of data of one length
    best = [one for one in scores if scores[one] == max(scores.values())]
    separator = max(best, key=lambda one: _known(lines, one)) if len(best) > 1 else best[0]
    if not scores[separator]:
        separator = max(last, key=lambda one: max((len(row) for row in last[one]), default=0))
    written = arranged([_cells(line, separator) for line in lines], encoding, separator)
    for number, line in enumerate(lines[: written.skip], 1):
        cells = [cell.strip(' "') for cell in re.split(r"[,;\t|]", line)]
        if any(map(is_stamp, cells)) and sum(map(looks_numeric, cells)) > 1:
            what = "holds a date and numbers in another way than those behind it"
            raise BarsError(f"bars: line {number} {what}; mend it")
    return written


def arranged(rows: Sequence[Sequence[str]], encoding: str = "", separator: str = "") -> Dialect:
    """Rows of cells as titles, headers and data."""
    data = [place for place, row in enumerate(rows) if _is_data(row)]
    width = Counter(len(rows[place]) for place in data).most_common(1)[0][0] if data else 0
    first = data[0] if data else None
    while first and len(rows[first - 1]) == width and any(map(is_stamp, rows[first - 1])):
        first -= 1  # a bar without a number: its symbol is not listed yet
    if first is None:  # the header is what comes first, and what follows will be refused for what it is
        first = next((place + 1 for place, row in enumerate(rows) if any(row)), 0)
        width = len(rows[first - 1]) if first else 0
    headers: list[Sequence[str]] = []
    place = first - 1
    while place >= 0 and (not any(rows[place]) or _fits(rows[place], width, rows[first] if data else ())):
        if any(rows[place]):
            headers.insert(0, _padded(rows[place], width, rows[first] if data else ()))
        place -= 1
    sample = [[*row, *[""] * (width - len(row))] for row in rows[first:] if any(row)]
    above = tuple(rows[place]) if place >= 0 else ()
    return Dialect(encoding, separator, first, tuple(map(tuple, headers)), tuple(map(tuple, sample)), above)


def _cells(line: str, separator: str) -> list[str]:
    if separator == BLANKS:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def _is_data(row: Sequence[str]) -> bool:
    """Whether a row holds a date and another number."""
    stamps = [place for place, cell in enumerate(row) if is_stamp(cell) or is_count(cell)]
    return bool(stamps) and any(looks_numeric(cell) for place, cell in enumerate(row) if place != stamps[0])


def _known(lines: Sequence[str], separator: str) -> int:
    """How many cells are names that are known."""
    return sum(meaning_of(cell) is not None for line in lines for cell in _cells(line, separator) if not cell.isdigit())


def _fits(row: Sequence[str], width: int, data: Sequence[str]) -> bool:
    """Whether a row above the data may be a header: as wide, or without a name for a first column that counts rows."""
    if row and row[0].lower().startswith(("sep=", "#")):
        return len(row) == width and width > 1 and meaning_of(row[0].lstrip("# ")) is not None
    bare = [cell for cell in row if cell]
    if len(row) == width - 1:  # of a table with names of rows, or a separator behind each row
        dated = "date" in map(meaning_of, row)
        return len(bare) > 1 and bool(data) and (not data[-1] or data[0].isdigit() or not dated)
    return len(row) == width or (len(row) > width and not any(row[width:]))


def _padded(row: Sequence[str], width: int, data: Sequence[str]) -> list[str]:
    if len(row) == width - 1:
        return [*row, ""] if data and not data[-1] else ["", *row]
    return list(row[:width])
