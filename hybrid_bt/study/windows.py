"""Spans on which a study trades, and until when a policy for each of them may learn."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError

Scheme = Literal["anchored", "rolling"]
LEAST_BARS = 40  #: of a window; statistics of fewer bars say nothing


class Window(NamedTuple):
    """Rows of a panel, both ends included."""

    name: str
    first: int  #: row of the first decision
    last: int
    train_start: date  #: for policies that are trained for this window
    train_end: date


def split(
    bars: Bars, first: int, n_windows: int, *, scheme: Scheme = "anchored", purge_bars: int = 1, embargo_bars: int = 5
) -> list[Window]:
    """Cut the bars from row `first` on into windows of equal length that follow one another.

    Parameters
    ----------
    scheme : anchored or rolling
        Training begins on the first bar of all, or moves on with the windows, as long as for the first of them.
    purge_bars : int
        Bars at the end of training whose rewards reach beyond it: a reward is earned over the next bar, so 1.
    embargo_bars : int
        Bars left out between training and window.

    Raises
    ------
    BarsError
        If the windows would be shorter than `LEAST_BARS`, or nothing lies before the first one.
    """
    rows = bars.n_bars - first
    if n_windows < 1 or rows // n_windows < LEAST_BARS:
        raise BarsError(
            f"study: {rows} bars give {n_windows} windows of {rows // max(n_windows, 1)}; "
            f"{LEAST_BARS} bars a window are the least, so ask for fewer windows or give a longer history"
        )
    gap = purge_bars + embargo_bars
    if first - gap < 1:
        raise BarsError(f"study: {first} bars before the first window, purge and embargo take {gap}; start later")
    edges = np.linspace(first, bars.n_bars, n_windows + 1).astype(int).tolist()
    days = bars.stamps.astype("datetime64[D]")
    found = []
    for begin, end in pairwise(edges):
        train_first = 0 if scheme == "anchored" else begin - first
        found.append(
            Window(
                f"{days[begin]} to {days[end - 1]}",
                begin,
                end - 1,
                days[train_first].item(),
                days[begin - 1 - gap].item(),
            )
        )
    return found
