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
from datetime import timedelta
from functools import cached_property
from types import SimpleNamespace

from hybrid_bt.feeds.framework import Framework, bt


class _LightData(bt.order.OrderData):
    """What was asked for, or has been executed so far; what all market orders begin with lies in the class."""

    p1 = p2 = psize = pprice = 0
    size: float = 0
    remsize: float = 0
    value = comm = pnl = price = pclose = 0.0
    dt: float | None = None
    margin = None

    def __init__(self) -> None: ...

    def clone(self) -> Framework:
        self.markpending()
        twin = object.__new__(type(self))
        twin.__dict__ = self.__dict__.copy()
        return twin


class _Created(_LightData):
    trailamount = trailpercent = _plimit = None
    exbits: deque[Framework] = deque(maxlen=0)  # of a request none is executed

    def __init__(self, dt: float, size: float, close: float) -> None:
        self.dt, self.size = dt, size
        self.price = self.pricelimit = self.pclose = close


class _Executed(_LightData):
    pricelimit = trailamount = trailpercent = _plimit = 0.0

    def __init__(self, size: float) -> None:
        self.remsize = size
        self.exbits: deque[Framework] = deque()


class Unheard:
    """The notice of an order that nothing is filled of, where nobody listens: Backtrader neither keeps nor tells it."""

    p = SimpleNamespace(simulated=True)
    executed = _LightData()

    def __init__(self, owner: bt.Strategy) -> None:
        self.owner = owner


class _Light:
    """What the two orders share: first of all, what `Order.__init__` makes of these parameters."""

    price = pricelimit = valid = oco = trailamount = trailpercent = parent = broker = comminfo = None
    simulated = histnotify = triggered = False
    transmit = _active = True
    tradeid = position = 0
    exectype, status = bt.Order.Market, bt.Order.Created
    _plimit, _limitoffset = None, 0.0
    params: Framework
    _due: Unheard | None = None  # in place of the next notice

    def __init__(self, owner: bt.Strategy, data: Framework, size: float, unheard: Unheard | None) -> None:
        """As Backtrader's constructor leaves it; its metaclass is passed by."""
        self.params = params = bt.Order.params()
        self.owner = params.owner = owner
        self.data = params.data = data
        self.size, params.size = size, abs(size)
        self.ref, self._unheard = next(bt.Order.refbasis), unheard
        self.created, self.executed = _Created(data.datetime[0], size, data.close[0]), _Executed(size)

    @property
    def p(self) -> Framework:
        """Backtrader's short name of the parameters."""
        return self.params

    @cached_property
    def info(self) -> Framework:
        """What `addinfo` adds."""
        return bt.utils.AutoOrderedDict()

    def submit(self, broker: Framework = None) -> None:
        bt.Order.submit(self, broker)
        self._due = self._unheard

    def addcomminfo(self, comminfo: Framework) -> None:
        """At a fill, behind which the broker goes through all orders under way for those that this one cancels."""
        self.comminfo = comminfo
        together = self.owner.broker._ocol
        if len(together.get(self.ref, ())) == 1:  # nobody
            del together[self.ref]

    def clone(self) -> Framework:
        """The order as it stands, for a notice."""
        due, self._due = self._due, None
        if due is not None:
            return due
        if self._unheard is not None and self.status == bt.Order.Completed:  # nothing will change it any more
            self.executed.markpending()
            return self
        _ = self.info  # one for all clones
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


def is_heard(strategy: bt.Strategy) -> bool:
    """Whether anybody is told of this strategy's orders, or looks at what was told on the bar."""

    def listens(one: Framework, base: type) -> bool:
        own = getattr(one.notify_order, "__func__", None) is not base.notify_order  # type: ignore[attr-defined]
        return own or any(listens(child, base) for child in getattr(one, "_children", ()))

    analyzers = [*strategy.analyzers, *strategy._slave_analyzers]
    told = listens(strategy, bt.Strategy) or any(listens(one, bt.Analyzer) for one in analyzers)
    return bool(told or strategy.cerebro.p.quicknotify or strategy.getobservers())


def market_order(
    strategy: bt.Strategy, data: Framework, size: float, *, check: bool = True, unheard: Unheard | None = None
) -> Framework:
    """Send a market order, as `strategy.buy(data, size)` or `strategy.sell(data, -size)` would.

    Parameters
    ----------
    strategy : bt.Strategy
        One that `sends_plainly`.
    size : float
        Signed shares, not 0.
    check : bool
        False skips the broker's margin check.
    unheard : Unheard, optional
        The notice of an order that is sent or accepted, where nobody `is_heard`.

    Returns
    -------
    bt.Order
    """
    order = object.__new__(LightBuy if size > 0.0 else LightSell)
    _Light.__init__(order, strategy, data, size, unheard)
    strategy.broker._ocoize(order, None)
    return strategy.broker.submit(order, check=check)
