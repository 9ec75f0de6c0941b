"""What a leg sees and what it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hybrid_bt import features
from hybrid_bt.features import AssetState, MarketState
from hybrid_bt.kalman import KalmanState
from hybrid_bt.spread import SpreadState

__all__ = ["Leg", "PairView", "View"]


class PairView(NamedTuple):
    """One pair `Y:X` after the last bar on which both traded."""

    y: int  #: column of the dependent asset
    x: int  #: column of the hedge asset
    kalman: KalmanState
    spread: SpreadState
    fresh: bool  #: both traded on this bar
    started: bool  #: both have traded on some bar
    log_y: float = math.nan  #: log closes of the last such bar, NaN before: the origin of `kalman`
    log_x: float = math.nan


class View(NamedTuple):
    """The market at the close of a bar; everything in it is known at that close."""

    traded: Sequence[bool]  #: (N,) the symbol has a bar
    warm: Sequence[bool]  #: (N,) the symbol's features have seen `WARMUP_BARS` returns
    assets: Sequence[AssetState]  #: (N,)
    volatilities: Sequence[float]  #: (N,) per bar
    market: MarketState
    pairs: Sequence[PairView]  #: (P,)
    pair_zscores: Sequence[float]  #: (N,) mean z-score of the asset's pairs, positive where it is dear

    @property
    def correlation(self) -> float:
        """Of the universe, in [0, 1)."""
        return features.correlation(self.market)


class Leg(Protocol):
    """A causal signal."""

    def targets(self, view: View) -> list[float]:
        """One target per symbol, (N,), as a signed fraction of equity, from this and earlier views only."""
        ...
