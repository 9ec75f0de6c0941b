"""The brain: closes in, decision out. It knows no broker, no order and no framework.

a = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman,      then limits
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hybrid_bt import features, kalman, spread
from hybrid_bt.errors import BarsError
from hybrid_bt.fusion import FusionParams, fuse, sac_weight
from hybrid_bt.legs.base import Leg, PairView, View
from hybrid_bt.legs.kalman import KalmanLeg
from hybrid_bt.regime import Gate
from hybrid_bt.risk import RiskParams, limit

__all__ = ["Decision", "Hybrid", "MarketReader"]


class Decision(NamedTuple):
    """What each part wanted at a close, and what is to be held; targets are signed fractions of equity."""

    sac: list[float]  #: (N,)
    kalman: list[float]  #: (N,)
    regime: float
    w_sac: float
    fused: list[float]  #: (N,)
    target: list[float]  #: (N,) after limits
    scale: float
    view: View


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
        kalman_params: Sequence[kalman.KalmanParams],
        spread_params: spread.SpreadParams,
    ) -> None:
        self._kalman_params = list(kalman_params)
        self._spread_params = spread_params
        self._assets = [features.initial_asset()] * n_symbols
        self._market = features.initial_market()
        self._pairs = [
            PairView(y, x, kalman.initial_state(params), spread.initial_state(), False, False)
            for (y, x), params in zip(pairs, kalman_params, strict=True)
        ]
        self._pairs_of: list[list[tuple[int, float]]] = [[] for _ in range(n_symbols)]
        for number, (y, x) in enumerate(pairs):
            self._pairs_of[y].append((number, 1.0))
            self._pairs_of[x].append((number, -1.0))

    def read(self, closes: Sequence[float]) -> View:
        """Absorb the closes of one bar, (N,), NaN where a symbol has no bar."""
        logs = [_log_close(close, i) for i, close in enumerate(closes)]
        traded = [not math.isnan(value) for value in logs]
        self._assets = [
            features.asset_step(asset, value) if has_bar else asset
            for asset, value, has_bar in zip(self._assets, logs, traded, strict=True)
        ]
        self._market = features.market_step(self._market, self._assets, traded)
        self._pairs = [self._pair_step(number, pair, logs) for number, pair in enumerate(self._pairs)]
        return View(
            traded,
            [asset.n_returns >= features.WARMUP_BARS for asset in self._assets],
            self._assets,
            [math.sqrt(max(asset.var, features.MIN_VARIANCE)) for asset in self._assets],
            self._market,
            self._pairs,
            [self._zscore_of(i) for i in range(len(logs))],
        )

    def _pair_step(self, number: int, pair: PairView, logs: list[float]) -> PairView:
        y, x = logs[pair.y], logs[pair.x]
        if math.isnan(y) or math.isnan(x):
            return pair._replace(fresh=False)
        state = kalman.step(pair.kalman, y, x, self._kalman_params[number])
        # the first innovation measures the distance from an arbitrary prior, not a move of the spread
        seen = spread.step(pair.spread, state.innovation, self._spread_params) if pair.started else pair.spread
        return PairView(pair.y, pair.x, state, seen, True, True)

    def _zscore_of(self, i: int) -> float:
        pairs = self._pairs_of[i]
        if not pairs:
            return 0.0
        return sum(sign * self._pairs[number].spread.zscore for number, sign in pairs) / len(pairs)


def _log_close(close: float, column: int) -> float:
    if close > 0.0 and close != math.inf:
        return math.log(close)
    if math.isnan(close):
        return math.nan
    raise BarsError(f"bars: the close of symbol number {column} is {close!r}; a close must be positive and finite")


class Hybrid:
    """Two legs, a gate, a mix and limits.

    Parameters
    ----------
    reader : MarketReader
    sac, kalman_leg : Leg or None
        A leg that is switched off leaves its weight to the other one.
    gate : Gate or None
        Without a gate r is 0.
    """

    def __init__(
        self,
        reader: MarketReader,
        sac: Leg | None,
        kalman_leg: KalmanLeg | None,
        gate: Gate | None,
        fusion: FusionParams,
        risk: RiskParams,
    ) -> None:
        self.reader, self.sac, self.kalman, self.gate = reader, sac, kalman_leg, gate
        self._fusion, self._risk = fusion, risk

    def decide(self, closes: Sequence[float]) -> Decision:
        """Decision at the close of a bar; closes (N,), NaN where a symbol has no bar."""
        view = self.reader.read(closes)
        flat = [0.0] * len(closes)
        a_sac = self.sac.targets(view) if self.sac else flat
        a_kalman = self.kalman.targets(view) if self.kalman else flat
        r = self.gate.score(view) if self.gate else 0.0
        w_sac = self._sac_weight(r)
        fused = fuse(a_sac, a_kalman, w_sac)
        target, scale = limit(fused, view.volatilities, features.correlation(view.market), self._risk)
        return Decision(a_sac, a_kalman, r, w_sac, fused, target, scale, view)

    def _sac_weight(self, r: float) -> float:
        if self.sac is None or self.kalman is None:
            return 1.0 if self.sac else 0.0
        return sac_weight(r, self._fusion)
