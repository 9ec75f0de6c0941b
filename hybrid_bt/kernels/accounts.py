"""Accounts: on targets, or on recorded legs that are mixed and limited on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange
from numba.extending import register_jitable

from hybrid_bt import accounting, costs, fusion, risk, sizing
from hybrid_bt.accounting import Account, Book, OrderRules, Tape, run_account
from hybrid_bt.costs import Costs
from hybrid_bt.kernels.compiling import as_tuple, borrowed, compile_kernel, digest_of, frozen, register
from hybrid_bt.risk import RiskParams

#: what any account calls
ACCOUNTING = (
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
register(ACCOUNTING)
register((fusion.mix_into, risk.portfolio_volatility, risk.limit_in_place, fusion.settle_row))
MODULES = (costs, sizing, accounting)
N_COSTS, N_RULES = len(Costs._fields), len(OrderRules._fields)


@register_jitable
def _book(floats: Any, ints: Any) -> Book:
    """A book on (6 or more, N) and (4, N) zeros."""
    f, k = borrowed(floats), borrowed(ints)
    return Book(f[0], f[1], f[2], k[0], f[3], f[4], k[1], f[5], k[2], k[3])


@register_jitable
def _tape(t: Tape) -> Tape:
    """The tape on borrowed arrays."""
    ints = borrowed(t.bar), borrowed(t.decided), borrowed(t.symbol)
    floats = borrowed(t.size), borrowed(t.price), borrowed(t.fee)
    rows = borrowed(t.cash), borrowed(t.equity), borrowed(t.borrow)
    return Tape(rows[0], rows[1], rows[2], ints[0], ints[1], ints[2], floats[0], floats[1], floats[2])


def _kernels() -> tuple[Callable[..., Account], Callable[..., None]]:
    digest = digest_of(MODULES)

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
            blank, zero = no_rows, no_money
            tape = _tape(Tape(out_cash[b], out_equity[b], no_borrow, blank, blank, blank, zero, zero, zero))
            end = run_account(
                borrowed(opens[b % len(opens)]),
                borrowed(closes[b % len(closes)]),
                borrowed(days[b % len(days)]),
                borrowed(targets[b % len(targets)]),
                cash[b],
                Costs(*as_tuple(costs[b], N_COSTS)),
                OrderRules(*as_tuple(rules[b], N_RULES)),
                _book(floats[b], ints[b]),
                tape,
            )
            totals[b, 0], totals[b, 1] = end.rejected, end.fills
            totals[b, 2], totals[b, 3] = end.commission, end.interest
            totals[b, 4] = 1.0 if end.ruined else 0.0

    return compile_kernel(one, parallel=False), compile_kernel(many, parallel=True)


def _settling() -> Callable[..., None]:
    digest = digest_of((fusion, risk))

    def settle(targets: Any, weights: Any, volatility: Any, correlation: Any, limits: RiskParams, settled: Any) -> None:
        assert digest >= 0
        for t in range(len(settled)):
            fusion.settle_row(
                borrowed(settled[t]),
                borrowed(targets[:, t]),
                borrowed(weights[t]),
                borrowed(volatility[t]),
                correlation[t],
                limits,
            )

    return compile_kernel(settle, parallel=False)


_one, _many = _kernels()
_settle = _settling()


def _blank_books(n_accounts: int, n_symbols: int) -> tuple[Any, Any]:
    return np.zeros((n_accounts, 6, n_symbols)), np.zeros((n_accounts, 4, n_symbols), np.int64)


def _nothing() -> tuple[Any, Any, Any]:
    return np.zeros((0, 0)), np.zeros(0, np.int64), np.zeros(0)


def one_account(*given: Any) -> Account:
    """See `hybrid_bt.batch.account_driver`."""
    *inputs, tape = given
    return _one(*map(frozen, inputs), tape, *_blank_books(1, inputs[1].shape[1]))


def scenarios(*given: Any) -> None:
    """See `hybrid_bt.batch.scenario_driver`."""
    *inputs, cash, equity, totals = given
    books = _blank_books(len(totals), inputs[1].shape[2])
    _many(*map(frozen, inputs), cash, equity, totals, *books, *_nothing())


def settle_all(targets: Any, weights: Any, volatility: Any, correlation: Any, limits: RiskParams, settled: Any) -> None:
    """Mix and limit the targets (L, T, N) of all legs, row by row, into `settled`, (T, N)."""
    given = map(frozen, (targets, weights, volatility, correlation))
    _settle(*given, RiskParams(*map(float, limits)), settled)
