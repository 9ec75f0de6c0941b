"""The guard on arrays: targets as the brain wants them, an account, and the guard between them.

What `hybrid-bt parity` holds the strategy against where a guard is switched on: the guard sees the twin's account, and
must come to the same targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.replay import days_of, one_path
from hybrid_bt.bars import Bars
from hybrid_bt.equations.accounting import broker_day, send_orders
from hybrid_bt.equations.book import Account, Tape, new_book, open_account
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.guard import guard_step, initial_guard
from hybrid_bt.equations.guard_limits import FAILED, KILLED, GuardFacts, GuardParams, held_weights
from hybrid_bt.equations.sizing import OrderRules


def replay_guarded(
    wanted: NDArray[np.float64],
    bars: Bars,
    pairs: Sequence[tuple[int, int]],
    params: GuardParams,
    *,
    cash: float,
    costs: Costs,
    rules: OrderRules,
    masks: NDArray[np.float64],
) -> tuple[AccountPath, NDArray[np.float64]]:
    """Trade `wanted` (T, N) on `bars` through the guard.

    Parameters
    ----------
    masks : (T,)
        Of the run that is replayed; only what no price tells is read from it: failures and the kill switch.

    Returns
    -------
    The account, and the targets (T, N) that were sent.
    """
    sent = np.empty(wanted.shape)
    opens, closes, days, rows = bars.open.tolist(), bars.close.tolist(), days_of(bars).tolist(), wanted.tolist()

    def drive(tape: Tape) -> Account:
        account, book, guard = open_account(cash), new_book(bars.n_symbols), initial_guard()
        for t, (open_row, close_row) in enumerate(zip(opens, closes, strict=True)):
            account = broker_day(account, book, t, days[t], open_row, close_row, costs, tape)
            tape.cash[t], tape.equity[t] = account.cash, account.equity
            facts = GuardFacts(
                days[t],
                account.equity,
                held_weights(book.size, book.close, account.equity),
                [close == close for close in close_row],
                bool(int(masks[t]) & FAILED),
                bool(int(masks[t]) & KILLED),
            )
            guard, sent[t], _ = guard_step(guard, rows[t], facts, pairs, params, rules.rebalance_band)
            account = send_orders(account, book, t, sent[t].tolist(), close_row, rules)
        return account

    path = one_path(drive, wanted.shape)
    return path, sent
