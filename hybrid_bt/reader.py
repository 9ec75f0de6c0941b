"""The recursions of a whole market, from one bar to the next: assets, their mean, pairs; and what is seen of them.

`absorb_bar` is the one step. `MarketReader` drives it bar by bar on lists; `read_panel` drives it over all bars, where
it is worth it in a compiled loop (`hybrid_bt.kernels.market`), with the same bits: a view is a row of the panel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import features, kalman, spread
from hybrid_bt.batch import choose
from hybrid_bt.errors import BarsError
from hybrid_bt.kalman import KalmanParams, KalmanState
from hybrid_bt.legs.base import PairState, PairView, View
from hybrid_bt.spread import SpreadParams, SpreadRates, SpreadState

FloatArray = NDArray[np.float64]

_LAST = PairState._fields[4:]  # what a pair keeps beside its columns and its two recursions
PAIR_WIDTH = len(KalmanState._fields) + len(SpreadState._fields) + len(_LAST)  #: numbers of a pair in a snapshot
READING_SECONDS = 2e-5  # of a bar x symbol, interpreted


def first_pair(y: int, x: int, params: KalmanParams) -> PairState:
    """A pair before its first bar."""
    return PairState(y, x, kalman.initial_state(params), spread.initial_state(), False, False, math.nan, math.nan)


def pair_bar(pair: PairState, y: float, x: float, params: KalmanParams, rates: SpreadRates) -> PairState:
    """A pair after a bar with log closes y and x, NaN where there is none."""
    if math.isnan(y) or math.isnan(x):
        return PairState(pair.y, pair.x, pair.kalman, pair.spread, False, pair.started, pair.log_y, pair.log_x)
    if not pair.started:  # there is no move yet, and no innovation
        state = kalman.follow(pair.kalman, 0.0, 0.0, params)
        return PairState(pair.y, pair.x, state, pair.spread, True, True, y, x)
    state = kalman.follow(pair.kalman, y - pair.log_y, x - pair.log_x, params)
    return PairState(pair.y, pair.x, state, spread.absorb(pair.spread, state.innovation, rates), True, True, y, x)


def pair_view(pair: PairState) -> PairView:
    """What a leg sees of a pair."""
    if not pair.started:
        nan = math.nan
        return PairView(nan, nan, nan, nan, nan, nan, nan, nan, 1.0 if pair.fresh else 0.0)
    state = pair.kalman
    return PairView(
        kalman.intercept(state, pair.log_y, pair.log_x),
        state.beta,
        state.p_bb,
        state.innovation,
        state.innovation_var,
        pair.spread.spread,
        pair.spread.zscore,
        state.prior_beta,
        1.0 if pair.fresh else 0.0,
    )


def absorb_bar(
    logs: Any,
    traded: Any,
    assets: Any,
    market: features.MarketState,
    pairs: Any,
    params: Any,
    rates: SpreadRates,
) -> features.MarketState:
    """Step every recursion over one bar: `assets` (N,) and `pairs` (P,) in place, the market by its return value.

    Parameters
    ----------
    logs, traded : (N,)
        Log closes and whether the symbol has a bar.
    params : (P,) KalmanParams
    """
    for i, log_close in enumerate(logs):
        if traded[i]:
            assets[i] = features.asset_step(assets[i], log_close)
    for number, pair in enumerate(pairs):
        pairs[number] = pair_bar(pair, logs[pair.y], logs[pair.x], params[number], rates)
    return features.market_step(market, assets, traded)


def pair_zscores(pairs: Any, n_pairs_of: Any, zscores: Any) -> None:
    """Write the mean z-score of each asset's pairs, positive where the asset is dear, on (N,) zeros."""
    for pair in pairs:
        zscores[pair.y] += pair.spread.zscore
        zscores[pair.x] -= pair.spread.zscore
    for i, n_pairs in enumerate(n_pairs_of):
        if n_pairs > 0:
            zscores[i] /= n_pairs


def pair_stretch(pairs: Any) -> float:
    """Mean |z-score| of all pairs; 0 without pairs."""
    if len(pairs) == 0:
        return 0.0
    total = 0.0
    for pair in pairs:
        total += abs(pair.spread.zscore)
    return total / len(pairs)


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

    def state(self) -> dict[str, Any]:
        """All recursions as arrays, for `restore`."""
        pairs = [(*pair.kalman, *pair.spread, *(getattr(pair, name) for name in _LAST)) for pair in self.pairs]
        return {
            "assets": np.array(self.assets, dtype=np.float64),
            "market": np.array([*self.market.mean, *self.market[1:]], dtype=np.float64),
            "pairs": np.array(pairs, dtype=np.float64).reshape(len(pairs), PAIR_WIDTH),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave, of a reader of the same symbols and pairs."""
        k, s, m = len(KalmanState._fields), len(SpreadState._fields), len(features.AssetState._fields)
        market = state["market"].tolist()
        self.assets = [features.AssetState(*row) for row in state["assets"].tolist()]
        self.market = features.MarketState(features.AssetState(*market[:m]), *market[m:])
        self.pairs = []
        for (y, x), row in zip(self.columns, state["pairs"].tolist(), strict=True):
            fresh, started, *logs = row[k + s :]
            last = bool(fresh), bool(started), *logs
            self.pairs.append(PairState(y, x, KalmanState(*row[:k]), SpreadState(*row[k : k + s]), *last))


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
        from hybrid_bt.kernels.market import read_all

        read_all(closes, reader, panel)
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
