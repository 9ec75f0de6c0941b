"""How a table is read, column by column, and how it was understood: what notes and `hybrid-bt data check` say.

What decides which column is what is in `hybrid_bt.feeds.layout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars import FIELDS, PRICES, RawBars, say_stamp
from hybrid_bt.errors import BarsError, listed
from hybrid_bt.feeds.names import WORDS, is_aside, meaning_of, meanings_of, parted

OWN = ""  #: label of the symbol that a file names
QUOTES = ("mid", "bid", "ask")
CLOSES = ("close", "last", "adj")
NO_SYMBOLS = frozenset(WORDS["aside"]["labels"].split())


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
        yield f"{self.where}: {f'{self.format} export' if self.format else 'table'} of {listed(self.symbols)}"
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


def labelled(base: Plan, places: Sequence[int], where: str) -> Plan | None:
    """A table for each label, where every column has a field and a label, or those of whole bars have.

    Raises
    ------
    BarsError
        If a field stands twice, or the names may be read from both ends: OPEN and HIGH are tickers too.
    """
    names = {place: parted(base.names[place]) for place in places}
    sides = [{place: cut for place, both in names.items() if (cut := both[side])} for side in (0, 1)]
    cuts = max(sides, key=len)
    if len(sides[0]) == len(sides[1]) and sides[0] != sides[1]:
        both = " or ".join(f"the {field} of {label}" for side in sides for field, label in list(side.values())[:1])
        raise BarsError(f"bars: {where} has names with a field on either side: {both}; keep one side")
    tables: dict[str, dict[str, int]] = {}
    loose: dict[int, str | None] = {}
    for place in places:
        field, label = cuts.get(place) or ("", "")
        if not label or label.lower() in NO_SYMBOLS or meaning_of(base.names[place]) == "adj":
            loose[place] = meaning_of(base.names[place])
        elif field in tables.setdefault(label, {}):
            raise BarsError(f"bars: {where} has more than one column for {label} {field!r}; keep one")
        else:
            tables[label][field] = place
    if loose and not any(fields.keys() >= set(FIELDS[:4]) for fields in tables.values()):
        return None
    shared = {field: place for place, field in loose.items() if field in ("volume", "adj")}
    if set(tables) <= set(QUOTES) or len(tables) == 1:  # of all quotes, of the one symbol
        tables = {label: {**shared, **fields} for label, fields in tables.items()}
    base = base._replace(others=tuple(place for place in loose if place not in shared.values()))
    return _of_labels(base, tables, where, "a field and a symbol in each name")


def _of_labels(base: Plan, tables: Mapping[str, Mapping[str, int]], where: str, rule: str) -> Plan | None:
    whole = {label: closed for label, fields in tables.items() if (closed := closed_of(fields)) is not None}
    if not whole:
        return None
    left = base.others + tuple(i for label, fields in tables.items() if label not in whole for i in fields.values())
    quotes = [label for label in whole if label in QUOTES]
    if quotes:
        chosen = "mid" if "mid" in quotes else quotes[0]
        if len(whole) > len(quotes) or (chosen != "mid" and len(quotes) > 1):
            raise BarsError(f"bars: {where} has prices of {', '.join(whole)}; keep one of them, or their middle")
        return base._replace(tables={OWN: whole[chosen]}, others=left, rule=f"one symbol: its {chosen} prices")
    return base._replace(tables=whole, others=left, rule=rule)


def two_levels(headers: Sequence[Sequence[str]], kinds: Sequence[str]) -> Plan | None:
    """Fields in one of two rows of headers, symbols in the other; None where it is not so."""
    for fields, labels in (headers, headers[::-1]):
        stamps = [i for i, kind in enumerate(kinds) if kind == "stamp"]
        dates = [i for i in stamps if not (labels[i] and meaning_of(fields[i]) in PRICES)]
        places = [i for i in range(len(fields)) if i not in dates and (fields[i] and labels[i])]
        if {meaning_of(fields[0]), meaning_of(labels[0])} & {"symbol"}:  # names of the levels, above the index
            places = [i for i in places if i]
        counting = [i for i in range(len(fields)) if i not in (*dates, *places)]
        meanings = dict(zip(places, meanings_of([fields[i] for i in places]), strict=True))
        places = [i for i in places if meanings[i] is not None or kinds[i] != "text"]
        known = [i for i in places if meanings[i] in (*FIELDS, *CLOSES) or is_aside(fields[i], adjusted=True)]
        if len(dates) != 1 or len(counting) > 1 or not places or len(known) < len(places):
            continue
        if len(set(labels)) > 2 and {*FIELDS, *CLOSES}.issuperset(meanings_of([labels[i] for i in places])):
            continue
        tables: dict[str, dict[str, int]] = {}
        for i in places:
            if meanings[i] in (*FIELDS, *CLOSES):
                tables.setdefault(labels[i], {})[str(meanings[i])] = i
        if len(set(map(frozenset, tables.values()))) > 1:  # no symbols: a row of data without a date, say
            continue
        names = tuple(f"{label} {field}" for label, field in zip(labels, fields, strict=True))
        base = Plan(names, tuple(dates), None, None, {}, "", "yfinance")
        return _of_labels(base, tables, "the table", "two rows of headers: fields and symbols")
    return None
