"""study.html: the claim, the answers, the pictures and the tables on one page without network."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from hybrid_bt.study.findings import Findings
from hybrid_bt.study.words import claim, interval, verdicts

__all__ = ["page"]

SHELL = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>
body{{font:15px/1.55 "DejaVu Sans","Segoe UI",Helvetica,Arial,sans-serif;color:#222}}
body{{max-width:1160px;margin:2em auto;padding:0 20px}} img{{max-width:100%}} li{{margin:3px 0}}
h1{{font-size:21px}} h2{{font-size:17px;margin-top:2em}} .small{{color:#767676;font-size:13px}}
.claim{{font-size:17px;border-left:4px solid #0072B2;padding-left:14px}} .in{{border-color:#D55E00;color:#D55E00}}
table{{border-collapse:collapse;font-size:13px}}
th,td{{padding:3px 10px;text-align:right;border-bottom:1px solid #e8e8e8}}
th:first-child,td:first-child{{text-align:left}} th{{color:#767676;font-weight:normal}} tr.own td{{font-weight:bold}}
</style></head><body>
<h1>{title}</h1>
<p class="claim{in_sample}">{claim}</p>
<ul>{verdicts}</ul>
<h2>Accounts on the same bars at the same costs</h2>
{accounts}
<p class="small">95 % intervals by the stationary block bootstrap ({resamples} resamples, blocks of {block:.0f} bars on
average). DSR: probability that the Sharpe ratio is above 0 after {trials} trials, which resemble one another, so that
it flatters. Record: years of such returns that it takes to be 95 % sure of a ratio above 0.</p>
{pictures}
<h2>Seeds</h2>
{seeds}
<h2>What was done</h2>
<p class="small">{method}</p>
<p class="small">Research and education, not financial advice.</p>
</body></html>
"""


def page(found: Findings, pictures: Sequence[Path]) -> str:
    """The whole page; the same findings give the same text."""
    plan = found.plan
    method = (
        f"{len(plan.windows)} windows, {plan.n_seeds} seeds, {len(found.summaries)} accounts, "
        f"pairs {', '.join(plan.pairs) or 'none'}. "
        + (
            "Policies were trained anew for each window."
            if plan.lessons
            else "The frozen policies were not retrained; every window lies behind their training span."
            if not plan.in_sample
            else "The frozen policies were trained on these bars."
        )
    )
    return SHELL.format(
        title=html.escape(f"Is it real? {plan.mode} on {found.bars.name}"),
        in_sample=" in" if plan.in_sample else "",
        claim=html.escape(claim(found)),
        verdicts="".join(f"<li>{html.escape(text)}</li>" for text in verdicts(found)),
        accounts=_accounts(found),
        resamples=plan.n_resamples,
        block=found.draws.block_bars,
        trials=found.n_trials,
        pictures="".join(_picture(path) for path in pictures),
        seeds=_seeds(found),
        method=html.escape(method),
    )


def _picture(path: Path) -> str:
    return f'<p><img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"></p>'


def _accounts(found: Findings) -> str:
    rows = []
    for name, summary in found.summaries.items():
        ratios = found.ratios.get(name, {})
        years = ratios.get("track_record_years", math.nan)
        rows.append(
            (
                name,
                interval(found.draws.interval("sharpe", name)),
                interval(found.draws.interval("cagr", name), percent=True),
                interval(found.draws.interval("max_drawdown", name), percent=True),
                f"{summary.volatility:.1%}",
                f"{summary.turnover_per_year:.1f}",
                ""
                if name == "vol-target"
                else interval(found.draws.difference("sharpe", name, "vol-target"), plus=True),
                f"{ratios.get('dsr', math.nan):.2f}",
                "never" if math.isinf(years) else f"{years:.1f}",
            )
        )
    return _table(
        (
            "account",
            "Sharpe",
            "CAGR",
            "max drawdown",
            "volatility",
            "turnover/y",
            "Sharpe less vol-target",
            "DSR",
            "record, years",
        ),
        rows,
    )


def _seeds(found: Findings) -> str:
    if not found.seeds:
        return "<p class='small'>No single seeds in this study.</p>"
    accounts = list(dict.fromkeys(seed.account for seed in found.seeds))
    numbers = sorted({seed.number for seed in found.seeds})
    by = {(seed.number, seed.account): seed.summary for seed in found.seeds}
    rows = []
    for name in accounts:
        over = found.interquartile.get((name, "sharpe"))
        rows.append(
            (
                name,
                *(f"{by[number, name].sharpe:.2f}" for number in numbers),
                f"{found.summaries[name].sharpe:.2f}",
                "" if over is None else interval(over),
            )
        )
    head = ("Sharpe ratio", *(f"seed {number}" for number in numbers), "ensemble", "IQM over seeds and windows")
    return _table(head, rows) + (
        "<p class='small'>A seed is one member of the ensemble alone. The interquartile mean is over the windows' "
        "ratios, with a stratified bootstrap interval over seeds: it says how much the seed matters, and nothing of "
        "how much luck the bars held.</p>"
    )


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    header = "".join(f"<th>{html.escape(text)}</th>" for text in head)
    own = {True: " class=own", False: ""}
    body = "".join(
        f"<tr{own[row[0] == 'hybrid']}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{header}</tr>{body}</table>"
