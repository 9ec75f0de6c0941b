"""Calendars of several symbols: gaps, listings, clocks, frequencies, the exchange's own days, and what all have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.bars import MIN_BARS, Finding, OnBadData, Stamps, say_stamp
from hybrid_bt.bars.stamps import is_intraday
from hybrid_bt.errors import BarsError, ConfigError, did_you_mean, library, listed, os_errors
from hybrid_bt.feeds.clock import dates_of, steps_of
from hybrid_bt.feeds.symbol import SymbolBars

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

DAY, HOUR = np.timedelta64(1, "D"), np.timedelta64(1, "h")
SHORT_BARS = 254  #: 252 returns warm the features up, one bar decides, one fills
FEW_STEPS = 20  #: below this many bars, the length of a bar is not told
FREQUENCY_RATIO = 1.5  #: usual steps of two symbols further apart than this are two frequencies
FULL_SESSION, FEWEST_INTRADAY = 0.95, 4.0  #: of the usual number of bars of a day; what makes bars intraday
GAP_DAYS = 10  #: the longest closure of a stock exchange in peace was 7 days (2001), of China's holidays 9 to 10
DELISTED_BARS = 5  #: last bar this many bars before the panel's
UNEVEN = ("late_listing", "missing_bars", "delisted")  #: rules about bars that some symbols have and others lack


def inspect_panel(
    series: Mapping[str, SymbolBars], mode: OnBadData, calendar: str | None = None
) -> tuple[dict[str, SymbolBars], list[Finding]]:
    """The symbols, with stamps that had to change changed, and findings about their calendars.

    Parameters
    ----------
    series : mapping of symbol to SymbolBars
        Checked one by one.
    calendar : str, optional
        Compare with this exchange's sessions; without, only with the panel's own calendar.
    """
    apart = _hours_apart(series)
    found = list(_clocks(series)) if apart > 1.0 else []  # one hour is summer
    if apart and (mode != "fail" or not found):
        series = {symbol: one._replace(stamps=dates_of(one.stamps)) for symbol, one in series.items()}
    stamps = np.unique(np.concatenate([one.stamps for one in series.values()]))
    found += _frequencies(series)
    found += _gaps(stamps)
    for symbol, one in series.items():
        found += _listing(symbol, one, stamps)
        found += _short_sessions(symbol, one.stamps)
        found += () if calendar is None else _sessions(symbol, one.stamps, calendar)
    return dict(series), found


def on_common_bars(
    name: str, series: Mapping[str, SymbolBars], found: Iterable[Finding]
) -> tuple[dict[str, SymbolBars], list[Finding], list[str]]:
    """Every symbol on the bars that all of them have; the findings and a note say what went.

    Raises
    ------
    BarsError
        If fewer than two bars are common.
    """
    common = reduce(np.intersect1d, (one.stamps for one in series.values()))
    if len(common) < MIN_BARS:
        raise BarsError(
            f"bars: the symbols of {name} have {len(common)} bar(s) in common, at least {MIN_BARS} are needed; leave "
            "some symbols out, check times and zones, or give align='union'"
        )
    gone = {symbol: len(one.stamps) - len(common) for symbol, one in series.items() if len(one.stamps) > len(common)}
    rows = {symbol: np.searchsorted(one.stamps, common) for symbol, one in series.items()}
    cut = {symbol: SymbolBars._make(values[rows[symbol]] for values in one) for symbol, one in series.items()}
    said = [one._replace(action="left out of all symbols") if one.rule in UNEVEN else one for one in found]
    notes = [f"{name}: on the {len(common)} bars that all symbols have; left out: {say_counts(gone)}"] if gone else []
    return cut, said, notes


def say_counts(counts: Mapping[str, int]) -> str:
    return listed([f"{symbol} {count}" for symbol, count in counts.items()], 10)


def _clocks(series: Mapping[str, SymbolBars]) -> Iterator[Finding]:
    """Daily bars stamped at midnight in one symbol and at 16:00 in another never meet on one row."""
    clocks = {symbol: np.unique(one.stamps - one.stamps.astype("M8[D]")) for symbol, one in series.items()}
    common = next(iter(clocks.values()))
    for symbol, own in clocks.items():
        one = series[symbol]
        if len(own) > 1 or own[0] != common[0]:
            what = f"{say_stamp(one.stamps[0])} beside {say_stamp(next(iter(series.values())).stamps[0])}"
            yield Finding("mixed_clock", symbol, len(one.stamps), say_stamp(one.stamps[0]), what)


def _hours_apart(series: Mapping[str, SymbolBars]) -> float:
    """Between the earliest and the latest time of day of daily bars; 0.0 where there are others."""
    if any(is_intraday(one.stamps) for one in series.values()):
        return 0.0
    times = np.concatenate([one.stamps - one.stamps.astype("M8[D]") for one in series.values()])
    return float((times.max() - times.min()) / HOUR)


def _frequencies(series: Mapping[str, SymbolBars]) -> list[Finding]:
    """Bars of different lengths, in one symbol or among several."""
    found = []
    steps: dict[str, float] = {}
    for symbol, one in series.items():
        if len(one.stamps) < FEW_STEPS:
            continue
        between = steps_of(one.stamps).astype(np.float64)
        half = len(between) // 2
        early, late = float(np.median(between[:half])), float(np.median(between[half:]))
        steps[symbol] = float(np.median(between))
        if max(early, late) > FREQUENCY_RATIO * min(early, late):
            what = f"usually {_say_step(early)}, later {_say_step(late)}"
            found.append(Finding("mixed_frequency", symbol, 0, say_stamp(one.stamps[half]), what))
    if found or not steps:
        return found
    (fast, shortest), (slow, longest) = (pick(steps.items(), key=lambda item: item[1]) for pick in (min, max))
    if longest > FREQUENCY_RATIO * shortest:
        what = f"{fast} has a bar every {_say_step(shortest)}, {slow} every {_say_step(longest)}"
        found.append(Finding("mixed_frequency", "", 0, "", what))
    return found


def _say_step(nanoseconds: float) -> str:
    minutes = nanoseconds / 60e9
    return f"{minutes / 1440:g} days" if minutes >= 1440 else f"{minutes:g} min"


def _gaps(stamps: Stamps) -> list[Finding]:
    wide = np.flatnonzero(np.diff(stamps) > GAP_DAYS * DAY)
    if not len(wide) or np.median(np.diff(stamps)) >= GAP_DAYS / 2 * DAY:  # weekly and monthly bars
        return []
    before, after = stamps[wide[0]], stamps[wide[0] + 1]
    return [Finding("calendar_gap", "", len(wide), say_stamp(before), f"none until {say_stamp(after)}")]


def _listing(symbol: str, one: SymbolBars, stamps: Stamps) -> Iterator[Finding]:
    first, last = (int(np.searchsorted(stamps, one.stamps[row])) for row in (0, -1))
    n = len(one.stamps)
    for rule, bars, at in (
        ("late_listing", first, say_stamp(one.stamps[0])),
        ("missing_bars", last + 1 - first - n, _first_hole(one.stamps, stamps[first : last + 1])),
        ("delisted", len(stamps) - 1 - last, say_stamp(one.stamps[-1])),
        ("short" if len(stamps) < SHORT_BARS else "cold", n if n < SHORT_BARS else 0, say_stamp(one.stamps[0])),
    ):
        if bars > (DELISTED_BARS if rule == "delisted" else 0):
            yield Finding(rule, symbol, bars, at, "")


def _short_sessions(symbol: str, stamps: Stamps) -> list[Finding]:
    """Days with fewer bars than usual, where days have several; the first and the last may be cut."""
    days, counts = np.unique(stamps.astype("M8[D]"), return_counts=True)
    usual = float(np.median(counts))
    short = np.flatnonzero(counts[1:-1] < FULL_SESSION * usual) + 1
    if usual < FEWEST_INTRADAY or not len(short):
        return []
    missing = int(usual * len(short) - counts[short].sum())
    days_in_all = f" on the first of {len(short)} days" if len(short) > 1 else ""
    what = f"{counts[short[0]]} instead of {usual:g}{days_in_all}"
    return [Finding("short_session", symbol, missing, str(days[short[0]]), what)]


def _first_hole(own: Stamps, panel: Stamps) -> str:
    if len(own) == len(panel):
        return ""
    return say_stamp(panel[int(np.argmax(panel[: len(own)] != own))])


def _sessions(symbol: str, stamps: Stamps, calendar: str) -> Iterator[Finding]:
    days = np.unique(stamps.astype("M8[D]"))
    sessions: Stamps = exchange(calendar, days[0], days[-1]).sessions.to_numpy().astype("M8[D]")
    for rule, odd in (
        ("off_calendar", np.setdiff1d(days, sessions, assume_unique=True)),
        ("missing_sessions", np.setdiff1d(sessions, days, assume_unique=True)),
    ):
        if len(odd):
            yield Finding(rule, symbol, len(odd), str(odd[0]), calendar)


def exchange(calendar: str, first: np.datetime64, last: np.datetime64) -> ExchangeCalendar:
    """An exchange from `first` to `last`, both included, by the package exchange_calendars: its sessions, its zone."""
    exchange_calendars = library("exchange_calendars", "calendars", "calendar: needs exchange_calendars")
    known = exchange_calendars.get_calendar_names()
    if calendar not in known:
        raise ConfigError(f"calendar: {calendar!r} is no exchange{did_you_mean(calendar, known)}")
    what = f"bars: {calendar} has no sessions from {first} to {last}"
    with os_errors(BarsError, what, "leave calendar out", of=(ValueError,)):
        return exchange_calendars.get_calendar(calendar, start=str(first), end=str(last))
