"""The tradable spread of a pair: what the hedge at yesterday's ratio would have earned lately.

    s_t = (1 - a) (s_{t-1} + v_t),      z_t = s_t / (c sd_t)

======  ====================================================================================================
v_t     Kalman innovation: the part of y's move that the *prior* intercept and hedge ratio did not foresee
s_t     decaying sum of innovations, log price; its memory halves every `spread_half_life_bars`
sd_t    exponentially weighted standard deviation of earlier innovations, v_t excluded
c       standard deviation of s for white noise of unit variance, (1 - a) / sqrt(1 - (1 - a)^2)
======  ====================================================================================================

Maximum likelihood gives real pairs an intercept that follows the spread almost at once (R near 0, see
docs/research-log.md), so a single innovation is one bar's noise and the posterior residual is nothing. The decaying
sum measures how far y has run ahead of its hedge over a chosen horizon, in money that could have been earned, and
never contains what the filter learned from the bar itself.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from annotated_types import Gt

MIN_VARIANCE = 1e-12  #: squared log price; a spread that never moves has z-score 0, not infinity


class SpreadParams(NamedTuple):
    """Memory of the spread and of its scale, in bars."""

    spread_half_life_bars: Annotated[float, Gt(0), "memory of the spread, bars"]
    scale_half_life_bars: Annotated[float, Gt(0), "memory of the spread's scale, bars"]
    warmup_bars: float  #: innovations that the scale must have seen


class SpreadRates(NamedTuple):
    """`SpreadParams` as the factors that `absorb` multiplies by: powers are taken once, not at each bar."""

    keep: float  #: 1 - a, the share of the spread that a bar leaves
    scale_gain: float  #: weight of the newest innovation in the variance, once its window is full
    warmup_bars: float


class SpreadState(NamedTuple):
    """Spread after a bar; `zscore` is 0 until `warmup_bars` innovations have set the scale."""

    spread: float
    zscore: float
    variance: float
    n_bars: float


def initial_state() -> SpreadState:
    """No innovation seen."""
    return SpreadState(0.0, 0.0, 0.0, 0.0)


def rates_of(params: SpreadParams) -> SpreadRates:
    """Factors per bar."""
    keep, scale_keep = (0.5 ** (1.0 / bars) for bars in (params.spread_half_life_bars, params.scale_half_life_bars))
    return SpreadRates(keep, 1.0 - scale_keep, params.warmup_bars)


def step(state: SpreadState, innovation: float, params: SpreadParams) -> SpreadState:
    """Absorb the innovation (log price) of one bar; the z-score is positive where y is dear against its hedge."""
    return absorb(state, innovation, rates_of(params))


def absorb(state: SpreadState, innovation: float, rates: SpreadRates) -> SpreadState:
    """`step` at rates worked out before."""
    keep = rates.keep
    spread = keep * (state.spread + innovation)
    zscore = 0.0
    if state.n_bars >= rates.warmup_bars and state.variance > MIN_VARIANCE:
        zscore = spread / math.sqrt(state.variance * keep * keep / (1.0 - keep * keep))
    n_bars = state.n_bars + 1.0
    # plain average until the window is full, exponential from then on: no start-up bias
    gain = max(rates.scale_gain, 1.0 / n_bars)
    variance = state.variance + gain * (innovation * innovation - state.variance)
    return SpreadState(spread, zscore, variance, n_bars)
