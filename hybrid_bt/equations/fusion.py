"""What is to be held: the legs in units of risk, mixed by the regime score, within limits that keep hedges whole.

    a = sum_l w_l(r) a_l = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman + ...

The first leg is the *base*. What r weighs in it is how far it departs from equal risk in every asset, with the gross
exposure as it was (`equations.tilt.lean`), share = w_SAC(r) = 1 - e r of its tilt. It is then scaled to the volatility
target of the whole portfolio, by no more than `scale_limit`, and limited. Further legs lie on top, in units of risk:

    w_l = share_l(r) volatility_target / sigma_l,         at most leg_scale_limit

with sigma_l the leg's own volatility (`equations.leg_risk`). So a share of 0.25 is a quarter of the account's risk,
whatever its wishes are worth in money; shares need not sum to one. r runs from -1 (mean reversion) to +1 (trend): each
mode names e and the Kalman leg's share at -1, 0 and +1, and each further leg has such a line of its own.

The volatility of base targets a_i with volatilities sigma_i is taken under one common correlation rho,

    sigma_p^2 = (1 - rho) sum_i (a_i sigma_i)^2 + rho (sum_i a_i sigma_i)^2,

the constant-correlation model (Elton & Gruber, Journal of Finance 28(5), 1973), with rho and sigma_i causal recursions
of `equations.features`: no matrix, and it reacts to the composition of the portfolio at once.

Then all is held to the limits: hedges to a gross exposure of their own, what stands alone to another, netted targets to
those of an asset and of net exposure (`equations.bundles`: whole hedges are cut, never a side).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from annotated_types import Ge, Le

from hybrid_bt.equations import Cells, Factor, InBars, Lines, Numbers, Table, Written
from hybrid_bt.equations.bundles import ROUNDING, Layout, gross_of, hold_to, net_into, scale_sides
from hybrid_bt.equations.tilt import lean

Line = tuple[float, float, float]  #: a leg's share at r = -1, 0 and +1

WHOLE: Line = (1.0, 1.0, 1.0)
NOTHING: Line = (0.0, 0.0, 0.0)


class FusionParams(NamedTuple):
    """Share of the account's risk that the Kalman leg has, at three regime scores."""

    at_reversion: Annotated[float, Ge(0), Le(1), "share of risk of the Kalman leg at r = -1"]
    at_neutral: Annotated[float, Ge(0), Le(1), "the same at r = 0"]
    at_trend: Annotated[float, Ge(0), Le(1), "the same at r = +1"]

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        if self.at_reversion >= self.at_neutral >= self.at_trend:
            return ""
        given = ", ".join(map(repr, self))
        return (
            f"the pairs' share of risk must not rise with r; got {given} at r = -1, 0, +1 (these are no weights of SAC)"
        )


class RiskParams(NamedTuple):
    """Limits as fractions of equity; volatility per year."""

    volatility_target: Annotated[Factor, "volatility of the portfolio per year that the base is scaled to"]
    scale_limit: Annotated[Factor, "the base is never multiplied by more than this"]
    leg_scale_limit: Annotated[Factor, "wishes of a leg on top of it are never multiplied by more than this"]
    gross_limit: Annotated[Factor, "sum of |target| of what is not hedged"]
    hedged_gross_limit: Annotated[Factor, "sum of |side| of all pairs"]
    net_limit: Annotated[Factor, "|sum of targets|; below 1 it leaves the cash that a gap and the costs need"]
    asset_limit: Annotated[Factor, "|target| of one asset"]
    bars_per_year: Annotated[InBars, 'bars, not days, or "auto": 252 if daily, else counted before trading']


def share_at(r: float, at_reversion: float, at_neutral: float, at_trend: float) -> float:
    """A leg's share; r outside [-1, 1] is taken as the nearer end."""
    if r <= -1.0:
        return at_reversion  # to the bit
    if r >= 1.0:
        return at_trend
    if r < 0.0:
        return at_neutral + r * (at_neutral - at_reversion)
    return at_neutral + r * (at_trend - at_neutral)


def leg_shares(r: float, lines: Sequence[Line]) -> tuple[float, ...]:
    """The share of every leg, (L,)."""
    return tuple(share_at(r, *line) for line in lines)


def legs_traded(lines: Sequence[Line]) -> tuple[bool, ...]:
    """Whether each leg has a share at any r."""
    return tuple(any(line) for line in lines)


class RiskUnit(NamedTuple):
    """How an action becomes exposure, in an account of one asset."""

    risk_unit: Annotated[Factor, "volatility per year of an action of 1"]
    exposure_cap: Annotated[Factor, "largest exposure of an action of 1, times the asset's share of equity"]
    bars_per_year: float


def exposure(action: float, volatility: float, unit: RiskUnit) -> float:
    """Exposure to one asset, as a fraction of its share of equity; `volatility` is per bar."""
    yearly = volatility * math.sqrt(unit.bars_per_year)
    if yearly * unit.exposure_cap <= unit.risk_unit:
        return action * unit.exposure_cap
    return action * unit.risk_unit / yearly


def portfolio_volatility(targets: Numbers, volatilities: Numbers, correlation: float) -> float:
    """Volatility per bar of targets (N,) given volatilities per bar (N,) under one correlation."""
    own, together = 0.0, 0.0
    for target, volatility in zip(targets, volatilities):  # noqa: B905  numba knows no strict zip
        risk = target * volatility
        own, together = own + risk * risk, together + risk
    return math.sqrt((1.0 - correlation) * own + correlation * together * together)


