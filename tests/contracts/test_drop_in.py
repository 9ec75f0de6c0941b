"""Two lines in somebody else's Cerebro: feeds, names, company, brokers and run modes of every kind."""

from __future__ import annotations

import gc
import io
import itertools
import warnings
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import PAIRS, TiltPolicy, random_bars
from live_rehearsal import RehearsalStore
from strategy_cases import MODES, assert_same_decisions, cerebro_of, fills_of, pandas_feeds, ran

from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.brain.legs import Wish, each_asset
from hybrid_bt.brain.legs.sac import checked_actions
from hybrid_bt.brain.records import record
from hybrid_bt.config import load_config
from hybrid_bt.config.build import Policies, build, load_policies
from hybrid_bt.config.own_parts import CallablePolicy
from hybrid_bt.errors import BarsError, ConfigError, LegError, PolicyError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import HybridStrategy

CONFIG = load_config("stable")
BARS = random_bars(330)


def renamed(bars: Bars, symbols: Any) -> Bars:
    return Bars(bars.name, tuple(symbols), bars.stamps, bars.open, bars.high, bars.low, bars.close, bars.volume)


def wanted(bars: Bars, pairs: Any = PAIRS, mode: str = "stable", found: bool = False) -> Any:
    config = load_config(mode)
    return record(build(config, bars.symbols, pairs, load_policies(config), pairs_found=found), bars, pairs)


# --- feeds ---


@pytest.mark.parametrize(
    ("names", "pairs", "symbols"),
    [
        (["KO", "PEP", "X Y", "Z"], ["KO:PEP", "X Y:KO"], None),
        (["Füße", "株式", "π r²", "👍"], ["Füße:株式", "π r²:Füße"], None),
        (["NYSE:KO", "NYSE:PEP", "LSE:A:B", "C"], ["NYSE:KO:NYSE:PEP", "LSE:A:B:NYSE:KO"], None),
        ([3, 0, 7.5, "1"], ["3:0", "7.5:3"], ["3", "0", "7.5", "1"]),
        ([None, None, None, None], ["data0:data1", "data2:data0"], ["data0", "data1", "data2", "data3"]),
    ],
)
def test_feeds_may_have_names_of_any_kind(names: list[Any], pairs: list[str], symbols: Any) -> None:
    cerebro = bt.Cerebro(stdstats=False)  # Backtrader's observer of trades takes texts only
    for feed, name in zip(pandas_feeds(BARS), names, strict=True):
        feed._name = ""
        cerebro.adddata(feed, name=name)
    strategy = ran(cerebro, pairs=pairs)
    assert strategy.symbols == tuple(symbols or names)
    assert_same_decisions(strategy, wanted(BARS))


def test_pair_with_two_readings_is_refused() -> None:
    with pytest.raises(ConfigError, match="'A' against 'B:C' or 'A:B' against 'C'; give the feeds other names"):
        ran(cerebro_of(to_feeds(renamed(BARS, ["A", "B:C", "A:B", "C"]))), pairs=["A:B:C"])


@pytest.mark.parametrize("n", [1, 2, 50])
def test_any_number_of_feeds_in_any_order(n: int) -> None:
    holes: dict[str, Any] = {"missing": 0.02, "late": 40} if n > 2 else {}
    panels = [random_bars(300, min(n, 5), seed=seed, **holes) for seed in range(-(-n // 5))]
    names = np.random.default_rng(n).permutation([f"S{i}" for i in range(n)]).tolist()
    prices = [np.hstack([getattr(p, name) for p in panels]) for name in ("open", "high", "low", "close", "volume")]
    bars = Bars("many", tuple(names), panels[0].stamps, *prices)
    pairs = [f"{names[-1]}:{names[0]}"] if n > 1 else []
    strategy = ran(cerebro_of(to_feeds(bars)), pairs=pairs)
    assert_same_decisions(strategy, wanted(bars, pairs))
    assert fills_of(strategy)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"exactbars": 1}], ids=str)
