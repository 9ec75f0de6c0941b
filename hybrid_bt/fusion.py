"""Convex mix of two legs, steered by the regime score.

    a = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman,      w_SAC(r) + w_Kalman(r) = 1

r runs from -1 (mean reversion, the Kalman leg leads) to +1 (trend, SAC leads). Each mode names w_SAC at r = -1, 0 and
+1; between them it is linear. r moves the mix and never the leverage: leverage belongs to `hybrid_bt.risk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Le

__all__ = ["FusionParams", "fuse", "fuse_into", "pairs_traded", "sac_weight"]


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


def sac_weight(r: float, params: FusionParams) -> float:
    """w_SAC(r); w_Kalman(r) is one minus it. r outside [-1, 1] is taken as the nearer end."""
    if r <= -1.0:
        return params.at_reversion  # to the bit
    if r >= 1.0:
        return params.at_trend
    if r < 0.0:
        return params.at_neutral + r * (params.at_neutral - params.at_reversion)
    return params.at_neutral + r * (params.at_trend - params.at_neutral)


def pairs_traded(params: FusionParams) -> bool:
    """Whether the Kalman leg has a weight at any r."""
    return params.at_reversion < 1.0


def fuse(sac: Sequence[float], kalman: Sequence[float], w_sac: float) -> list[float]:
    """Mix of two vectors of targets, (N,) each, as signed fractions of equity."""
    mixed = list(sac)
    if len(mixed) != len(kalman):
        raise ValueError(f"fuse: {len(mixed)} targets of one leg and {len(kalman)} of the other")
    fuse_into(mixed, sac, kalman, w_sac)
    return mixed


def fuse_into(mixed: Any, sac: Any, kalman: Any, w_sac: float) -> None:
    """`fuse` written over `mixed`, (N,): the same source for CPython and numba."""
    w_kalman = 1.0 - w_sac
    for i, target in enumerate(sac):
        mixed[i] = w_sac * target + w_kalman * kalman[i]
