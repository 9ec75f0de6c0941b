"""From targets to orders: lots, the rebalance band, what trades together, what cash carries, and who goes first.

    wanted position = target * equity / close, rounded toward zero to a multiple of the lot;  order = wanted - held

Symbols with the same label in `sides` trade as one decision: if band and `eps_trade` let one of them trade, all of them
go to their exact targets; else none does. Without labels (an empty sequence) each symbol is decided alone.

Orders that would take cash, at the decision's closes and with commissions, below the buffer b * equity are scaled:

    scaled order = p + f (order - p)      f = (c(p) - b equity) / (c(p) - c(order)),  c cash behind a row of orders

p is 0 for what trades together, opens a long and, but for exits, takes cash on the whole, so that a hedge is cut as a
whole; of any other buy it is what closes a short; exits and sells are all p. Cash is Backtrader's: of a long, 1/L.

Shared by the live strategy and the accounting twin; plain functions of floats and sequences (see `accounting`).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Lt

from hybrid_bt.equations import Cells, Numbers, Shares, Written
from hybrid_bt.equations.book import closing_part, margin_check
from hybrid_bt.equations.costs import Costs

# Sizes live on a binary grid: sums of them are exact up to 2^33 shares. Off the grid, closing and opening parts of a
# flip do not add up to the order, and Backtrader leaves it open with some 1e-16 shares to go.
SIZE_GRID = 1048576.0  # 2^20 per share
CASH_BUFFER = 0.03  #: of equity: what an unlevered account keeps for gaps between the decision's close and its fills
MOST_CUTS = 4  # lots, and flips under leverage, take more than their share: cut again; the last cut leaves nothing


class OrderRules(NamedTuple):
    """When a target becomes an order.

    >>> OrderRules(lot=1.0, rebalance_band=0.02).lot
    1.0
    """

    lot: Annotated[Shares, "shares; positions are multiples of it, 0 allows fractions (multiples of 2^-20)"] = 1.0
    eps_trade: Annotated[Shares, "least |change of position| worth an order, shares"] = 0.0
    rebalance_band: Annotated[float, Ge(0), Lt(1), "the same of the position's weight, fraction of equity"] = 0.0
    cash_buffer: Annotated[float, Ge(0), Lt(1), "cash that buys leave untouched, fraction of equity"] = CASH_BUFFER

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


def join_orders(
    fresh: Written,
    held: Numbers,
    targets: Numbers,
    closes: Numbers,
    sides: Numbers,
    equity: float,
    lot: float,
    value: tuple[float, float],
) -> tuple[float, float]:
    """Let those follow that the band held back while others of their label trade.

    Parameters
    ----------
    fresh, held, targets, closes : (N,)
        Orders, signed shares, which are written; the rest as in `order_size`.
    value
        Of the orders so far, at these closes, net and gross.

    Returns
    -------
    The value of all orders.
    """
    net, gross = value
    exact = OrderRules(lot, 0.0, 0.0, 0.0)
    for i in range(len(sides)):
        if fresh[i] == 0.0 and closes[i] == closes[i]:
            for j in range(len(sides)):
                if fresh[j] != 0.0 and sides[j] == sides[i]:
                    fresh[i] = order_size(targets[i], equity, closes[i], held[i], exact)
                    net += fresh[i] * closes[i]
                    gross += abs(fresh[i] * closes[i])
                    break
    return net, gross


def fit_to_cash(
    fresh: Written,
    kept: Written,
    held: Numbers,
    closes: Numbers,
    sides: Numbers,
    money: tuple[float, float],
    rules: OrderRules,
    costs: Costs,
) -> None:
    """Scale the orders of a row to the cash that there is; less than the band of it buys nothing.

    Parameters
    ----------
    fresh, kept, held, closes, sides : (N,), sides also empty
        Orders, signed shares, which are written; room to work in; the rest as in `join_orders`.
    money
        Cash above the buffer, and equity.
    """
    room, least = money[0], rules.rebalance_band * money[1]
    for cut in range(MOST_CUTS):
        before = after = room
        for i in range(len(closes)):
            if fresh[i] != 0.0:
                if cut == 0:
                    kept[i] = _unscaled(i, fresh, held, closes, sides, costs)
                before = margin_check(held[i], kept[i], closes[i], before, costs)
                after = margin_check(held[i], fresh[i], closes[i], after, costs)
        if after >= 0.0 or after >= before:
            return
        scale = before / (before - after) if before > least and cut < MOST_CUTS - 1 else 0.0
        for i in range(len(closes)):
            if fresh[i] != 0.0:
                fresh[i] = kept[i] + _whole_lots(scale * (fresh[i] - kept[i]), rules.lot)


def _unscaled(i: int, fresh: Numbers, held: Numbers, closes: Numbers, sides: Numbers, costs: Costs) -> float:
    """The part of an order that is carried out whatever cash there is."""
    size = fresh[i]
    if size == -held[i]:
        return size
    if len(sides) > 0:
        together, opens, change = 0, False, 0.0
        for j in range(len(sides)):
            if fresh[j] != 0.0 and sides[j] == sides[i]:
                together += 1
                if fresh[j] != -held[j]:
                    opens = opens or (fresh[j] > 0.0 and closing_part(held[j], fresh[j]) != fresh[j])
                    change = margin_check(held[j], fresh[j], closes[j], change, costs)
        if together > 1:
            return 0.0 if opens and change < 0.0 else size
    return closing_part(held[i], size) if size > 0.0 else size


def submission_order(sizes: Numbers, queue: Cells[int], first: int) -> int:
    """Write the symbols with an order into `queue` from `first` on: sells, then buys, each in symbol order.

    Sells raise cash: sent first, they pay for the buys in the margin check.

    Returns
    -------
    int
        One past the last place written.
    """
    sell = buy = first
    for size in sizes:
        if size < 0.0:
            buy += 1
    for i, size in enumerate(sizes):
        if size != 0.0:
            queue[sell if size < 0.0 else buy] = i
            sell += size < 0.0
            buy += size > 0.0
    return buy
