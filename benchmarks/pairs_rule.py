"""A two-asset pairs rule for accounts of several libraries, and a bare compiled loop that trades it.

The z-score of the log price ratio over a trailing window opens a pair (0.5 of its share of equity per leg, at the
prices of the decision) beyond +-1.5 and closes it inside 0.3. Shares are fixed at the decision from the *start* value,
so that every library is told the same sizes; commission is 5 bps a side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars

__all__ = ["FEE", "bare_loop", "order_sizes", "positions"]

FEE = 5e-4  #: of notional per side
WINDOW = 30
ENTRY, EXIT = 1.5, 0.3


def positions(bars: Bars, cash: float) -> NDArray[np.float64]:
    """(T, N) whole shares wanted at each close; assets 2k and 2k + 1 are pair k."""
    close = bars.close
    wanted = np.zeros(close.shape)
    n_pairs = close.shape[1] // 2
    for k in range(n_pairs):
        y, x = 2 * k, 2 * k + 1
        ratio = np.log(close[:, y] / close[:, x])
        side = _sides(_zscores(ratio))
        entry = np.flatnonzero(np.diff(side, prepend=0.0) != 0.0)
        held = np.zeros(len(side), dtype=np.intp)
        held[entry] = entry
        held = np.maximum.accumulate(held)
        budget = 0.4 * cash / n_pairs
        wanted[:, y] = np.trunc(side * budget / close[held, y])
        wanted[:, x] = np.trunc(-side * budget / close[held, x])
    return wanted


def _zscores(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(ratio, WINDOW)
    scores = np.zeros(len(ratio))
    scores[WINDOW - 1 :] = (ratio[WINDOW - 1 :] - windows.mean(axis=1)) / (windows.std(axis=1) + 1e-12)
    return scores


def _sides(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    side, sides = 0.0, []
    for z in scores.tolist():
        if side == 0.0 and abs(z) > ENTRY:
            side = -1.0 if z > 0.0 else 1.0
        elif side != 0.0 and abs(z) < EXIT:
            side = 0.0
        sides.append(side)
    return np.array(sides)


def order_sizes(wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, N) signed shares that fill at each open: wanted at the close before."""
    orders = np.zeros(wanted.shape)
    orders[1:] = np.diff(wanted, axis=0, prepend=0.0)[:-1]
    return orders


def bare_loop(opens: Any, closes: Any, orders: Any, cash: float, fee: float, equity: Any) -> None:
    """Fills at the open, marks at the close; plain enough for numba, and nothing is checked."""
    n_bars, n_assets = closes.shape
    held = np.zeros(n_assets)
    for t in range(n_bars):
        for i in range(n_assets):
            size = orders[t, i]
            if size != 0.0:
                cash -= size * opens[t, i] + abs(size) * opens[t, i] * fee
                held[i] += size
        value = cash
        for i in range(n_assets):
            value += held[i] * closes[t, i]
        equity[t] = value
