"""Rows of several symbols, whatever their source, to one checked panel; and what the checks say about all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hybrid_bt.bar_checks import check_name
from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.align import Align, RawBars, SymbolBars, align, on_common_bars, symbol_bars
from hybrid_bt.feeds.checks import inspect_columns, inspect_rows, inspect_zones
from hybrid_bt.feeds.overlap import inspect_panel
from hybrid_bt.feeds.suspects import inspect_prices
from hybrid_bt.findings import Finding, OnBadData, counters, say

__all__ = ["Handling", "build_panel", "inspect_symbol"]


class Handling(NamedTuple):
    """How rows become bars."""

    raw_prices: bool = False  #: leave prices unscaled where an adjusted close is given
    on_bad_data: OnBadData = "fail"
    calendar: str | None = None  #: exchange to compare dates with, as exchange_calendars names it: XNYS
    align: Align = "union"  #: calendar of several symbols: every bar of any, or those that all have


def build_panel(name: str, rows: Iterable[tuple[str, RawBars]], handling: Handling, notes: Iterable[str] = ()) -> Bars:
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
    series: dict[str, SymbolBars] = {}
    found: list[Finding] = []
    zones: dict[str, frozenset[str]] = {}
    unread: dict[str, Sequence[str]] = {}
    for symbol, raw in rows:
        check_name(symbol)
        zones[symbol], unread[symbol] = raw.zones, raw.unread
        series[symbol], more = inspect_symbol(symbol, raw, handling)
        found += more
    refuse_errors(inspect_zones(zones, handling.on_bad_data), handling.on_bad_data)
    changed, more = inspect_panel(series, handling.on_bad_data, handling.calendar)
    refuse_errors(more, handling.on_bad_data)
    series.update(changed)
    found += more + inspect_columns(unread, handling.on_bad_data)
    notes = [*notes, *_notes(name, found)]
    if handling.align == "intersection":
        series, found, more_notes = on_common_bars(name, series, found)
        notes += more_notes
    return align(name, series, notes, found)


def inspect_symbol(symbol: str, raw: RawBars, handling: Handling) -> tuple[SymbolBars, list[Finding]]:
    """One symbol's bars as `handling` wants them, and what was found; BarsError for what is refused."""
    mode = handling.on_bad_data
    found: list[Finding] = []
    if mode == "fail" and not raw.zones:
        try:
            bars = symbol_bars(symbol, raw.stamps, raw.columns, raw_prices=handling.raw_prices)  # refuses by itself
        except BarsError as error:
            mendable = any(one.severity == "error" for one in inspect_rows(symbol, raw, mode)[1])
            raise BarsError(f"{error}{', or give --on-bad-data mend' if mendable else ''}") from None
    else:
        raw, found = inspect_rows(symbol, raw, mode)
        refuse_errors(found, mode)
        if not len(raw.stamps):
            raise BarsError(f"bars: {symbol} has no bar left after the bad ones are left out; give other prices")
        bars = symbol_bars(symbol, raw.stamps, raw.columns, raw_prices=handling.raw_prices)
    bars, suspects = inspect_prices(symbol, bars, mode)
    refuse_errors(suspects, mode)
    return bars, found + suspects


def refuse_errors(found: Sequence[Finding], mode: OnBadData) -> None:
    """BarsError for the first error that is not mended."""
    for one in found:
        if one.severity == "error" and (mode == "fail" or one.action.startswith("none")):
            remedy = _REMEDY.get(one.rule, "mend the data, or give --on-bad-data mend")
            raise BarsError(f"bars: {say(one).removeprefix('error: ')}; {remedy}")


_REMEDY = {
    "split": "give adjusted prices, or --on-bad-data mend, which rescales the earlier ones, or warn, which keeps them",
    "time_zone": "convert to exchange time and write it without a zone, or give --on-bad-data mend",
    "mixed_zones": "convert all dates to the time of one exchange and write it without a zone",
    "mixed_frequency": "resample to one length of bar, or leave the others out with --symbols",
}


def _notes(name: str, found: Sequence[Finding]) -> list[str]:
    """One note for each rule that is no mere information, with its first case."""
    told: list[str] = []
    for rule, entry in counters(found).items():
        if entry["severity"] == "info":
            continue
        first = next(one for one in found if one.rule == rule)
        names: list[str] = entry["symbols"]
        more = f" (first of {entry['bars']} in {len(names)} symbols)" if len(names) > 1 else ""
        told.append(f"{name}: {say(first)}{more}")
    return told
