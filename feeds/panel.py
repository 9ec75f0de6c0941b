"""Rows of several symbols, whatever their source, to one checked panel; and what the checks say about all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from hybrid_bt.bars import MIN_BARS, Bars, Finding, Moment, OnBadData, RawBars
from hybrid_bt.bars.checks import check_name, inspect_rows
from hybrid_bt.bars.findings import ON_BAD_DATA, RULES, counters, refusal, say
from hybrid_bt.errors import BarsError, ConfigError, did_you_mean, listed
from hybrid_bt.feeds.alike import base_of, copies, join_pieces
from hybrid_bt.feeds.clock import STAMPED_BY, StampedBy, by_end, on_exchange_clock, one_clock, zone_named
from hybrid_bt.feeds.overlap import exchange, inspect_panel, on_common_bars, say_counts
from hybrid_bt.feeds.symbol import SymbolBars, inspect_prices, others_move, symbol_bars

Align = Literal["union", "intersection"]
ALIGN: tuple[Align, ...] = ("union", "intersection")
Rows = Iterable[tuple[str, RawBars | BarsError]]  #: of each symbol, or why they cannot be read


@dataclass(frozen=True)
class Handling:
    """How rows become bars."""

    raw_prices: bool = False  #: leave prices unscaled where an adjusted close is given
    on_bad_data: OnBadData = "fail"
    calendar: str | None = None  #: exchange to compare dates with, as exchange_calendars names it: XNYS
    align: Align = "union"  #: calendar of several symbols: every bar of any, or those that all have
    time_zone: str | None = None  #: of the exchange, for dates with a zone; by default the calendar's, or their own
    stamps: StampedBy | None = None  #: what of a bar its stamp is; None: the end, and what cannot be one is refused
    date_format: str | None = None  #: of dates that have two readings, as strptime writes it: %d/%m/%Y

    def __post_init__(self) -> None:
        for word, value, known in (
            ("on_bad_data", self.on_bad_data, ON_BAD_DATA),
            ("align", self.align, ALIGN),
            ("stamps", self.stamps or "end", STAMPED_BY),
        ):
            if value not in known:
                raise ConfigError(f"{word} is {value!r}{did_you_mean(str(value), known)}")
        if self.time_zone is not None:
            zone_named(self.time_zone)

    def zone_of(self, raw: RawBars) -> tzinfo | None:
        """The exchange's zone, as was asked for or as the calendar has it; None for that of the dates."""
        if self.time_zone is not None or self.calendar is None or not raw.zones or not len(raw.stamps):
            return None if self.time_zone is None else zone_named(self.time_zone)
        days = np.unique(raw.stamps[~np.isnat(raw.stamps)].astype("M8[D]"))
        zone: tzinfo = exchange(self.calendar, days[0], days[-1] + np.timedelta64(1, "D")).tz
        return zone


class Query(NamedTuple):
    """What is asked of a source."""

    symbols: Sequence[str] | None = None  #: which, in this order; all that are there by default
    end: Moment | None = None  #: last day, included
    trade_from: Moment | None = None  #: first day to trade; a source that fetches may leave out what nobody warms up on
    offline: bool = False  #: call nobody
    handling: Handling = Handling()


def build_panel(name: str, rows: Rows, handling: Handling, notes: Iterable[str] = ()) -> Bars:
    """Check each symbol's rows, put them on one calendar, and check the whole.

    Parameters
    ----------
    rows : iterable of (symbol, RawBars)
        Taken one at a time, so that no more than one symbol is held twice.

    Raises
    ------
    BarsError
        With `on_bad_data="fail"` at the first error, else at the first that has no mend.
    """
    series, found = inspect(rows, handling)
    notes = [*notes, *_notes(name, found)]
    if handling.align == "intersection":
        series, found, more_notes = on_common_bars(name, series, found)
        notes += more_notes
    return align(name, series, notes, found)


def pick(name: str, found: Iterable[str], symbols: Sequence[str] | None) -> list[str]:
    """The symbols asked for, in that order, or all in the order found; BarsError for one that is not there."""
    known = list(found)
    if symbols is None:
        return known
    pieces = {symbol: [one for one in known if base_of(one) == symbol] for symbol in symbols if symbol not in known}
    symbols = [one for symbol in symbols for one in pieces.get(symbol) or [symbol]]
    for symbol in symbols:
        if symbol not in known:
            raise BarsError(f"bars: {name} has no symbol {symbol!r}{did_you_mean(symbol, known)}")
    if not symbols or len(set(symbols)) != len(symbols):
        raise BarsError(f"bars: ask for at least one symbol and for each once, got {list(symbols)}")
    return list(symbols)


def align(
    name: str, series: Mapping[str, SymbolBars], notes: Iterable[str] = (), findings: Iterable[Finding] = ()
) -> Bars:
    """The panel of all symbols on the union of their calendars; where a symbol has no bar, its cells are NaN.

    A note counts the bars that symbols miss, because a symbol that did not trade can be neither bought nor sold.
    """
    stamps = np.unique(np.concatenate([one.stamps for one in series.values()]))
    rows = {symbol: np.searchsorted(stamps, one.stamps) for symbol, one in series.items()}
    # where all four prices are one, one array can stand for them
    flat = all(np.array_equal(one.open, one.close) and np.array_equal(one.low, one.high) for one in series.values())
    fields = ["close", "volume"] if flat else ["close", "volume", "open", "high", "low"]
    panel = {}
    for field in fields:
        own = getattr(next(iter(series.values())), field)
        values = own[:, None]
        if len(series) > 1 or not own.flags.owndata:  # else one symbol alone, whose array nobody else holds
            values = np.full((len(stamps), len(series)), 0.0 if field == "volume" else np.nan)
            for column, (symbol, one) in enumerate(series.items()):
                values[rows[symbol], column] = getattr(one, field)
        values.setflags(write=False)  # what nobody can write to is taken over without a copy
        panel[field] = values
    missing = {symbol: len(stamps) - len(one.stamps) for symbol, one in series.items() if len(one.stamps) < len(stamps)}
    told = [f"{name}: bars missing out of {len(stamps)} (not traded there): {say_counts(missing)}"] if missing else []
    return Bars.checked(name, list(series), stamps, **panel, notes=[*notes, *told], findings=findings)


