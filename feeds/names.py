"""What the names of columns mean, in the spellings and languages of exports, whose export a table is, and what names a
symbol. Strings alone.

What a column means is told by general rules; a format gives the export its name, which the notes of what is read tell,
and vouches for the order of columns that have none.
"""

from __future__ import annotations

import ast
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, NamedTuple

from hybrid_bt.bars.checks import FIELDS, PRICES, SYMBOL
from hybrid_bt.errors import BarsError

ALPHABETS = frozenset(("LATIN", "CYRILLIC", "GREEK"))
Cut = tuple[str, str]  #: field and label
Key = str  #: a name without case, accents, number in front, and punctuation


class Format(NamedTuple):
    """How an export is recognised; its signatures are in `words.toml`."""

    name: str
    header: str = ""
    shape: str = ""
    first: str = ""


#: spellings of columns, months, and exports
WORDS: dict[str, Any] = tomllib.loads((resources.files("hybrid_bt.feeds") / "words.toml").read_text(encoding="utf-8"))
FORMATS = tuple(Format(**one) for one in WORDS["formats"])
_CLOSE = r"(?:clos(?:e|ing)(?:price)?|price|cp)"
_ADJUSTED = re.compile(rf"(?:adj(?:usted)?{_CLOSE}|{_CLOSE}adj(?:usted)?|修正後終値|后复权收盘价)")  # adjcp is FinRL's
_UTC = re.compile("^(?:utc|gmt)(?=.)|(?<=.)(?:utc|gmt)$")
MONEY = ("usd", "eur", "gbp", "jpy", "chf", "cad", "aud", "cny", "hkd", "inr", "usdt", "usdc", "busd")
_CURRENCY = re.compile(rf"(?i)[\s_]*[(\[]?\b(?:{'|'.join(MONEY)}|[$€£¥])[)\]]?$")
_ASIDE, _ASIDE_ADJUSTED, _COMPUTED = (
    frozenset(WORDS["aside"][kind].split()) for kind in ("always", "adjusted", "computed")
)
_QUOTED = re.compile(
    r"(?i)(mid|bid|ask)[._ ]?(open|high|low|close|[ohlc])|(open|high|low|close|[ohlc])[._ ]?(mid|bid|ask)"
)
_LETTERS = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "t": "date"}


#: what follows a symbol in the name of a file: dates and lengths of bars, and words about them
_FREQUENCY = re.compile(
    r"(?i)[\s_-]+(?=[^\s_-]*\d)|[\s_-]+(?=daily|weekly|candle|histor|stock|donn.?es|datos|dati|dados|-)|\s*[(\[]"
)


def key_of(name: object) -> Key:
    """The letters and digits of a name: `5. Adjusted Close**` is adjustedclose, `<OPEN>` open, `Clôture` cloture."""
    text = "".join(c for c in unicodedata.normalize("NFKD", str(name)).casefold() if not unicodedata.combining(c))
    text = re.sub(r"^\W*\d{1,2}[.)]\s*", "", text).rstrip("* ")
    return re.sub(r"[\s._/'\"<>()\[\]{}:#$-]", "", text)


_MEANINGS = {
    key_of(word): what
    for tongue in ("english", "abroad")
    for what, said in WORDS[tongue].items()
    for word in said.split()
}
_FOREIGN = {key_of(word) for said in WORDS["abroad"].values() for word in said.split()} - {"data", "maximum", "minimum"}


def meaning_of(name: object) -> str | None:
    """date, clock, symbol, open, high, low, close, last, volume, ticks or adj; None for any other name.

    `last` is a close where no column is called so, `ticks` a volume, `clock` a date where the cells are dates.
    """
    key = key_of(name)
    if _ADJUSTED.fullmatch(key):
        return "adj"
    found = _MEANINGS.get(key) or _MEANINGS.get(_UTC.sub("", key))
    if found is None and (bare := _CURRENCY.sub("", str(name))) != str(name):
        found = _MEANINGS.get(key_of(bare))
        return found if found in PRICES or found == "last" else None
    return found


def says_utc(name: object) -> bool:
    """Whether a column of dates is said to be in UTC."""
    return _UTC.search(key_of(name)) is not None


def field_of(name: object) -> str | None:
    """What a column's name plainly means: date, symbol, open, high, low, close, volume or adj; None for any other."""
    meaning = meaning_of(name)
    plain = len(key_of(name)) > 1 and meaning in (*FIELDS, "adj", "date", "symbol")
    return meaning if plain else None


