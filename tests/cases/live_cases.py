"""Feeds of a live store, and a broker that is not Backtrader's simulated one."""

from __future__ import annotations

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
