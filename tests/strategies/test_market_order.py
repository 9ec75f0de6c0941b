"""Orders made without Backtrader's machinery are Backtrader's orders."""

from __future__ import annotations

from collections import deque
from typing import Any

import backtrader as bt
import pytest
from brain_cases import random_bars

from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import SpreadFeeCommission, TargetOrders
from hybrid_bt.strategies.market_order import LightBuy, LightSell, is_heard, sends_plainly

DATA = ("created", "executed")


def told(order: Any, first_ref: int) -> dict[str, Any]:
    """Everything that a notified order says, as plain values."""
    said = {name: getattr(order, name) for name in (*order.p._getkeys(), "status", "plen", "position", "triggered")}
    said |= {name: getattr(order, name) for name in ("plimit", "dteos", "size", "exectype")}
    said |= {f"p.{name}": getattr(order.p, name) for name in order.p._getkeys()}
    for part in DATA:
        values = {name: getattr(getattr(order, part), name) for name in vars(bt.order.OrderData())}
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


def cerebro_of(strategy: type[bt.Strategy], cash: float = 100_000.0) -> bt.Cerebro:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(cash)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission(spread_bps=4.0, borrow_bps_per_year=80.0))
    for feed in to_feeds(random_bars(120, 3, missing=0.05)):
        cerebro.adddata(feed)
    cerebro.addstrategy(strategy)
    return cerebro


def run(strategy: type[bt.Strategy], cash: float = 100_000.0) -> Any:
    return cerebro_of(strategy, cash).run()[0]


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


class Silent(bt.Strategy):
    """Trades the same rhythm, and hears nothing."""

    def __init__(self) -> None:
        self.orders = TargetOrders(self, OrderRules(lot=0.0))
        self.waiting: list[Any] = []

    def next(self) -> None:
        row = len(self)
        self.waiting += [(row, order.ref, order.size, order.p.simulated) for order in self.open_orders()]
        self.orders.send([(-1.0) ** (row // 5 + i) * 0.3 * (row % 3) for i in range(len(self.datas))])

    def open_orders(self) -> Any:
        return self.broker.get_orders_open(safe=True)


class SilentBuy(Silent):
    """The same with Backtrader's own orders."""

    def buy(self, *args: Any, **kwargs: Any) -> Any:
        return super().buy(*args, **kwargs)


class Heard(bt.Analyzer):
    def start(self) -> None:
        self.rets = []

    def notify_order(self, order: bt.Order) -> None:
        self.rets.append((len(self.strategy), order.status, order.size, order.executed.size, order.executed.price))


class Outer(bt.Analyzer):
    """Hears by an analyzer of its own, as Backtrader's PyFolio does."""

    def __init__(self) -> None:
        self._inner = Heard()

    def get_analysis(self) -> Any:
        return self._inner.rets


class Seen(bt.Observer):
    """Looks at the notices of each bar, as BuySell does."""

    lines = ("orders",)

    def next(self) -> None:
        self.lines.orders[0] = len(self._owner._orderspending)


def heard_by(name: str, strategy: type[bt.Strategy]) -> Any:
    cerebro = cerebro_of(strategy)
    if name == "observer":
        cerebro.addobserver(Seen)
        strategy = cerebro.run()[0]
        return list(strategy.observers.seen.lines.orders.array[: len(strategy)])
    if name == "patched":
        seen: list[Any] = []

        class Patched(strategy):  # type: ignore[misc, valid-type]
            def start(self) -> None:
                self.notify_order = lambda order: seen.append((len(self), order.status, order.executed.size))

        cerebro.strats.clear()
        cerebro.addstrategy(Patched)
        cerebro.run()
        return seen
    cerebro.addanalyzer({"analyzer": Heard, "child": Outer, "quick": Heard}[name], _name="heard")
    return cerebro.run(quicknotify=name == "quick")[0].analyzers.heard.get_analysis()


@pytest.mark.parametrize("name", ["analyzer", "child", "observer", "patched", "quick"])
def test_whoever_listens_hears_every_notice(name: str) -> None:
    found = heard_by(name, Silent)
    assert len(found) > 100
    assert found == heard_by(name, SilentBuy)


def test_orders_that_nobody_hears_of_are_told_once_and_traded_alike() -> None:
    silent, ordinary = run(Silent), run(SilentBuy)
    assert not is_heard(silent)
    late = [order for order in ordinary._orders if order.status >= order.Partial]
    assert len(ordinary._orders) > 2.5 * len(late) and len(silent._orders) == len(late) > 100
    assert [order.ref for order in silent.broker.orders] == sorted({order.ref for order in silent.broker.orders})
    assert silent.broker.getvalue() == ordinary.broker.getvalue()
    kept = [
        [(trade.size, trade.price, trade.pnlcomm, trade.status) for trade in one._trades[feed][0]]
        for one in (silent, ordinary)
        for feed in one.datas
    ]
    assert kept[:3] == kept[3:] and all(len(trades) > 5 for trades in kept)


def test_orders_under_way_can_be_looked_at() -> None:
    silent, ordinary = run(Silent), run(SilentBuy)
    assert silent.waiting and len(silent.waiting) == len(ordinary.waiting)
    first, other = silent.waiting[0][1], ordinary.waiting[0][1]
    assert [(row, ref - first, *rest) for row, ref, *rest in silent.waiting] == [
        (row, ref - other, *rest) for row, ref, *rest in ordinary.waiting
    ]


def test_what_is_added_to_an_order_stands_in_its_notices() -> None:
    class Noting(Trader):
        def next(self) -> None:
            row = len(self)
            for order in self.orders.send([0.3 * (row % 3) for _ in self.datas]):
                order.addinfo(why=row)

        def notify_order(self, order: bt.Order) -> None:
            self.told.append((order.info.why, order.created.dt))

        def notify_trade(self, trade: bt.Trade) -> None: ...

    told = run(Noting).told
    assert len(told) > 300 and len({why for why, _ in told}) == len(set(told)) > 30


class Looks(deque[Any]):
    """Orders under way that count how often they are looked through."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        return super().__getitem__(place)


def test_a_fill_that_cancels_nothing_looks_through_no_orders() -> None:
    class Watched(Silent):
        def start(self) -> None:
            self.broker.pending = Looks(self.broker.pending)

    strategy = run(Watched)
    assert len(strategy._orders) > 100 and strategy.broker.pending.looks == 0


@pytest.mark.parametrize("falls", [False, True])
def test_an_order_that_one_cancels_is_cancelled(falls: bool) -> None:
    class Paired(bt.Strategy):
        """A light order, and one of Backtrader's that goes with it, in a queue where either may come first."""

        def __init__(self) -> None:
            self.orders = TargetOrders(self, OrderRules(lot=0.0))
            self.told: list[Any] = []

        def next(self) -> None:
            if len(self) == 3:
                (light,) = self.orders.send([0.1, 0.0, 0.0])
                self.sell(self.data1, size=1, oco=light)
                if falls:
                    self.broker.submitted.rotate(1)

        def notify_order(self, order: bt.Order) -> None:
            self.told.append((order.data._name, order.getstatusname()))

    ends = [status for _, status in run(Paired).told if status in ("Completed", "Canceled")]
    first = [name for name, status in run(Paired).told if status == "Completed"]
    assert sorted(ends) == ["Canceled", "Completed"] and first == [("BB" if falls else "AA")]
