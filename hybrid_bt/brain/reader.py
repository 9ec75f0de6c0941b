"""What is seen of a market, bar by bar or of a whole panel: a view is a row of the panel.

`MarketReader` drives the recursions of `equations.market` from one bar to the next on lists; `read_panel` drives them
over all bars, where it is worth it in a compiled loop (`hybrid_bt.equations.compiled.market`), with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import View
from hybrid_bt.equations import features, spread
from hybrid_bt.equations.compiled.choice import choose
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.market import PairView, absorb_bar, first_pair, pair_stretch, pair_view, pair_zscores
from hybrid_bt.equations.spread import SpreadParams
from hybrid_bt.errors import BarsError

FloatArray = NDArray[np.float64]

READING_SECONDS = 2e-5  # of a bar x symbol, interpreted


class MarketReader:
    """Drives the recursions of all assets and pairs from one bar to the next.

    Parameters
    ----------
    n_symbols : int
    pairs : sequence of (y, x) columns
    kalman_params : one `KalmanParams` per pair
    spread_params : SpreadParams
    bars_per_year : float
        That views name; it may be set anew between bars.

    Attributes
    ----------
    assets, market, pairs
        The recursions after the last bar.
    """

    def __init__(
        self,
        n_symbols: int,
        pairs: Sequence[tuple[int, int]],
        kalman_params: Sequence[KalmanParams],
        spread_params: SpreadParams,
        bars_per_year: float = 252.0,
    ) -> None:
        self.n_symbols, self.columns = n_symbols, [(int(y), int(x)) for y, x in pairs]
        self.kalman_params, self.spread_params = list(kalman_params), spread_params
        self.rates = spread.rates_of(spread_params)
        self.bars_per_year = bars_per_year
        self.n_pairs_of = [0] * n_symbols  #: (N,) pairs that each asset is a side of
        for y, x in self.columns:
            self.n_pairs_of[y] += 1
            self.n_pairs_of[x] += 1
        self.assets = [features.initial_asset()] * n_symbols
        self.market = features.initial_market()
        self.pairs = [first_pair(y, x, params) for (y, x), params in zip(self.columns, kalman_params, strict=True)]

    def anew(self) -> MarketReader:
        """A reader of the same pairs and parameters that has seen nothing."""
        return MarketReader(self.n_symbols, self.columns, self.kalman_params, self.spread_params, self.bars_per_year)

    def read(self, closes: Sequence[float]) -> View:
        """Absorb the closes of one bar, (N,), NaN where a symbol has no bar."""
        logs = [_log_close(close, i) for i, close in enumerate(closes)]
        traded = [not math.isnan(value) for value in logs]
        assets, pairs = self.assets, self.pairs
        self.market = market = absorb_bar(logs, traded, assets, self.market, pairs, self.kalman_params, self.rates)
        zscores = [0.0] * len(logs)
        pair_zscores(pairs, self.n_pairs_of, zscores)
        context = features.context_features(market)
        return View(
            closes,
            traded,
            [features.is_warm(asset) for asset in assets],
            [  # `features.asset_features`, what all share being made once
                features.own_features(asset, market.mean) + context + (zscore,)
                for asset, zscore in zip(assets, zscores, strict=True)
            ],
            features.market_features(market, pair_stretch(pairs)),
            features.is_warm(market.mean),
            [features.volatility(asset) for asset in assets],
            features.correlation(market),
            [pair_view(pair) for pair in pairs],
            self.bars_per_year,
        )


def _log_close(close: float, column: int) -> float:
    if close > 0.0 and close != math.inf:
        return math.log(close)
    if math.isnan(close):
        return math.nan
    raise BarsError(f"bars: the close of symbol number {column} is {close!r}; a close must be positive and finite")


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
        _log_close(float(closes[tuple(bad[0])]), int(bad[0][1]))
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
