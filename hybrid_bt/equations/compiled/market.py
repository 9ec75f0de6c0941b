"""A whole panel through `features.absorb_bar` and `pair.absorb_bar`, and the positions of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.equations import features, kalman, pair
from hybrid_bt.equations.compiled.compiling import SOURCES, Floats, Ints, as_tuple, borrowed, compile_kernel, frozen
from hybrid_bt.equations.pair import PairPosition, PairRules, SpreadRates

Bools: TypeAlias = NDArray[np.bool_]

N_NOISE, N_POSITION = len(kalman.KalmanParams._fields), len(PairPosition._fields)


def _reading() -> Callable[..., None]:
    sources = SOURCES

    def read(
        closes: Floats,
        traded: Bools,
        sides: Ints,
        noise: Floats,
        rates: SpreadRates,
        n_pairs_of: Ints,
        logs: Floats,
        zscores: Floats,
        out_warm: Bools,
        out_features: Floats,
        out_market: Floats,
        out_market_warm: Bools,
        out_volatility: Floats,
        out_correlation: Floats,
        out_pairs: Floats,
    ) -> None:
        assert sources >= 0
        params = [kalman.KalmanParams(*as_tuple(k, N_NOISE)) for k in noise]
        pairs = [pair.first_pair(sides[p, 0], sides[p, 1], params[p]) for p in range(len(params))]
        assets = [features.initial_asset() for _ in range(closes.shape[1])]
        mean = features.initial_market()
        for t in range(len(closes)):
            for i, close in enumerate(closes[t]):
                logs[i] = math.log(close) if traded[t, i] else math.nan
                zscores[i] = 0.0
            mean = features.absorb_bar(borrowed(logs), borrowed(traded[t]), assets, mean)
            pair.absorb_bar(pairs, borrowed(logs), params, rates)
            stretch = pair.pair_zscores(pairs, borrowed(n_pairs_of), borrowed(zscores))
            for i, asset in enumerate(assets):
                for k, value in enumerate(features.asset_features(asset, mean, zscores[i])):
                    out_features[t, i, k] = value
                out_volatility[t, i] = features.volatility(asset)
                out_warm[t, i] = features.is_warm(asset)
            for k, value in enumerate(features.market_features(mean, stretch)):
                out_market[t, k] = value
            out_correlation[t] = features.correlation(mean)
            out_market_warm[t] = features.is_warm(mean.mean)
            for p, one in enumerate(pairs):
                for k, value in enumerate(pair.pair_view(one)):
                    out_pairs[t, p, k] = value

    return compile_kernel(read, parallel=False)


def _holding() -> Callable[..., None]:
    sources = SOURCES

    def hold(
        positions: Floats, fresh: Bools, zscores: Floats, ratios: Floats, rules: PairRules, out_amounts: Floats
    ) -> None:
        assert sources >= 0
        held = [PairPosition(*as_tuple(row, N_POSITION)) for row in positions]
        pair.hold_bars(held, fresh, zscores, ratios, rules, out_amounts)
        for p, position in enumerate(held):
            for k, value in enumerate(position):
                positions[p, k] = value

    return compile_kernel(hold, parallel=False)


_read = _reading()
_hold = _holding()


def read_all(
    closes: Floats,
    traded: Bools,
    pairs: Sequence[tuple[int, int]],
    noise: Sequence[kalman.KalmanParams],
    rates: SpreadRates,
    n_pairs_of: Sequence[int],
    *out: NDArray[np.generic],
) -> None:
    """Read all bars of a panel.

    Parameters
    ----------
    closes, traded : (T, N)
    pairs : (P, 2)
        Columns (y, x).
    noise : (P, fields)
        `KalmanParams` of each pair.
    n_pairs_of : (N,)
        Pairs that each symbol is a side of.
    out
        Columns `warm` to `pairs` of a blank `legs.base.View`, which are written.
    """
    n = closes.shape[1]
    inputs = (
        np.ascontiguousarray(closes),
        traded,
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
        np.array(noise, dtype=np.float64).reshape(-1, N_NOISE),
        SpreadRates._make(map(float, rates)),
        np.array(n_pairs_of, dtype=np.int64),
    )
    _read(*map(frozen, inputs), np.empty(n), np.empty(n), *out)


def hold_all(
    positions: list[PairPosition], fresh: Bools, zscores: Floats, ratios: Floats, rules: PairRules, amounts: Floats
) -> list[PairPosition]:
    """The positions after T bars; the rest as in `pair.hold_bars`."""
    numbers = np.array(positions, dtype=np.float64).reshape(-1, N_POSITION)
    given = (np.ascontiguousarray(values) for values in (fresh, zscores, ratios))
    _hold(numbers, *map(frozen, given), PairRules._make(map(float, rules)), amounts)
    return [PairPosition(*row) for row in numbers.tolist()]
