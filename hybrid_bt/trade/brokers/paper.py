"""A paper account in one file: orders fill at the next open by `equations.accounting`, the bits of the backtest.

The file is SQLite, written ahead (WAL); every order and every bar is one transaction, so a process may be killed at any
moment. The broker's time is the last bar that it has gone through: what waits fills when it goes through the next one.

Prices that were multiplied by a factor since (a split, or a dividend in adjusted prices) leave the account worth what
it was: shares are divided by it. A single price that was corrected is no such thing, and moves nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from math import isfinite

import numpy as np

from hybrid_bt.account.replay import days_of
from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.equations.accounting import broker_day
from hybrid_bt.equations.book import Account, Book, Tape, balance, new_book, open_account
from hybrid_bt.errors import StateError
from hybrid_bt.trade.brokers import Place
from hybrid_bt.trade.brokers.base import Abilities, Answer, BrokerError, Clock, Fill, Holdings, Order, Status, moment_of
from hybrid_bt.trade.rows import LOOKED_AT, rescale, scale_of

_SCHEMA = """
create table if not exists account (fit text, state text, prices text);
create table if not exists orders (number integer primary key, id text unique, symbol text, size real, close real,
    checked integer, status text, reason text);
create table if not exists fills (number integer primary key, id text, size real, price real, fee real, bar integer);
create index if not exists of_order on fills (id);
"""
_NO_CASH = "cash does not carry it"


class PaperBroker:
    """An account on bars at hand, in a file beside the trader's state.

    Parameters
    ----------
    place : Place
        With `walks` it stands still at the last bar gone through, until `walk`, and does not wait for the disk: a walk
        can be had again. Without, every bar that is there is gone through at once.

    Raises
    ------
    StateError
        If the file is no such account, or one of other symbols, cash or costs.
    """

    name = "paper"

    def __init__(self, place: Place) -> None:
        self.path = path = place.state.with_name(f"{place.state.name}.paper")
        self._all, self._costs, cash, walks = place.bars(), place.costs, place.cash, place.walks
        bars, costs = self._all, self._costs
        self._stamps, self._days = bars.stamps.astype(np.int64).tolist(), days_of(bars).tolist()
        self._account, self._book = open_account(cash), new_book(bars.n_symbols)
        self._waiting: dict[str, str] = {}  # symbol -> id of what is under way
        self._kept: list[tuple[int, list[float]]] = []  # closes and opens of the last bars gone through, by stamp
        fit = json.dumps({"symbols": bars.symbols, "cash": cash, **costs._asdict()})
        if not path.exists() and place.state.is_file() and place.state.read_bytes().count(b"\n") > 1:
            raise StateError(
                f"state: {path}, the account of {place.state}, is gone; restore it, or begin another state"
            )
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute(f"pragma synchronous={'normal' if walks else 'full'}")
            self._db.executescript(_SCHEMA)
            found = self._db.execute("select fit, state, prices from account").fetchone()
        except sqlite3.DatabaseError as error:
            rule = "look at the disk, or name another state"
            raise StateError(f"state: the account {path} cannot be used: {error}; {rule}") from None
        if found is None:
            with self._change():
                self._db.execute("insert into account values (?, '', '')", (fit,))
                first = bars.n_bars - 1 if place.first is None else int(np.searchsorted(bars.stamps, place.first))
                self._kept = [(self._stamps[row], self._prices(row)) for row in range(max(first - LOOKED_AT, 0), first)]
                self._go_through(first)
        elif found[0] != fit:
            was, now = json.loads(found[0]), json.loads(fit)
            name = next(name for name in {**was, **now} if was.get(name) != now.get(name))
            rule = "go on as before, or name another state"
            raise StateError(f"state: {path} was begun with {name} {was.get(name)}, now it is {now.get(name)}; {rule}")
        else:
            self._take_up(*found[1:])
        while not walks and self.walk():
            pass

    def _take_up(self, state: str, prices: str) -> None:
        account, book, self._waiting = json.loads(state)
        bar = json.loads(prices)[-1][0]
        if bar not in self._stamps:
            bar = say_stamp(np.datetime64(bar, "ns"))
            raise StateError(f"state: the data has no bar on {bar}, the last one of {self.path}; give data that has it")
        self._row, self._account, self._book = self._stamps.index(bar), Account(*account), Book(*book)
        kept = [(bar, row) for bar, row in json.loads(prices) if bar in self._stamps]
        self._kept = [(bar, self._prices(self._stamps.index(bar))) for bar, _ in kept]
        before, now = (np.reshape([row for _, row in rows], (-1, len(book[0]))).T for rows in (kept, self._kept))
        scales = [scale_of(*prices) or 1.0 for prices in zip(before.tolist(), now.tolist(), strict=True)]
        if any(scale != 1.0 for scale in scales):
            rescale(self._book, scales)
            with self._change():
                self._write(prices=True)

    def walk(self) -> bool:
        """Go through the next bar; False where there is none."""
        if self._row + 1 >= self._all.n_bars:
            return False
        with self._change():
            self._go_through(self._row + 1)
        return True

    def _go_through(self, row: int) -> None:
        self._row = row
        bar, opens, closes = self._stamps[row], self._all.open[row].tolist(), self._all.close[row].tolist()
        n, book, before, symbols = len(closes), self._book, self._account, self._all.symbols
        tape = Tape([], [], [], [0] * n, [0] * n, [0] * n, [0.0] * n, [0.0] * n, [0.0] * n)
        given = before._replace(fills=0), book, 0, self._days[row], opens, closes
        now = broker_day(*given, self._costs, tape)
        for i, size, price, fee in list(zip(tape.symbol, tape.size, tape.price, tape.fee, strict=True))[: now.fills]:
            id = self._waiting.pop(symbols[i])
            self._db.execute("insert into fills values (null, ?, ?, ?, ?, ?)", (id, size, price, fee, bar))
            self._end(id, *((Status.FILLED, "") if size == book.order[i] else (Status.CANCELLED, _NO_CASH)))
        for symbol in self._waiting.keys() - {symbols[i] for i in list(book.queue)[: now.waiting]}:
            self._end(self._waiting.pop(symbol), Status.REJECTED, _NO_CASH)
        self._account = now._replace(fills=before.fills + now.fills)
        self._kept = [*self._kept, (bar, self._prices(row))][-LOOKED_AT:]
        self._write(prices=True)

    def _prices(self, row: int) -> list[float]:
        return [*self._all.open[row].tolist(), *self._all.close[row].tolist()]

    def _end(self, id: str, status: Status, reason: str) -> None:
        self._db.execute("update orders set status = ?, reason = ? where id = ?", (status.value, reason, id))

    def _write(self, prices: bool = False) -> None:
        self._db.execute("update account set state = ?", (json.dumps([self._account, self._book, self._waiting]),))
        if prices:
            self._db.execute("update account set prices = ?", (json.dumps(self._kept),))

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction."""
        try:
            with self._db:
                self._db.execute("begin immediate")
                yield
        except sqlite3.OperationalError as error:  # a full disk, or somebody else's lock
            found = self._db.execute("select state, prices from account").fetchone()
            if found:
                self._take_up(*found)
            raise BrokerError(f"paper: {self.path}: {error}", again=True) from error

    def clock(self) -> Clock:
        """Time stands at the close of a bar; the next open is some day's."""
        now = moment_of(self._all.stamps[self._row])
        return Clock(now, False, now + timedelta(days=1))

    def bars(self, symbols: Sequence[str]) -> Bars:
        """Up to the broker's time."""
        known = self._all.between(None, self._all.stamps[self._row])
        return known if tuple(symbols) == known.symbols else known.select(symbols)

    def abilities(self, symbols: Sequence[str]) -> Mapping[str, Abilities]:
        """Everything."""
        return dict.fromkeys(symbols, Abilities(fractions=True, shorts=True))

    def account(self) -> Holdings:
        """As marked at the last close."""
        sizes, now = zip(self._all.symbols, self._book.size, strict=True), self._account
        cash = balance(now.cash, self._book, now.seen, self._costs.leverage)[0]
        return Holdings(cash, now.equity, {name: size for name, size in sizes if size}, now.cash)

    def orders(self, ids: Collection[str]) -> Mapping[str, Answer]:
        """Those known, with their fills."""
        return {id: answer for id in ids for answer in self._answers("id", id)}

    def waiting(self) -> Sequence[Answer]:
        """First in first out."""
        return self._answers("status", "open")

    def _answers(self, column: str, value: str) -> list[Answer]:
        what = f"select id, symbol, size, close, checked, status, reason from orders where {column} = ? order by number"
        found = []
        for id, symbol, wanted, close, checked, status, reason in self._db.execute(what, (value,)).fetchall():
            asked = "select size, price, fee, bar from fills where id = ? order by number"
            kept = self._db.execute(asked, (id,))
            fills = [Fill(id, symbol, *of, moment_of(np.datetime64(bar, "ns"))) for *of, bar in kept]  # type: ignore[call-arg]
            found.append(Answer(Order(id, symbol, wanted, close, bool(checked)), Status(status), fills, reason))
        return found

    def submit(self, order: Order) -> Answer:
        """Queued for the symbol's next open; the margin is looked at when that comes, as Backtrader does."""
        known = self.orders([order.id])
        if known:
            return known[order.id]
        book, account = self._book, self._account
        if order.symbol not in self._all.symbols or order.symbol in self._waiting:
            why = "has an order under way" if order.symbol in self._waiting else "is not traded here"
            raise BrokerError(f"paper: {order.symbol} {why}")
        if order.size == 0.0 or not isfinite(order.size):
            raise BrokerError(f"paper: {order.size} shares of {order.symbol} are no order")
        i = self._all.index_of(order.symbol)
        # unchecked: behind those that were accepted, before those that are still to be checked
        place = account.waiting + (account.submitted if order.checked else 0)
        more = (0, 1) if order.checked else (1, 0)
        with self._change():
            self._db.execute("insert into orders values (null, ?, ?, ?, ?, ?, 'open', '')", order)
            queue = list(book.queue)
            self._book = book._replace(queue=[*queue[:place], i, *queue[place:-1]])
            self._account, self._waiting[order.symbol] = _with(account, *more), order.id
            book.order[i], book.order_close[i] = order.size, order.close
            self._write()
        return self.orders([order.id])[order.id]

    def cancel(self, id: str) -> None:
        """It leaves the queue."""
        symbol = next((symbol for symbol, waiting in self._waiting.items() if waiting == id), None)
        if symbol is None:
            return
        account, queue = self._account, list(self._book.queue)
        place = queue.index(self._all.index_of(symbol))
        with self._change():
            self._book = self._book._replace(queue=[*queue[:place], *queue[place + 1 :], 0])
            self._account = _with(account, *((-1, 0) if place < account.waiting else (0, -1)))
            del self._waiting[symbol]
            self._end(id, Status.CANCELLED, "")
            self._write()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _with(account: Account, waiting: int, submitted: int) -> Account:
    """With so many more orders that were accepted, and that are to be checked."""
    return account._replace(waiting=account.waiting + waiting, submitted=account.submitted + submitted)
