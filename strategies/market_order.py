"""Market orders that cost Backtrader half the time: the same orders, made and copied without its machinery.

An order's way through the broker takes some 150 us, and most of that is not accounting: a metaclass sets 15 parameters
one by one, every later look at `order.data` fails first and is then answered by `__getattr__`, the session's end is
worked out from the calendar though no market order asks for it, and each notice copies the order by way of
`__reduce_ex__`. Here what all market orders have in common lies in the class, the rest in the instance from the start,
and a copy is a copy of its dictionary. The broker, its arithmetic and its notices are Backtrader's own, and what a
notified order says is the same to the last attribute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import timedelta

from hybrid_bt.feeds.framework import Framework, bt

#: parameters of a market order; owner, data and size are the caller's
_PARAMETERS = {"tradeid": 0, "transmit": True, "simulated": False, "histnotify": False} | dict.fromkeys(
    ("price", "pricelimit", "exectype", "valid", "oco", "trailamount", "trailpercent", "parent")
)

#: what `OrderData` holds of an order that nothing has been executed of, beside what `_made` says
_BLANK = {"p1": 0, "p2": 0, "value": 0.0, "comm": 0.0, "margin": None, "pnl": 0.0, "psize": 0, "pprice": 0}
_NO_LIMITS = {"pricelimit": 0.0, "trailamount": 0.0, "trailpercent": 0.0, "_plimit": 0.0}
_EXECUTED = {**_BLANK, **_NO_LIMITS, "pclose": 0.0, "dt": None, "size": 0, "price": 0.0}
_CREATED = {**_BLANK, "remsize": 0, "trailamount": None, "trailpercent": None, "_plimit": None}


class _LightData(bt.order.OrderData):
    """What was asked for, or has been executed so far."""

    def __init__(self, common: Mapping[str, Framework], **own: Framework) -> None:
        self.__dict__.update(common, exbits=deque(), **own)

    def clone(self) -> Framework:
        self.markpending()
        twin = object.__new__(_LightData)
        twin.__dict__ = self.__dict__.copy()
        return twin


class _Light:
    """What the two orders share: first of all, what `Order.__init__` makes of these parameters."""

    price = pricelimit = valid = oco = trailamount = trailpercent = parent = broker = comminfo = None
    simulated = histnotify = triggered = False
    transmit = _active = True
    tradeid = position = 0
    exectype, status = bt.Order.Market, bt.Order.Created
    _plimit, _limitoffset = None, 0.0

    params: Framework
    data: Framework
    created: Framework
    executed: Framework

    @property
    def p(self) -> Framework:
        """Backtrader's short name of the parameters."""
        return self.params

    def clone(self) -> Framework:
        """The order as it stands, for a notice."""
        twin = object.__new__(type(self))
        twin.__dict__ = self.__dict__.copy()
        twin.executed = self.executed.clone()
        return twin

    @property
    def dteos(self) -> float:
        """End of the session in which the order was made."""
        made, end = self.data.num2date(self.created.dt), self.data.p.sessionend
        last = made.replace(hour=end.hour, minute=end.minute, second=end.second, microsecond=end.microsecond)
        return float(self.data.date2num(last if last >= made else last + timedelta(days=1)))


class LightBuy(_Light, bt.BuyOrder):
    """A market order to buy; make it with `market_order`."""


class LightSell(_Light, bt.SellOrder):
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
        and hasattr(bt.Order.refbasis, "__next__")  # backtrader-next counts its orders in another way
    )


def market_order(strategy: bt.Strategy, data: Framework, size: float, *, check: bool = True) -> Framework:
    """Send a market order, as `strategy.buy(data, size)` or `strategy.sell(data, -size)` would.

    Parameters
    ----------
    strategy : bt.Strategy
        One that `sends_plainly`.
    size : float
        Signed shares, not 0.
    check : bool
        False skips the broker's margin check.

    Returns
    -------
    bt.Order
    """
    order = _made(LightBuy if size > 0.0 else LightSell, strategy, data, size)
    strategy.broker._ocoize(order, None)
    return strategy.broker.submit(order, check=check)


def _made(kind: Framework, strategy: bt.Strategy, data: Framework, size: float) -> Framework:
    """The order as Backtrader's constructor leaves it."""
    close = data.close[0]
    order = object.__new__(kind)
    parameters = kind.params()
    parameters.__dict__.update(_PARAMETERS, owner=strategy, data=data, size=abs(size))
    order.__dict__.update(
        params=parameters,
        owner=strategy,
        data=data,
        size=size,
        ref=next(kind.refbasis),
        info=bt.utils.AutoOrderedDict(),
        created=_LightData(_CREATED, dt=data.datetime[0], size=size, price=close, pricelimit=close, pclose=close),
        executed=_LightData(_EXECUTED, remsize=size),
    )
    return order