def scale_of(targets: Numbers, volatilities: Numbers, correlation: float, params: RiskParams, most: float) -> float:
    """The factor, at most `most`, that brings targets to the volatility target, within gross and net limits."""
    gross, net, scale = 0.0, 0.0, most
    for target in targets:
        gross, net = gross + abs(target), net + target
    if gross == 0.0:
        return scale
    if params.volatility_target < math.inf:  # what has no limit need not be known
        yearly = portfolio_volatility(targets, volatilities, correlation) * math.sqrt(params.bars_per_year)
        if yearly * scale > params.volatility_target * (1.0 + ROUNDING):
            scale = params.volatility_target / yearly
    if gross * scale > params.gross_limit:
        scale = params.gross_limit / gross
    if abs(net) * scale > params.net_limit * (1.0 + ROUNDING):
        scale = params.net_limit / abs(net)
    return scale


def limit_in_place(targets: Cells[float], volatilities: Numbers, correlation: float, params: RiskParams) -> float:
    """Scale targets of assets, (N,), to the volatility target and the limits; the factor before the cap on each."""
    scale = scale_of(targets, volatilities, correlation, params, params.scale_limit)
    cap, is_capped = params.asset_limit, False
    for i, target in enumerate(targets):
        wanted = target * scale
        targets[i] = cap if wanted > cap else -cap if wanted < -cap else wanted
        is_capped = is_capped or abs(wanted) > cap
    if is_capped:  # a cap may unbalance longs and shorts and so raise net exposure and volatility
        trim = scale_of(targets, volatilities, correlation, params, 1.0)
        for i, target in enumerate(targets):
            targets[i] = target * trim
    return scale


class Said(NamedTuple):
    """What is to be mixed at a close."""

    amounts: Numbers  #: (S,) wishes, side by side
    risks: Numbers  #: (L,) volatility per bar of each leg's wishes
    volatility: Numbers  #: (N,) per bar
    correlation: float


class Settled(NamedTuple):
    """What is to be held, written in place."""

    targets: Written  #: (N,) signed fractions of equity
    sides: Written  #: (S,) that they are made of
    weights: Written  #: (L,) that brought wishes to sides, before limits


def weight_of(share: float, risk: float, params: RiskParams) -> float:
    """By what the wishes of a leg on top are multiplied."""
    yearly, aimed = risk * math.sqrt(params.bars_per_year), share * params.volatility_target
    return aimed / yearly if yearly * params.leg_scale_limit > aimed else params.leg_scale_limit if share > 0.0 else 0.0


def settle_bar(out: Settled, said: Said, layout: Layout, shares: Numbers, params: RiskParams, bounds: Written) -> float:
    """Mix what the legs said at one close, and hold it to the limits; the factor that brought the base to the
    volatility target. `bounds` is room, (N,).
    """
    targets, sides, weights = out
    (amounts, risks, volatility, correlation), (columns, ends, legs), first, lies_on_top = said, layout, 0, False
    for i in range(len(targets)):
        targets[i], bounds[i] = 0.0, params.asset_limit
    lean(sides, amounts, volatility, layout, shares[0])
    for b, end in enumerate(ends):
        for s in range(first, end):
            if legs[b] == 0:
                targets[columns[s]] += sides[s]
            else:
                sides[s] = 0.0
                lies_on_top = lies_on_top or amounts[s] != 0.0
        first = end
    scale = scale_of(targets, volatility, correlation, params, params.scale_limit)
    for i in range(len(targets)):
        targets[i] *= scale
    for s in range(len(sides)):
        sides[s] *= scale
    if hold_to(targets, sides, layout, bounds, params.net_limit):
        trim = scale_of(targets, volatility, correlation, params, 1.0)
        for s in range(len(sides)):
            sides[s] *= trim
        lies_on_top = lies_on_top or trim < 1.0
    weights[0] = scale if shares[0] > 0.0 else 0.0
    for leg in range(1, len(weights)):
        weights[leg] = weight_of(shares[leg], risks[leg], params)
    if lies_on_top:
        _lay_on_top(sides, weights, said, layout, params)
        net_into(targets, sides, layout)
        hold_to(targets, sides, layout, bounds, params.net_limit)
    return scale


def _lay_on_top(sides: Written, weights: Numbers, said: Said, layout: Layout, params: RiskParams) -> None:
    """Write the sides of the legs behind the first, and hold hedges and what stands alone to their gross limits."""
    first = 0
    for b, end in enumerate(layout.ends):
        leg = layout.legs[b]
        if leg > 0:
            for s in range(first, end):
                sides[s] = weights[leg] * said.amounts[s]
        first = end
    for hedges, most in ((False, params.gross_limit), (True, params.hedged_gross_limit)):
        gross = gross_of(sides, layout, hedges)
        if gross > most:
            scale_sides(sides, layout, hedges, most / gross)


class Rows(NamedTuple):
    """What T closes come to, written in place; R is T, or 1 where what stands beside the targets is not wanted."""

    targets: Lines  #: (T, N)
    sides: Lines  #: (R, S)
    weights: Lines  #: (R, L)
    scales: Written  #: (R,) of the base


def settle_rows(
    out: Rows,
    said: tuple[Table, Table, Table, Numbers],
    layout: Layout,
    shares: Table,
    risk: RiskParams,
    bounds: Written,
) -> None:
    """`settle_bar` of T closes: `said` is (T, ...) of the fields of `Said`; `bounds` is room, (N,)."""
    amounts, risks, volatility, correlation = said
    for t in range(len(out.targets)):
        k, one = t % len(out.scales), Said(amounts[t], risks[t], volatility[t], correlation[t])
        settled = Settled(out.targets[t], out.sides[k], out.weights[k])
        out.scales[k] = settle_bar(settled, one, layout, shares[t], risk, bounds)