def meanings_of(names: Sequence[str]) -> list[str | None]:
    """What each of several names means: o, h, l and c are fields where all are there, else each may be a ticker."""
    letters = {"o", "h", "l", "c"} <= set(map(key_of, names))
    return [meaning_of(name) if letters or len(key_of(name)) > 1 else None for name in names]


def is_foreign(names: Iterable[str]) -> bool:
    """Whether some name is a word of a language that may write decimals with a comma."""
    return any(key_of(name) in _FOREIGN for name in names)


def is_aside(name: object, *, adjusted: bool) -> bool:
    """Whether a column is understood and not needed, beside an adjusted close or without one."""
    key = key_of(name)
    return key in _ASIDE or (adjusted and key in _ASIDE_ADJUSTED)


def says_computed(name: str) -> bool:
    """Whether a part of a name, RollingMean or CUR_MKT_CAP, is that of something other than a price."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return bool(_COMPUTED & set(map(str.lower, [*parts, name])))


def parted(name: str) -> tuple[Cut | None, Cut | None]:
    """Field and label of a name that holds both, the field in front (Close_KO, ('Close', 'KO')) or behind (AAPL.Open);
    closeMid is both, and None stands where there is no such field."""
    if quoted := _QUOTED.fullmatch(name):
        side, field = (quoted[1], quoted[2]) if quoted[1] else (quoted[4], quoted[3])
        both = _LETTERS.get(field.lower(), field.lower()), side.lower()
        return both, both
    cuts = [(name[: mark.start()], name[mark.end() :].strip()) for mark in re.finditer(r"[\s._:|/~-]+", name)]
    if name.startswith("('"):
        try:
            one, other, *_ = map(str, ast.literal_eval(name))
        except (ValueError, SyntaxError, TypeError):
            return None, None
        cuts = [(one, other)]
    front = [(meaning, label) for part, label in cuts if label and (meaning := _field_in(part))]
    behind = [(meaning, label) for label, part in cuts if label and (meaning := _field_in(part))]
    return (front[-1] if front else None), (behind[0] if behind else None)  # the longest field: Adj Close_KO


def _field_in(part: str) -> str | None:
    meaning = meaning_of(part)
    return meaning if meaning in (*PRICES, "volume", "last") and len(key_of(part)) > 2 else None


def recognise(names: Sequence[str], kinds: Sequence[str], sample: Sequence[Sequence[str]]) -> Format | None:
    """The first format whose signature a table bears."""
    if names:
        counted = bool(sample) and kinds[0] == "number" and len(sample[0][0]) > 8
        signed = ",".join([key_of(names[0]) + "#" * counted, *map(key_of, names[1:])])
        found = (one for one in FORMATS if one.header and one.first in ("", names[0]))
        return next((one for one in found if re.fullmatch(one.header, signed)), None)
    row = sample[0] if sample else ()
    signed = ",".join(_shape(cell, kind, place) for place, (cell, kind) in enumerate(zip(row, kinds, strict=False)))
    return next((one for one in FORMATS if one.shape and re.fullmatch(one.shape, signed)), None)


def _shape(cell: str, kind: str, place: int) -> str:
    if kind in ("stamp", "clock") or (cell.isdigit() and (len(cell) >= 10 or not place)):
        return re.sub(r"\d", "9", cell)
    return "n" if kind in ("number", "empty") else "w"


def symbol_of(stem: str) -> str:
    """The symbol in a file's name: itself, or what stands before exchange, frequency and dates.

    `NASDAQ_AAPL, 1D` is AAPL, `EURUSD_M15_201001040000_202012312359` EURUSD; what is none stays as it is.
    """
    if SYMBOL.fullmatch(stem):
        return stem
    head, comma, _ = stem.partition(",")
    if comma:  # TradingView: EXCHANGE_SYMBOL, frequency
        head = head.rpartition("_")[2]
    head = _FREQUENCY.split(head.strip())[0]
    return head if SYMBOL.fullmatch(head) else stem


def refuse_mixed(names: Iterable[str], where: str) -> None:
    """BarsError for a name with letters of two alphabets: a Cyrillic O looks as a Latin one, and is another symbol."""
    for name in names:
        alphabets = {unicodedata.name(c, "").split()[0] for c in name if c.isalpha()} & ALPHABETS
        if len(alphabets) > 1:
            shown = name.encode("unicode_escape").decode()[:60]
            what = f"letters of two alphabets, which look alike, in the name {shown}"
            raise BarsError(f"bars: {where} has {what}; rename it")
