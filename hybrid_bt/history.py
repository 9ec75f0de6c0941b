"""A panel read bar by bar, as arrays: what training environments look at, and what the Kalman leg says.

Made by the step that `MarketReader` drives for the strategy, so an environment sees exactly what the strategy will see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.batch import choose
from hybrid_bt.features import (
    ASSET_FEATURES,
    CLIP,
    MARKET_FEATURES,
    asset_features,
    correlation,
    is_warm,
    market_features,
)
from hybrid_bt.kalman import KalmanParams
from hybrid_bt.legs.kalman import KalmanLeg, PairRules
from hybrid_bt.reader import MarketReader, check_closes
from hybrid_bt.recording import PAIR_FIELDS, pair_paths, pair_row
from hybrid_bt.records import PairPaths
from hybrid_bt.regime import pair_stretch

__all__ = ["MarketHistory", "Panel", "read_history", "read_whole", "record_kalman_leg"]

FEATURE_SECONDS, LEG_SECONDS = 2e-5, 5e-6  # of a bar x symbol, interpreted
NO_RULES = PairRules._make([0] * len(PairRules._fields))


class MarketHistory(NamedTuple):
    """T bars of N symbols; every row is known at its close."""

    bars: Bars
    assets: NDArray[np.float32]  #: (T, N, features) clipped, names in `features.ASSET_FEATURES`
    market: NDArray[np.float32]  #: (T, features) clipped, names in `features.MARKET_FEATURES`
    volatility: NDArray[np.float64]  #: (T, N) per bar
    correlation: NDArray[np.float64]  #: (T,)
    warm: NDArray[np.bool_]  #: (T, N)
    market_warm: NDArray[np.bool_]  #: (T,)


class Panel(NamedTuple):
    """All that bars alone decide, T bars of N symbols and P pairs; every row is known at its close."""

    assets: NDArray[np.float32]  #: as in `MarketHistory`
    market: NDArray[np.float32]
    volatility: NDArray[np.float64]
    correlation: NDArray[np.float64]
    warm: NDArray[np.bool_]
    market_warm: NDArray[np.bool_]
    beyond: NDArray[np.uint8]  #: (T, N + 1) features that were clipped, of each asset and then of the market
    targets: NDArray[np.float64]  #: (T, N) of the Kalman leg
    pairs: NDArray[np.float64]  #: (T, P, fields) `recording.PAIR_FIELDS`


def read_whole(closes: NDArray[np.float64], reader: MarketReader, rules: PairRules) -> Panel:
    """Features and Kalman leg of all bars, compiled (needs numba).

    Parameters
    ----------
    closes : (T, N)
        Positive and finite, or NaN where a symbol has no bar.
    reader, rules
        As in `record_kalman_leg`.
    """
    from hybrid_bt.kernels.market import read_panel

    t, n = closes.shape
    targets, pairs = _outputs(t, n, reader)
    panel = Panel(
        np.empty((t, n, len(ASSET_FEATURES)), np.float32),
        np.empty((t, len(MARKET_FEATURES)), np.float32),
        np.empty((t, n)),
        np.empty(t),
        np.empty((t, n), np.bool_),
        np.empty(t, np.bool_),
        _counts(t, n),
        targets,
        pairs,
    )
    read_panel(*_inputs(closes, reader, rules), *panel)
    return panel


def read_history(bars: Bars, reader: MarketReader, *, compiled: bool | None = None) -> MarketHistory:
    """Features of all bars.

    Parameters
    ----------
    reader : MarketReader
        Names the pairs and their parameters; it is not driven itself.
    compiled : bool, optional
        Run under numba (same bits). By default where the work is worth loading it.

    Raises
    ------
    BarsError
        If a close is neither NaN nor positive and finite.
    """
    check_closes(bars)
    if choose(compiled, bars.close.size * FEATURE_SECONDS):
        return _compiled_history(bars, reader)
    fresh = reader.anew()
    assets, market, volatility, rho, warm, market_warm = [], [], [], [], [], []
    for closes in bars.close.tolist():
        view = fresh.read(closes)
        assets.append([asset_features(a, view.market, z) for a, z in zip(view.assets, view.pair_zscores, strict=True)])
        market.append(market_features(view.market, pair_stretch(view.pairs)))
        volatility.append(view.volatilities)
        rho.append(correlation(view.market))
        warm.append(view.warm)
        market_warm.append(is_warm(view.market.mean))
    return MarketHistory(
        bars,
        _observed(assets),
        _observed(market),
        np.array(volatility),
        np.array(rho),
        np.array(warm),
        np.array(market_warm),
    )


def record_kalman_leg(
    bars: Bars, reader: MarketReader, rules: PairRules, pair_names: Sequence[str], *, compiled: bool | None = None
) -> tuple[NDArray[np.float64], PairPaths]:
    """Targets of the Kalman leg on all bars, (T, N), and what its pairs did.

    Parameters
    ----------
    reader, compiled
        As in `read_history`.
    pair_names : (P,) names `Y:X`
    """
    check_closes(bars)
    if choose(compiled, bars.close.size * LEG_SECONDS):
        targets, cube = _compiled_leg(bars, reader, rules)
    else:
        targets, cube = _interpreted_leg(bars, reader.anew(), rules)
    return targets, pair_paths(pair_names, cube)


def _interpreted_leg(bars: Bars, reader: MarketReader, rules: PairRules) -> tuple[Any, Any]:
    leg = KalmanLeg(reader.n_symbols, len(reader.columns), rules)
    targets, rows = [], []
    for closes in bars.close.tolist():
        view = reader.read(closes)
        targets.append(leg.targets(view))
        rows.append([pair_row(pair, held.direction) for pair, held in zip(view.pairs, leg.positions, strict=True)])
    return np.array(targets), np.array(rows).reshape(len(rows), len(reader.columns), len(PAIR_FIELDS))


def _observed(rows: list[Any]) -> NDArray[np.float32]:
    """As a frozen policy sees them: clipped, then rounded to float32."""
    observed: NDArray[np.float32] = np.clip(np.array(rows), -CLIP, CLIP).astype(np.float32)
    return observed


def _compiled_history(bars: Bars, reader: MarketReader) -> MarketHistory:
    return MarketHistory(bars, *read_whole(bars.close, reader, NO_RULES)[:6])


def _compiled_leg(bars: Bars, reader: MarketReader, rules: PairRules) -> tuple[Any, Any]:
    from hybrid_bt.kernels.market import read_panel

    t, n = bars.close.shape
    nothing = MarketHistory(
        bars,
        np.empty((0, 0, 0), np.float32),
        np.empty((0, 0), np.float32),
        np.empty((0, 0)),
        np.empty(0),
        np.empty((0, 0), np.bool_),
        np.empty(0, np.bool_),
    )
    outputs = _outputs(t, n, reader)
    read_panel(*_inputs(bars.close, reader, rules), *nothing[1:], _counts(0, n), *outputs)
    return outputs


def _counts(n_bars: int, n_symbols: int) -> NDArray[np.uint8]:
    return np.zeros((n_bars, n_symbols + 1), np.uint8)


def _outputs(n_bars: int, n_symbols: int, reader: MarketReader) -> tuple[Any, Any]:
    return np.zeros((n_bars, n_symbols)), np.empty((n_bars, len(reader.columns), len(PAIR_FIELDS)))


def _inputs(closes: NDArray[np.float64], reader: MarketReader, rules: PairRules) -> tuple[Any, ...]:
    """Everything that the compiled panel reads, in the types that it is compiled for."""
    return (
        np.ascontiguousarray(closes),
        np.array(reader.columns, dtype=np.int64).reshape(-1, 2),
        np.array(reader.kalman_params, dtype=np.float64).reshape(-1, len(KalmanParams._fields)),
        type(reader.rates)(*map(float, reader.rates)),
        PairRules._make(map(float, rules)),
        np.array(reader.n_pairs_of, dtype=np.int64),
    )
