"""An account on targets, and the targets of recorded legs, mixed and limited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from hybrid_bt import accounting, costs, fusion, sizing
from hybrid_bt.accounting import Account, OrderRules, Tape, book_of, run_account
from hybrid_bt.costs import Costs
from hybrid_bt.fusion import RiskParams
from hybrid_bt.kernels.compiling import Floats, Ints, borrowed, compile_kernel, digest_of, frozen, register

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
    accounting.book_of,
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
register((fusion.mix_into, fusion.portfolio_volatility, fusion.limit_in_place, fusion.settle_row))
MODULES = (costs, sizing, accounting)


@register_jitable
def _tape(t: Tape) -> Tape:
    """The tape on borrowed arrays."""
    ints = borrowed(t.bar), borrowed(t.decided), borrowed(t.symbol)
    floats = borrowed(t.size), borrowed(t.price), borrowed(t.fee)
    rows = borrowed(t.cash), borrowed(t.equity), borrowed(t.borrow)
    return Tape(rows[0], rows[1], rows[2], ints[0], ints[1], ints[2], floats[0], floats[1], floats[2])


def _trading() -> Callable[..., Account]:
    digest = digest_of(MODULES)

    def trade(
        opens: Floats,
        closes: Floats,
        days: Ints,
        targets: Floats,
        cash: float,
        costs: Costs,
        rules: OrderRules,
        tape: Tape,
        floats: Floats,
        ints: Ints,
    ) -> Account:
        assert digest >= 0
        rows, terms = (borrowed(opens), borrowed(closes), borrowed(days), borrowed(targets)), (cash, costs, rules)
        return run_account(*rows, terms, book_of(borrowed(floats), borrowed(ints)), _tape(tape))

    return compile_kernel(trade, parallel=False)


def _settling() -> Callable[..., None]:
    digest = digest_of((fusion,))

    def settle(
        targets: Floats, weights: Floats, volatility: Floats, correlation: Floats, limits: RiskParams, settled: Floats
    ) -> None:
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


_trade, _settle = _trading(), _settling()


def one_account(terms: tuple[float, Costs, OrderRules], tape: Tape, *rows: NDArray[Any]) -> Account:
    """`accounting.run_account` of C-contiguous opens, closes, days and targets, with a book of its own."""
    n = rows[1].shape[1]
    account: Account = _trade(*map(frozen, rows), *terms, tape, np.zeros((6, n)), np.zeros((4, n), np.int64))
    return account


def settle_all(
    targets: Floats, weights: Floats, volatility: Floats, correlation: Floats, limits: RiskParams, settled: Floats
) -> None:
    """Mix and limit the targets (L, T, N) of all legs, row by row, into `settled`, (T, N)."""
    given = map(frozen, (targets, weights, volatility, correlation))
    _settle(*given, RiskParams(*map(float, limits)), settled)
