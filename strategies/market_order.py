"""Market orders that cost Backtrader half the time: the same orders, made and copied without its machinery.

An order's way through the broker takes some 150 us, and most of that is not accounting: a metaclass sets 15 parameters
one by one, every later look at `order.data` fails first and is then answered by `__getattr__`, and each notice copies
the order by way of `__reduce_ex__`. Here the parameters are laid into the instance as well, and a copy is a copy of the
dictionary. `__init__`, the broker, its arithmetic and its notices are Backtrader's own.
"""

from __future__ import annotations

from typing import Any

import backtrader as bt
from backtrader.order import OrderData

__all__ = ["LightBuy", "LightSell", "market_order", "sends_plainly"]

#: what `Strategy.buy` hands to the broker for a market order, owner, data and size aside
_PLAIN = {
    "price": None,
    "pricelimit": None,
    "exectype": None,
    "valid": None,
    "tradeid": 0,
    "oco": None,
    "trailamount": None,
    "trailpercent": None,
    "parent": None,
    "transmit": True,
    "simulated": False,
    "histnotify": False,
}


class _Copied:
    """A shallow copy by way of the instance's dictionary."""

    def __copy__(self) -> Any:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


class _LightData(_Copied, OrderData):
    """What has been executed so far."""


class LightBuy(_Copied, bt.BuyOrder):
    """A market order to buy; make it with `market_order`."""


class LightSell(_Copied, bt.SellOrder):
    """A market order to sell; make it with `market_order`."""


def sends_plainly(strategy: bt.Strategy) -> bool:
    """Whether `strategy.buy` and `sell` do nothing but hand a new order to Backtrader's simulated broker."""
    broker = type(strategy.broker)
    return (
        isinstance(strategy.broker, bt.brokers.BackBroker)
        and type(strategy).buy is bt.Strategy.buy
        and type(strategy).sell is bt.Strategy.sell
        and broker.buy is bt.brokers.BackBroker.buy
        and broker.sell is bt.brokers.BackBroker.sell
    )


def market_order(strategy: bt.Strategy, data: Any, size: float, *, check: bool = True) -> bt.Order:
    """Send a market order, as `strategy.buy(data, size)` or `strategy.sell(data, -size)` would.

    Parameters
    ----------
    strategy : bt.Strategy
        One that `sends_plainly`.
    size : float
        Signed shares, not 0.
    check : bool
        False skips the broker's margin check.
    """
    kind: Any = LightBuy if size > 0.0 else LightSell
    order = object.__new__(kind)
    given = {**_PLAIN, "owner": strategy, "data": data, "size": abs(size)}
    order.params = order.p = kind.params()
    order.p.__dict__.update(given)
    order.__dict__.update(given)
    order.__init__()
    order.executed = _LightData(remsize=order.size)
    strategy.broker._ocoize(order, None)
    return strategy.broker.submit(order, check=check)
