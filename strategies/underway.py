"""A strategy's orders from their sending to the broker's last word, and whether any may be sent.

Backtrader's simulated broker answers a market order on the next bar of its feed, and to it the past is as good as the
present. Others are late, refuse, or never answer; and their feeds hand out history first (DELAYED), after a reconnect
again, on which an order would be sent long after its price.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property

from hybrid_bt.feeds.framework import Framework, bt

PATIENCE_BARS = 3  #: of its feed, that an order may go without a fill: the next bar fills it at a simulated broker
FIRST_BARS = 5  #: on which orders that all come to nothing are told of


class OrderWarning(UserWarning):
    """What became of orders, or why there are none."""


class _Sent:
    """An order; shares of it that the broker told of as filled, and others by which the position moved untold."""

    __slots__ = ("bar", "is_given_up", "left", "order", "told", "untold")

    def __init__(self, order: Framework, bar: int) -> None:
        self.order, self.is_given_up = order, False
        self.left, self.bar = order.size, bar  #: what is to come, and the bar of its feed on which that last changed
        self.told = self.untold = 0.0


class Underway:
    """What one strategy holds of its feeds, with what it has under way.

    Backtrader keeps one position per feed for the whole account: alone, that is the strategy's. Beside others it would
    sell what another one has just bought; there each counts its own fills.

    Parameters
    ----------
    strategy : bt.Strategy
    feeds : sequence of feeds
        That it trades, in order.

    Warns
    -----
    OrderWarning
        Once for each kind, and at the end how often: an order that is refused, in whole or part; one that nothing was
        filled of on `PATIENCE_BARS` bars, which is cancelled and counted no more; first bars on which every order comes
        to nothing; a feed that is not LIVE.
    """

    def __init__(self, strategy: bt.Strategy, feeds: Sequence[Framework]) -> None:
        self._strategy, self._feeds = strategy, list(feeds)
        self.open: list[list[_Sent]] = [[] for _ in feeds]  #: of each feed, what the broker may still fill
        self._clocks = [feed.lines.close for feed in self._feeds]  # that count its bars; `len(feed)` costs more
        self._settled = [0.0] * len(self._feeds)
        self._seen = [0.0] * len(self._feeds)  # positions, when they were last looked at
        self._told = [0.0] * len(self._feeds)  # shares told filled since then, that are not in `untold`
        self._troubles: dict[str, tuple[int, str]] = {}  # kind -> how often, and the first day
        self.awaits_first = True  #: no order has been sent yet, and why is not told
        self._to_nothing: list[str] = []  # why, of each bar on which every order came to nothing
        self.is_told = False  #: why nothing is sent at present

    @cached_property
    def counts_itself(self) -> bool:
        """Whether the account's positions are not this strategy's alone; known when the first order may be sent."""
        return len(self._strategy.cerebro.runningstrats) > 1

    @cached_property
    def is_simulated(self) -> bool:
        """Whether the broker is Backtrader's simulated one, to which orders may be sent on any bar."""
        return isinstance(self._strategy.broker, bt.brokers.BackBroker)

    def are_live(self) -> bool:
        """Whether every feed is LIVE; asked on each bar to be traded at a broker that is not simulated.

        A feed that is no live one (`islive`) has no status: it is what there is.
        """
        sources = [_source(feed) for feed in self._feeds]
        waits = [i for i, source in enumerate(sources) if source.islive() and source._laststatus != source.LIVE]
        if waits and not self.is_told:
            status = sources[waits[0]]._getstatusname(sources[waits[0]]._laststatus)
            self._warn(f"{self.name(waits[0])} is {status}: bars are read, and no order is sent until all are LIVE")
        self.is_told = bool(waits)
        return not waits

    def add(self, column: int, order: Framework, position: float) -> None:
        """Count this order from now on; None is a refusal. `position` is the account's before it."""
        self.awaits_first = False
        if order is None:
            self._trouble("refused", f"{self.name(column)}: an order was refused")
        else:
            self.open[column].append(_Sent(order, self._clocks[column].lencount))
            self._seen[column] = position

    def size(self, column: int, position: float) -> float:
        """Signed shares held and under way; `position` is the account's."""
        still = [sent for sent in self.open[column] if self._is_open(column, sent)]
        if not (self.is_simulated or self.counts_itself):
            still = self._unsettled(column, position, still)
        self.open[column] = still
        total = self._settled[column] if self.counts_itself else position
        for sent in still:
            done = sent.order.executed
            left = 0.0 if sent.is_given_up else float(done.remsize) - sent.untold
            total += (float(done.size) if self.counts_itself else 0.0) + left
        return total

    def _unsettled(self, column: int, position: float, still: list[_Sent]) -> list[_Sent]:
        """Orders without those that the position holds already, though the broker did not say so."""
        moved = position - self._seen[column] - self._told[column]
        self._seen[column], self._told[column] = position, 0.0
        for sent in still:
            least, most = sorted((-sent.untold, sent.order.executed.remsize - sent.untold))
            part = min(max(moved, least), most)
            sent.untold, moved = sent.untold + part, moved - part
        return [sent for sent in still if sent.order.executed.remsize != sent.untold]

    def _is_open(self, column: int, sent: _Sent) -> bool:
        """Look what became of an order; give up one that nothing comes of."""
        order, done = sent.order, float(sent.order.executed.size)
        self._told[column] += done - sent.told
        sent.told = done
        if not order.alive():
            self._settled[column] += done
            self._told[column] -= sent.untold
            if order.status != order.Completed and not sent.is_given_up:
                said = f"{self.name(column)}: an order of {order.size:+g} was refused ({order.getstatusname()})"
                self._trouble("refused", f"{said}; what is still wanted is sent again")
            return False
        left, bar = order.executed.remsize - sent.untold, self._clocks[column].lencount
        if left != sent.left:
            sent.left, sent.bar = left, bar
        elif bar - sent.bar >= PATIENCE_BARS and not sent.is_given_up:
            sent.is_given_up = True
            said = (
                f"nothing was filled of an order of {order.size:+g} on {PATIENCE_BARS} bars ({order.getstatusname()})"
            )
            fate = "cancelled"
            try:
                self._strategy.cancel(order)
            except NotImplementedError:  # Backtrader's base class, of a broker that has no cancelling
                fate = "left, for the broker cannot cancel it"
            self._trouble("given up", f"{self.name(column)}: {said}; it is {fate}, and the broker's position counts")
        return True

    def came_to_nothing(self, why: str) -> None:
        """Note a bar on which something was wanted, and every order came to nothing."""
        self._to_nothing.append(why)
        if len(self._to_nothing) == FIRST_BARS:
            self.awaits_first = False
            self._tell_nothing()

    def _tell_nothing(self) -> None:
        n = len(self._to_nothing)
        self._warn(f"every order of the first {n} bars to trade comes to nothing: {self._to_nothing[-1]}")

    def end(self) -> None:
        """Tell what was not told yet; at the end of a run."""
        for column, orders in enumerate(self.open):
            for sent in orders:
                if not sent.order.alive():
                    self._is_open(column, sent)
        for kind, (count, first) in self._troubles.items():
            if count > 1:
                self._warn(f"{count} orders were {kind}, the first on {first}")
        if self.awaits_first and self._to_nothing:
            self._tell_nothing()

    def _trouble(self, kind: str, text: str) -> None:
        now = f"{self._strategy.datetime.datetime(0)}"
        count, first = self._troubles.get(kind, (0, now))
        self._troubles[kind] = count + 1, first
        if not count:
            self._warn(text)

    def _warn(self, text: str) -> None:
        on = self._strategy.datetime.datetime(0)
        warnings.warn(f"{type(self._strategy).__name__}, {on}: {text}", OrderWarning, stacklevel=2)

    def name(self, column: int) -> str:
        """What a feed is called."""
        feed = self._feeds[column]
        return str(feed._name or f"data{feed._id - 1}")


def _source(feed: Framework) -> Framework:
    """The feed that a store tells of: behind a copy, or in a chain of contracts."""
    while True:
        inner = feed.data if feed._clone else getattr(feed, "_d", None)
        if inner is None:
            return feed
        feed = inner
