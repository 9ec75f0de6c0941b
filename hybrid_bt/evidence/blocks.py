"""Rows drawn in blocks, and how long a block is to be: the stationary bootstrap.

Returns are dependent (volatility comes in clusters, books change slowly), so blocks of bars are drawn, of random
geometric length (Politis and Romano 1994, J. of the American Statistical Association 89). The mean length is that of
Politis and White (2004), corrected by Patton, Politis and White (2009), Econometric Reviews 28, for the returns and for
their squares, whichever is longer. Lengths, and draws from the same seed, are those of the library arch; importing it
took longer than the drawing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import FloatArray

RowArray = NDArray[np.int64]


def block_length(returns: FloatArray) -> float:
    """Mean block length, bars: the longest over the columns of (T, K) and over their squares."""
    moving = returns[:, returns.std(axis=0) > 0.0]
    if not moving.size:
        return 1.0
    lengths = [_optimal_length(column) for table in (moving, moving**2) for column in table.T]
    return float(np.clip(np.nanmax([1.0, *lengths]), 1.0, len(returns) / 3.0))


@np.errstate(divide="ignore", invalid="ignore")  # a series that stops, or whose sum of autocovariances is 0, has none
def _optimal_length(values: FloatArray) -> float:
    """Politis and White (2004), section 3.2 and appendix A, with the constant of Patton, Politis and White (2009).

        b = (2 g^2 / d)^(1/3) n^(1/3)    g = sum lambda(k/m) |k| R(k)    d = 2 (sum lambda(k/m) R(k))^2

    R(k) is the autocovariance, lambda 1 up to a half and falling to 0 at 1; m is twice the lag behind which `few`
    autocorrelations in a row are within chance.
    """
    n, off = len(values), np.ascontiguousarray(values) - values.mean()
    few = max(5, int(math.log10(n)))
    most = math.ceil(math.sqrt(n)) + few
    lags = np.arange(most + 1)
    products = np.array([off[k:] @ off[: n - k] for k in lags])
    sizes = np.array([math.sqrt((off[k + 1 :] @ off[k + 1 :]) * (off[: -k - 1] @ off[: -k - 1])) for k in lags])
    within = np.abs(products) / sizes < 2.0 * math.sqrt(math.log10(n) / n)
    runs = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(within[:-1], few).all(axis=1))
    m = min(2 * max(int(runs[0]), 1), most) if len(runs) else most
    weighted = np.minimum(1.0, 2.0 * (1.0 - lags[1 : m + 1] / m)) * products[1 : m + 1] / n
    g, whole = 2.0 * (weighted * lags[1 : m + 1]).sum(), products[0] / n + 2.0 * weighted.sum()
    length: float = (g**2 / whole**2) ** (1 / 3) * n ** (1 / 3)
    return min(length, math.ceil(min(3.0 * math.sqrt(n), n / 3.0)))


def stationary_rows(rng: np.random.Generator, n_rows: int, block_bars: float) -> RowArray:
    """(n_rows,) rows drawn in blocks of mean length `block_bars`, around the end."""
    begins = rng.random(n_rows) < 1.0 / block_bars
    return next_rows(rng.integers(n_rows, size=n_rows), begins)


def next_rows(starts: RowArray, begins: NDArray[np.bool_]) -> RowArray:
    """Row by row one on, around the end, from the start of the block that began last; the first row begins one."""
    here = np.arange(len(starts))
    at = np.maximum.accumulate(np.where(begins, here, 0))
    rows: RowArray = (starts[at] + here - at) % len(starts)
    return rows
