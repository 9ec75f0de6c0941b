"""Both sides of a pair trade on a bar, or neither does.

A target is netted per asset, so the order of a pair's side is nobody's alone. While a pair is open (and on the bar on
which it opens or closes) and one of its sides has no bar, no order goes out for the other side either, whatever asks
for it: the shares of both stay what they were. That ties pairs that share an asset together.

A pair whose sides have not both had a bar for `orphan_bars` bars is an orphan: it is closed, its side that still
trades is free again, and the other one is sold when, and if, its next bar comes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Bundle = tuple[int, ...]  #: columns of what belongs together


def open_bundles(wishes: Iterable[tuple[Bundle, tuple[float, ...]]]) -> list[Bundle]:
    """Columns of the wishes for several assets that are not for nothing."""
    return [columns for columns, amounts in wishes if len(columns) > 1 and any(amounts)]


def joined(n_symbols: int, bundles: Iterable[Bundle]) -> list[int]:
    """(N,) labels of what trades as one decision: the smallest column that a symbol is tied to, by way of others too.

    >>> joined(5, [(3, 1), (3, 4)])
    [0, 1, 2, 1, 1]
    """
    labels = list(range(n_symbols))
    for columns in bundles:
        met = {labels[i] for i in columns}
        labels = [min(met) if label in met else label for label in labels]
    return labels


def tied_bundles(before: Sequence[Bundle], after: Sequence[Bundle], traded: Sequence[bool]) -> Sequence[Bundle]:
    """Bundles of a leg that trade as a whole on a bar: those that are open, and those that it closes with all bars.

    One that is closed without all of its bars is an orphan, and set free. Nobody waits where every symbol has a bar.

    Parameters
    ----------
    before, after : the leg's open bundles before and after this bar's decision
    traded : (N,) whether the symbol has a bar
    """
    if all(traded):
        return ()
    return [*after, *(columns for columns in before if columns not in after and all(traded[i] for i in columns))]


def waiting_symbols(
    traded: Sequence[bool], ties: Sequence[Sequence[Bundle]], legs_traded: Sequence[bool]
) -> Sequence[bool]:
    """Symbols that have a bar and yet may not be ordered: what they are tied to has none.

    Parameters
    ----------
    traded : (N,)
    ties : (L,) `tied_bundles` of each leg
    legs_traded : (L,) whether the leg has a part in the mix

    Returns
    -------
    (N,) list of bool, or () for nobody
    """
    tied = [columns for of_leg, has_part in zip(ties, legs_traded, strict=True) if has_part for columns in of_leg]
    if not tied or all(traded):
        return ()
    held = [not there for there in traded]
    spreading = True
    while spreading:
        spreading = False
        for columns in tied:
            waits = [held[i] for i in columns]
            if any(waits) and not all(waits):
                spreading = True
                for i in columns:
                    held[i] = True
    return [wait and there for wait, there in zip(held, traded, strict=True)]


def waiting_rows(
    traded: NDArray[np.bool_], ties: Mapping[int, Sequence[Sequence[Bundle]]], legs_traded: Sequence[bool]
) -> NDArray[np.bool_]:
    """`waiting_symbols` of recorded rows, (T, N); `ties` as in `records.Opinions`."""
    waits = np.zeros(traded.shape, np.bool_)
    for t, of_legs in ties.items():
        waits[t] = waiting_symbols(traded[t].tolist(), of_legs, legs_traded) or False
    return waits


def withheld(targets: Sequence[float], waits: Sequence[bool]) -> Sequence[float]:
    """The targets that may be sent: NaN, which keeps what is held, where a symbol waits."""
    if True not in waits:
        return targets
    return [math.nan if wait else target for target, wait in zip(targets, waits, strict=True)]
