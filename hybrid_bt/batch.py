"""Whether to run interpreted or compiled, and the two drivers of accounts: same functions, same bits.

numba is imported on first use of a compiled driver. Where it is missing, one warning says so.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from hybrid_bt.accounting import Account, OrderRules, Tape, new_book, run_account
from hybrid_bt.costs import Costs
from hybrid_bt.errors import Advice

SECONDS_TO_LOAD = 1.0  # numba and a kernel that was compiled in an earlier process
SECONDS_LOADED = 0.05  # a kernel, numba being there already
_interpreted_so_far = [0.0]  # seconds, as estimated: many short replays are as long as one long one


@cache
def have_numba() -> bool:
    """Whether numba can be imported; says so the first time it cannot, unless a worker process asks."""
    if importlib.util.find_spec("numba") is not None:
        return True
    if multiprocessing.parent_process() is None:
        warnings.warn("numba is not installed: same numbers, only slower (pip install numba)", Advice, stacklevel=2)
    return False


def choose(compiled: bool | None, interpreted_seconds: float) -> bool:
    """Whether to run compiled: as asked, or once a process would have interpreted for as long as it takes to load."""
    if compiled is None:
        _interpreted_so_far[0] += interpreted_seconds
        compiled = _interpreted_so_far[0] >= (SECONDS_LOADED if "numba" in sys.modules else SECONDS_TO_LOAD)
    return compiled and have_numba()


def account_driver(compiled: bool) -> Callable[..., Account]:
    """One account: f(opens, closes, days, targets, cash, costs, rules, tape) -> Account.

    Compiled, it takes C-contiguous float64 (T, N) arrays and int64 (T,) days; interpreted, rows of lists are fastest.
    """
    if not compiled:
        return _interpreted
    from hybrid_bt.kernels.accounts import one_account

    return one_account


def scenario_driver(compiled: bool) -> Callable[..., None]:
    """B accounts: f(opens, closes, days, targets, cash, costs, rules, out_cash, out_equity, totals) -> None.

    opens, closes, targets (1 or B, T, N), days (1 or B, T), cash (B,), costs and rules (B, fields), all
    C-contiguous; out_* (B, T) and totals (B, 5), columns rejected, fills, commission, interest, ruined, are written.
    Compiled, scenarios run in parallel.
    """
    if not compiled:
        return _interpreted_scenarios
    from hybrid_bt.kernels.accounts import scenarios

    return scenarios


def _interpreted(*given: Any) -> Account:
    *inputs, tape = given
    run: Callable[..., Account] = run_account
    return run(*inputs, new_book(_n_symbols(inputs)), tape)


def _n_symbols(inputs: Any) -> int:
    closes = inputs[1]
    return len(closes[0]) if len(closes) else 0


def _interpreted_scenarios(*arrays: Any) -> None:
    *shared, cash, costs, rules, out_cash, out_equity, totals = arrays
    for b in range(len(cash)):
        terms = float(cash[b]), Costs(*costs[b].tolist()), OrderRules(*rules[b].tolist())
        end = _interpreted(*_scenario(shared, b), *terms, _rows(out_cash[b], out_equity[b]))
        totals[b] = end.rejected, end.fills, end.commission, end.interest, end.ruined


def _scenario(shared: Any, b: int) -> list[Any]:
    """Lists of scenario b; what is shared by all has one row."""
    return [array[b % len(array)].tolist() for array in shared]


def _rows(cash: Any, equity: Any) -> Tape:
    return Tape(cash, equity, (), (), (), (), (), (), ())
