"""Both sides of a pair trade on a bar, or neither does.

A target is netted per asset, so the order of a pair's side is nobody's alone. While a pair is open (and on the bar on
which it opens or closes) and one of its sides has no bar, no order goes out for the other side either, whatever asks
for it: the shares of both stay what they were. That ties pairs that share an asset together.

A pair whose sides have not both had a bar for `orphan_bars` bars is an orphan: it is closed, its side that still
trades is free again, and the other one is sold when, and if, its next bar comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars
    from hybrid_bt.records import AccountPath, Decisions, PairPaths

__all__ = ["gap_counts", "gap_notes", "orphans_closed", "waiting_sides", "waits_of", "withheld"]

Sides = Sequence[tuple[int, int]]  #: P columns (y, x)


def waiting_sides(traded: Sequence[bool], sides: Sides, before: Sequence[float], after: Sequence[float]) -> list[bool]:
    """Symbols that have a bar and yet may not be ordered.

    Parameters
    ----------
    traded : (N,) whether the symbol has a bar
    before, after : (P,) direction of each pair before and after this bar's decision, 0 for flat

    Returns
    -------
    (N,) list of bool
    """
    held = [not there for there in traded]
    tied = [
        (y, x)
        for (y, x), was, now in zip(sides, before, after, strict=True)
        if now != 0.0 or (was != 0.0 and traded[y] and traded[x])  # closed without both bars: an orphan, set free
    ]
    spreading = True
    while spreading:
        spreading = False
        for y, x in tied:
            if held[y] != held[x]:
                held[y] = held[x] = spreading = True
    return [wait and there for wait, there in zip(held, traded, strict=True)]


def waits_of(traded: NDArray[np.bool_], sides: Sides, position: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`waiting_sides` of recorded pairs, (T, N).

    Parameters
    ----------
    traded : (T, N)
    position : (T, P)
        As `PairPaths.position`, all bars from the first on; flat before them.
    """
    waits = np.zeros(traded.shape, np.bool_)
    directions = np.vstack([np.zeros((1, len(sides))), position]).tolist()
    for t in np.flatnonzero(~traded.all(axis=1)):
        waits[t] = waiting_sides(traded[t].tolist(), sides, directions[t], directions[t + 1])
    return waits


def orphans_closed(traded: NDArray[np.bool_], sides: Sides, position: NDArray[np.float64]) -> list[int]:
    """How often each pair was closed as an orphan, (P,); only a rule for orphans closes a pair without both bars."""
    found = []
    for p, (y, x) in enumerate(sides):
        direction = np.nan_to_num(position[:, p])
        closed = (direction[:-1] != 0.0) & (direction[1:] == 0.0)
        found.append(int(np.count_nonzero(closed & ~(traded[1:, y] & traded[1:, x]))))
    return found


def withheld(targets: Sequence[float], waits: Sequence[bool]) -> Sequence[float]:
    """The targets that may be sent: NaN, which keeps what is held, where a symbol waits."""
    if True not in waits:
        return targets
    return [math.nan if wait else target for target, wait in zip(targets, waits, strict=True)]


def gap_counts(
    traded: Bars, decisions: Decisions, pairs: PairPaths, sides: Sides, account: AccountPath
) -> dict[str, Any]:
    """What bars that are missing did to an account, for `run.json`; all over the same T bars.

    Returns
    -------
    dict
        `missing_bars`, `withheld` (bars x symbols on which no order was allowed), `orphans_closed` by pair, and
        `stranded`: shares at the end in symbols whose bars ended before.
    """
    ended = ~traded.traded[-1] & (account.size[-1] != 0.0)
    closed = orphans_closed(traded.traded, sides, pairs.position)
    return {
        "missing_bars": int(np.count_nonzero(~traded.traded)),
        "withheld": 0 if decisions.waits is None else int(np.count_nonzero(decisions.waits)),
        "orphans_closed": {name: count for name, count in zip(pairs.names, closed, strict=True) if count},
        "stranded": {traded.symbols[i]: float(account.size[-1, i]) for i in np.flatnonzero(ended)},
    }


def gap_notes(counts: dict[str, Any]) -> list[str]:
    """What a reader of the result must know of them."""
    notes = []
    if counts["orphans_closed"]:
        listed = ", ".join(f"{name} {count}" for name, count in counts["orphans_closed"].items())
        notes.append(f"Pairs closed as orphans, one side having no bar for long: {listed}.")
    if counts["stranded"]:
        listed = ", ".join(f"{symbol} {size:g}" for symbol, size in counts["stranded"].items())
        notes.append(f"Shares held at the end in symbols without a last bar, valued at their last close: {listed}.")
    return notes
