"""From a target to an order: lots, the rebalance band, and who goes first.

    wanted position = target * equity / close, rounded toward zero to a multiple of the lot;  order = wanted - held

Shared by the live strategy and the accounting twin; plain functions of floats and sequences (see `accounting`).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Lt

from hybrid_bt.equations import Cells, Numbers

# Sizes live on a binary grid: sums of them are exact up to 2^33 shares. Off the grid, closing and opening parts of a
# flip do not add up to the order, and Backtrader leaves it open with some 1e-16 shares to go.
SIZE_GRID = 1048576.0  # 2^20 per share


class OrderRules(NamedTuple):
    """When a target becomes an order.

    >>> OrderRules(lot=1.0, rebalance_band=0.02).lot
    1.0
    """

    lot: Annotated[float, Ge(0), "shares; positions are multiples of it, 0 allows fractions (multiples of 2^-20)"] = 1.0
    eps_trade: Annotated[float, Ge(0), "least |change of position| worth an order, shares"] = 0.0
    rebalance_band: Annotated[float, Ge(0), Lt(1), "the same of the position's weight, fraction of equity"] = 0.0

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        if 0.0 < self.lot < 1.0 / SIZE_GRID:
            return f"lot must be 0 (fractional) or at least 2^-20, not {self.lot!r}"
        return ""


def order_size(target: float, equity: float, close: float, held: float, rules: OrderRules) -> float:
    """Signed shares to trade so that the position becomes `target`; 0.0 for no order.

    Parameters
    ----------
    target : float
        Signed fraction of equity; NaN means no opinion: keep what is held.
    equity : float
        At the close of the decision bar; at or below 0 everything held is sold or bought back.
    close : float
        Of the decision bar; NaN or <= 0 means that the symbol cannot be sized: no order.
    held : float
        Signed shares held.

    Returns
    -------
    float
        The wanted position target * equity / close is rounded toward zero to a whole number of lots. A target of 0
        is an exit and is always carried out; band and `eps_trade` hold back other orders only.
    """
    if not close > 0.0:
        return 0.0
    if target == 0.0 or not equity > 0.0:
        return -held if held != 0.0 else 0.0
    if not abs(target - held * close / equity) >= rules.rebalance_band:  # also: a NaN target
        return 0.0
    size = _whole_lots(target * equity / close, rules.lot) - held
    return size if abs(size) >= rules.eps_trade and size != 0.0 else 0.0


def _whole_lots(shares: float, lot: float) -> float:
    """`shares` rounded toward zero to a multiple of the lot, itself on the size grid."""
    if lot == 0.0:
        return _toward_zero(shares * SIZE_GRID) / SIZE_GRID
    steps = _toward_zero(shares / lot) * lot * SIZE_GRID
    return _toward_zero(steps + (0.5 if steps > 0.0 else -0.5)) / SIZE_GRID  # nearest: a no-op for whole shares


def _toward_zero(x: float) -> float:
    """The integer part, as a float of any size."""
    fraction = abs(x) % 1.0
    return x - fraction if x > 0.0 else x + fraction


def submission_order(sizes: Numbers, queue: Cells[int], first: int) -> int:
    """Write the symbols with an order into `queue` from `first` on: sells, then buys, each in symbol order.

    Sells raise cash: sent first, they pay for the buys in the margin check.

    Returns
    -------
    int
        One past the last place written.
    """
    end = first
    for i in range(len(sizes)):
        if sizes[i] < 0.0:
            queue[end] = i
            end += 1
    for i in range(len(sizes)):
        if sizes[i] > 0.0:
            queue[end] = i
            end += 1
    return end
