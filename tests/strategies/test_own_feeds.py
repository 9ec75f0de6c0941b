"""A hybrid beside other strategies: on feeds of its own nobody sees what it holds; on shared ones it says who does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import PAIRS, random_bars
from live_rehearsal import RehearsalStore
from strategy_cases import assert_same_decisions, cerebro_of, fills_of, ran

from hybrid_bt.analyzers import Ledger
from hybrid_bt.brain.legs.kalman import IdlePair
from hybrid_bt.errors import ConfigError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import FinRLStrategy, HybridStrategy

BARS = random_bars(330)
MODES: tuple[Any, ...] = ({}, {"runonce": False}, {"preload": False}, {"exactbars": 1}, {"exactbars": -1})


class Rule(bt.Strategy):
    """The textbook's rule on the first feed: in above the average, out below, by `self.position`."""

    params = (("by_name", False),)

    def __init__(self) -> None:
        self.average = bt.ind.SMA(self.data, period=10)
        self.fills: list[Any] = []

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.fills.append((order.executed.dt, order.executed.size, order.executed.price))

    def next(self) -> None:
        feed = self.getdatabyname("AA") if self.p.by_name else self.data
        held = self.getposition(feed).size
        if not held and feed.close[0] > self.average[0]:
            self.order_target_size(feed, 100)
        elif held and feed.close[0] < self.average[0]:
            self.close(feed)


class Idle(bt.Strategy):
    """Trades nothing."""


def rule_alone(**modes: Any) -> Any:
    cerebro = cerebro_of(to_feeds(BARS), **modes)
    cerebro.addstrategy(Rule)
    return cerebro.run()[0].fills


def together(first: Any, second: Any, feeds: Any = None, **modes: Any) -> list[Any]:
    """Two strategies, each a class and its parameters, in this order."""
    cerebro = cerebro_of(to_feeds(BARS) if feeds is None else feeds, **modes)
    for kind, params in (first, second):
        cerebro.addstrategy(kind, **params)
    cerebro.addanalyzer(Ledger, _name="ledger")
    return cerebro.run()  # type: ignore[no-any-return]


HYBRID: dict[str, Any] = {"pairs": PAIRS, "record": True}
OWN = HYBRID | {"own_feeds": True}


