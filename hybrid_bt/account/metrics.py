"""What an equity curve is worth: growth, risk, turnover, costs.

Symbols: e_t equity at the close of row t (row 0 is the untouched start value), r_t = e_t / e_(t-1) - 1 its simple
return, m bars per year, Y elapsed years. All measures are net of whatever the equity is net of, with a risk-free rate
of 0. Fractions are fractions (0.02 is two percent).

`measures` has the same formulas over the columns of a (T, K) array, because a bootstrap asks for them thousands of
times; a test holds the two together.

A measure that has no value is NaN, and never a warning: the Sharpe ratio of an account that did not move, the Sortino
ratio of one that never lost, a rate per year over no time at all. An account that is ruined (e <= 0) returns -1 on that
bar, 0 on every later one, and has a CAGR of -1; its drawdown goes on below -1 with what it owes.

Sources: Sharpe, W. (1994), The Sharpe Ratio, J. of Portfolio Management 21(1), eq. 5-6; Sortino, F. and Price, L.
(1994), Performance Measurement in a Downside Risk Framework, J. of Investing 3(3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
StampArray = NDArray[np.datetime64]
Measure = Callable[[FloatArray], FloatArray]  #: (T, K) simple returns -> (K,)

DAYS_PER_YEAR = 365.25
# Equity ratios carry rounding of some 1e-16, so a spread of returns below this is rounding and not risk.
RETURN_RESOLUTION = 1e-14


class Summary(NamedTuple):
    """One account in one row: the columns of `summary_pnl.csv` after `account`."""

    start_date: np.datetime64
    end_date: np.datetime64
    start_value: float  #: account currency
    end_value: float
    pnl: float  #: end_value - start_value
    return_pct: float  #: percent
    cagr: float  #: fraction per year
    sharpe: float  #: per year
    sortino: float  #: per year
    max_drawdown: float  #: fraction, <= 0
    volatility: float  #: fraction per year
    turnover_per_year: float  #: two-way: 2.0 is the whole account bought once and sold once
    costs: float  #: account currency: spread, fees and borrow interest


def elapsed_years(stamps: StampArray) -> float:
    """Calendar years (365.25 days) from the first stamp to the last; 0.0 for fewer than two."""
    if len(stamps) < 2:
        return 0.0
    return float((stamps[-1] - stamps[0]) / np.timedelta64(1, "s")) / (DAYS_PER_YEAR * 86_400)


def simple_returns(equity: FloatArray) -> FloatArray:
    """r_t = e_t / e_(t-1) - 1.

    Parameters
    ----------
    equity : ndarray of shape (T,)

    Returns
    -------
    ndarray of shape (T - 1,)
        Never below -1, which is all there was; 0 on a bar that follows ruin (e_(t-1) <= 0).
    """
    return growth_of(equity[1:], equity[:-1]) - 1.0


def growth_of(after: FloatArray, before: FloatArray) -> FloatArray:
    """What a unit became, >= 0; 1 where there was nothing before."""
    return np.maximum(np.divide(after, before, out=np.ones_like(before), where=~(before <= 0.0)), 0.0)


def volatility(equity: FloatArray, bars_per_year: float) -> float:
    """Sample standard deviation (ddof 1) of simple returns times sqrt(m); NaN for fewer than two returns."""
    returns = simple_returns(equity)
    return float(returns.std(ddof=1)) * math.sqrt(bars_per_year) if len(returns) > 1 else math.nan


def sharpe(equity: FloatArray, bars_per_year: float) -> float:
    """Annualised Sharpe ratio, sqrt(m) * mean(r) / std(r, ddof 1), risk-free rate 0.

    The mean is arithmetic, over all bars, idle ones too. NaN for fewer than two returns or where they do not vary.
    """
    returns = simple_returns(equity)
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return _ratio(returns, spread, bars_per_year)


def sortino(equity: FloatArray, bars_per_year: float) -> float:
    """Annualised Sortino ratio, sqrt(m) * mean(r) / sqrt(mean(min(r, 0)^2)), target 0.

    The downside deviation is taken over all bars, not over the losing ones alone. NaN where no bar lost.
    """
    returns = simple_returns(equity)
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2))) if len(returns) else 0.0
    return _ratio(returns, downside, bars_per_year)


def _ratio(returns: FloatArray, risk: float, bars_per_year: float) -> float:
    if risk < RETURN_RESOLUTION:
        return math.nan
    return math.sqrt(bars_per_year) * float(returns.mean()) / risk


def cagr(start_value: float, end_value: float, years: float) -> float:
    """Compound growth per calendar year, (end / start)^(1 / Y) - 1.

    -1 for an account that ended at or below 0, NaN where no time passed or nothing was there at the start.
    """
    if years <= 0.0 or start_value <= 0.0:
        return math.nan
    if end_value <= 0.0:
        return -1.0
    with np.errstate(over="ignore"):  # a few bars of intraday luck compound beyond any float: inf
        return float(np.expm1(np.log(end_value / start_value) / years))


def drawdown(equity: FloatArray) -> FloatArray:
    """e_t / max(e_0 .. e_t) - 1.

    Parameters
    ----------
    equity : ndarray of shape (T,)

    Returns
    -------
    ndarray of shape (T,)
        <= 0; below -1 where the account owes money.
    """
    peak = np.maximum.accumulate(equity)
    return np.divide(equity, peak, out=np.ones_like(equity), where=~(peak <= 0.0)) - 1.0


def max_drawdown(equity: FloatArray) -> float:
    """The deepest drawdown, a fraction <= 0; 0.0 for an empty curve."""
    return float(drawdown(equity).min()) if len(equity) else 0.0


def turnover_per_year(traded_notional: float, equity: FloatArray, years: float) -> float:
    """Sum of |size| * price over all fills, per unit of mean equity, per year.

    Two-way: buys and sells both count, so replacing the whole account by another is 2. The mean is over bars with
    positive equity; NaN where there is none or no time passed.
    """
    solvent = equity[~(equity <= 0.0)]
    mean = float(solvent.mean()) if len(solvent) else 0.0
    return traded_notional / mean / years if years > 0.0 and mean > 0.0 else math.nan


def summarise(
    equity: FloatArray, stamps: StampArray, bars_per_year: float, *, traded_notional: float, costs: float
) -> Summary:
    """Every measure of one account.

    Parameters
    ----------
    equity : ndarray of shape (T,)
        Marked at each close, net of costs; row 0 is the start value.
    stamps : ndarray of datetime64, shape (T,)
        The CAGR and the turnover are per elapsed calendar year between the first and the last.
    bars_per_year : float
        Annualises Sharpe ratio, Sortino ratio and volatility.
    traded_notional : float
        Sum of |size| * price over the fills.
    costs : float
        Sum of commissions and borrow interest.

    Returns
    -------
    Summary
    """
    start, end = float(equity[0]), float(equity[-1])
    years = elapsed_years(stamps)
    return Summary(
        start_date=stamps[0],
        end_date=stamps[-1],
        start_value=start,
        end_value=end,
        pnl=end - start,
        return_pct=100.0 * (end / start - 1.0) if start > 0.0 else math.nan,
        cagr=cagr(start, end, years),
        sharpe=sharpe(equity, bars_per_year),
        sortino=sortino(equity, bars_per_year),
        max_drawdown=max_drawdown(equity),
        volatility=volatility(equity, bars_per_year),
        turnover_per_year=turnover_per_year(traded_notional, equity, years),
        costs=costs,
    )


def measures(bars_per_year: float, years: float) -> dict[str, Measure]:
    """Name -> measure of series of `years` elapsed years; names and signs as in `summary_pnl.csv`."""
    scale = np.sqrt(bars_per_year)

    def ratio(returns: FloatArray, risk: FloatArray) -> FloatArray:
        none = np.full(risk.shape, np.nan)
        found: FloatArray = scale * np.divide(returns.mean(axis=0), risk, out=none, where=risk >= RETURN_RESOLUTION)
        return found

    return {
        "sharpe": lambda returns: ratio(returns, returns.std(axis=0, ddof=1)),
        "cagr": lambda returns: _compounded(returns, years),
        "max_drawdown": _deepest,
        "volatility": lambda returns: returns.std(axis=0, ddof=1) * scale,
        "sortino": lambda returns: ratio(returns, np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2, axis=0))),
    }


def _compounded(returns: FloatArray, years: float) -> FloatArray:
    with np.errstate(divide="ignore"):  # the logarithm of an account that is lost: its growth is -1
        grown: FloatArray = np.expm1(np.log1p(np.maximum(returns, -1.0)).sum(axis=0) / years)
    return grown


def _deepest(returns: FloatArray) -> FloatArray:
    wealth = np.cumprod(1.0 + returns, axis=0)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=0), 1.0)
    deepest: FloatArray = np.minimum((wealth / peak).min(axis=0) - 1.0, 0.0)
    return deepest
