"""What a reader of a run must know of bars that were missing, and of the guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import AccountPath
from hybrid_bt.bars import Bars
from hybrid_bt.brain.records import Decisions, PairPaths
from hybrid_bt.equations.guard_limits import GuardParams

Sides = Sequence[tuple[int, int]]  #: P columns (y, x)


def orphans_closed(traded: NDArray[np.bool_], sides: Sides, position: NDArray[np.float64]) -> list[int]:
    """How often each pair was closed as an orphan, (P,); only a rule for orphans closes a pair without both bars."""
    found = []
    for p, (y, x) in enumerate(sides):
        direction = np.nan_to_num(position[:, p])
        closed = (direction[:-1] != 0.0) & (direction[1:] == 0.0)
        found.append(int(np.count_nonzero(closed & ~(traded[1:, y] & traded[1:, x]))))
    return found


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


def guard_notes(params: GuardParams, report: dict[str, Any]) -> list[str]:
    """What a reader of a run must know of its guard, from the triggers, their first bars and the failures."""
    if not report:
        return []
    triggers, first = report["triggers"], report["first"]
    notes = []
    failed = triggers.get("policy_failure", 0)
    if report["failures"]:
        more = "" if len(report["failures"]) == 1 else f" (and {len(report['failures']) - 1} other texts in run.json)"
        notes.append(
            f"POLICY FAILURE on {failed} traded bars: {report['failures'][0]}{more}; "
            f"the account was moved to its safe rule, {params.on_policy_failure}."
        )
    hits = [
        f"{name} on {n} bars from {first[name][:10]} on" for name, n in triggers.items() if name != "policy_failure"
    ]
    if params != GuardParams():
        notes.append(
            f"The guard changed targets: {', '.join(hits)}." if hits else "The guard is on and changed no target."
        )
        notes.append("The accounts beside the hybrid are replayed without the guard.")
    return notes
