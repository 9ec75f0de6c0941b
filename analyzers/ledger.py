"""The account of a Backtrader run, bar by bar, read from the broker: cash, value, sizes, fills, interest, deposits."""

from __future__ import annotations

import warnings
from array import array
from datetime import date
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.flows import Flows, check_balance, flows_of
from hybrid_bt.account.records import AccountPath, Fill, Fills
from hybrid_bt.analyzers.money import Deposits, Interest
from hybrid_bt.bars import say_stamp
from hybrid_bt.bars.stamps import instant
from hybrid_bt.errors import ConfigError, ReconciliationError
from hybrid_bt.feeds.framework import bt
from hybrid_bt.strategies.honesty import cheats_of

Start: TypeAlias = int | str | date | np.datetime64


class Ledger(bt.Analyzer):
    """What the broker's account did on each row, for any strategies on Backtrader's simulated broker.

    A row is a bar on which the strategy ran (`prenext` included): the union of the feeds' stamps. Symbols are the
    feeds in their order; behind them come those that other strategies have for themselves (`own_feeds`). Fills and
    rejections are those of the whole account, other strategies' orders included. Futures settle in cash on every bar,
    which an `AccountPath` has no column for; `flows` knows them.

    Parameters
    ----------
    start : int or datetime-like, optional
        Row or stamp that `path` begins with; the first row by default.
    keep_orders : bool
        False empties `broker.orders` of what is noted (only `broker.orderstatus` reads it): 5 kB an order.

    Attributes
    ----------
    multipliers : ndarray of shape (N,)
        What a point of each feed's price is worth: 1 for shares. Known when the run is over.
    symbols : tuple of str
        Names of the feeds; `data` and its number where a feed has none, `#` and its number behind a name shared.
    cheats : tuple of str
        Which of Backtrader's cheats the account was traded with.
    """

    params = (("start", 0), ("keep_orders", True))

    def start(self) -> None:
        if not isinstance(self.p.keep_orders, bool):
            raise ConfigError(f"Ledger: keep_orders is {self.p.keep_orders!r}; give True or False")
        self.broker = self.strategy.broker
        if not isinstance(self.broker, bt.brokers.BackBroker):
            raise ConfigError(f"Ledger: reads Backtrader's simulated broker, not {type(self.broker).__name__}")
        every = (self.strategy, *self.strategy.cerebro.runningstrats)
        self._feeds = list(dict.fromkeys(feed for one in every for feed in one.datas))
        self._closes = [feed.lines.close for feed in self._feeds]  # found once: a feed's `__getattr__` costs more
        self._column = {feed: i for i, feed in enumerate(self._feeds)}
        self.symbols = _names(self._feeds)
        self.cheats = cheats_of(self.strategy)
        self.start_value = float(self.broker.getcash())
        self._is_ours = all(getattr(one, "counts_own_fills", False) for one in every)
        self._deposits = Deposits(self.broker)
        self._rows = array("d")  # stamp, cash, value, deposit of each
        self._marks, self._sizes, self._n_rows = array("d"), array("d"), 0
        self._interest = Interest(self.broker, self._column)
        self._fills: list[Fill] = []
        self._margin_rows: list[int] = []
        self._known = 0  # orders of `broker.orders` already seen
        self._followed: set[int] = set()  # refs of orders
        self._open: list[tuple[bt.Order, int, int]] = []  # orders that may still fill, their row, executions seen

    def notify_cashvalue(self, cash: float, value: float) -> None:
        # Runs before the strategies' next(): an order unseen so far was sent on the row before, by a strategy that
        # runs after this one, or on this row in next_open.
        self._find_orders(self._n_rows - (not self.strategy.cerebro.p.cheat_on_open))

    def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
        self._now = self._deposits.see(value, fundvalue, shares)

    def next(self) -> None:
        row, self._n_rows = self._n_rows, self._n_rows + 1
        self._rows.extend((self.strategy.datetime[0], *self._now))
        self._marks.extend([close[0] if close.lencount else np.nan for close in self._closes])
        self._interest.note(row)
        if self._open:
            self._note_fills(row)
        self._sizes.extend(self._read_sizes())  # not from the fills: a resumed account begins with positions
        self._find_orders(row)

    def _find_orders(self, row: int) -> None:
        """Follow the orders that appeared since the last look; they were decided on `row`."""
        orders = self.broker.orders
        for order in orders[self._known :] if len(orders) > self._known else ():
            self._follow(order, row)
        if not self.p.keep_orders:
            orders.clear()
        self._known = len(orders)
        for order in self.broker.pending:  # an order sent without a margin check is listed here only
            self._follow(order, row)

    def _follow(self, order: bt.Order, row: int) -> None:
        if order.ref not in self._followed:
            self._followed.add(order.ref)
            self._open.append((order, row, 0))

    def _note_fills(self, row: int) -> None:
        """Record what the broker executed and refused on this row."""
        still = []
        for order, decided, seen in self._open:
            bits = order.executed.exbits
            if len(bits) > seen:
                column, scheme = self._column[order.data], order.comminfo
                for bit in islice(bits, seen, None):
                    # not bit.closedcomm: the broker adds the interest accrued so far to it
                    fee = scheme.getcommission(bit.closed, bit.price) if bit.closed else 0.0
                    numbers = float(bit.size), float(bit.price), float(fee + bit.openedcomm)
                    self._fills.append(Fill(row, decided, column, *numbers))
            if order.alive():
                still.append((order, decided, len(bits)))
            elif order.status == order.Margin:
                self._margin_rows.append(row)
        self._open = still

    def _read_sizes(self) -> list[float]:
        sizes = [0.0] * len(self._column)
        for feed, position in self.broker.positions.items():
            if feed in self._column:
                sizes[self._column[feed]] = float(position.size)
        return sizes

    def stop(self) -> None:
        schemes = [self.broker.getcommissioninfo(feed) for feed in self._feeds]
        self.multipliers = np.array([1.0 if scheme.stocklike else float(scheme.p.mult) for scheme in schemes])
        self._deposits.end()
        row, notes = self._ruin_row(), self._deposits.notes
        if row is not None and not notes.ruin_is_told:
            notes.ruin_is_told = True
            worth = f"its equity {self._noted()[row, 2]:,.2f}"
            warnings.warn(f"the account was ruined on {say_stamp(self.stamps[row])}, {worth}", stacklevel=1)
        # What is left can be pickled, as the analyzers of an optimisation are.
        self._owed = self._interest.owed
        del self.broker, self._feeds, self._closes, self._column, self._open, self._interest, self._deposits

    def _base(self) -> NDArray[np.float64]:
        """(T,) what each row began with: the value before it, and the money that came."""
        base: NDArray[np.float64] = np.concatenate(([self.start_value], self._noted()[:-1, 2])) + self.deposits
        return base

    def _ruin_row(self) -> int | None:
        equity = self._noted()[:, 2]
        rows = np.flatnonzero((equity < 0.0) | ((equity == 0.0) & (self._base() > 0.0)))
        return int(rows[0]) if len(rows) else None

    @property
    def ruined_on(self) -> np.datetime64 | None:
        """Stamp of the first row on which nothing was left, or money owed; a warning says so, once a run."""
        row = self._ruin_row()
        return None if row is None else self.stamps[row]

    @property
    def deposits(self) -> NDArray[np.float64]:
        """(T,) money from outside on each row, negative where it was withdrawn (`broker.add_cash`, `set_cash`)."""
        return self._noted()[:, 3]

    @property
    def marks(self) -> NDArray[np.float64]:
        """(T, N) last close of each feed; NaN before its first bar."""
        return np.array(self._marks, dtype=np.float64).reshape(-1, len(self.symbols))

    def flows(self) -> Flows:
        """Cash flows and profits of each asset, after a check that they explain the account on every bar.

        Raises
        ------
        ReconciliationError
            Naming the first bar on which cash or profits do not add up; a warning where a strategy of others ran.
        """
        path = self.path(0)
        flows = flows_of(path, self.marks, self.multipliers)
        try:
            check_balance(path, flows, self.deposits, self.start_value, self.stamps)
        except ReconciliationError as error:
            if self._is_ours:
                raise
            warnings.warn(str(error), stacklevel=1)
        return flows

    @property
    def stamps(self) -> NDArray[np.datetime64]:
        """(T,) datetime64[us] of all rows, the first one included."""
        return np.array([bt.num2date(stamp) for stamp in self._rows[::4]], dtype="datetime64[us]")

    def _noted(self) -> NDArray[np.float64]:
        return np.array(self._rows, dtype=np.float64).reshape(-1, 4)

    def path(self, start: Start | None = None) -> AccountPath:
        """The account from `start` (row or stamp; the parameter by default), rows counted from there.

        Raises
        ------
        ConfigError
            If `start` lies behind the last row, or the account had traded before it.
        """
        first = self._first_row(self.p.start if start is None else start)
        if self._fills and self._fills[0].bar < first:
            raise ConfigError(f"Ledger: the account traded on row {self._fills[0].bar}, before start {first}")
        borrow = np.zeros((self._n_rows, len(self.symbols)))
        for row, column, owed in self._owed:
            borrow[row, column] = owed
        noted = np.asarray(self._rows).reshape(-1, 4)[first:]  # no copy of what a long run noted
        return AccountPath(
            cash=noted[:, 1].copy(),
            equity=noted[:, 2].copy(),
            held=np.array(self._sizes).reshape(borrow.shape)[first:],
            borrow=borrow[first:],
            fills=Fills.of(self._fills).later(first),
            rejected=len(self._margin_rows),
            first_rejected=self._margin_rows[0] - first if self._margin_rows else None,
        )

    def _first_row(self, start: Start) -> int:
        row = start if isinstance(start, int) else int(np.searchsorted(self.stamps, instant(start)))
        if not 0 <= row < max(self._n_rows, 1):
            raise ConfigError(f"Ledger: start {start!r} is not among the {self._n_rows} bars of the run")
        return row

    def first_row_at_risk(self) -> int:
        """The first row that could earn something; 0 where nothing was traded.

        It is behind the first decision that was filled later, or has a position from before the run. Rows before it
        warm up: a rate or a mean that counts them is of years in which nobody traded.
        """
        held = np.flatnonzero(self._sizes)[:1] // max(len(self.symbols), 1)
        rows = [*(min(fill.decided + 1, fill.bar) for fill in self._fills), *held.tolist()]
        return min(rows, default=0)

    def get_analysis(self) -> object:
        """The same as `path()`, as an `AccountPath`."""
        return self.path()


def _names(feeds: list[bt.DataBase]) -> tuple[str, ...]:
    """A name for each feed; `#` and its number set apart those that share one."""
    names = [f"data{i}" if feed._name in (None, "") else str(feed._name) for i, feed in enumerate(feeds)]
    return tuple(f"{name}#{i}" if names.count(name) > 1 else name for i, name in enumerate(names))
