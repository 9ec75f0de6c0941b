"""Accounts that are traded on few symbols, and a broker that does what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt import Bars, load_bars, load_config
from hybrid_bt.bars.market import Market
from hybrid_bt.config import Config, Overrides
from hybrid_bt.config.task import prepare
from hybrid_bt.trade.brokers import Place, open_broker
from hybrid_bt.trade.brokers.paper import PaperBroker
from hybrid_bt.trade.log import Log
from hybrid_bt.trade.trader import Plan, Step, Trader

SYMBOLS, PAIRS = ("KO", "PEP", "CVX", "XOM"), ("KO:PEP", "CVX:XOM")
START = date(2020, 1, 2)


def small(last: str = "2020-06-30", *, gaps: bool = False) -> Market:
    """Four symbols with a year to warm up and half a year to trade; with gaps, bars are missing here and there."""
    bars = load_bars("us20", symbols=list(SYMBOLS), end=last).between("2018-12-03", None)
    if gaps:
        absent = np.random.default_rng(3).random(bars.close.shape) < 0.06
        absent[:, 0] = False  # so that every row holds a price
        fields = ("open", "high", "low", "close", "volume")
        columns = {name: np.where(absent, np.nan, getattr(bars, name)) for name in fields}
        bars = Bars.checked("gaps", bars.symbols, bars.stamps, columns.pop("close"), **columns)
    return Market("small", bars, PAIRS)


def scaled(bars: Bars, symbol: str, factor: float, before: int | None = None) -> Bars:
    """All prices of a symbol multiplied; or those of the rows before one, as a split that was just adjusted for."""
    column, rows = bars.index_of(symbol), slice(None, before)
    prices = {}
    for name in ("open", "high", "low", "close"):
        prices[name] = getattr(bars, name).copy()
        prices[name][rows, column] *= factor
    return Bars(bars.name, bars.symbols, bars.stamps, volume=bars.volume, **prices)


class Odd:
    """A paper account whose methods can be replaced: `odd.submit = ...` stands before that of `paper`."""

    name = "odd"

    def __init__(self, paper: PaperBroker) -> None:
        self.paper = paper

    def __getattr__(self, name: str) -> Any:
        return getattr(self.paper, name)


class Desk:
    """One account in a folder, opened as often as wanted: a process after the other."""

    def __init__(self, home: Path, market: Market, mode: str = "stable", overrides: Overrides | None = None) -> None:
        self.home, self.market, self.mode = home, market, mode
        self.config: Config = load_config(mode, None, overrides)
        self.terms = self.config.account.cash, self.config.costs
        self.log = Log(None)
        self.prepared: Callable[[Odd], None] = lambda odd: None
        self.documents: Any = None  #: a `hybrid_bt.news.desk.Desk`

    @contextmanager
    def opened(self, until: str | None = None, *, walks: bool = False, bars: Bars | None = None) -> Iterator[Trader]:
        """As a process does, on bars up to a day."""
        bars = self.market.bars if bars is None else bars
        bars = bars if until is None else bars.between(None, until)
        market = Market("small", bars, self.market.pairs)
        first = None
        if walks:
            case = prepare(market, self.mode, config=self.config, start=START, fills_later=True)
            first = bars.stamps[case.row]
        place = Place(self.home / "s", lambda: bars, *self.terms, first, walks=walks)
        odd = Odd(open_broker("paper", place))  # type: ignore[arg-type]
        self.prepared(odd)
        self.log = Log(self.home / "s.log", pauses=(0.0, 0.0))
        try:
            plan = Plan(self.mode, self.config, market.bars.symbols, market.pairs)
            documents = self.documents
            reads = None if documents is None else lambda bars: documents.stage(bars.stamps, bars.n_bars)
            trader = Trader(odd, plan, self.home / "s", self.log, reads=reads, walks=walks)  # type: ignore[arg-type]
            try:
                yield trader
            finally:
                trader.close()
        finally:
            odd.paper.close()
            self.log.close()

    def step(self, until: str, bars: Bars | None = None) -> Step | None:
        """One evening."""
        with self.opened(until, bars=bars) as trader:
            return trader.step()

    def walk(self, until: str | None = None) -> tuple[list[Step], Trader]:
        """Through all bars, in one process."""
        steps = []
        with self.opened(until, walks=True) as trader:
            while True:
                step = trader.step()
                steps += [] if step is None else [step]
                if not trader.broker.walk():  # type: ignore[attr-defined]
                    return steps, trader

    def events(self) -> list[str]:
        """Alarms of the last process."""
        return [one["event"] for one in self.log.alarms]
