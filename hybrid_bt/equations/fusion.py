"""What is to be held: the mix of the legs, steered by the regime score, then leverage and limits.

    a = sum_l w_l(r) a_l,      w_SAC(r) as the mode says,  w_Kalman(r) = 1 - w_SAC(r)

r runs from -1 (mean reversion, the Kalman leg leads) to +1 (trend, SAC leads). Each mode names w_SAC at r = -1, 0 and
+1; between them it is linear. Every further leg has such a line of its own and lies on top of the two. r moves the mix
and never the leverage.

Leverage is a volatility target on the whole portfolio. The volatility of targets a_i with volatilities sigma_i is taken
under one common correlation rho,

    sigma_p^2 = (1 - rho) sum_i (a_i sigma_i)^2 + rho (sum_i a_i sigma_i)^2,

the constant-correlation model (Elton & Gruber, Journal of Finance 28(5), 1973), with rho and sigma_i causal recursions
of `equations.features`. It needs no matrix, reacts to the composition of the portfolio at once and overstates the risk
of hedged pairs, whose own correlation is above the average: an error on the safe side. The targets are scaled to the
volatility target, but never beyond `scale_limit` nor past a limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt, Le

from hybrid_bt.equations import Cells, Lines, Numbers, Row, Table

ROUNDING = 1e-12  #: relative; scaling to the volatility target meets it only so nearly
SUM_ERROR = 1e-12  #: of a sum of targets, relative to gross exposure: more than adding thousands of them can lose


class FusionParams(NamedTuple):
    """Weight of the SAC leg at three regime scores, non-decreasing, each in [0, 1]."""

    at_reversion: Annotated[float, Ge(0), Le(1), "w_SAC at r = -1"]
    at_neutral: Annotated[float, Ge(0), Le(1), "w_SAC at r = 0"]
    at_trend: Annotated[float, Ge(0), Le(1), "w_SAC at r = +1"]

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        if self.at_reversion <= self.at_neutral <= self.at_trend:
            return ""
        return f"w_SAC must not fall as r rises; got {', '.join(map(repr, self))} at r = -1, 0, +1"


class MixParams(NamedTuple):
    """Weights of all legs."""

    fusion: FusionParams
    further: tuple[tuple[float, float, float], ...] = ()  #: of each further leg, at r = -1, 0 and +1


class RiskParams(NamedTuple):
    """Limits as fractions of equity; volatility per year."""

    volatility_target: Annotated[float, Gt(0), "volatility of the portfolio per year that targets are scaled to"]
    scale_limit: Annotated[float, Gt(0), "targets are never multiplied by more than this"]
    gross_limit: Annotated[float, Gt(0), "sum of |target|"]
    net_limit: Annotated[float, Gt(0), "|sum of targets|; below 1 it leaves the cash that a gap and the costs need"]
    asset_limit: Annotated[float, Gt(0), "|target| of one asset"]
    bars_per_year: Annotated[float, Gt(0), 'or "auto": 252 of daily bars, others are counted before trading begins']


def weight_at(r: float, at_reversion: float, at_neutral: float, at_trend: float) -> float:
    """A leg's weight; r outside [-1, 1] is taken as the nearer end."""
    if r <= -1.0:
        return at_reversion  # to the bit
    if r >= 1.0:
        return at_trend
    if r < 0.0:
        return at_neutral + r * (at_neutral - at_reversion)
    return at_neutral + r * (at_trend - at_neutral)


def sac_weight(r: float, params: FusionParams) -> float:
    """w_SAC(r)."""
    return weight_at(r, params.at_reversion, params.at_neutral, params.at_trend)


def leg_weights(r: float, params: MixParams) -> tuple[float, ...]:
    """w_SAC(r), w_Kalman(r), and those of further legs."""
    w_sac = sac_weight(r, params.fusion)
    if not params.further:
        return w_sac, 1.0 - w_sac
    return (w_sac, 1.0 - w_sac, *(weight_at(r, *line) for line in params.further))


def legs_traded(params: MixParams) -> tuple[bool, ...]:
    """Whether each leg has a weight at any r."""
    ends = [leg_weights(r, params) for r in (-1.0, 0.0, 1.0)]
    return tuple(any(weight != 0.0 for weight in of_leg) for of_leg in zip(*ends, strict=True))


def constant_weights(w_sac: float) -> FusionParams:
    """A mix that does not listen to r: 1 is the SAC leg alone, 0 the Kalman leg alone."""
    return FusionParams(w_sac, w_sac, w_sac)


def mix_into(mixed: Cells[float], targets: Table, weights: Numbers) -> None:
    """sum_l w_l a_l written over `mixed`, (N,), from targets (L, N): the same source for CPython and numba."""
    for i in range(len(mixed)):
        mixed[i] = weights[0] * targets[0][i]
    for leg in range(1, len(targets)):
        weight, wanted = weights[leg], targets[leg]
        for i in range(len(mixed)):
            mixed[i] += weight * wanted[i]


