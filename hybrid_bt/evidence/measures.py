"""The headline measures of many return series at once: the columns of a (T, K) array.

The same formulas as `hybrid_bt.metrics`, which takes one equity curve; a test holds the two together. They are written
over columns because a bootstrap asks for them thousands of times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

__all__ = ["Measure", "measures"]

FloatArray = NDArray[np.float64]
Measure = Callable[[FloatArray], FloatArray]  #: (T, K) simple returns -> (K,)


def measures(bars_per_year: float, years: float) -> dict[str, Measure]:
    """Name -> measure, for series of `years` elapsed years; names and signs as in `summary_pnl.csv`."""
    return {
        "sharpe": partial(_sharpe, bars_per_year=bars_per_year),
        "cagr": partial(_cagr, years=years),
        "max_drawdown": _max_drawdown,
        "volatility": partial(_volatility, bars_per_year=bars_per_year),
        "sortino": partial(_sortino, bars_per_year=bars_per_year),
    }


def _sharpe(returns: FloatArray, bars_per_year: float) -> FloatArray:
    return _ratio(returns, returns.std(axis=0, ddof=1), bars_per_year)


def _sortino(returns: FloatArray, bars_per_year: float) -> FloatArray:
    return _ratio(returns, np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2, axis=0)), bars_per_year)


def _ratio(returns: FloatArray, risk: FloatArray, bars_per_year: float) -> FloatArray:
    mean = returns.mean(axis=0)
    out = np.full(mean.shape, np.nan)
    ratio: FloatArray = np.sqrt(bars_per_year) * np.divide(mean, risk, out=out, where=risk > 0.0)
    return ratio


def _volatility(returns: FloatArray, bars_per_year: float) -> FloatArray:
    deviation: FloatArray = returns.std(axis=0, ddof=1) * np.sqrt(bars_per_year)
    return deviation


def _cagr(returns: FloatArray, years: float) -> FloatArray:
    grown: FloatArray = np.expm1(np.log1p(np.maximum(returns, -1.0 + 1e-12)).sum(axis=0) / years)
    return grown


def _max_drawdown(returns: FloatArray) -> FloatArray:
    wealth = np.cumprod(1.0 + returns, axis=0)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=0), 1.0)
    deepest: FloatArray = np.minimum((wealth / peak).min(axis=0) - 1.0, 0.0)
    return deepest
