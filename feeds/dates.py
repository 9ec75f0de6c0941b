"""Columns of dates to stamps: every way to write one, and none guessed.

    text     2018-1-1, 2010.01.04 09:30, 04-Jan-2010, Jan 04, 2010, 1/4/2010 4:00 PM, 20100104 093000, ...T05:00:00Z
    numbers  yyyymmdd[hhmm[ss]], seconds, ms, us or ns since 1970 by their magnitude, days of a spreadsheet

A date whose parts may stand in several orders (04/01/2010, 10/01/04) is read in the one that its whole column allows:
no month beyond 12, and where two are left, the one without Saturdays and Sundays if the other has them. Else it is
refused, showing both. Stamps with a zone, and seconds since 1970, become UTC, and the zones are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.bars.stamps import Stamps, nanoseconds
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds import written
from hybrid_bt.feeds.clock import NO_ZONE
from hybrid_bt.feeds.figures import shown_cell

ISO = r"\d{4}-?\d{2}-?\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?"
LETTERED = ("has a zone in letters, which stand for several", "write its offset, -05:00, or the exchange's time alone")
ISO_ZONED = rf"{ISO}(?:Z|[+-]\d{{2}}:?\d{{2}})"


#: stamps, int64 numbers of shape (T, 4), or counts
Piece = NDArray[np.datetime64] | NDArray[np.int64] | NDArray[np.float64]


class DateColumn:
    """One column of dates, taken part by part and decided when all of it is known."""

    def __init__(self, owner: str, date_format: str | None = None) -> None:
        self.owner, self.date_format = owner, date_format
        self._pieces: list[Piece] = []  #: one kind: stamps; three numbers and a clock; or counts
        self._kind = ""
        self._zones: set[str] = set()
        self._how = f"dates by the format {date_format}" if self._whole_format else "ISO dates"

    @property
    def _whole_format(self) -> bool:
        """Whether the format says all, and not merely which of three numbers is the day."""
        return self.date_format is not None and sorted(written.letters(self.date_format)) != ["d", "m", "y"]

    def add(self, column: pd.Series) -> None:
        """BarsError at the first cell that is no date."""
        kind, piece = self._read(column)
        if self._kind not in ("", kind):
            self._refuse(column, 0, f"is written in another way than the rows before ({self._kind}, then {kind})")
        self._kind = kind
        self._pieces.append(piece)

    def _read(self, column: pd.Series) -> tuple[str, Piece]:
        if isinstance(column.dtype, pd.PeriodDtype):  # a bar is known when its period is over
            ends = column.dt.end_time
            short = ends - column.dt.start_time < pd.Timedelta(written.DAY) * 0.9
            stamps = (ends + pd.Timedelta(1, "ns")).where(short, ends.dt.normalize())
            return "dates", nanoseconds(stamps.to_numpy(), self.owner)
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            self._zones.add(str(column.dtype.tz))
            return "dates", nanoseconds(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), self.owner)
        if column.dtype.kind == "M":
            return "dates", nanoseconds(column.to_numpy(), self.owner)
        if column.dtype.kind in "iuf" and isinstance(column.dtype, np.dtype) and not self._whole_format:
            values = column.to_numpy()
            if not len(values) or ((values == np.floor(values)).all() and values.max() < 1e8 and values.min() > 1e7):
                column = column.astype("int64").astype(str)
            else:
                return "counts", values
        text = column.astype(str).str.strip()
        if self._whole_format:
            if "z" in written.letters(str(self.date_format)):
                self._zones |= _zones_in(text) or {"UTC"}
            return "dates", self._parsed(column, text, str(self.date_format), f"is none as {self.date_format} says")
        if text.str.fullmatch(ISO).all():
            return "dates", self._parsed(column, text)
        if text.str.fullmatch(ISO_ZONED).all():
            self._zones |= _zones_in(text)
            return "dates", self._parsed(column, text)
        if all(map(written.is_count, text)):
            whole = not text.str.contains(".", regex=False).any()
            return "counts", np.array([int(cell) if whole else float(cell) for cell in text])
        named = text.str.extract(r"^(.*\d)\s+([A-Z]\w+/[A-Z]\w+)$")
        if named[1].nunique() == 1 and named[1].notna().all():
            return self._in_zone(column, named[0], str(named[1].iloc[0]))
        return self._written(column, text)

    def _in_zone(self, column: pd.Series, clocks: pd.Series, zone: str) -> tuple[str, Piece]:
        """Clocks of a zone that each row names, as Interactive Brokers writes them."""
        kind, piece = self._read(clocks)
        try:
            stamps = pd.Series(piece.astype("M8[ns]")).dt.tz_localize(zone, ambiguous="infer")
        except (ValueError, KeyError):  # no such zone, or an hour that comes twice or never
            self._refuse(column, 0, f"cannot be turned from {zone} into UTC")
        self._zones.add(zone)
        return kind, nanoseconds(stamps.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), self.owner)

    def _parsed(
        self, column: pd.Series, text: pd.Series, date_format: str = "ISO8601", why: str = "is no date"
    ) -> Stamps:
        try:
            parsed = pd.to_datetime(text, format=date_format, errors="coerce", utc=True)
        except ValueError:
            raise BarsError(f"bars: {date_format!r} is no date format; write one as %d/%m/%Y %H:%M") from None
        bad = parsed.isna().to_numpy()
        if bad.any():
            self._refuse(column, int(np.argmax(bad)), why)
        return nanoseconds(parsed.dt.tz_localize(None).to_numpy(), self.owner)

    def _written(self, column: pd.Series, text: pd.Series) -> tuple[str, Piece]:
        """Each row's three numbers, the clock in nanoseconds less its zone, and whether their order is plain."""
        rows = np.zeros((len(text), 5), np.int64)
        zoned = 0
        for row, cell in enumerate(text):
            found = written.written_in(cell)
            if found is None:
                lettered = re.search(r"\d ?[A-Z]{2,5}$", cell) is not None
                self._refuse(column, row, *(LETTERED if lettered else ()))
            else:
                rows[row] = (*found.numbers, found.clock, found.kind)
                zoned += bool(found.zone)
                self._zones |= {found.zone} - {""}
        if self._zones and zoned < len(text):
            self._zones.add(NO_ZONE)
        orders = np.unique(rows[:, 4])
        if len(orders) > 1:
            self._refuse(column, int(np.argmax(rows[:, 4] != rows[0, 4])), "is written in another way than the first")
        kind = int(orders[0]) if len(orders) else written.YMD
        if kind in written.PLAIN:
            days, self._how = written.in_order(rows, {"": written.PLAIN[kind]}, self.owner)
            return "dates", days.astype("M8[ns]") + rows[:, 3].astype("m8[ns]")
        return f"numbers {kind}", rows[:, :4]

    def _refuse(
        self,
        column: pd.Series,
        row: int,
        why: str = "is no date",
        remedy: str = "write YYYY-MM-DD, or give the date format",
    ) -> NoReturn:
        cell, at = column.iloc[row], int(column.index[row]) + 1
        raise BarsError(f"bars: {self.owner} row {at} date {shown_cell(cell)} {why}; {remedy}")

    def decided(self) -> written.Dates:
        """The stamps of all parts.

        Raises
        ------
        BarsError
            If no reading is left, or two are.
        """
        whole: NDArray[Any] = self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces)
        self._pieces.clear()
        zones = frozenset(self._zones)
        if self._kind == "dates":
            return written.Dates(whole.astype("M8[ns]", copy=False), zones, self._how)
        if self._kind == "counts":
            return written.counted(whole, self.owner)
        readings = written.FOUR_DIGITS if self._kind == f"numbers {written.FOUR_YEAR}" else written.TWO_DIGITS
        order = written.letters(self.date_format or "")
        asked = {name: places for name, places in readings.items() if written.letters(name) == order}
        days, how = written.in_order(whole, asked or readings, self.owner)
        return written.Dates(days.astype("M8[ns]") + whole[:, 3].astype("m8[ns]"), zones, how)


