"""The event path: our feed against PandasData, and the whole hybrid against a Backtrader that does nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import backtrader as bt

from benchmarks.measure import Row, at_least, at_most, medians
from benchmarks.panels import START_CASH, pandas_feeds, random_panel, us20_pairs
from hybrid_bt.bars import Bars

__all__ = ["feeds", "hybrid"]

FEED_BOUNDS = {2: 10.0, 30: 25.0}
OURS_BOUNDS = {2: 0.6, 20: 1.0}
OUT_OF_SAMPLE = 5_043  #: row of us20 behind the shipped policies' training span (2010-01-04)
WARM_UP = 300


class Idle(bt.Strategy):
    """Does nothing on every bar: the yardstick."""

    def next(self) -> None:
        pass


def run_idle(feeds: Sequence[Any]) -> float:
    """Final equity of a strategy that does nothing."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(START_CASH)
    for feed in feeds:
        cerebro.adddata(feed, name=feed._name)
    cerebro.addstrategy(Idle)
    cerebro.run()
    return float(cerebro.broker.getvalue())


def run_hybrid(feeds: Sequence[Any], pairs: Sequence[str], policies: Any, ahead: bool) -> float:
    """Final equity of the stable mode, trading from the first bar that it may; opinions made ahead or bar by bar."""
    from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(START_CASH)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission(spread_bps=2.0, fee_bps=2.0, borrow_bps_per_year=50.0))
    for feed in feeds:
        cerebro.adddata(feed, name=feed._name)
    cerebro.addstrategy(HybridStrategy, mode="stable", pairs=pairs, policies=policies, compiled=ahead)
    cerebro.run()
    return float(cerebro.broker.getvalue())


def feeds(quick: bool) -> list[Row]:
    """Empty strategy, ArrayFeed against PandasData."""
    from hybrid_bt.feeds import to_feeds

    rows = []
    for n_symbols, bound in FEED_BOUNDS.items():
        bars = random_panel(500 if quick else 2_000, n_symbols)
        cost = medians(
            {"array": lambda b=bars: run_idle(to_feeds(b)), "pandas": lambda b=bars: run_idle(pandas_feeds(b))},
            3 if quick else 5,
        )
        micro = 1e6 / bars.n_bars
        rows.append(
            Row(
                f"ArrayFeed, empty strategy, {n_symbols} feeds",
                "us/bar",
                cost["array"] * micro,
                "PandasData",
                cost["pandas"] * micro,
                at_least(bound),
            )
        )
    return rows


def stretch(n_symbols: int, quick: bool) -> tuple[Bars, tuple[str, ...]]:
    """us20 with enough bars before the training span's end to warm up on, and the bars behind it."""
    from hybrid_bt.feeds import load_bars

    symbols, pairs = us20_pairs(n_symbols)
    bars = load_bars("us20", symbols=symbols)
    last = OUT_OF_SAMPLE + 150 if quick else bars.n_bars - 1
    return bars.between(bars.stamps[OUT_OF_SAMPLE - WARM_UP], bars.stamps[last]), pairs


def hybrid(quick: bool) -> list[Row]:
    """HybridStrategy, all parts on, against stock Backtrader with PandasData and an empty `next`."""
    from hybrid_bt.config import load_config
    from hybrid_bt.config.build import load_policies
    from hybrid_bt.feeds import to_feeds

    policies = load_policies(load_config("stable"))
    loaded = "numba loaded" if importlib.util.find_spec("numba") is not None else "no numba"
    rows = []
    for n_symbols in (2, 20):
        bars, pairs = stretch(n_symbols, quick)
        equity: dict[str, float] = {}

        def traded(name: str, make: Any, early: bool, bars: Bars = bars, pairs: Any = pairs) -> None:
            equity[name] = run_hybrid(make(bars), pairs, policies, early)  # noqa: B023  used within the round only

        traded("ours", to_feeds, True)  # loads numba and its kernels
        cost = medians(
            {
                "stock": lambda b=bars: run_idle(pandas_feeds(b)),
                "ours": lambda run=traded: run("ours", to_feeds, True),
                "pandas": lambda run=traded: run("pandas", pandas_feeds, True),
                "by bar": lambda run=traded: run("by bar", to_feeds, False),
            },
            3,
        )
        if len(set(equity.values())) != 1:
            raise AssertionError(f"feeds or ways disagree: {equity}")
        micro = 1e6 / bars.n_bars
        for name, feed, limit in (("ours", "our feed", OURS_BOUNDS[n_symbols]), ("pandas", "PandasData", 2.0)):
            what = f"HybridStrategy, {feed}, {n_symbols} feeds"
            idle = "PandasData, empty next"
            note = f"{loaded}; bar by bar {cost['by bar'] * micro:.0f} us" if name == "ours" else ""
            rows.append(Row(what, "us/bar", cost[name] * micro, idle, cost["stock"] * micro, at_most(limit), note))
    return rows
