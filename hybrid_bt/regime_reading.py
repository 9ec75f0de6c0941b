"""What a path of r says: how far it goes, and whether it follows trend and volatility as its name promises."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.features import ASSET_FEATURES, asset_step, initial_asset, own_features

__all__ = ["RegimeReading", "read_regime"]

FloatArray = NDArray[np.float64]

NEAR_END = 0.5  #: |r| from here on counts as near an end


class RegimeReading(NamedTuple):
    """Of r over a span of bars; a correlation is NaN where r or its counterpart never moves."""

    mean: float
    standard_deviation: float
    share_near_reversion: float  #: of bars with r <= -0.5
    share_near_trend: float  #: of bars with r >= +0.5
    correlation_with_trend: float  #: with the market's 252-bar trend, in its own standard deviations
    correlation_with_trend_strength: float  #: with the size of that trend, up or down
    correlation_with_volatility: float  #: with the log ratio of the market's fast and slow volatility


def read_regime(regime: FloatArray, bars: Bars, first: int = 0) -> RegimeReading:
    """Read r against the market, the equal-weight mean of all symbols' log returns.

    Parameters
    ----------
    regime : (T - first,)
    bars : Bars
        T bars; those before `first` warm the market's averages up.
    """
    trend, volatility = (column[first:] for column in _market(bars))
    return RegimeReading(
        float(regime.mean()),
        float(regime.std()),
        float((regime <= -NEAR_END).mean()),
        float((regime >= NEAR_END).mean()),
        _correlation(regime, trend),
        _correlation(regime, np.abs(trend)),
        _correlation(regime, volatility),
    )


def _market(bars: Bars) -> tuple[FloatArray, FloatArray]:
    """(T,) trend_252 and volatility_ratio of the mean, after each bar."""
    moves = np.diff(np.log(bars.close), axis=0)
    traded = np.isfinite(moves)
    mean = np.where(traded, moves, 0.0).sum(axis=1) / np.maximum(traded.sum(axis=1), 1)
    state, rows = initial_asset(), []
    for level in np.cumsum(np.append(0.0, mean)).tolist():
        state = asset_step(state, level)
        rows.append(own_features(state, state))
    table: Any = np.array(rows)
    return table[:, ASSET_FEATURES.index("trend_252")], table[:, ASSET_FEATURES.index("volatility_ratio")]


def _correlation(a: FloatArray, b: FloatArray) -> float:
    if len(a) < 2 or a.std() == 0.0 or b.std() == 0.0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
