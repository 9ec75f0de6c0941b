"""A panel as training environments look at it: every row is known at its close.

Made by the step that `MarketReader` drives for the strategy, so an environment sees exactly what the strategy will see.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.brain.hybrid import MarketReader
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.equations.features import CLIP


class MarketHistory(NamedTuple):
    """T bars of N symbols; every row is known at its close."""

    bars: Bars
    assets: NDArray[np.float32]  #: (T, N, features) clipped, names in `features.ASSET_FEATURES`
    market: NDArray[np.float32]  #: (T, features) clipped, names in `features.MARKET_FEATURES`
    volatility: NDArray[np.float64]  #: (T, N) per bar
    correlation: NDArray[np.float64]  #: (T,)
    warm: NDArray[np.bool_]  #: (T, N)
    market_warm: NDArray[np.bool_]  #: (T,)


def read_history(bars: Bars, reader: MarketReader, *, compiled: bool | None = None) -> MarketHistory:
    """Features of all bars; parameters and errors as `reader.read_panel`."""
    panel = read_panel(bars.close, reader, compiled=compiled)
    seen = (_observed(panel.features), _observed(panel.market))
    return MarketHistory(bars, *seen, panel.volatility, panel.correlation, panel.warm, panel.market_warm)


def _observed(features: NDArray[np.float64]) -> NDArray[np.float32]:
    """As a frozen policy sees them: clipped, then rounded to float32."""
    observed: NDArray[np.float32] = np.clip(features, -CLIP, CLIP).astype(np.float32)
    return observed
