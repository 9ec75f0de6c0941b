"""What an account is made of, and what one order does to it.

The functions run in CPython on lists of floats (fastest there) and under `numba.njit` on arrays, with the same bits.
They change the sequences of `Book` and `Tape` in place; scalars travel in `Account`.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Le

from hybrid_bt.equations import Cells, Numbers, Row
from hybrid_bt.equations.costs import Costs, commission


class Capital(NamedTuple):
    """What an account begins with."""

    cash: Annotated[float, Ge(1e-6), Le(1e15), "start value, currency"] = 1_000_000.0


class Account(NamedTuple):
    """Scalars of one account after a row; money in account currency."""

    cash: float  #: as Backtrader counts: a long takes 1/leverage of its entry value from it
    equity: float  #: at the close
    seen: int  #: symbols that have had a bar, listed in `Book.marked`
    waiting: int  #: orders accepted and not filled yet, first in `Book.queue`
    submitted: int  #: orders sent on this row, behind them
    ruined: bool  #: equity was <= 0 at some close
    rejected: int  #: orders refused by the margin check, or cancelled in whole or part at the fill
    fills: int
    commission: float  #: paid so far
    interest: float  #: paid so far, less what was received


class Book(NamedTuple):
    """Per-symbol state, each a sequence of length N, changed in place."""

    size: Cells[float]  #: signed shares held
    entry: Cells[float]  #: average entry price, 0 when flat
    close: Cells[float]  #: last close, 0 before the first bar
    day: Cells[int]  #: date of the last bar, days since the epoch
    order: Cells[float]  #: signed shares of the order under way (at most one per symbol)
    order_close: Cells[float]  #: close that it was decided on
    order_row: Cells[int]  #: row that it was decided on
    fresh: Cells[float]  #: signed shares wanted on this row, 0 for none
    queue: Cells[int]  #: symbols with an order under way, first in first out
    marked: Cells[int]  #: symbols in the order in which their values are added up


class Tape(NamedTuple):
    """Where a run is written, as arrays; what does not fit is not written (pass empty arrays to write nothing)."""

    cash: Cells[float]  #: (T,) longs paid for in full
    equity: Cells[float]  #: (T,)
    borrow: Row[Cells[float]]  #: (T, N), zeros
    bar: Cells[int]  #: (F,) int, of each fill and so on
    decided: Cells[int]  #: (F,) int
    symbol: Cells[int]  #: (F,) int
    size: Cells[float]  #: (F,)
    price: Cells[float]  #: (F,)
    fee: Cells[float]  #: (F,)


NO_TAPE = Tape([], [], [], [], [], [], [], [], [])  # for CPython, e.g. an environment that needs scalars only


def new_book(n_symbols: int) -> Book:
    """An empty book of Python lists."""

    def floats() -> list[float]:
        return [0.0] * n_symbols

    def ints() -> list[int]:
        return [0] * n_symbols

    return Book(floats(), floats(), floats(), ints(), floats(), floats(), ints(), floats(), ints(), ints())


def book_of(floats: Row[Cells[float]], ints: Row[Cells[int]]) -> Book:
    """The book on floats (6 or more, N) and whole numbers (4, N)."""
    return Book(floats[0], floats[1], floats[2], ints[0], floats[3], floats[4], ints[1], floats[5], ints[2], ints[3])


def open_account(cash: float) -> Account:
    """An account that has not traded."""
    return Account(cash, cash, 0, 0, 0, False, 0, 0, 0.0, 0.0)


def closing_part(held: float, order: float) -> float:
    """Signed shares of the order that reduce the position; the rest opens."""
    if held * order >= 0.0:
        return 0.0
    return order if abs(order) <= abs(held) else -held


def margin_check(held: float, order: float, close: float, cash: float, costs: Costs) -> float:
    """Scratch cash after the order at the decision bar's close; the order is refused if it is negative."""
    closed = closing_part(held, order)
    opened = order - closed
    if closed != 0.0:
        value = -closed * close
        cash += value / costs.leverage if value > 0.0 else value
        cash -= commission(closed, close, costs)
    if opened != 0.0:
        value = opened * close
        cash -= value / costs.leverage if value > 0.0 else value
        cash -= commission(opened, close, costs)
    return cash


def _paid(value: float, leverage: float) -> float:
    """Of a position's value, what the account pays itself: of a long, 1/L."""
    return value if leverage == 1.0 or value <= 0.0 else value / leverage


def check_submitted(account: Account, book: Book, costs: Costs) -> tuple[int, int]:
    """Accept or refuse the orders of the row before; the new counts of waiting and rejected orders."""
    scratch, waiting, rejected = account.cash, account.waiting, account.rejected
    for k in range(account.waiting, account.waiting + account.submitted):
        i = book.queue[k]
        scratch = margin_check(book.size[i], book.order[i], book.order_close[i], scratch, costs)
        if scratch >= 0.0:
            book.queue[waiting] = i
            waiting += 1
        else:
            rejected += 1
    return waiting, rejected


def execute(
    held: float, entry: float, order: float, price: float, cash: float, costs: Costs
) -> tuple[float, float, float, float]:
    """Fill an order at `price`.

    Returns
    -------
    executed : float
        Signed shares; less than the order if cash < 0 cancelled its opening part.
    entry : float
        Average entry price of the new position.
    cash : float
    fee : float
        Commission, >= 0.
    """
    closed = closing_part(held, order)
    opened = order - closed  # what there is none of changes nothing: no branch that a processor could miss
    fee, opening_fee = commission(closed, price, costs), commission(opened, price, costs)
    cash = cash + (_paid(-closed * entry, costs.leverage) + -closed * (price - entry)) - fee
    left = cash - _paid(opened * price, costs.leverage) - opening_fee
    if left < 0.0:
        opened = 0.0
    else:
        cash = left
        fee += opening_fee
    executed = closed + opened
    size = held + executed
    if size == 0.0:
        entry = 0.0
    elif opened != 0.0:
        entry = price if closed != 0.0 or held == 0.0 else (entry * held + opened * price) / size
    return executed, entry, cash, fee


def balance(cash: float, book: Book, seen: int, leverage: float) -> tuple[float, float, float]:
    """C, G and S of `hybrid_bt.equations.costs`: cash with longs paid for in full, entry value of longs, of shorts."""
    longs, shorts = 0.0, 0.0
    for k in range(seen):
        value = book.size[book.marked[k]] * book.entry[book.marked[k]]
        if value > 0.0:
            longs += value
            cash -= value * (1.0 - 1.0 / leverage)
        else:
            shorts -= value
    return cash, longs, shorts


def mark(book: Book, seen: int, day: int, close_row: Numbers, leverage: float) -> float:
    """Note this row's closes; the value of all positions at their last closes, net of what longs borrowed."""
    closes, days, marked = book.close, book.day, book.marked
    for k in range(seen):
        i = marked[k]
        close = close_row[i]
        if close == close:
            closes[i], days[i] = close, day
    return worth(book, seen, closes, leverage)


def worth(book: Book, seen: int, prices: Numbers, leverage: float) -> float:
    """Value of all positions at these prices, where NaN at their last closes, net of what longs borrowed."""
    closes, sizes, entries, marked = book.close, book.size, book.entry, book.marked
    total = 0.0
    for k in range(seen):
        i = marked[k]
        size = sizes[i]
        if size != 0.0:
            price = prices[i] if prices[i] == prices[i] else closes[i]
            value, entry = size * price, entries[i]
            gain = size * (price - entry) if value > 0.0 else 0.0
            value -= gain
            total += value if leverage == 1.0 or value <= 0.0 else value / leverage
            total += gain
    return total
