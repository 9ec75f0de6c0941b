"""How a table is read, column by column, and how it was understood: what notes and `hybrid-bt data check` say.

What decides which column is what is in `hybrid_bt.feeds.layout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars.checks import RawBars
from hybrid_bt.bars.stamps import say_stamp

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


class Reading(NamedTuple):
    """How a file was understood: what `data check` shows."""

    where: str
    format: str
    columns: tuple[str, ...]  #: "open = <OPEN>", as understood
    rules: tuple[str, ...]  #: that decided
    symbols: tuple[str, ...]
    first: str  #: row of the first symbol
    last: str
    zones: tuple[str, ...]

    def lines(self, *, explain: bool = False) -> Iterator[str]:
        """What a person wants to compare with the file."""
        names = ", ".join(self.symbols[:6]) + (f" and {len(self.symbols) - 6} more" if len(self.symbols) > 6 else "")
        yield f"{self.where}: {f'{self.format} export' if self.format else 'table'} of {names}"
        yield f"  columns: {', '.join(self.columns)}"
        yield f"  first:   {self.first}"
        yield f"  last:    {self.last}"
        yield f"  zone:    {', '.join(self.zones) or 'none: the clock as written'}"
        if explain:
            yield from (f"  because: {rule}" for rule in self.rules)


class Told(list[Reading]):
    """How files were understood, while they are read."""

    def notes(self, name: str) -> Iterator[str]:
        """One line for each export that was recognised; asked for when all files are read."""
        for kind in dict.fromkeys(one.format for one in self if one.format):
            own = [one.where for one in self if one.format == kind]
            more = f" ({len(own)} files)" if len(own) > 1 else ""
            yield f"{name}: read as {kind} export{more}"


def reading_of(
    plan: Plan, where: str, found: Mapping[str, RawBars], rules: Sequence[str], zones: Iterable[str]
) -> Reading:
    """What a person is told of a table that was read."""
    dates = [f"date = {plan.names[place]}" for place in (*plan.dates, plan.clock) if place is not None]
    columns = [f"{field} = {plan.names[place]}" for field, place in next(iter(plan.tables.values())).items()]
    one = next(iter(found.values()))
    first, last = (_row(one, place) if len(one.stamps) else "" for place in (0, -1))
    return Reading(
        where, plan.format, (*dates, *columns), tuple(rules), tuple(found), first, last, tuple(sorted(zones))
    )


def _row(raw: RawBars, place: int) -> str:
    """A bar in a line: its date and what it holds."""
    day = "no date" if np.isnat(raw.stamps[place]) else say_stamp(raw.stamps[place])
    return " ".join((day, *(f"{field} {values[place]:.10g}" for field, values in raw.columns.items())))
