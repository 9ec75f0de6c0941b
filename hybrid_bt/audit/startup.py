"""How far values depend on where history begins: a figure, not a failure.

A recursion forgets its start at its own pace. The same bars are run from later first bars, and the largest difference
from the full run is taken over all bars that lie at least k behind the later start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.audit.alterations import rows_of
from hybrid_bt.audit.trace import Trace
from hybrid_bt.bars import Bars


class Forgetting(NamedTuple):
    """Largest difference of one quantity."""

    quantity: str
    after_bars: int  #: bars since the later start
    largest: float  #: in the quantity's own unit
    deviation: float  #: the quantity's standard deviation in the full run: what `largest` is to be held against


def measure_startup(
    run: Callable[[Bars], Trace],
    bars: Bars,
    full: Trace,
    starts: Sequence[int],
    after: Sequence[int],
    wanted: Callable[[str], bool],
) -> list[Forgetting]:
    """Largest differences over all later starts.

    Parameters
    ----------
    starts : sequence of int
        Rows that history begins with instead of row 0.
    after : sequence of int
        Bars since the start.
    wanted : callable
        Whether a quantity, by name, is measured.
    """
    names = list(dict.fromkeys(column.quantity for column in full.columns if wanted(column.quantity)))
    columns = {name: [i for i, c in enumerate(full.columns) if c.quantity == name] for name in names}
    gaps = {(name, k): 0.0 for name in names for k in after}
    for start in starts:
        late = run(rows_of(bars, slice(start, None)))
        if late.columns != full.columns or not len(late.stamps):
            continue
        offset = int(np.searchsorted(full.stamps, late.stamps[0]))
        rows = min(len(late.stamps), len(full.stamps) - offset)
        gap = np.abs(late.values[:rows] - full.values[offset : offset + rows])
        for name, k in gaps:
            gaps[name, k] = max(gaps[name, k], _largest(gap[k:, columns[name]]))
    deviations = {name: _deviation(full.values[:, columns[name]]) for name in names}
    return [Forgetting(name, k, gap, deviations[name]) for (name, k), gap in gaps.items()]


def _largest(gap: np.ndarray) -> float:
    finite = gap[np.isfinite(gap)]
    return float(finite.max()) if finite.size else 0.0


def _deviation(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.std()) if finite.size else 0.0
