"""Reads a trace out of any Backtrader strategy, in every run mode, without a change to it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from hybrid_bt.audit.trace import Column, OrderRow, Trace
from hybrid_bt.strategies.framework import bt

OHLCV = ("open", "high", "low", "close", "volume")
MAX_SAME_BAR = 20  #: fills that are kept as examples


class Probe(bt.Analyzer):
    """Records, when a bar is wholly over, every line that the strategy can reach, its orders and its account.

    Lines: of the feeds, of the strategy itself, of its indicators and theirs in turn, and of observers.

    Parameters
    ----------
    sink : list, optional
        The probe appends itself, so that what it saw survives an exception.
    """

    params = (("sink", None),)

    def start(self) -> None:
        strategy = self.strategy
        if self.p.sink is not None:
            self.p.sink.append(self)
        self._readers: list[tuple[Any, Any]] = []
        self._columns: list[Column] = []
        self._values, self._stamps = array("d"), array("d")
        self._orders: list[OrderRow] = []
        self._same_bar: list[tuple[np.datetime64, str, str, str]] = []
        self._refs: set[int] = set()
        self._known = 0
        self._open: list[tuple[Any, int, float, int]] = []  # order, row and close of its decision, executions seen
        self._first = -1
        self._brain = getattr(strategy, "watched", None)
        # Bars end with the observers, which run after all analyzers.
        finish = strategy._next_observers

        def finish_and_read(*args: Any, **named: Any) -> None:
            finish(*args, **named)
            self._read()

        strategy._next_observers = finish_and_read

    def next(self) -> None:
        if self._first < 0:
            self._first = len(self._stamps)

    def prenext(self) -> None:
        pass

    def nextstart(self) -> None:
        self.next()

    def trace(self, error: Exception | None = None) -> Trace:
        """What has been seen."""
        stamps = np.array([bt.num2date(number) for number in self._stamps], dtype="M8[us]").astype("M8[ns]")
        values = np.array(self._values).reshape(len(stamps), len(self._columns))
        first = self._first if self._first >= 0 else len(stamps)
        said = "" if error is None else f"raised {type(error).__name__}: {error}"
        unfinished = any(feed.resampling or feed.replaying for feed in self.strategy.datas)
        return Trace(tuple(self._columns), values, stamps, self._orders, first, self._same_bar, unfinished, said)

    def _read(self) -> None:
        strategy, broker = self.strategy, self.strategy.broker
        if not self._columns:
            self._find_lines()
        self._stamps.append(strategy.datetime[0])
        values = [_value(line, clock) for line, clock in self._readers]
        # `getposition` would touch the positions, and with that the order of the broker's sums
        values += [float(broker.positions[feed].size) if feed in broker.positions else 0.0 for feed in strategy.datas]
        values += [float(broker.getcash()), float(broker.getvalue())]
        if self._brain is not None:
            values += self._brain.row
        self._values.extend(values)
        self._note_fills()
        self._note_orders()

    # --- lines ---

    def _find_lines(self) -> None:
        strategy = self.strategy
        # With runonce an indicator of an indicator holds all its values at once and is never moved: read it by index.
        by_index = bool(strategy.cerebro._dorunonce and strategy.cerebro._dopreload)
        self._feed_of = {id(line): feed for feed in strategy.datas for line in feed.lines.lines}
        for i, feed in enumerate(strategy.datas):
            for name in OHLCV:
                self._add(f"data {name}", feed._name or f"data{i}", getattr(feed.lines, name), None)
        for name in strategy.lines.getlinealiases():
            if name != "datetime":
                self._add(f"line {name}", "-", getattr(strategy.lines, name), None)
        names = {id(value): key for key, value in vars(strategy).items()}
        for path, indicator in _indicators(strategy, names):
            clock = self._clock_of(indicator)
            for alias, line in _lines(indicator):
                self._add(f"{path}.{alias}", _name(clock), line, clock if by_index else None)
        for observer in strategy.getobservers():
            for alias, line in _lines(observer):
                self._add(f"observer {type(observer).__name__}.{alias}", "-", line, None)
        self._columns += [Column("position", feed._name or f"data{i}") for i, feed in enumerate(strategy.datas)]
        self._columns += [Column("cash", "-"), Column("value", "-")]
        if self._brain is not None:
            self._columns += self._brain.columns()

    def _add(self, quantity: str, symbol: str, line: Any, clock: Any) -> None:
        self._columns.append(Column(quantity, symbol))
        self._readers.append((line, clock))

    def _clock_of(self, indicator: Any) -> Any:
        """The feed that an indicator ticks with."""
        clock = indicator
        while not isinstance(clock, bt.feed.AbstractDataBase):
            if id(clock) in self._feed_of:
                return self._feed_of[id(clock)]
            clock = getattr(clock, "_clock", None)
            if clock is None or clock is self.strategy:
                return self.strategy.datas[0]
        return clock

    # --- orders and fills ---

    def _note_orders(self) -> None:
        broker = self.strategy.broker
        created = getattr(broker, "orders", [])
        for order in [*created[self._known :], *getattr(broker, "pending", ())]:
            if order.ref not in self._refs:
                self._refs.add(order.ref)
                self._follow(order)
        self._known = len(created)

    def _follow(self, order: Any) -> None:
        stamp = _stamp(self._stamps[-1])
        made, side = order.created, "buy" if order.isbuy() else "sell"
        market = order.exectype in (None, bt.Order.Market)
        price = math.nan if market or made.price is None else float(made.price)  # a market order's price is a note
        limit = math.nan if made.pricelimit is None else float(made.pricelimit)
        kind = order.ExecTypes[order.exectype or 0].lower()
        self._orders.append(OrderRow(stamp, _name(order.data), f"{side} {kind}", float(made.size), price, limit))
        self._open.append((order, len(self._stamps) - 1, float(order.data.close[0]), 0))

    def _note_fills(self) -> None:
        row, still = len(self._stamps) - 1, []
        for order, decided, close, seen in self._open:
            for bit in islice(order.executed.exbits, seen, None):
                self._judge(order, decided, close, bit.price, row)
            if order.alive():
                still.append((order, decided, close, len(order.executed.exbits)))
        self._open = still

    def _judge(self, order: Any, decided: int, close: float, price: float, row: int) -> None:
        """A market order may not fill at the close that it was decided on."""
        opened = float(order.data.open[0])
        at_decision = row > decided and price == close and price != opened
        told = bool(getattr(self.strategy.broker.p, "coc", False))
        if order.exectype in (None, bt.Order.Market) and (at_decision or told) and len(self._same_bar) < MAX_SAME_BAR:
            self._same_bar.append((_stamp(self._stamps[decided]), _name(order.data), repr(float(price)), repr(opened)))


def _indicators(owner: Any, names: dict[int, str], path: str = "", seen: set[int] | None = None) -> Iterator[Any]:
    """(path, indicator) of all that `owner` has, depth first; a name is the attribute that holds it."""
    seen = set() if seen is None else seen
    for number, indicator in enumerate(owner._lineiterators[bt.LineIterator.IndType]):
        if id(indicator) in seen:
            continue
        seen.add(id(indicator))
        kind = type(indicator).__name__
        name = path + (f"{names[id(indicator)]} ({kind})" if id(indicator) in names else f"{kind}#{number}")
        yield name, indicator
        if hasattr(indicator, "_lineiterators"):
            yield from _indicators(indicator, names, f"{name}/", seen)


def _lines(owner: Any) -> list[tuple[str, Any]]:
    inner = owner.lines
    if isinstance(inner, list):  # an operation on lines is a line itself
        return [("value" if len(inner) == 1 else str(i), line) for i, line in enumerate(inner)]
    return list(zip(inner.getlinealiases(), inner.lines, strict=False))


def _value(line: Any, clock: Any) -> float:
    """The line at this bar; NaN where it has none."""
    if clock is not None:
        index = len(clock) - 1
        return float(line.array[index]) if 0 <= index < len(line.array) else math.nan
    return float(line[0]) if len(line) else math.nan


def _name(feed: Any) -> str:
    return getattr(feed, "_name", "") or "data"


def _stamp(number: float) -> np.datetime64:
    return np.datetime64(bt.num2date(number), "ns")
