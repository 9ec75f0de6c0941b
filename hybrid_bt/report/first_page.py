"""The page on top of the tearsheet: what is claimed, on which bars, at which costs, and what the accounts did.

`first_page` is a section of plain HTML, so that it can be put before quantstats' report; `alone` is a whole page for
where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import FloatArray, StampArray
from hybrid_bt.account.records import RunRecord
from hybrid_bt.files.texts import TEXT, html_image, html_table, stamp_texts
from hybrid_bt.report.style import in_sample_spans, percent, run_text, sample_stamp
from hybrid_bt.report.tables import HEADLINES, account_summary, headline_rows

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
NO_CLAIM = (
    "No claim was asked for: `hybrid-bt run` makes it, with an interval and the number of trials, and puts it here."
)


def title_of(record: RunRecord) -> str:
    """What is compared."""
    return f"hybrid against {record.benchmark}"


def first_page(record: RunRecord, claim: str, checked: str = "") -> str:
    """A `<section>` with its style; `checked` is the HTML of the cross-check, if there is one."""
    stamp = sample_stamp(record)
    notes = "".join(f"<li>{escape(note)}</li>" for note in record.notes)
    body = [
        f"<h1>{escape(title_of(record))}</h1>",
        f'<p class="grey">{escape(run_text(record))}</p>',
        f'<p class="stamp">{escape(stamp)}</p>' if stamp else "",
        f'<p class="claim">{escape(claim or NO_CLAIM)}</p>',
        html_table((), _facts(record), kinds=(TEXT, TEXT)),
        "<h2>Accounts, all net, on the same bars and at the same costs</h2>",
        html_table(("account", *HEADLINES), headline_rows(record), chief="hybrid"),
        checked,
        f"<h2>Notes</h2><ul>{notes}</ul>" if notes else "",
    ]
    return f'<style>{STYLE}</style><section class="first">{"".join(body)}</section>'


def alone(record: RunRecord, claim: str, why: str, held: Mapping[str, FloatArray], picture: Path) -> str:
    """A whole page: the same, why there is no more, what the accounts held earned by year, a picture if it exists."""
    years = _yearly_returns(held, record.bars.stamps)
    by_year = "<h2>Return by calendar year</h2>" + html_table(("year", *held), years) if years else ""
    image = html_image(picture, "Equity and drawdown") if picture.exists() else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title_of(record))}</title></head>'
        f'<body style="margin:30px">{first_page(record, claim)}<section class="first"><p class="stamp">{escape(why)}'
        f"</p>{by_year}{image}<p>The tables beside this page hold everything that the run recorded.</p></section>"
        "</body></html>\n"
    )


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    days = stamp_texts(record.bars.stamps.astype("datetime64[D]"))
    spans = [f"{days[first]} to {days[last]}" for first, last in in_sample_spans(record.in_sample)]
    trained = record.facts.get("span", {}).get("policies_trained_until")
    behind = f"; the policies were trained until {trained}" if trained else ""
    sample = f"IN SAMPLE: {', '.join(spans)}" if spans else "out of sample, all bars"
    checksum = record.facts.get("data", {}).get("sha256", record.bars.sha256)  # of the warm-up too, where it is known
    paid = account_summary(record, "hybrid").costs
    policies = record.facts.get("policies", {})
    return [
        ("mode", str(record.config.get("mode", "not named"))),
        ("bars", f"{record.bars.n_bars:,} of {record.bars.n_symbols} symbols, {days[0]} to {days[-1]}"),
        ("sample", sample + behind),
        ("costs", f"{run_text(record).split(' · ')[-1]}; the hybrid paid {paid:,.0f}"),
        ("data", f"{record.bars.name}, sha256 {checksum[:SHORT]}"),
        *((name, f"{policy['file']}, sha256 {policy['sha256'][:SHORT]}") for name, policy in policies.items()),
    ]


def last_rows(periods: StampArray) -> NDArray[np.intp]:
    """Row 0 and the last row of each day or year, of (T,) days or years."""
    last = np.flatnonzero(np.append(periods[1:] != periods[:-1], True))
    return last if last[0] == 0 else np.concatenate(([0], last))


def _yearly_returns(held: Mapping[str, FloatArray], stamps: StampArray) -> list[tuple[str, ...]]:
    """Calendar year, then each account's return in it; the first and last year may be parts."""
    years = stamps.astype("datetime64[Y]")
    rows = last_rows(years)
    curves = [equity[rows] for equity in held.values()]
    return [(str(years[rows[k]]), *(_growth(curve[k - 1], curve[k]) for curve in curves)) for k in range(1, len(rows))]


def _growth(before: float, after: float) -> str:
    return percent(after / before - 1.0, digits=2) if before > 0.0 else "none"
