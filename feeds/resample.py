"""Longer bars from shorter ones, session by session: `60min`, `4h`, `1D`, and `1D@17:00` for sessions across midnight.

A session is a day of the clock that the stamps carry, or, with `@HH:MM`, what lies between that time of one day
(excluded) and of the next (included). A longer bar never reaches over the end of a session, and the bars of a session
are counted from its own first one, so the same rows give the same bars whatever comes later. Stamps of bars that name
their end and of bars that name their beginning are both kept as they are.

Each longer bar has the stamp of the last row in it: the moment at which it is known. A daily bar made from minutes
therefore reads 16:00 and may stand beside the minutes themselves without looking ahead.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars, FloatArray, Stamps
from hybrid_bt.errors import ConfigError

STEP = re.compile(r"(\d{1,4})(min|h|D)(?:@([01]\d|2[0-3]):([0-5]\d))?")
MINUTE, DAY = np.timedelta64(60_000_000_000, "ns"), np.timedelta64(86_400_000_000_000, "ns")
RowArray = NDArray[np.intp]


Step = tuple[np.timedelta64, np.timedelta64]  #: of a bar, a day or less; from midnight to a session's end


def parse_step(text: str) -> Step:
    """`60min`, `4h`, `1D`, with `@HH:MM` where a session does not end at midnight; ConfigError for anything else."""
    found = STEP.fullmatch(text.strip())
    if not found:
        raise ConfigError(f"resample {text!r}: write 60min, 4h, 1D, or 1D@17:00 for sessions that end at 17:00")
    length = int(found[1]) * {"min": MINUTE, "h": 60 * MINUTE, "D": DAY}[found[2]]
    if not np.timedelta64(0, "ns") < length <= DAY:
        raise ConfigError(f"resample {text!r}: bars from 1min to 1D can be made")
    return length, (int(found[3]) * 60 + int(found[4])) * MINUTE if found[3] else 0 * MINUTE


def resample(bars: Bars, step: str) -> Bars:
    """The panel in longer bars.

    Parameters
    ----------
    step : str
        `60min`, `4h`, `1D`, `1D@17:00`.

    Returns
    -------
    Bars
        Open is the first, high the greatest, low the least, close the last of a symbol's bars within each longer one,
        volume their sum; a symbol without any has none.

    Raises
    ------
    ConfigError
        For a step that cannot be read, or that is shorter than the bars are.
    BarsError
        If fewer than two bars are left.
    """
    length, session_end = parse_step(step)
    shortest = np.median(np.diff(bars.stamps).astype(np.int64))
    if shortest > length.astype(np.int64):
        raise ConfigError(f"resample {step!r}: the bars of {bars.name} are longer already; leave resample out")
    first = _first_rows(bars.stamps, length, session_end)
    last = np.append(first[1:], bars.n_bars) - 1
    note = f"{bars.name}: resampled to {step}, {len(first)} bars from {bars.n_bars}"
    if len(first) == bars.n_bars:
        return replace(bars, notes=(*bars.notes, note))
    rows = np.arange(bars.n_bars)[:, None]
    opened = np.minimum.reduceat(np.where(bars.traded, rows, bars.n_bars), first, axis=0)
    closed = np.maximum.reduceat(np.where(bars.traded, rows, -1), first, axis=0)
    return Bars.checked(
        bars.name,
        bars.symbols,
        bars.stamps[last],
        _of_rows(bars.close, closed),
        open=_of_rows(bars.open, opened),
        high=np.fmax.reduceat(bars.high, first, axis=0),
        low=np.fmin.reduceat(bars.low, first, axis=0),
        volume=np.add.reduceat(bars.volume, first, axis=0),
        notes=(*bars.notes, note),
        findings=bars.findings,
    )


def _first_rows(stamps: Stamps, length: np.timedelta64, session_end: np.timedelta64) -> RowArray:
    """The row that each longer bar begins with."""
    # a bar that is stamped with the very end of a session belongs to it
    shifted = stamps - session_end - (np.timedelta64(1, "ns") if session_end > 0 * MINUTE else 0 * MINUTE)
    session = shifted.astype("M8[D]")
    new = np.append(True, session[1:] != session[:-1])
    if length < DAY:
        opened = stamps[np.maximum.accumulate(np.where(new, np.arange(len(stamps)), 0))]
        count = (stamps - opened) // length
        new |= np.append(True, count[1:] != count[:-1])
    return np.flatnonzero(new)


def _of_rows(values: FloatArray, rows: RowArray) -> FloatArray:
    """values[rows[b, i], i]; NaN where there is no such row."""
    found = values[np.clip(rows, 0, len(values) - 1), np.arange(values.shape[1])]
    return np.where((rows >= 0) & (rows < len(values)), found, np.nan)
