"""One symbol's DataFrame to checked bars, its columns chosen as Backtrader's PandasData chooses them.

A choice is PandasData's: None, the frame has no such column; -1, the column of that name, if there is one; a position
from 0 on; or a name. For `datetime`, None is the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.bars.checks import RawBars
from hybrid_bt.bars.findings import ON_BAD_DATA, OnBadData
from hybrid_bt.errors import BarsError, ConfigError, did_you_mean
from hybrid_bt.feeds.cells import dated, field_of, numbers, single
from hybrid_bt.feeds.panel import Handling, build_panel

PRICES = ("open", "high", "low", "close")


class FrameBars(NamedTuple):
    """What a feed shows of a frame."""

    bars: Bars
    others: dict[str, NDArray[np.float64]]  #: lines that hold no price, (T,) each, NaN where the frame has none
    unread: tuple[str, ...]  #: columns that became no line


def frame_bars(
    frame: Any, choices: Mapping[str, Any], *, owner: str, nocase: bool, adjusted: bool, on_bad_data: OnBadData
) -> FrameBars:
    """Read, check and line up the columns that `choices` (line, or `datetime`, -> choice) ask for.

    Parameters
    ----------
    owner : str
        Names the symbol in errors.
    nocase : bool
        Match names without case.
    adjusted : bool
        Scale prices by the frame's adjusted close.

    Raises
    ------
    BarsError
        For a column that is not there or there twice, text among numbers, and prices that cannot be traded on.
    """
    if on_bad_data not in ON_BAD_DATA:
        raise ConfigError(f"on_bad_data is {on_bad_data!r}{did_you_mean(str(on_bad_data), ON_BAD_DATA)}")
    if isinstance(frame.columns, pd.MultiIndex):
        raise BarsError(f"bars: {owner}: the frame has several rows of headers; keep one (frame.droplevel, axis=1)")
    places = {line: _place(frame, owner, line, choice, nocase) for line, choice in choices.items()}
    dates = _dates(frame, owner, places["datetime"])
    if adjusted:
        places["adj"] = _adjusted(frame, owner)
    at = {line: place for line, place in places.items() if place is not None}
    if "close" not in at:
        raise BarsError(f"bars: {owner} has no close column{_found(frame)}; name it with close='COLUMN'")
    columns = {line: frame.iloc[:, place].reset_index(drop=True) for line, place in at.items() if line != "datetime"}
    checked = pd.DataFrame(
        {"date": dates, **{line: columns[line] for line in (*PRICES, "volume", "adj") if line in at}}
    )
    raw = single(checked, owner)
    raw = _completed(raw, [line for line in PRICES if choices[line] is None])
    bars = build_panel(owner, [(owner, raw)], Handling(not adjusted, on_bad_data))
    rows = _rows_of(bars, raw)
    others = {
        line: numbers(_numeric(columns[line]), f"{owner} {line}", raw.stamps)[rows]
        if line in at
        else np.full(bars.n_bars, np.nan)
        for line in choices
        if line not in (*PRICES, "datetime")
    }
    if "volume" in at:  # as checked or mended, but an empty cell stays empty
        others["volume"] = np.where(np.isnan(others["volume"]), np.nan, bars.volume[:, 0])
    left = (name for place, name in enumerate(frame.columns) if place not in at.values() and field_of(name) != "date")
    return FrameBars(bars, others, tuple(map(str, left)))


def _place(frame: Any, owner: str, line: str, choice: Any, nocase: bool) -> int | None:
    """Position of a line's column; None where it has none."""
    if choice is None:
        return None
    is_asked = not isinstance(choice, (int, np.integer))
    if not is_asked and choice >= 0:
        if int(choice) >= len(frame.columns):
            raise BarsError(f"bars: {owner}: {line}={choice} is no column{_found(frame)}; they count from 0")
        return int(choice)
    wanted = _folded(choice if is_asked else line, nocase)
    found = [place for place, name in enumerate(frame.columns) if _folded(name, nocase) == wanted]
    if len(found) > 1:
        raise BarsError(
            f"bars: {owner} has more than one column for {line!r}{_found(frame)}; keep one, or give a number"
        )
    if is_asked and not found:
        hint = did_you_mean(str(choice), list(map(str, frame.columns)))
        raise BarsError(f"bars: {owner}: {line}={choice!r} is no column{hint}{_found(frame)}")
    return found[0] if found else None


def _folded(name: Any, nocase: bool) -> Any:
    return name.strip().lower() if nocase and isinstance(name, str) else name


def _found(frame: Any) -> str:
    return f"; found {', '.join(map(str, frame.columns[:12]))}"


def _adjusted(frame: Any, owner: str) -> int:
    found = [place for place, name in enumerate(frame.columns) if field_of(name) == "adj"]
    if len(found) != 1:
        raise BarsError(
            f"bars: {owner}: adjusted=True needs one column of adjusted closes, not {len(found)}{_found(frame)}; "
            "call it 'Adj Close', or leave out adjusted"
        )
    return found[0]


def _dates(frame: Any, owner: str, place: int | None) -> Any:
    """The column asked for; else the index where it is of dates, else a column of dates."""
    if place is not None:
        return frame.iloc[:, place].reset_index(drop=True)
    if isinstance(frame.index, pd.DatetimeIndex):
        return frame.index.to_series().reset_index(drop=True)
    table = dated(frame)
    named = [name for name in table.columns if field_of(name) == "date"]
    if not named:
        raise BarsError(
            f"bars: {owner} has dates neither as index nor as a column{_found(frame)}; give datetime='COLUMN'"
        )
    return table[named[0]]


def _completed(raw: RawBars, absent: list[str]) -> RawBars:
    """Prices that were said to be absent stand at the close, a high or low at the greater or lesser of it and the open.

    PandasData leaves them empty, and the broker would fill at no price at all.
    """
    if not any(line in raw.columns for line in ("open", "high", "low")):
        return raw  # closes alone
    columns, close = dict(raw.columns), raw.columns["close"]
    for line, reach in (("open", np.minimum), ("high", np.maximum), ("low", np.minimum)):
        if line in absent:
            columns[line] = reach(columns.get("open", close), close)
    return raw._replace(columns=columns)


def _rows_of(bars: Bars, raw: RawBars) -> NDArray[np.intp]:
    """Row of the frame behind each bar: of repeated dates the last, as mending keeps it."""
    order = np.argsort(raw.stamps, kind="stable")
    return order[np.searchsorted(raw.stamps[order], bars.stamps, "right") - 1]


def _numeric(column: Any) -> Any:
    """True and False are 1 and 0."""
    return column.astype(object) if column.dtype.kind == "b" else column
