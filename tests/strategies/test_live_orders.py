"""Orders of every strategy: none on history, none for ever under way, none that come to nothing without a word."""

from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import PAIRS, random_bars
from live_cases import AllAtOnce, Elsewhere, Silent
from live_rehearsal import RehearsalStore
from strategy_cases import assert_same_decisions, cerebro_of

from hybrid_bt import strategies
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import BarsError, InSampleError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import AgentStrategy, FinRLStrategy, HybridStrategy, TargetOrders
from hybrid_bt.strategies.underway import FIRST_BARS, PATIENCE_BARS, OrderWarning

BARS = random_bars(400)
TRADED = 253  # the first row with features


class Swings(bt.Strategy):
    """A strategy of somebody's own that sends its targets by `TargetOrders`."""

    params = (("is_square", False), ("rules", OrderRules()))
    counts_own_fills = True

    def __init__(self) -> None:
        self.orders = TargetOrders(self, self.p.rules)
        self.underway = self.orders.underway
        self.wanted: dict[int, list[float]] = {}

    def next(self) -> None:
        row = len(self) - 1
        waves = [np.sin(row / 9.0 + i) for i in range(len(self.datas))]
        targets = [0.15 * (np.sign(wave) if self.p.is_square else wave) for wave in waves]
        self.wanted[row] = targets
        self.orders.send(targets)

    prenext = next

    def stop(self) -> None:
        self.underway.end()


def agent(state: Any) -> Any:
    return np.sin(np.arange(4) + state[1:5] * 3.0)


def swings(seen: Any) -> Any:
    return 0.15 * np.sin(np.arange(4) + 3.0 * seen[:4])


#: strategy -> its parameters; one for each that the package has, and one that uses its orders
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "HybridStrategy": (HybridStrategy, {"pairs": PAIRS}),
    "FinRLStrategy": (FinRLStrategy, {"agent": agent, "indicators": (), "hmax": 500}),
    "AgentStrategy": (AgentStrategy, {"agent": swings}),
    "TargetOrders": (Swings, {}),
}
LEARNT = {"trained_until": date(2009, 12, 31)}
TAUGHT = {"HybridStrategy": {}, "FinRLStrategy": LEARNT, "AgentStrategy": LEARNT}  #: that learnt until then


def test_every_strategy_that_sends_orders_is_here() -> None:
    ours = {name for name in strategies.__all__ if issubclass(getattr(strategies, name), bt.Strategy)}
    assert ours | {"TargetOrders"} == set(CASES) and set(TAUGHT) == ours


def live(name: str, store: Any, broker: Any = None, **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.addstore(store)
    for feed in store.feeds():
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    if broker is not None:
        cerebro.setbroker(broker)
    kind, more = CASES[name]
    cerebro.addstrategy(kind, **more | params)
    (strategy,) = cerebro.run()
    return strategy


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_sent_until_every_feed_is_live_and_after_a_reconnect_too(name: str) -> None:
    broker = Elsewhere()
    store = AllAtOnce(BARS, history=300, outages=[(330, 345), (360, 362)])
    with pytest.warns(
        OrderWarning, match="AA is DELAYED: bars are read, and no order is sent until all are LIVE"
    ) as told:
        live(name, store, broker)
    assert sum("DELAYED" in str(one.message) for one in told) == 3  # the history and two outages
    assert all(set(statuses) == {"LIVE"} for _, statuses in broker.sent)
    days = {bt.num2date(order.created.dt).date() for order, _ in broker.sent}
    rows = {int(np.searchsorted(BARS.stamps, np.datetime64(day))) for day in days}
    assert rows and min(rows) >= 300 and not rows & {*range(330, 346), *range(360, 363)}
    assert min(row for row in rows if row > 345) < 355  # and then it goes on


def test_history_warms_up_as_it_does_in_a_backtest_and_late_bars_of_one_feed_hold_back_all() -> None:
    broker = Elsewhere()

    store = RehearsalStore(BARS, latency=3, history=300)
    with pytest.warns(OrderWarning, match="no order is sent until all are LIVE"):
        strategy = live("HybridStrategy", store, broker, record=True)
    assert_same_decisions(strategy, backtest().recorder)
    assert broker.sent and all(set(statuses) == {"LIVE"} for _, statuses in broker.sent)
    assert strategy.first_traded_row == 300


def backtest(**params: Any) -> Any:
    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, record=True, **params)
    return cerebro.run()[0]


