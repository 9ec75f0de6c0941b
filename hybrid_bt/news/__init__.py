"""A document, checked: what it says, whom it is about, when it was published, first seen, and could be read by a bar.

Moments are whole microseconds since 1970 in UTC. A moment without a zone is UTC. A date alone is the end of that day
anywhere on Earth (noon UTC of the next day), since nobody knows at which hour it was published.

A daily bar is stamped with its date alone and closes at a time of day in a zone, by default at 16:00 in New York, and
there not after 13:00 on days on which the exchange closes early. A bar within a day is stamped with its close, in a
zone of its own, by default UTC. Which of the two a panel has is asked once of all its stamps, for a bar of a day
stamped 00:00 is no daily bar.

The New York Stock Exchange closes early, at 13:00, on the day after Thanksgiving, the day before Christmas, and a day
beside July 4. Until 1992 such days closed at 14:00 or not early at all; some single days closed at other times after
13:00. All count as 13:00, and where the rule is not sure it says early: a document then waits for the next bar, and no
bar reads one from after its close.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hybrid_bt.errors import ConfigError, NewsError, check_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hybrid_bt.config.parts import NewsConfig

FIELDS = ("id", "symbols", "source", "title", "published_at", "first_seen_at", "text")
MAX_CHARS = 1_000_000  #: of one document
MAX_NAME = 200  #: characters of an id, a source or a symbol
MAX_SYMBOLS = 500
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
END_OF_DAY_ON_EARTH = timedelta(hours=36)  # the day ends last at UTC-12
US_PER_DAY = 86_400_000_000
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))  #: control, format (as zero width), surrogate, private, unassigned
MILLISECONDS = 1e12  #: numbers from there on are in these
_NUMBER = re.compile(r"\d{9,}(?:\.\d+)?")
#: with the zones that it names; what other letters mean is nobody's knowledge
_RFC822 = re.compile(
    r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}(?::\d{2})?(?: (?:[+-]\d{4}|UTC?|GMT|Z|[ECMP][SD]T))?"
)
US_PER_MINUTE = 60_000_000
EARLY_CLOSE = time(13)
NEW_YORK = frozenset({"America/New_York", "US/Eastern"})  #: names of the exchange's zone
WEDNESDAY, FRIDAY = 2, 4  #: of `date.weekday`
JULY_3_ON_WEDNESDAYS = 2013  #: first year in which July 3 closes early before a Thursday's holiday; July 5 did before
#: snow, snow, the fall of the day halted trading; three days beside holidays; a failure of the exchange's systems
_ONCE = "1994-02-11 1996-01-08 1997-10-27 1997-12-26 1999-12-31 2003-12-26 2005-06-01"
ONCE = frozenset(map(date.fromisoformat, _ONCE.split()))


class Document(NamedTuple):
    """One document."""

    id: str
    sha256: str  #: of its text and its symbols
    symbols: tuple[str, ...]  #: sorted; none for a document about the market as a whole
    source: str
    title: str
    published_at: int  #: microseconds since 1970, UTC
    first_seen_at: int | None  #: likewise; None where nobody knows
    text: str


def checked_document(row: Mapping[str, Any], where: str) -> Document:
    """A document from plain data; `where` names its file and line in messages.

    Raises
    ------
    NewsError
        For an unknown or missing field, an empty or too long text, or a moment that cannot be read.
    """
    check_names(row, FIELDS, f"{where}: unknown field", NewsError)
    text = clean(_text(row.get("text"), "text", where))
    if not text:
        raise NewsError(f"{where}: the text is empty; every document needs one")
    if len(text) > MAX_CHARS:
        raise NewsError(f"{where}: the text has {len(text):,} characters; at most {MAX_CHARS:,}: split the document")
    if row.get("published_at") in (None, ""):
        raise NewsError(f"{where}: published_at is missing; give a moment such as 2011-08-05T20:00:00Z")
    symbols = _symbols(row.get("symbols"), where)
    sha256 = content_sha256(text, symbols)
    seen = row.get("first_seen_at")
    return Document(
        id=_name(row.get("id"), "id", where) or sha256[:16],
        sha256=sha256,
        symbols=symbols,
        source=_name(row.get("source"), "source", where),
        title=clean(_text(row.get("title"), "title", where))[:MAX_NAME],
        published_at=instant_us(row["published_at"], f"{where}: published_at"),
        first_seen_at=None if seen in (None, "") else instant_us(seen, f"{where}: first_seen_at"),
        text=text,
    )


def content_sha256(text: str, symbols: tuple[str, ...]) -> str:
    """What makes a document the same, or another."""
    return hashlib.sha256(json.dumps([text, symbols]).encode()).hexdigest()


def clean(text: str) -> str:
    """Composed Unicode (NFC) without characters that are not seen, line ends and tabs apart."""
    if text.isascii() and text.isprintable():
        return text.strip()
    whole = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(c for c in whole if c in "\n\t" or unicodedata.category(c) not in _UNSEEN).strip()


def instant_us(value: object, what: str) -> int:
    """Microseconds since 1970, UTC, of a text (ISO 8601, RFC 822), a datetime, a date, or seconds since 1970.

    Raises
    ------
    NewsError
        If it is none of these, or not between 1900 and 2200.
    """
    try:
        moment = _moment(value, what)
    except OverflowError:  # of a calendar that ends with the year 9999
        moment = LATEST
    if not EARLIEST <= moment < LATEST:
        raise NewsError(f"{what} is {value!s}, outside of 1900 to 2200; check the date")
    return (moment - EPOCH) // MICROSECOND


def _moment(value: object, what: str) -> datetime:
    if isinstance(value, str):
        value = _read(value.strip(), what)
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000.0 if value >= MILLISECONDS else float(value)
        if not 1e8 <= seconds < 1e10:  # a date as a number, as 20110805, is less
            raise NewsError(f"{what} is {value!r}, no moment: no seconds since 1970; write ISO 8601")
        return EPOCH + timedelta(seconds=seconds)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC) + END_OF_DAY_ON_EARTH
    raise NewsError(f"{what} is {value!r}, no moment; write ISO 8601 such as 2011-08-05T20:00:00Z")


def _read(text: str, what: str) -> float | date:
    read: tuple[Callable[[str], float | date], ...] = (date.fromisoformat, datetime.fromisoformat)
    read = (float,) if _NUMBER.fullmatch(text) else (parsedate_to_datetime,) if _RFC822.fullmatch(text) else read
    for one in read:  # a date alone, in any form, is not its midnight
        with suppress(ValueError):
            return one(text)
    raise NewsError(f"{what} is {text!r}, no ISO 8601 moment; write 2011-08-05T20:00:00Z")


def say_us(moment: int) -> str:
    """ISO 8601 in UTC."""
    return (EPOCH + timedelta(microseconds=moment)).isoformat().replace("+00:00", "Z")


def _text(value: object, field: str, where: str) -> str:
    if value is None or value != value:  # a NaN of a table is a missing cell
        return ""
    if not isinstance(value, str):
        raise NewsError(f"{where}: {field} is {type(value).__name__} {value!r}; it must be text")
    return value


def _name(value: object, field: str, where: str) -> str:
    text = clean(str(value) if isinstance(value, int) else _text(value, field, where))
    if len(text) > MAX_NAME or "\n" in text or "\t" in text:
        raise NewsError(f"{where}: {field} must be one line of at most {MAX_NAME} characters; got {text[:40]!r}...")
    return text


def _symbols(value: object, where: str) -> tuple[str, ...]:
    """Symbols from a list, or from a text that parts them by comma, semicolon, bar or blank."""
    if isinstance(value, str):
        value = [part for part in re.split(r"[\s,;|]+", value) if part]
    if value is None or value != value:
        value = []
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise NewsError(f'{where}: symbols is {value!r}; give a list such as ["KO", "PEP"], or none for the market')
    names = sorted({_name(one, "symbols", where) for one in value} - {""})
    if len(names) > MAX_SYMBOLS or any(re.search(r"\s", name) for name in names):
        raise NewsError(f"{where}: symbols must be at most {MAX_SYMBOLS} names without blanks; got {names[:3]!r}...")
    return tuple(names)


class Clock(NamedTuple):
    """Turns stamps into the last moments at which a document could still be read; microseconds, UTC."""

    daily: bool
    close: time  #: of a daily bar
    zone: ZoneInfo  #: of that time, or of stamps within a day
    latency_us: int

    def cutoff(self, stamp: datetime) -> int:
        """Of the bar with this stamp (without zone)."""
        moment = stamp
        if self.daily:
            early = self.zone.key in NEW_YORK and closes_early(stamp.date())
            moment = datetime.combine(stamp.date(), min(self.close, EARLY_CLOSE) if early else self.close)
        return (moment.replace(tzinfo=self.zone).astimezone(UTC) - EPOCH) // MICROSECOND - self.latency_us

    def cutoffs(self, stamps: NDArray[np.datetime64]) -> list[int]:
        """Of each bar."""
        return [self.cutoff(moment) for moment in stamps.astype("datetime64[us]").tolist()]


def clock_of(config: NewsConfig, daily: bool) -> Clock:
    """The clock of a configuration.

    Raises
    ------
    ConfigError
        If a zone is not known.
    """
    hour, minute = config.close_time.split(":")
    key = "time_zone" if daily else "stamp_zone"
    name = getattr(config, key)
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"news.{key}: no zone {name!r} is known; write one such as America/New_York") from None
    return Clock(daily, time(int(hour), int(minute)), zone, round(config.latency_minutes * US_PER_MINUTE))


def is_daily(stamps: NDArray[np.datetime64]) -> bool:
    """Whether all stamps are dates alone."""
    return bool((stamps.astype("datetime64[D]") == stamps).all())


def closes_early(day: date) -> bool:
    """Whether the exchange, if it is open on this day, may close before 16:00."""
    month, number, weekday = day.month, day.day, day.weekday()
    if month == 11:
        return weekday == FRIDAY and 23 <= number <= 29  # the fourth Thursday is the 22nd to the 28th
    if month == 12 and number == 24:
        return True
    if month == 7 and number == 3:
        return weekday != WEDNESDAY or day.year >= JULY_3_ON_WEDNESDAYS
    if month == 7 and number == 5:
        return weekday == FRIDAY and day.year < JULY_3_ON_WEDNESDAYS
    return day in ONCE
