"""A trace out of any Backtrader strategy, in every feed class and run mode, without a change to it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from hybrid_bt.bars import FIELDS, Bars
from hybrid_bt.evidence.audit.trace import Column, Known, Moved, OrderRow, Trace, columns_of, filled_at_once, numbers_of
from hybrid_bt.feeds import to_feeds
from hybrid_bt.feeds.framework import Framework, bt

Fill: TypeAlias = Callable[[Framework, Bars], None]  #: puts a strategy into a Cerebro
Read: TypeAlias = Callable[[], float]


class RunMode(NamedTuple):
    """How Cerebro runs."""

    runonce: bool = True
    preload: bool = True
    exactbars: int = 0  #: 0 keeps everything, 1 as little as possible

    def __str__(self) -> str:
        return f"runonce={self.runonce} preload={self.preload} exactbars={self.exactbars}"


DEFAULT = RunMode()  #: Backtrader's own
RUN_MODES = tuple(RunMode(*values) for values in product((True, False), (True, False), (0, 1, -1, -2)))


def pandas_feeds(bars: Bars) -> Iterator[Framework]:
    """Backtrader's PandasData; bars on which a symbol did not trade are left out."""
    for i, symbol in enumerate(bars.symbols):
        rows = bars.traded[:, i]
        prices = {name: getattr(bars, name)[rows, i] for name in FIELDS}
        frame = pd.DataFrame(prices, index=pd.DatetimeIndex(bars.stamps[rows]))
        yield bt.feeds.PandasData(dataname=frame, name=symbol)


FEEDS: dict[str, Callable[[Bars], Iterable[Framework]]] = {"ArrayFeed": to_feeds, "PandasData": pandas_feeds}


def run(
    fill: Fill, bars: Bars, mode: RunMode = DEFAULT, feed: str = "ArrayFeed", *, cash: float = 1e6, own: bool = False
) -> Trace:
    """Trace of one run; an exception of the strategy ends it and stands in the trace.

    Parameters
    ----------
    fill : callable
        `fill(cerebro, bars)` adds the strategy, and whatever it needs beside the feeds of `bars`.
    own : bool
        Of this package: an exception is a bug and is not caught.
    """
    cerebro = bt.Cerebro(**mode._asdict(), stdstats=not own)  # Backtrader's observers repeat what the probe reads
    cerebro.broker.setcash(cash)
    for data in FEEDS[feed](bars):
        cerebro.adddata(data, name=data._name)
    sink: list[Probe] = []
    cerebro.addanalyzer(Probe, sink=sink, own=own)
    fill(cerebro, bars)
    error = ""
    try:
        cerebro.run()
    except (Exception, SystemExit) as raised:  # a stranger's strategy may raise anything, and where it does is evidence
        if own:
            raise
        error = f"raised {type(raised).__name__}: {raised}"
    return sink[0].trace(error) if sink else Trace((), np.empty((0, 0)), np.empty(0, "M8[ns]"), error=error or "no bar")