@pytest.mark.parametrize("modes", MODES, ids=str)
@pytest.mark.parametrize("hybrid_first", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
def test_rule_beside_the_hybrid_trades_as_alone(modes: Any, hybrid_first: bool, by_name: bool) -> None:
    pair = (HybridStrategy, OWN), (Rule, {"by_name": by_name})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing is shared, so nothing is said
        warnings.simplefilter("ignore", IdlePair)  # a pair may well stay closed on so few bars
        found = together(*(pair if hybrid_first else pair[::-1]), **modes)
    hybrid, rule = found if hybrid_first else found[::-1]
    alone = rule_alone(**modes)
    assert rule.fills == alone and len(alone) > 20
    assert_same_decisions(hybrid, ran(cerebro_of(to_feeds(BARS))).recorder)
    hybrid.analyzers.ledger.flows()  # every fill, price and share of both accounts for the equity


def test_shared_feeds_are_named_with_who_shares_them() -> None:
    told = r"HybridStrategy and Rule share the feeds AA, BB, CC, DD.* give HybridStrategy own_feeds=True"
    with pytest.warns(UserWarning, match=told):
        hybrid, rule = together((HybridStrategy, HYBRID), (Rule, {}))
    assert rule.fills != rule_alone()  # what the warning is about
    assert hybrid.symbols == BARS.symbols
    with pytest.warns(UserWarning, match="share the feeds BB: "):
        together((Rule, {}), (HybridStrategy, HYBRID | {"symbols": ["BB"], "pairs": ()}))


@pytest.mark.parametrize("other", [(HybridStrategy, HYBRID | {"mode": "aggressive"}), (FinRLStrategy, {})])
def test_strategies_that_count_their_own_fills_are_no_such_company(other: Any) -> None:
    if other[0] is FinRLStrategy:
        other = FinRLStrategy, {"agent": lambda state: [0.0] * 4, "indicators": ()}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", IdlePair)  # a pair may well stay closed on so few bars
        together((HybridStrategy, HYBRID), other)


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_own_feeds_change_nothing_for_the_hybrid(modes: Any) -> None:
    holed = random_bars(330, missing=0.1, late=40, seed=2)
    alone = ran(cerebro_of(to_feeds(holed), **modes))
    paths = [alone.analyzers.ledger.path()]
    own = ran(cerebro_of(to_feeds(holed), **modes), own_feeds=True)
    beside = together((Idle, {}), (HybridStrategy, OWN), to_feeds(holed), **modes)[1]
    for found in (own, beside):
        assert_same_decisions(found, alone.recorder)
        paths.append(found.analyzers.ledger.path())
    for path in paths[1:]:
        assert path.fills == paths[0].fills and len(path.fills) > 50
        assert np.array_equal(path.equity, paths[0].equity) and np.array_equal(path.cash, paths[0].cash)


def test_costs_by_name_are_charged_on_own_feeds() -> None:
    def value(**params: Any) -> float:
        cerebro = cerebro_of(to_feeds(BARS))
        cerebro.broker.setcommission(commission=0.01, name="AA")
        return float(ran(cerebro, **params).broker.getvalue())

    assert value(own_feeds=True) == value() < ran(cerebro_of(to_feeds(BARS))).broker.getvalue()


def test_positions_are_the_hybrids_own_by_every_name() -> None:
    class Asking(HybridStrategy):
        def __init__(self) -> None:
            super().__init__()
            self.average = bt.ind.SMA(self.data1, period=5)  # an indicator may hang on a feed of its own
            self.seen: list[Any] = []

        def next(self) -> None:
            super().next()
            named = self.getdatabyname("BB"), self.dnames.BB, self.data1, self.datas[1], self.feeds[1]
            self.seen.append({self.getposition(feed).size for feed in named} | {self.getpositionbyname("BB").size})

    class Holder(bt.Strategy):
        def next(self) -> None:
            if len(self) == 2:
                self.buy(self.datas[1], size=77.7)

    asking, holder = together((Asking, OWN), (Holder, {}))
    assert all(len(sizes) == 1 for sizes in asking.seen) and len(set.union(*asking.seen)) > 5
    assert holder.getposition(holder.data1).size == 77.7 not in set.union(*asking.seen)
    assert asking.analyzers.ledger.symbols == tuple(f"{name}#{i}" for i, name in enumerate(BARS.symbols * 2))


def test_observers_and_analyzers_of_the_hybrid_see_its_trades() -> None:
    cerebro = cerebro_of(to_feeds(BARS), stdstats=True)
    cerebro.addstrategy(HybridStrategy, **OWN)
    cerebro.addstrategy(Rule)
    cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
    hybrid, rule = cerebro.run()
    bought = [np.array(one.observers.buysell[0].lines.buy.array) for one in (hybrid, rule)]
    assert [np.isfinite(line).sum() for line in bought][1] == sum(size > 0 for _, size, _ in rule.fills)
    assert np.isfinite(bought[0]).any()
    assert rule.analyzers.trades.get_analysis().total.closed == len(rule.fills) // 2


def test_resampled_and_replayed_feeds_have_twins() -> None:
    def weekly(*strategies: Any, **modes: Any) -> Any:
        cerebro = cerebro_of(to_feeds(BARS), **modes)
        cerebro.resampledata(cerebro.datas[0], timeframe=bt.TimeFrame.Weeks, name="WEEK")
        for kind, params in strategies:
            cerebro.addstrategy(kind, **params)
        return cerebro.run()

    def replayed(*strategies: Any) -> Any:
        cerebro = bt.Cerebro(stdstats=False)
        for feed in to_feeds(random_bars(700)):
            cerebro.replaydata(feed, timeframe=bt.TimeFrame.Days, compression=2, name=feed._name)
        cerebro.broker.setcash(1_000_000.0)
        for kind, params in strategies:
            cerebro.addstrategy(kind, **params)
        return cerebro.run()

    for play, params in ((weekly, {"symbols": BARS.symbols}), (replayed, {})):
        hybrid, rule = play((HybridStrategy, OWN | params), (Rule, {}))
        (alone,), (rule_only,) = play((HybridStrategy, HYBRID | params)), play((Rule, {}))
        assert_same_decisions(hybrid, alone.recorder)
        assert rule.fills == rule_only.fills and len(rule.fills) > 5


def test_live_feeds_have_twins() -> None:
    def live(*strategies: Any) -> Any:
        store = RehearsalStore(BARS, latency=2, history=100)
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.addstore(store)
        for feed in store.feeds():
            cerebro.adddata(feed, name=feed._name)
        cerebro.broker.setcash(1_000_000.0)
        for kind, params in strategies:
            cerebro.addstrategy(kind, **params)
        return cerebro.run()

    hybrid, rule = live((HybridStrategy, OWN), (Rule, {}))
    (alone,) = live((Rule, {}))
    assert rule.fills == alone.fills and len(rule.fills) > 20
    assert_same_decisions(hybrid, ran(cerebro_of(to_feeds(BARS))).recorder)


def test_run_with_a_state_goes_on_beside_the_rule(tmp_path: Path) -> None:
    state = OWN | {"state": tmp_path / "state.json"}
    together((HybridStrategy, state), (Rule, {}), to_feeds(BARS.between(end=BARS.stamps[299])))
    resumed, rule = together((HybridStrategy, state), (Rule, {}))
    whole, other = together((HybridStrategy, OWN), (Rule, {}))
    assert resumed.resumed_after and rule.fills == other.fills
    assert fills_of(resumed) == fills_of(whole)
    assert np.array_equal(resumed.recorder.decisions().target, whole.recorder.decisions().target)


@pytest.mark.parametrize("maxcpus", [1, 2])
def test_optimisation_on_own_feeds(maxcpus: int) -> None:
    cerebro = cerebro_of(to_feeds(BARS), optreturn=False)
    cerebro.optstrategy(HybridStrategy, pairs="AA:BB,CC:AA", mode=["stable", "aggressive"], own_feeds=True, record=True)
    for (found,) in cerebro.run(maxcpus=maxcpus):
        alone = ran(cerebro_of(to_feeds(BARS)), mode=found.p.mode)
        assert_same_decisions(found, alone.recorder)


def test_own_feeds_are_refused_where_positions_are_not_kept_by_feed() -> None:
    class Account(bt.brokers.BackBroker.__base__):  # type: ignore[misc]
        """A broker with an account elsewhere."""

        def getcash(self) -> float:
            return 1e6

        getvalue = getcash

    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.setbroker(Account())
    with pytest.raises(ConfigError, match="own_feeds: Account keeps the positions of an account by asset"):
        ran(cerebro, own_feeds=True)
    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.datas[0].compensate(cerebro.datas[1])
    with pytest.raises(ConfigError, match="own_feeds: orders on 'AA' change the position of another feed"):
        ran(cerebro, own_feeds=True)
