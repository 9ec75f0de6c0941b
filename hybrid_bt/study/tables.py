"""The CSV files of a study; floats read back exactly, NaN is empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

from hybrid_bt.metrics import Summary
from hybrid_bt.study.findings import COST_LEVELS_BPS, Findings

__all__ = ["TABLES", "csv_text"]

Row = tuple[object, ...]
MEASURES = ("sharpe", "cagr", "max_drawdown", "volatility", "sortino")
SHOWN = ("sharpe", "cagr", "max_drawdown", "volatility", "turnover_per_year", "costs")


def csv_text(rows: Iterator[Row]) -> str:
    """RFC 4180 with \\n."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return value


def _ablation(found: Findings) -> Iterator[Row]:
    differences = [
        f"sharpe_less_{other}_{part}" for other in ("vol-target", "equal-weight") for part in ("", "low", "high")
    ]
    yield (
        "account",
        *(f"{m}{part}" for m in MEASURES for part in ("", "_low", "_high")),
        *(name.rstrip("_") for name in differences),
        "turnover_per_year",
        "costs",
        "psr",
        "dsr",
        "track_record_years",
    )
    for name, summary in found.summaries.items():
        ratios = found.ratios.get(name, {})
        yield (
            name,
            *(value for m in MEASURES for value in found.draws.interval(m, name)),
            *(v for other in ("vol-target", "equal-weight") for v in found.draws.difference("sharpe", name, other)),
            summary.turnover_per_year,
            summary.costs,
            *(ratios.get(key, float("nan")) for key in ("psr", "dsr", "track_record_years")),
        )


def _windows(found: Findings) -> Iterator[Row]:
    yield "window", "start", "end", "account", *SHOWN
    for number, (window, summaries) in enumerate(found.windows):
        start, end = window.name.split(" to ")
        for name, summary in summaries.items():
            yield number, start, end, name, *_shown(summary)


def _seeds(found: Findings) -> Iterator[Row]:
    yield "seed", "account", *SHOWN
    for seed in found.seeds:
        yield seed.number, seed.account, *_shown(seed.summary)
    for (account, measure), value in found.interquartile.items():
        yield f"IQM of windows {measure}", account, *value


def _costs(found: Findings) -> Iterator[Row]:
    yield "bps_per_side", "account", *SHOWN
    for name, summaries in found.costs.items():
        for bps, summary in zip(COST_LEVELS_BPS, summaries, strict=True):
            yield bps, name, *_shown(summary)
    for name, bps in found.break_even.items():
        yield bps, f"{name} breaks even", *("" for _ in SHOWN)


def _conditions(found: Findings) -> Iterator[Row]:
    yield "condition", "account", "bars", "total_return", "return_per_year", "volatility", "sharpe", "max_drawdown"
    yield from found.conditions


def _cells(found: Findings) -> Iterator[Row]:
    yield "cell", "failure"
    yield from found.failures.items()


def _shown(summary: Summary) -> Row:
    return tuple(getattr(summary, name) for name in SHOWN)


#: file name -> its rows, the header first
TABLES: dict[str, Callable[[Findings], Iterator[Row]]] = {
    "ablation.csv": _ablation,
    "windows.csv": _windows,
    "seeds.csv": _seeds,
    "costs.csv": _costs,
    "conditional.csv": _conditions,
    "failures.csv": _cells,
}
