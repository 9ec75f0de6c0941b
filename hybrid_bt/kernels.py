"""`run_account` under numba. Imports numba: reach it through `hybrid_bt.batch` only.

Nothing is computed here; the step functions of `costs`, `sizing` and `accounting` are made callable from compiled
code and looped over. No fastmath, so that the bits are CPython's.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange
from numba.extending import intrinsic, register_jitable

from hybrid_bt import accounting, costs, sizing
from hybrid_bt.accounting import Account, Book, OrderRules, Tape, run_account
from hybrid_bt.costs import Costs

__all__ = ["one_account", "scenarios"]

CALLED = (
    costs.commission,
    costs.borrow_interest,
    sizing._toward_zero,
    sizing._whole_lots,
    sizing.order_size,
    sizing.submission_order,
    accounting._closing_part,
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
for function in CALLED:
    # Divisors (prices, equity, leverage) are checked to be positive: numpy's error model changes no value.
    register_jitable(forceinline=True, error_model="numpy")(function)


@intrinsic
def _borrowed(typingctx: Any, array: Any) -> Any:
    """The array without its owner.

    numba counts references, atomically, for each array of a NamedTuple at each call: most of the time of a bar. Safe
    here because the Python caller holds every array until the kernel returns.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()

    return array(array), codegen


borrowed: Any = _borrowed  # called without its typing context


@register_jitable
def _book(floats: Any, ints: Any) -> Book:
    """A book on (6, N) and (4, N) zeros."""
    f, k = borrowed(floats), borrowed(ints)
    return Book(f[0], f[1], f[2], k[0], f[3], f[4], k[1], f[5], k[2], k[3])


@register_jitable
def _tape(t: Tape) -> Tape:
    """The tape on borrowed arrays."""
    ints = borrowed(t.bar), borrowed(t.decided), borrowed(t.symbol)
    floats = borrowed(t.size), borrowed(t.price), borrowed(t.fee)
    rows = borrowed(t.cash), borrowed(t.equity), borrowed(t.borrow)
    return Tape(rows[0], rows[1], rows[2], ints[0], ints[1], ints[2], floats[0], floats[1], floats[2])


def _compile(function: Callable[..., Any], parallel: bool) -> Callable[..., Any]:
    try:
        compiled: Callable[..., Any] = njit(cache=True, error_model="numpy", parallel=parallel)(function)
    except RuntimeError:  # no place that a cache can be written to
        compiled = njit(error_model="numpy", parallel=parallel)(function)
    return compiled


def _kernels() -> tuple[Callable[..., Account], Callable[..., None]]:
    # numba's cache watches this file only. Free variables are part of its key, so the kernels have the digest of the
    # sources they call as one.
    text = "".join(inspect.getsource(module) for module in (costs, sizing, accounting))
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

    def one(
        opens: Any,
        closes: Any,
        days: Any,
        targets: Any,
        cash: float,
        costs: Costs,
        rules: OrderRules,
        tape: Tape,
        floats: Any,
        ints: Any,
    ) -> Account:
        assert digest >= 0
        prices = borrowed(opens), borrowed(closes)
        book = _book(floats[0], ints[0])
        return run_account(
            prices[0], prices[1], borrowed(days), borrowed(targets), cash, costs, rules, book, _tape(tape)
        )

    def many(
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
        floats: Any,
        ints: Any,
        no_borrow: Any,
        no_rows: Any,
        no_money: Any,
    ) -> None:
        assert digest >= 0
        for b in prange(len(cash)):
            c, r = costs[b], rules[b]
            blank, zero = no_rows, no_money
            tape = _tape(Tape(out_cash[b], out_equity[b], no_borrow, blank, blank, blank, zero, zero, zero))
            end = run_account(
                borrowed(opens),
                borrowed(closes),
                borrowed(days),
                borrowed(targets[b % len(targets)]),
                cash[b],
                Costs(c[0], c[1], c[2], c[3], c[4]),
                OrderRules(r[0], r[1], r[2]),
                _book(floats[b], ints[b]),
                tape,
            )
            totals[b, 0], totals[b, 1] = end.rejected, end.fills
            totals[b, 2], totals[b, 3] = end.commission, end.interest
            totals[b, 4] = 1.0 if end.ruined else 0.0

    return _compile(one, parallel=False), _compile(many, parallel=True)


_one, _many = _kernels()


def _blank_books(n_accounts: int, n_symbols: int) -> tuple[Any, Any]:
    return np.zeros((n_accounts, 6, n_symbols)), np.zeros((n_accounts, 4, n_symbols), np.int64)


def one_account(opens: Any, closes: Any, *rest: Any) -> Account:
    """See `hybrid_bt.batch.account_driver`."""
    return _one(opens, closes, *rest, *_blank_books(1, closes.shape[1]))


def scenarios(opens: Any, closes: Any, days: Any, targets: Any, cash: Any, *rest: Any) -> None:
    """See `hybrid_bt.batch.scenario_driver`."""
    nothing = np.zeros((0, 0)), np.zeros(0, np.int64), np.zeros(0)
    _many(opens, closes, days, targets, cash, *rest, *_blank_books(len(cash), closes.shape[1]), *nothing)
