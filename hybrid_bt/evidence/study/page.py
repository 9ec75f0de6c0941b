"""What a study writes: study.html, one page in plain words that needs no network, the claim first; CSV and PNG."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from hybrid_bt.account.conditional import Condition
from hybrid_bt.account.metrics import Summary
from hybrid_bt.evidence import UNKNOWN, Interval, side_bps
from hybrid_bt.evidence.ratios import PASSED
from hybrid_bt.evidence.study import Findings
from hybrid_bt.evidence.study.pictures import write_pictures
from hybrid_bt.evidence.study.schedule import COST_LEVELS_BPS, HURDLES
from hybrid_bt.files import whole_folder
from hybrid_bt.files.texts import cell, csv_of_rows, end_days, escape, html_image, html_table
from hybrid_bt.report.style import COLORS

Row = tuple[object, ...]
MEASURES = ("sharpe", "cagr", "max_drawdown", "volatility", "sortino")
RATIOS = ("psr", "dsr", "track_record_years")
SHOWN = ("sharpe", "cagr", "max_drawdown", "volatility", "turnover_per_year", "costs")
ACCOUNT_HEAD = (
    *("account", "Sharpe", "CAGR", "max drawdown", "volatility", "turnover/y"),
    *("Sharpe less vol-target", "DSR", "record, years"),
)
#: what somebody would ask about, and the two accounts whose difference answers it
QUESTIONS = (
    ("the hybrid beats equal weight at the same volatility without learning", "hybrid", "vol-target"),
    ("the hybrid beats equal weight held", "hybrid", "equal-weight"),
    ("SAC beats equal weight at the same volatility", "sac", "vol-target"),
    ("the pairs add to SAC", "hybrid", "sac"),
    ("the learned gate adds to a constant one (r = 0)", "hybrid", "gate r=0"),
    ("the gate's timing matters (against r in shuffled order)", "hybrid", "shuffled gate"),
)
SEEDS_NOTE = (
    "<p class='small'>A seed is one member of the ensemble alone. The interquartile mean is over the windows' "
    "ratios, with a stratified bootstrap interval over seeds: it says how much the seed matters, and nothing of "
    "how much luck the bars held.</p>"
)


def claim(found: Findings) -> str:
    """One sentence: what, on which bars, how sure, after how many trials."""
    plan, bars, side = found.plan, found.bars, side_bps(found.plan.task.config.costs)
    first, last = end_days(bars.stamps)
    sample = "IN SAMPLE" if plan.in_sample else "Out of sample"
    worth = cell(found.ratios.get("hybrid", {}).get("passed", math.nan), ".2f", UNKNOWN)
    return (
        f"{sample} on {bars.name}, {first} to {last}, net of {side:g} bps a side: {plan.task.mode} has a Sharpe ratio "
        f"of {found.draws.interval('sharpe', 'hybrid').said()} and a drawdown of "
        f"{found.draws.interval('max_drawdown', 'hybrid').said(percent=True)} (95 % intervals); "
        f"{found.n_trials} configurations were tried, {PASSED} {worth}."
    )


def verdicts(found: Findings) -> list[str]:
    """Answers, one sentence each."""
    called = found.plan.leg_accounts()
    sac = called.get("sac", "sac").upper()
    said = [
        _answer(what.replace("SAC", sac), found.draws.difference("sharpe", account, other))
        for what, *pair in QUESTIONS
        for account, other in [[called.get(name, name) for name in pair]]
        if {account, other} <= set(found.equity)
    ]
    said += [said_of_costs(name, bps) for name, bps in found.break_even.items()]
    late = found.draws.difference("sharpe", "one bar late", "hybrid")
    said.append(f"Every decision one bar late changes the Sharpe ratio by {late.said(plus=True)}.")
    if found.overfitting is not None:
        said.append(
            f"Choosing the best of these {len(found.equity)} accounts on half of the bars gives one that is below the "
            f"median on the other half in {100 * found.overfitting:.0f} % of all splits (PBO)."
        )
    failed = "; ".join(f"{cell}: {why}" for cell, why in found.failures.items())
    return [f"{len(found.failures)} CELLS FAILED: {failed}", *said] if failed else said


def said_of_costs(name: str, bps: float) -> str:
    """From which costs a side on an account no longer pays; it is infinite where it pays at all that were tried."""
    pays, fails = "grows faster than vol-target", "grows no faster than vol-target"
    if name == "kalman":
        pays, fails = "is worth something", "is worth nothing"
    if math.isinf(bps):
        return f"{name} {pays} at all of the costs tried, up to {COST_LEVELS_BPS[-1]:g} bps a side."
    return f"{name} {fails} from {f'{bps:.1f} bps a side' if bps else 'no costs'} on."


def _answer(what: str, difference: Interval) -> str:
    verdict = difference.verdict(what, f"against “{what}”")
    return f"{verdict[0].upper()}{verdict[1:]}: difference in Sharpe ratio {difference.said(plus=True)}."


def page(found: Findings, pictures: Sequence[Path]) -> str:
    """The whole page; the same findings give the same text."""
    plan = found.plan
    taught = "The frozen policies were not retrained; every window lies behind their training span."
    if plan.lessons:
        taught = "Policies were trained anew for each window."
    elif plan.in_sample:
        taught = "The frozen policies were trained on these bars."
    counts = f"{len(plan.windows)} windows, {plan.n_seeds} seeds, {len(found.summaries)} accounts"
    shell = (resources.files("hybrid_bt.evidence.study") / "study.html").read_text(encoding="utf-8")
    return Template(shell).substitute(
        COLORS,
        title=escape(f"Is it real? {plan.task.mode} on {found.bars.name}"),
        in_sample=" in" if plan.in_sample else "",
        claim=escape(claim(found)),
        verdicts="".join(f"<li>{escape(text)}</li>" for text in verdicts(found)),
        accounts=html_table(ACCOUNT_HEAD, (_account(found, name) for name in found.summaries), chief="hybrid"),
        resamples=plan.n_resamples,
        block=f"{found.draws.block_bars:.0f}",
        trials=found.n_trials,
        pictures="".join(f"<p>{html_image(path, path.stem)}</p>" for path in pictures),
        seeds=_seeds_table(found),
        method=escape(f"{counts}, pairs {', '.join(plan.task.market.pairs) or 'none'}. {taught}"),
    )


def _account(found: Findings, name: str) -> tuple[str, ...]:
    ratios, draws, summary = found.ratios.get(name, {}), found.draws, found.summaries[name]
    years = ratios.get("track_record_years", math.nan)
    return (
        name,
        draws.interval("sharpe", name).text(),
        draws.interval("cagr", name).text(percent=True),
        draws.interval("max_drawdown", name).text(percent=True),
        cell(summary.volatility, ".1%"),
        cell(summary.turnover_per_year, ".1f"),
        "" if name == "vol-target" else draws.difference("sharpe", name, "vol-target").text(plus=True),
        cell(ratios.get("dsr", math.nan), ".2f"),
        "never" if math.isinf(years) else cell(years, ".1f"),
    )


def _seeds_table(found: Findings) -> str:
    if not found.seeds:
        return "<p class='small'>No single seeds in this study.</p>"
    numbers = sorted({number for number, _ in found.seeds})
    rows = []
    for name in dict.fromkeys(account for _, account in found.seeds):
        over = found.interquartile.get((name, "sharpe"))
        alone = (cell(found.seeds[number, name].sharpe, ".2f") for number in numbers)
        rows.append((name, *alone, cell(found.summaries[name].sharpe, ".2f"), "" if over is None else over.text()))
    head = ("Sharpe ratio", *(f"seed {number}" for number in numbers), "ensemble", "IQM over seeds and windows")
    return html_table(head, rows, chief="hybrid") + SEEDS_NOTE


def _ablation(found: Findings) -> Iterator[Row]:
    measured = [f"{measure}{part}" for measure in MEASURES for part in ("", "_low", "_high")]
    less = [f"sharpe_less_{hurdle}{part}" for hurdle in HURDLES for part in ("", "_low", "_high")]
    yield "account", *measured, *less, "turnover_per_year", "costs", *RATIOS
    for name, summary in found.summaries.items():
        ratios = found.ratios.get(name, {})
        yield (
            name,
            *(value for measure in MEASURES for value in found.draws.interval(measure, name)),
            *(value for hurdle in HURDLES for value in found.draws.difference("sharpe", name, hurdle)),
            summary.turnover_per_year,
            summary.costs,
            *(ratios.get(key, math.nan) for key in RATIOS),
        )


def _windows(found: Findings) -> Iterator[Row]:
    yield "window", "start", "end", "account", *SHOWN
    for number, (window, summaries) in enumerate(found.windows):
        start, end = window.name.split(" to ")
        for name, summary in summaries.items():
            yield number, start, end, name, *_shown(summary)


def _seeds(found: Findings) -> Iterator[Row]:
    yield "seed", "account", *SHOWN
    for (number, account), summary in found.seeds.items():
        yield number, account, *_shown(summary)
    for (account, measure), value in found.interquartile.items():
        yield f"IQM of windows {measure}", account, *value


def _costs(found: Findings) -> Iterator[Row]:
    yield "bps_per_side", "account", *SHOWN
    for name, summaries in found.costs.items():
        for bps, summary in zip(COST_LEVELS_BPS, summaries, strict=True):
            yield bps, name, *_shown(summary)
    for name, bps in found.break_even.items():
        yield bps, f"{name} breaks even", *("" for _ in SHOWN)


def _shown(summary: Summary) -> Row:
    return tuple(getattr(summary, name) for name in SHOWN)


#: file name -> its rows, the header first
TABLES: dict[str, Callable[[Findings], Iterable[Row]]] = {
    "ablation.csv": _ablation,
    "windows.csv": _windows,
    "seeds.csv": _seeds,
    "costs.csv": _costs,
    "conditional.csv": lambda found: (Condition._fields, *found.conditions),
    "failures.csv": lambda found: (("cell", "failure"), *found.failures.items()),
}


def write_study(found: Findings, out: Path) -> list[Path]:
    """Write the page, the tables and the pictures, all of them or none."""
    with whole_folder(out, tuple(TABLES)) as folder:
        pictures = write_pictures(found, folder)
        for table, rows in TABLES.items():
            (folder / table).write_text(csv_of_rows(rows(found)), encoding="utf-8", newline="")
        (folder / "study.html").write_text(page(found, pictures), encoding="utf-8", newline="")
        return [out / name for name in sorted(os.listdir(folder))]
