"""Going on from a state: the account as Backtrader's broker keeps it, as plain data, and put into a fresh broker.

Put back is all that later fills, interest and sums hang on: cash, positions with their average price and the day of
their last interest, in the order in which the broker adds them up, and the orders under way with the close that they
were decided on.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

from annotated_types import Predicate
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, create_model

from hybrid_bt.brain.journal import FIELDS, REVISED, Entry, Journal, Prices, compare, said
from hybrid_bt.config.own_parts import state_fit
from hybrid_bt.errors import StateError
from hybrid_bt.feeds.framework import Framework, bt

if TYPE_CHECKING:
    from hybrid_bt.strategies.hybrid import HybridStrategy


def is_fresh_simulator(broker: Framework) -> bool:
    """Whether this is Backtrader's own broker and it has neither positions nor orders."""
    if not isinstance(broker, bt.brokers.BackBroker):
        return False
    return not (broker.pending or broker.submitted or any(p.size for p in broker.positions.values()))


def is_lasting(strategy: HybridStrategy) -> bool:
    """Whether a bar could not be had again, so that its row has to be on the disk before the next one."""
    return not isinstance(strategy.broker, bt.brokers.BackBroker) or any(feed.islive() for feed in strategy.feeds)


def open_journal(strategy: HybridStrategy) -> Journal:
    """The journal of a strategy's state.

    Raises
    ------
    StateError
        If it is damaged, of another run, or in use.
    """
    path = Path(strategy.p.state)
    for other in strategy.cerebro.runningstrats:
        theirs = getattr(other.p, "state", None)
        if other is not strategy and theirs and os.path.realpath(theirs) == os.path.realpath(path):
            raise StateError(f"state: two strategies share {path}; name a file for each")
    return Journal(path, _fit(strategy), _schema(strategy.symbols))


def _schema(symbols: Collection[str]) -> TypeAdapter[object]:
    """Of what `read_account` gives."""
    symbol: object = Annotated[str, Predicate(symbols.__contains__)]
    number, only = (FiniteFloat, ...), ConfigDict(extra="forbid")
    positions: object = list[tuple[symbol, FiniteFloat, FiniteFloat, FiniteFloat | None, datetime | None, FiniteFloat]]  # type: ignore[valid-type]
    orders: object = list[tuple[symbol, FiniteFloat, FiniteFloat, FiniteFloat, bool]]  # type: ignore[valid-type]
    ruin = create_model("Ruin", __config__=only, ruined=(bool, ...))
    more: dict[str, Framework] = {"positions": (positions, ...), "orders": (orders, ...)}
    simulated = create_model("Account", __base__=ruin, cash=number, fund_shares=number, **more)
    either: object = simulated | ruin
    return TypeAdapter(either)  # type: ignore[arg-type]


def _fit(strategy: HybridStrategy) -> dict[str, object]:
    """What a state holds true for, by name."""
    p = strategy.p
    pairs = p.pairs if p.pairs == "auto" else strategy.pair_names
    with_news = p.news is not None
    return state_fit(strategy.config, strategy.policies, strategy.symbols, pairs, p.kalman_params, with_news) | {
        "trade_from": strategy.trade_from
    }


def goes_on(strategy: HybridStrategy, journal: Journal, stamp: float, closes: list[float]) -> bool:
    """Go through a bar that the state has once more; False for a new one, behind which it may have ended.

    Data from the first row on: targets go to the simulated broker again, so that orders, fills, analyzers and observers
    are those of an unbroken run. Data that begins later: a simulated broker that holds nothing gets the account of the
    last row. A broker with an account of its own keeps it: no order is ever sent to it twice.
    """
    if journal.is_over:
        return False
    if strategy.n_bars == 0:
        strategy.resends = stamp == journal.first and is_fresh_simulator(strategy.broker)
    row = strategy.session.recall(stamp, closes, strategy.advise)
    if row is not None:
        _compare_prices(strategy, row, read_prices(strategy, closes))
        if row.sent is not None and strategy.resends:
            strategy.target_orders.send(row.sent, strategy.session.together)
        if strategy.resends:
            remedy = "the broker's cash, costs or settings, or other prices than closes, have changed since"
            compare(stamp, "the account's", row.account, read_account(strategy), remedy)
    if journal.is_over and journal.last is not None:
        strategy.resumed_after = said(journal.last.stamp)
        if not strategy.resends:
            _take_over(strategy, journal, at_its_bar=row is not None)
    return row is not None


