"""Live against backtest: what a bar would have made of the account as it stood at the close before, and what it made.

Each bar is compared for itself, from the account as the broker had it, so a difference is told on the day that it
arises and not for ever after. `twin` is the other reading: the same targets on the same bars, never looking back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.replay import days_of, one_path
from hybrid_bt.bars import Bars
from hybrid_bt.brain.journal import Entry
from hybrid_bt.equations.accounting import broker_day, run_account
from hybrid_bt.equations.book import NO_TAPE, Account, Tape, new_book, open_account, worth
from hybrid_bt.equations.costs import BPS, Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.trade.brokers.base import Holdings, Order
from hybrid_bt.trade.orders import free_cash
from hybrid_bt.trade.rows import LAPSED, NOTHING, Seen, Told, seen

SHARES_APART = 1e-6  #: of a position: not the same
ROUNDED_BPS = 1e-6  #: of equity: the same
ALWAYS = ("position", "by hand")  #: kinds that matter whatever they are worth


class Difference(NamedTuple):
    """Between the broker and a backtest, over one bar."""

    kind: str  #: "fill", "position", "by hand", "equity", "split"
    symbol: str  #: "" of the whole account
    assumed: float  #: price, shares, currency
    found: float
    bps: float  #: of a fill's price, above 0 against us; of equity; NaN of shares
    why: str = ""

    def matters(self, most_bps: float) -> bool:
        """Whether a person must look at it."""
        return self.kind in ALWAYS or (self.kind != "split" and not abs(self.bps) <= most_bps)

    def words(self) -> str:
        """For people."""
        apart = "" if math.isnan(self.bps) else f", {self.bps:+.1f} bps"
        why = f" ({self.why})" if self.why else ""
        return (
            f"{self.symbol}{' ' * bool(self.symbol)}{self.found:,.10g}, a backtest has {self.assumed:,.10g}{apart}{why}"
        )


class Bought(NamedTuple):
    """What one order brought since the row before."""

    size: float
    price: float  #: on average
    fee: float  #: NaN where the broker does not say


NO_SHARES = Bought(0.0, math.nan, 0.0)


def beside(
    bars: Bars, row: int, before: Entry, now: Seen, orders: Mapping[str, Order], costs: Costs
) -> list[Difference]:
    """What differs since the row before.

    Parameters
    ----------
    row : int
        Of the bar that is over, one behind that of `before`.
    now
        The account as the broker has it.
    orders : mapping
        That were not over at the row before, oldest first.
    """
    was, answers = seen(before), now["answers"]
    bought = {id: bought_since(was["answers"].get(id, NOTHING), answer) for id, answer in answers.items()}
    found, held = [], dict[str, float]()
    for id, (size, price, _) in bought.items():
        if size:
            assumed = float(bars.open[row, bars.index_of(orders[id].symbol)])
            found.append(Difference("fill", orders[id].symbol, assumed, price, against_us(size, price, assumed)))
    for symbol in bars.symbols:
        held[symbol], size = was["positions"].get(symbol, 0.0), now["positions"].get(symbol, 0.0)
        scale = now["scales"].get(symbol, 1.0)
        moved = size - sum(one.size for id, one in bought.items() if orders[id].symbol == symbol)
        if scale != 1.0 and abs(held[symbol] / scale - moved) < abs(held[symbol] - moved):
            found.append(Difference("split", symbol, held[symbol], held[symbol] / scale, math.nan))
            held[symbol] /= scale
        if _apart(held[symbol], moved):
            found.append(Difference("by hand", symbol, held[symbol], moved, math.nan, "no order of ours did it"))
            held[symbol] = moved  # and the rest is looked at as if it had been so
    left = {}
    for id, order in orders.items():
        if answers.get(id, NOTHING)[0] != LAPSED:
            rest = order.size - sum(fill[0] for fill in was["answers"].get(id, NOTHING)[1])
            done, divided = bought.get(id, NO_SHARES).size, rest / now["scales"].get(order.symbol, 1.0)
            left[id] = order._replace(size=divided if abs(divided - done) < abs(rest - done) else rest)
    fresh = {order[0] for order in was["orders"]}
    equity, sizes = _assumed(
        bars, row, was["equity"], held, [(order, id in fresh) for id, order in left.items()], costs
    )
    for symbol, assumed in zip(bars.symbols, sizes, strict=True):
        size = now["positions"].get(symbol, 0.0)
        if _apart(assumed, size):
            said = [answer[2] or answer[0] for id, answer in answers.items() if orders[id].symbol == symbol]
            found.append(Difference("position", symbol, assumed, size, math.nan, ", ".join(said)))
    apart = (now["equity"] / equity - 1.0) / BPS if equity > 0.0 else 0.0
    if abs(apart) > ROUNDED_BPS:
        others = [symbol for symbol in now["positions"] if symbol not in bars.symbols]
        why = f"the account holds {', '.join(others[:3])} as well" if others else ""
        found.append(Difference("equity", "", equity, now["equity"], apart, why))
    return found


def against_us(size: float, price: float, assumed: float) -> float:
    """Slippage, bps: above 0 for buying dearer or selling cheaper than assumed."""
    return math.copysign(1.0, size) * (price / assumed - 1.0) / BPS + 0.0


def _apart(one: float, other: float) -> bool:
    return abs(one - other) > SHARES_APART * max(1.0, abs(one))


def bought_since(before: Told, now: Told) -> Bought:
    """The difference of two answers; a broker that tells sums has one fill that grows."""
    if not before[1] and len(now[1]) == 1:
        size, price, fee, _ = now[1][0]
        return Bought(size, price, math.nan if fee is None else fee)  # to the bit
    sums = []
    for _, fills, _ in (before, now):
        fees = [math.nan if fee is None else fee for _, _, fee, _ in fills]
        sums.append((sum(fill[0] for fill in fills), sum(fill[0] * fill[1] for fill in fills), sum(fees)))
    size, value, fee = (b - a for a, b in zip(*sums, strict=True))
    return Bought(size, value / size if size else math.nan, fee)


def _assumed(
    bars: Bars,
    row: int,
    worth_before: float,
    held: Mapping[str, float],
    orders: Sequence[tuple[Order, bool]],
    costs: Costs,
) -> tuple[float, list[float]]:
    """Equity and shares behind one bar, from an account at the close before; (order, whether it is fresh).

    What longs were bought at, and so what of them is borrowed, is not known: they count as bought at that close.
    """
    n, days = bars.n_symbols, days_of(bars)
    rows = row - 1 - np.argmax(bars.traded[row - 1 :: -1], axis=0)  # of each symbol's last bar
    closes = np.nan_to_num(bars.close[rows, np.arange(n)]).tolist()  # 0: no bar yet
    marked = [i for i in range(n) if closes[i]]
    shares, wanted, decided = list(held.values()), [0.0] * n, [0.0] * n
    waiting: list[int] = []
    submitted: list[int] = []
    for order, is_fresh in orders:
        i = bars.index_of(order.symbol)
        if i not in waiting + submitted:
            (submitted if is_fresh and order.checked else waiting).append(i)
        wanted[i], decided[i] = wanted[i] + order.size, order.close
    queue, room = waiting + submitted, [0] * n
    book = new_book(n)._replace(size=shares, entry=closes[:], close=closes, day=days[rows].tolist(), order=wanted)
    book = book._replace(order_close=decided, queue=[*queue, *room], marked=[*marked, *room])
    cash = worth_before - worth(book, len(marked), closes, costs.leverage)
    account = open_account(cash)._replace(seen=len(marked), waiting=len(waiting), submitted=len(submitted))
    prices = bars.open[row].tolist(), bars.close[row].tolist()
    return broker_day(account, book, 0, int(days[row]), *prices, costs, NO_TAPE).equity, shares


class Twin(NamedTuple):
    """What the same targets made in a backtest, row by row of the state."""

    path: AccountPath
    live: list[float]  #: (T,) equity at the broker; NaN on a bar that was missed


def twin(symbols: Sequence[str], rows: Sequence[Entry], costs: Costs, rules: OrderRules) -> Twin:
    """A backtest of everything that was sent, from the account of the first row, at the prices of today."""
    n, factor = len(symbols), [1.0] * len(symbols)
    opens: list[list[float]] = []
    closes: list[list[float]] = []
    for row in reversed(rows):
        there = [math.nan if one is None else one[0] for one in row.prices or [None] * n]
        opens.insert(0, [price * f for price, f in zip(there, factor, strict=True)])
        closes.insert(0, [price * f for price, f in zip(row.closes, factor, strict=True)])
        if row is not rows[0]:
            factor = [f * seen(row)["scales"].get(symbol, 1.0) for f, symbol in zip(factor, symbols, strict=True)]
    first = seen(rows[0])
    held = [first["positions"].get(symbol, 0.0) / f for symbol, f in zip(symbols, factor, strict=True)]
    targets = [[math.nan] * n if row.sent is None else row.sent for row in rows]
    sides, days = [seen(row)["together"] for row in rows], [int(row.stamp) for row in rows]

    def drive(tape: Tape) -> Account:
        entry = [0.0 if close != close else close for close in closes[0]]
        book = new_book(n)._replace(size=list(held), entry=entry)
        longs = sum(max(size * price, 0.0) for size, price in zip(held, entry, strict=True))
        cash = free_cash(Holdings(first["cash"], first["equity"], {}), longs, costs.leverage)
        return run_account(opens, closes, days, targets, sides, (cash, costs, rules), book, tape)

    path = one_path(drive, (len(rows), n))
    return Twin(replace(path, held=path.size + held), [seen(row)["equity"] for row in rows])