def test_feed_that_ends_early_is_traded_to_its_end_only(modes: Any) -> None:
    panels = {name: getattr(BARS, name).copy() for name in ("open", "high", "low", "close")}
    for panel in panels.values():
        panel[300:, 1] = np.nan
    bars = Bars.checked("ended", BARS.symbols, BARS.stamps, **panels)
    strategy = ran(cerebro_of(to_feeds(bars), **modes))
    assert_same_decisions(strategy, wanted(bars))
    rows = {i: [fill.bar for fill in fills_of(strategy) if fill.symbol == i] for i in range(4)}
    assert max(rows[1]) < 300 < max(rows[0])


def csv_feeds(folder: Path, kind: str) -> list[Any]:
    feeds = []
    for i, symbol in enumerate(BARS.symbols):
        file = folder / f"{symbol}.csv"
        days = BARS.stamps.astype("datetime64[D]")
        prices = (getattr(BARS, name)[:, i].tolist() for name in ("open", "high", "low", "close"))
        lines = [",".join([str(day), *map(repr, row), "0", "0"]) for day, *row in zip(days, *prices, strict=True)]
        file.write_text("\n".join(["date,o,h,l,c,v,oi", *lines]) + "\n")
        if kind == "generic":
            feeds.append(bt.feeds.GenericCSVData(dataname=str(file), dtformat="%Y-%m-%d", name=symbol))
        else:
            feeds.append(bt.feeds.BacktraderCSVData(dataname=str(file), name=symbol))
    return feeds


@pytest.mark.parametrize("kind", ["generic", "backtrader"])
def test_files_read_by_backtrader_give_the_same_decisions(tmp_path: Path, kind: str) -> None:
    strategy = ran(cerebro_of(csv_feeds(tmp_path, kind)))
    assert np.array_equal(strategy.recorder.decisions().target, wanted(BARS).decisions().target)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"exactbars": 1}], ids=str)
def test_symbols_choose_the_feeds_and_their_order(modes: Any) -> None:
    cerebro = cerebro_of(to_feeds(BARS), **modes)
    cerebro.resampledata(cerebro.datas[0], timeframe=bt.TimeFrame.Weeks, name="WEEK")
    strategy = ran(cerebro, symbols="CC,AA,BB", pairs="AA:BB,CC:AA")
    chosen = BARS.select(["CC", "AA", "BB"])
    assert_same_decisions(strategy, wanted(chosen))
    assert {fill.symbol for fill in fills_of(strategy)} <= {0, 1, 2}
    with pytest.raises(ConfigError, match="'AAA' is not a feed; did you mean 'AA'"):
        ran(cerebro_of(to_feeds(BARS)), symbols=["AAA"], pairs=())


@pytest.mark.parametrize("modes", [{}, {"exactbars": 1}], ids=str)
def test_replayed_bars_are_read_when_they_are_complete(modes: Any) -> None:
    half = random_bars(700)
    two_days = half.close[1::2][:349]  # the closes of replayed bars of two days
    cerebro = bt.Cerebro(stdstats=False, **modes)
    for feed in to_feeds(half):
        cerebro.replaydata(feed, timeframe=bt.TimeFrame.Days, compression=2, name=feed._name)
    strategy = ran(cerebro)
    panel = Bars.checked("replayed", half.symbols, half.stamps[1::2][:349], two_days)
    found, other = strategy.recorder.decisions().target, wanted(panel).decisions().target
    # the first call knows no complete bar; the last bar completes after the data
    assert not found[0].any() and np.array_equal(found[1:], other[: len(found) - 1]) and len(found) >= 349
    for fill in fills_of(strategy):
        assert fill.price in half.open[:, fill.symbol]


@pytest.mark.parametrize("history", [0, 300])
def test_live_bars_that_arrive_one_after_another_are_one_row(history: int) -> None:
    store = RehearsalStore(BARS, latency=3, history=history)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.addstore(store)
    heard: list[tuple[str, str]] = []
    messages: list[str] = []

    class Listening(HybridStrategy):
        def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
            heard.append((data._name, data._getstatusname(status)))

        def notify_store(self, msg: str, *args: Any, **kwargs: Any) -> None:
            messages.append(msg)

    for feed in store.feeds():
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    cerebro.addstrategy(Listening, pairs=PAIRS, record=True)
    cerebro.addanalyzer(Ledger, _name="ledger")
    (strategy,) = cerebro.run()
    assert_same_decisions(strategy, wanted(BARS))
    assert len(strategy) > BARS.n_bars  # Backtrader called more often than there are rows
    assert ("AA", "LIVE") in heard and ("AA", "DISCONNECTED") in heard and messages == ["rehearsal began"]
    assert (("AA", "DELAYED") in heard) == bool(history)
    assert fills_of(strategy)


