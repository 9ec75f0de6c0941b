"""The mix of the legs, steered by the regime score.

    a = sum_l w_l(r) a_l,      w_SAC(r) as the mode says,  w_Kalman(r) = 1 - w_SAC(r)

r runs from -1 (mean reversion, the Kalman leg leads) to +1 (trend, SAC leads). Each mode names w_SAC at r = -1, 0 and
+1; between them it is linear. Every further leg has such a line of its own and lies on top of the two. r moves the mix
and never the leverage: leverage belongs to `hybrid_bt.equations.risk`.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Le

from hybrid_bt.equations.risk import RiskParams, limit_in_place


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
    return (w_sac, 1.0 - w_sac, *(weight_at(r, *line) for line in params.further))


def legs_traded(params: MixParams) -> tuple[bool, ...]:
    """Whether each leg has a weight at any r."""
    ends = [leg_weights(r, params) for r in (-1.0, 0.0, 1.0)]
    return tuple(any(weight != 0.0 for weight in of_leg) for of_leg in zip(*ends, strict=True))


def constant_weights(w_sac: float) -> FusionParams:
    """A mix that does not listen to r: 1 is the SAC leg alone, 0 the Kalman leg alone."""
    return FusionParams(w_sac, w_sac, w_sac)


def mix_into(mixed: Any, targets: Any, weights: Any) -> None:
    """sum_l w_l a_l written over `mixed`, (N,), from targets (L, N): the same source for CPython and numba."""
    for i in range(len(mixed)):
        mixed[i] = weights[0] * targets[0][i]
    for leg in range(1, len(targets)):
        weight, wanted = weights[leg], targets[leg]
        for i in range(len(mixed)):
            mixed[i] += weight * wanted[i]


def settle_row(wanted: Any, targets: Any, weights: Any, volatility: Any, correlation: float, risk: RiskParams) -> None:
    """What is to be held at a close: targets (L, N) mixed and limited into `wanted`, (N,)."""
    mix_into(wanted, targets, weights)
    limit_in_place(wanted, volatility, correlation, risk)
