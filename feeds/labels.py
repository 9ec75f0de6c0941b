"""Tables in which each column has a field and a label: two rows of headers, AAPL.Open, Close_KO, closeMid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hybrid_bt.bars.checks import FIELDS, PRICES
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.names import is_aside, meaning_of, meanings_of, parted
from hybrid_bt.feeds.reading import CLOSES, OWN, QUOTES, Plan, closed_of

_NO_SYMBOLS = "prev previous pre unadj unadjusted raw avg average typical weighted official"
NO_SYMBOLS = frozenset(_NO_SYMBOLS.split())


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
    """Fields in one row of headers, symbols in the other; None where it is not so."""
    for fields, labels in ((headers[0], headers[1]), (headers[1], headers[0])):
        if len(headers) > 2:
            return None
        dates = [
            i for i, kind in enumerate(kinds) if kind == "stamp" and not (labels[i] and meaning_of(fields[i]) in PRICES)
        ]
        places = [i for i in range(len(fields)) if i not in dates and (fields[i] and labels[i])]
        if {meaning_of(fields[0]), meaning_of(labels[0])} & {"symbol"}:  # names of the levels, above the index
            places = [i for i in places if i]
        counting = [i for i in range(len(fields)) if i not in (*dates, *places)]
        meanings = dict(zip(places, meanings_of([fields[i] for i in places]), strict=True))
        places = [i for i in places if meanings[i] is not None or kinds[i] != "text"]
        known = [i for i in places if meanings[i] in (*FIELDS, *CLOSES) or is_aside(fields[i], adjusted=True)]
        if len(dates) != 1 or len(counting) > 1 or not places or len(known) < len(places):
            continue
        if (
            all(what in (*FIELDS, *CLOSES) for what in meanings_of([labels[i] for i in places]))
            and len(set(labels)) > 2
        ):
            continue
        tables: dict[str, dict[str, int]] = {}
        for i in places:
            if meanings[i] in (*FIELDS, *CLOSES):
                tables.setdefault(labels[i], {})[str(meanings[i])] = i
        if len(set(map(frozenset, tables.values()))) > 1:  # no symbols: a row of data without a date, say
            continue
        base = Plan(
            tuple(f"{labels[i]} {fields[i]}" for i in range(len(fields))), tuple(dates), None, None, {}, "", "yfinance"
        )
        return _of_labels(base, tables, "the table", "two rows of headers: fields and symbols")
    return None
