"""Feeds of a live store, and a broker that is not Backtrader's simulated one."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import backtrader as bt
from live_rehearsal import RehearsalStore


class AllAtOnce(RehearsalStore):
    """All bars of a row come in one call."""

    def is_due(self, row: int, column: int) -> bool:
        return True

    has_arrived = is_due


class Elsewhere(bt.broker.BrokerBase):  # type: ignore[misc]
    """An account kept elsewhere: orders reach it by `buy` and `sell`, answers come as notifications.

    `ear(order)` is False for an order that never arrives.
    """

    def __init__(self, cash: float = 1_000_000.0, ear: Callable[[Any], bool] = lambda order: True) -> None:
        super().__init__()
        self.account, self.startingcash = bt.brokers.BackBroker(cash=cash), cash
        self.ear = ear
        self.sent: list[tuple[Any, list[str]]] = []  #: orders, and the status of every feed as each was sent

    def start(self) -> None:
        self.account.start()

    def next(self) -> None:
        self.account.next()

    def get_notification(self) -> Any:
        return self.account.get_notification()

    def getcash(self) -> float:
        return float(self.account.getcash())

    def getvalue(self, datas: Any = None) -> float:
        return float(self.account.getvalue(datas))

    def getposition(self, data: Any) -> Any:
        return self.account.getposition(data)

    def getcommissioninfo(self, data: Any) -> Any:
        return self.account.getcommissioninfo(data)

    def cancel(self, order: Any) -> Any:
        return self.account.cancel(order)

    def buy(self, owner: Any, data: Any, size: float, **how: Any) -> Any:
        return self._sent(self.account.buy, bt.BuyOrder, owner, data, size, how)

    def sell(self, owner: Any, data: Any, size: float, **how: Any) -> Any:
        return self._sent(self.account.sell, bt.SellOrder, owner, data, size, how)

    def _sent(self, hand_in: Any, kind: Any, owner: Any, data: Any, size: float, how: Any) -> Any:
        order = kind(owner=owner, data=data, size=size, exectype=bt.Order.Market)
        if self.ear(order):
            order = hand_in(owner, data, size, **how)
        self.sent.append((order, [feed._getstatusname(feed._laststatus) for feed in owner.datas]))
        return order


class Silent(bt.broker.BrokerBase):  # type: ignore[misc]
    """Fills every order at the close, in the call that sends it; a share is answered, the others stay Submitted."""

    def __init__(self, answers: float) -> None:
        super().__init__()
        self.answers, self.startingcash, self.cash = answers, 1_000_000.0, 1_000_000.0
        self.positions: dict[Any, Any] = collections.defaultdict(bt.Position)
        self.fills: list[tuple[float, str, float]] = []

    def getcash(self) -> float:
        return self.cash

    def getvalue(self, datas: Any = None) -> float:
        return self.cash + sum(held.size * feed.close[0] for feed, held in self.positions.items() if held.size)

    def getposition(self, data: Any) -> Any:
        return self.positions[data]

    def get_notification(self) -> None:
        return None

    def cancel(self, order: Any) -> None:
        order.cancel()

    def buy(self, owner: Any, data: Any, size: float, **how: Any) -> Any:
        return self._filled(bt.BuyOrder, owner, data, size)

    def sell(self, owner: Any, data: Any, size: float, **how: Any) -> Any:
        return self._filled(bt.SellOrder, owner, data, size)

    def _filled(self, kind: Any, owner: Any, data: Any, size: float) -> Any:
        order, price = kind(owner=owner, data=data, size=size, exectype=bt.Order.Market), data.close[0]
        order.submit(self)
        self.positions[data].update(order.size, price)
        self.cash -= order.size * price
        self.fills.append((data.datetime[0], data._name, order.size))
        if len(self.fills) * self.answers % 1.0 == 0.0 and self.answers:
            order.execute(data.datetime[0], order.size, price, *[0.0] * 8, 0, 0.0)
            order.completed()
        return order
