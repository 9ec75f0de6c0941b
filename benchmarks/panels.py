"""Bars that benchmarks run on, and the feeds that stock Backtrader would read them with."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybrid_bt.bars import Bars

__all__ = ["START_CASH", "pandas_feeds", "random_panel", "symbols_of", "us20_pairs"]

START_CASH = 1_000_000.0


def random_panel(n_bars: int, n_symbols: int, step: str = "1D", seed: int = 0) -> Bars:
    """Cointegrated walks with true opens, one stamp per `step`."""
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.normal(0.0, 0.007, (n_bars, 1)), axis=0)
    own = rng.normal(0.0, 0.007, (n_bars, n_symbols))
    for t in range(1, n_bars if n_bars * n_symbols < 100_000 else 0):  # a long panel need not revert
        own[t] += 0.97 * own[t - 1]
    close = np.round(100.0 * np.exp(common + own - own[0]), 4)
    opens = np.round(close * np.exp(rng.normal(0.0, 0.002, close.shape)), 4)
    high, low = np.maximum(opens, close), np.minimum(opens, close)
    count, unit = int(step[:-1]), step[-1]
    stamps = np.datetime64("2000-01-03", "ns") + np.arange(n_bars) * np.timedelta64(count, unit)
    return Bars.checked("random", symbols_of(n_symbols), stamps, close, open=opens, high=high, low=low)


def symbols_of(n: int) -> tuple[str, ...]:
    """Made-up names."""
    return tuple(f"S{i:03d}" for i in range(n))


def us20_pairs(n_symbols: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Symbols and pairs of us20: one pair, or all."""
    from hybrid_bt.feeds import as_market

    market = as_market("us20")
    symbols, pairs = market.bars.symbols, market.pairs
    if n_symbols == len(symbols):
        return symbols, pairs
    return tuple(pairs[0].split(":")), (pairs[0],)


def pandas_feeds(bars: Bars) -> list[Any]:
    """One PandasData per symbol, as a user of stock Backtrader makes them."""
    import backtrader as bt
    import pandas as pd

    index = pd.DatetimeIndex(bars.stamps)
    feeds = []
    for i, symbol in enumerate(bars.symbols):
        columns = {name: getattr(bars, name)[:, i] for name in ("open", "high", "low", "close", "volume")}
        feeds.append(bt.feeds.PandasData(dataname=pd.DataFrame(columns, index=index), name=symbol))
    return feeds
