"""What is wrong with one symbol's rows, and what mending leaves: one walk does both.

The rules are in `hybrid_bt.findings`. Rows are looked at as they came; splits and standing prices in the prices that
would be traded, after scaling by an adjusted close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bar_checks import GREATEST_PRICE, LEAST_PRICE, ROUNDING, say_stamp
from hybrid_bt.feeds.align import RawBars, SymbolBars
from hybrid_bt.feeds.cells import NO_ZONE
from hybrid_bt.findings import RULES, Finding, OnBadData

__all__ = ["first_of", "inspect_columns", "inspect_rows", "inspect_zones", "volume_missing"]

PRICES = ("open", "high", "low", "close", "adj")
BoolArray = NDArray[np.bool_]


def first_of(
    rule: str, symbol: str, stamps: NDArray[np.datetime64], bad: BoolArray, what: str, mode: OnBadData
) -> list[Finding]:
    """The finding for the True rows of `bad`, or none."""
    count = int(np.count_nonzero(bad))
    if not count:
        return []
    stamp = stamps[int(np.argmax(bad))]
    first = "" if np.isnat(stamp) else say_stamp(stamp)
    return [Finding(rule, symbol, count, first, what, RULES[rule].action(mode))]


def inspect_rows(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    """Walk all rules over the rows of one symbol.

    Parameters
    ----------
    mode : "fail", "mend" or "warn"
        How to go on behind each rule; with "fail" as with "mend", but findings say that nothing was done.

    Returns
    -------
    RawBars
        What is left: sorted, each date once, every price finite and above 0, ranges whole.
    list of Finding
    """
    found: list[Finding] = []
    if raw.zones:
        rule = "time_zone" if len(raw.zones) == 1 or not _far_apart(raw.zones) else "mixed_zones"
        found += first_of(rule, symbol, raw.stamps, np.ones(1, np.bool_), ", ".join(sorted(raw.zones)[:4]), mode)
        found[-1] = found[-1]._replace(bars=len(raw.stamps))
    for look in (_dates, _order, _repeats, _empty, _signs, _missing, _ranges, _volume):
        raw, more = look(symbol, raw, mode)
        found += more
    return raw, found


def inspect_zones(zones: Mapping[str, frozenset[str]], mode: OnBadData) -> list[Finding]:
    """Symbols of exchanges in different time zones share no calendar; dates without a zone are taken as they are."""
    together = frozenset().union(*zones.values())
    if len(together) < 2 or NO_ZONE in together or not _far_apart(together):
        return []
    return [Finding("mixed_zones", "", 0, "", ", ".join(sorted(together)[:6]), RULES["mixed_zones"].action(mode))]


def inspect_columns(unread: Mapping[str, Sequence[str]], mode: OnBadData) -> list[Finding]:
    """Every column that was left aside, whichever symbol's table it stands in: one of them may be the price meant."""
    owners: dict[str, list[str]] = {}
    for symbol, columns in unread.items():
        for column in columns:
            owners.setdefault(column, []).append(symbol)
    if not owners:
        return []
    told = [
        f"{column or '(no name)'} ({symbols[0]}{f' and {len(symbols) - 1} more' if len(symbols) > 1 else ''})"
        for column, symbols in owners.items()
    ]
    return [Finding("unread", "", 0, "", ", ".join(told), RULES["unread"].action(mode))]


def _far_apart(zones: frozenset[str]) -> bool:
    """Whether zones differ by more than daylight saving would explain."""
    hours = []
    for zone in zones:
        digits = zone.replace(":", "")
        if digits.upper() == "Z":
            hours.append(0.0)
        elif digits[:1] in "+-" and digits[1:].isdigit():
            hours.append((-1 if digits[0] == "-" else 1) * (int(digits[1:3]) + int(digits[3:] or 0) / 60))
        else:
            return True  # names: several are several
    return max(hours) - min(hours) > 1.0


def _take(raw: RawBars, rows: NDArray[np.intp] | BoolArray) -> RawBars:
    return raw._replace(stamps=raw.stamps[rows], columns={f: values[rows] for f, values in raw.columns.items()})


