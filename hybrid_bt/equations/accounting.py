"""Backtrader's broker for market orders at the next open, as pure functions: same orders, same fills, same bits.

One row of the account, in the broker's order (Backtrader 1.9.78.123, stocklike, `shortcash=True`, no slippage):

    check     the orders sent on the row before, first in first out, on scratch cash, as if filled at the close they
              were decided on, bought at that very price. Scratch cash below 0: refused, and the hole stays, so that it
              poisons the orders behind it.
    interest  cash -= sum of `interest` over positions with a bar today, at the rates of the account as it stood at the
              last close; days between the symbol's own bars
    fill      at the open of the symbol's next bar, first in first out:
              v = -closed e;   cash += (v / L if v > 0 else v) + -closed (x - e);   cash -= fee
              v = opened x;    cash -= (v / L if v > 0 else v);   cash -= fee;   cash < 0: the opening part is cancelled
    mark      v = q m, u = q (m - e);   v > 0: a += (v - u) / L, a += u;   else a += v;   equity = cash + a
    decide    `order_size` per symbol with a bar on this row, `join_orders`, `fit_to_cash`, queued by `submission_order`

    q size held, e average entry, x open, m (last) close, L leverage

Missing bars: an order waits for its symbol's next bar, a position is marked at its last close and pays its interest
with the next bar, and no order is sent for a symbol without a bar on the row. Orders of the last row stay pending.

Ruin: when equity <= 0 at a close, and on every later row, each held symbol with a bar gets one order to zero and
nothing else is sent, whatever happens to equity afterwards. These orders skip the margin check (`_checksubmit=False`
in Backtrader): the check would refuse to buy back a short that the cash cannot pay for, and the account would stay
short for ever. Closing is never cancelled at the fill, so the account ends flat, with its debt in `cash`.

What a Backtrader strategy must do to get the same bits (`hybrid_bt.strategies.orders.TargetOrders` does all of it):

1. Size with `send_orders`, on Python floats (a numpy scalar turns the broker's cash into its own type), from
   `broker.getcash()` and `getvalue()`, the feed's close and the held size; act only on feeds that delivered a bar.
2. Send in the order of `submission_order`, with explicit sizes; after ruin with `_checksubmit=False`.
3. Call `broker.getposition(feed)` for each feed when it delivers its first bar at or after the first decision, in
   the order of the feeds, before sending anything: the broker adds up values in the order in which it first heard
   of the feeds, and so does `mark` here. (Earlier, in `start()`, a feed that begins late has no close to value.)
4. Decide in `prenext` as in `next`, on each row from the first decision on.
"""

from __future__ import annotations

from typing import TypeAlias

from hybrid_bt.equations import Numbers, Row, Table
from hybrid_bt.equations.book import Account, Book, Tape, balance, check_submitted, execute, mark, open_account, worth
from hybrid_bt.equations.costs import Costs, commission, interest, interest_rates, reads_cash
from hybrid_bt.equations.sizing import OrderRules, fit_to_cash, join_orders, order_size, submission_order

ROUNDING = 1e-9  #: of the money that is added up, much more than what is lost there
Terms: TypeAlias = tuple[float, Costs, OrderRules]


def _interest(account: Account, book: Book, t: int, day: int, close_row: Numbers, costs: Costs, tape: Tape) -> float:
    """Interest that all positions with a bar on this row owe since their previous bar."""
    total, rates, sizes, days, marked = 0.0, (0.0, costs.borrow_bps_per_year), book.size, book.day, book.marked
    if reads_cash(costs):
        rates = interest_rates(balance(account.cash, book, account.seen, costs.leverage), costs)
    for k in range(account.seen):
        i = marked[k]
        size, close = sizes[i], close_row[i]
        if size != 0.0 and close == close and day > days[i]:
            owed = interest(size, book.entry[i], day - days[i], rates)
            total += owed
            if t < len(tape.borrow):
                tape.borrow[t][i] = owed
    return total


def _fill_waiting(
    account: Account,
    book: Book,
    t: int,
    checked: tuple[int, int],
    cash: float,
    open_row: Numbers,
    costs: Costs,
    tape: Tape,
) -> tuple[float, int, int, int, float]:
    """Fill the waiting orders of symbols with a bar; the others keep waiting, in their order.

    Parameters
    ----------
    checked
        Waiting and rejected orders, as `_check_submitted` left them.

    Returns
    -------
    The new cash, waiting, rejected, fills and commission of `Account`.
    """
    (waiting, rejected), kept, fills, paid = checked, 0, account.fills, account.commission
    sizes, entries, orders, queue = book.size, book.entry, book.order, book.queue
    for k in range(waiting):
        i = queue[k]
        price, order = open_row[i], orders[i]
        if price != price:
            queue[kept] = i
            kept += 1
            continue
        executed, entry, cash, fee = execute(sizes[i], entries[i], order, price, cash, costs)
        if executed != order:
            rejected += 1
        if executed != 0.0:
            sizes[i] += executed
            entries[i] = entry
            paid += fee
            if fills < len(tape.bar):
                tape.bar[fills], tape.decided[fills], tape.symbol[fills] = t, book.order_row[i], i
                tape.size[fills], tape.price[fills], tape.fee[fills] = executed, price, fee
            fills += 1
    return cash, kept, rejected, fills, paid


