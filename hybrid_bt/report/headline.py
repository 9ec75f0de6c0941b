"""The summary of a run as people read it: one row of texts an account, the same in the terminal and on pages."""

from __future__ import annotations

from hybrid_bt.records import RunRecord
from hybrid_bt.report.tables import summaries

__all__ = ["HEADLINES", "headline_rows"]

HEADLINES = ("end value", "CAGR", "Sharpe", "Sortino", "max drawdown", "volatility", "turnover/y", "costs")


def headline_rows(record: RunRecord) -> list[tuple[str, ...]]:
    """Account, then `HEADLINES`; `hybrid` first."""
    return [
        (
            account,
            f"{s.end_value:,.0f}",
            f"{s.cagr:.2%}",
            f"{s.sharpe:.2f}",
            f"{s.sortino:.2f}",
            f"{s.max_drawdown:.2%}",
            f"{s.volatility:.2%}",
            f"{s.turnover_per_year:.2f}",
            f"{s.costs:,.0f}",
        )
        for account, s in summaries(record).items()
    ]
