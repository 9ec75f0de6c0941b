"""Backtrader's broker for market orders at the next open, as pure functions: same orders, same fills, same bits.

One row of the account, in the broker's order (Backtrader 1.9.78.123, stocklike, `shortcash=True`, no slippage):

    check     the orders sent on the row before, first in first out, on scratch cash, as if filled at the close they
              were decided on, bought at that very price. Scratch cash below 0: refused, and the hole stays, so that it
              poisons the orders behind it.
    interest  cash -= sum of `borrow_interest` over positions with a bar today; days between the symbol's own bars
    fill      at the open of the symbol's next bar, first in first out:
              v = -closed e;   cash += (v / L if v > 0 else v) + -closed (x - e);   cash -= fee
              v = opened x;    cash -= (v / L if v > 0 else v);   cash -= fee;   cash < 0: the opening part is cancelled
    mark      v = q m, u = q (m - e);   v > 0: a += (v - u) / L, a += u;   else a += v;   equity = cash + a
    decide    `order_size` per symbol with a bar on this row, queued by `submission_order`

    q size held, e average entry, x open, m (last) close, L leverage

Missing bars: an order waits for its symbol's next bar, a position is marked at its last close and pays its interest
with the next bar, and no order is sent for a symbol without a bar on the row. Orders of the last row stay pending.

Ruin: when equity <= 0 at a close, and on every later row, each held symbol with a bar gets one order to zero and
nothing else is sent, whatever happens to equity afterwards. These orders skip the margin check (`_checksubmit=False`
in Backtrader): the check would refuse to buy back a short that the cash cannot pay for, and the account would stay
short for ever. Closing is never cancelled at the fill, so the account ends flat, with its debt in `cash`.

What a Backtrader strategy must do to get the same bits (`hybrid_bt.strategies.orders.TargetOrders` does all of it):

1. Size with `order_size`, on Python floats (a numpy scalar turns the broker's cash into its own type), from
   `broker.getvalue()`, the feed's close and the held size; act only on feeds that delivered a bar.
2. Send in the order of `submission_order`, with explicit sizes; after ruin with `_checksubmit=False`.
3. Call `broker.getposition(feed)` for each feed when it delivers its first bar at or after the first decision, in
   the order of the feeds, before sending anything: the broker adds up values in the order in which it first heard
   of the feeds, and so does `mark` here. (Earlier, in `start()`, a feed that begins late has no close to value.)
4. Decide in `prenext` as in `next`, on each row from the first decision on.

The functions run in CPython on lists of floats (fastest there) and under `numba.njit` on arrays, with the same bits.
They change the sequences of `Book` and `Tape` in place; scalars travel in `Account`.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

from annotated_types import Gt

from hybrid_bt.costs import Costs, borrow_interest, commission
from hybrid_bt.sizing import OrderRules, order_size, submission_order

__all__ = [
    "NO_TAPE",
    "Account",
    "Book",
    "Capital",
    "OrderRules",
    "Tape",
    "book_of",
    "broker_day",
    "execute",
    "margin_check",
    "new_book",
    "open_account",
    "order_size",
    "run_account",
    "send_orders",
    "submission_order",
]


Row: TypeAlias = Sequence[float]  #: a list, or a row of an array


class Capital(NamedTuple):
    """What an account begins with."""

    cash: Annotated[float, Gt(0), "start value, currency"] = 1_000_000.0


class Account(NamedTuple):
    """Scalars of one account after a row; money in account currency."""

    cash: float
    equity: float  #: at the close
    seen: int  #: symbols that have had a bar, listed in `Book.marked`
    waiting: int  #: orders accepted and not filled yet, first in `Book.queue`
    submitted: int  #: orders sent on this row, behind them
    ruined: bool  #: equity was <= 0 at some close
    rejected: int  #: orders refused by the margin check, or cancelled in whole or part at the fill
    fills: int
    commission: float  #: paid so far
    interest: float  #: paid so far


class Book(NamedTuple):
    """Per-symbol state, each a sequence of length N, changed in place."""

    size: Any  #: signed shares held
    entry: Any  #: average entry price, 0 when flat
    close: Any  #: last close, 0 before the first bar
    day: Any  #: date of the last bar, days since the epoch
    order: Any  #: signed shares of the order under way (at most one per symbol)
    order_close: Any  #: close that it was decided on
    order_row: Any  #: row that it was decided on
    fresh: Any  #: signed shares wanted on this row, 0 for none
    queue: Any  #: symbols with an order under way, first in first out
    marked: Any  #: symbols in the order in which their values are added up


class Tape(NamedTuple):
    """Where a run is written, as arrays; what does not fit is not written (pass empty arrays to write nothing)."""

    cash: Any  #: (T,)
    equity: Any  #: (T,)
    borrow: Any  #: (T, N), zeros
    bar: Any  #: (F,) int, of each fill and so on
    decided: Any  #: (F,) int
    symbol: Any  #: (F,) int
    size: Any  #: (F,)
    price: Any  #: (F,)
    fee: Any  #: (F,)


NO_TAPE = Tape((), (), (), (), (), (), (), (), ())  # for CPython, e.g. an environment that needs scalars only


def new_book(n_symbols: int) -> Book:
    """An empty book of Python lists."""
    whole = ("day", "order_row", "queue", "marked")
    return Book(*([0 if field in whole else 0.0] * n_symbols for field in Book._fields))


def book_of(floats: Sequence[MutableSequence[float]], ints: Sequence[MutableSequence[int]]) -> Book:
    """The book on floats (6 or more, N) and whole numbers (4, N)."""
    return Book(floats[0], floats[1], floats[2], ints[0], floats[3], floats[4], ints[1], floats[5], ints[2], ints[3])


def open_account(cash: float) -> Account:
    """An account that has not traded."""
    return Account(cash, cash, 0, 0, 0, False, 0, 0, 0.0, 0.0)


def _closing_part(held: float, order: float) -> float:
    """Signed shares of the order that reduce the position; the rest opens."""
    if held * order >= 0.0:
        return 0.0
    return order if abs(order) <= abs(held) else -held


def margin_check(held: float, order: float, close: float, cash: float, costs: Costs) -> float:
    """Scratch cash after the order at the decision bar's close; the order is refused if it is negative."""
    closed = _closing_part(held, order)
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
    closed = _closing_part(held, order)
    opened = order - closed
    fee = 0.0
    if closed != 0.0:
        value = -closed * entry
        cash += (value / costs.leverage if value > 0.0 else value) + -closed * (price - entry)
        fee = commission(closed, price, costs)
        cash -= fee
    if opened != 0.0:
        value = opened * price
        opening_fee = commission(opened, price, costs)
        left = cash - (value / costs.leverage if value > 0.0 else value) - opening_fee
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


