"""What the first page of a tearsheet says about a run, as texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_bt.metrics import elapsed_years
from hybrid_bt.records import RunRecord
from hybrid_bt.report.run_json import in_sample_spans
from hybrid_bt.report.style import run_text, sample_stamp
from hybrid_bt.report.tables import HEADLINES, account_summary, headline_rows
from hybrid_bt.texts import stamp_texts

__all__ = ["run_facts", "yearly_returns"]

SHORT = 12  # digits of a checksum


def run_facts(
    record: RunRecord, claim: str, held: Mapping[str, str], *, n_days: int, periods_per_year: int
) -> dict[str, Any]:
    """What `hybrid_bt.report.first_page` reads.

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
        "columns": HEADLINES,
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
    per_year, years = record.bars.bars_per_year, elapsed_years(record.bars.stamps)
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
