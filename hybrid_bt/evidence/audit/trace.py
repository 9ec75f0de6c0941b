"""What a run left behind, bar by bar, and the first place where two runs part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.bars import say_stamp
from hybrid_bt.errors import ConfigError

NOBODY = ("-",)  #: owner of what belongs to no single symbol


class Column(NamedTuple):
    """What one number of a row is."""

    quantity: str
    symbol: str  #: "-" for what belongs to no single symbol
    #: of an indicator or observer: it may be drawn ahead or behind, and hurts only whoever trades on it
    line: bool = False


class Known(NamedTuple):
    """Numbers of one kind: those of the first owner, name by name, then those of the next."""

    names: Sequence[str]
    owners: Sequence[str]
    values: ArrayLike  #: of all bars with one axis more in front


def columns_of(known: Iterable[Known]) -> tuple[Column, ...]:
    """What each number is."""
    return tuple(Column(name, owner) for kind in known for owner in kind.owners for name in kind.names)


def numbers_of(known: Iterable[Known]) -> list[float]:
    """All of them in a row."""
    return [number for kind in known for number in np.ravel(kind.values).tolist()]


class OrderRow(NamedTuple):
    """An order as it was created."""

    stamp: np.datetime64
    symbol: str
    what: str  #: side and type
    size: float  #: signed shares
    price: float  #: NaN where the type has none
    limit: float


@dataclass(frozen=True, eq=False)
class Trace:
    """One run."""

    columns: tuple[Column, ...]
    values: NDArray[np.float64]  #: (T, columns) as known when the bar was over
    stamps: NDArray[np.datetime64]  #: (T,)
    orders: Sequence[OrderRow] = ()
    first: int = 0  #: first row on which the strategy's next ran
    same_bar: Sequence[Moved] = ()  #: market orders that filled at the close that decided them
    unfinished: bool = False  #: a resampled or replayed feed hands out its unfinished bar where the data end
    error: str = ""  #: type and text of the exception that ended the run

    def acted(self) -> Trace:
        """What the run did, and what it did it on: all but lines."""
        kept = [i for i, column in enumerate(self.columns) if not column.line]
        return replace(self, columns=tuple(self.columns[i] for i in kept), values=self.values[:, kept])


class Moved(NamedTuple):
    """The first number that differs between two runs."""

    stamp: np.datetime64
    symbol: str
    quantity: str
    before: str  #: value in the full run
    after: str


def filled_at_once(decided: np.datetime64, symbol: str, price: float, opened: float) -> Moved:
    """A market order that filled at the close that decided it."""
    return Moved(decided, symbol, "price of a market order", f"{opened!r} (next open)", f"{price!r} (its own close)")


class Leak(NamedTuple):
    """Something that must not be."""

    check: str
    kind: str  #: future, same bar, end or run mode
    how: str  #: what was altered
    cut: str  #: first altered bar, "" where none was
    bar: str  #: bar of the first number that moved
    symbol: str
    quantity: str
    before: str
    after: str


def first_move(
    full: Trace, other: Trace, until: np.datetime64 | None = None, *, start: int = 0, tolerance: float = 0.0
) -> Moved | None:
    """The first bar before `until` on which the runs differ; None if none does.

    Parameters
    ----------
    start : int
        First row compared.
    tolerance : float
        Relative; 0 asks for equal bits (NaN equals NaN).
    """
    n, m = (len(t.stamps) if until is None else int(np.searchsorted(t.stamps, until)) for t in (full, other))
    if full.columns != other.columns and other.columns:
        strange = next(iter(set(full.columns) ^ set(other.columns)), Column("order of lines", "-"))
        return Moved(full.stamps[0], strange.symbol, f"line {strange.quantity}", "there", "not there")
    rows = min(n, m)
    after = full.stamps[rows - 1] + np.timedelta64(1, "us") if rows else full.stamps[0]
    candidates = (_first_value(full, other, start, rows, tolerance), _first_order(full, other, after, start, tolerance))
    found = [moved for moved in candidates if moved is not None]
    if found:
        return min(found, key=lambda moved: moved.stamp)
    if n == m:
        return None
    said = ("ran" if count > rows else trace.error or "did not run" for count, trace in ((n, full), (m, other)))
    return Moved((full if n > m else other).stamps[rows], "-", "the bar itself", *said)


def check_repeatable(one: Trace, other: Trace) -> None:
    """Whoever differs on the same bars differs on others, too, and shows nothing by it."""
    moved = first_move(one, other) if one.stamps.size else None
    if moved:
        raise ConfigError(
            "audit: the strategy is not repeatable, so nobody can tell what it knew: two runs on the same bars part on "
            f"{say_stamp(moved.stamp)} ({moved.symbol}, {moved.quantity}: {moved.before}, then {moved.after}); seed "
            "what is random in __init__, and keep nothing on the class or its module from run to run"
        )


def _first_value(full: Trace, other: Trace, start: int, rows: int, tolerance: float) -> Moved | None:
    if rows <= start or not full.columns:
        return None
    a, b = full.values[start:rows], other.values[start:rows]
    moved = _far(a, b, tolerance)
    if not moved.any():
        return None
    row = int(np.argmax(moved.any(axis=1)))
    column = int(np.argmax(moved[row]))
    quantity, symbol, _ = full.columns[column]
    return Moved(full.stamps[start + row], symbol, quantity, repr(float(a[row, column])), repr(float(b[row, column])))


def _first_order(full: Trace, other: Trace, until: np.datetime64, start: int, tolerance: float) -> Moved | None:
    since = full.stamps[start] if start < len(full.stamps) else until
    mine, theirs = ([order for order in t.orders if since <= order.stamp < until] for t in (full, other))
    for a, b in zip(mine, theirs, strict=False):
        if a[:3] != b[:3] or _far(np.array(a[3:]), np.array(b[3:]), tolerance).any():
            return Moved(min(a.stamp, b.stamp), a.symbol, "order", _say(a), _say(b))
    if len(mine) == len(theirs):
        return None
    extra = mine[len(theirs)] if len(mine) > len(theirs) else theirs[len(mine)]
    said = (_say(extra), "none") if len(mine) > len(theirs) else ("none", _say(extra))
    return Moved(extra.stamp, extra.symbol, "order", *said)


def _far(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """Where numbers differ; NaN equals NaN."""
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= tolerance * np.maximum(1.0, np.abs(a))
    return np.asarray(~(near | (a == b) | (np.isnan(a) & np.isnan(b))))


def _say(order: OrderRow) -> str:
    price = "" if math.isnan(order.price) else f" at {order.price!r}"
    return f"{order.what} {order.size:g}{price} {order.symbol} on {say_stamp(order.stamp)}"
