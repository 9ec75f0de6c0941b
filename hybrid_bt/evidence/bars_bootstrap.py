"""Bootstrapped bars: other histories that the same market might have had, as panels for `replay`.

Whole rows are drawn in blocks of random geometric length (the stationary bootstrap of Politis and Romano 1994, J. of
the American Statistical Association 89): what happened to all symbols on a bar stays together, and so do the bars of a
block. A row is what a bar is made of, relative to the symbol's last close: its return, and the distances of open, high
and low from its own close. So low <= open, close <= high holds in every scenario as in the data, gaps between a close
and the next open keep their size, and a symbol that missed a bar misses it wherever that bar is drawn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.flows import marked_close
from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.bars import Bars
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.bootstrap import FEWEST_BARS, block_length

RowArray = NDArray[np.int64]


def bootstrap_bars(bars: Bars, n_scenarios: int, *, seed: int = 0, block_bars: float | None = None) -> list[Bars]:
    """Resample a panel.

    Parameters
    ----------
    bars : Bars
        T bars of N symbols; the panels have the same stamps, symbols, first row and shape. Stamps do not move with the
        rows: interest is charged by the calendar that is kept.
    n_scenarios : int
    seed : int
        The same seed gives the same panels; the first ones do not depend on how many are drawn.
    block_bars : float, optional
        Mean length of a block; by default `block_length` of the returns (library arch, extra `study`).

    Returns
    -------
    list of Bars, `n_scenarios` long
        For `hybrid_bt.account.replay.replay(targets, panel)`; targets of a strategy that reads prices
        have to be made on each panel.

    Raises
    ------
    ConfigError
        For fewer than 20 bars, no scenario, a block shorter than a bar, or a symbol without a bar on the first row.
    """
    if bars.n_bars < FEWEST_BARS:
        raise ConfigError(f"bootstrap: {bars.n_bars} bars are too few; give at least {FEWEST_BARS}")
    if n_scenarios < 1:
        raise ConfigError(f"bootstrap: at least one scenario, not {n_scenarios}")
    if not bars.traded[0].all():
        late = bars.symbols[int(np.argmin(bars.traded[0]))]
        raise ConfigError(f"bootstrap: {late} has no bar on the first row; begin where all symbols have one")
    returns = _log_returns(bars.close)
    length = block_length(np.nan_to_num(returns)) if block_bars is None else float(block_bars)
    if not length >= 1.0:
        raise ConfigError(f"bootstrap: a block lasts at least one bar, not {block_bars}")
    shapes = {field: getattr(bars, field)[1:] / bars.close[1:] for field in ("open", "high", "low")}
    seeds = np.random.SeedSequence(seed).spawn(n_scenarios)
    return [
        _scenario(bars, returns, shapes, stationary_rows(np.random.default_rng(one), len(returns), length), number)
        for number, one in enumerate(seeds)
    ]


def stationary_rows(rng: np.random.Generator, n_rows: int, block_bars: float) -> RowArray:
    """(n_rows,) rows drawn in blocks of mean length `block_bars`, around the end."""
    begins = rng.random(n_rows) < 1.0 / block_bars
    begins[0] = True
    starts = rng.integers(n_rows, size=n_rows)
    at = np.maximum.accumulate(np.where(begins, np.arange(n_rows), 0))
    rows: RowArray = (starts[at] + np.arange(n_rows) - at) % n_rows
    return rows


def _log_returns(close: FloatArray) -> FloatArray:
    """(T - 1, N) since the symbol's last bar; NaN where it has none."""
    last = marked_close(close)
    returns: FloatArray = np.where(np.isnan(close[1:]), np.nan, np.log(last[1:] / last[:-1]))
    return returns


def _scenario(bars: Bars, returns: FloatArray, shapes: dict[str, FloatArray], rows: RowArray, number: int) -> Bars:
    drawn = returns[rows]
    close = bars.close.copy()
    close[1:] = np.where(np.isnan(drawn), np.nan, bars.close[0] * np.exp(np.cumsum(np.nan_to_num(drawn), axis=0)))
    prices = {}
    for field, shape in shapes.items():
        prices[field] = getattr(bars, field).copy()
        prices[field][1:] = close[1:] * shape[rows]
    volume = bars.volume.copy()
    volume[1:] = bars.volume[1:][rows]
    return replace(bars, name=f"{bars.name} bootstrap {number}", close=close, volume=volume, findings=(), **prices)