def _compare_prices(strategy: HybridStrategy, row: Entry, now: Prices) -> None:
    for place, field in enumerate(FIELDS if row.prices and now and row.prices != now else ()):
        before, after = (
            {symbol: one[place] for symbol, one in zip(strategy.symbols, prices, strict=True) if one}
            for prices in (row.prices or (), now or ())
        )
        compare(row.stamp, f"the {field} of", before, after, REVISED)


def _take_over(strategy: HybridStrategy, journal: Journal, *, at_its_bar: bool) -> None:
    """Go on from the last row: at the close of its bar, or on the first bar behind it, before it is decided on."""
    assert journal.last is not None
    account = journal.last.account
    broker = strategy.broker
    strategy.target_orders.ruined = account["ruined"]
    if strategy.target_orders.counts_itself:
        raise StateError(
            f"state: beside other strategies, or where orders fill in parts, {journal.path} can only be gone on from "
            f"with the whole data, from {said(journal.first)} on"
        )
    if "orders" in account and is_fresh_simulator(broker):
        _put_account(strategy, account)
        if not at_its_bar:
            broker.next()  # what it did on this bar so far, it did without the account
        for analyzer in strategy.analyzers:  # who noted the account of this bar before it was put in
            analyzer._notify_fund(broker.getcash(), broker.getvalue(), broker.fundvalue, broker.fundshares)


def read_account(strategy: HybridStrategy) -> dict[str, object]:
    """Cash, positions and this strategy's orders under way; of a broker that keeps its own account, none of them."""
    broker, ruined, symbols = strategy.broker, strategy.target_orders.ruined, strategy.symbol_of
    if not isinstance(broker, bt.brokers.BackBroker):
        return {"ruined": ruined}
    credits = broker.d_credit
    positions = [
        [symbols[feed], float(one.size), float(one.price), one.adjbase, _day(one), float(credits.get(feed, 0.0))]
        for feed, one in broker.positions.items()
        if feed in symbols
    ]
    orders = [
        [symbols[order.data], float(order.executed.remsize), order.created.dt, float(order.created.price), checked]
        for checked, queue in ((False, broker.pending), (True, broker.submitted))
        for order in queue
        if order.owner is strategy and order.data in symbols
    ]
    money = {"cash": float(broker.getcash()), "fund_shares": float(broker.fundshares)}
    return {"ruined": ruined, **money, "positions": positions, "orders": orders}


def read_prices(strategy: HybridStrategy, closes: list[float]) -> Prices:
    """What the bars of these closes hold besides; None where history need not be what a live feed sent, or grows."""
    if any(feed.islive() or feed.replaying for feed in strategy.feeds):
        return None
    came = zip(strategy.feeds, closes, strict=True)
    return [[float(getattr(feed, name)[0]) for name in FIELDS] if close == close else None for feed, close in came]


def _day(position: Framework) -> str | None:
    moment = getattr(position, "datetime", None)
    return moment.isoformat() if isinstance(moment, datetime) else None


def _put_account(strategy: HybridStrategy, account: Mapping[str, Framework]) -> None:
    """Put what `read_account` gave into a fresh simulator, at the bar that it was read on or one behind it.

    Raises
    ------
    StateError
        If a symbol that is held, or has an order under way, has had no bar yet: the broker could not value it.
    """
    broker = strategy.broker
    feeds = {symbol: feed for feed, symbol in strategy.symbol_of.items()}
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
        trade = strategy.buy if size > 0.0 else strategy.sell
        order = trade(data=feeds[symbol], size=abs(size), **({} if checked else {"_checksubmit": False}))
        order.created.dt = created
        order.created.price = order.created.pclose = order.created.pricelimit = price
    broker._get_value()


def _put_position(
    strategy: HybridStrategy, feed: Framework, size: float, price: float, adjbase: Framework, day: str | None
) -> None:
    position = strategy.broker.positions[feed]
    position.size, position.price, position.price_orig, position.adjbase = size, price, price, adjbase
    position.datetime = datetime.fromisoformat(day) if day else None
    if size:
        # so that the trade that this position belongs to is known when it closes
        trade = bt.Trade(data=feed, historyon=strategy._tradehistoryon)
        opened: Framework = SimpleNamespace(p=SimpleNamespace(simulated=False), ref=0)
        trade.update(opened, size, price, size * price, 0.0, 0.0, strategy.broker.getcommissioninfo(feed))
        strategy._trades[feed][0].append(trade)
