"""The CSV files of a study, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from hybrid_bt.evidence import Condition
from hybrid_bt.metrics import Summary
from hybrid_bt.study.findings import COST_LEVELS_BPS, Findings

Row = tuple[object, ...]
MEASURES = ("sharpe", "cagr", "max_drawdown", "volatility", "sortino")
HURDLES, RATIOS = ("vol-target", "equal-weight"), ("psr", "dsr", "track_record_years")
SHOWN = ("sharpe", "cagr", "max_drawdown", "volatility", "turnover_per_year", "costs")


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
    yield Condition._fields
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
