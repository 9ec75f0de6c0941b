"""The two drivers of the accounting, interpreted and compiled: same functions, same bits.

numba is imported on first use of a compiled driver. Where it is missing, a warning says so once.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from hybrid_bt.accounting import Account, OrderRules, Tape, new_book, run_account
from hybrid_bt.costs import Costs

__all__ = ["account_driver", "have_numba", "scenario_driver"]


@cache
def have_numba() -> bool:
    """Whether numba can be imported; warns the first time it cannot."""
    if importlib.util.find_spec("numba") is not None:
        return True
    warnings.warn("numba is not installed: running interpreted (pip install 'hybrid_bt[train]')", stacklevel=2)
    return False


def account_driver(compiled: bool) -> Callable[..., Account]:
    """One account: f(opens, closes, days, targets, cash, costs, rules, tape) -> Account.

    Compiled, it takes C-contiguous float64 (T, N) arrays and int64 (T,) days; interpreted, rows of lists are fastest.
    """
    if not compiled:
        return _interpreted
    from hybrid_bt.kernels import one_account

    return one_account


def scenario_driver(compiled: bool) -> Callable[..., None]:
    """B accounts: f(opens, closes, days, targets, cash, costs, rules, out_cash, out_equity, totals) -> None.

    targets (1 or B, T, N), cash (B,), costs (B, 5), rules (B, 3), all C-contiguous; out_* (B, T) and totals (B, 5),
    columns rejected, fills, commission, interest, ruined, are written. Compiled, scenarios run in parallel.
    """
    if not compiled:
        return _interpreted_scenarios
    from hybrid_bt.kernels import scenarios

    return scenarios


def _interpreted(
    opens: Any, closes: Any, days: Any, targets: Any, cash: float, costs: Costs, rules: OrderRules, tape: Tape
) -> Account:
    book = new_book(len(closes[0]) if len(closes) else 0)
    return run_account(opens, closes, days, targets, cash, costs, rules, book, tape)


def _interpreted_scenarios(
    opens: Any,
    closes: Any,
    days: Any,
    targets: Any,
    cash: Any,
    costs: Any,
    rules: Any,
    out_cash: Any,
    out_equity: Any,
    totals: Any,
) -> None:
    opens, closes, days, money = opens.tolist(), closes.tolist(), days.tolist(), cash.tolist()
    for b in range(len(money)):
        tape = Tape(out_cash[b], out_equity[b], (), (), (), (), (), (), ())
        wanted = targets[b % len(targets)].tolist()
        charged, ruled = Costs(*costs[b].tolist()), OrderRules(*rules[b].tolist())
        end = _interpreted(opens, closes, days, wanted, money[b], charged, ruled, tape)
        totals[b] = end.rejected, end.fills, end.commission, end.interest, end.ruined