def test_live_feed_that_stays_away_is_waited_for_once() -> None:
    holed = random_bars(330, missing=0.02)
    store = RehearsalStore(holed, latency=0)
    cerebro = bt.Cerebro(stdstats=False)
    for feed in store.feeds():
        cerebro.adddata(feed, name=feed._name)
    strategy = ran(cerebro)
    assert BARS.n_bars <= len(strategy.recorder.decisions().target) <= 1.1 * BARS.n_bars
    assert len(fills_of(strategy)) > 20


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("open", np.nan, "equity is not a number on 2011-10-30 .*; BB gave a price that is not one"),
        ("close", 0.0, "the close of BB is 0.0 on 2011-10-30; a close must be positive and finite"),
        ("close", np.inf, "the close of BB is inf on 2011-10-30; a close must be positive and finite"),
    ],
)
def test_price_that_is_none_is_named(column: str, value: float, message: str) -> None:
    def frames() -> Any:
        for i, symbol in enumerate(BARS.symbols):
            columns = {name: getattr(BARS, name)[:, i].copy() for name in ("open", "high", "low", "close", "volume")}
            columns[column][300:302] = value if i == 1 else columns[column][300:302]
            frame = pd.DataFrame(columns, index=pd.DatetimeIndex(BARS.stamps))
            yield bt.feeds.PandasData(dataname=frame, name=symbol)

    with pytest.raises(BarsError, match=message):
        ran(cerebro_of(frames()), overrides={"account": {"rebalance_band": 0.0}})


@pytest.mark.parametrize("n_bars", [19, 200])
def test_a_feed_with_fewer_bars_than_the_warm_up_is_named(n_bars: int) -> None:
    def feeds(short: bool) -> Any:
        for feed, symbol in zip(pandas_feeds(BARS), BARS.symbols, strict=True):
            frame = feed.p.dataname.iloc[-n_bars:] if short and symbol == "CC" else feed.p.dataname
            yield bt.feeds.PandasData(dataname=frame, name=symbol)

    with pytest.warns(UserWarning, match="The bars of CC are fewer than the 253 that the features need"):
        ran(cerebro_of(feeds(True)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ran(cerebro_of(feeds(False)))
    assert not any("features need" in str(one.message) for one in told)


@pytest.mark.parametrize("symbols", [None, "DD,BB"])
@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"preload": False}, {"exactbars": 1}], ids=str)
def test_rows_of_joined_frames_that_are_empty_are_bars_that_are_not_there(modes: Any, symbols: str | None) -> None:
    """Before a listing, in the middle, behind the end: as the same feeds without those rows."""
    empty = {"BB": slice(0, 40), "CC": slice(280, 284), "DD": slice(315, None)}
    orders, decisions = [], []
    for joined in (True, False):
        feeds = []
        for i, symbol in enumerate(BARS.symbols):
            columns = {name: getattr(BARS, name)[:, i].copy() for name in ("open", "high", "low", "close", "volume")}
            frame = pd.DataFrame(columns, index=pd.DatetimeIndex(BARS.stamps))
            frame.iloc[empty.get(symbol, slice(0, 0))] = np.nan
            feeds.append(bt.feeds.PandasData(dataname=frame if joined else frame.dropna(), name=symbol))
        strategy = ran(cerebro_of(feeds, **modes), symbols=symbols, pairs=["DD:BB"])
        orders.append([fill[:4] for fill in fills_of(strategy)])
        decisions.append(strategy.recorder.decisions().target)
    assert orders[0] == orders[1] and orders[0]
    assert np.array_equal(decisions[0], decisions[1], equal_nan=True)


# --- company ---


