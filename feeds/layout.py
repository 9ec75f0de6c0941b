"""What the columns of a table are: dates, fields of one bar, symbols beside each other, one symbol in many columns.

headers     none: by the shapes of columns; two rows: a field and a symbol for each column; one: names
names       a column of symbols: long. A field and a label in each (AAPL.Open, closeMid): a table for each label.
            A close: one symbol. Else every column of numbers is a symbol's close: wide
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hybrid_bt.bars import FIELDS
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.dialect import Dialect
from hybrid_bt.feeds.figures import EMPTY, looks_numeric
from hybrid_bt.feeds.names import MONEY, is_aside, key_of, meaning_of, meanings_of, parted, recognise, says_utc
from hybrid_bt.feeds.reading import CLOSES, OWN, Plan, closed_of, found_in, labelled, two_levels
from hybrid_bt.feeds.written import is_bare_clock, is_clock, is_stamp

MOST = 0.8  #: of the first cells of a column
NAMED = 0.8  #: of the columns behind the first
UNITS = frozenset(("", "usd", "eur", "gbp", "gbx", "jpy", "chf", "$", "€", "£", "%", "shares", "units", "date"))
ADJUSTED_RANGE = ("adjopen", "adjhigh", "adjlow")
UNNAMED = ("", "unnamed0", "level0", "rownames")
COUNTS = (*UNNAMED, "index")  #: keys of a first column that counts rows


class Columns(NamedTuple):
    """Names, and what the first cells of each column look like."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]  #: stamp, clock, number, text or empty
    sample: tuple[tuple[str, ...], ...]


def plan_of(written: Dialect, where: str, symbols: Sequence[str] | None = None) -> Plan:
    """How a table is read.

    Parameters
    ----------
    symbols : sequence of str, optional
        Asked for: where all of them are names of columns, each is a symbol's close, whatever it is called.

    Raises
    ------
    BarsError
        If the columns have no reading, or two.
    """
    kinds = _kinds(written.sample, len(written.headers[-1]) if written.headers else len((written.sample or ((),))[0]))
    headers = [row for row in written.headers if _is_named(row)]
    headers = [row for row in headers if not UNITS.issuperset(map(str.lower, row))] or headers
    if headers and _counts(headers[-1]):
        headers = []
    if not headers and sum(meaning_of(name) is not None for name in written.above) > 1:
        widths = f"{len(written.above)} names, its rows {len(kinds)} values"
        raise BarsError(f"bars: {where} cannot be read as CSV: its header has {widths}; mend the header")
    if not headers:
        return _headless(Columns(tuple(f"column {i + 1}" for i in range(len(kinds))), kinds, written.sample), where)
    names = headers[-1]
    if len(headers) > 1:
        if len(headers) == 2 and (two := two_levels(headers, kinds)) is not None:
            return two
        if len(headers) > 2 or not {"date", "clock"} & set(map(meaning_of, names)):
            raise BarsError(f"bars: {where} has {len(headers)} rows of headers; keep one ({', '.join(names[:8])})")
    return _named(Columns(names, kinds, written.sample), where, symbols)


def _is_named(row: Sequence[str]) -> bool:
    """Whether a row above the data names most columns, or some by known words: a title of two cells does not."""
    known = sum(meaning_of(cell) is not None for cell in row)
    return known > 1 or sum(map(bool, row)) > NAMED * (len(row) - 1)


def _kinds(sample: Sequence[Sequence[str]], width: int) -> tuple[str, ...]:
    """What most cells of each column look like: a single one that does not is refused when it is read."""
    looks = {"stamp": lambda cell: is_stamp(cell) and not cell.isdigit(), "clock": is_clock, "number": looks_numeric}
    kinds = []
    for place in range(width):
        cells = [row[place] for row in sample if place < len(row) and row[place] not in EMPTY]
        cells = cells[:-1] if len(cells) > 2 else cells  # the last row may be a source line
        fits = (kind for kind, is_so in looks.items() if sum(map(is_so, cells)) >= MOST * len(cells))
        kinds.append(next(fits, "text") if cells else "empty")
    return tuple(kinds)


def _counts(names: Sequence[str]) -> bool:
    """Whether names are numbers in order, as a table without names is written by pandas."""
    bare = [name for place, name in enumerate(names) if name or place]
    counts = [int(name) for name in bare if name.isdigit() and len(name) < 5]
    return 0 < len(counts) == len(bare) and counts == list(range(counts[0], counts[0] + len(bare)))