def test_a_run_that_is_gone_on_from_sends_nothing_on_what_was_missed(tmp_path: Path) -> None:
    kept, first, second = tmp_path / "state", Elsewhere(), Elsewhere()
    for store, broker in (
        (AllAtOnce(BARS.between(end=BARS.stamps[320]), history=300), first),
        (AllAtOnce(BARS, history=340), second),
    ):
        with pytest.warns(OrderWarning, match="is DELAYED"):
            strategy = live("HybridStrategy", store, broker, record=True, state=kept)
    assert_same_decisions(strategy, backtest().recorder)
    assert strategy.resumed_after.startswith(str(BARS.stamps[320])[:10])
    assert {len_at(order) > 340 for order, _ in second.sent} == {True} and first.sent


def test_a_feed_that_never_is_live_is_named_and_no_error() -> None:
    class Mute(AllAtOnce):
        def is_live(self, row: int) -> bool:
            return False

    for name in CASES:
        broker = Elsewhere()
        with pytest.warns(OrderWarning, match="AA is LIVE|AA is DELAYED|AA is CONNECTED"):
            live(name, Mute(BARS, history=10), broker)
        assert broker.sent == []


@pytest.mark.parametrize("name", CASES)
def test_the_simulated_broker_is_sent_orders_on_history_as_before(name: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*no order is sent")
        strategy = live(name, AllAtOnce(BARS, history=390), None)
    sent = [
        order for order in strategy.broker.orders if bt.num2date(order.created.dt) < BARS.stamps[380].astype("M8[us]")
    ]
    assert sent


def test_statuses_are_read_behind_copies_and_chains() -> None:
    statuses: list[str] = []

    class Watched(Swings):
        def next(self) -> None:
            super().next()
            statuses.append(self.data0._getstatusname(self.data0._laststatus))

    def run(chained: bool) -> Any:
        broker, store = Elsewhere(), AllAtOnce(BARS.select(["AA"]), history=300)
        (feed,) = store.feeds()
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.addstore(store)
        if chained:
            cerebro.chaindata(feed, name="chain")
        else:
            cerebro.adddata(feed, name="AA")
            cerebro.adddata(feed.clone(), name="copy")
        cerebro.setbroker(broker)
        cerebro.addstrategy(Watched)
        with pytest.warns(OrderWarning, match="is DELAYED"):
            cerebro.run()
        return [bt.num2date(order.created.dt) for order, _ in broker.sent]

    for chained in (False, True):
        sent = run(chained)
        assert sent and min(sent) >= BARS.stamps[300].astype("M8[us]").item()


# --- orders that the broker does not answer ---


class NoCancelling(Elsewhere):
    cancel = bt.broker.BrokerBase.cancel  # raises NotImplementedError


@pytest.mark.parametrize(("kind", "fate"), [(Elsewhere, "is cancelled"), (NoCancelling, "is left, for the broker")])
@pytest.mark.parametrize("name", CASES)
def test_an_order_that_is_never_answered_is_given_up(name: str, kind: Any, fate: str) -> None:
    swallowed: list[Any] = []

    def ear(order: Any) -> bool:
        if order.data._name == "BB" and len(order.data) > 290 and len(swallowed) < 2:
            swallowed.append(order)
            return False
        return True

    broker = kind(ear=ear)
    said = f"BB: nothing was filled of an order of .* on {PATIENCE_BARS} bars .*; it {fate}"
    with pytest.warns(OrderWarning, match=said) as told:
        live(name, AllAtOnce(BARS), broker)
    assert len(swallowed) == 2
    told_of = [str(one.message) for one in told if "filled" in str(one.message) or "given up" in str(one.message)]
    assert len(told_of) == 2 and "2 orders were given up, the first on 2011-" in told_of[1]
    bars = [len_at(order) for order, _ in broker.sent if order.data._name == "BB"]
    lost = len_at(swallowed[1])
    assert any(lost < bar <= lost + 12 for bar in bars)  # it is sent again


@pytest.mark.parametrize("answers", [0.0, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_what_the_position_holds_already_is_not_under_way(name: str, answers: float) -> None:
    """A broker that fills in the very call, and says so of some orders only."""
    broker = Silent(answers)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OrderWarning)
        live(name, AllAtOnce(BARS), broker)
    prompt = Silent(1.0)
    live(name, AllAtOnce(BARS), prompt)
    assert len(broker.fills) > 20 and broker.fills == prompt.fills


def len_at(order: Any) -> int:
    return int(np.searchsorted(BARS.stamps, np.datetime64(bt.num2date(order.created.dt)))) + 1


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another strategy"])
def test_a_position_does_not_stay_off_while_an_order_is_accepted_for_ever(beside: bool) -> None:
    """A filler that gives nothing for five of the orders that turn one symbol's position round."""
    stuck: dict[int, Any] = {}

    def filler(order: Any, price: float, ago: int) -> float:
        if order.data._name == "BB" and abs(order.size) * price > 200_000.0 and len(stuck) < 5:
            stuck[order.ref] = order
        return 0.0 if order.ref in stuck else abs(order.executed.remsize)

    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.broker.set_filler(filler)
    cerebro.addstrategy(Swings, is_square=True)
    if beside:
        cerebro.addstrategy(bt.Strategy)
    sizes: list[float] = []

    class Sizes(bt.Analyzer):  # type: ignore[misc]
        def next(self) -> None:
            sizes.append(self.strategy.broker.getposition(self.strategy.datas[1]).size)

    cerebro.addanalyzer(Sizes)
    with pytest.warns(OrderWarning, match="BB: nothing was filled of an order") as told:
        strategy = cerebro.run()[0]
    sizes = sizes[:: 1 + beside]
    assert len(stuck) == 5 and not any(order.alive() for order in stuck.values())
    held = [size * close / 1e6 for size, close in zip(sizes, BARS.close[:, 1], strict=True)]
    off = [row for row in range(1, 400) if abs(held[row] - strategy.wanted[row - 1][1]) > 0.05]
    assert len(off) == 5 * PATIENCE_BARS
    assert any("5 orders were given up" in str(one.message) for one in told)


def test_orders_that_are_refused_are_told_of_first_and_in_all() -> None:
    class Dear(Swings):
        def next(self) -> None:
            if len(self) in (50, 60, 70):
                self.underway.add(0, self.buy(self.data0, size=10**6), 0.0)
            super().next()

    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.addstrategy(Dear)
    with pytest.warns(OrderWarning) as told:
        cerebro.run()
    texts = [str(one.message) for one in told]
    assert "AA: an order of +1e+06 was refused (Margin); what is still wanted is sent again" in texts[0]
    assert "Dear, 2011-02-22" in texts[0]
    assert len(texts) == 2 and "3 orders were refused, the first on 2011-02-22" in texts[1]


@pytest.mark.parametrize("name", ["HybridStrategy", "FinRLStrategy"])
def test_refusals_of_the_drop_in_strategies_are_told_of(name: str) -> None:
    dear = random_bars(400)
    opens = dear.open.copy()
    opens[TRADED - 3 : 280] *= 4.0  # gaps that no cash buffer carries
    range_ = {"open": opens, "high": np.maximum(dear.high, opens), "low": dear.low}
    cerebro = cerebro_of(to_feeds(type(dear).checked("gaps", dear.symbols, dear.stamps, dear.close, **range_)))
    kind, params = CASES[name]
    more = {"overrides": {"account": {"rebalance_band": 0.0}}} if name == "HybridStrategy" else {"hmax": 10**5}
    cerebro.addstrategy(kind, **params | more)
    with pytest.warns(OrderWarning, match=r"was refused \(Margin\)"):
        cerebro.run()


# --- orders that come to nothing ---


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cash", [10.0, 35.0])
def test_lots_that_are_too_large_are_told_of_once(name: str, cash: float) -> None:
    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.broker.setcash(cash)
    kind, params = CASES[name]
    cerebro.addstrategy(kind, **params)
    with pytest.warns(OrderWarning) as told:
        (strategy,) = cerebro.run()
    assert not strategy.broker.orders
    (text,) = [str(one.message) for one in told]
    assert f"every order of the first {FIRST_BARS} bars to trade comes to nothing" in text
    limit = {"HybridStrategy": "risk.asset_limit 0.2", "FinRLStrategy": "hmax 500 shares"}.get(name, "")
    assert f"cash {cash:,.2f}" in text and "at a price of " in text and " lot is 1" in text and limit in text


def test_runs_of_few_bars_are_told_of_too_and_runs_that_trade_are_not() -> None:
    few = BARS.between(end=BARS.stamps[TRADED + 2])
    for bars, rules, expected in ((few, OrderRules(lot=1e7), True), (few, OrderRules(lot=0.0), False)):
        cerebro = cerebro_of(to_feeds(bars.between(bars.stamps[-3])))
        cerebro.addstrategy(Swings, rules=rules)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", OrderWarning)
            cerebro.run()
        assert ["of the first 3 bars" in str(one.message) for one in told] == [True] * expected


def test_shares_that_are_held_already_are_not_told_of_as_nothing() -> None:
    class Holding(Swings):
        def start(self) -> None:
            self.broker.positions[self.data0].update(4, 20.0)

    cerebro = cerebro_of(to_feeds(BARS.between(end=BARS.stamps[20])))
    cerebro.addstrategy(Holding, rules=OrderRules(lot=1e7))
    with warnings.catch_warnings():
        warnings.simplefilter("error", OrderWarning)
        cerebro.run()


def test_what_a_band_holds_back_is_no_matter_of_lots() -> None:
    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.addstrategy(Swings, rules=OrderRules(rebalance_band=0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error", OrderWarning)
        assert not cerebro.run()[0].broker.orders


# --- bars of the training span ---

OLD = random_bars(400, start="2001-01-03")


class Rule(bt.Strategy):
    """Somebody else's, with results of its own."""

    def next(self) -> None:
        if len(self) % 20 == 0:
            self.order_target_size(self.data0, 100 if len(self) % 40 else 0)


@pytest.mark.parametrize("late", [{}, {"trade_from": date(2030, 1, 1)}], ids=["in-sample", "behind the end"])
@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"preload": False}, {"exactbars": 1}], ids=str)
@pytest.mark.parametrize("name", TAUGHT)
def test_results_of_others_are_not_lost(name: str, modes: Any, late: Any) -> None:
    kind, params = CASES[name]
    params = params | TAUGHT[name] | late
    seen: list[int] = []

    class Ours(kind):  # type: ignore[misc, valid-type]
        def next(self) -> None:
            seen.append(len(self))
            super().next()

    for first in (True, False):
        cerebro = cerebro_of(to_feeds(OLD), **modes)
        for one, more in ((Ours, params), (Rule, {}))[:: 1 if first else -1]:
            cerebro.addstrategy(one, **more)
        with pytest.warns(
            UserWarning, match=r"stands idle: (all 400 bars lie in the policies' training|trade_from 2030)"
        ):
            found = cerebro.run()
        rule = next(one for one in found if isinstance(one, Rule))
        assert {order.owner for order in rule.broker.orders} == {rule} and len(rule.broker.orders) == 20
    seen.clear()
    cerebro = cerebro_of(to_feeds(OLD), **modes)
    cerebro.addstrategy(Ours, **params)
    with pytest.raises(
        BarsError if late else InSampleError, match=r"all 400 bars lie|trade_from 2030-01-01 lies behind"
    ):
        cerebro.run()
    assert bool(seen) == ("preload" in modes or "exactbars" in modes)  # where the end is known, before the first bar
