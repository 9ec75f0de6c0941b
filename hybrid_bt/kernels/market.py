"""A whole panel through `reader.absorb_bar`: features for training, and the Kalman leg's recording."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hybrid_bt import features, kalman, reader, recording, regime, spread
from hybrid_bt.kernels.compiling import as_tuple, borrowed, compile_kernel, digest_of, frozen, register
from hybrid_bt.legs import base
from hybrid_bt.legs import kalman as kalman_leg
from hybrid_bt.legs.kalman import PairPosition, PairRules
from hybrid_bt.spread import SpreadRates

__all__ = ["read_panel"]

register(
    (
        kalman.initial_state,
        kalman.step,
        kalman.follow,
        kalman.intercept,
        spread.initial_state,
        spread.absorb,
        features.initial_asset,
        features.initial_market,
        features._absorb_return,
        features.asset_step,
        features.market_step,
        features.correlation,
        features.volatility,
        features.is_warm,
        features._clip,
        features._in_sd,
        features._log_ratio,
        features.own_features,
        features.context_features,
        features.asset_features,
        features.market_features,
        regime.pair_stretch,
        reader.first_pair,
        reader.pair_bar,
        reader.absorb_bar,
        reader.pair_zscores,
        kalman_leg._wants_entry,
        kalman_leg.pair_step,
        kalman_leg.stale_step,
        kalman_leg.hold_pairs,
        recording.pair_row,
    )
)
N_NOISE = len(kalman.KalmanParams._fields)
MODULES = (kalman, spread, features, regime, reader, base, kalman_leg, recording)


def _kernel() -> Callable[..., None]:
    digest = digest_of(MODULES)

    def walk(
        closes: Any,
        sides: Any,
        noise: Any,
        rates: SpreadRates,
        rules: PairRules,
        n_pairs_of: Any,
        logs: Any,
        traded: Any,
        zscores: Any,
        out_assets: Any,
        out_market: Any,
        out_volatility: Any,
        out_correlation: Any,
        out_warm: Any,
        out_market_warm: Any,
        out_beyond: Any,
        out_targets: Any,
        out_pairs: Any,
    ) -> None:
        assert digest >= 0
        params = [kalman.KalmanParams(*as_tuple(k, N_NOISE)) for k in noise]
        pairs = [reader.first_pair(sides[p, 0], sides[p, 1], params[p]) for p in range(len(params))]
        assets = [features.initial_asset() for _ in range(closes.shape[1])]
        positions = [PairPosition(0.0, 0.0, 0.0, 0.0, 0.0) for _ in params]
        market = features.initial_market()
        for t in range(len(closes)):
            for i, close in enumerate(closes[t]):
                traded[i] = close == close
                logs[i] = math.log(close) if traded[i] else math.nan
                zscores[i] = 0.0
            market = reader.absorb_bar(borrowed(logs), borrowed(traded), assets, market, pairs, params, rates)
            if t < len(out_assets):
                reader.pair_zscores(pairs, borrowed(n_pairs_of), borrowed(zscores))
                for i, asset in enumerate(assets):
                    beyond = 0
                    for k, value in enumerate(features.asset_features(asset, market, zscores[i])):
                        out_assets[t, i, k] = features._clip(value)
                        beyond += abs(value) > features.CLIP
                    out_beyond[t, i] = beyond
                    out_volatility[t, i] = features.volatility(asset)
                    out_warm[t, i] = features.is_warm(asset)
                beyond = 0
                for k, value in enumerate(features.market_features(market, regime.pair_stretch(pairs))):
                    out_market[t, k] = features._clip(value)
                    beyond += abs(value) > features.CLIP
                out_beyond[t, len(assets)] = beyond
                out_correlation[t] = features.correlation(market)
                out_market_warm[t] = features.is_warm(market.mean)
            if t < len(out_targets):
                kalman_leg.hold_pairs(positions, pairs, rules, borrowed(out_targets[t]))
                for p, pair in enumerate(pairs):
                    for k, value in enumerate(recording.pair_row(pair, positions[p].direction)):
                        out_pairs[t, p, k] = value

    return compile_kernel(walk, parallel=False)


_walk = _kernel()


def read_panel(closes: Any, *rest: Any) -> None:
    """Walk a panel.

    Parameters
    ----------
    closes : (T, N)
        Positive or NaN.
    rest
        What the market is: sides (P, 2) int64, noise (P, fields) of `KalmanParams`, `SpreadRates`, `PairRules`, pairs
        of each asset (N,) int64. What is written: clipped features (T, N, features) and (T, features) float32,
        volatility (T, N), correlation (T,), warm (T, N), market warm (T,), how many features of each asset and of the
        market were clipped (T, N + 1) uint8; the Kalman leg's targets (T, N), zeros, and pairs (T, P, fields). Arrays
        of length 0 are not written.
    """
    n = closes.shape[1]
    settings, outputs = rest[:5], rest[5:]  # arrays of a row lie between
    _walk(frozen(closes), *map(frozen, settings), np.empty(n), np.empty(n, np.bool_), np.empty(n), *outputs)
