"""How a table is read: which column is what. What decides it is in `hybrid_bt.feeds.layout`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

OWN = ""  #: label of the symbol that a file names
QUOTES = ("mid", "bid", "ask")
CLOSES = ("close", "last", "adj")
UNITS = frozenset(("", "usd", "eur", "gbp", "gbx", "jpy", "chf", "$", "€", "£", "%", "shares", "units", "date"))
ADJUSTED_RANGE = ("adjopen", "adjhigh", "adjlow")
UNNAMED = ("", "unnamed0", "level0", "rownames")


class Plan(NamedTuple):
    """Positions of columns by what they are."""

    names: tuple[str, ...]
    dates: tuple[int, ...]  #: several that must agree
    clock: int | None
    symbol: int | None
    tables: Mapping[str, Mapping[str, int]]  #: of each label, the fields
    rule: str  #: that decided
    format: str = ""  #: whose export it is
    texts: tuple[int, ...] = ()  #: columns that may tell symbols apart
    others: tuple[int, ...] = ()  #: columns that are not understood
    wide: bool = False  #: one close a column
    doubtful: bool = False  #: what the columns hold must agree
    lone: bool = False  #: a close among columns that may be closes of others
    scale: float = 1.0  #: prices are divided by it
    zone: str = ""  #: of the dates, where the header says it

    @property
    def numeric(self) -> list[int]:
        """Positions of numbers that are read."""
        return sorted({place for fields in self.tables.values() for place in fields.values()})


class Columns(NamedTuple):
    """Names, and what the first cells of each column look like."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]  #: stamp, clock, number, text or empty
    sample: tuple[tuple[str, ...], ...]


def closed_of(fields: Mapping[str, int]) -> dict[str, int] | None:
    """The fields with a close: where none is called so, the last price, else the adjusted one."""
    found = dict(fields)
    last = found.pop("last", None)
    if "close" not in found:
        if last is None and {"open", "high", "low"} & found.keys():
            return None  # one adjusted price among others that are not
        close = last if last is not None else found.pop("adj", None)
        if close is None:
            return None
        found["close"] = close
    return found


def found_in(names: Iterable[object]) -> str:
    """The columns that are there."""
    return f"found {', '.join([str(name)[:40] for name in names][:12])}"