class Busy(bt.Strategy):
    """Somebody else's strategy, on the same feeds."""

    def __init__(self) -> None:
        self.average = bt.indicators.SMA(self.data0, period=20)
        self.cross = bt.indicators.CrossOver(self.data1, bt.indicators.EMA(self.data1, period=50))

    def next(self) -> None:
        if self.cross[0]:
            self.order_target_size(self.data1, 50 if self.cross[0] > 0 else -50)
        if len(self) % 9 == 0:
            self.buy(self.data0, size=3)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"quicknotify": True, "tradehistory": True}], ids=str)
def test_company_changes_no_decision(modes: Any) -> None:
    cerebro = cerebro_of(to_feeds(BARS), stdstats=True, **modes)
    cerebro.addstrategy(Busy)
    cerebro.addindicator(bt.indicators.SMA, period=30)
    cerebro.addanalyzer(bt.analyzers.TradeAnalyzer)
    cerebro.addanalyzer(bt.analyzers.SharpeRatio)
    cerebro.addobserver(bt.observers.DrawDown)
    cerebro.addsizer(bt.sizers.PercentSizer, percents=20)
    out = io.StringIO()
    cerebro.addwriter(bt.WriterFile, csv=True, out=out)
    strategy = ran(cerebro)
    assert_same_decisions(strategy, wanted(BARS))
    assert "HybridStrategy" in out.getvalue()
    strategy.analyzers.ledger.flows()


def test_strategy_sells_only_what_it_bought_itself() -> None:
    class Holder(bt.Strategy):
        def next(self) -> None:
            if len(self) == 2:
                for feed in self.datas:
                    self.buy(feed, size=1_000)

    def sizes(company: bool) -> Any:
        cerebro = cerebro_of(to_feeds(BARS))
        cerebro.broker.setcash(1e6 + 1e6 * company)
        if company:
            cerebro.addstrategy(Holder)
        strategy = ran(cerebro, equity_share=0.5 if company else 1.0)
        return strategy.analyzers.ledger.path()

    path = sizes(company=True)
    held = path.size - 1_000 * (np.arange(len(path.size)) > 1)[:, None]
    assert held[-1].any() and np.abs(held[:100]).max() == 0.0
    # beside somebody who holds still there are no more orders than alone, up to the moving equity
    assert len(path.fills) - 4 < 1.3 * len(sizes(company=False).fills)


@pytest.mark.parametrize("modes", [{}, {"exactbars": 1}], ids=str)
def test_two_modes_in_one_cerebro_do_not_disturb_each_other(modes: Any) -> None:
    cerebro = cerebro_of(to_feeds(BARS), **modes)
    for mode in ("stable", "aggressive"):
        cerebro.addstrategy(HybridStrategy, mode=mode, pairs=PAIRS, record=True, equity_share=0.5)
    cerebro.addanalyzer(Ledger, _name="ledger")
    both = cerebro.run()
    for strategy, mode in zip(both, ("stable", "aggressive"), strict=True):
        assert_same_decisions(strategy, wanted(BARS, mode=mode))
    path = both[0].analyzers.ledger.path()
    # what is held together is what each wants of its half, within its band and lots
    targets = 0.5 * sum(strategy.recorder.decisions().target for strategy in both)
    weights = path.size * BARS.close / path.equity[:, None]
    assert np.abs(weights[1:] - targets[:-1]).max() < 0.03
    both[0].analyzers.ledger.flows()


# --- brokers ---


@pytest.mark.parametrize("cheat", ["cerebro", "set_coo", "set_coc"])
def test_cheating_is_refused_unless_allowed_and_then_stamped(cheat: str) -> None:
    def cheating() -> Any:
        cerebro = cerebro_of(to_feeds(BARS), cheat_on_open=cheat == "cerebro")
        if cheat != "cerebro":
            getattr(cerebro.broker, cheat)(True)
        return cerebro

    name = "cheat_on_close" if cheat == "set_coc" else "cheat_on_open"
    with pytest.raises(ConfigError, match=f"{name} is on.*allow_cheating=True"):
        ran(cheating())
    strategy = ran(cheating(), allow_cheating=True)
    assert strategy.cheats == strategy.analyzers.ledger.cheats == (name,)
    assert_same_decisions(strategy, wanted(BARS))
    assert ran(cerebro_of(to_feeds(BARS))).cheats == ()


