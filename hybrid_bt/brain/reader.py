"""What is seen of a whole panel: a view is a row of it.

`read_panel` drives the recursions that `hybrid.MarketReader` drives from one bar to the next, where it is worth it in a
compiled loop (`hybrid_bt.equations.compiled.market`), with the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.brain.hybrid import MarketReader
from hybrid_bt.brain.legs.base import View, check_closes
from hybrid_bt.equations import features
from hybrid_bt.equations.compiled.choice import choose
from hybrid_bt.equations.pair import PairView

FloatArray = NDArray[np.float64]

READING_SECONDS = 2e-5  # of a bar x symbol, interpreted


def read_panel(closes: FloatArray, reader: MarketReader, *, compiled: bool | None = None) -> View:
    """The views of all bars: arrays with T in front.

    Parameters
    ----------
    closes : (T, N)
        NaN where a symbol has no bar.
    reader : MarketReader
        Names the pairs and their parameters; it is not driven itself.
    compiled : bool, optional
        Run under numba (same bits). By default where the work is worth loading it.

    Raises
    ------
    BarsError
        If a close is neither NaN nor positive and finite.
    """
    bad = np.argwhere(~(np.isnan(closes) | ((closes > 0.0) & (closes < math.inf))))
    if bad.size:
        check_closes(closes[bad[0][0]].tolist())
    panel = _blank_panel(closes, reader)
    if choose(compiled, closes.size * READING_SECONDS):
        from hybrid_bt.equations.compiled.market import read_all

        read_all(
            closes, panel.traded, reader.columns, reader.kalman_params, reader.rates, reader.n_pairs_of, *panel[2:9]
        )
        return panel
    fresh = reader.anew()
    for t, row in enumerate(closes.tolist()):
        for column, value in zip(panel[2:9], fresh.read(row)[2:9], strict=True):  # what is not of the closes themselves
            if column.size:
                column[t] = value
    return panel


def _blank_panel(closes: FloatArray, reader: MarketReader) -> View:
    t, n = closes.shape
    return View(
        closes,
        ~np.isnan(closes),
        np.empty((t, n), np.bool_),
        np.empty((t, n, len(features.ASSET_FEATURES))),
        np.empty((t, len(features.MARKET_FEATURES))),
        np.empty(t, np.bool_),
        np.empty((t, n)),
        np.empty(t),
        np.empty((t, len(reader.columns), len(PairView._fields))),
        np.full(t, reader.bars_per_year),
    )


def panel_rows(panel: View) -> list[View]:
    """The views of a panel's bars, as `MarketReader.read` makes them."""
    *columns, pairs, rate = (column.tolist() for column in panel)
    views = [[PairView(*numbers) for numbers in row] for row in pairs]
    return [View(*row) for row in zip(*columns, views, rate, strict=True)]


def cut(panel: View, rows: slice) -> View:
    """Some bars of a panel; the arrays are views."""
    return View(*(column[rows] for column in panel))


class MarketHistory(NamedTuple):
    """T bars of N symbols as training environments look at them; every row is known at its close."""

    bars: Bars
    assets: NDArray[np.float32]  #: (T, N, features) clipped, names in `features.ASSET_FEATURES`
    market: NDArray[np.float32]  #: (T, features) clipped, names in `features.MARKET_FEATURES`
    volatility: NDArray[np.float64]  #: (T, N) per bar
    correlation: NDArray[np.float64]  #: (T,)
    warm: NDArray[np.bool_]  #: (T, N)
    market_warm: NDArray[np.bool_]  #: (T,)


def read_history(bars: Bars, reader: MarketReader, *, compiled: bool | None = None) -> MarketHistory:
    """Features of all bars; parameters and errors as `read_panel`."""
    panel = read_panel(bars.close, reader, compiled=compiled)
    # as a frozen policy sees them: clipped, then rounded to float32
    assets, market = (
        np.clip(values, -features.CLIP, features.CLIP).astype(np.float32) for values in (panel.features, panel.market)
    )
    return MarketHistory(bars, assets, market, panel.volatility, panel.correlation, panel.warm, panel.market_warm)
