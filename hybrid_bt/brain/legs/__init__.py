"""Legs: causal signals that say what they want of assets, or of bundles of assets.

A leg sees a `View` of the market at the close of a bar and answers with wishes, signed fractions of equity. It knows
nothing of cash, fills or orders; its memory is its own. A new leg is one file and one line in `LEGS`, or an entry point
of the group `hybrid_bt.legs` in somebody else's package; `[legs.NAME]` in a TOML switches it on. The contract tests
loop over `LEGS`.

A leg is made as `LEGS[name](symbols, pairs, params)`: the names of the N symbols, the columns (y, x) of the P pairs,
and its `Params`, a NamedTuple whose fields say their bounds, unit and meaning (`hybrid_bt.equations.parameters`).
"""

from importlib.metadata import entry_points
from typing import Any, TypeAlias

from hybrid_bt.brain.legs.base import Leg, View, Wish, each_asset
from hybrid_bt.brain.legs.kalman import KalmanLeg
from hybrid_bt.brain.legs.sac import SacLeg
from hybrid_bt.equations.pair import PairView
from hybrid_bt.errors import ConfigError, did_you_mean

__all__ = ["LEGS", "KalmanLeg", "Leg", "PairView", "SacLeg", "View", "Wish", "each_asset", "leg_named"]

LegClass: TypeAlias = Any  #: called as said above; `Params` is its own

LEGS: dict[str, LegClass] = {"sac": SacLeg, "kalman": KalmanLeg}
ENTRY_POINTS = "hybrid_bt.legs"  #: group in which packages offer legs by name


def leg_named(name: str) -> LegClass:
    """The class of a registered leg.

    Raises
    ------
    ConfigError
        If nobody offers it.
    """
    if name in LEGS:
        return LEGS[name]
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        known = (*LEGS, *offered)
        raise ConfigError(f"legs: nobody offers {name!r} in LEGS or as {ENTRY_POINTS}{did_you_mean(name, known)}")
    return offered[name].load()
