"""Both sides of a pair trade on a bar, or neither does.

A target is netted per asset, so the order of a pair's side is nobody's alone. While a pair is open, and on the bar on
which it opens or closes, its symbols are one decision: the band and the least order look at them together, and where
one side has no bar, no order goes out for the other either, whatever asks for it. That ties pairs that share an asset
together.

A pair whose sides have not both had a bar for `orphan_bars` bars is an orphan: it is closed, its side that still
trades is free again, and the other one is sold when, and if, its next bar comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.equations.bundles import Layout, bundles_of, joined

FloatArray = NDArray[np.float64]


def waiting_symbols(traded: Sequence[bool], together: Sequence[int]) -> Sequence[bool]:
    """Symbols that have a bar and yet may not be ordered: what they are one decision with has none.

    Parameters
    ----------
    traded : (N,) whether the symbol has a bar
    together : (N,) labels as of `bundles.joined`, or () for nobody

    Returns
    -------
    (N,) list of bool, or () for nobody
    """
    if not together or all(traded):
        return ()
    stuck = {label for label, there in zip(together, traded, strict=True) if not there}
    return [there and label in stuck for label, there in zip(together, traded, strict=True)]


def tied_rows(amounts: FloatArray, before: FloatArray, layout: Layout, traded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which bundles are one decision on each bar, (T, B): those that are open, or that close with all their bars.

    One that is closed without all of its bars is an orphan, and set free. What stands alone is never tied.

    Parameters
    ----------
    amounts : (T, S) wishes side by side
    before : (S,) of the bar before the first
    traded : (T, N)
    """
    found, first = np.zeros((len(amounts), len(layout.ends)), np.bool_), 0
    for b, (_, columns) in enumerate(bundles_of(layout)):
        end = first + len(columns)
        if len(columns) > 1:
            wanted: NDArray[np.bool_] = (np.vstack([before[None, first:end], amounts[:, first:end]]) != 0.0).any(axis=1)
            closes = wanted[:-1] & traded[:, list(columns)].all(axis=1)
            found[:, b] = wanted[1:] | closes
        first = end
    return found


def together_rows(
    tied: NDArray[np.bool_], layout: Layout, has_part: Sequence[bool], n_symbols: int
) -> NDArray[np.int64]:
    """Labels of `bundles.joined` on each bar, (T, N); `has_part` says whose bundles count, (L,)."""
    bundles = bundles_of(layout)
    counts = tied & np.array([has_part[leg] for leg, _ in bundles], np.bool_)
    ever = np.flatnonzero(counts.any(axis=0))
    if not len(ever):
        return np.tile(np.array(joined(n_symbols, []), np.int64), (len(counts), 1))
    patterns, of_row = np.unique(counts[:, ever], axis=0, return_inverse=True)
    labels = [joined(n_symbols, [bundles[b][1] for b in ever[pattern]]) for pattern in patterns]
    return np.array(labels, np.int64).reshape(-1, n_symbols)[of_row.reshape(-1)]


def waiting_rows(traded: NDArray[np.bool_], together: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`waiting_symbols` of recorded rows, (T, N)."""
    waits = np.zeros(traded.shape, np.bool_)
    for t in np.flatnonzero(~traded.all(axis=1)).tolist():
        waits[t] = waiting_symbols(traded[t].tolist(), together[t].tolist())
    return waits


def withheld(targets: Sequence[float], waits: Sequence[bool]) -> Sequence[float]:
    """The targets that may be sent: NaN, which keeps what is held, where a symbol waits."""
    if True not in waits:
        return targets
    return [math.nan if wait else target for target, wait in zip(targets, waits, strict=True)]
