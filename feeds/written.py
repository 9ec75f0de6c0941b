"""A date as people write it: three numbers, the kind of their order, a clock, a zone. One cell, no decision.

2018-1-1, 2010.01.04 09:30, 04-Jan-2010, Jan 04, 2010, 1/4/2010 4:00 PM, 20100104 093000, 2010年1月4日, ...T05:00:00Z
"""

from __future__ import annotations

import re
from typing import NamedTuple

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
NANOSECONDS = {"hour": 3_600_000_000_000, "minute": 60_000_000_000, "second": 1_000_000_000}
YMD, MONTH_NAMED, FOUR_YEAR, TWO_YEAR = range(4)  #: how three numbers of a date were written


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
    if word.isdigit():
        return int(word)
    return _MONTHS.get(word.casefold().rstrip("."), 0)


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
    digits = found.groupdict().get("clock")
    if digits:
        hour, minute, second = int(digits[:2]), int(digits[2:4]), int(digits[4:6] or 0)
    elif found["h"] is None:
        return 0
    else:
        hour, minute, second = int(found["h"]), int(found["min"]), int(found["sec"] or 0)
    half = found["half"]
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half.lower() == "p")
    if hour > 23 or minute > 59 or second > 59:
        return None
    fraction = int((found["frac"] or "0").ljust(9, "0"))
    return (hour * 3600 + minute * 60 + second) * NANOSECONDS["second"] + fraction


def zone_of(text: str) -> tuple[str, int]:
    """A zone as UTC or +01:00, and its nanoseconds ahead of UTC; "" for none."""
    found = re.fullmatch(r"[A-Z]*([+-])(\d{1,2}):?(\d{2})?", text.upper())
    if found is None:
        return ("UTC" if text else ""), 0
    hours, minutes = int(found[2]), int(found[3] or 0)
    size = hours * NANOSECONDS["hour"] + minutes * NANOSECONDS["minute"]
    return (f"{found[1]}{hours:02}:{minutes:02}" if size else "UTC"), size if found[1] == "+" else -size
