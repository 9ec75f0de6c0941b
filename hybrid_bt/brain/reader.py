"""What is seen of the market: a view of one bar after the other, or of a whole panel, of which it is a row.

`read_panel` drives the recursions that `MarketReader` drives from one bar to the next, where it is worth it in a
compiled loop (`hybrid_bt.equations.compiled.panel`), with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.brain.legs.base import View, check_closes
from hybrid_bt.equations import Pairs, features, pair
from hybrid_bt.equations.compiled import choose
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import PairView, SpreadParams

FloatArray = NDArray[np.float64]

READING_SECONDS = 2e-5  # of a bar x symbol, interpreted
CELLS_A_CALL = 4_096  #: bars x symbols that a part answers at once
FEWEST_A_CALL = 256  #: bars


class MarketReader:
    """Drives the recursions of all assets and pairs (y, x) from one bar to the next.

    `bars_per_year`, which views name, may be set anew between bars.
    """

    def __init__(
        self,
        n_symbols: int,
        pairs: Pairs,
        kalman_params: Sequence[KalmanParams],
        spread_params: SpreadParams,
        bars_per_year: float = 252.0,
        names: Sequence[str] = (),
    ) -> None:
        self.n_symbols, self.columns = n_symbols, [(int(y), int(x)) for y, x in pairs]
        self.kalman_params, self.spread_params = list(kalman_params), spread_params
        self.rates = pair.rates_of(spread_params)
        self.bars_per_year, self.names = bars_per_year, names
        self.assets = [features.initial_asset()] * n_symbols
        self.market = features.initial_market()
        self.pairs = [pair.first_pair(y, x, params) for (y, x), params in zip(self.columns, kalman_params, strict=True)]

    def anew(self) -> MarketReader:
        """A reader of the same pairs and parameters that has seen nothing."""
        rules = self.kalman_params, self.spread_params, self.bars_per_year
        return MarketReader(self.n_symbols, self.columns, *rules, self.names)

    def read(self, closes: Sequence[float]) -> View:
        """Absorb the closes of one bar, (N,), NaN where a symbol has no bar."""
        logs = [math.log(close) if 0.0 < close < math.inf else math.nan for close in closes]
        traded = [log == log for log in logs]
        if not all(traded):
            check_closes(closes, self.names)
        self.market = market = features.absorb_bar(logs, traded, self.assets, self.market)
        pair.absorb_bar(self.pairs, logs, self.kalman_params, self.rates)
        seen = features.seen_of(self.assets, market, pair.pair_stretch(self.pairs))
        return View(closes, traded, *seen, [*map(pair.pair_view, self.pairs)], self.bars_per_year)


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
        check_closes(closes[bad[0][0]].tolist(), reader.names)
    return read_on(closes, reader.anew(), compiled=compiled)


def read_on(closes: FloatArray, reader: MarketReader, *, compiled: bool | None = None) -> View:
    """The same, of good bars behind those that the reader has seen: it is driven."""
    panel = _blank_panel(closes, reader)
    if choose(compiled, closes.size * READING_SECONDS):
        from hybrid_bt.equations.compiled.panel import read_all

        memory = reader.assets, reader.market, reader.pairs
        given = closes, panel.traded, reader.kalman_params, reader.rates
        reader.assets, reader.market, reader.pairs = read_all(*given, memory, panel[2:9])
        return panel
    for t, row in enumerate(closes.tolist()):
        for column, value in zip(
            panel[2:9], reader.read(row)[2:9], strict=True
        ):  # what is not of the closes themselves
            if column.size:
                column[t] = value
    return panel


def read_in_pieces(closes: FloatArray, reader: MarketReader, *, compiled: bool | None = None) -> Iterator[View]:
    """The same, some bars at a time, as many as parts are asked about in one call."""
    is_compiled = choose(compiled, closes.size * READING_SECONDS)
    return (read_on(closes[rows], reader, compiled=is_compiled) for rows in piece_rows(*closes.shape))


def piece_rows(n_bars: int, n_symbols: int) -> Iterator[slice]:
    """Rows of a panel that parts are asked about in one call."""
    step = max(CELLS_A_CALL // max(n_symbols, 1), FEWEST_A_CALL)
    return (slice(first, first + step) for first in range(0, n_bars, step))


def _blank_panel(closes: FloatArray, reader: MarketReader) -> View:
    (t, n), n_pairs = closes.shape, len(reader.columns)

    def blank(*shape: int, kind: type = np.float64) -> NDArray[Any]:
        return np.empty((t, *shape), kind)

    seen = blank(n, len(features.ASSET_FEATURES)), blank(len(features.MARKET_FEATURES)), blank(kind=np.bool_)
    pairs, rates = blank(n_pairs, len(PairView._fields)), np.full(t, reader.bars_per_year)
    return View(closes, ~np.isnan(closes), blank(n, kind=np.bool_), *seen, blank(n), blank(), pairs, rates)


def panel_rows(panel: View, arrays: Sequence[str] = ()) -> list[View]:
    """The views of a panel's bars, as `MarketReader.read` makes them; columns of these names as rows of arrays."""
    parts = zip(View._fields, panel, strict=True)
    *columns, pairs, rate = (list(column) if name in arrays else column.tolist() for name, column in parts)
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
    seen = rounded(panel.features), rounded(panel.market)
    return MarketHistory(bars, *seen, panel.volatility, panel.correlation, panel.warm, panel.market_warm)


def rounded(values: ArrayLike) -> NDArray[np.float32]:
    """As a frozen policy sees them: clipped, then rounded to float32."""
    return np.clip(values, -features.CLIP, features.CLIP).astype(np.float32)
