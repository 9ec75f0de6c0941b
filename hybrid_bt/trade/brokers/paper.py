"""A paper account in one file: orders fill at the next open by `equations.accounting`, the bits of the backtest.

The file is SQLite, written ahead (WAL); every order and every bar is one transaction, so a process may be killed at any
moment. The broker's time is the last bar that it has gone through: what waits fills when it goes through the next one.

Prices that were multiplied by a factor since (a split, or a dividend in adjusted prices) leave the account worth what
it was: shares are divided by it. A single close that was corrected is no such thing, and moves nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.account.replay import days_of
from hybrid_bt.bars import Bars
from hybrid_bt.equations.accounting import broker_day
from hybrid_bt.equations.book import Account, Tape, new_book, open_account
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import SIZE_GRID
from hybrid_bt.errors import StateError
from hybrid_bt.trade.brokers import Place
from hybrid_bt.trade.brokers.base import Abilities, Answer, BrokerError, Clock, Fill, Holdings, Order, Status
from hybrid_bt.trade.scales import LOOKED_AT, scale_of

_SCHEMA = """
create table if not exists account (fit text, bar integer, state text);
create table if not exists book (place integer primary key, size real, entry real, close real, day integer,
    mark integer);
create table if not exists orders (number integer primary key, id text unique, place integer, size real, close real,
    checked integer, rest real, decided real, status text, reason text);