def _zones_in(text: pd.Series) -> set[str]:
    return {written.zone_of(zone)[0] for zone in text.str.extract(r"(Z|[+-]\d{2}:?\d{2})$")[0].dropna().unique()}


def coded(column: pd.Series, seen: dict[str, int]) -> NDArray[np.int32]:
    """Cells as numbers, new ones added to `seen`; an empty one is ""."""
    codes, cells = pd.factorize(column.astype(object), use_na_sentinel=False)
    texts = ["" if pd.isna(cell) else str(cell).strip() for cell in cells]
    found: NDArray[np.int32] = np.array([seen.setdefault(text, len(seen)) for text in texts], np.int32)[codes]
    return found


def clocks_of(cells: Iterable[str], owner: str) -> NDArray[np.timedelta64]:
    """Times since midnight: 09:30, 4:00 PM, 093000, 930; BarsError for what is no time of day."""
    cells = list(cells)
    width = 6 if max((len(cell) for cell in cells if cell.isdigit()), default=0) > 4 else 4
    return np.array([_clock_of(cell, width, owner) for cell in cells], "m8[ns]")


def _clock_of(cell: str, width: int, owner: str) -> int:
    text = re.sub(r"(?<=\d)(?=(?:\d\d)+$)", ":", cell.zfill(width)) if cell.isdigit() else cell
    clock = written.clock_in(text)
    if clock is None:
        raise BarsError(f"bars: {owner} has the time {cell[:40]!r}, which is no time of day; write HH:MM")
    return clock
