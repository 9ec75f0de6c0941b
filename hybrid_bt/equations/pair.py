"""A pair `Y:X`: its tradable spread, and what is seen of it; when it is held is said in `equations.pair_rules`.

    s_t = (1 - a) (s_{t-1} + v_t),      z_t = s_t / (c sd_t)

======  ====================================================================================================
v_t     Kalman innovation: the part of y's move that the *prior* intercept and hedge ratio did not foresee
s_t     decaying sum of innovations, log price; its memory halves every `spread_half_life_bars`
sd_t    exponentially weighted standard deviation of earlier innovations, v_t excluded
c       standard deviation of s for white noise of unit variance, (1 - a) / sqrt(1 - (1 - a)^2)
======  ====================================================================================================

Maximum likelihood gives real pairs an intercept that follows the spread almost at once (docs/research-log.md), so a
single innovation is one bar's noise. The decaying sum measures how far y has run ahead of its hedge over a chosen
horizon, in money that could have been earned, and never contains what the filter learned from the bar itself.

"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from hybrid_bt.equations import Cells, InBars, Numbers, Row, kalman
from hybrid_bt.equations.kalman import KalmanParams, KalmanState

MIN_VARIANCE = 1e-12  #: squared log price; a spread that never moves has z-score 0, not infinity


class SpreadParams(NamedTuple):
    """Memory of the spread and of its scale, in bars."""

    spread_half_life_bars: Annotated[InBars, "memory of the spread, bars"]
    scale_half_life_bars: Annotated[InBars, "memory of the spread's scale, bars"]
    warmup_bars: float  #: innovations that the scale must have seen


class SpreadRates(NamedTuple):
    """`SpreadParams` as the factors that a step multiplies by: powers are taken once, not at each bar."""

    keep: float  #: 1 - a, the share of the spread that a bar leaves
    scale_gain: float  #: weight of the newest innovation in the variance, once its window is full
    warmup_bars: float


class SpreadState(NamedTuple):
    """Spread after a bar; `zscore` is 0 until `warmup_bars` innovations have set the scale."""

    spread: float
    zscore: float
    variance: float
    n_bars: float


def initial_spread() -> SpreadState:
    """No innovation seen."""
    return SpreadState(0.0, 0.0, 0.0, 0.0)


def rates_of(params: SpreadParams) -> SpreadRates:
    """Factors per bar."""
    keep, scale_keep = (0.5 ** (1.0 / bars) for bars in (params.spread_half_life_bars, params.scale_half_life_bars))
    return SpreadRates(keep, 1.0 - scale_keep, params.warmup_bars)


def spread_step(state: SpreadState, innovation: float, rates: SpreadRates) -> SpreadState:
    """Absorb the innovation (log price) of one bar; the z-score is positive where y is dear against its hedge."""
    (keep, scale_gain, warmup_bars), (spread, _, variance, n_bars) = rates, state
    spread, zscore = keep * (spread + innovation), 0.0
    if n_bars >= warmup_bars and variance > MIN_VARIANCE:
        zscore = spread / math.sqrt(variance * keep * keep / (1.0 - keep * keep))
    n_bars += 1.0
    # plain average until the window is full, exponential from then on: no start-up bias
    gain = max(scale_gain, 1.0 / n_bars)
    return SpreadState(spread, zscore, variance + gain * (innovation * innovation - variance), n_bars)


class PairState(NamedTuple):
    """The recursions of one pair `Y:X` after the last bar on which both traded."""

    y: int  #: column of the dependent asset
    x: int  #: column of the hedge asset
    kalman: KalmanState
    spread: SpreadState
    fresh: bool  #: both traded on this bar
    started: bool  #: both have traded on some bar
    log_y: float = math.nan  #: log closes of the last such bar, NaN before: the origin of `kalman`
    log_x: float = math.nan


class PairView(NamedTuple):
    """What is known of one pair `Y:X` at a close; NaN before its first bar."""

    alpha: float  #: posterior intercept, log price
    beta: float  #: posterior hedge ratio
    beta_var: float  #: posterior variance of beta
    innovation: float  #: forecast error of y before the update: what may be traded
    innovation_var: float  #: its variance S
    spread: float  #: s_t
    zscore: float  #: of the spread, in its own standard deviations, positive where y is dear; 0 until it is warm
    prior_beta: float  #: hedge ratio as known before this bar
    fresh: float  #: 1 where both traded on this bar, else 0
    innovation_sd: float  #: exponentially weighted standard deviation of innovations; 0 before the first


def first_pair(y: int, x: int, params: KalmanParams) -> PairState:
    """A pair before its first bar."""
    return PairState(y, x, kalman.initial_state(params), initial_spread(), False, False, math.nan, math.nan)


def pair_bar(pair: PairState, y: float, x: float, params: KalmanParams, rates: SpreadRates) -> PairState:
    """A pair after a bar with log closes y and x, NaN where there is none."""
    of_y, of_x, state, spread, _, started, log_y, log_x = pair
    if y != y or x != x:
        return PairState(of_y, of_x, state, spread, False, started, log_y, log_x)
    if not started:  # there is no move yet, and no innovation
        return PairState(of_y, of_x, kalman.follow(state, 0.0, 0.0, params), spread, True, True, y, x)
    state = kalman.follow(state, y - log_y, x - log_x, params)
    return PairState(of_y, of_x, state, spread_step(spread, state.innovation, rates), True, True, y, x)


def absorb_bar(pairs: Cells[PairState], logs: Numbers, params: Row[KalmanParams], rates: SpreadRates) -> None:
    """Step all pairs over a bar, in place: pairs and `KalmanParams` (P,), log closes (N,)."""
    for number, pair in enumerate(pairs):
        pairs[number] = pair_bar(pair, logs[pair.y], logs[pair.x], params[number], rates)


def pair_view(pair: PairState) -> PairView:
    """What a leg sees of a pair."""
    fresh, state, spread, nan = 1.0 if pair.fresh else 0.0, pair.kalman, pair.spread, math.nan
    if not pair.started:
        return PairView(nan, nan, nan, nan, nan, nan, nan, nan, fresh, 0.0)
    alpha = kalman.intercept(state, pair.log_y, pair.log_x)
    _, beta, p_bb, _, _, innovation, innovation_var, prior_beta = state
    seen = innovation, innovation_var, spread.spread, spread.zscore, prior_beta, fresh, math.sqrt(spread.variance)
    return PairView(alpha, beta, p_bb, *seen)


def pair_stretch(pairs: Row[PairState]) -> float:
    """The mean |z-score| of all pairs."""
    total = 0.0
    for pair in pairs:
        total += abs(pair.spread.zscore)
    return total / len(pairs) if len(pairs) > 0 else 0.0