def _dates(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    bad = np.isnat(raw.stamps)
    found = first_of("no_date", symbol, raw.stamps, bad, "", mode)
    return (_take(raw, ~bad) if found else raw), found


def _order(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    bad = np.append(False, raw.stamps[1:] < raw.stamps[:-1])
    if not bad.any():
        return raw, []
    row = int(np.argmax(bad))
    found = first_of("unsorted", symbol, raw.stamps, bad, f"after {say_stamp(raw.stamps[row - 1])}", mode)
    return _take(raw, np.argsort(raw.stamps, kind="stable")), found


def _repeats(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    followed = np.append(raw.stamps[1:] == raw.stamps[:-1], False)
    if not followed.any():
        return raw, []
    twin = np.flatnonzero(followed)
    closes = raw.columns["close"]
    same = all(np.array_equal(v[twin], v[twin + 1], equal_nan=True) for v in raw.columns.values())
    what = "equal rows" if same else f"close {closes[twin[0]]:g} and {closes[twin[0] + 1]:g}"
    return _take(raw, ~followed), first_of("duplicate", symbol, raw.stamps, followed, what, mode)


def _prices(raw: RawBars) -> list[str]:
    return [field for field in PRICES if field in raw.columns]


def _empty(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    bad = np.logical_and.reduce([np.isnan(raw.columns[field]) for field in _prices(raw)])
    found = first_of("no_price", symbol, raw.stamps, bad, "", mode)
    return (_take(raw, ~bad) if found else raw), found


def _signs(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    bad, what = np.zeros(len(raw.stamps), np.bool_), ""
    for field in _prices(raw):
        values = raw.columns[field]
        wrong = (values < LEAST_PRICE) | (values > GREATEST_PRICE)  # NaN is neither
        if wrong.any() and (not bad.any() or int(np.argmax(wrong)) < int(np.argmax(bad))):
            what = f"{field} {values[int(np.argmax(wrong))]:g}"
        bad |= wrong
    found = first_of("not_positive", symbol, raw.stamps, bad, what, mode)
    return (_take(raw, ~bad) if found else raw), found


def _missing(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    holes = {field: np.isnan(raw.columns[field]) for field in _prices(raw)}
    bad = np.logical_or.reduce(list(holes.values()))
    if not bad.any():
        return raw, []
    row = int(np.argmax(bad))
    found = first_of("nan", symbol, raw.stamps, bad, ", ".join(f for f in holes if holes[f][row]), mode)
    if mode != "warn" and "open" in holes:  # high and low can be had from what is there; open, close and adj cannot
        columns = dict(raw.columns)
        for field, reach in (("high", np.fmax), ("low", np.fmin)):
            if field in columns:
                known = reach(columns["open"], columns["close"])
                columns[field] = np.where(holes[field], known, columns[field])
        raw = raw._replace(columns=columns)
        bad = np.logical_or.reduce([np.isnan(columns[field]) for field in holes])
    return _take(raw, ~bad), found


def _ranges(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    if not {"open", "high", "low"} <= raw.columns.keys():
        return raw, []
    open, high, low, close = (raw.columns[field] for field in ("open", "high", "low", "close"))
    least, most = np.minimum(open, close), np.maximum(open, close)
    above, below = low > least * (1.0 + ROUNDING), high < most * (1.0 - ROUNDING)
    found = [
        *_range_finding("low_above", symbol, raw, above, low, least, mode),
        *_range_finding("high_below", symbol, raw, below, high, most, mode),
    ]
    if not found:
        return raw, []
    if mode == "warn":
        return _take(raw, ~(above | below)), found
    # greatest and least of all four: a low and a high that were exchanged end up in their places
    mended = {
        "low": np.where(above | below, np.minimum(np.minimum(low, high), least), low),
        "high": np.where(above | below, np.maximum(np.maximum(low, high), most), high),
    }
    return raw._replace(columns={**raw.columns, **mended}), found


def _range_finding(
    rule: str,
    symbol: str,
    raw: RawBars,
    bad: BoolArray,
    values: NDArray[np.float64],
    bound: NDArray[np.float64],
    mode: OnBadData,
) -> list[Finding]:
    if not bad.any():
        return []
    row = int(np.argmax(bad))
    return first_of(rule, symbol, raw.stamps, bad, f"{values[row]:g} against {bound[row]:g}", mode)


def _volume(symbol: str, raw: RawBars, mode: OnBadData) -> tuple[RawBars, list[Finding]]:
    volume = raw.columns.get("volume")
    if volume is None:
        return raw, []
    bad = (volume < 0.0) | np.isinf(volume)
    if not bad.any():
        return raw, []
    found = first_of("volume_bad", symbol, raw.stamps, bad, f"{volume[int(np.argmax(bad))]:g}", mode)
    return raw._replace(columns={**raw.columns, "volume": np.where(bad, 0.0, volume)}), found


def volume_missing(symbol: str, bars: SymbolBars, mode: OnBadData) -> list[Finding]:
    """Bars whose volume is 0 or was not given."""
    return first_of("volume_missing", symbol, bars.stamps, bars.volume == 0.0, "", mode)
