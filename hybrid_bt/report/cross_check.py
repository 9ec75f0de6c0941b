"""Headline metrics of one account three times: ours, ours by quantstats' conventions, quantstats' own.

The first two differ by conventions alone, which the table names. The last two come from two programs that were given
the same returns and the same number of periods a year, so any difference between them that is not rounding is a defect
of one of the two.

Conventions of quantstats: one return a day, a whole number m of periods a year, (number of returns) / m years.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import metrics

FloatArray = NDArray[np.float64]

ROUNDING = 1e-9  #: relative to the larger value; two orders of summation differ by some 1e-13
METRICS = ("total return", "CAGR", "Sharpe", "Sortino", "volatility", "max drawdown")


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
