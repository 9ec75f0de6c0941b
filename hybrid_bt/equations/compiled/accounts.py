"""An account on targets, and the targets of recorded legs, mixed and limited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from hybrid_bt.equations import fusion
from hybrid_bt.equations.accounting import run_account
from hybrid_bt.equations.book import Account, Tape, book_of
from hybrid_bt.equations.compiled.compiling import SOURCES, Floats, Ints, borrowed, compile_kernel, frozen
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.fusion import RiskParams
from hybrid_bt.equations.sizing import OrderRules


@register_jitable
def _tape(t: Tape) -> Tape:
    """The tape on borrowed arrays."""
    ints = borrowed(t.bar), borrowed(t.decided), borrowed(t.symbol)
    floats = borrowed(t.size), borrowed(t.price), borrowed(t.fee)
    rows = borrowed(t.cash), borrowed(t.equity), borrowed(t.borrow)
    return Tape(rows[0], rows[1], rows[2], ints[0], ints[1], ints[2], floats[0], floats[1], floats[2])


def _trading() -> Callable[..., Account]:
    sources = SOURCES

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
        assert sources >= 0
        rows, terms = (borrowed(opens), borrowed(closes), borrowed(days), borrowed(targets)), (cash, costs, rules)
        return run_account(*rows, terms, book_of(borrowed(floats), borrowed(ints)), _tape(tape))

    return compile_kernel(trade, parallel=False)


def _settling() -> Callable[..., None]:
    sources = SOURCES

    def settle(
        targets: Floats, weights: Floats, volatility: Floats, correlation: Floats, limits: RiskParams, settled: Floats
    ) -> None:
        assert sources >= 0
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