def _dates(columns: Columns, meanings: Sequence[str | None], where: str) -> tuple[tuple[int, ...], int | None]:
    """Columns of dates, and one of times of day."""
    clocks = [i for i, what in enumerate(meanings) if what == "clock"]
    named = [i for i, what in enumerate(meanings) if what == "date" and columns.kinds[i] not in ("clock", "text")]
    named = named or [i for i, what in enumerate(meanings) if what == "date" and columns.kinds[i] != "clock"][:1]
    named += [i for i in clocks if columns.kinds[i] == "stamp" or (not named and columns.kinds[i] == "number")]
    found = [i for i, kind in enumerate(columns.kinds) if kind == "stamp"]
    if not named:
        named = found[:1] if len(found) == 1 or found[:1] == [0] else []
    if not named:
        named = [i for i in clocks if columns.kinds[i] == "text"][:1]
    times = [i for i, kind in enumerate(columns.kinds) if kind == "clock"]
    beside = {place + step for place in named for step in (-1, 1)}
    times = [i for i in clocks if i not in named and columns.kinds[i] != "empty"] or [i for i in times if i in beside]
    if len(times) > 1:
        several = ", ".join(columns.names[i] for i in times)
        raise BarsError(f"bars: {where} has several columns of times: {several}; keep one")
    return tuple(dict.fromkeys(named)), times[0] if times else None


def _named(columns: Columns, where: str, symbols: Sequence[str] | None) -> Plan:
    names, meanings = columns.names, meanings_of(columns.names)
    dates, clock = _dates(columns, meanings, where)
    for place in {*dates, clock} - {None}:
        meanings[place] = "date"  # type: ignore[index]
    shown = found_in(names)
    if not dates:
        raise BarsError(f"bars: {where} has no date column; {shown}; call it date")
    free = [i for i in range(len(names)) if meanings[i] != "date"]
    base = Plan(names, dates, clock, None, {}, "")
    if symbols and set(symbols) <= {names[i] for i in free}:
        tables = {names[i]: {"close": i} for i in free if names[i] in symbols}
        return base._replace(tables=tables, wide=True, rule="a close for each symbol that was asked for")
    told = recognise(names, columns.kinds, columns.sample)
    zone = "UTC" if any(says_utc(names[i]) for i in dates) else ""
    base = base._replace(format=told.name if told else "", zone=zone)
    fields = _fields(names, meanings, where)
    symbol = _symbol(names, meanings, columns.kinds)
    adjusted = "adj" in fields
    aside = [i for i in free if is_aside(names[i], adjusted=adjusted) or (not i and key_of(names[0]) in COUNTS)]
    rest = [i for i in free if i not in (*aside, *fields.values(), symbol)]
    numbers = [i for i in rest if columns.kinds[i] == "number" or (columns.kinds[i] == "empty" and names[i])]
    texts = tuple(i for i in rest if columns.kinds[i] in ("text", "stamp"))
    base = base._replace(symbol=symbol, texts=texts, others=tuple(numbers))
    ticker = set(fields) == {"close"} and names[fields["close"]] == "ADJ" and numbers  # among tickers
    closed = None if ticker else closed_of(fields)
    void = [i for i in free if columns.kinds[i] == "text" or (columns.kinds[i] == "empty" and not names[i])]
    parts = [i for i in free if i not in (*aside, *void)]
    split = labelled(base, parts, where) if symbol is None and not {"open", "close"} & set(meanings) else None
    if split is not None:
        return split
    if symbol is not None:
        if closed is None:
            raise BarsError(f"bars: {where} has no close column; {shown}")
        return base._replace(tables={OWN: closed}, rule=f"symbols from the column {names[symbol]}")
    if closed is not None:
        word = names[closed["close"]]  # CLOSE among KO and PEP may be a ticker too
        bare = word.isupper() and word.isalpha() and not {"open", "high", "low"} & fields.keys()
        lone = bare and any(names[i] == names[i].upper() for i in numbers)
        return base._replace(tables={OWN: closed}, lone=lone, rule="one symbol: it has a close")
    named = (i for i in aside if columns.kinds[i] in ("number", "empty") and key_of(names[i]) not in UNNAMED)
    numbers += [i for i in named if not _counts([row[i] for row in columns.sample])]
    wide = sorted((*fields.values(), *numbers))
    if not numbers or texts:
        what = f", and {names[texts[0]]} holds text" if texts and numbers else ""
        raise BarsError(f"bars: {where} has no close column{what}; {shown}")
    _refuse_twice([names[i] for i in wide], where)
    tables = {names[i]: {"close": i} for i in wide}
    return base._replace(tables=tables, others=(), wide=True, doubtful=True, rule="a close for each symbol")


