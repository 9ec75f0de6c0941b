"""The account as Backtrader's broker keeps it: read as plain data, and put into a broker that has not traded yet.

Put back is all that later fills, interest and sums hang on: cash, positions with their average price and the day of
their last interest, in the order in which the broker adds them up, and the orders under way with the close that they
were decided on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from hybrid_bt.errors import StateError
from hybrid_bt.feeds.framework import bt


def is_fresh_simulator(broker: Any) -> bool:
    """Whether this is Backtrader's own broker and it has neither positions nor orders."""
    if not isinstance(broker, bt.brokers.BackBroker):
        return False
    return not (broker.pending or broker.submitted or any(p.size for p in broker.positions.values()))


def read_account(strategy: Any, symbols: Mapping[Any, str]) -> dict[str, Any]:
    """Cash, positions and this strategy's orders under way; of a broker that keeps its own account, none of them.

    Parameters
    ----------
    strategy : HybridStrategy
    symbols : mapping
        Feed -> symbol.
    """
    broker, ruined = strategy.broker, strategy.target_orders.ruined
    if not isinstance(broker, bt.brokers.BackBroker):
        return {"ruined": ruined}
    positions = [
        [
            symbols[feed],
            float(one.size),
            float(one.price),
            one.adjbase,
            _day(one),
            float(broker.d_credit.get(feed, 0.0)),
        ]
        for feed, one in broker.positions.items()
        if feed in symbols
    ]
    orders = [
        [symbols[order.data], float(order.executed.remsize), order.created.dt, float(order.created.price), checked]
        for checked, queue in ((False, broker.pending), (True, broker.submitted))
        for order in queue
        if order.owner is strategy and order.data in symbols
    ]
    return {
        "ruined": ruined,
        "cash": float(broker.getcash()),
        "fund_shares": float(broker.fundshares),
        "positions": positions,
        "orders": orders,
    }


def _day(position: Any) -> str | None:
    moment = getattr(position, "datetime", None)
    return moment.isoformat() if isinstance(moment, datetime) else None


def put_account(strategy: bt.Strategy, account: Mapping[str, Any], symbols: Mapping[Any, str]) -> None:
    """Put what `read_account` gave into a fresh simulator, at the bar that it was read on or one behind it.

    Raises
    ------
    StateError
        If a symbol that is held, or has an order under way, has had no bar yet: the broker could not value it.
    """
    broker = strategy.broker
    feeds = {symbol: feed for feed, symbol in symbols.items()}
    for symbol in [row[0] for row in account["positions"] if row[1]] + [row[0] for row in account["orders"]]:
        if not len(feeds[symbol]):
            raise StateError(
                f"state: {symbol} is held, but the data has no bar of it yet; begin the data at or before its last bar"
            )
    broker.cash, broker._fundshares = account["cash"], account["fund_shares"]
    broker.positions.clear()  # the broker adds up in this order
    for symbol, size, price, adjbase, day, credit in account["positions"]:
        if len(feeds[symbol]):
            _put_position(strategy, feeds[symbol], size, price, adjbase, day)
            broker.d_credit[feeds[symbol]] = credit
    for symbol, size, created, price, checked in account["orders"]:
        _put_order(strategy, feeds[symbol], size, created, price, checked)
    broker._get_value()


def _put_position(strategy: bt.Strategy, feed: Any, size: float, price: float, adjbase: Any, day: str | None) -> None:
    position = strategy.broker.positions[feed]
    position.size, position.price, position.price_orig, position.adjbase = size, price, price, adjbase
    position.datetime = datetime.fromisoformat(day) if day else None
    if size:
        # so that the trade that this position belongs to is known when it closes
        trade = bt.Trade(data=feed, historyon=strategy._tradehistoryon)
        opened: Any = SimpleNamespace(p=SimpleNamespace(simulated=False), ref=0)
        trade.update(opened, size, price, size * price, 0.0, 0.0, strategy.broker.getcommissioninfo(feed))
        strategy._trades[feed][0].append(trade)


def _put_order(strategy: bt.Strategy, feed: Any, size: float, created: float, price: float, checked: bool) -> None:
    trade = strategy.buy if size > 0.0 else strategy.sell
    order = trade(data=feed, size=abs(size), **({} if checked else {"_checksubmit": False}))
    order.created.dt = created
    order.created.price = order.created.pclose = order.created.pricelimit = price
