"""A document, checked: what it says, whom it is about, when it was published and when it was first seen.

Moments are whole microseconds since 1970 in UTC. A moment without a zone is UTC. A date alone is the end of that day
anywhere on Earth (noon UTC of the next day), since nobody knows at which hour it was published.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import NewsError, did_you_mean

FIELDS = ("id", "symbols", "source", "title", "published_at", "first_seen_at", "text")
MAX_CHARS = 1_000_000  #: of one document
MAX_NAME = 200  #: characters of an id, a source or a symbol
MAX_SYMBOLS = 500
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
END_OF_DAY_ON_EARTH = timedelta(hours=36)  # the day ends last at UTC-12
US_PER_DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNKNOWN = int(np.iinfo(np.int64).min)  #: in the place of a `first_seen_at` that nobody knows, among numbers
#: control, format (as zero width), surrogate, private, unassigned
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


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
    for key in row:
        if key not in FIELDS:
            raise NewsError(f"{where}: unknown field {key!r}{did_you_mean(str(key), FIELDS)}")
    text = clean(_text(row.get("text"), "text", where))
    if not text:
        raise NewsError(f"{where}: the text is empty; every document needs one")
    if len(text) > MAX_CHARS:
        raise NewsError(f"{where}: the text has {len(text):,} characters; at most {MAX_CHARS:,}: split the document")
    if row.get("published_at") in (None, ""):
        raise NewsError(f"{where}: published_at is missing; give a moment such as 2011-08-05T20:00:00Z")
    symbols = _symbols(row.get("symbols"), where)
    sha256 = hashlib.sha256(json.dumps([text, symbols]).encode()).hexdigest()
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


def clean(text: str) -> str:
    """Composed Unicode (NFC) without characters that are not seen, line ends and tabs apart."""
    if text.isascii() and text.isprintable():
        return text.strip()
    whole = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(c for c in whole if c in "\n\t" or unicodedata.category(c) not in _UNSEEN).strip()


def instant_us(value: object, what: str) -> int:
    """Microseconds since 1970, UTC, of an ISO 8601 text, a datetime or a date.

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
    return (moment - EPOCH) // timedelta(microseconds=1)


def _moment(value: object, what: str) -> datetime:
    if isinstance(value, str):
        text = value.strip()
        try:
            value = date.fromisoformat(text) if _DATE.fullmatch(text) else datetime.fromisoformat(text)
        except ValueError:
            raise NewsError(f"{what} is {value!r}, no ISO 8601 moment; write 2011-08-05T20:00:00Z") from None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC) + END_OF_DAY_ON_EARTH
    raise NewsError(f"{what} is {value!r}, no moment; write ISO 8601 such as 2011-08-05T20:00:00Z")


def say_us(moment: int) -> str:
    """ISO 8601 in UTC."""
    return (EPOCH + timedelta(microseconds=moment)).isoformat().replace("+00:00", "Z")


def visible_at(published_at: NDArray[np.int64], first_seen_at: NDArray[np.int64]) -> NDArray[np.int64]:
    """First moments at which documents may be known, before the latency; microseconds, UTC.

    Parameters
    ----------
    published_at : (D,)
    first_seen_at : (D,)
        Where `UNKNOWN`, one trading day (Monday to Friday) after the publication, a weekend counting as the Monday
        behind it. A document "seen" before it was published is visible from its publication on.
    """
    day, rest = np.divmod(published_at, US_PER_DAY)
    weekday = day.astype("datetime64[D]")
    later = np.busday_offset(weekday, 1, roll="forward").astype(np.int64) * US_PER_DAY + rest
    seen: NDArray[np.int64] = np.where(first_seen_at == UNKNOWN, later, np.maximum(first_seen_at, published_at))
    return seen


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
