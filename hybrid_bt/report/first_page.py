"""The page on top of the tearsheet: what is claimed, on which bars, at which costs, and whether two programs agree.

`run_facts` makes the texts, `first_page` plain HTML of them, so that it can be put before quantstats' report or stand
alone where there is none.

Headline metrics of an account stand there three times: ours, ours by quantstats' conventions (one return a day, a whole
number m of periods a year, (number of returns) / m years), quantstats' own. The first two differ by conventions alone,
which the table names. The last two come from two programs that were given the same returns and the same m, so any
difference between them that is not rounding is a defect of one of the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account import metrics
from hybrid_bt.account.records import RunRecord
from hybrid_bt.files.texts import stamp_texts
from hybrid_bt.report.style import in_sample_spans, run_text, sample_stamp
from hybrid_bt.report.tables import HEADLINES, account_summary, headline_rows

FloatArray = NDArray[np.float64]

ROUNDING = 1e-9  #: relative to the larger value; two orders of summation differ by some 1e-13
METRICS = ("total return", "CAGR", "Sharpe", "Sortino", "volatility", "max drawdown")
SHORT = 12  # digits of a checksum
STYLE = """
.first{max-width:960px;margin:0 auto 40px;color:#222;font:14px/1.5 Arial,Helvetica,sans-serif}
.first h1{font-size:24px;margin:0 0 4px;text-align:left}.first h2{font-size:16px;margin:28px 0 8px}
.first p{font-size:14px;line-height:1.5;margin:8px 0}.first .grey{color:#666;font-size:13px}
.first .claim{border-left:4px solid #0072B2;background:#F2F7FB;padding:10px 14px;font-size:15px}
.first .stamp{color:#B84A00;font-weight:bold}
.first table{border-collapse:collapse;width:100%;margin:6px 0}
.first th,.first td{font-size:13px;line-height:1.4;padding:4px 8px;border-bottom:1px solid #E4E4E4;text-align:right}
.first th:first-child,.first td:first-child,.first td.text,.first th.text{text-align:left}
.first th{color:#666;font-weight:normal;border-bottom:1px solid #AAA}.first tr.chief td{font-weight:bold}
.first td{white-space:nowrap}.first td.bad{color:#B84A00;font-weight:bold}
.first img{width:100%}.first li{font-size:13px;margin:2px 0}
"""
TEXT = ' class="text"'
CHECKED = "account", "metric", "hybrid_bt", "same, quantstats' conventions", "quantstats", "unexplained", "convention"
NO_CLAIM = (
    "No claim was asked for: `hybrid-bt run` makes it, with an interval and the number of trials, and puts it here."
)


class Check(NamedTuple):
    """One metric of one account."""

    account: str
    metric: str
    ours: float  #: as in `summary_pnl.csv`
    alike: float  #: our formula, quantstats' conventions
    theirs: float  #: quantstats

    @property
    def unexplained(self) -> float:
        """Theirs less `alike`; 0.0 where neither has a value."""
        if math.isnan(self.alike) and math.isnan(self.theirs):
            return 0.0
        return self.theirs - self.alike

    @property
    def agrees(self) -> bool:
        """Nothing but rounding is unexplained."""
        return abs(self.unexplained) <= ROUNDING * max(1.0, abs(self.alike))


def ours(equity: FloatArray, bars_per_year: float, years: float) -> dict[str, float]:
    """`METRICS` of an equity curve (T,) whose row 0 is the start value."""
    start, end = float(equity[0]), float(equity[-1])
    return {
        "total return": end / start - 1.0,
        "CAGR": metrics.cagr(start, end, years),
        "Sharpe": metrics.sharpe(equity, bars_per_year),
        "Sortino": metrics.sortino(equity, bars_per_year),
        "volatility": metrics.volatility(equity, bars_per_year),
        "max drawdown": metrics.max_drawdown(equity),
    }


def alike(returns: FloatArray, periods_per_year: float) -> dict[str, float]:
    """`METRICS` by our formulas from returns (D,), one a day, over D / periods_per_year years."""
    equity = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    return ours(equity, periods_per_year, len(returns) / periods_per_year)


def checks(
    account: str, own: Mapping[str, float], same: Mapping[str, float], theirs: Mapping[str, float]
) -> list[Check]:
    """One line per metric."""
    return [Check(account, name, own[name], same[name], theirs[name]) for name in METRICS]


def run_facts(
    record: RunRecord, claim: str, held: Mapping[str, str], *, n_days: int, periods_per_year: int
) -> dict[str, Any]:
    """What `first_page` reads.

    Parameters
    ----------
    record : RunRecord
    claim : str
    held : mapping of shown name to account
        The two accounts that are compared.
    n_days, periods_per_year : int
        What quantstats is given: its number of returns, and its m.
    """
    return {
        "title": f"hybrid against {record.benchmark}",
        "stamp": sample_stamp(record),
        "subtitle": run_text(record),
        "claim": claim,
        "facts": _facts(record),
        "columns": list(HEADLINES),
        "accounts": headline_rows(record),
        "held": list(held),
        "reasons": _reasons(record, n_days, periods_per_year),
        "notes": record.notes,
    }


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    days = stamp_texts(record.bars.stamps.astype("datetime64[D]"))
    spans = [f"{days[first]} to {days[last]}" for first, last in in_sample_spans(record.in_sample)]
    trained = record.facts.get("span", {}).get("policies_trained_until")
    behind = f"; the policies were trained until {trained}" if trained else ""
    sample = f"IN SAMPLE: {', '.join(spans)}" if spans else "out of sample, all bars"
    checksum = record.facts.get("data", {}).get("sha256", record.bars.sha256)  # of the warm-up too, where it is known
    paid = account_summary(record, "hybrid").costs
    rows = [
        ("mode", str(record.config.get("mode", "not named"))),
        ("bars", f"{record.bars.n_bars:,} of {record.bars.n_symbols} symbols, {days[0]} to {days[-1]}"),
        ("sample", sample + behind),
        ("costs", f"{run_text(record).split(' · ')[-1]}; the hybrid paid {paid:,.0f}"),
        ("data", f"{record.bars.name}, sha256 {checksum[:SHORT]}"),
    ]
    policies = record.facts.get("policies", {})
    rows += [(name, f"{policy['file']}, sha256 {policy['sha256'][:SHORT]}") for name, policy in policies.items()]
    return rows


def _reasons(record: RunRecord, n_days: int, m: int) -> dict[str, str]:
    """Metric -> the convention in which the two programs differ."""
    per_year, years = record.bars.bars_per_year, metrics.elapsed_years(record.bars.stamps)
    intraday = n_days != record.bars.n_bars - 1
    daily = "; returns by day instead of by bar" if intraday else ""
    periods = f"√m with m = {per_year:.2f} as counted, against {m}{daily}"
    return {
        "total return": "the same",
        "CAGR": f"{years:.3f} calendar years, against {n_days} / {m} = {n_days / m:.3f}",
        "Sharpe": periods,
        "Sortino": periods,
        "volatility": periods,
        "max drawdown": "at every bar, against each day's last" if intraday else "the same",
    }


def yearly_returns(record: RunRecord, held: list[str]) -> list[tuple[str, ...]]:
    """Calendar year, then each account's return in it; the first and last year may be parts."""
    years = record.bars.stamps.astype("datetime64[Y]")
    last = np.flatnonzero(np.append(years[1:] != years[:-1], True))
    rows = last if last[0] == 0 else np.concatenate(([0], last))
    names = [name if name in record.accounts else record.benchmark for name in held]
    curves = [record.accounts[name].equity[rows] for name in names]
    return [(str(years[rows[k]]), *(_growth(curve[k - 1], curve[k]) for curve in curves)) for k in range(1, len(rows))]


def _growth(before: float, after: float) -> str:
    return f"{after / before - 1.0:.2%}".replace("-", "\u2212") if before > 0.0 else "none"


def first_page(facts: dict[str, Any], checks: Sequence[Check] = ()) -> str:
    """A `<section>` with its style.

    Parameters
    ----------
    facts : dict
        `title`, `stamp`, `subtitle`, `claim`, `facts` (pairs of texts), `columns` and `accounts` (rows of texts, the
        first being the one that is claimed about), `reasons` (metric -> why conventions differ), `notes`.
    checks : sequence of Check
        Without any, that part is left out.
    """
    body = [
        f"<h1>{escape(facts['title'])}</h1>",
        f'<p class="grey">{escape(facts["subtitle"])}</p>',
        f'<p class="stamp">{escape(facts["stamp"])}</p>' if facts["stamp"] else "",
        f'<p class="claim">{escape(facts["claim"] or NO_CLAIM)}</p>',
        _table(("", ""), facts["facts"], text=True),
        "<h2>Accounts, all net, on the same bars and at the same costs</h2>",
        _table(("account", *facts["columns"]), facts["accounts"], chief=True),
        _cross_check(checks, facts["reasons"]) if checks else "",
        f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in facts['notes'])}</ul>"
        if facts["notes"]
        else "",
    ]
    return f'<style>{STYLE}</style><section class="first">{"".join(body)}</section>'


def alone(facts: dict[str, Any], why: str, years: Sequence[Sequence[str]], picture: str = "") -> str:
    """A whole page for where quantstats has none: the same, returns by year, and a picture (a data URL)."""
    image = f'<img src="{picture}" alt="Equity and drawdown">' if picture else ""
    by_year = "<h2>Return by calendar year</h2>" + _table(("year", *facts["held"]), years) if years else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(facts["title"])}</title></head>'
        f'<body style="margin:30px">{first_page(facts)}<section class="first"><p class="stamp">{escape(why)}</p>'
        f"{by_year}{image}<p>The tables beside this page hold everything that the run recorded.</p></section>"
        "</body></html>\n"
    )


def _cross_check(checks: Sequence[Check], reasons: dict[str, str]) -> str:
    rows = [_row("th", CHECKED, ("", TEXT, "", "", "", "", TEXT))]
    for check in checks:
        values = (_value(check.metric, value) for value in (check.ours, check.alike, check.theirs))
        mark = "" if check.agrees else ' class="bad"'
        gap = "0" if check.unexplained == 0.0 else f"{check.unexplained:.0e}"
        cells = escape(check.account), check.metric, *values, gap, escape(reasons[check.metric])
        rows.append(_row("td", cells, ("", TEXT, "", "", "", mark, TEXT)))
    agree = all(check.agrees for check in checks)
    said = (
        "Two programs, the same returns: nothing is left unexplained."
        if agree
        else "The two programs DISAGREE beyond conventions and rounding: one of them is wrong."
    )
    return (
        f'<h2>Cross-check</h2><p class="{"grey" if agree else "stamp"}">{said} The first column stands in '
        "summary_pnl.csv, the third in the report below; between them lie conventions only.</p>"
        f"<table>{''.join(rows)}</table>"
    )


def _value(metric: str, value: float) -> str:
    if math.isnan(value):
        return "none"
    return (f"{value:.4f}" if metric in ("Sharpe", "Sortino") else f"{value:.3%}").replace("-", "\u2212")


def _table(head: Iterable[str], rows: Iterable[Sequence[str]], *, chief: bool = False, text: bool = False) -> str:
    lines = [] if text else [_row("th", map(escape, head))]
    for number, (name, *cells) in enumerate(rows):
        mark = " class=chief" if chief and number == 0 else ""
        lines.append(_row("td", (escape(name), *map(_number, cells)), [TEXT] * (1 + len(cells)) if text else (), mark))
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Iterable[str], kinds: Sequence[str] = (), mark: str = "") -> str:
    """Cells of HTML, each with its attribute."""
    parts = (f"<{tag}{kind}>{cell}</{tag}>" for cell, kind in zip_longest(cells, kinds, fillvalue=""))
    return f"<tr{mark}>{''.join(parts)}</tr>"


def _number(text: str) -> str:
    """A figure with a real minus; other texts as they are."""
    return escape(f"\u2212{text[1:]}" if text.startswith("-") else text)
