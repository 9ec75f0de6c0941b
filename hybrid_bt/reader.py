"""The recursions of a whole market, from one bar to the next: assets, their mean, pairs.

`absorb_bar` is the one step. `MarketReader` drives it bar by bar on lists; `hybrid_bt.kernels.market` compiles the same
source and loops over a panel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hybrid_bt import features, kalman, spread
from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError
from hybrid_bt.kalman import KalmanParams, KalmanState
from hybrid_bt.legs.base import PairView, View
from hybrid_bt.spread import SpreadParams, SpreadRates, SpreadState

__all__ = ["MarketReader", "absorb_bar", "check_closes", "first_pair", "pair_bar", "pair_zscores"]

_LAST = PairView._fields[4:]  # what a pair keeps beside its columns and its two recursions
PAIR_WIDTH = len(KalmanState._fields) + len(SpreadState._fields) + len(_LAST)  #: numbers of a pair in a snapshot


def first_pair(y: int, x: int, params: KalmanParams) -> PairView:
    """A pair before its first bar."""
    return PairView(y, x, kalman.initial_state(params), spread.initial_state(), False, False, math.nan, math.nan)


def pair_bar(pair: PairView, y: float, x: float, params: KalmanParams, rates: SpreadRates) -> PairView:
    """A pair after a bar with log closes y and x, NaN where there is none."""
    if math.isnan(y) or math.isnan(x):
        return PairView(pair.y, pair.x, pair.kalman, pair.spread, False, pair.started, pair.log_y, pair.log_x)
    if not pair.started:  # there is no move yet, and no innovation
        state = kalman.follow(pair.kalman, 0.0, 0.0, params)
        return PairView(pair.y, pair.x, state, pair.spread, True, True, y, x)
    state = kalman.follow(pair.kalman, y - pair.log_y, x - pair.log_x, params)
    return PairView(pair.y, pair.x, state, spread.absorb(pair.spread, state.innovation, rates), True, True, y, x)


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


class MarketReader:
    """Drives the recursions of all assets and pairs from one bar to the next.

    Parameters
    ----------
    n_symbols : int
    pairs : sequence of (y, x) columns
    kalman_params : one `KalmanParams` per pair
    spread_params : SpreadParams
    """

    def __init__(
        self,
        n_symbols: int,
        pairs: Sequence[tuple[int, int]],
        kalman_params: Sequence[KalmanParams],
        spread_params: SpreadParams,
    ) -> None:
        self.n_symbols, self.columns = n_symbols, [(int(y), int(x)) for y, x in pairs]
        self.kalman_params, self.spread_params = list(kalman_params), spread_params
        self.rates = spread.rates_of(spread_params)
        self.n_pairs_of = [0] * n_symbols  #: (N,) pairs that each asset is a side of
        for y, x in self.columns:
            self.n_pairs_of[y] += 1
            self.n_pairs_of[x] += 1
        self._assets = [features.initial_asset()] * n_symbols
        self._market = features.initial_market()
        self._pairs = [first_pair(y, x, params) for (y, x), params in zip(self.columns, kalman_params, strict=True)]

    def anew(self) -> MarketReader:
        """A reader of the same pairs and parameters that has seen nothing."""
        return MarketReader(self.n_symbols, self.columns, self.kalman_params, self.spread_params)

    def read(self, closes: Sequence[float]) -> View:
        """Absorb the closes of one bar, (N,), NaN where a symbol has no bar."""
        logs = [_log_close(close, i) for i, close in enumerate(closes)]
        traded = [not math.isnan(value) for value in logs]
        assets, pairs = self._assets.copy(), self._pairs.copy()  # earlier views keep theirs
        market = absorb_bar(logs, traded, assets, self._market, pairs, self.kalman_params, self.rates)
        self._assets, self._pairs, self._market = assets, pairs, market
        zscores = [0.0] * len(logs)
        pair_zscores(pairs, self.n_pairs_of, zscores)
        return View(
            traded,
            [asset.n_returns >= features.WARMUP_BARS for asset in assets],
            assets,
            [features.volatility(asset) for asset in assets],
            market,
            pairs,
            zscores,
        )

    def state(self) -> dict[str, Any]:
        """All recursions as arrays, for `restore`."""
        pairs = [(*pair.kalman, *pair.spread, *(getattr(pair, name) for name in _LAST)) for pair in self._pairs]
        return {
            "assets": np.array(self._assets, dtype=np.float64),
            "market": np.array([*self._market.mean, *self._market[1:]], dtype=np.float64),
            "pairs": np.array(pairs, dtype=np.float64).reshape(len(pairs), PAIR_WIDTH),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave, of a reader of the same symbols and pairs."""
        k, s, m = len(KalmanState._fields), len(SpreadState._fields), len(features.AssetState._fields)
        market = state["market"].tolist()
        self._assets = [features.AssetState(*row) for row in state["assets"].tolist()]
        self._market = features.MarketState(features.AssetState(*market[:m]), *market[m:])
        self._pairs = []
        for (y, x), row in zip(self.columns, state["pairs"].tolist(), strict=True):
            fresh, started, *logs = row[k + s :]
            last = bool(fresh), bool(started), *logs
            self._pairs.append(PairView(y, x, KalmanState(*row[:k]), SpreadState(*row[k : k + s]), *last))


def _log_close(close: float, column: int) -> float:
    if close > 0.0 and close != math.inf:
        return math.log(close)
    if math.isnan(close):
        return math.nan
    raise BarsError(f"bars: the close of symbol number {column} is {close!r}; a close must be positive and finite")


def check_closes(bars: Bars) -> None:
    """Raise what `MarketReader.read` would raise somewhere on the panel."""
    bad = np.argwhere(~(np.isnan(bars.close) | ((bars.close > 0.0) & (bars.close < math.inf))))
    if bad.size:
        row, column = bad[0]
        _log_close(float(bars.close[row, column]), int(column))