def _check_submitted(account: Account, book: Book, costs: Costs) -> tuple[int, int]:
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


def _interest(account: Account, book: Book, t: int, day: int, close_row: Row, costs: Costs, tape: Tape) -> float:
    """Interest that all positions with a bar on this row owe since their previous bar."""
    total, longs_pay = 0.0, costs.financing_bps_per_year > 0.0
    for k in range(account.seen):
        i = book.marked[k]
        size = book.size[i]
        if (size < 0.0 or (longs_pay and size > 0.0)) and close_row[i] == close_row[i] and day > book.day[i]:
            owed = borrow_interest(size, book.entry[i], day - book.day[i], costs)
            total += owed
            if t < len(tape.borrow):
                tape.borrow[t, i] = owed
    return total


def _fill_waiting(
    account: Account, book: Book, t: int, waiting: int, cash: float, open_row: Row, costs: Costs, tape: Tape
) -> tuple[float, int, int, float, int]:
    """Fill the waiting orders of symbols with a bar; the others keep waiting, in their order.

    Returns
    -------
    The new cash, waiting, fills and commission of `Account`, and how many orders were cancelled.
    """
    kept, cancelled, fills, paid = 0, 0, account.fills, account.commission
    for k in range(waiting):
        i = book.queue[k]
        price = open_row[i]
        if price != price:
            book.queue[kept] = i
            kept += 1
            continue
        executed, entry, cash, fee = execute(book.size[i], book.entry[i], book.order[i], price, cash, costs)
        if executed != book.order[i]:
            cancelled += 1
        if executed != 0.0:
            book.size[i] += executed
            book.entry[i] = entry
            paid += fee
            if fills < len(tape.bar):
                tape.bar[fills], tape.decided[fills], tape.symbol[fills] = t, book.order_row[i], i
                tape.size[fills], tape.price[fills], tape.fee[fills] = executed, price, fee
            fills += 1
    return cash, kept, fills, paid, cancelled


