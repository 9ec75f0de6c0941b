"""Results under conditions (r, volatility, calendar year, spans that people remember), and what a path of r says.

A return from close t - 1 to close t is put under what was known at close t - 1. The terciles are cut over the whole
span, in hindsight: they describe, and nothing could have been traded on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.account.metrics import FloatArray, max_drawdown, simple_returns
from hybrid_bt.bars import Bars, BoolArray
from hybrid_bt.equations.features import KEPT_FEATURES

VOLATILITY_BARS = 63  #: a quarter of daily bars
WINDOWS_AT_ONCE = 4_096
NEAR_END = 0.5  #: |r| from here on counts as near an end of its range
#: name -> first and last day
STRESS = {
    "2000-02 dot-com bust": ("2000-03-24", "2002-10-09"),
    "2008 financial crisis": ("2007-10-09", "2009-03-09"),
    "2020 pandemic": ("2020-02-19", "2020-03-23"),
    "2022 inflation": ("2022-01-03", "2022-10-12"),
}
_TERCILES = ("low", "middle", "high")


class Condition(NamedTuple):
    """One account under one condition."""

    condition: str
    account: str
    bars: int
    total_return: float  #: compounded over the condition's bars
    return_per_year: float  #: mean simple return times bars per year
    volatility: float  #: per year
    sharpe: float  #: per year; NaN where the returns do not vary
    max_drawdown: float  #: over the condition's bars joined together


class RegimeReading(NamedTuple):
    """Of r over a span of bars; a correlation is NaN where r or its counterpart never moves."""

    mean: float
    standard_deviation: float
    share_near_reversion: float  #: of bars with r <= -0.5
    share_near_trend: float  #: of bars with r >= +0.5
    correlation_with_trend: float  #: with the market's 252-bar trend, in its own standard deviations
    correlation_with_trend_strength: float  #: with the size of that trend, up or down
    correlation_with_volatility: float  #: with the log ratio of the market's fast and slow volatility
    correlation_with_calm: float  #: with minus the market's log volatility, among its own last three years
    correlation_with_dispersion: float  #: with that of the assets around the market, among its own last three years


def conditions(bars: Bars, regime: FloatArray) -> dict[str, BoolArray]:
    """Condition -> which of the T - 1 returns it holds; those without a bar are left out.

    Parameters
    ----------
    bars : Bars
        T bars.
    regime : (T,) r
    """
    stamps = bars.stamps[1:]
    found = dict(_terciles("r", regime[:-1]))
    found |= _terciles("volatility", _market_volatility(bars)[:-1])
    years = stamps.astype("datetime64[Y]")
    found |= {f"year {year}": years == year for year in np.unique(years)}
    days = stamps.astype("datetime64[D]")
    for name, (first, last) in STRESS.items():
        found[name] = (days >= np.datetime64(first)) & (days <= np.datetime64(last))
    return {name: held for name, held in found.items() if held.any()}


def conditional_rows(bars: Bars, regime: FloatArray, equity: Mapping[str, FloatArray]) -> list[Condition]:
    """Every account under every condition, in the order of `conditions` and of `equity`, account -> (T,)."""
    held = conditions(bars, regime)
    returns = {name: simple_returns(path) for name, path in equity.items()}
    return [
        _row(condition, account, series[mask], bars.bars_per_year)
        for condition, mask in held.items()
        for account, series in returns.items()
    ]


def _row(condition: str, account: str, returns: FloatArray, bars_per_year: float) -> Condition:
    wealth = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return Condition(
        condition=condition,
        account=account,
        bars=len(returns),
        total_return=float(wealth[-1] - 1.0),
        return_per_year=mean * bars_per_year,
        volatility=deviation * bars_per_year**0.5,
        sharpe=mean / deviation * bars_per_year**0.5 if deviation > 0.0 else float("nan"),
        max_drawdown=max_drawdown(wealth),
    )


def _terciles(name: str, values: FloatArray) -> Iterator[tuple[str, BoolArray]]:
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        return
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    masks = (values <= low, (values > low) & (values <= high), values > high)
    for tercile, mask in zip(_TERCILES, masks, strict=True):
        yield f"{name} {tercile}", mask


def _market_volatility(bars: Bars) -> FloatArray:
    """Standard deviation of the equal-weight return over the last quarter, (T,), NaN before it is whole."""
    market = _market_returns(bars)
    out = np.full(len(market) + 1, np.nan)
    if len(market) >= VOLATILITY_BARS:
        windows = np.lib.stride_tricks.sliding_window_view(market, VOLATILITY_BARS)
        for first in range(0, len(windows), WINDOWS_AT_ONCE):  # which are copied
            some = windows[first : first + WINDOWS_AT_ONCE]
            out[VOLATILITY_BARS + first :][: len(some)] = some.std(axis=1)
    return out


def read_regime(regime: FloatArray, market: FloatArray, names: Sequence[str] = KEPT_FEATURES) -> RegimeReading:
    """Read r, (T,), against what the gate could see, (T, F) of these names."""
    table = dict(zip(names, market.T, strict=True))
    trend, volatility = table["market_trend_252"], table["market_volatility_ratio"] + table["market_volatility_shock"]
    beside = trend, np.abs(trend), volatility, table["calm"], table["dispersion"]
    return RegimeReading(
        float(regime.mean()),
        float(regime.std()),
        float((regime <= -NEAR_END).mean()),
        float((regime >= NEAR_END).mean()),
        *(_correlation(regime, column) for column in beside),
    )


def _market_returns(bars: Bars) -> FloatArray:
    """(T - 1,) mean log return of the symbols that have one."""
    with np.errstate(invalid="ignore"):
        moves = np.diff(np.log(bars.close), axis=0)
    there = np.isfinite(moves)
    mean: FloatArray = np.where(there, moves, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return mean


def _correlation(a: FloatArray, b: FloatArray) -> float:
    if len(a) < 2 or a.std() == 0.0 or b.std() == 0.0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