def _fields(names: Sequence[str], meanings: Sequence[str | None], where: str) -> dict[str, int]:
    """Positions of prices and volume by field."""
    fields: dict[str, int] = {}
    for place, what in enumerate(meanings):
        if what not in (*FIELDS, *CLOSES, "ticks"):
            continue
        if what in fields and (what != "volume" or key_of(names[fields[what]]) == key_of(names[place])):
            both = f"{names[fields[what]]!r} and {names[place]!r}"
            raise BarsError(f"bars: {where} has more than one column for {what!r}: {both}; keep one")
        fields.setdefault(what, place)
    if "volume" not in fields and "close" in fields:  # of an exchange of coins: Volume BTC, Volume USDT
        cuts = ((i, cut) for i, name in enumerate(names) for cut in parted(name)[:1] if cut)
        traded = [i for i, (field, label) in cuts if field == "volume" and label.lower() not in MONEY]
        fields |= {"volume": traded[0]} if len(traded) == 1 else {}
    if "adj" in fields and not {"open", "close", "last"} & fields.keys():  # all of its prices are adjusted
        fields |= {key.removeprefix("adj"): i for i, key in enumerate(map(key_of, names)) if key in ADJUSTED_RANGE}
        fields["close"] = fields.pop("adj")
    return fields


def _symbol(names: Sequence[str], meanings: Sequence[str | None], kinds: Sequence[str]) -> int | None:
    found = [i for i, what in enumerate(meanings) if what == "symbol" and kinds[i] in ("text", "number", "empty")]
    return min(found, key=lambda i: (kinds[i] != "text", i), default=None)


def _headless(columns: Columns, where: str) -> Plan:
    """By shapes: a symbol, a date, a time of day, then open, high, low, close and volume, as the rows must bear out."""
    told = recognise((), columns.kinds, columns.sample)
    row = columns.sample[0] if columns.sample else ()
    dates = [i for i, kind in enumerate(columns.kinds) if kind == "stamp"]
    counts = [i for i, cell in enumerate(row[:3]) if len(cell) >= 8 and cell.isdigit()]
    dates = dates or [i for i in counts if columns.kinds[i] == "number"]
    if not dates:
        raise BarsError(f"bars: {where} has no header, and no column of dates; give a header")
    date = dates[0]
    clocks = [i for i, kind in enumerate(columns.kinds) if kind == "clock"]
    beside = [r[date + 1] for r in columns.sample if date + 1 < len(r)]
    if not clocks and ":" not in row[date] and beside and all(map(is_bare_clock, beside)):
        clocks = [date + 1]
    start = (clocks[0] if clocks else date) + 1
    texts = [i for i, kind in enumerate(columns.kinds[:start]) if kind == "text"]
    texts = [i for i in texts if len({r[i] for r in columns.sample}) > 1] or texts[:1]
    numbers = [i for i in range(start, len(columns.kinds)) if columns.kinds[i] in ("number", "empty")]
    rows = [r[0] for r in columns.sample]
    counted = date > 0 and all(cell.isdigit() and int(cell) == int(rows[0]) + n for n, cell in enumerate(rows))
    before = "number" in columns.kinds[int(counted) : date]
    if before or len(numbers) < 4 or len(texts) > 1 or numbers[:4] != list(range(start, start + 4)):
        raise BarsError(f"bars: {where} has no header, and its columns are no open, high, low and close; give a header")
    fields = dict(zip(FIELDS, numbers, strict=False))
    base = Plan(columns.names, (date,), clocks[0] if clocks else None, texts[0] if texts else None, {OWN: fields}, "")
    return base._replace(
        rule="no header: columns by their shapes, open, high, low, close as their rows bear out",
        format=told.name if told else "",
        others=() if told else tuple(numbers[5:]),
        doubtful=True,
    )


def _refuse_twice(names: Sequence[str], where: str) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise BarsError(f"bars: {where} has more than one column for {name!r}; keep one")
