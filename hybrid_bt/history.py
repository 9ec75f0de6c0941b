"""A panel's features, bar by bar, as arrays: what training environments look at.

Made by the same `MarketReader` that the strategy drives, so an environment sees exactly what the strategy will see.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.features import CLIP, WARMUP_BARS, asset_features, correlation, market_features
from hybrid_bt.reader import MarketReader
from hybrid_bt.regime import pair_stretch

__all__ = ["MarketHistory", "read_history"]


class MarketHistory(NamedTuple):
    """T bars of N symbols; every row is known at its close."""

    bars: Bars
    assets: NDArray[np.float32]  #: (T, N, features) clipped, names in `features.ASSET_FEATURES`
    market: NDArray[np.float32]  #: (T, features) clipped, names in `features.MARKET_FEATURES`
    volatility: NDArray[np.float64]  #: (T, N) per bar
    correlation: NDArray[np.float64]  #: (T,)
    warm: NDArray[np.bool_]  #: (T, N)
    market_warm: NDArray[np.bool_]  #: (T,)


def read_history(bars: Bars, reader: MarketReader) -> MarketHistory:
    """Drive a fresh reader over all bars."""
    views = (reader.read(closes) for closes in bars.close.tolist())
    assets, market, volatility, rho, warm, market_warm = [], [], [], [], [], []
    for view in views:
        assets.append([asset_features(a, view.market, z) for a, z in zip(view.assets, view.pair_zscores, strict=True)])
        market.append(market_features(view.market, pair_stretch(view.pairs)))
        volatility.append(view.volatilities)
        rho.append(correlation(view.market))
        warm.append(view.warm)
        market_warm.append(view.market.mean.n_returns >= WARMUP_BARS)
    return MarketHistory(
        bars,
        _observed(assets),
        _observed(market),
        np.array(volatility),
        np.array(rho),
        np.array(warm),
        np.array(market_warm),
    )


def _observed(rows: list[Any]) -> NDArray[np.float32]:
    """As a frozen policy sees them: clipped, then rounded to float32."""
    observed: NDArray[np.float32] = np.clip(np.array(rows), -CLIP, CLIP).astype(np.float32)
    return observed