def broker_day(
    account: Account, book: Book, t: int, day: int, open_row: Row, close_row: Row, costs: Costs, tape: Tape
) -> Account:
    """Everything the broker does on row t before the strategy sees it: check, interest, fills, marking.

    Parameters
    ----------
    t : int
        Row, counted from the first decision: written with fills and interest.
    day : int
        Date of the row, in days since any fixed date.
    open_row, close_row : sequence of float, length N
        NaN where a symbol has no bar.

    Returns
    -------
    Account
        As marked at the close of row t, with no order submitted yet.
    """
    waiting, rejected, cash, interest = account.waiting, account.rejected, account.cash, 0.0
    if account.submitted > 0:
        waiting, rejected = _check_submitted(account, book, costs)
    if costs.borrow_bps_per_year > 0.0 or costs.financing_bps_per_year > 0.0:
        interest = _interest(account, book, t, day, close_row, costs, tape)
        cash -= interest
    fills, paid, seen = account.fills, account.commission, account.seen
    if waiting > 0:
        cash, waiting, fills, paid, cancelled = _fill_waiting(account, book, t, waiting, cash, open_row, costs, tape)
        rejected += cancelled
    if seen < len(close_row):
        seen = _first_bars(book, seen, close_row)
    equity = cash + _mark(book, seen, day, close_row, costs.leverage)
    interest += account.interest
    return Account(cash, equity, seen, waiting, 0, account.ruined, rejected, fills, paid, interest)


def _first_bars(book: Book, seen: int, close_row: Row) -> int:
    """Append the symbols that have their first bar to the order of marking."""
    for i in range(len(close_row)):
        if book.close[i] == 0.0 and close_row[i] == close_row[i]:
            book.marked[seen] = i
            seen += 1
    return seen


def _mark(book: Book, seen: int, day: int, close_row: Row, leverage: float) -> float:
    """Note this row's closes; the value of all positions at their last closes, net of what longs borrowed."""
    closes, days, sizes, marked = book.close, book.day, book.size, book.marked
    total = 0.0
    for k in range(seen):
        i = marked[k]
        close = close_row[i]
        if close == close:
            closes[i] = close
            days[i] = day
        else:
            close = closes[i]
        size = sizes[i]
        if size != 0.0:
            value = size * close
            if value > 0.0:
                gain = size * (close - book.entry[i])
                total += (value - gain) / leverage
                total += gain
            else:
                total += value
    return total


def send_orders(account: Account, book: Book, t: int, target_row: Row, close_row: Row, rules: OrderRules) -> Account:
    """Decide on row t, after its close: queue an order for each symbol that needs one.

    Parameters
    ----------
    target_row : sequence of float, length N
        Signed fractions of equity; NaN keeps what is held.

    Returns
    -------
    Account
        With the orders submitted, and `ruined` set for good if equity <= 0.
    """
    equity, sizes, fresh = account.equity, book.size, book.fresh
    ruined = account.ruined or not equity > 0.0
    orders = 0
    for i in range(len(close_row)):
        close = close_row[i]
        fresh[i] = 0.0
        if close == close:
            size = order_size(0.0 if ruined else target_row[i], equity, close, sizes[i], rules)
            if size != 0.0:
                fresh[i] = size
                orders += 1
    waiting = account.waiting
    if orders > 0:
        end = submission_order(fresh, book.queue, waiting)
        for k in range(waiting, end):
            i = book.queue[k]
            book.order[i], book.order_close[i], book.order_row[i] = fresh[i], close_row[i], t
        if ruined:
            waiting, orders = end, 0  # accepted without a margin check
    elif ruined == account.ruined:
        return account
    return Account(
        account.cash,
        equity,
        account.seen,
        waiting,
        orders,
        ruined,
        account.rejected,
        account.fills,
        account.commission,
        account.interest,
    )


def run_account(
    opens: Sequence[Row],
    closes: Sequence[Row],
    days: Sequence[int],
    targets: Sequence[Row],
    terms: tuple[float, Costs, OrderRules],
    book: Book,
    tape: Tape,
) -> Account:
    """Trade `targets` row by row: the loop that both drivers run.

    Parameters
    ----------
    opens, closes, targets : (T, N), rows of lists or a two-dimensional array
        Prices are NaN where a symbol has no bar.
    days : (T,) int
        Date of each row, in days.
    terms
        Start value, costs and order rules.

    Returns
    -------
    Account
        After the last row, whose orders stay pending.
    """
    cash, costs, rules = terms
    account = open_account(cash)
    for t in range(len(closes)):
        account = broker_day(account, book, t, days[t], opens[t], closes[t], costs, tape)
        if t < len(tape.cash):
            tape.cash[t] = account.cash
            tape.equity[t] = account.equity
        account = send_orders(account, book, t, targets[t], closes[t], rules)
    return account
