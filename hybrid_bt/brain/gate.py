"""The regime gate: a frozen recurrent policy that reads the market and scores the regime.

r = +1 says trend, r = -1 mean reversion. The gate sees market features only, never targets or the account, so its
scores do not depend on costs, weights or limits and can be recorded once.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import View
from hybrid_bt.brain.legs.sac import checked_actions
from hybrid_bt.equations.features import MARKET_FEATURES

#: names of the observation, in order
OBSERVATION = MARKET_FEATURES


class MarketPolicy(Protocol):
    """Anything that maps a (1, features) observation to a (1,) action and keeps its memory inside."""

    def act(self, observations: NDArray[np.float64]) -> NDArray[np.float64]: ...


class Gate:
    """Regime score of each bar; neutral until the market's features are warm.

    Where the policy fails, its memory is put back to what it was before the call, if it can be.
    """

    def __init__(self, policy: MarketPolicy) -> None:
        self.policy = policy

    def score(self, view: View) -> float:
        """R in [-1, 1] at this close."""
        if not view.market_warm:
            return 0.0
        return self._asked(self.policy.act, np.array([view.market])).tolist()[0]  # type: ignore[no-any-return]

    def scores_of_bars(self, views: View) -> NDArray[np.float64]:
        """R of many bars, (T,): the same bits; where it raises, the memory is as it was before."""
        scores = np.zeros(len(views.market))
        warm = views.market_warm
        if warm.any():
            policy: Any = self.policy
            scores[warm] = self._asked(policy.run, views.market[warm])
        return scores

    def _asked(self, ask: Any, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        policy: Any = self.policy
        has_memory = getattr(policy, "is_recurrent", hasattr(policy, "restore"))
        before = policy.state() if has_memory and hasattr(policy, "state") else None
        try:
            return np.clip(checked_actions(policy, ask(observations), len(observations)), -1.0, 1.0)
        except Exception:
            if before is not None:
                policy.restore(before)
            raise