def test_commission_schemes_are_the_users_own() -> None:
    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.broker.setcommission(commission=0.002)
    cerebro.broker.setcommission(commission=0.01, name="AA")
    fills = fills_of(ran(cerebro))
    assert {fill.symbol for fill in fills} == {0, 1, 2, 3}
    for fill in fills:
        rate = 0.01 if fill.symbol == 0 else 0.002
        assert fill.commission == pytest.approx(abs(fill.size) * fill.price * rate, rel=1e-12)


def test_a_future_is_sized_by_what_a_contract_moves() -> None:
    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.broker.setcommission(commission=1.0, margin=50.0, mult=5.0)
    strategy = ran(cerebro)
    path, target = strategy.analyzers.ledger.path(), strategy.recorder.decisions().target
    for row in (280, 300, 320):
        money = 5.0 * path.size[row + 1] * BARS.close[row] / path.equity[row]
        assert np.abs(money - target[row]).max() < CONFIG.order_rules.rebalance_band + 0.002
    assert path.size[281:].any()
    strategy.analyzers.ledger.flows()


def test_orders_that_fill_in_parts_are_not_sent_twice() -> None:
    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.broker.set_filler(lambda order, price, ago: min(400, abs(order.executed.remsize)))
    strategy = ran(cerebro)
    path, target = strategy.analyzers.ledger.path(), strategy.recorder.decisions().target
    assert max(abs(fill.size) for fill in path.fills) == 400
    weights = path.size * BARS.close / path.equity[:, None]
    known = np.abs(target)
    assert (np.abs(weights) <= np.maximum.accumulate(known, axis=0) + 0.02).all() and known.max() > 0.1


def test_cash_that_comes_or_goes_is_traded_from_the_next_bar_on() -> None:
    class Paying(HybridStrategy):
        def next(self) -> None:
            super().next()
            if len(self) == 290:
                self.broker.add_cash(1_000_000.0)

    cerebro = cerebro_of(to_feeds(BARS))
    cerebro.addstrategy(Paying, pairs=PAIRS, record=True, overrides={"account": {"rebalance_band": 0.0}})
    cerebro.addanalyzer(Ledger, _name="ledger")
    (strategy,) = cerebro.run()
    assert_same_decisions(strategy, wanted(BARS))
    path, target = strategy.analyzers.ledger.path(), strategy.recorder.decisions().target
    for row in (288, 291, 320):
        shares = np.trunc(target[row] * path.equity[row] / BARS.close[row])
        assert np.array_equal(path.size[row + 1], shares)
    assert path.equity[290] > 1.9 * path.equity[289]


# --- own parts ---


def tilt(observations: Any) -> Any:
    """A policy as a plain function: the asset's own trend."""
    return np.tanh(observations[:, 0])


def steady(observations: Any) -> list[float]:
    return [0.5]


class FlatLeg:
    """A leg of one's own: the same weight for every warm symbol."""

    def __init__(self, symbols: Any, pairs: Any, config: Any) -> None:
        self.symbols, self.pairs, self.config = symbols, pairs, config

    def wishes(self, view: Any) -> list[Wish]:
        return each_asset(0.1 if warm else 0.0 for warm in view.warm)


def test_functions_are_policies() -> None:
    strategy = ran(cerebro_of(to_feeds(BARS)), sac=tilt, gate=steady)
    policies: Any = Policies(CallablePolicy(tilt), CallablePolicy(steady))
    assert_same_decisions(strategy, record(build(CONFIG, BARS.symbols, PAIRS, policies), BARS, PAIRS))
    assert strategy.recorder.decisions().regime[-1] == 0.5
    assert strategy.training_end is None
    both: Any = Policies(tilt, steady)
    again = ran(cerebro_of(to_feeds(BARS)), policies=both)
    assert np.array_equal(again.recorder.decisions().target, strategy.recorder.decisions().target)


