"""Orders made without Backtrader's machinery are Backtrader's orders."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import pytest
from brain_cases import random_bars

from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import SpreadFeeCommission, TargetOrders
from hybrid_bt.strategies.market_order import LightBuy, LightSell, sends_plainly

DATA = ("created", "executed")


def told(order: Any, first_ref: int) -> dict[str, Any]:
    """Everything that a notified order says, as plain values."""
    said = {name: getattr(order, name) for name in (*order.p._getkeys(), "status", "plen", "position", "triggered")}
    said |= {name: getattr(order, name) for name in ("plimit", "dteos", "size", "exectype")}
    said |= {f"p.{name}": getattr(order.p, name) for name in order.p._getkeys()}
    for part in DATA:
        values = dict(vars(getattr(order, part)))
        values["exbits"] = [vars(bit) for bit in values["exbits"]]
        said[part] = values
    for name in ("owner", "p.owner"):
        del said[name]
    for name in ("data", "p.data"):
        said[name] = said[name]._name
    said |= {"ref": order.ref - first_ref, "buy": order.isbuy(), "alive": order.alive(), "info": dict(order.info)}
    said["text"] = str(order).split("\n", 1)[1]
    return said


class Trader(bt.Strategy):
    """Trades a fixed rhythm and keeps what it is told."""

    def __init__(self) -> None:
        self.orders = TargetOrders(self, OrderRules(lot=0.0))
        self.told: list[Any] = []
        self.kinds: set[type] = set()
        self.first_ref: int | None = None

    def next(self) -> None:
        row = len(self)
        self.orders.send([(-1.0) ** (row // 5 + i) * 0.3 * (row % 3) for i in range(len(self.datas))])

    def notify_order(self, order: bt.Order) -> None:
        if self.first_ref is None:
            self.first_ref = order.ref
        self.kinds.add(type(order))
        said = told(order, self.first_ref)
        said["text"] = "\n".join(line for line in said["text"].splitlines() if "CommInfo" not in line)
        self.told.append((len(self), said))

    def notify_trade(self, trade: bt.Trade) -> None:
        self.told.append((len(self), trade.status, trade.size, trade.price, trade.pnl, trade.pnlcomm))


class OwnBuy(Trader):
    """Overrides `buy`, so that its orders must come through it."""

    bought = 0

    def buy(self, *args: Any, **kwargs: Any) -> Any:
        self.bought += 1
        return super().buy(*args, **kwargs)


def run(strategy: type[Trader], cash: float = 100_000.0) -> Trader:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(cash)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission(spread_bps=4.0, borrow_bps_per_year=80.0))
    for feed in to_feeds(random_bars(120, 3, missing=0.05)):
        cerebro.adddata(feed)
    cerebro.addstrategy(strategy)
    return cerebro.run()[0]


def test_every_notice_says_what_an_ordinary_order_says() -> None:
    light, ordinary = run(Trader), run(OwnBuy)
    assert light.kinds == {LightBuy, LightSell}
    assert not any(issubclass(kind, (LightBuy, LightSell)) for kind in ordinary.kinds)
    assert len(light.told) > 200
    assert light.told == ordinary.told
    assert light.broker.getvalue() == ordinary.broker.getvalue()


def test_an_overridden_buy_is_called() -> None:
    strategy = run(OwnBuy)
    assert strategy.bought > 0
    assert not sends_plainly(strategy)


@pytest.mark.parametrize("name", ["buy", "sell"])
def test_an_overriding_broker_gets_its_orders(name: str) -> None:
    seen: list[Any] = []

    def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(args)
        return getattr(bt.brokers.BackBroker, name)(self, *args, **kwargs)

    broker = type("Watched", (bt.brokers.BackBroker,), {name: send})()
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = broker
    for feed in to_feeds(random_bars(40, 2)):
        cerebro.adddata(feed)
    cerebro.addstrategy(Trader)
    cerebro.run()
    assert seen
