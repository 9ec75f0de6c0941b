"""From targets to orders, the way the accounting twin does it: all that bit parity asks of a strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import inf, isfinite, nan

from hybrid_bt.brain.settling import Books
from hybrid_bt.equations.accounting import send_orders
from hybrid_bt.equations.book import Account, margin_check, new_book, open_account
from hybrid_bt.equations.costs import BPS, Costs
from hybrid_bt.equations.parameters import validated
from hybrid_bt.equations.sizing import OrderRules, order_size
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.strategies.market_order import Unheard, is_heard, market_order, sends_plainly
from hybrid_bt.strategies.underway import Underway


class TargetOrders:
    """Sends a strategy's targets to Backtrader's broker exactly as `hybrid_bt.equations.accounting.send_orders` does.

    Call `send` once on every bar from the first decision on, in `prenext` too, and leave the trading of these feeds
    to it. The four rules are listed in `hybrid_bt.equations.accounting`.

    Parameters
    ----------
    strategy : bt.Strategy
    rules : OrderRules
    feeds : sequence of feeds, optional
        The symbols, in order; all of the strategy's by default.
    equity_share : float
        Targets are fractions of this share of the account's equity.
    limit : str
        What bounds a target, for the warning that all orders come to nothing.

    Alone in a Cerebro it takes the account's positions, and what is under way, for its own. Beside other strategies it
    counts what it bought and sold itself. With a broker that is not Backtrader's simulated one, nothing is sent while a
    feed is not LIVE. What becomes of orders is warned of by `underway`.

    Attributes
    ----------
    ruined : bool
        True from the first `send` that met equity <= 0: everything is being closed and nothing opens again.

    Raises
    ------
    ConfigError
        For rules out of range.

    Examples
    --------
    >>> class Half(bt.Strategy):
    ...     def __init__(self):
    ...         self.orders = TargetOrders(self, OrderRules())
    ...     def next(self):
    ...         self.orders.send([0.5 for _ in self.datas])
    """

    def __init__(
        self,
        strategy: bt.Strategy,
        rules: OrderRules,
        feeds: Sequence[Framework] | None = None,
        equity_share: float = 1.0,
        limit: str = "",
    ) -> None:
        if not 0.0 < equity_share <= 1.0:
            raise ConfigError(f"equity_share must lie above 0 and at most at 1, not {equity_share!r}")
        self.strategy = strategy
        self.feeds = list(strategy.datas if feeds is None else feeds)
        self.equity_share, self._limit = equity_share, limit
        self.rules = validated(OrderRules, rules, "orders")
        self.ruined = False
        self._closes = [feed.lines.close for feed in self.feeds]  # found once: a feed's `__getattr__` costs more
        self._lengths = [0] * len(self.feeds)
        self._book, self._account = new_book(len(self.feeds)), open_account(0.0)
        self.underway = Underway(strategy, self.feeds)
        self._positions = [0.0] * len(self.feeds)  # the account's

    def skip(self) -> None:
        """Let a bar pass on which nothing is sent."""
        self._lengths = [len(close) for close in self._closes]

    def books(self) -> Books:
        """This strategy's share of the account at the last close; asked before `send` or `skip`.

        Looking must not make the broker list a position that it does not know yet.
        """
        broker = self.strategy.broker
        sizes = [_known_size(broker, feed) for feed in self.feeds]
        if self.counts_itself:
            sizes = [self.underway.size(i, size) for i, size in enumerate(sizes)]
        worth = [
            close[0] * multiplier if size != 0.0 else 0.0
            for close, multiplier, size in zip(self._closes, self._multipliers, sizes, strict=True)
        ]
        delivered = [len(close) > seen for close, seen in zip(self._closes, self._lengths, strict=True)]
        return Books(float(broker.getvalue()) * self.equity_share, sizes, worth, delivered)

    @cached_property
    def counts_itself(self) -> bool:
        """Whether the account's positions are not what this strategy has: others trade, or orders fill in parts."""
        in_parts = getattr(getattr(self.strategy.broker, "p", None), "filler", None) is not None
        return in_parts or self.underway.counts_itself

    def send(self, targets: Sequence[float], sides: Sequence[int] | None = None) -> list[Framework]:
        """Trade toward `targets`, signed fractions of equity per feed (NaN keeps what is held).

        Feeds with equal labels in `sides` trade as one decision; by default each one alone. Buys leave
        `rules.cash_buffer` of cash; where a feed is of futures, which tie up a margin instead, cash is not looked at.

        Returns
        -------
        list of bt.Order
            The orders sent, in the order of submission.
        """
        broker, underway = self.strategy.broker, self.underway
        if not (underway.is_simulated or underway.are_live()):
            self.skip()
            return []
        value = float(broker.getvalue())
        equity = value * self.equity_share
        if equity != equity:
            odd = [feed._name for feed in self.feeds if len(feed) and not isfinite(feed.open[0] + feed.close[0])]
            on = self.strategy.datetime.datetime(0)
            raise BarsError(
                f"account: equity is not a number on {on}; {', '.join(odd) or 'a feed'} gave a price that is not one, "
                "and the broker filled or marked at it; check the prices (hybrid-bt data check)"
            )
        self.ruined = self.ruined or not equity > 0.0
        n, labels = len(self._lengths), () if sides is None else sides
        if len(labels) not in (0, n):
            raise ConfigError(f"orders: sides must be a label for each of {n} feeds, not {len(labels)} of them")
        book, closes, positions = self._book, [nan] * n, self._positions
        for i, (feed, close) in enumerate(zip(self.feeds, self._closes, strict=True)):
            length = close.lencount
            if length > self._lengths[i]:
                self._lengths[i] = length
                # this touches the position, which fixes the order of the broker's sums
                held, closes[i] = float(broker.getposition(feed).size), close[0] * self._multipliers[i]
                positions[i] = held
                book.size[i] = underway.size(i, held) if underway.open[i] or underway.counts_itself else held
        costs, wanted = self._costs(closes), [float(target) for target in targets]
        account = self._account._replace(cash=self._cash(value, costs), equity=equity, ruined=self.ruined)
        sent = send_orders(account, book, 0, wanted, closes, labels, self.rules, costs)
        n_orders = sent.submitted + sent.waiting
        if n_orders == 0 and underway.awaits_first and not any(book.size):
            self._explain(account, wanted, closes)
        return [self._order(i, book.order[i]) for i in list(book.queue)[:n_orders]]

    def _explain(self, account: Account, targets: Sequence[float], closes: Sequence[float]) -> None:
        """Say why there is no order, where there would be one if shares could be divided."""
        exact = self.rules._replace(lot=0.0, eps_trade=0.0)
        sizes = [
            order_size(target, account.equity, close, 0.0, exact) for target, close in zip(targets, closes, strict=True)
        ]
        i = max(range(len(sizes)), key=lambda i: abs(sizes[i]))  # the nearest to a lot
        if sizes[i] != 0.0:
            size, name, limit = abs(sizes[i]), self.underway.name(i), self._limit
            self.underway.came_to_nothing(
                f"{name} is wanted for {size * closes[i]:,.2f}, {size:.6g} shares at a price of {closes[i]:,.2f}; the "
                f"lot is {self.rules.lot:g} (eps_trade {self.rules.eps_trade:g}), cash {account.cash:,.2f}{limit}: "
                "give more cash, or a lot of 0, which allows fractions"
            )

    def _cash(self, value: float, costs: Costs) -> float:
        """What buys may be paid from: behind the orders that others sent on this bar, less the others' buffer."""
        if not self._pay_in_full:
            return inf
        broker = self.strategy.broker
        cash = float(broker.getcash()) - self.rules.cash_buffer * (1.0 - self.equity_share) * value
        for order in getattr(broker, "submitted", ()):
            held, size, close = _known_size(broker, order.data), order.executed.remsize, order.created.price
            cash = margin_check(held, float(size), float(close), cash, costs)
        return cash

    def _costs(self, closes: Sequence[float]) -> Costs:
        """What the margin check will take: of schemes that differ, or that are Backtrader's own, the dearest."""
        if self._same_costs is not None:
            return self._same_costs
        priced = [(scheme, close) for scheme, close in zip(self._schemes, closes, strict=True) if close > 0.0]
        fees = [abs(scheme.getcommission(1.0, close)) / close for scheme, close in priced]
        return Costs(spread_bps=0.0, fee_bps=max(fees, default=0.0) / BPS, leverage=self._leverage)

    # what follows is known when the first order may be sent

    @cached_property
    def _multipliers(self) -> list[float]:
        """What a point of each feed's price is worth: 1 for shares."""
        return [1.0 if scheme.stocklike else float(scheme.p.mult) for scheme in self._schemes]

    @cached_property
    def _schemes(self) -> list[Framework]:
        return [self.strategy.broker.getcommissioninfo(feed) for feed in self.feeds]

    @cached_property
    def _pay_in_full(self) -> bool:
        """Whether all feeds are of shares."""
        return all(scheme.stocklike for scheme in self._schemes)

    @cached_property
    def _same_costs(self) -> Costs | None:
        """Those of a `SpreadFeeCommission` that all feeds have."""
        found = [getattr(scheme, "costs", None) for scheme in self._schemes]
        return found[0] if isinstance(found[0], Costs) and found.count(found[0]) == len(found) else None

    @cached_property
    def _leverage(self) -> float:
        return min(float(scheme.get_leverage()) for scheme in self._schemes)

    @cached_property
    def _light(self) -> bool:
        """Whether orders may be made without Backtrader's machinery."""
        return sends_plainly(self.strategy)

    @cached_property
    def _unheard(self) -> Unheard | None:
        """What stands for the notices of orders that nobody is told of."""
        return None if is_heard(self.strategy) else Unheard(self.strategy)

    def _order(self, i: int, size: float) -> Framework:
        if self._light:
            order = market_order(self.strategy, self.feeds[i], size, check=not self.ruined, unheard=self._unheard)
        else:
            trade = self.strategy.buy if size > 0.0 else self.strategy.sell
            order = trade(data=self.feeds[i], size=abs(size), **({"_checksubmit": False} if self.ruined else {}))
        self.underway.add(i, order, self._positions[i])
        return order


def _known_size(broker: Framework, feed: Framework) -> float:
    positions = getattr(broker, "positions", None)
    if isinstance(positions, Mapping):
        position = positions.get(feed)
        return float(position.size) if position is not None else 0.0
    return float(broker.getposition(feed).size)
