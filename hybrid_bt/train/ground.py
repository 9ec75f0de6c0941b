"""What SAC learns from: which assets of a group will earn more than the rest, as a bandit.

    reward_i = z_i (h_i - mean h) / risk_i,     z = standard scores of a group's actions (`hybrid_bt.equations.tilt`)

======  ==============================================================================================================
h_i     log return of asset i over `LABEL_BARS` bars from the open at which an order of this close fills
risk_i  volatility per bar of the asset less the market, sigma_i sqrt(1 - rho)
======  ==============================================================================================================

A step pays for what this action is worth and for nothing else, so the discount is 0: a position's later bars lie in the
label, and an action changes no features. A group is a window of a random market and a random subset of its symbols:
only what an asset is beside others can be learned, and it must hold for any others. What a change costs is the business
of the low-pass that stands behind the policy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.reader import MarketHistory
from hybrid_bt.equations.features import MIN_VARIANCE

FloatArray = NDArray[np.float64]

LABEL_BARS = 5  #: that an action is judged by: a score is held for about as long
LEAST_CLOSE, DECIMALS = 2.5, 3  #: a close rounded to 3 decimals is off by more than 2 bps below it: noise that reverts
CORRELATION_UP_TO = 0.9  #: relative risk is not taken for less than a third of the whole


class Ground(NamedTuple):
    """T bars of N symbols of one market to draw groups from."""

    symbols: tuple[str, ...]
    features: NDArray[np.float32]  #: (T, N, F)
    gains: FloatArray  #: (T, N) h
    risk: FloatArray  #: (T, N)
    usable: NDArray[np.bool_]  #: (T, N) may be part of a group on this bar


def ground_of(history: MarketHistory, start: np.datetime64 | None = None) -> Ground:
    """Of the bars from a moment on whose labels lie within the history."""
    bars = history.bars
    opens = _last_known(np.where(np.isfinite(bars.open), bars.open, bars.close))
    gains = np.full(opens.shape, np.nan)
    gains[: -LABEL_BARS - 1] = opens[LABEL_BARS + 1 :] - opens[1:-LABEL_BARS]
    inside = np.ones(bars.n_bars, np.bool_) if start is None else bars.stamps >= start
    usable = inside[:, None] & history.warm & np.isfinite(gains)
    rounded = np.nanmax(np.abs(bars.close - np.round(bars.close, DECIMALS)), axis=0, initial=0.0) < 1e-9
    coarse = np.where(rounded, bars.close < LEAST_CLOSE, False)
    usable &= np.flip(np.cumsum(np.flip(coarse, 0), axis=0), 0) == 0  # from the bar behind the last coarse one on
    free = 1.0 - np.minimum(history.correlation, CORRELATION_UP_TO)
    risk = np.maximum(history.volatility, math.sqrt(MIN_VARIANCE)) * np.sqrt(free)[:, None]
    return Ground(bars.symbols, history.assets, gains, risk, usable)


def _last_known(prices: FloatArray) -> FloatArray:
    """Log prices (T, N), of a missing bar the one before."""
    rows = np.maximum.accumulate(np.where(np.isfinite(prices), np.arange(len(prices))[:, None], 0), axis=0)
    return np.asarray(np.log(np.take_along_axis(prices, rows, 0)))
