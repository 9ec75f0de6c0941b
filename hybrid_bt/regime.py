"""The regime gate: a frozen recurrent policy that reads the market and scores the regime.

r = +1 says trend, r = -1 mean reversion. The gate sees market features only, never targets or the account, so its
scores do not depend on costs, weights or limits and can be recorded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.features import MARKET_FEATURES, is_warm, market_features
from hybrid_bt.legs.base import PairView, View

__all__ = ["OBSERVATION", "Gate", "MarketPolicy"]

#: names of the observation, in order
OBSERVATION = MARKET_FEATURES


class MarketPolicy(Protocol):
    """Anything that maps a (1, features) observation to a (1,) action and keeps its memory inside."""

    def act(self, observations: NDArray[np.float64]) -> NDArray[np.float64]: ...


class Gate:
    """Regime score of each bar; neutral until the market's features are warm."""

    def __init__(self, policy: MarketPolicy) -> None:
        self.policy = policy

    def score(self, view: View) -> float:
        """R in [-1, 1] at this close."""
        if not is_warm(view.market.mean):
            return 0.0
        observation = np.array([market_features(view.market, pair_stretch(view.pairs))])
        return min(max(float(self.policy.act(observation)[0]), -1.0), 1.0)


def pair_stretch(pairs: Sequence[PairView]) -> float:
    """Mean |z-score| of all pairs; 0 without pairs."""
    if len(pairs) == 0:
        return 0.0
    total = 0.0
    for pair in pairs:
        total += abs(pair.spread.zscore)
    return total / len(pairs)
