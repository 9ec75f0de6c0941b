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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hybrid_bt.account.records import AccountPath, Decisions, PairPaths
    from hybrid_bt.bars import Bars

Sides = Sequence[tuple[int, int]]  #: P columns (y, x)
Bundle = tuple[int, ...]  #: columns of what belongs together


def open_bundles(wishes: Iterable[tuple[Bundle, tuple[float, ...]]]) -> list[Bundle]:
    """Columns of the wishes for several assets that are not for nothing."""
    return [columns for columns, amounts in wishes if len(columns) > 1 and any(amounts)]


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
