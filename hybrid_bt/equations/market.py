"""The recursions of a whole market, from one bar to the next: assets, their mean, pairs.

`absorb_bar` is the one step, run by CPython on lists (`brain.reader`) and compiled (`equations.compiled.market`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hybrid_bt.equations import features, kalman, spread
from hybrid_bt.equations.kalman import KalmanParams, KalmanState
from hybrid_bt.equations.spread import SpreadRates, SpreadState


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
    spread: float  #: see `hybrid_bt.equations.spread`
    zscore: float  #: of the spread, in its own standard deviations, positive where y is dear; 0 until it is warm
    prior_beta: float  #: hedge ratio as known before this bar
    fresh: float  #: 1 where both traded on this bar, else 0


def first_pair(y: int, x: int, params: KalmanParams) -> PairState:
    """A pair before its first bar."""
    return PairState(y, x, kalman.initial_state(params), spread.initial_state(), False, False, math.nan, math.nan)


def pair_bar(pair: PairState, y: float, x: float, params: KalmanParams, rates: SpreadRates) -> PairState:
    """A pair after a bar with log closes y and x, NaN where there is none."""
    if math.isnan(y) or math.isnan(x):
        return PairState(pair.y, pair.x, pair.kalman, pair.spread, False, pair.started, pair.log_y, pair.log_x)
    if not pair.started:  # there is no move yet, and no innovation
        state = kalman.follow(pair.kalman, 0.0, 0.0, params)
        return PairState(pair.y, pair.x, state, pair.spread, True, True, y, x)
    state = kalman.follow(pair.kalman, y - pair.log_y, x - pair.log_x, params)
    return PairState(pair.y, pair.x, state, spread.absorb(pair.spread, state.innovation, rates), True, True, y, x)


def pair_view(pair: PairState) -> PairView:
    """What a leg sees of a pair."""
    if not pair.started:
        nan = math.nan
        return PairView(nan, nan, nan, nan, nan, nan, nan, nan, 1.0 if pair.fresh else 0.0)
    state = pair.kalman
    return PairView(
        kalman.intercept(state, pair.log_y, pair.log_x),
        state.beta,
        state.p_bb,
        state.innovation,
        state.innovation_var,
        pair.spread.spread,
        pair.spread.zscore,
        state.prior_beta,
        1.0 if pair.fresh else 0.0,
    )


def absorb_bar(
    logs: Any, traded: Any, assets: Any, market: features.MarketState, pairs: Any, params: Any, rates: SpreadRates
) -> features.MarketState:
    """Step every recursion over one bar: `assets` (N,) and `pairs` (P,) in place, the market by its return value.

    Parameters
    ----------
    logs, traded : (N,)
        Log closes and whether the symbol has a bar.
    params : (P,) KalmanParams
    """
    for i, log_close in enumerate(logs):
        if traded[i]:
            assets[i] = features.asset_step(assets[i], log_close)
    for number, pair in enumerate(pairs):
        pairs[number] = pair_bar(pair, logs[pair.y], logs[pair.x], params[number], rates)
    return features.market_step(market, assets, traded)


def pair_zscores(pairs: Any, n_pairs_of: Any, zscores: Any) -> None:
    """Write the mean z-score of each asset's pairs, positive where the asset is dear, on (N,) zeros."""
    for pair in pairs:
        zscores[pair.y] += pair.spread.zscore
        zscores[pair.x] -= pair.spread.zscore
    for i, n_pairs in enumerate(n_pairs_of):
        if n_pairs > 0:
            zscores[i] /= n_pairs


def pair_stretch(pairs: Any) -> float:
    """Mean |z-score| of all pairs; 0 without pairs."""
    if len(pairs) == 0:
        return 0.0
    total = 0.0
    for pair in pairs:
        total += abs(pair.spread.zscore)
    return total / len(pairs)
