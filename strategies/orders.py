"""From targets to orders, the way the accounting twin does it: all that bit parity asks of a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import backtrader as bt

from hybrid_bt.accounting import OrderRules, checked_rules, order_size, submission_order
from hybrid_bt.strategies.market_order import market_order, sends_plainly

__all__ = ["TargetOrders"]


class TargetOrders:
    """Sends a strategy's targets to Backtrader's broker exactly as `hybrid_bt.accounting.send_orders` does.

    Call `send` once on every bar from the first decision on, in `prenext` too, and leave the trading of these feeds
    to it. The four rules are listed in `hybrid_bt.accounting`.

    Parameters
    ----------
    strategy : bt.Strategy
        Its feeds, in order, are the symbols.
    rules : OrderRules

    Attributes
    ----------
    ruined : bool
        True from the first `send` that met equity <= 0: everything is being closed and nothing opens again.
    """

    def __init__(self, strategy: bt.Strategy, rules: OrderRules) -> None:
        self.strategy = strategy
        self.rules = checked_rules(rules)
        self.ruined = False
        self._lengths = [0] * len(strategy.datas)
        self._light: bool | None = None  # whether orders may be made without Backtrader's machinery

    def delivered(self) -> list[bool]:
        """For each feed, whether it has a bar on this row; true until `send` or `skip` is called."""
        return [len(feed) > seen for feed, seen in zip(self.strategy.datas, self._lengths, strict=True)]

    def skip(self) -> None:
        """Let a bar before the first decision pass."""
        self._lengths = [len(feed) for feed in self.strategy.datas]

    def send(self, targets: Sequence[float]) -> list[Any]:
        """Trade toward `targets`, signed fractions of equity per feed (NaN keeps what is held).

        Returns
        -------
        list of bt.Order
            The orders sent, in the order of submission.
        """
        broker = self.strategy.broker
        equity = float(broker.getvalue())
        self.ruined = self.ruined or not equity > 0.0
        sizes = [0.0] * len(self._lengths)
        for i, feed in enumerate(self.strategy.datas):
            length = len(feed)
            if length > self._lengths[i]:
                self._lengths[i] = length
                held = float(
                    broker.getposition(feed).size
                )  # touches the position: fixes the order of the broker's sums
                target = 0.0 if self.ruined else float(targets[i])
                sizes[i] = order_size(target, equity, feed.close[0], held, self.rules)
        queue = [0] * len(sizes)
        return [self._order(i, sizes[i]) for i in queue[: submission_order(sizes, queue, 0)]]

    def _order(self, i: int, size: float) -> Any:
        if self._light is None:
            self._light = sends_plainly(self.strategy)
        if self._light:
            return market_order(self.strategy, self.strategy.datas[i], size, check=not self.ruined)
        trade = self.strategy.buy if size > 0.0 else self.strategy.sell
        unchecked = {"_checksubmit": False} if self.ruined else {}
        return trade(data=self.strategy.datas[i], size=abs(size), **unchecked)
