"""Convex mix of two legs, steered by the regime score.

    a = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman,      w_SAC(r) + w_Kalman(r) = 1

r runs from -1 (mean reversion, the Kalman leg leads) to +1 (trend, SAC leads). Each mode names w_SAC at r = -1, 0 and
+1; between them it is linear. r moves the mix and never the leverage: leverage belongs to `hybrid_bt.risk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["FusionParams", "fuse", "sac_weight"]


class FusionParams(NamedTuple):
    """Weight of the SAC leg at three regime scores, non-decreasing, each in [0, 1]."""

    at_reversion: float  #: r = -1
    at_neutral: float  #: r = 0
    at_trend: float  #: r = +1


def sac_weight(r: float, params: FusionParams) -> float:
    """w_SAC(r); w_Kalman(r) is one minus it. r outside [-1, 1] is taken as the nearer end."""
    r = min(max(r, -1.0), 1.0)
    if r < 0.0:
        return params.at_neutral + r * (params.at_neutral - params.at_reversion)
    return params.at_neutral + r * (params.at_trend - params.at_neutral)


def fuse(sac: Sequence[float], kalman: Sequence[float], w_sac: float) -> list[float]:
    """Mix of two vectors of targets, (N,) each, as signed fractions of equity."""
    w_kalman = 1.0 - w_sac
    return [w_sac * a + w_kalman * b for a, b in zip(sac, kalman, strict=True)]