def inspect(rows: Rows, handling: Handling, *, refusing: bool = True) -> tuple[dict[str, SymbolBars], list[Finding]]:
    """Each symbol's bars as `handling` wants them, and all findings about them, alone and together.

    Parameters
    ----------
    refusing : bool
        Raise a BarsError for the first error that is not mended; else go on, and what cannot be read is a finding.
    """
    mode = handling.on_bad_data
    found: list[Finding] = []

    def note(more: Iterable[Finding]) -> None:
        told = [one._replace(action=RULES[one.rule].action(mode)) for one in more]
        if refusing:
            _refuse_errors(told)
        found.extend(told)

    parts: list[tuple[str, SymbolBars]] = []
    zones: dict[str, frozenset[str]] = {}
    unread: dict[str, Sequence[str]] = {}
    for symbol, raw in rows:
        try:
            if isinstance(raw, BarsError):
                raise raw
            check_name(symbol)
            zones[symbol], unread[symbol] = raw.zones, raw.unread
            raw, more = on_exchange_clock(symbol, raw, handling.zone_of(raw))
            note(more)
            raw, more = inspect_rows(symbol, raw, mode)
            note(more)
            left = len(raw.stamps)
            if left < MIN_BARS and not refusing:
                note([Finding("too_few_bars", symbol, left, "", f"{left} bars are left")])
                continue
            if not left:
                raise BarsError(f"bars: {symbol} has no bar left after the bad ones are left out; give other prices")
            raw, more = by_end(symbol, raw, handling.stamps, bool(zones[symbol]))
            note(more)
            parts.append((symbol, symbol_bars(symbol, raw, raw_prices=handling.raw_prices)))
        except BarsError as error:
            if refusing:
                raise
            found.append(Finding("unreadable", symbol, 0, "", str(error).removeprefix("bars: ")))
    series, more = join_pieces(parts)
    del parts
    note(more)
    for symbol, bars in list(series.items()):
        series[symbol], more = inspect_prices(symbol, bars, mode, partial(others_move, series, symbol))
        note(more)
    if series:
        note(_zones_together(zones, handling))
        note(copies(series))
        series, more = inspect_panel(series, mode, handling.calendar)
        note(more)
    note(_unread(unread))
    return series, found


def _refuse_errors(found: Iterable[Finding]) -> None:
    """BarsError for the first error that is not mended."""
    for one in found:
        if one.severity == "error" and one.action.startswith("none"):
            if one.refusal:
                raise BarsError(f"bars: {refusal(one)}" + ("" if RULES[one.rule].mend == _REFUSED else f", or {_MEND}"))
            remedy = _REMEDY.get(one.rule, f"mend the data, or {_MEND}")
            raise BarsError(f"bars: {say(one._replace(action='none')).removeprefix('error: ')}; {remedy}")


_REFUSED = RULES["told_apart"].mend
_MEND = "give on_bad_data='mend'"  # commands say it as their flag
_REMEDY = {
    "split": f"{_MEND}, which rescales the earlier prices, or 'warn', which keeps them; or give adjusted ones",
    "unit": f"{_MEND}, which rescales the earlier prices, or 'warn', which keeps them",
    "copies": "remove one of them, or fetch it again",
    "begins": "give stamps='begin', which moves each to its end, stamps='end' if the bars end then, or, where they are "
    "days of an exchange, its time_zone",
    "mixed_zones": "say the zone of one exchange with time_zone='America/New_York'; daily bars keep their dates",
    "mixed_frequency": "resample to one length of bar, or leave the other symbols out",
}


def _zones_together(zones: Mapping[str, frozenset[str]], handling: Handling) -> list[Finding]:
    """Symbols of exchanges in several time zones share no calendar, unless one is said; dates without stay."""
    together = frozenset().union(*zones.values())
    if one_clock(together) or handling.time_zone or handling.calendar:
        return []
    return [Finding("mixed_zones", "", 0, "", ", ".join(sorted(together)[:6]))]


def _unread(unread: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Every column that was left aside, whichever symbol's table it stands in: one of them may be the price meant."""
    owners: dict[str, list[str]] = {}
    for symbol, columns in unread.items():
        for column in columns:
            owners.setdefault(column, []).append(symbol)
    told = [f"{column or '(no name)'} ({listed(symbols, 1)})" for column, symbols in owners.items()]
    return [Finding("unread", "", 0, "", ", ".join(told))] if told else []


def _notes(name: str, found: Sequence[Finding]) -> list[str]:
    """One note for each rule that is no mere information, with its first case."""
    told: list[str] = []
    for rule, entry in counters(found).items():
        if entry["severity"] == "info":
            continue
        first = next(one for one in found if one.rule == rule)
        names = entry["symbols"]
        more = f" (first of {entry['bars']} in {len(names)} symbols)" if len(names) > 1 else ""
        told.append(f"{name}: {say(first)}{more}")
    return told