def test_function_that_learnt_until_a_day_is_not_traded_before_it() -> None:
    learnt = CallablePolicy(tilt, trained_until=date(2011, 10, 30))
    strategy = ran(cerebro_of(to_feeds(BARS)), sac=learnt, use_ppo_lstm=False)
    assert strategy.first_traded_row == int(np.searchsorted(BARS.stamps, np.datetime64("2011-10-31")))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: [0.0], r"3 rows gave actions of shape \(1,\)"),
        (lambda x: np.full(len(x), np.nan), r"action nan is outside \[-1, 1\]"),
        (lambda x: np.full(len(x), 1.5), r"action 1.5 is outside \[-1, 1\]"),
    ],
)
def test_answer_that_is_no_action_is_named(answer: Any, message: str) -> None:
    policy = CallablePolicy(answer)
    with pytest.raises(PolicyError, match=message):
        checked_actions(policy, policy.act(np.zeros((3, 2))), 3)


def test_runs_do_not_share_the_memory_of_a_policy() -> None:
    class Counting:
        calls = 0

        def __call__(self, observations: Any) -> Any:
            self.calls += 1
            return np.full(len(observations), 1.0 / self.calls)

    mine = Counting()
    first, second = (ran(cerebro_of(to_feeds(BARS)), sac=mine) for _ in range(2))
    assert mine.calls == 0
    assert np.array_equal(first.recorder.decisions().target, second.recorder.decisions().target)


@pytest.mark.parametrize("place", ["sac", "kalman"])
def test_leg_takes_the_place_of_another(place: str) -> None:
    strategy = ran(cerebro_of(to_feeds(BARS)), legs={place: FlatLeg})
    leg = strategy.brain.legs[place]
    assert isinstance(leg, FlatLeg) and leg.symbols == BARS.symbols and leg.pairs == [(0, 1), (2, 0)]
    decisions, usual = strategy.recorder.decisions(), wanted(BARS).decisions()
    assert set(strategy.recorder.opinions().legs[place][-1]) == {0.1}
    other = "kalman" if place == "sac" else "sac"
    assert np.array_equal(decisions.legs[other], usual.legs[other])
    mixed = sum(decisions.weights[leg][:, None] * decisions.legs[leg] for leg in ("sac", "kalman"))
    assert decisions.fused == pytest.approx(mixed, abs=1e-15)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"legs": {"sacc": FlatLeg}}, "no place 'sacc'; did you mean 'sac'"),
        ({"legs": {"sac": "momentun"}}, "nobody offers 'momentun' in LEGS or as hybrid_bt.legs"),
        ({"legs": {"sac": 3}}, "sac is 3; give a class or function"),
        ({"sac": 3}, "sac is 3; give a frozen policy, its file, or a function"),
        ({"policies": TiltPolicy()}, "policies is a TiltPolicy; give Policies"),
        ({"symbols": "", "pairs": ()}, "symbols is empty"),
        ({"equity_share": 1.5}, "equity_share must lie above 0 and at most at 1"),
    ],
)
def test_parts_that_fit_nowhere_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ran(cerebro_of(to_feeds(BARS)), **params)


def test_leg_that_has_no_wishes_is_refused() -> None:
    with pytest.raises(LegError, match=r"kalman is a SimpleNamespace without wishes\(view\)"):
        ran(cerebro_of(to_feeds(BARS)), legs={"kalman": lambda *_: SimpleNamespace(targets=None)})


class Value(bt.Analyzer):
    """What survives of a strategy in another process."""

    def stop(self) -> None:
        self.value = self.strategy.broker.getvalue()

    def get_analysis(self) -> float:
        return float(self.value)


def test_optimising_on_two_processes_carries_functions_legs_and_ledgers() -> None:
    def values(maxcpus: int) -> Any:
        cerebro = cerebro_of(to_feeds(BARS))
        cerebro.optstrategy(
            HybridStrategy, pairs="AA:BB,CC:AA", sac=[tilt, None], legs=[None, {"kalman": FlatLeg}], record=True
        )
        cerebro.addanalyzer(Value, _name="value")
        cerebro.addanalyzer(Ledger, _name="ledger")
        runs = [run[0] for run in cerebro.run(maxcpus=maxcpus)]
        assert all(len(run.analyzers.ledger.path().equity) == BARS.n_bars for run in runs)
        return [run.analyzers.value.get_analysis() for run in runs]

    one, two = values(1), values(2)
    assert one == two and len(set(one)) == 4


