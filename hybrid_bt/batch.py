"""The numba drivers: the very functions of `costs` and `accounting`, compiled.

numba is imported on first use. Where it is missing the same functions run interpreted, and a warning says so once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from hybrid_bt import accounting, costs
from hybrid_bt.accounting import Account, Book, OrderRules, Tape, new_book, run_account
from hybrid_bt.costs import Costs

__all__ = ["account_driver", "have_numba", "scenario_driver"]

CALLED = (
    costs.commission,
    costs.borrow_interest,
    accounting._toward_zero,
    accounting._whole_lots,
    accounting._closing_part,
    accounting.order_size,
    accounting.submission_order,
    accounting.margin_check,
    accounting.execute,
    accounting.open_account,
    accounting._check_submitted,
    accounting._interest,
    accounting._fill_waiting,
    accounting._first_bars,
    accounting._mark,
    accounting.broker_day,
    accounting.send_orders,
    accounting.run_account,
)


@cache
def have_numba() -> bool:
    """Whether numba can be imported; warns the first time it cannot."""
    if importlib.util.find_spec("numba") is not None:
        return True
    warnings.warn("numba is not installed: running interpreted (pip install 'hybrid_bt[train]')", stacklevel=2)
    return False


def _source_digest() -> int:
    """Changes with the compiled sources; numba's cache watches only the file of the outermost function."""
    text = inspect.getsource(costs) + inspect.getsource(accounting)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


@cache
def _callable_from_jit() -> None:
    from numba.extending import register_jitable

    for function in CALLED:
        register_jitable(function)


def _array_book(n: int) -> Book:
    return Book(
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.int64),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.int64),
        np.zeros(n),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
    )


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    import numba

    _callable_from_jit()
    numba.extending.register_jitable(_array_book)
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place that a cache can be written to
        compiled = numba.njit(**options)(function)
    return compiled


@cache
def account_driver(compiled: bool) -> Callable[..., Account]:
    """One account: f(opens, closes, days, targets, cash, costs, rules, tape) -> Account.

    Compiled, it takes float64 (T, N) arrays; interpreted, rows of lists are fastest.
    """
    if not compiled:
        return _interpreted
    digest = _source_digest()

    def kernel(
        opens: Any, closes: Any, days: Any, targets: Any, cash: float, costs: Costs, rules: OrderRules, tape: Tape
    ) -> Account:
        assert digest >= 0  # a free variable is part of numba's cache key
        book = _array_book(closes.shape[1])
        return run_account(opens, closes, days, targets, cash, costs, rules, book, tape)

    return _compile(kernel)


def _interpreted(
    opens: Any, closes: Any, days: Any, targets: Any, cash: float, costs: Costs, rules: OrderRules, tape: Tape
) -> Account:
    book = new_book(len(closes[0]) if len(closes) else 0)
    return run_account(opens, closes, days, targets, cash, costs, rules, book, tape)


@cache
def scenario_driver(compiled: bool) -> Callable[..., None]:
    """B accounts: f(opens, closes, days, targets, cash, costs, rules, out_cash, out_equity, totals) -> None.

    targets (1 or B, T, N), cash (B,), costs (B, 5), rules (B, 3); out_* (B, T) and totals (B, 5), columns rejected,
    fills, commission, interest, ruined, are written. Compiled, scenarios run in parallel.
    """
    if not compiled:
        return _interpreted_scenarios
    from numba import prange

    digest = _source_digest()

    def kernel(
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
        assert digest >= 0
        for b in prange(len(cash)):
            c, r = costs[b], rules[b]
            unwritten = np.zeros(0)
            rows = np.zeros(0, np.int64)
            tape = Tape(out_cash[b], out_equity[b], np.zeros((0, 0)), rows, rows, rows, unwritten, unwritten, unwritten)
            end = run_account(
                opens,
                closes,
                days,
                targets[b % len(targets)],
                cash[b],
                Costs(c[0], c[1], c[2], c[3], c[4]),
                OrderRules(r[0], r[1], r[2]),
                _array_book(closes.shape[1]),
                tape,
            )
            totals[b, 0] = end.rejected
            totals[b, 1] = end.fills
            totals[b, 2] = end.commission
            totals[b, 3] = end.interest
            totals[b, 4] = 1.0 if end.ruined else 0.0

    return _compile(kernel, parallel=True)


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
