"""The page on top of the tearsheet: what is claimed, on which bars, at which costs, and whether two programs agree.

Plain HTML from plain texts, so that it can be put before quantstats' report or stand alone where there is none.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hybrid_bt.report.cross_check import Check

__all__ = ["alone", "first_page"]

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
NO_CLAIM = (
    "No claim was asked for: `hybrid-bt run` makes it, with an interval and the number of trials, and puts it here."
)


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
        f"<h1>{_text(facts['title'])}</h1>",
        f'<p class="grey">{_text(facts["subtitle"])}</p>',
        f'<p class="stamp">{_text(facts["stamp"])}</p>' if facts["stamp"] else "",
        f'<p class="claim">{_text(facts["claim"] or NO_CLAIM)}</p>',
        _table(("", ""), facts["facts"], text=True),
        "<h2>Accounts, all net, on the same bars and at the same costs</h2>",
        _table(("account", *facts["columns"]), facts["accounts"], chief=True),
        _cross_check(checks, facts["reasons"]) if checks else "",
        _list(facts["notes"]),
    ]
    return f'<style>{STYLE}</style><section class="first">{"".join(body)}</section>'


def alone(facts: dict[str, Any], why: str, years: Sequence[Sequence[str]], picture: str = "") -> str:
    """A whole page for where quantstats has none: the same, returns by year, and a picture (a data URL)."""
    image = f'<img src="{picture}" alt="Equity and drawdown">' if picture else ""
    by_year = "<h2>Return by calendar year</h2>" + _table(("year", *facts["held"]), years) if years else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(facts["title"])}</title></head>'
        f'<body style="margin:30px">{first_page(facts)}<section class="first"><p class="stamp">{_text(why)}</p>'
        f"{by_year}{image}<p>The tables beside this page hold everything that the run recorded.</p></section>"
        "</body></html>\n"
    )


def _cross_check(checks: Sequence[Check], reasons: dict[str, str]) -> str:
    rows = []
    for check in checks:
        values = "".join(f"<td>{_value(check.metric, value)}</td>" for value in (check.ours, check.alike, check.theirs))
        mark = "" if check.agrees else ' class="bad"'
        gap = "0" if check.unexplained == 0.0 else f"{check.unexplained:.0e}"
        rows.append(
            f'<tr><td>{_text(check.account)}</td><td class="text">{check.metric}</td>{values}'
            f'<td{mark}>{gap}</td><td class="text">{_text(reasons[check.metric])}</td></tr>'
        )
    agree = all(check.agrees for check in checks)
    said = (
        "Two programs, the same returns: nothing is left unexplained."
        if agree
        else "The two programs DISAGREE beyond conventions and rounding: one of them is wrong."
    )
    head = (
        '<tr><th>account</th><th class="text">metric</th><th>hybrid_bt</th><th>same, quantstats\' conventions</th>'
        '<th>quantstats</th><th>unexplained</th><th class="text">convention</th></tr>'
    )
    return (
        f'<h2>Cross-check</h2><p class="{"grey" if agree else "stamp"}">{said} The first column stands in '
        "summary_pnl.csv, the third in the report below; between them lie conventions only.</p>"
        f"<table>{head}{''.join(rows)}</table>"
    )


def _value(metric: str, value: float) -> str:
    if math.isnan(value):
        return "none"
    return (f"{value:.4f}" if metric in ("Sharpe", "Sortino") else f"{value:.3%}").replace("-", "\u2212")


def _table(head: Iterable[str], rows: Iterable[Sequence[str]], *, chief: bool = False, text: bool = False) -> str:
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    kind = ' class="text"' if text else ""
    lines = [
        f"<tr{' class=chief' if chief and row == 0 else ''}>"
        + "".join(f"<td{kind}>{_number(cell) if column else _text(cell)}</td>" for column, cell in enumerate(cells))
        + "</tr>"
        for row, cells in enumerate(rows)
    ]
    return f"<table>{'' if text else f'<tr>{names}</tr>'}{''.join(lines)}</table>"


def _number(text: str) -> str:
    """A figure with a real minus; other texts as they are."""
    return _text(f"\u2212{text[1:]}" if text.startswith("-") else text)


def _list(notes: Sequence[str]) -> str:
    return f"<h2>Notes</h2><ul>{''.join(f'<li>{_text(note)}</li>' for note in notes)}</ul>" if notes else ""


def _text(text: str) -> str:
    return html.escape(text)
