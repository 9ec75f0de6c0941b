"""Does the account follow from its own fills? Equity, cash and sizes, derived anew.

    cash[t] = start - sum of all fills' size * price - commissions - interest
    equity[t] = cash[t] + sum over symbols size[t] * close[t]

Plain sums over fills, sharing nothing with `equations.accounting`: an account that passes both is right, or wrong in
two independent ways at once.
"""

from __future__ import annotations

import numpy as np

from hybrid_bt.account.flows import marked_close
from hybrid_bt.account.records import AccountPath, FloatArray
from hybrid_bt.bars import Bars
from hybrid_bt.errors import ReconciliationError

TOLERANCE = 1e-6  # relative difference that fails a run


def reconcile(path: AccountPath, bars: Bars, start_value: float) -> float:
    """Derive cash, sizes and equity from the fills and compare.

    Parameters
    ----------
    path : AccountPath
        T rows, N symbols.
    bars : Bars
        The same T rows; a symbol without a bar on a row is marked at its last close.
    start_value : float
        Cash before the first row.

    Returns
    -------
    float
        Largest difference of equity or cash, as a fraction of the larger of |start value| and |reported equity|.

    Raises
    ------
    ReconciliationError
        If it exceeds 1e-6, a figure is not finite, or a size differs.
    """
    _check_shapes(path, bars)
    spent, size = _flows(path)
    _compare("size", path.size, size, np.ones(size.shape), bars)
    cash = start_value - spent
    equity = cash + (size * marked_close(bars.close)).sum(axis=1)
    scale = np.maximum(abs(start_value), np.abs(path.equity))
    return max(_compare("equity", path.equity, equity, scale, bars), _compare("cash", path.cash, cash, scale, bars))


def _check_shapes(path: AccountPath, bars: Bars) -> None:
    shape = bars.close.shape
    if (
        (path.held is not None and path.held.shape != shape)
        or path.borrow.shape != shape
        or path.equity.shape != shape[:1]
    ):
        what = f"the account has {path.borrow.shape} bars x symbols, the bars {shape}"
        raise ReconciliationError(f"reconcile: {what}; pass the bars that the account traded on, cut to its rows")


def _flows(path: AccountPath) -> tuple[FloatArray, FloatArray]:
    """(T,) money spent so far on shares and costs; (T, N) shares held."""
    spent, traded = path.interest(), np.zeros(path.borrow.shape)
    for fill in path.fills:
        spent[fill.bar] += fill.size * fill.price + fill.commission
        traded[fill.bar, fill.symbol] += fill.size
    return np.cumsum(spent), np.cumsum(traded, axis=0)


def _compare(what: str, reported: FloatArray, derived: FloatArray, scale: FloatArray, bars: Bars) -> float:
    """Largest difference in units of `scale`; raises where it is too large."""
    difference = np.abs(reported - derived) / scale
    worst = np.unravel_index(int(np.argmax(np.where(np.isnan(difference), np.inf, difference))), difference.shape)
    if not difference[worst] <= TOLERANCE:
        row = int(worst[0])
        where = f"{bars.symbols[worst[1]]} " if len(worst) > 1 else ""
        raise ReconciliationError(
            f"reconcile: {where}{what} on {np.datetime_as_string(bars.stamps[row], 's')} (row {row}) is reported as "
            f"{float(reported[worst])!r}, but the fills give {float(derived[worst])!r}; the record is incomplete, or "
            "cash was moved other than by trading shares"
        )
    return float(difference[worst])