class Probe(bt.Analyzer):
    """Records, when a bar is wholly over, every line that the strategy can reach, its orders and its account.

    Lines: of the feeds, of the strategy itself, of its indicators and theirs in turn, and of observers. The probe
    appends itself to `sink`, a list, so that what it saw survives an exception.
    """

    params = (("sink", None), ("own", False))

    def start(self) -> None:
        self.p.sink.append(self)
        self._columns: tuple[Column, ...] = ()
        self._readers: list[Read] = []
        self._values, self._stamps = array("d"), list[np.datetime64]()
        self._orders: list[OrderRow] = []
        self._same_bar: list[Moved] = []
        self._refs: set[int] = set()
        self._seen = 0  # of the broker's orders
        # market orders that are alive, with row and close of the decision, and executions seen
        self._open: list[tuple[Framework, int, float, int]] = []
        self._first: int | None = None
        self._names = {id(feed): feed._name or f"data{i}" for i, feed in enumerate(self.strategy.datas)}
        self._laid_open: Callable[[], list[Known]] = getattr(self.strategy, "laid_open", list)
        # Bars end with the observers, which run after all analyzers.
        finish = self.strategy._next_observers

        def finish_and_read(*given: object, **named: object) -> None:
            finish(*given, **named)
            self._read()

        self.strategy._next_observers = finish_and_read

    def next(self) -> None:
        if self._first is None:
            self._first = len(self._stamps)

    def prenext(self) -> None:
        pass

    def trace(self, error: str) -> Trace:
        """What has been seen, and what ended it."""
        stamps = np.array(self._stamps, dtype="M8[ns]")
        values = np.array(self._values).reshape(len(stamps), len(self._columns))
        first = len(stamps) if self._first is None else self._first
        unfinished = any(feed.resampling or feed.replaying for feed in self.strategy.datas)
        return Trace(self._columns, values, stamps, self._orders, first, self._same_bar, unfinished, error)

    def _read(self) -> None:
        known = self._laid_open()
        if not self._columns:
            found = list(self._reachable())
            self._columns = (*(column for column, _ in found), *columns_of(known))
            self._readers = [read for _, read in found]
        self._stamps.append(np.datetime64(bt.num2date(self.strategy.datetime[0]), "ns"))
        self._values.extend(float(read()) for read in self._readers)
        self._values.extend(numbers_of(known))
        self._note_fills()
        self._note_orders()

    def _reachable(self) -> Iterator[tuple[Column, Read]]:
        """Every number and its reader."""
        strategy, broker = self.strategy, self.strategy.broker
        for feed in strategy.datas:
            for name in FIELDS:
                yield Column(f"data {name}", self._name(feed)), partial(_now, getattr(feed.lines, name))
        for name, owner, read in self._reachable_lines():
            yield Column(name, owner, not self.p.own), read
        for feed in strategy.datas:
            yield Column("position", self._name(feed)), partial(self._position, feed)
        yield Column("cash", "-"), broker.getcash
        yield Column("value", "-"), broker.getvalue

    def _reachable_lines(self) -> Iterator[tuple[str, str, Read]]:
        """(quantity, symbol, reader) of the strategy's own lines, its indicators' and its observers'."""
        strategy = self.strategy
        for alias, line in _lines(strategy):
            if alias != "datetime":
                yield f"line {alias}", "-", partial(_now, line)
        # With runonce an indicator of an indicator holds all its values at once and is never moved: read it by index.
        by_index = strategy.cerebro._dorunonce and strategy.cerebro._dopreload
        for path, indicator in _indicators(strategy, {id(value): key for key, value in vars(strategy).items()}, set()):
            clock = self._clock_of(indicator)
            for alias, line in _lines(indicator):
                read = partial(_at, line, clock) if by_index else partial(_now, line)
                yield f"{path}.{alias}", self._name(clock), read
        for observer in strategy.getobservers():
            for alias, line in _lines(observer):
                yield f"observer {type(observer).__name__}.{alias}", "-", partial(_now, line)

    def _name(self, feed: Framework) -> str:
        return self._names.get(id(feed), "data")

    def _position(self, feed: Framework) -> float:
        """`getposition` would touch the positions, and with that the order of the broker's sums."""
        positions = self.strategy.broker.positions
        return positions[feed].size if feed in positions else 0.0

    def _clock_of(self, indicator: Framework) -> Framework:
        """The feed that an indicator ticks with."""
        feeds, clock = self.strategy.datas, indicator
        feed_of = {id(owner): feed for feed in feeds for owner in (feed, *feed.lines.lines)}
        while clock is not None and id(clock) not in feed_of:
            clock = getattr(clock, "_clock", None)
        return feed_of.get(id(clock), feeds[0])

    def _note_orders(self) -> None:
        broker = self.strategy.broker
        created = getattr(broker, "orders", [])
        for order in [*created[self._seen :], *getattr(broker, "pending", ())]:
            if order.ref not in self._refs:
                self._refs.add(order.ref)
                self._follow(order)
        self._seen = len(created)

    def _follow(self, order: Framework) -> None:
        made, market = order.created, order.exectype in (None, bt.Order.Market)
        price = math.nan if market or made.price is None else float(made.price)  # a market order's price is a note
        limit = math.nan if made.pricelimit is None else float(made.pricelimit)
        what = f"{'buy' if order.isbuy() else 'sell'} {order.ExecTypes[order.exectype or 0].lower()}"
        self._orders.append(OrderRow(self._stamps[-1], self._name(order.data), what, float(made.size), price, limit))
        if market:
            self._open.append((order, len(self._stamps) - 1, float(order.data.close[0]), 0))

    def _note_fills(self) -> None:
        """No market order may fill at the close that it was decided on."""
        row, still, told = len(self._stamps) - 1, [], getattr(self.strategy.broker.p, "coc", False)
        for order, decided, close, seen in self._open:
            opened, bits = float(order.data.open[0]), order.executed.exbits
            for price in [float(bit.price) for bit in bits][seen:]:
                if told or (row > decided and price == close != opened):
                    self._same_bar.append(filled_at_once(self._stamps[decided], self._name(order.data), price, opened))
            if order.alive():
                still.append((order, decided, close, len(bits)))
        self._open = still


def _indicators(
    owner: Framework, names: dict[int, str], seen: set[int], path: str = ""
) -> Iterator[tuple[str, Framework]]:
    """(path, indicator) of all that `owner` has, depth first; a name is the attribute that holds it."""
    for number, indicator in enumerate(owner._lineiterators[bt.LineIterator.IndType]):
        if id(indicator) in seen:
            continue
        seen.add(id(indicator))
        kind = type(indicator).__name__
        name = path + (f"{names[id(indicator)]} ({kind})" if id(indicator) in names else f"{kind}#{number}")
        yield name, indicator
        if hasattr(indicator, "_lineiterators"):
            yield from _indicators(indicator, names, seen, f"{name}/")


def _lines(owner: Framework) -> list[tuple[str, Framework]]:
    inner = owner.lines
    if isinstance(inner, list):  # an operation on lines is a line itself
        return [("value" if len(inner) == 1 else str(i), line) for i, line in enumerate(inner)]
    return list(zip(inner.getlinealiases(), inner.lines, strict=False))


def _now(line: Framework) -> float:
    """The line at this bar; NaN where it has none."""
    return line[0] if len(line) else math.nan


def _at(line: Framework, clock: Framework) -> float:
    """The line at the bar that its clock has come to."""
    index = len(clock) - 1
    return line.array[index] if 0 <= index < len(line.array) else math.nan
