"""Mix two recorded legs, limit, account: a whole backtest of the fusion in one loop over pure functions."""

from __future__ import annotations

import math
from typing import Any

from hybrid_bt.accounting import Account, Book, OrderRules, Tape, broker_day, open_account, send_orders
from hybrid_bt.costs import Costs
from hybrid_bt.fusion import FusionParams, fuse_into, pairs_traded, sac_weight
from hybrid_bt.risk import RiskParams, limit_in_place

__all__ = ["run_fused_account"]


def run_fused_account(
    opens: Any,
    closes: Any,
    days: Any,
    sac: Any,
    kalman: Any,
    regime: Any,
    volatility: Any,
    correlation: Any,
    waits: Any,
    fusion: FusionParams,
    risk: RiskParams,
    cash: float,
    costs: Costs,
    rules: OrderRules,
    book: Book,
    tape: Tape,
    wanted: Any,
) -> Account:
    """`run_account` on targets that are made on the way.

    Parameters
    ----------
    sac, kalman, volatility : (T, N), rows of lists or a two-dimensional array
    regime, correlation : (T,)
    waits : (T, N) or empty
        1 where a symbol may not be ordered (`hybrid_bt.waiting`), else 0.
    wanted : (N,)
        Room for the targets of a row.
    """
    account = open_account(cash)
    for t in range(len(closes)):
        account = broker_day(account, book, t, days[t], opens[t], closes[t], costs, tape)
        if t < len(tape.cash):
            tape.cash[t] = account.cash
            tape.equity[t] = account.equity
        fuse_into(wanted, sac[t], kalman[t], sac_weight(regime[t], fusion))
        limit_in_place(wanted, volatility[t], correlation[t], risk)
        if t < len(waits) and pairs_traded(fusion):
            for i in range(len(wanted)):
                if waits[t][i] > 0.0:
                    wanted[i] = math.nan
        account = send_orders(account, book, t, wanted, closes[t], rules)
    return account
