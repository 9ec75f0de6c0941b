"""Every finding of a folder or file, where loading it would stop at the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hybrid_bt.bar_checks import check_name
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.align import RawBars, SymbolBars, pick, symbol_bars
from hybrid_bt.feeds.checks import inspect_columns, inspect_rows, inspect_zones
from hybrid_bt.feeds.files import files_of, parts_of, stem_of
from hybrid_bt.feeds.overlap import inspect_panel
from hybrid_bt.feeds.suspects import inspect_prices
from hybrid_bt.feeds.table import refuse_missing, rows_of_frames
from hybrid_bt.findings import Finding

__all__ = ["findings_of_path"]


def findings_of_path(path: Path, symbols: Sequence[str] | None, calendar: str | None) -> list[Finding]:
    """Findings of each file, of each symbol, and of all symbols together.

    Raises
    ------
    BarsError
        If there is no such path, no table in it, or no such symbol.
    """
    refuse_missing(path)
    found: list[Finding] = []
    series: dict[str, SymbolBars] = {}
    names: list[str] = []
    zones: dict[str, frozenset[str]] = {}
    unread: dict[str, Sequence[str]] = {}
    for one in files_of(path):
        stem = stem_of(one)
        if path.is_dir() and symbols is not None and stem not in symbols:
            continue
        try:
            rows = rows_of_frames(parts_of(one), one.name, stem, keep_zone=True)
        except BarsError as error:
            names.append(stem)
            found.append(_unreadable(stem, error))
            continue
        for symbol, raw in rows.items():
            if symbol in names:
                found.append(_unreadable(symbol, BarsError(f"bars: {symbol} comes from {one.name} and another file")))
                continue
            names.append(symbol)
            if symbols is None or symbol in symbols:
                zones[symbol], unread[symbol] = raw.zones, raw.unread
                found += _of_symbol(symbol, raw, series)
    pick(str(path), names, symbols)
    if series:
        found += inspect_zones(zones, "fail") + inspect_panel(series, "fail", calendar)[1]
    return found + inspect_columns(unread, "fail")


def _of_symbol(symbol: str, raw: RawBars, series: dict[str, SymbolBars]) -> list[Finding]:
    """Findings of one symbol, which joins `series` as far as it can be mended."""
    try:
        check_name(symbol)
    except BarsError as error:
        return [_unreadable(symbol, error)]
    left, found = inspect_rows(symbol, raw, "fail")
    if len(left.stamps) < 2:
        return [*found, Finding("too_few_bars", symbol, len(left.stamps), "", f"{len(left.stamps)} bars are left")]
    try:
        bars = symbol_bars(symbol, left.stamps, left.columns, raw_prices=False)
    except BarsError as error:
        return [*found, _unreadable(symbol, error)]
    series[symbol], more = inspect_prices(symbol, bars, "fail")
    return found + more


def _unreadable(symbol: str, error: BarsError) -> Finding:
    return Finding("unreadable", symbol, 0, "", str(error).removeprefix("bars: "))
