"""What fills did to an account, by asset and bar: cash flows, profit, exposure, and the proof that they explain it.

    flow[t, i]   = -sum over fills of size * price * m - commissions - interest
    profit[t, i] = m (size[t] mark[t] - size[t-1] mark[t-1]) + flow[t, i]
    equity[t] - equity[t-1] = sum over i of profit[t, i] + deposits[t]

with m the multiplier of a future, 1 for shares, whatever the leverage: it moves cash, not profit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import AccountPath, Fills, FloatArray
from hybrid_bt.bars import say_stamp
from hybrid_bt.errors import ReconciliationError

IntArray = NDArray[np.int64]

TOLERANCE = 1e-9  # of the larger of equity and gross exposure


class Flows(NamedTuple):
    """What each asset did to the account on each bar, (T, N), account currency."""

    bought: FloatArray  #: purchases less sales
    traded: FloatArray  #: purchases and sales
    commissions: FloatArray  #: >= 0
    interest: FloatArray  #: charged on positions
    exposure: FloatArray  #: signed, size * mark * multiplier

    @property
    def cash(self) -> FloatArray:
        """Into the account: sales less purchases, commissions and interest."""
        return -self.bought - self.commissions - self.interest

    @property
    def profit(self) -> FloatArray:
        """Of each bar, net of commissions and interest."""
        return np.diff(self.exposure, axis=0, prepend=np.zeros((1, self.exposure.shape[1]))) + self.cash

    @property
    def gross(self) -> FloatArray:
        """Profit before costs, from the first bar to each."""
        bought: FloatArray = self.bought.cumsum(axis=0)
        return self.exposure - bought

    @property
    def costs(self) -> FloatArray:
        """Commissions and interest, from the first bar to each."""
        costs: FloatArray = self.commissions.cumsum(axis=0) + self.interest.cumsum(axis=0)
        return costs


def flows_of(path: AccountPath, marks: FloatArray, multipliers: FloatArray | float = 1.0) -> Flows:
    """Flows from the fills of an account.

    Parameters
    ----------
    path : AccountPath
        All rows.
    marks : (T, N)
        Last closes; before the first, anything.
    multipliers : (N,)
    """
    bought, traded, commissions = (np.zeros(marks.shape) for _ in range(3))
    fills = path.fills
    value = fills.size * fills.price * np.broadcast_to(multipliers, marks.shape[1:])[fills.symbol]
    for total, amounts in ((bought, value), (traded, np.abs(value)), (commissions, fills.commission)):
        np.add.at(total, (fills.bar, fills.symbol), amounts)
    return Flows(bought, traded, commissions, path.borrow, exposure_of(path.size, marks, multipliers))


def exposure_of(size: FloatArray, marks: FloatArray, multipliers: FloatArray | float = 1.0) -> FloatArray:
    """Worth of what is held, signed, (T, N), at last closes; before the first, anything."""
    return np.where(size != 0.0, size * marks * multipliers, 0.0)


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
            f"deposits explain {float(wanted[row])!r}; a price that is not finite, `broker.cash` written by hand, "
            "or a commission scheme whose value of a position moves by itself"
        )


def marked_close(close: FloatArray) -> FloatArray:
    """Closes at which positions are marked: the symbol's last one; 0 before its first, when nothing can be held.

    Parameters
    ----------
    close : ndarray of shape (T, N)
        NaN where a symbol has no bar.

    Returns
    -------
    ndarray of shape (T, N)
    """
    if not np.isnan(close).any():
        return close
    rows = np.arange(len(close))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(close), 0, rows), axis=0)
    return np.nan_to_num(np.take_along_axis(close, last, axis=0), nan=0.0)


def known_logs(prices: FloatArray) -> FloatArray:
    """Logarithms of the last known prices, (T, N); NaN before a symbol's first."""
    last = marked_close(prices)
    return np.log(np.where(last > 0.0, last, np.nan))


def exposures(exposure: FloatArray, equity: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gross and net exposure at each close, (T,) each: fractions of equity, the last positive one; NaN before any."""
    last = np.maximum.accumulate(np.where(equity > 0.0, np.arange(len(equity)), 0))
    solvent = np.where(equity[last] > 0.0, equity[last], np.nan)
    return np.abs(exposure).sum(axis=1) / solvent, exposure.sum(axis=1) / solvent


def by_symbol(path: AccountPath, flows: Flows) -> dict[str, NDArray[Any]]:
    """What each symbol earned and how often it was traded, (N,) each, by the names of `per_ticker_pnl.csv`."""
    fills, n = path.fills, flows.bought.shape[1]
    bought, commissions, interest = map(_sums, (flows.bought, flows.commissions, flows.interest))
    gross, costs = flows.exposure[-1] - bought, commissions + interest
    return {
        "gross_pnl": gross,
        "costs": costs,
        "pnl_net": gross - costs,
        "buys": np.bincount(fills.symbol[fills.size > 0.0], minlength=n),
        "sells": np.bincount(fills.symbol[fills.size < 0.0], minlength=n),
        "trades": round_trips(fills, n),
    }


def _sums(values: FloatArray) -> FloatArray:
    """(N,) of all bars, in their order."""
    return np.array([column.cumsum()[-1] for column in values.T])


def round_trips(fills: Fills, n_symbols: int) -> IntArray:
    """How many positions each symbol opened, from flat or by a flip; one still open at the end counts, (N,)."""
    counts = np.zeros(n_symbols, dtype=np.int64)
    held = [0.0] * n_symbols
    for symbol, size in zip(fills.symbol.tolist(), fills.size.tolist(), strict=True):
        before = held[symbol]
        held[symbol] = after = before + size
        counts[symbol] += after != 0.0 and before * after <= 0.0
    return counts
