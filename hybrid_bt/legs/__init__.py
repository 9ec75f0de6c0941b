"""Legs: causal signals that return target exposures.

A leg sees a `View` of the market at the close of a bar and answers with one target per symbol, a signed fraction of
equity. It knows nothing of cash, fills or orders; its memory is its own. A new leg is one file here and one line in
`LEGS`; the contract tests loop over `LEGS`.
"""

from hybrid_bt.legs.base import Leg, PairView, View
from hybrid_bt.legs.kalman import KalmanLeg
from hybrid_bt.legs.sac import SacLeg

__all__ = ["LEGS", "KalmanLeg", "Leg", "PairView", "SacLeg", "View"]

LEGS = {"sac": SacLeg, "kalman": KalmanLeg}
