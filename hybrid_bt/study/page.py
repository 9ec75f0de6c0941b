"""study.html: the claim, the answers, the pictures and the tables on one page without network."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from hybrid_bt.study.findings import Findings
from hybrid_bt.study.words import claim, verdicts

ACCOUNT_HEAD = (
    *("account", "Sharpe", "CAGR", "max drawdown", "volatility", "turnover/y"),
    *("Sharpe less vol-target", "DSR", "record, years"),
)
SEEDS_NOTE = (
    "<p class='small'>A seed is one member of the ensemble alone. The interquartile mean is over the windows' "
    "ratios, with a stratified bootstrap interval over seeds: it says how much the seed matters, and nothing of "
    "how much luck the bars held.</p>"
)


def page(found: Findings, pictures: Sequence[Path]) -> str:
    """The whole page; the same findings give the same text."""
    plan = found.plan
    taught = (
        "Policies were trained anew for each window."
        if plan.lessons
        else "The frozen policies were trained on these bars."
        if plan.in_sample
        else "The frozen policies were not retrained; every window lies behind their training span."
    )
    method = (
        f"{len(plan.windows)} windows, {plan.n_seeds} seeds, {len(found.summaries)} accounts, "
        f"pairs {', '.join(plan.pairs) or 'none'}. {taught}"
    )
    return _shell().substitute(
        title=html.escape(f"Is it real? {plan.mode} on {found.bars.name}"),
        in_sample=" in" if plan.in_sample else "",
        claim=html.escape(claim(found)),
        verdicts="".join(f"<li>{html.escape(text)}</li>" for text in verdicts(found)),
        accounts=_accounts(found),
        resamples=plan.n_resamples,
        block=f"{found.draws.block_bars:.0f}",
        trials=found.n_trials,
        pictures="".join(_picture(path) for path in pictures),
        seeds=_seeds(found),
        method=html.escape(method),
    )


def _shell() -> Template:
    return Template((resources.files("hybrid_bt.study") / "study.html").read_text(encoding="utf-8"))


def _picture(path: Path) -> str:
    return f'<p><img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"></p>'


def _accounts(found: Findings) -> str:
    return _table(ACCOUNT_HEAD, (_account(found, name) for name in found.summaries))


def _account(found: Findings, name: str) -> tuple[str, ...]:
    ratios, draws, summary = found.ratios.get(name, {}), found.draws, found.summaries[name]
    years = ratios.get("track_record_years", math.nan)
    return (
        name,
        draws.interval("sharpe", name).text(),
        draws.interval("cagr", name).text(percent=True),
        draws.interval("max_drawdown", name).text(percent=True),
        f"{summary.volatility:.1%}",
        f"{summary.turnover_per_year:.1f}",
        "" if name == "vol-target" else draws.difference("sharpe", name, "vol-target").text(plus=True),
        f"{ratios.get('dsr', math.nan):.2f}",
        "never" if math.isinf(years) else f"{years:.1f}",
    )


def _seeds(found: Findings) -> str:
    if not found.seeds:
        return "<p class='small'>No single seeds in this study.</p>"
    numbers = sorted({seed.number for seed in found.seeds})
    by = {(seed.number, seed.account): seed.summary for seed in found.seeds}
    rows = []
    for name in dict.fromkeys(seed.account for seed in found.seeds):
        over = found.interquartile.get((name, "sharpe"))
        alone = (f"{by[number, name].sharpe:.2f}" for number in numbers)
        rows.append((name, *alone, f"{found.summaries[name].sharpe:.2f}", "" if over is None else over.text()))
    head = ("Sharpe ratio", *(f"seed {number}" for number in numbers), "ensemble", "IQM over seeds and windows")
    return _table(head, rows) + SEEDS_NOTE


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    header = "".join(f"<th>{html.escape(text)}</th>" for text in head)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        lines.append(f"<tr{' class=own' if row[0] == 'hybrid' else ''}>{cells}</tr>")
    return f"<table><tr>{header}</tr>{''.join(lines)}</table>"
