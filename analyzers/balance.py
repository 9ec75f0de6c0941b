"""Cash flows and profit of each asset, and the proof that they explain the account on every bar.

    flow[t, i]   = -sum over fills of size * price * m - commissions - interest
    profit[t, i] = m (size[t] mark[t] - size[t-1] mark[t-1]) + flow[t, i]
    equity[t] - equity[t-1] = sum over i of profit[t, i] + deposits[t]

with m the multiplier of a future, 1 for shares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import AccountPath
from hybrid_bt.bars import say_stamp
from hybrid_bt.errors import ReconciliationError

FloatArray = NDArray[np.float64]

TOLERANCE = 1e-9  # of the larger of equity and gross exposure


class Flows(NamedTuple):
    """What each asset did to the account on each bar, (T, N), account currency."""

    cash: FloatArray  #: into the account: sales less purchases, commissions and interest
    profit: FloatArray  #: net of commissions and interest
    commissions: FloatArray  #: >= 0
    interest: FloatArray  #: charged on positions
    traded: FloatArray  #: sum of |size| * price * multiplier
    exposure: FloatArray  #: signed, size * mark * multiplier


def flows_of(path: AccountPath, marks: FloatArray, multipliers: FloatArray) -> Flows:
    """Flows and profits from the fills of an account.

    Parameters
    ----------
    path : AccountPath
        All rows.
    marks : (T, N)
        Last closes, NaN before the first.
    multipliers : (N,)
    """
    bought, traded, commissions = (np.zeros(path.size.shape) for _ in range(3))
    for fill in path.fills:
        where = fill.bar, fill.symbol
        value = fill.size * fill.price * multipliers[fill.symbol]
        bought[where] += value
        traded[where] += abs(value)
        commissions[where] += fill.commission
    exposure = np.where(path.size != 0.0, path.size * marks * multipliers, 0.0)
    cash = -bought - commissions - path.borrow
    profit = np.diff(exposure, axis=0, prepend=np.zeros((1, exposure.shape[1]))) + cash
    return Flows(cash, profit, commissions, path.borrow, traded, exposure)


def check_balance(
    path: AccountPath, flows: Flows, deposits: FloatArray, start_value: float, stamps: NDArray[np.datetime64]
) -> None:
    """Raise ReconciliationError for the first bar on which equity is not explained."""
    found = np.diff(path.equity, prepend=start_value)
    wanted = flows.profit.sum(axis=1) + deposits
    scale = np.maximum(np.abs(path.equity), np.abs(flows.exposure).sum(axis=1))
    wrong = ~(np.abs(found - wanted) <= TOLERANCE * np.maximum(scale, 1.0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ReconciliationError(
            f"ledger: on {say_stamp(stamps[row])} equity moved by {float(found[row])!r}, but fills, prices, costs and "
            f"deposits explain {float(wanted[row])!r}; a price that is not finite, a cash balance set by hand, "
            "or a commission scheme whose value of a position moves by itself"
        )