# --- pairs that are found ---


@pytest.mark.parametrize("modes", [{}, {"exactbars": 1}], ids=str)
def test_pairs_are_found_on_the_bars_before_the_trading_start(modes: Any) -> None:
    bars = random_bars(700, start="2010-01-04")
    start = bars.stamps[450].astype("datetime64[us]").item()
    strategy = ran(cerebro_of(to_feeds(bars), **modes), pairs="auto", trade_from=start)
    assert strategy.pair_names and all(set(name.split(":")) <= set(bars.symbols) for name in strategy.pair_names)
    # a rule found them: few carry little
    assert_same_decisions(strategy, wanted(bars, strategy.pair_names, found=True))
    weights = [run.decisions().weights["kalman"] for run in (strategy.recorder, wanted(bars, strategy.pair_names))]
    assert len(strategy.pair_names) < 10 and weights[0].any() and not np.array_equal(*weights)
    assert strategy.first_traded_row == 450 and min(fill.decided for fill in fills_of(strategy)) >= 450
    future = Bars(
        "altered", bars.symbols, bars.stamps,
        *(np.vstack([p[:451], p[451:] * 1.5]) for p in (bars.open, bars.high, bars.low, bars.close)), bars.volume,
    )  # fmt: skip
    again = ran(cerebro_of(to_feeds(future)), pairs="auto", trade_from=start)
    assert again.pair_names == strategy.pair_names


def test_no_pair_found_is_said_and_too_few_bars_are_refused() -> None:
    rng = np.random.default_rng(5)
    walks = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (500, 3)), axis=0))
    bars = Bars.checked("walks", ["A", "B", "C"], np.arange("2011-01-01", "2012-05-15", dtype="M8[D]")[:500], walks)
    start = bars.stamps[400].astype("datetime64[us]").item()
    with pytest.warns(UserWarning, match="on 400 bars: no two symbols are within a distance of 0.3"):
        strategy = ran(cerebro_of(to_feeds(bars)), pairs="auto", trade_from=start)
    assert strategy.pair_names == ()
    with pytest.raises(BarsError, match="no two of 3 symbols have 252 bars in common"):
        ran(cerebro_of(to_feeds(bars)), pairs="auto", trade_from=date(2011, 3, 1))


# --- bounds ---


def test_memory_of_the_strategy_does_not_grow_with_bars() -> None:
    import tracemalloc

    bars = random_bars(1500, missing=0.01)
    seen: list[int] = []
    rows = itertools.count(1)

    def on_bar() -> None:
        if next(rows) in (500, 950, 1400):
            gc.collect()  # clears CPython's free lists, which tracemalloc counts as held
            seen.append(tracemalloc.get_traced_memory()[0])

    cerebro = cerebro_of(to_feeds(bars), exactbars=1)
    # no orders: Backtrader's broker keeps every order for ever
    overrides = {"account": {"eps_trade": 1e12}}
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, overrides=overrides, on_bar=on_bar)
    tracemalloc.start()
    try:
        cerebro.run()
    finally:
        tracemalloc.stop()
    first, second, third = seen
    # a leak grows in both spans; what somebody keeps once, such as a lazy import, falls into one of them
    assert min(abs(third - second), abs(second - first)) < 20_000


@pytest.mark.parametrize("modes", MODES[::3], ids=lambda modes: "-".join(map(str, modes.values())))
def test_run_modes_do_not_matter_in_company_either(modes: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*utcnow", DeprecationWarning)  # Backtrader's own, in Cerebro.run
        holed = random_bars(300, missing=0.05, late=30)
        cerebro = cerebro_of(to_feeds(holed), **modes)
        cerebro.addstrategy(Busy)
        strategy = ran(cerebro, equity_share=0.5, own_feeds=True)
    assert_same_decisions(strategy, wanted(holed))