class RiskUnit(NamedTuple):
    """How an action becomes exposure."""

    risk_unit: Annotated[float, Gt(0), "volatility per year of an action of 1"]
    exposure_cap: Annotated[float, Gt(0), "largest exposure of an action of 1, times the asset's share of equity"]
    bars_per_year: float


def exposure(action: float, volatility: float, unit: RiskUnit) -> float:
    """Exposure to one asset, as a fraction of its share of equity; `volatility` is per bar."""
    yearly = volatility * math.sqrt(unit.bars_per_year)
    if yearly * unit.exposure_cap <= unit.risk_unit:
        return action * unit.exposure_cap
    return action * unit.risk_unit / yearly


def portfolio_volatility(targets: Numbers, volatilities: Numbers, correlation: float) -> float:
    """Volatility per bar of targets (N,) given volatilities per bar (N,) under one correlation."""
    own = 0.0
    together = 0.0
    for target, volatility in zip(targets, volatilities):  # noqa: B905  numba knows no strict zip
        risk = target * volatility
        own += risk * risk
        together += risk
    return math.sqrt((1.0 - correlation) * own + correlation * together * together)


def limit(
    targets: Sequence[float], volatilities: Sequence[float], correlation: float, params: RiskParams
) -> tuple[list[float], float]:
    """Scale targets to the volatility target and the limits.

    Parameters
    ----------
    targets : (N,) signed fractions of equity
    volatilities : (N,) per bar, as known at the decision
    correlation : float in [0, 1)

    Returns
    -------
    (N,) list of float, and the factor that was applied to all of them before the cap on single assets.
    """
    if len(targets) != len(volatilities):
        raise ValueError(f"limit: {len(targets)} targets and {len(volatilities)} volatilities")
    limited = list(targets)
    scale = limit_in_place(limited, volatilities, correlation, params)
    return limited, scale


def limit_in_place(targets: Cells[float], volatilities: Numbers, correlation: float, params: RiskParams) -> float:
    """`limit` written over `targets`, (N,): the same source for CPython and numba."""
    gross = 0.0
    net = 0.0
    for target in targets:
        gross += abs(target)
        net += target
    if gross == 0.0:
        for i in range(len(targets)):
            targets[i] = 0.0
        return 1.0
    scale = params.scale_limit
    per_year = math.sqrt(params.bars_per_year)
    # what has no limit need not be known
    aimed, netted = params.volatility_target < math.inf, params.net_limit < math.inf
    volatility = portfolio_volatility(targets, volatilities, correlation) * per_year if aimed else 0.0
    if volatility * scale > params.volatility_target:
        scale = params.volatility_target / volatility
    if gross * scale > params.gross_limit:
        scale = params.gross_limit / gross
    if abs(net) * scale > params.net_limit:
        scale = params.net_limit / abs(net)
    cap, capped = params.asset_limit, False
    for i, target in enumerate(targets):
        wanted = target * scale
        targets[i] = cap if wanted > cap else -cap if wanted < -cap else wanted
        capped = capped or abs(wanted) > cap
    if not capped and (abs(net) + gross * SUM_ERROR) * scale < params.net_limit:
        return scale  # all targets shrank alike, and are within the limits as their sums were
    # a cap may unbalance longs and shorts and so raise net exposure and volatility: both are checked once more
    net = abs(math.fsum(targets)) if netted else 0.0
    volatility = portfolio_volatility(targets, volatilities, correlation) * per_year if aimed else 0.0
    trim = 1.0
    if net > params.net_limit:
        trim = params.net_limit / net
    if volatility * trim > params.volatility_target * (1.0 + ROUNDING):
        trim = params.volatility_target / volatility
    if trim < 1.0:
        for i, target in enumerate(targets):
            targets[i] = target * trim
    return scale


def settle_rows(
    settled: Lines, targets: Row[Table], weights: Table, volatility: Table, correlation: Numbers, risk: RiskParams
) -> None:
    """What is to be held at T closes: targets (T, L, N) mixed and limited into `settled`, (T, N)."""
    for t in range(len(settled)):
        mix_into(settled[t], targets[t], weights[t])
        limit_in_place(settled[t], volatility[t], correlation[t], risk)


def settled(
    r: float,
    targets: Sequence[Sequence[float]],
    volatility: Sequence[float],
    correlation: float,
    mix: MixParams,
    risk: RiskParams,
) -> tuple[tuple[float, ...], list[float], list[float], float]:
    """The same at one close and regime score: weights of the legs, their mix (N,), this within limits, its scale."""
    weights, fused = leg_weights(r, mix), [0.0] * len(volatility)
    mix_into(fused, targets, weights)
    return weights, fused, *limit(fused, volatility, correlation, risk)
