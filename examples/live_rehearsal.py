"""A rehearsal of live trading: history first, then bars that arrive late and one symbol after another.

Backtrader takes these feeds for live ones: no preload, no runonce, `None` while there is no bar, DELAYED while history
is caught up with, LIVE from then on, DISCONNECTED at the end. The clock counts how often the feeds were asked, so a
rehearsal takes no longer than a backtest and two of them are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from hybrid_bt import Bars, HybridStrategy, load_bars
from hybrid_bt.feeds.framework import bt
from hybrid_bt.feeds.lines import FIELDS, date_numbers

Message: TypeAlias = tuple[str, tuple[object, ...], dict[str, object]]  #: text, and arguments for `notify_store`


class RehearsalStore:
    """Hands out the bars of a panel when their time has come.

    Parameters
    ----------
    bars : Bars
    latency : int
        A bar arrives up to so many rounds of questions after the first of its row; drawn anew for each bar.
    history : int
        Rows that are there from the beginning, as DELAYED bars.
    seed : int
    outages : sequence of (first, last)
        Rows for which the connection was lost: their bars are DELAYED too, and the one behind them is LIVE again.
    """

    def __init__(
        self,
        bars: Bars,
        latency: int = 3,
        history: int = 0,
        seed: int = 0,
        outages: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.bars, self.history, self.outages = bars, history, outages
        self._messages: deque[Message] = deque()
        rounds = np.random.default_rng(seed).integers(0, latency + 1, bars.close.shape)
        rows = np.maximum(np.arange(bars.n_bars) - history, 0)[:, None]
        # the next row comes after the latest bar of this one, as tomorrow comes after today
        live = history + rows * (latency + 2) + rounds
        self._due = np.where(rows == 0, 0, live) * bars.n_symbols
        self._clock = 0

    def feeds(self) -> list[RehearsalFeed]:
        """One feed per symbol, named after it."""
        return [RehearsalFeed(store=self, column=i, name=name) for i, name in enumerate(self.bars.symbols)]

    def start(self) -> None:
        """Called by Cerebro if the store was added to it (`cerebro.addstore`)."""
        self._clock = 0
        self._messages.append(("rehearsal began", (), {}))

    def stop(self) -> None:
        """Called by Cerebro."""

    def get_notifications(self) -> list[Message]:
        """Messages for `notify_store`."""
        found, self._messages = list(self._messages), deque()
        return found

    def is_due(self, row: int, column: int) -> bool:
        """Whether the bar has arrived; every question lets time pass."""
        self._clock += 1
        return bool(self._clock >= self._due[row, column])

    def is_live(self, row: int) -> bool:
        """Whether a row is neither history nor filled in later."""
        return row >= self.history and not any(first <= row <= last for first, last in self.outages)

    def has_arrived(self, row: int, column: int) -> bool:
        """The same, while time stands still."""
        return bool(self._clock >= self._due[row, column])


class RehearsalFeed(bt.feed.DataBase):
    """One symbol of a `RehearsalStore`; make them with its `feeds`."""

    params = (("store", None), ("column", 0), ("qcheck", 0.0))

    _name: str

    def start(self) -> None:
        super().start()
        bars = self.p.store.bars
        self._rows = np.flatnonzero(bars.traded[:, self.p.column]).tolist()
        self._numbers = date_numbers(bars.stamps)
        self._next = 0
        self.put_notification(self.DELAYED if self.p.store.history else self.LIVE)

    def islive(self) -> bool:
        return True

    def haslivedata(self) -> bool:
        return self._next < len(self._rows) and self.p.store.has_arrived(self._rows[self._next], self.p.column)

    def _load(self) -> bool | None:
        if self._next >= len(self._rows):
            self.put_notification(self.DISCONNECTED)
            return False
        row, column = self._rows[self._next], self.p.column
        if not self.p.store.is_due(row, column):
            return None
        if self.p.store.is_live(row):
            self.put_notification(self.LIVE)
        elif self._laststatus == self.LIVE:
            self.put_notification(self.CONNBROKEN)
            self.put_notification(self.DELAYED)
        bars, lines = self.p.store.bars, self.lines
        lines.datetime[0] = self._numbers[row]
        for name in FIELDS:
            getattr(lines, name)[0] = float(getattr(bars, name)[row, column])
        lines.openinterest[0] = 0.0
        self._next += 1
        return True


class Live(HybridStrategy):
    def notify_data(self, data, status, *args, **kwargs):
        print(f"{data._name}: {data._getstatusname(status)}")


if __name__ == "__main__":
    bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")
    store = RehearsalStore(bars, latency=3, history=900)
    cerebro = bt.Cerebro()
    cerebro.addstore(store)
    for feed in store.feeds():
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(100_000)
    cerebro.addstrategy(Live, pairs="KO:PEP,CVX:XOM", record=True)
    (strategy,) = cerebro.run()
    print(f"{len(strategy)} calls of Backtrader, {len(strategy.recorder.decisions().target)} rows of {bars.n_bars}")
