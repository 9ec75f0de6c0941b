"""What a look at somebody's prices can find: each rule with its severity and its mend, and findings that are counted.

error     changes results, or cannot be traded on: refused unless the caller says `mend` or `warn`
warning   may change results: the bars are taken as they are, and a note says so
info      good to know
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypedDict

OnBadData = Literal["fail", "mend", "warn"]
ON_BAD_DATA: tuple[OnBadData, ...] = ("fail", "mend", "warn")


class Rule(NamedTuple):
    """One check: how bad it is, what is wrong, and what `mend` and `warn` do about it."""

    severity: Literal["error", "warning", "info"]
    wrong: str
    mend: str
    warn: str = ""  #: where it is not the same as `mend`

    def action(self, on_bad_data: OnBadData) -> str:
        """What is done about it."""
        refused = "none" if self.severity == "error" else self.mend  # only errors are; the rest is as with `mend`
        return {"fail": refused, "mend": self.mend, "warn": self.warn or self.mend}[on_bad_data]


_LEFT_OUT = "the bars are left out"
_KEPT = "kept as it is"
_REFUSED = "none: refused"

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "unreadable": Rule("error", "the file cannot be read", _REFUSED),
        "time_zone": Rule("info", "dates carry a time zone", "turned into the exchange's clock"),
        "mixed_zones": Rule("error", "symbols of exchanges in several time zones", _REFUSED),
        "no_date": Rule("error", "a row without a date", _LEFT_OUT),
        "unsorted": Rule("error", "dates do not increase", "sorted by date"),
        "duplicate": Rule("error", "a date appears more than once", "the last sound row of a date is kept"),
        "told_apart": Rule("error", "a date has several rows that are not one bar", _REFUSED),
        "no_price": Rule("error", "a row without any price", _LEFT_OUT),
        "nan": Rule("error", "a price is missing", "high and low from open and close, else left out", _LEFT_OUT),
        "not_positive": Rule("error", "a price is zero, negative, infinite or absurd", _LEFT_OUT),
        "low_above": Rule("error", "low above open or close", "low = least of the four", _LEFT_OUT),
        "high_below": Rule("error", "high below open or close", "high = greatest of the four", _LEFT_OUT),
        "one_tick": Rule("warning", "low or high lies a tick inside", "least and greatest of the four"),
        "volume_bad": Rule("error", "volume is negative or infinite", "0, that is unknown"),
        "split": Rule("error", "a jump that looks like an unadjusted split", "earlier prices rescaled", _KEPT),
        "unit": Rule("error", "the price is given in another unit from here on", "earlier prices rescaled", _KEPT),
        "copies": Rule("error", "two symbols have one history", _REFUSED, _KEPT),
        "pieces": Rule("warning", "pieces that follow one another are one history", "joined"),
        "begins": Rule("error", "bars are stamped by their beginning", "stamped by their end"),
        "begins_of_weeks": Rule("warning", "bars seem stamped by their beginning", "kept; stamps='begin' moves them"),
        "mixed_clock": Rule("error", "daily bars at different times of day", "turned into dates"),
        "mixed_frequency": Rule("error", "bars of different lengths", _REFUSED, _KEPT),
        "too_few_bars": Rule("error", "fewer than 2 bars", _REFUSED),
        "jump": Rule("warning", "a jump that may be an unadjusted split or a bad print", _KEPT),
        "stale": Rule("warning", "the price stands still", _KEPT),
        "unread": Rule("warning", "columns with numbers whose names are not known", "not read"),
        "calendar_gap": Rule("warning", "no symbol has a bar for long", _KEPT),
        "off_calendar": Rule("warning", "bars on days on which the exchange is closed", _KEPT),
        "missing_sessions": Rule("warning", "no bar on days on which the exchange is open", _KEPT),
        "delisted": Rule("warning", "the last bar lies before the panel's end", "not traded afterwards"),
        "missing_bars": Rule("info", "no bar where other symbols have one", "not traded on those bars"),
        "late_listing": Rule("info", "the first bar lies behind the panel's start", "not traded before"),
        "short_session": Rule("info", "fewer bars on a day than usual: a half day, or holes", _KEPT),
        "volume_missing": Rule("info", "no volume", "0, that is unknown"),
        "short": Rule("info", "too few bars to warm the features up", "the features stay silent"),
        "cold": Rule(
            "warning",
            "too few bars to warm the features up, beside symbols that have enough",
            "the features stay silent",
        ),
    }
)


class Finding(NamedTuple):
    """One rule broken by one symbol (or by the panel as a whole)."""

    rule: str  #: key of `RULES`
    symbol: str  #: "" for the panel
    bars: int  #: how many
    first: str  #: date of the first of them
    what: str  #: value, ratio or span of the first of them
    action: str = "none"  #: what was done about it
    refusal: str = ""  #: the same as an error says it: the cell, what must hold, what to do

    @property
    def severity(self) -> str:
        """error, warning or info."""
        return RULES[self.rule].severity


class Count(TypedDict):
    """The findings of one rule."""

    severity: str
    bars: int
    symbols: list[str]
    action: str


def counters(findings: Iterable[Finding]) -> dict[str, Count]:
    """Findings by their rules, for `run.json`."""
    found: dict[str, Count] = {}
    for one in findings:
        fresh: Count = {"severity": one.severity, "bars": 0, "symbols": [], "action": one.action or "none"}
        entry = found.setdefault(one.rule, fresh)
        entry["bars"] += one.bars
        if one.symbol and one.symbol not in entry["symbols"]:
            entry["symbols"].append(one.symbol)
    return found


def refusal(finding: Finding) -> str:
    """Where, what must hold, what to do: `KO 2021-03-02 close is 0.0; prices must be finite and above 0; ...`."""
    more = f" ({finding.bars - 1} more like it)" if finding.bars > 1 else ""
    return " ".join(part for part in (finding.symbol, finding.first, finding.refusal) if part) + more


def say(finding: Finding) -> str:
    """One line: `error: KO 2021-03-02 high below open or close (1 bar): high 2.5; high = greatest of the four`."""
    bars = "" if not finding.bars else f" ({finding.bars} bar{'s' if finding.bars > 1 else ''})"
    where = " ".join(part for part in (finding.symbol, finding.first) if part)
    done = f"; {finding.action}" if finding.action != "none" else ""
    about = f": {finding.what}" if finding.what else ""
    return f"{finding.severity}: {where + ' ' if where else ''}{RULES[finding.rule].wrong}{bars}{about}{done}"
