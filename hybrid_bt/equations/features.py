"""What the policies see: scale-free, causal features of one asset and of the market.

Every quantity is a recursion on log closes with O(1) memory, in units of the asset's own volatility.

    d_h <- (1 - a_h) (d_h + r),    trend_h = d_h / (sigma c_h),     a_h = 2 / (h + 1)

===========  =========================================================================================================
r            log return since the symbol's previous bar
d_h          decaying sum of returns, equal to log close minus its exponential average of span h
sigma        exponentially weighted volatility per bar (span 63)
c_h          standard deviation of d_h for white noise of unit variance, so that trend_h is about N(0, 1) without trend
correlation  equicorrelation of the universe, from the variance of the mean standardised return (Engle & Kelly 2012)
calm         minus the market's log volatility, as a standard score among its own last three years
dispersion   log standard deviation of the assets' standardised returns around their mean, as such a score
===========  =========================================================================================================

Engle & Kelly, JBES 30(2), 2012; Lo & MacKinlay, RFS 1(1), 1988 (variance ratio); RiskMetrics, 1996 (volatility).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hybrid_bt.equations import Cells, Numbers, Row
from hybrid_bt.equations.history import NO_HISTORY, History, absorb

CLIP = 5.0  #: policies are trained on features clipped to +-5 standard deviations
WARMUP_BARS = 252  #: returns an asset must have shown before anybody acts on its features
MIN_VARIANCE = 1e-12  #: squared log return per bar; the price of a halted stock does not divide by zero
FAST, MEDIUM, SLOW = 2.0 / 11.0, 2.0 / 64.0, 2.0 / 253.0  #: gains of spans 10, 63 and 252 bars
SETTLED_BARS = 63  #: returns before which a volatility is no part of its own history


def _keep(span: float) -> float:
    return 1.0 - 2.0 / (span + 1.0)


def _unit_sd(keep: float) -> float:
    return keep / math.sqrt(1.0 - keep * keep)


KEEP_5, KEEP_21, KEEP_63, KEEP_252 = _keep(5.0), _keep(21.0), _keep(63.0), _keep(252.0)
SD_5, SD_21, SD_63, SD_252 = _unit_sd(KEEP_5), _unit_sd(KEEP_21), _unit_sd(KEEP_63), _unit_sd(KEEP_252)

_RELATIVE = ("relative_1", "relative_5", "relative_21", "relative_63", "relative_252")
#: per asset, in the order in which `asset_features` returns them
ASSET_FEATURES = (*_RELATIVE, "volatility_ratio", "market_volatility_ratio")

_TRENDS = ("market_trend_5", "market_trend_21", "market_trend_63", "market_trend_252")
_SHAPE = ("market_volatility_ratio", "market_volatility_shock", "correlation", "variance_ratio")
#: of the market, in the order in which `market_features` returns them
MARKET_FEATURES = ("market_return_1", *_TRENDS, *_SHAPE, "pair_stretch", "calm", "dispersion")
#: of the market, that are kept of every bar: reports hold r against them
KEPT_FEATURES = ("market_trend_252", *_SHAPE[:2], "calm", "dispersion")
#: columns that a policy may observe, by its kind
OBSERVATIONS = {"sac": ASSET_FEATURES, "gate": MARKET_FEATURES}


class AssetState(NamedTuple):
    """Recursions of one asset (or of the market, taken as an asset) after a bar."""

    n_returns: float
    log_close: float  #: NaN before the first bar
    last_return: float
    shock: float  #: last return in units of the volatility known before it
    var_fast: float
    var: float
    var_slow: float
    d_5: float
    d_21: float
    d_63: float
    d_252: float


class MarketState(NamedTuple):
    """Recursions of the universe after a bar."""

    mean: AssetState  #: equal-weight mean log return, taken as an asset
    mean_shock_sq: float  #: E[(mean shock)^2]
    shock_sq: float  #: E[mean(shock^2)]
    n_assets: float  #: E[number of assets with a bar]
    trend_sq: float  #: E[mean(trend_21^2)]: above 1 trending, below 1 reverting
    risk: History  #: log volatility of the mean
    spread: History  #: log standard deviation of shocks around their mean


def initial_asset() -> AssetState:
    """No bar seen."""
    return AssetState(0.0, math.nan, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def initial_market() -> MarketState:
    """No bar seen; correlation 0 and variance ratio 1."""
    return MarketState(initial_asset(), 0.0, 0.0, 0.0, 1.0, NO_HISTORY, NO_HISTORY)


def _absorb_return(state: AssetState, ret: float, log_close: float) -> AssetState:
    # unpacked once: an attribute of a NamedTuple costs as much as a product
    n_returns, _, _, _, var_fast, var, var_slow, d_5, d_21, d_63, d_252 = state
    n, sq = n_returns + 1.0, ret * ret
    first = 1.0 / n  # plain averages until a window is full, exponential ones from then on
    return AssetState(
        n,
        log_close,
        ret,
        ret / math.sqrt(var) if var > MIN_VARIANCE else 0.0,
        var_fast + (FAST if first < FAST else first) * (sq - var_fast),
        var + (MEDIUM if first < MEDIUM else first) * (sq - var),
        var_slow + (SLOW if first < SLOW else first) * (sq - var_slow),
        KEEP_5 * (d_5 + ret),
        KEEP_21 * (d_21 + ret),
        KEEP_63 * (d_63 + ret),
        KEEP_252 * (d_252 + ret),
    )


def asset_step(state: AssetState, log_close: float) -> AssetState:
    """Absorb one log close; call it only on bars on which the asset traded."""
    if math.isnan(state.log_close):
        n_returns, _, ret, shock, var_fast, var, var_slow, d_5, d_21, d_63, d_252 = state
        return AssetState(n_returns, log_close, ret, shock, var_fast, var, var_slow, d_5, d_21, d_63, d_252)
    return _absorb_return(state, log_close - state.log_close, log_close)


def absorb_bar(logs: Numbers, traded: Row[bool], assets: Cells[AssetState], market: MarketState) -> MarketState:
    """Step all assets (N,) over a bar of log closes, in place, and the market by its return value."""
    for i, log_close in enumerate(logs):
        if traded[i]:
            assets[i] = asset_step(assets[i], log_close)
    return market_step(market, assets, traded)


def market_step(state: MarketState, assets: Row[AssetState], traded: Row[bool]) -> MarketState:
    """Absorb the bar of all assets, each already stepped; only those that traded and have a return count."""
    n, ret, shock, shock_sq, trend_sq = 0, 0.0, 0.0, 0.0, 0.0
    for asset, has_bar in zip(assets, traded):  # noqa: B905  numba knows no strict zip
        n_returns, _, own, own_shock, _, var, _, _, d_21, _, _ = asset
        if has_bar and n_returns > 1.0:
            n += 1
            ret += own
            shock += own_shock
            shock_sq += own_shock * own_shock
            trend = min(max(_in_sd(d_21, SD_21, var), -CLIP), CLIP)
            trend_sq += trend * trend
    if n == 0:
        return state
    mean, risk, spread = _absorb_return(state.mean, ret / n, 0.0), state.risk, state.spread
    gain, mean_shock = max(MEDIUM, 1.0 / mean.n_returns), shock / n
    common = state.mean_shock_sq + gain * (mean_shock * mean_shock - state.mean_shock_sq)
    whole = state.shock_sq + gain * (shock_sq / n - state.shock_sq)
    if mean.n_returns > SETTLED_BARS:
        risk = absorb(risk, 0.5 * math.log(max(mean.var, MIN_VARIANCE)))
        spread = absorb(spread, 0.5 * math.log(max(whole - common, MIN_VARIANCE)))
    n_assets = state.n_assets + gain * (n - state.n_assets)
    trending = state.trend_sq + gain * (trend_sq / n - state.trend_sq)
    return MarketState(mean, common, whole, n_assets, trending, risk, spread)


def correlation(market: MarketState) -> float:
    """Equicorrelation in [0, 0.99]; 0 for a universe of one.

    For n standardised returns of common correlation rho the mean has variance (1 + (n - 1) rho) / n.
    """
    n = market.n_assets
    if n < 1.5 or market.shock_sq <= MIN_VARIANCE:
        return 0.0
    rho = (n * market.mean_shock_sq / market.shock_sq - 1.0) / (n - 1.0)
    return min(max(rho, 0.0), 0.99)


def volatility(asset: AssetState) -> float:
    """Of an asset, per bar, above 0."""
    return math.sqrt(max(asset.var, MIN_VARIANCE))


def is_warm(asset: AssetState) -> bool:
    """Whether the asset (or the market's mean) has shown `WARMUP_BARS` returns."""
    return asset.n_returns >= WARMUP_BARS


def _in_sd(d: float, unit_sd: float, variance: float) -> float:
    return d / (unit_sd * math.sqrt(variance)) if variance > MIN_VARIANCE else 0.0


def _log_ratio(variance: float, reference: float) -> float:
    """Half the log ratio of two variances, that is the log ratio of the volatilities."""
    if variance <= MIN_VARIANCE or reference <= MIN_VARIANCE:
        return 0.0
    return 0.5 * math.log(variance / reference)


def asset_features(asset: AssetState, market: MarketState) -> tuple[float, ...]:
    """The features named in `ASSET_FEATURES`, not clipped: returns less the market's, in units of the asset's risk."""
    return _less_market(asset, market.mean, _log_ratio(market.mean.var_fast, market.mean.var_slow))


def _less_market(asset: AssetState, mean: AssetState, shared: float) -> tuple[float, ...]:
    """`asset_features`, the last of which all assets share."""
    _, _, ret, _, var_fast, var, var_slow, d_5, d_21, d_63, d_252 = asset
    ratio = _log_ratio(var_fast, var_slow)
    if var <= MIN_VARIANCE:
        return 0.0, 0.0, 0.0, 0.0, 0.0, ratio, shared
    sd = math.sqrt(var)
    _, _, mean_ret, _, _, _, _, mean_5, mean_21, mean_63, mean_252 = mean
    return (
        (ret - mean_ret) / sd,
        (d_5 - mean_5) / (SD_5 * sd),
        (d_21 - mean_21) / (SD_21 * sd),
        (d_63 - mean_63) / (SD_63 * sd),
        (d_252 - mean_252) / (SD_252 * sd),
        ratio,
        shared,
    )


def market_features(market: MarketState, pair_stretch: float) -> tuple[float, ...]:
    """The features named in `MARKET_FEATURES`, not clipped; `pair_stretch` is the mean |z-score| of all pairs."""
    mean = market.mean
    return (
        mean.shock,
        _in_sd(mean.d_5, SD_5, mean.var),
        _in_sd(mean.d_21, SD_21, mean.var),
        _in_sd(mean.d_63, SD_63, mean.var),
        _in_sd(mean.d_252, SD_252, mean.var),
        _log_ratio(mean.var, mean.var_slow),
        _log_ratio(mean.var_fast, mean.var),
        correlation(market),
        math.log(max(market.trend_sq, MIN_VARIANCE)),
        pair_stretch,
        -market.risk.score,
        market.spread.score,
    )


def seen_of(
    assets: Sequence[AssetState], market: MarketState, stretch: float
) -> tuple[list[bool], list[tuple[float, ...]], tuple[float, ...], bool, list[float], float]:
    """What is seen at a close: fields `warm` to `correlation` of a view, from `pair.pair_stretch`."""
    mean = market.mean
    shared = _log_ratio(mean.var_fast, mean.var_slow)
    return (
        [is_warm(asset) for asset in assets],
        [_less_market(asset, mean, shared) for asset in assets],
        market_features(market, stretch),
        is_warm(mean),
        [volatility(asset) for asset in assets],
        correlation(market),
    )