def _first_bars(book: Book, seen: int, close_row: Numbers) -> int:
    """Append the symbols that have their first bar to the order of marking."""
    for i in range(len(close_row)):
        if book.close[i] == 0.0 and close_row[i] == close_row[i]:
            book.marked[seen] = i
            seen += 1
    return seen


def broker_day(
    account: Account, book: Book, t: int, day: int, open_row: Numbers, close_row: Numbers, costs: Costs, tape: Tape
) -> Account:
    """Everything the broker does on row t before the strategy sees it: check, interest, fills, marking.

    Parameters
    ----------
    t : int
        Row, counted from the first decision: where the tape is written.
    day : int
        Date of the row, in days since any fixed date.
    open_row, close_row : sequence of float, length N
        NaN where a symbol has no bar.

    Returns
    -------
    Account
        As marked at the close of row t, with no order submitted yet.
    """
    waiting, rejected, cash, owed = account.waiting, account.rejected, account.cash, 0.0
    if account.submitted > 0:
        waiting, rejected = check_submitted(account, book, costs)
    if costs.borrow_bps_per_year > 0.0 or reads_cash(costs):
        owed = _interest(account, book, t, day, close_row, costs, tape)
        cash -= owed
    fills, paid, seen = account.fills, account.commission, account.seen
    if waiting > 0:
        checked = waiting, rejected
        cash, waiting, rejected, fills, paid = _fill_waiting(account, book, t, checked, cash, open_row, costs, tape)
    if seen < len(close_row):
        seen = _first_bars(book, seen, close_row)
    equity = cash + mark(book, seen, day, close_row, costs.leverage)
    if t < len(tape.cash):
        tape.cash[t] = balance(cash, book, seen, costs.leverage)[0] if costs.leverage > 1.0 else cash
        tape.equity[t] = equity
    return Account(cash, equity, seen, waiting, 0, account.ruined, rejected, fills, paid, account.interest + owed)


def worth_at_open(
    account: Account, book: Book, t: int, day: int, open_row: Numbers, close_row: Numbers, costs: Costs, tape: Tape
) -> float:
    """Equity at the open of row t before anything fills there, interest paid; of an account after the row before it.

    From one open to the next lies what a decision earned: the costs of its fills and the moves of what they made.
    """
    cash = account.cash - _interest(account, book, t, day, close_row, costs, tape)
    return cash + worth(book, account.seen, open_row, costs.leverage)


def send_orders(
    account: Account,
    book: Book,
    t: int,
    target_row: Numbers,
    close_row: Numbers,
    sides: Numbers,
    rules: OrderRules,
    costs: Costs,
) -> Account:
    """The account after deciding on row t, behind its close: an order is queued for each symbol that needs one, and
    `ruined` set for good if equity <= 0.

    Parameters
    ----------
    target_row : sequence of float, length N
        Signed fractions of equity; NaN keeps what is held.
    sides : sequence of int, length N or empty
        Symbols with equal labels trade as one decision; empty: each one alone.
    """
    cash, equity, seen, waiting, _, was_ruined, rejected, fills, paid, interest = account
    sizes, fresh, orders, net, gross = book.size, book.fresh, 0, 0.0, 0.0
    ruined = was_ruined or not equity > 0.0
    worth = 0.0 if ruined else equity
    for i, close in enumerate(close_row):
        fresh[i] = 0.0
        if close == close:
            size = order_size(target_row[i], worth, close, sizes[i], rules)
            if size != 0.0:
                fresh[i] = size
                orders += 1
                net += size * close
                gross += abs(size * close)
    if orders > 0:
        if len(sides) > 0 and not ruined and (rules.rebalance_band > 0.0 or rules.eps_trade > 0.0):
            net, gross = join_orders(fresh, sizes, target_row, close_row, sides, equity, rules.lot, (net, gross))
        room = cash - rules.cash_buffer * equity
        # at most what buys of longs, or to cover shorts, take, less what sells bring at least
        fee = commission(gross, 1.0, costs)
        takes = 0.5 * (net + gross - (gross - net) / costs.leverage) + fee
        is_carried = max(takes, fee) < min(room, cash - ROUNDING * (cash + gross))  # sells go first, and pay their fee
        if takes > room and not ruined:
            # a symbol with a bar has no order under way: `book.order` is room to work in
            fit_to_cash(fresh, book.order, sizes, close_row, sides, (room, equity), rules, costs)
        end = submission_order(fresh, book.queue, waiting)
        orders = end - waiting
        for k in range(waiting, end):
            i = book.queue[k]
            book.order[i], book.order_close[i], book.order_row[i] = fresh[i], close_row[i], t
        if ruined or is_carried:
            waiting, orders = end, 0  # accepted without a margin check, which could refuse none in the second case
    elif ruined == was_ruined:
        return account
    return Account(cash, equity, seen, waiting, orders, ruined, rejected, fills, paid, interest)


def run_account(
    opens: Table, closes: Table, days: Row[int], targets: Table, sides: Table, terms: Terms, book: Book, tape: Tape
) -> Account:
    """Trade `targets` row by row: the loop that both drivers run.

    Parameters
    ----------
    opens, closes, targets : (T, N), rows of lists or a two-dimensional array
        Prices are NaN where a symbol has no bar.
    days : (T,) int
        Date of each row, in days.
    sides : (T, N) or (T, 0)
        Labels, as in `send_orders`.
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
        account = send_orders(account, book, t, targets[t], closes[t], sides[t], rules, costs)
    return account
