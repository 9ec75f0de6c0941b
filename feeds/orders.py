"""Numbers of dates to stamps: which of them is the day, what a count counts. Decided by a whole column, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars.stamps import Stamps
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.written import MONTH_NAMED, YMD

PLAIN = {YMD: (0, 1, 2), MONTH_NAMED: (2, 1, 0)}  #: where year, month and day stand
FOUR_DIGITS = {"%d/%m/%Y": (2, 1, 0), "%m/%d/%Y": (2, 0, 1)}
TWO_DIGITS = {"%d/%m/%y": (2, 1, 0), "%m/%d/%y": (2, 0, 1), "%y/%m/%d": (0, 1, 2)}
DAY, MISSING = np.timedelta64(1, "D"), np.datetime64("NaT", "ns")
UNITS = {"s": (1e8, 4.2e9), "ms": (1e11, 4.2e12), "us": (1e14, 4.2e15), "ns": (1e17, 4.2e18)}  #: 1973 to 2103
SERIAL = (20_000.0, 73_000.0)  #: days since 1899-12-30: 1954 to 2099
FEWEST_DAYS = 8  #: behind a decision by days of the week


class Dates(NamedTuple):
    """A column as stamps."""

    stamps: Stamps  #: UTC where there are zones, else the clock as written
    zones: frozenset[str]
    how: str  #: the rule that decided


def letters(date_format: str) -> str:
    """The order that a format asks for: dmy of %d/%m/%Y."""
    return "".join(re.findall("%(.)", date_format)).lower()


def _century(years: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of two digits the last year that has come: bars do not lie in the future."""
    now = int(str(np.datetime64("today", "Y"))) + 1
    return np.where(years < 100, years + 1900 + 100 * (years + 2000 <= now), years)


def _days(parts: NDArray[np.int64], order: Sequence[int]) -> NDArray[np.datetime64] | None:
    """Dates in that order of year, month and day; None where some row has none."""
    year, month, day = (parts[:, place] for place in order)
    year = _century(year)
    if ((month < 1) | (month > 12) | (day < 1) | (year < 1678) | (year > 2261)).any():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    days = months.astype("M8[D]") + (day - 1).astype("m8[D]")
    return days if (days.astype("M8[M]") == months).all() else None


def _weekends(days: NDArray[np.datetime64]) -> int:
    return int(np.count_nonzero((days.astype(np.int64) + 3) % 7 >= 5))


def _is_sorted(days: NDArray[np.datetime64]) -> bool:
    steps = np.diff(days)
    return bool((steps >= np.timedelta64(0, "D")).all() or (steps <= np.timedelta64(0, "D")).all())


def in_order(
    parts: NDArray[np.int64], readings: Mapping[str, tuple[int, int, int]], owner: str
) -> tuple[NDArray[np.datetime64], str]:
    left = {name: days for name, order in readings.items() if (days := _days(parts, order)) is not None}
    if not left:
        shown = "-".join(map(str, parts[0, :3]))
        raise BarsError(f"bars: {owner} has dates, the first {shown}, that are none in any order; mend them")
    how = f"dates as {next(iter(left))}: the only order in which all of them are dates"
    if len(left) > 1:
        unique = {name: np.unique(days) for name, days in left.items()}
        weekends = {name: _weekends(days) for name, days in unique.items()}
        for told, fits, others in (
            ("no Saturday and no Sunday is among them, as there would be in another order",
             [name for name in left if not weekends[name]], [name for name in left if weekends[name] > 1]),
            ("they follow each other, as they would in no other order",
             [name for name in left if _is_sorted(left[name])], [name for name in left if not _is_sorted(left[name])]),
        ):  # fmt: skip
            if len(fits) == 1 and len(fits) + len(others) == len(left) and len(unique[fits[0]]) >= FEWEST_DAYS:
                left, how = {fits[0]: left[fits[0]]}, f"dates as {fits[0]}: {told}"
                break
        else:
            shown = " or ".join(f"{days[0]} to {days[-1]} (as {name})" for name, days in left.items())
            raise BarsError(
                f"bars: {owner} has dates that may be {shown}; say which: --date-format {next(iter(left))}, "
                f"date_format={next(iter(left))!r}"
            )
    return next(iter(left.values())), "dates whose order is plain" if "" in left else how


def counted(counts: NDArray[np.int64] | NDArray[np.float64], owner: str) -> Dates:
    """Digits of dates, seconds since 1970 of any unit, or days of a spreadsheet."""
    if np.isnan(counts.astype(np.float64)).any():
        raise BarsError(f"bars: {owner} has rows without a date; fill them in")
    floats = counts.astype(np.float64)
    low, high = float(floats.min()), float(floats.max())
    if SERIAL[0] <= low and high <= SERIAL[1]:
        days = np.datetime64("1899-12-30", "D") + np.floor(floats).astype(np.int64)
        if _weekends(np.unique(days)) or len(np.unique(days)) < FEWEST_DAYS:
            raise BarsError(
                f"bars: {owner} has dates like {low:g}, which may be days of a spreadsheet ({days[0]}) or a count; "
                "write YYYY-MM-DD"
            )
        clock = np.round((floats - np.floor(floats)) * 86_400).astype("m8[s]").astype("m8[ns]")
        return Dates(days.astype("M8[ns]") + clock, frozenset(), "dates as days of a spreadsheet, none on a weekend")
    written = _as_written(counts) if low == np.floor(low) else None
    units = [name for name, (least, most) in UNITS.items() if ((floats >= least) & (floats <= most)).any()]
    known = np.zeros(len(floats), np.bool_)
    stamps = np.full(len(floats), MISSING)
    for name in units:
        here = (floats >= UNITS[name][0]) & (floats <= UNITS[name][1])
        known |= here
        scale = 10 ** (9 - 3 * list(UNITS).index(name))
        own = counts[here]
        exact = own.astype(np.int64) * scale if own.dtype.kind in "iu" else np.round(own * (scale / 1e3)) * 1e3
        stamps[here] = exact.astype(np.int64).astype("M8[ns]")
    if written is not None and len(str(int(high))) > 10:
        return Dates(written, frozenset(), "dates as digits, year first")
    if written is not None and known.all():
        raise BarsError(
            f"bars: {owner} has dates that may be {written[0]} (as digits) or {stamps[0]} (as seconds since 1970); "
            "write YYYY-MM-DD"
        )
    if not known.all():
        bad = counts[~known][0]
        raise BarsError(f"bars: {owner} date {bad!s} is no date; write YYYY-MM-DD")
    return Dates(stamps, frozenset({"UTC"}), f"dates as {' and '.join(units)} since 1970, by their magnitude")


def _as_written(counts: NDArray[np.int64] | NDArray[np.float64]) -> Stamps | None:
    """yyyymmddhh, yyyymmddhhmm or yyyymmddhhmmss[fff]; None where some count is none."""
    text = [str(int(count)) for count in counts]
    lengths = {len(cell) for cell in text}
    if len(lengths) != 1 or not lengths <= {10, 12, 14, 17}:
        return None
    try:
        found = [
            np.datetime64(f"{t[:4]}-{t[4:6]}-{t[6:8]}T{t[8:10]}:{t[10:12] or '00'}:{t[12:14] or '00'}") for t in text
        ]
    except ValueError:
        return None
    stamps = np.array(found, "M8[ns]") + np.array([int(t[14:17] or 0) for t in text], "m8[ms]")
    return stamps if stamps.min() > np.datetime64("1900") and stamps.max() < np.datetime64("2100") else None
