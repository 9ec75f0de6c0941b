"""Frames to rows of symbols: an index of dates becomes a column, several rows of names stay, and nothing is dropped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from hybrid_bt.bars.checks import RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.dialect import SAMPLE_LINES, Dialect
from hybrid_bt.feeds.figures import THOUSANDS, UNSURE, decimal_mark
from hybrid_bt.feeds.layout import plan_of
from hybrid_bt.feeds.names import field_of, is_foreign, meaning_of
from hybrid_bt.feeds.reading import Plan, Reading, found_in
from hybrid_bt.feeds.table import Table
from hybrid_bt.feeds.written import is_count, is_stamp

__all__ = ["dated", "field_of", "found_in", "mark_of", "rows_of_frame", "single"]


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
    shown = [
        head[place].dt.end_time if isinstance(head[place].dtype, pd.PeriodDtype) else head[place] for place in head
    ]
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
        raise BarsError(
            f"bars: {where} has numbers whose points may part thousands or decimals; write decimals with a comma"
        )
    return mark


def _cells(written: Dialect, places: Sequence[int]) -> list[str]:
    return [row[place] for row in written.sample for place in places if place < len(row)]


def single(frame: pd.DataFrame, symbol: str, date_format: str | None = None) -> RawBars:
    """One symbol's rows of a frame that holds no other. An empty price stays NaN."""
    found, _ = rows_of_frame(frame, symbol, symbol, None, date_format)
    if len(found) > 1:
        raise BarsError(
            f"bars: the frame of {symbol} holds {len(found)} symbols ({', '.join(list(found)[:4])}); give one each"
        )
    return next(iter(found.values()))
