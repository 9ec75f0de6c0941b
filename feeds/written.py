"""A date as people write it: three numbers, the kind of their order, a clock, a zone. What a cell leaves open (which of
the numbers is the day, what a count counts) its whole column decides, or is refused for.

2018-1-1, 2010.01.04 09:30, 04-Jan-2010, Jan 04, 2010, 1/4/2010 4:00 PM, 20100104 093000, 2010年1月4日, ...T05:00:00Z
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Stamps
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.names import WORDS

_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? +)?"
_DATE = (
    r"(?P<y>\d{4})(?P<s>[-./ ])(?P<m>\d{1,2}|[^\W\d_]{3,9}\.?)(?P=s)(?P<d>\d{1,2})"
    r"|(?P<y8>\d{4})(?P<m8>\d{2})(?P<d8>\d{2})"
    r"|(?P<a>\d{1,2})(?P<q>[-./ ]?)(?P<b>[^\W\d_]{3,9}\.?|(?<=\d[-./ ])\d{1,2})(?P=q),?(?P<c>\d{4}|\d{2})"
    r"|(?P<mon>[^\W\d_]{3,9})\.? (?P<dd>\d{1,2}),? (?P<yy>\d{4})"
    r"|(?P<yc>\d{4})年(?P<mc>\d{1,2})月(?P<dc>\d{1,2})日"
)
_CLOCK = r"(?P<h>\d{1,2}):(?P<min>\d{2})(?::(?P<sec>\d{2})(?:[.,](?P<frac>\d{1,9}))?)?(?:\s*(?P<half>[ap])\.?m\.?)?"
_DIGITS = r"(?P<clock>\d{6}|\d{4})"
_ZONE = r"(?P<zone>(?:z|utc|gmt)?(?:[+-]\d{1,2}(?::?\d{2})?)?)"
_STAMP = re.compile(rf"{_WEEKDAY}(?:{_DATE})(?:(?:t|,? +){_CLOCK}\s*{_ZONE}|(?:t| +){_DIGITS})?", re.IGNORECASE)
_TIME = re.compile(rf"{_CLOCK}\s*{_ZONE}", re.IGNORECASE)
_COUNT = re.compile(r"\d{9,19}(?:\.\d{1,9})?|\d{5}(?:\.\d{1,12})?")
_MONTHS = {name: month for month, names in enumerate(WORDS["months"], 1) for name in names.split()}
NANOSECONDS = 1_000_000_000  #: of a second
YMD, MONTH_NAMED, FOUR_YEAR, TWO_YEAR = range(4)  #: how three numbers of a date were written
PLAIN = {YMD: (0, 1, 2), MONTH_NAMED: (2, 1, 0)}  #: where year, month and day stand
FOUR_DIGITS = {"%d/%m/%Y": (2, 1, 0), "%m/%d/%Y": (2, 0, 1)}
TWO_DIGITS = {"%d/%m/%y": (2, 1, 0), "%m/%d/%y": (2, 0, 1), "%y/%m/%d": (0, 1, 2)}
DAY, MISSING = np.timedelta64(1, "D"), np.datetime64("NaT", "ns")
UNITS = {"s": (1e8, 4.2e9), "ms": (1e11, 4.2e12), "us": (1e14, 4.2e15), "ns": (1e17, 4.2e18)}  #: 1973 to 2103
SERIAL = (20_000.0, 73_000.0)  #: days since 1899-12-30: 1954 to 2099
FEWEST_DAYS = 8  #: behind a decision by days of the week


class Written(NamedTuple):
    """One cell."""

    numbers: tuple[int, int, int]  #: in the order in which they stand
    kind: int  #: of that order
    clock: int  #: nanoseconds since midnight, less the zone
    zone: str  #: "" for none


def is_stamp(cell: str) -> bool:
    """Whether a cell is a date by its looks: not a mere count of seconds."""
    return _STAMP.fullmatch(cell) is not None


def is_clock(cell: str) -> bool:
    return _TIME.fullmatch(cell) is not None


def is_bare_clock(cell: str) -> bool:
    """Whether six digits are a time of day: 093000."""
    return len(cell) == 6 and cell.isdigit() and clock_in(f"{cell[:2]}:{cell[2:4]}:{cell[4:]}") is not None


def is_count(cell: str) -> bool:
    """Whether a number may be a date: seconds since 1970, digits without marks, days of a spreadsheet."""
    return _COUNT.fullmatch(cell) is not None


def written_in(cell: str) -> Written | None:
    """What a cell says; None for what is no date."""
    found = _STAMP.fullmatch(cell)
    parts, clock = (None, None) if found is None else (_parts_of(found), _clock_of(found))
    if found is None or parts is None or clock is None:
        return None
    zone, ahead = zone_of(found["zone"] or "")
    return Written(parts[:3], parts[3], clock - ahead, zone)


def clock_in(cell: str) -> int | None:
    """Nanoseconds since midnight of a time of day; None for what is none, or has a zone."""
    found = _TIME.fullmatch(cell)
    return None if found is None or found["zone"] else _clock_of(found)


def _month(word: str) -> int:
    """1 to 12 for a name or number; 0 for another word."""
    return int(word) if word.isdigit() else _MONTHS.get(word.casefold().rstrip("."), 0)


def _parts_of(found: re.Match[str]) -> tuple[int, int, int, int] | None:
    """Three numbers and the kind of their order; None where a month is none."""
    for names in (("y", "m", "d"), ("y8", "m8", "d8"), ("yc", "mc", "dc"), ("yy", "mon", "dd")):
        year, word, day = map(found.group, names)
        if year:
            number = _month(word)
            return (int(year), number, int(day), YMD) if number else None
    a, b, c = found["a"], found["b"], found["c"]
    month = _month(b)
    kind = MONTH_NAMED if not b.isdigit() else FOUR_YEAR if len(c) == 4 else TWO_YEAR
    return (int(a), month, int(c), kind) if month else None


def _clock_of(found: re.Match[str]) -> int | None:
    """Nanoseconds since midnight; None for what no clock shows."""
    digits, half = found.groupdict().get("clock"), found["half"]
    parts = (digits[:2], digits[2:4], digits[4:]) if digits else found.group("h", "min", "sec")
    hour, minute, second = (int(part or 0) for part in parts)
    if half and not 1 <= hour <= 12:
        return None
    hour = hour % 12 + 12 * (half.lower() == "p") if half else hour
    if hour > 23 or minute > 59 or second > 59:
        return None
    return (hour * 3600 + minute * 60 + second) * NANOSECONDS + int((found["frac"] or "0").ljust(9, "0"))


def zone_of(text: str) -> tuple[str, int]:
    """A zone as UTC or +01:00, and its nanoseconds ahead of UTC; "" for none."""
    found = re.fullmatch(r"[A-Z]*([+-])(\d{1,2}):?(\d{2})?", text.upper())
    if found is None:
        return ("UTC" if text else ""), 0
    hours, minutes = int(found[2]), int(found[3] or 0)
    size = (hours * 3600 + minutes * 60) * NANOSECONDS
    return (f"{found[1]}{hours:02}:{minutes:02}" if size else "UTC"), size if found[1] == "+" else -size


class Dates(NamedTuple):
    """A column as stamps."""

    stamps: Stamps  #: UTC where there are zones, else the clock as written
    zones: frozenset[str]
    how: str  #: the rule that decided


def letters(date_format: str) -> str:
    """The order that a format asks for: dmy of %d/%m/%Y."""
    return "".join(re.findall("%(.)", date_format)).lower()


def _days(parts: NDArray[np.int64], order: Sequence[int]) -> NDArray[np.datetime64] | None:
    """Dates in that order of year, month and day; None where some row has none."""
    year, month, day = (parts[:, place] for place in order)
    next_year = int(str(np.datetime64("today", "Y"))) + 1  # of two digits the last that has come: bars do not lie ahead
    year = np.where(year < 100, year + 1900 + 100 * (year + 2000 <= next_year), year)
    if ((month < 1) | (month > 12) | (day < 1) | (year < 1678) | (year > 2261)).any():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    days = months.astype("M8[D]") + (day - 1).astype("m8[D]")
    return days if (days.astype("M8[M]") == months).all() else None


def _weekends(days: NDArray[np.datetime64]) -> int:
    return int(np.count_nonzero(~np.is_busday(days)))


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
            one = next(iter(left))
            remedy = f"say which: --date-format {one}, date_format={one!r}"
            raise BarsError(f"bars: {owner} has dates that may be {shown}; {remedy}")
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
            what = f"dates like {low:g}, which may be days of a spreadsheet ({days[0]}) or a count"
            raise BarsError(f"bars: {owner} has {what}; write YYYY-MM-DD")
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
        both = f"{written[0]} (as digits) or {stamps[0]} (as seconds since 1970)"
        raise BarsError(f"bars: {owner} has dates that may be {both}; write YYYY-MM-DD")
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
    clocks = [f"{t[8:10]}:{t[10:12] or '00'}:{t[12:14] or '00'}" for t in text]
    try:
        found = [np.datetime64(f"{t[:4]}-{t[4:6]}-{t[6:8]}T{clock}") for t, clock in zip(text, clocks, strict=True)]
    except ValueError:
        return None
    stamps = np.array(found, "M8[ns]") + np.array([int(t[14:17] or 0) for t in text], "m8[ms]")
    return stamps if stamps.min() > np.datetime64("1900") and stamps.max() < np.datetime64("2100") else None
