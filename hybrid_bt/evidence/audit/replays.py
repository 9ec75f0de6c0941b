"""One run against many futures, other run modes and later starts.

A future is a copy of a panel that shares its past: cut off behind some bar, or altered from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.evidence.audit.trace import Finding, Moved, Trace, first_move

FIELDS = ("open", "high", "low", "close", "volume")
LEAST_FACTOR, LARGEST_FACTOR = 1.3, 2.5  # far outside of what rounding or a clip could swallow
MODE_TOLERANCE = 1e-9  #: relative; run modes may sum in another order
Rng: TypeAlias = np.random.Generator
Run: TypeAlias = Callable[[Bars], Trace]
Kinds: TypeAlias = Sequence[Sequence[str]]  #: alterations of the first, second, ... cut, in turn
Stamp: TypeAlias = np.datetime64 | None
Progress: TypeAlias = Callable[[int, int], None] | None
Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]


def rows_of(bars: Bars, rows: slice | Rows) -> Bars:
    """The panel's rows, by slice or index."""
    return _changed(bars, lambda values: values[rows], stamps=bars.stamps[rows])


def last_rows(bars: Bars, n_bars: int) -> Bars:
    """The last so many bars; all for 0."""
    return rows_of(bars, slice(max(bars.n_bars - n_bars, 0), None)) if n_bars > 0 else bars


def _changed(bars: Bars, change: Callable[[Floats], Floats], **others: NDArray[Any]) -> Bars:
    return replace(bars, **{field: change(getattr(bars, field)) for field in FIELDS} | others)


def _reordered(order: Callable[[Rows, Rng], Rows], bars: Bars, row: int, rng: Rng) -> Bars:
    """Prices of other rows on the same calendar."""
    rows = np.r_[0:row, order(np.arange(row, bars.n_bars), rng)]
    return _changed(bars, lambda values: values[rows])


def _scaled(bars: Bars, row: int, rng: Rng) -> Bars:
    """Every symbol up or down by its own factor, so that signs turn as well as sizes."""
    factors = np.ones(bars.close.shape)
    factors[row:] = rng.uniform(LEAST_FACTOR, LARGEST_FACTOR, bars.n_symbols) ** rng.choice((-1.0, 1.0), bars.n_symbols)
    return _changed(bars, lambda values: values * factors)


def _missing(bars: Bars, row: int, rng: Rng) -> Bars:
    """The next bar NaN for all symbols, then half of the cells: symbols that do not trade."""
    gone = np.zeros(bars.close.shape, dtype=np.bool_)
    gone[row:] = rng.random((bars.n_bars - row, bars.n_symbols)) < 0.5
    gone[row] = True
    return _changed(bars, lambda values: np.where(gone, np.nan, values), volume=np.where(gone, 0.0, bars.volume))


def _thinned(bars: Bars, row: int, rng: Rng) -> Bars:
    """Every other bar missing for all symbols: NaN in a form that Backtrader's broker can value."""
    return rows_of(bars, np.r_[0:row, row + 1 : bars.n_bars : 2])


#: name -> (bars, first altered row, generator) -> bars
FUTURES: dict[str, Callable[[Bars, int, Rng], Bars]] = {
    "shuffled": partial(_reordered, lambda later, rng: np.roll(rng.permutation(later), 1)),
    "reversed": partial(_reordered, lambda later, rng: later[::-1]),
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


@dataclass
class Check:
    """What one part of the audit did and found."""

    name: str
    bars: int = 0
    replays: int = 0
    values: int = 0  #: numbers compared
    orders: int = 0  #: orders compared
    findings: list[Finding] = field(default_factory=list)

    def compare(
        self, how: str, full: Trace, other: Trace, *, cut: Stamp = None, until: Stamp = None, tolerance: float = 0.0
    ) -> None:
        """Count what two runs share up to `until`, by default the cut, and note where they part.

        Without a cut they are run modes, compared from the first `next` on.
        """
        until, start = cut if until is None else until, full.first if cut is None else 0
        rows = len(full.stamps) if until is None else int((full.stamps < until).sum())
        self.bars = max(self.bars, len(full.stamps))
        self.replays += 1
        self.values += rows * len(full.columns)
        self.orders += int(sum(order.stamp <= full.stamps[rows - 1] for order in full.orders)) if rows else 0
        moved = first_move(full, other, until, start=start, tolerance=tolerance)
        self.note("run mode" if cut is None else "future", how, moved, cut)

    def note(self, kind: str, how: str, moved: Moved | None, cut: Stamp = None) -> None:
        """Add a finding, if something moved."""
        if moved is not None:
            said = "" if cut is None else say_stamp(cut)
            self.findings.append(Finding(self.name, kind, how, said, say_stamp(moved.stamp), *moved[1:]))


def cut_rows(first: int, n_bars: int, every: int) -> list[int]:
    """Every `every`-th row behind `first` that leaves a bar to alter, the last such row first among equals."""
    return list(range(n_bars - 1, first + 1, -every))[::-1]


def check_futures(
    check: Check,
    run: Run,
    bars: Bars,
    full: Trace,
    cuts: Sequence[int],
    kinds: Kinds,
    horizon: int,
    progress: Progress = None,
) -> None:
    """Replay copies with another future and compare all that lies before it; look at the fills of the full run.

    Parameters
    ----------
    full : Trace
        Of `run(bars)`.
    horizon : int
        Bars behind the cut that an altered copy keeps.
    """
    for moved in full.same_bar[:1]:
        check.note("same bar", "none", moved)
    for number, row in enumerate(cuts):
        for kind in kinds[number % len(kinds)]:
            copy = alter(bars, row, kind, horizon)
            # an unfinished weekly bar that is handed out at the end of a cut belongs to its last bar
            until = bars.stamps[row - 1] if copy.n_bars == row and full.unfinished else None
            check.compare(kind, full, run(copy), cut=bars.stamps[row], until=until)
        if progress is not None:
            progress(number + 1, len(cuts))


class Forgetting(NamedTuple):
    """How far one quantity depends on where history begins: a figure, not a failure.

    A recursion forgets its start at its own pace. The same bars are run from later first bars, and the largest
    difference from the full run is taken over all bars that lie at least k behind the later start.
    """

    quantity: str
    after_bars: int  #: k
    largest: float  #: in the quantity's own unit
    deviation: float  #: the quantity's standard deviation in the full run: what `largest` is to be held against


def measure_startup(
    run: Run, bars: Bars, full: Trace, starts: Sequence[int], after: Sequence[int], wanted: Callable[[str], bool]
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
    columns: dict[str, list[int]] = {}
    for i, (name, _) in enumerate(full.columns):
        if wanted(name):
            columns.setdefault(name, []).append(i)
    gaps = {(name, k): 0.0 for name in columns for k in after}
    for start in starts:
        late = run(rows_of(bars, slice(start, None)))
        if late.columns != full.columns or not len(late.stamps):
            continue
        offset = int(np.searchsorted(full.stamps, late.stamps[0]))
        rows = min(len(late.stamps), len(full.stamps) - offset)
        gap = np.abs(late.values[:rows] - full.values[offset : offset + rows])
        for name, k in gaps:
            gaps[name, k] = max(gaps[name, k], float(_finite(gap[k:, columns[name]]).max()))
    deviations = {name: float(_finite(full.values[:, where]).std()) for name, where in columns.items()}
    return [Forgetting(name, k, gap, deviations[name]) for (name, k), gap in gaps.items()]


def _finite(values: Floats) -> Floats:
    finite = values[np.isfinite(values)]
    return finite if finite.size else np.zeros(1)
