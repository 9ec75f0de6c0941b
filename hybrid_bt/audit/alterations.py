"""Copies of a panel that share its past and have another future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hybrid_bt.bars import Bars

FIELDS = ("open", "high", "low", "close", "volume")
LEAST_FACTOR, LARGEST_FACTOR = 1.3, 2.5  # far outside of what rounding or a clip could swallow
Rng = np.random.Generator


def rows_of(bars: Bars, rows: Any) -> Bars:
    """The panel's rows, by slice or index."""
    return Bars(bars.name, bars.symbols, bars.stamps[rows], *(getattr(bars, field)[rows] for field in FIELDS))


def last_rows(bars: Bars, n_bars: int) -> Bars:
    """The last so many bars; all for 0."""
    return rows_of(bars, slice(max(bars.n_bars - n_bars, 0), None)) if n_bars > 0 else bars


def _permuted(bars: Bars, order: Any) -> Bars:
    """Prices of other rows on the same calendar."""
    return Bars(bars.name, bars.symbols, bars.stamps, *(getattr(bars, field)[order] for field in FIELDS))


def _shuffled(bars: Bars, row: int, rng: Rng) -> Bars:
    order = np.arange(bars.n_bars)
    order[row:] = np.roll(rng.permutation(order[row:]), 1)
    return _permuted(bars, order)


def _reversed(bars: Bars, row: int, rng: Rng) -> Bars:
    order = np.arange(bars.n_bars)
    order[row:] = order[row:][::-1]
    return _permuted(bars, order)


def _scaled(bars: Bars, row: int, rng: Rng) -> Bars:
    """Every symbol up or down by its own factor, so that signs turn as well as sizes."""
    factors = rng.uniform(LEAST_FACTOR, LARGEST_FACTOR, bars.n_symbols) ** rng.choice((-1.0, 1.0), bars.n_symbols)
    fields: dict[str, Any] = {field: getattr(bars, field).copy() for field in FIELDS}
    for values in fields.values():
        values[row:] *= factors
    return Bars(bars.name, bars.symbols, bars.stamps, **fields)


def _missing(bars: Bars, row: int, rng: Rng) -> Bars:
    """The next bar NaN for all symbols, then half of the cells: symbols that do not trade."""
    gone = np.zeros(bars.close.shape, dtype=np.bool_)
    gone[row:] = rng.random((bars.n_bars - row, bars.n_symbols)) < 0.5
    gone[row] = True
    fields: dict[str, Any] = {
        field: np.where(gone, 0.0 if field == "volume" else np.nan, getattr(bars, field)) for field in FIELDS
    }
    return Bars(bars.name, bars.symbols, bars.stamps, **fields)


def _thinned(bars: Bars, row: int, rng: Rng) -> Bars:
    """Every other bar missing for all symbols: NaN in a form that Backtrader's broker can value."""
    return rows_of(bars, np.r_[0:row, row + 1 : bars.n_bars : 2])


#: name -> (bars, first altered row, generator) -> bars
FUTURES: dict[str, Callable[[Bars, int, Rng], Bars]] = {
    "shuffled": _shuffled,
    "reversed": _reversed,
    "scaled": _scaled,
    "nan": _missing,
    "thinned": _thinned,
}
#: those that hold no NaN: Backtrader would value a position at NaN and never recover
BROKER_FUTURES = ("scaled", "shuffled", "reversed", "thinned")


def alter(bars: Bars, row: int, kind: str, horizon: int) -> Bars:
    """The panel up to `row`, then at most `horizon` bars of another future.

    Parameters
    ----------
    row : int
        First row that is altered, or missing.
    kind : str
        "cut", or a key of `FUTURES`.
    """
    if kind == "cut":
        return rows_of(bars, slice(0, row))
    return FUTURES[kind](rows_of(bars, slice(0, row + horizon)), row, np.random.default_rng(row))
