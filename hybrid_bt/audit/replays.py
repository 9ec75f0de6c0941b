"""One run against many futures, and against other run modes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hybrid_bt.audit.alterations import alter
from hybrid_bt.audit.trace import Finding, Moved, Trace, first_move
from hybrid_bt.bars import Bars, say_stamp

MODE_TOLERANCE = 1e-9  #: relative; run modes may sum in another order
Run = Callable[[Bars], Trace]


@dataclass
class Check:
    """What one part of the audit did and found."""

    name: str
    bars: int = 0
    replays: int = 0
    values: int = 0  #: numbers compared
    orders: int = 0  #: orders compared
    findings: list[Finding] = field(default_factory=list)


def cut_rows(first: int, n_bars: int, every: int) -> list[int]:
    """Every `every`-th row behind `first` that leaves a bar to alter, the last such row first among equals."""
    return list(range(n_bars - 1, first + 1, -every))[::-1]


def check_futures(
    check: Check, run: Run, bars: Bars, full: Trace, cuts: Sequence[int], kinds: Sequence[Sequence[str]], horizon: int
) -> None:
    """Replay copies with another future and compare all that lies before it.

    Parameters
    ----------
    full : Trace
        Of `run(bars)`.
    kinds : sequence of sequences of str
        Alterations of the first, second, ... cut, in turn.
    horizon : int
        Bars behind the cut that an altered copy keeps.
    """
    check.bars = max(check.bars, len(full.stamps))
    for number, row in enumerate(cuts):
        for kind in kinds[number % len(kinds)]:
            copy = alter(bars, row, kind, horizon)
            other = run(copy)
            stamp = bars.stamps[row]
            # an unfinished weekly bar that is handed out at the end of a cut belongs to its last bar
            until = bars.stamps[row - 1] if copy.n_bars == row and full.unfinished else stamp
            moved = first_move(full, other, until)
            _count(check, full, int((full.stamps < until).sum()))
            if moved is not None:
                check.findings.append(Finding.of(check.name, "future", kind, say_stamp(stamp), moved))


def check_mode(check: Check, mode: str, full: Trace, other: Trace, tolerance: float = MODE_TOLERANCE) -> None:
    """Compare two run modes on the same bars, from the first bar that the strategy traded on."""
    moved = first_move(full, other, start=full.first, tolerance=tolerance)
    _count(check, full, len(full.stamps))
    check.bars = max(check.bars, len(full.stamps))
    if moved is not None:
        check.findings.append(Finding.of(check.name, "run mode", mode, "", moved))


def check_fills(check: Check, full: Trace) -> None:
    """No market order may fill at the close that decided it."""
    for stamp, symbol, price, opened in full.same_bar[:1]:
        moved = Moved(stamp, symbol, "price of a market order", f"{opened} (next open)", f"{price} (its own close)")
        check.findings.append(Finding.of(check.name, "same bar", "none", "", moved))


def _count(check: Check, full: Trace, rows: int) -> None:
    check.replays += 1
    check.values += rows * len(full.columns)
    check.orders += int(sum(order.stamp <= full.stamps[rows - 1] for order in full.orders)) if rows else 0
