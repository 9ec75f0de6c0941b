"""What the policies learn from, as bandits: an action is paid for what it is worth, and changes nothing that comes.

SAC: which assets of a group will earn more than the rest.

    reward_i = z_i (h_i - mean h) / risk_i,     z = standard scores of a group's actions (`hybrid_bt.equations.tilt`)

======  ==============================================================================================================
h_i     log return of asset i over `LABEL_BARS` bars from the open at which an order of this close fills
risk_i  volatility per bar of the asset less the market, sigma_i sqrt(1 - rho)
======  ==============================================================================================================

A step pays for what this action is worth and for nothing else, so the discount is 0: a position's later bars lie in the
label, and an action changes no features. A group is a window of a random market and a random subset of its symbols:
only what an asset is beside others can be learned, and it must hold for any others. What a change costs is the business
of the low-pass that stands behind the policy.

The gate: whether trends will pay or their reversal. With m and v what the standard scores of two rules earn on a bar
(`account.registry`: twelve months' momentum, five bars' reversal) in relative risk, net of nothing,

    reward = r d - p r^2 - q |r - r before|,     d = sum over the next `REGIME_BARS` bars of m - v, standardised

d is standardised in each market, so r is about 0 on average and says when, not which.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.flows import known_logs
from hybrid_bt.account.registry import momentum, moves, relative, standard_scores
from hybrid_bt.bars import instant
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.reader import MarketHistory
from hybrid_bt.config import Config
from hybrid_bt.envs import history_of
from hybrid_bt.equations.features import MARKET_FEATURES, MIN_VARIANCE
from hybrid_bt.train.spec import GateSpec, SacSpec

FloatArray = NDArray[np.float64]

LABEL_BARS = 5  #: that an action is judged by: a score is held for about as long
REGIME_BARS = 20  #: that a regime score is judged by
REGIME_SEES = ("calm", "dispersion")  #: columns of `features.MARKET_FEATURES`
LEAST_CLOSE, DECIMALS = 2.5, 3  #: a close rounded to 3 decimals is off by more than 2 bps below it: noise that reverts
CORRELATION_UP_TO = 0.9  #: relative risk is not taken for less than a third of the whole


class Ground(NamedTuple):
    """T bars of N symbols of one market to draw groups from."""

    symbols: tuple[str, ...]
    features: NDArray[np.float32]  #: (T, N, F)
    gains: FloatArray  #: (T, N) h
    risk: FloatArray  #: (T, N)
    usable: NDArray[np.bool_]  #: (T, N) may be part of a group on this bar

    def lasts(self, n_bars: int) -> bool:
        """Whether there is something to learn on so many bars."""
        return int(np.count_nonzero(self.usable.any(axis=1))) >= n_bars


class RegimeGround(NamedTuple):
    """T bars of one market to draw windows from."""

    symbols: tuple[str, ...]
    features: NDArray[np.float32]  #: (T, F) of `REGIME_SEES`
    gains: FloatArray  #: (T,) d
    usable: NDArray[np.bool_]  #: (T,) may be part of a window

    def starts(self, n_bars: int) -> NDArray[np.int64]:
        """First rows of all windows of so many bars."""
        counts = np.append(0, np.cumsum(self.usable))
        return np.flatnonzero(counts[n_bars:] - counts[:-n_bars] == n_bars)

    def lasts(self, n_bars: int) -> bool:
        """Whether there is such a window."""
        return len(self.starts(n_bars)) > 0


AnyGround = TypeVar("AnyGround", Ground, RegimeGround)


def ground_of(history: MarketHistory, start: np.datetime64 | None = None) -> Ground:
    """Of the bars from a moment on whose labels lie within the history."""
    bars, gains = history.bars, _coming(history, LABEL_BARS)
    usable = _inside(history, start)[:, None] & history.warm & np.isfinite(gains)
    rounded = np.nanmax(np.abs(bars.close - np.round(bars.close, DECIMALS)), axis=0, initial=0.0) < 1e-9
    coarse = np.where(rounded, bars.close < LEAST_CLOSE, False)
    usable &= np.flip(np.cumsum(np.flip(coarse, 0), axis=0), 0) == 0  # from the bar behind the last coarse one on
    return Ground(bars.symbols, history.assets, gains, _relative_risk(history), usable)


def regime_ground_of(history: MarketHistory, start: np.datetime64 | None = None) -> RegimeGround:
    """Of the bars from a moment on whose labels lie within the history."""
    bars, coming = history.bars, _coming(history, 1)
    there = history.warm & np.isfinite(coming)
    n = np.maximum(there.sum(axis=1), 1)
    earned = relative(np.where(there, coming, np.nan)) / _relative_risk(history)
    trend, reversal = (
        standard_scores(np.where(there, moved / history.volatility, np.nan))
        for moved in (momentum(bars), -moves(bars, LABEL_BARS))
    )
    more = ((trend - reversal) * earned).sum(axis=1) / n
    known = history.market_warm & there.any(axis=1) & np.isfinite(momentum(bars)).any(axis=1)
    sums, counts = (np.append(0.0, np.cumsum(np.where(known, values, 0.0))) for values in (more, np.ones(len(more))))
    gains, usable = np.zeros(len(more)), np.zeros(len(more), np.bool_)
    if len(more) > REGIME_BARS:
        gains[: 1 - REGIME_BARS] = sums[REGIME_BARS:] - sums[:-REGIME_BARS]
        usable[: 1 - REGIME_BARS] = counts[REGIME_BARS:] - counts[:-REGIME_BARS] == REGIME_BARS
    usable &= _inside(history, start)
    if usable.any():
        gains = (gains - gains[usable].mean()) / max(float(gains[usable].std()), math.sqrt(MIN_VARIANCE))
    columns = [MARKET_FEATURES.index(name) for name in REGIME_SEES]
    return RegimeGround(bars.symbols, history.market[:, columns], gains, usable)


def ground_on(
    of: Callable[..., AnyGround],
    market: Market,
    config: Config,
    spec: SacSpec | GateSpec,
    start: date | None,
    teaches: NDArray[np.bool_] | None,
) -> AnyGround | None:
    """A market's, from a day on; of a mask (T,) what it leaves, and None where that is shorter than a window."""
    found = of(history_of(market.bars, (), config), None if start is None else instant(start))
    if teaches is None:
        return found
    found = found._replace(usable=(found.usable.T & teaches).T)
    return found if found.lasts(spec.window_bars) else None


def _inside(history: MarketHistory, start: np.datetime64 | None) -> NDArray[np.bool_]:
    """(T,) from a moment on."""
    return np.ones(history.bars.n_bars, np.bool_) if start is None else history.bars.stamps >= start


def _coming(history: MarketHistory, n_bars: int) -> FloatArray:
    """Log return of so many bars from the open at which an order of each close fills, (T, N); NaN at the end."""
    bars = history.bars
    opens = known_logs(np.where(np.isfinite(bars.open), bars.open, bars.close))
    gains = np.full(opens.shape, np.nan)
    gains[: -n_bars - 1] = opens[n_bars + 1 :] - opens[1:-n_bars]
    return gains


def _relative_risk(history: MarketHistory) -> FloatArray:
    """Volatility per bar of each asset less the market, (T, N)."""
    free = 1.0 - np.minimum(history.correlation, CORRELATION_UP_TO)
    return np.asarray(np.maximum(history.volatility, math.sqrt(MIN_VARIANCE)) * np.sqrt(free)[:, None])
