"""What moves an account's money besides orders, read from the broker: money from outside, and interest.

`broker.add_cash` is booked on the next bar, as shares of a fund at its price. `broker.set_cash` acts at once, as if the
money had always been there, and until the next bar the broker calls it the value of the whole account. To analyzers
both come with the next bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.strategies.commission import balance_of

ROUNDING = 1e-12  #: of the account's value, or of its shares


class Seen(NamedTuple):
    """An account after a bar of the broker."""

    cash: float  #: with longs paid in full
    value: float
    came: float  #: money from outside, negative where it went


class _Call(NamedTuple):
    """Of `set_cash`."""

    came: float
    cash: Framework  #: the very object, by which the broker's next bar is told
    value: float  #: of the account before the first call since the broker's last bar


class CashSet:
    """Stands before `broker.set_cash` until the run is over, one for all analyzers, and notes its calls."""

    def __init__(self, broker: Framework) -> None:
        self.broker, self.ruin_is_told = broker, False
        self.positions = broker.positions  # new in each run
        self.calls: list[_Call] = []
        broker.set_cash = broker.setcash = self

    def __call__(self, cash: float) -> None:
        broker = self.broker
        value, came = self.calls[-1].value if self.is_fresh() else broker.getvalue(), cash - broker.cash
        type(broker).set_cash(broker, cash)
        self.calls.append(_Call(came, cash, value))

    def is_fresh(self) -> bool:
        """Whether the broker has had no bar since the last call."""
        return bool(self.calls) and self.broker.getvalue() is self.calls[-1].cash


class Deposits:
    """What one analyzer has seen of the money that came; it begins with the run.

    Parameters
    ----------
    broker : bt.brokers.BackBroker
    """

    def __init__(self, broker: Framework) -> None:
        known = vars(broker).get("set_cash")
        self.notes: CashSet = known if known and known.positions is broker.positions else CashSet(broker)
        self._n_seen = len(self.notes.calls)
        self._price, self._shares = broker.get_fundvalue(), broker.get_fundshares()

    def see(self, value: float, price: float, shares: float) -> Seen:
        """The account on a bar; value, price and shares are those of the broker's fund."""
        cash, calls = balance_of(self.notes.broker)[0], self.notes.calls[self._n_seen :]
        is_fresh = self.notes.is_fresh()
        fresh = [call for call in calls if is_fresh and call.value is calls[-1].value]  # since the broker's last bar
        if fresh:
            value, cash = fresh[-1].value, cash - sum(call.came for call in fresh)
        settled = calls[: len(calls) - len(fresh)]
        was_set = sum(call.came for call in settled)
        self._n_seen += len(settled)
        if abs(price * shares - value) > ROUNDING * abs(value):  # some were bought since this bar's valuation
            cash, shares = cash - (price * shares - value), value / price
        bought = shares - self._shares
        came = was_set + (bought * self._price if abs(bought) > ROUNDING * abs(shares) else 0.0)
        self._price, self._shares = price, shares
        return Seen(cash, value, came)

    def end(self) -> None:
        """Let the broker's own `set_cash` stand alone again."""
        for name in ("set_cash", "setcash"):
            self.notes.broker.__dict__.pop(name, None)


class Interest:
    """What each position owed on each row: its commission scheme is asked again, for the same position and moment.

    Parameters
    ----------
    broker : bt.brokers.BackBroker
    columns : mapping
        Feed -> its column.
    """

    def __init__(self, broker: Framework, columns: Mapping[Framework, int]) -> None:
        self._broker, self._columns = broker, columns
        self.owed: list[tuple[int, int, float]] = []  #: row, column, amount
        self._held: list[tuple[Framework, Framework]] = []  # feed, and the position that interest will be due on

    def note(self, row: int) -> None:
        """Once on each row, when the broker is through with it."""
        for feed, position in self._held:
            owed = self._broker.getcommissioninfo(feed).get_credit_interest(feed, position, feed.datetime.datetime())
            if owed:
                self.owed.append((row, self._columns[feed], owed))
        self._held = []
        for feed, position in self._broker.positions.items():
            if position.size and feed in self._columns and self._may_owe(feed, position.size):
                held = bt.Position(position.size, position.price)
                held.datetime = position.datetime
                self._held.append((feed, held))

    def _may_owe(self, feed: Framework, size: float) -> bool:
        """False for a long under a scheme that, by Backtrader's own rule, charges shorts only."""
        scheme = self._broker.getcommissioninfo(feed)
        usual = type(scheme).get_credit_interest is bt.CommInfoBase.get_credit_interest
        return bool(size < 0 or not usual or scheme.p.interest_long)