create table if not exists fills (number integer primary key, id text, size real, price real, fee real, bar integer);
create table if not exists closes (bar integer primary key, row text);
"""
_NO_CASH = "cash does not carry it"


class PaperBroker:
    """An account on bars at hand.

    Parameters
    ----------
    path : Path
        Made where it is missing.
    bars : Bars
        All that are known, or (`walks`) that are to be walked through.
    cash, costs
        Of a new account.
    first : stamp, optional
        Bar on which a new account begins; by default the last one.
    walks : bool
        Stand still at the last bar gone through, until `walk`; by default every bar that is there is gone through at
        once. A walk can be had again, so it does not wait for the disk.

    Raises
    ------
    StateError
        If the file is no such account, or one of other symbols, cash or costs.
    """

    name = "paper"

    def __init__(
        self,
        path: Path,
        bars: Bars,
        cash: float,
        costs: Costs,
        *,
        first: np.datetime64 | None = None,
        walks: bool = False,
    ) -> None:
        self.path, self._all, self._costs = path, bars, costs
        self._stamps, self._days = bars.stamps.astype(np.int64).tolist(), days_of(bars).tolist()
        self._columns = {symbol: i for i, symbol in enumerate(bars.symbols)}
        self._book, self._waiting = new_book(bars.n_symbols), dict[int, str]()  # column -> id of what is under way
        fit = json.dumps({"symbols": bars.symbols, "cash": cash, "costs": costs})
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute(f"pragma synchronous={'normal' if walks else 'full'}")
            self._db.executescript(_SCHEMA)
            found = self._db.execute("select fit, bar, state from account").fetchone()
        except sqlite3.DatabaseError as error:
            raise StateError(f"paper: {path} is no paper account ({error}); name another state") from None
        if found is None:
            self._row = -1
            self._account = open_account(cash)
            row = bars.n_bars - 1 if first is None else int(np.searchsorted(bars.stamps, first))
            with self._change():
                self._db.execute("insert into account values (?, 0, '')", (fit,))
                self._db.executemany(
                    "insert into book values (?, 0, 0, 0, 0, 0)", [(i,) for i in range(bars.n_symbols)]
                )
                self._go_through(row)
        else:
            self._take_up(fit, *found)
        while not walks and self.walk():
            pass

    def _take_up(self, fit: str, written: str, bar: int, state: str) -> None:
        if fit != written:
            raise StateError(f"paper: {self.path} was begun with {written}, now it is {fit}; name another state")
        if bar not in self._stamps:
            raise StateError(f"paper: the data has no bar on {_moment(bar)}, which {self.path} went through last")
        scalars, queue = json.loads(state)
        self._row, self._account = self._stamps.index(bar), Account(*scalars)
        queue += [0] * (self._all.n_symbols - len(queue))
        columns = zip(*self._db.execute("select size, entry, close, day, mark from book order by place"), strict=True)
        names = ("size", "entry", "close", "day", "marked")
        self._book = self._book._replace(queue=queue, **dict(zip(names, map(list, columns), strict=True)))
        for i, id, rest, decided in self._db.execute(
            "select place, id, rest, decided from orders where status = 'open'"
        ):
            self._book.order[i], self._book.order_close[i], self._waiting[i] = rest, decided, id
        self._rescale()

    def _rescale(self) -> None:
        """Divide shares by what prices were multiplied by since."""
        kept = self._db.execute("select bar, row from closes order by bar desc limit ?", (LOOKED_AT,)).fetchall()
        kept = [(bar, json.loads(row)) for bar, row in reversed(kept) if bar in self._stamps]
        now = self._all.close[[self._stamps.index(bar) for bar, _ in kept]]
        book, changed = self._book, False
        for i, factor in enumerate(map(scale_of, zip(*(row for _, row in kept), strict=True), now.T.tolist())):
            if factor is None or factor == 1.0:
                continue
            changed = True
            book.size[i] = round(book.size[i] / factor * SIZE_GRID) / SIZE_GRID
            book.order[i] = round(book.order[i] / factor * SIZE_GRID) / SIZE_GRID
            book.entry[i], book.close[i] = book.entry[i] * factor, book.close[i] * factor
            book.order_close[i] *= factor
        if changed:
            with self._change():
                for (bar, _), row in zip(kept, now.tolist(), strict=True):
                    self._db.execute("update closes set row = ? where bar = ?", (json.dumps(row), bar))
                for i, id in self._waiting.items():
                    given = book.order[i], book.order_close[i], id
                    self._db.execute("update orders set rest = ?, decided = ? where id = ?", given)
                self._write()

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
        n, book, before = len(closes), self._book, self._account
        tape = Tape([], [], [], [0] * n, [0] * n, [0] * n, [0.0] * n, [0.0] * n, [0.0] * n)
        given = before._replace(fills=0), book, 0, self._days[row], opens, closes
        now = broker_day(*given, self._costs, tape)
        for i, size, price, fee in list(zip(tape.symbol, tape.size, tape.price, tape.fee, strict=True))[: now.fills]:
            id = self._waiting.pop(i)
            self._db.execute("insert into fills values (null, ?, ?, ?, ?, ?)", (id, size, price, fee, bar))
            self._end(id, *((Status.FILLED, "") if size == book.order[i] else (Status.CANCELLED, _NO_CASH)))
        still = set(list(book.queue)[: now.waiting])
        for i in [i for i in self._waiting if i not in still]:
            self._end(self._waiting.pop(i), Status.REJECTED, _NO_CASH)
        self._account = now._replace(fills=before.fills + now.fills)
        self._db.execute("insert into closes values (?, ?)", (bar, json.dumps(closes)))
        self._write()

    def _end(self, id: str, status: Status, reason: str) -> None:
        self._db.execute("update orders set status = ?, reason = ? where id = ?", (status.value, reason, id))

    def _write(self) -> None:
        """Keep the account and its positions."""
        book = self._book
        rows = zip(book.size, book.entry, book.close, book.day, book.marked, range(len(book.size)), strict=True)
        self._db.executemany("update book set size=?, entry=?, close=?, day=?, mark=? where place=?", rows)
        self._write_state()

    def _write_state(self) -> None:
        """Keep the account's scalars, and the queue."""
        account = self._account
        state = json.dumps([account, list(self._book.queue)[: account.waiting + account.submitted]])
        self._db.execute("update account set bar = ?, state = ?", (self._stamps[self._row], state))

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction."""
        try:
            self._db.execute("begin immediate")
            try:
                yield
                self._db.execute("commit")
            except BaseException:
                self._db.execute("rollback")
                raise
        except sqlite3.OperationalError as error:
            raise BrokerError(f"paper: {self.path}: {error}", again=True) from error

    def clock(self) -> Clock:
        """Time stands at the close of a bar; the next open is some day's."""
        now = _moment(self._stamps[self._row])
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
        sizes = zip(self._all.symbols, self._book.size, strict=True)
        return Holdings(self._account.cash, self._account.equity, {name: size for name, size in sizes if size})

    def orders(self, ids: Collection[str]) -> Mapping[str, Answer]:
        """Those known, with their fills."""
        return {id: self._answer(row) for id in ids for row in self._of("id = ?", id)}

    def waiting(self) -> Sequence[Answer]:
        """First in first out."""
        return [self._answer(row) for row in self._of("status = ?", "open")]

    def _of(self, where: str, value: str) -> list[tuple[Any, ...]]:
        what = "id, place, size, close, checked, status, reason"
        return self._db.execute(f"select {what} from orders where {where} order by number", (value,)).fetchall()

    def _answer(self, row: tuple[Any, ...]) -> Answer:
        id, place, size, close, checked, status, reason = row
        symbol = self._all.symbols[place]
        kept = self._db.execute("select size, price, fee, bar from fills where id = ? order by number", (id,))
        fills = [Fill(id, symbol, size, price, fee, _moment(bar)) for size, price, fee, bar in kept]
        return Answer(Order(id, symbol, size, close, bool(checked)), Status(status), fills, reason)

    def submit(self, order: Order) -> Answer:
        """Queued for the symbol's next open; the margin is looked at when that comes, as Backtrader does."""
        known = self.orders([order.id])
        if known:
            return known[order.id]
        i, book, account = self._columns.get(order.symbol), self._book, self._account
        wrong = f"{order.symbol} is not traded here" if i is None else ""
        if i in self._waiting:
            wrong = f"an order for {order.symbol} is under way"
        if order.size == 0.0 or not np.isfinite(order.size):
            wrong = f"{order.size} shares are no order"
        if i is None or wrong:
            raise BrokerError(f"paper: {wrong}")
        # unchecked: behind those that were accepted, before those that are still to be checked
        place = account.waiting + (account.submitted if order.checked else 0)
        more = "submitted" if order.checked else "waiting"
        with self._change():
            given = order.id, i, order.size, order.close, order.checked, order.size, order.close
            self._db.execute("insert into orders values (null, ?, ?, ?, ?, ?, ?, ?, 'open', '')", given)
            self._queue(place, i)
            self._account = account._replace(**{more: getattr(account, more) + 1})
            self._write_state()
        book.order[i], book.order_close[i], self._waiting[i] = order.size, order.close, order.id
        return self.orders([order.id])[order.id]

    def cancel(self, id: str) -> None:
        """It leaves the queue."""
        place = next((k for k, i in enumerate(self._book.queue) if self._waiting.get(i) == id), None)
        account = self._account
        if place is None or place >= account.waiting + account.submitted:
            return
        with self._change():
            self._end(id, Status.CANCELLED, "")
            less = "waiting" if place < account.waiting else "submitted"
            self._queue(place)
            self._account = account._replace(**{less: getattr(account, less) - 1})
            self._write_state()
        self._waiting = {i: one for i, one in self._waiting.items() if one != id}

    def _queue(self, place: int, *column: int) -> None:
        """Put a symbol's order in this place, or take the one there out."""
        queue = list(self._book.queue)
        after = queue[place:-1] if column else [*queue[place + 1 :], 0]
        self._book = self._book._replace(queue=[*queue[:place], *column, *after])

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def open_paper(place: Place) -> PaperBroker:
    """The account beside the trader's state."""
    path = place.state.with_name(f"{place.state.name}.paper")
    return PaperBroker(path, place.bars(), place.cash, place.costs, first=place.first, walks=place.walks)


def _moment(bar: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=bar // 1000)
