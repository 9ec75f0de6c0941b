"""Analyzers work alone in any Cerebro: their parts add up to the account on every bar, whatever the strategies do."""

from __future__ import annotations

import io
import math
import pickle
import warnings
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import PAIRS, random_bars
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hybrid_bt.account.metrics import elapsed_years, simple_returns, turnover_per_year
from hybrid_bt.analyzers import (
    ANALYZERS,
    Drawdown,
    Exposure,
    Ledger,
    LegAttribution,
    PnlByTicker,
    PortfolioReturns,
    TurnoverCosts,
)
from hybrid_bt.errors import ConfigError, ReconciliationError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission

BARS = random_bars(300, missing=0.05, late=25)
CASH = 100_000.0


class Stock(bt.Strategy):
    """Limit, stop and market orders on every feed, long and short, and money that comes and goes."""

    def __init__(self) -> None:
        self.row = 0

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        self.row += 1
        if self.row == 120:
            self.broker.add_cash(25_000.0)
        if self.row == 200:
            self.broker.add_cash(-40_000.0)
        for i, feed in enumerate(self.datas):
            if not len(feed) or (self.row + i) % 7:
                continue
            size, close = 20 + 10 * i, feed.close[0]
            kind = (self.row // 7 + i) % 4
            if kind == 0:
                self.buy(feed, size=size, exectype=bt.Order.Limit, price=close * 0.995)
            elif kind == 1:
                self.sell(feed, size=2 * size, exectype=bt.Order.Stop, price=close * 0.99)
            elif kind == 2:
                self.buy(feed, size=size)
            else:
                self.order_target_percent(feed, -0.05)


class Ticket(bt.CommInfoBase):
    """Costs the same, however much is traded."""

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        return 7.0


def ran(*analyzers: Any, strategy: Any = Stock, scheme: Any = None, **params: Any) -> Any:
    cerebro = bt.Cerebro()
    for feed in to_feeds(BARS):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(CASH)
    cerebro.broker.addcommissioninfo(scheme or SpreadFeeCommission(spread_bps=4, fee_bps=1, borrow_bps_per_year=80))
    cerebro.addstrategy(strategy, **params)
    for analyzer in analyzers:
        cerebro.addanalyzer(analyzer, _name=analyzer.__name__)
    (found,) = cerebro.run()
    return found if len(analyzers) != 1 else getattr(found.analyzers, analyzers[0].__name__)


@pytest.mark.parametrize(
    "scheme",
    [
        None,
        SpreadFeeCommission(
            leverage=3.0, financing_bps_per_year=900, rebate_bps_per_year=70, idle_cash_bps_per_year=50
        ),
        bt.CommInfoBase(commission=0.002, interest=0.05, interest_long=True),
        bt.CommInfoBase(commission=2.0, margin=40.0, mult=3.0, stocklike=False, commtype=bt.CommInfoBase.COMM_FIXED),
        Ticket(),
    ],
    ids=["shares", "leverage", "interest", "futures", "ticket"],
)
def test_cash_flows_of_the_assets_explain_every_bar(scheme: Any) -> None:
    ledger = ran(Ledger, scheme=scheme)
    flows, path = ledger.flows(), ledger.path()
    assert len({fill.symbol for fill in path.fills}) == 4 and len(path.fills) > 40
    assert ledger.deposits.sum() == pytest.approx(-15_000.0, rel=1e-12)
    assert np.flatnonzero(ledger.deposits).tolist() == [120, 200]  # the bars after the calls
    total = CASH + ledger.deposits.sum() + flows.profit.sum()
    assert total == pytest.approx(path.equity[-1], rel=1e-12)
    if scheme is None or scheme.stocklike:  # without futures, cash moves by the flows alone
        moves = np.diff(path.cash, prepend=CASH)
        assert moves == pytest.approx(flows.cash.sum(axis=1) + ledger.deposits, abs=1e-6)


def test_interest_of_the_whole_account_is_explained_in_every_run_and_with_feeds_of_two_speeds() -> None:
    class Swing(bt.Strategy):
        def next(self) -> None:
            if len(self) % 9 == 0:
                self.order_target_percent(self.data0, 0.6 if len(self) % 2 else 0.05)
            if len(self) % 9 == 4:
                self.order_target_percent(self.data1, 0.2 if len(self) % 2 else -0.1)

    cerebro, feed = bt.Cerebro(), to_feeds(BARS)[0]
    cerebro.adddata(feed, name="days")
    cerebro.resampledata(feed, timeframe=bt.TimeFrame.Weeks, name="weeks")
    cerebro.broker.setcash(CASH)
    cerebro.broker.addcommissioninfo(
        SpreadFeeCommission(leverage=3.0, financing_bps_per_year=900, idle_cash_bps_per_year=50)
    )
    cerebro.addstrategy(Swing)
    cerebro.addanalyzer(Ledger, _name="ledger")
    first, second = (cerebro.run()[0].analyzers.ledger for _ in range(2))
    assert (first.flows().interest > 0.0).any(axis=0).all() and (first.flows().interest < 0.0).any()
    assert np.array_equal(first.path().borrow, second.path().borrow)


class Hand:
    """Money written into the broker, past all its functions."""

    def next(self: Any) -> None:
        super().next()  # type: ignore[misc]
        if len(self) == 50:
            self.broker.cash -= 5_000.0


def test_a_check_that_fails_is_a_warning_in_runs_of_others_and_an_error_in_ours() -> None:
    others = ran(Ledger, strategy=type("Careless", (Hand, Stock), {}))
    with pytest.warns(UserWarning, match="on 2011-02-2. equity moved by -5.* but .* explain"):
        flows = others.flows()
    assert np.isfinite(flows.profit).all()
    ours = ran(Ledger, strategy=type("Ours", (Hand, HybridStrategy), {}), pairs=PAIRS)
    with pytest.raises(ReconciliationError, match="equity moved by -5"):
        ours.flows()


# --- money that comes and goes ---


class Served(bt.Strategy):
    """Money at some bars, by one of the broker's ways, from one of a strategy's methods."""

    params = (("how", "add_cash"), ("at", "next"), ("amounts", ((60, 30_000.0), (150, -20_000.0), (220, 50_000.0))))

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        for i, feed in enumerate(self.datas):
            if len(feed) and (len(self) + i) % 7 == 0:
                self.order_target_percent(feed, 0.2 * ((len(self) // 7 + i) % 3 - 0.5))
        self.pay("next")

    def notify_cashvalue(self, cash: float, value: float) -> None:
        self.pay("notify_cashvalue")

    def pay(self, at: str) -> None:
        come = dict(self.p.amounts).get(len(self), 0.0) if at == self.p.at else 0.0
        if come:
            self.broker.set_cash(self.broker.getcash() + come) if self.p.how == "set_cash" else self.broker.add_cash(
                come
            )


def served(beside: bool = False, writer: bool = False, kinds: Any = None, **params: Any) -> Any:
    """The analyzers of the last strategy."""
    cerebro = bt.Cerebro(stdstats=False, writer=writer)
    for feed in to_feeds(BARS):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(CASH)
    cerebro.addstrategy(Served, **params)
    if beside:
        cerebro.addstrategy(bt.Strategy)
    for name, kind in (OF_ANY | {"fund": bt.analyzers.TimeReturn} if kinds is None else kinds).items():
        more = {"timeframe": bt.TimeFrame.NoTimeFrame, "fund": True} if name == "fund" else {}
        cerebro.addanalyzer(kind, _name=name, **more)
    cerebro.addanalyzer(bt.analyzers.DrawDown, _name="fund_drawdown", fund=True)
    found = cerebro.run()
    assert not {"set_cash", "setcash"} & set(vars(cerebro.broker))  # nothing of ours is left
    return found[-1].analyzers


#: those that explain any strategy
OF_ANY = {name: kind for name, kind in ANALYZERS.items() if kind is not LegAttribution}


def test_returns_are_those_of_backtraders_fund_mode() -> None:
    found = served()
    growth = np.prod(1.0 + found.returns.simple()) - 1.0
    assert growth == pytest.approx(next(iter(found.fund.get_analysis().values())), rel=1e-9)
    deepest = found.fund_drawdown.get_analysis().max.drawdown
    assert found.drawdown.get_analysis()["max_drawdown"] == pytest.approx(-deepest / 100.0, rel=1e-9)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "of another strategy"])
@pytest.mark.parametrize("at", ["next", "notify_cashvalue"])
@pytest.mark.parametrize("how", ["add_cash", "set_cash"])
def test_money_that_comes_is_part_of_the_account(how: str, at: str, beside: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = served(beside, how=how, at=at)
        analyses = {name: getattr(found, name).get_analysis() for name in OF_ANY}
    ledger, equity = found.ledger, analyses["ledger"].equity
    assert ledger.deposits.sum() == pytest.approx(60_000.0, rel=1e-12)
    before = np.concatenate(([CASH], equity[:-1])) + ledger.deposits
    assert found.returns.simple() == pytest.approx(equity / before - 1.0, abs=1e-15)
    assert np.abs(found.returns.simple()).max() < 0.1  # 30,000 of 100,000 are none
    moves = np.diff(analyses["ledger"].cash, prepend=CASH)
    assert moves == pytest.approx(ledger.flows().cash.sum(axis=1) + ledger.deposits, abs=1e-6)
    earned = sum(row["pnl_net"] for row in analyses["pnl"].values())
    assert earned == pytest.approx(equity[-1] - CASH - 60_000.0, abs=1e-6)


@example(calls=[(52, "add_cash", 1.0), (53, "add_cash", 1.0)], at="notify_cashvalue", first=True)
@example(calls=[(41, "set_cash", 1.0), (42, "set_cash", 0.0)], at="notify_cashvalue", first=False)
@settings(max_examples=40, deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.integers(2, 75), st.sampled_from(["add_cash", "set_cash"]), st.floats(-9e3, 9e4)), max_size=8
    ),
    at=st.sampled_from(["start", "notify_cashvalue", "before", "next"]),
    first=st.booleans(),
)
def test_any_money_at_any_time_is_explained(calls: Any, at: str, first: bool) -> None:
    """By a strategy before or behind the one that is analysed; `start` is before the first bar."""

    class Payer(Served):
        params = (("calls", ()), ("when", ""))

        def start(self) -> None:
            self.pay("start")

        def next(self) -> None:
            self.pay("before")
            super().next()

        def pay(self, at: str) -> None:
            for bar, how, amount in self.p.calls if at == self.p.when else ():
                if at == "start" or bar == len(self):
                    cash = self.broker.getcash()
                    self.broker.set_cash(cash + amount) if how == "set_cash" else self.broker.add_cash(amount)

    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(BARS.between(end=BARS.stamps[80])):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(CASH)
    payer = (Payer, {"calls": tuple(calls), "when": at})
    for kind, params in (payer, (bt.Strategy, {})) if first else ((bt.Strategy, {}), payer):
        cerebro.addstrategy(kind, **params)
    cerebro.addanalyzer(PortfolioReturns, _name="returns")
    for found in (one.analyzers.returns for one in cerebro.run()):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found.flows()
        came = found.deposits.sum() + found.start_value - CASH  # what was set before it began, it began with
        assert came == pytest.approx(sum(amount for *_, amount in calls), rel=1e-9, abs=1e-6)
        assert np.abs(found.simple()).max() < 0.25


def test_money_set_on_the_same_bar_twice_counts_once() -> None:
    class Twice(Served):
        def next(self) -> None:
            if len(self) == 100:
                self.broker.set_cash(7.0)
                self.broker.set_cash(150_000.0)
            super().next()

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(to_feeds(BARS)[0])
    cerebro.broker.setcash(CASH)
    cerebro.addstrategy(Twice, amounts=())
    cerebro.addanalyzer(Ledger, _name="ledger")
    (found,) = cerebro.run()
    path, ledger = found.analyzers.ledger.path(), found.analyzers.ledger
    (row,) = np.flatnonzero(ledger.deposits)
    assert ledger.deposits[row] == pytest.approx(150_000.0 - path.cash[row - 1], rel=1e-12)
    ledger.flows()


@pytest.mark.parametrize("how", ["add_cash", "set_cash", "hand"])
@pytest.mark.parametrize("name", OF_ANY)
def test_no_analyzer_ends_a_run_of_others(name: str, how: str) -> None:
    """Backtrader's writer asks each for its analysis inside of `cerebro.run()`."""

    class Handed(Served):
        def next(self) -> None:
            super().next()
            self.broker.cash += 500.0 * (len(self) == 70)

    class Writer(bt.WriterFile):  # type: ignore[misc]
        params = (("out", None), ("csv", False))

    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(BARS):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(CASH)
    cerebro.addstrategy(Handed if how == "hand" else Served, how=how)
    cerebro.addanalyzer(ANALYZERS[name], _name="ours")
    cerebro.addwriter(Writer, out=io.StringIO())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        (found,) = cerebro.run()
        assert found.analyzers.ours.get_analysis() is not None
    checked = how == "hand" and name in ("pnl", "turnover", "exposure")
    assert ["explain" in str(one.message) for one in told] == [True] * (2 * checked)


def test_legs_explain_the_profit_of_a_hybrid_that_money_comes_to() -> None:
    class Paid(HybridStrategy):
        def next(self) -> None:
            super().next()
            if len(self) == 280:
                self.broker.add_cash(50_000.0)
            if len(self) == 290:
                self.broker.set_cash(self.broker.getcash() - 20_000.0)

    found = ran(LegAttribution, Ledger, strategy=Paid, pairs=PAIRS, record=True).analyzers
    parts, path = found.LegAttribution.get_analysis(), found.Ledger.path()
    assert sum(parts.values()) == pytest.approx(path.equity[-1] - CASH - 30_000.0, abs=1e-6)
    assert abs(parts["execution"]) < 5_000.0


# --- an account that is lost ---

PRICES = [100.0] * 5 + [101.0, 102.0, 150.0, 233.0, 300.0, 321.0, 310.0]


class Lost(bt.Strategy):
    """Sells short what it cannot pay for, and goes under on the ninth bar."""

    def next(self) -> None:
        if len(self) == 2:
            self.sell(size=1000)


def lost(*kinds: Any, prices: Any = PRICES) -> Any:
    days = np.datetime64("2020-01-01") + np.arange(len(prices))
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), prices), index=pd.DatetimeIndex(days))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame, name="X"))
    cerebro.broker.setcash(CASH)
    cerebro.addstrategy(Lost)
    for kind in kinds:
        cerebro.addanalyzer(kind, _name=kind.__name__)
    (found,) = cerebro.run()
    return found.analyzers


def numbers_of(found: Any) -> Any:
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, tuple) else ()
    if isinstance(found, (float, np.ndarray)):
        return [np.ravel(found)]
    return [values for part in parts for values in numbers_of(part)]


@pytest.mark.parametrize("name", OF_ANY)
def test_every_analyzer_says_when_the_account_was_lost(name: str) -> None:
    with pytest.warns(UserWarning, match=r"the account was ruined on 2020-01-09, its equity -33,000\.00") as told:
        (analyzer,) = lost(ANALYZERS[name])
    assert len(told) == 1
    analysis = analyzer.get_analysis()
    assert str(analyzer.ruined_on)[:10] == "2020-01-09"
    if isinstance(analysis, dict) and "max_gross" in analysis | {"max_drawdown": 0} and "ruined_on" in analysis:
        assert analysis["ruined_on"] == analyzer.ruined_on
    for values in numbers_of(analysis):
        assert np.isfinite(values.astype(float)).all()
    assert pickle.loads(pickle.dumps(analyzer.deposits)).tolist() == [0.0] * len(PRICES)


def test_one_warning_tells_of_a_lost_account_and_its_figures_are_right() -> None:
    with pytest.warns(UserWarning) as told:
        found = lost(*OF_ANY.values(), bt.analyzers.DrawDown)
    assert len(told) == 1
    assert found.PortfolioReturns.simple().tolist() == pytest.approx(
        [0.0] * 5 + [-0.01, -1.0 / 99.0, -48.0 / 98.0, -1.0, 0.0, 0.0, 0.0]
    )
    assert found.PortfolioReturns.series().min() == -1.0
    below, backtraders = found.Drawdown.get_analysis(), found.DrawDown.get_analysis()
    assert below["max_drawdown"] == pytest.approx(-2.21) == pytest.approx(-backtraders.max.drawdown / 100.0)
    assert below["drawdown"][-4:] == pytest.approx([-1.33, -2.0, -2.21, -2.1])
    exposed = found.Exposure.get_analysis()
    assert exposed["gross"][-4:] == pytest.approx([4.66, 6.0, 6.42, 6.2])  # of the 50,000 of the last solvent bar
    years = 10.0 / 365.25  # from the close that decided
    mean = np.mean([100_000.0] * 4 + [99_000.0, 98_000.0, 50_000.0])
    assert found.TurnoverCosts.get_analysis()["turnover_per_year"] == pytest.approx(100_000.0 / mean / years)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lost(Drawdown, prices=PRICES[:8]).Drawdown.get_analysis()["ruined_on"] is None


def test_an_account_that_is_emptied_is_not_lost() -> None:
    found = served(how="set_cash", amounts=((1, -CASH),), kinds={"drawdown": Drawdown, "returns": PortfolioReturns})
    assert found.drawdown.ruined_on is None and not found.returns.simple().any()


def test_profits_by_ticker_add_up_to_the_account() -> None:
    found = ran(PnlByTicker, Ledger)
    rows, path = found.analyzers.PnlByTicker.get_analysis(), found.analyzers.Ledger.path()
    assert list(rows) == list(BARS.symbols)
    assert sum(row["pnl_net"] for row in rows.values()) == pytest.approx(path.equity[-1] - CASH + 15_000.0, abs=1e-6)
    assert sum(row["buys"] + row["sells"] for row in rows.values()) == len(path.fills)
    for i, row in enumerate(rows.values()):
        mine = [fill for fill in path.fills if fill.symbol == i]
        gross = sum(-f.size * f.price for f in mine) + path.size[-1, i] * BARS.close[BARS.traded[:, i], i][-1]
        assert row["gross_pnl"] == pytest.approx(gross, abs=1e-6)
        assert row["gross_pnl"] - row["costs"] == pytest.approx(row["pnl_net"], abs=1e-9)


def test_turnover_counts_both_sides_and_costs_are_those_charged() -> None:
    found = ran(TurnoverCosts, Ledger)
    row, path = found.analyzers.TurnoverCosts.get_analysis(), found.analyzers.Ledger.path()
    traded = sum(abs(fill.size) * fill.price for fill in path.fills)
    first = path.fills.decided.min()
    years = (BARS.stamps[-1] - BARS.stamps[first]) / np.timedelta64(1, "s") / (365.25 * 86400)
    assert row["traded"] == pytest.approx(traded, rel=1e-12)
    assert row["turnover_per_year"] == pytest.approx(traded / path.equity[first:].mean() / years, rel=1e-12)
    assert row["costs_bps_of_traded"] == pytest.approx(3.0, rel=1e-9)  # half of 4 bps, and 1
    assert row["interest"] > 0.0 and row["costs"] == row["commissions"] + row["interest"]


def test_exposure_is_positions_over_equity() -> None:
    found = ran(Exposure, Ledger)
    analysis, path = found.analyzers.Exposure.get_analysis(), found.analyzers.Ledger.path()
    last = [BARS.close[: 200 + 1, i][BARS.traded[: 200 + 1, i]][-1] for i in range(4)]
    wanted = path.size[200] * last / path.equity[200]
    assert analysis["net"][200] == pytest.approx(wanted.sum(), rel=1e-12)
    assert analysis["gross"][200] == pytest.approx(np.abs(wanted).sum(), rel=1e-12)
    assert analysis["max_gross"] >= analysis["mean_gross"] > 0.0
    held = (path.size[path.fills.decided.min() + 1 :] != 0.0).any(axis=1)
    assert analysis["bars_invested"] == pytest.approx(held.mean())


def test_deposits_are_neither_returns_nor_drawdowns() -> None:
    class Idle(bt.Strategy):
        def next(self) -> None:
            if len(self) in (50, 80):
                self.broker.add_cash(-30_000.0)

    idle = ran(PortfolioReturns, Drawdown, strategy=Idle).analyzers
    assert set(idle.PortfolioReturns.get_analysis().values()) == {0.0}
    assert idle.Drawdown.get_analysis()["max_drawdown"] == 0.0
    found = ran(PortfolioReturns, Drawdown, Ledger).analyzers
    returns, path = found.PortfolioReturns.simple(), found.Ledger.path()
    assert returns[119] == pytest.approx(path.equity[119] / path.equity[118] - 1.0, rel=1e-9, abs=1e-15)
    assert returns[120] == pytest.approx(path.equity[120] / (path.equity[119] + 25_000.0) - 1.0, rel=1e-9)
    growth = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    deepest = min(growth[b] / growth[a] - 1.0 for b in range(len(growth)) for a in range(b + 1))
    analysis = found.Drawdown.get_analysis()
    assert analysis["max_drawdown"] == pytest.approx(deepest, rel=1e-12) and analysis["max_drawdown"] < 0.0
    assert analysis["peak"] < analysis["trough"] and analysis["longest_bars"] > 1


def test_frames_hold_every_asset_in_the_form_that_pyfolio_reads() -> None:
    found = ran(PortfolioReturns, Ledger).analyzers
    frames, path = found.PortfolioReturns.frames(), found.Ledger.path()
    assert list(frames.positions.columns) == [*BARS.symbols, "cash"]
    live = slice(path.fills.decided.min() + 1, None)
    assert frames.positions.sum(axis=1).to_numpy() == pytest.approx(path.equity[live], rel=1e-12)
    assert frames.positions["cash"].to_numpy() == pytest.approx(path.cash[live], rel=1e-9)
    assert frames.positions.index.equals(frames.returns.index)
    assert len(frames.transactions) == len(path.fills)
    assert set(frames.transactions["symbol"]) == set(BARS.symbols)
    assert str(frames.returns.index.tz) == "UTC" and frames.returns.index.is_unique
    total = frames.transactions.groupby("symbol")["amount"].sum()
    assert total.reindex(BARS.symbols).to_numpy() == pytest.approx(path.size[-1])
    idle = ran(PortfolioReturns, strategy=bt.Strategy).frames()
    assert len(idle.transactions) == 0 and str(idle.transactions.index.tz) == "UTC" and not idle.returns.any()


def test_pyfolio_and_quantstats_read_the_frames() -> None:
    pyfolio = pytest.importorskip("pyfolio", reason="pip install pyfolio-reloaded")
    frames = ran(PortfolioReturns).frames()
    stats = pyfolio.timeseries.perf_stats(frames.returns, positions=frames.positions, transactions=frames.transactions)
    growth = float((1.0 + frames.returns).prod() - 1.0)
    assert stats["Cumulative returns"] == pytest.approx(growth, rel=1e-9)
    turnover = pyfolio.txn.get_turnover(frames.positions, frames.transactions, denominator="portfolio_value")
    assert turnover.sum() > 0.0 and np.isfinite(turnover).all()
    trips = pyfolio.round_trips.extract_round_trips(frames.transactions)
    assert set(trips["symbol"]) == set(BARS.symbols)


class Waits(bt.Strategy):
    """Buys after some bars; at a limit that fills on a later bar, if asked to."""

    params = (("bars", 0), ("limit", False))

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        feed = self.datas[0]
        if len(self) == self.p.bars + 1:
            price = feed.close[0] * 0.99 if self.p.limit else None
            self.buy(feed, size=100, price=price, exectype=bt.Order.Limit if price else bt.Order.Market)


@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("bars", [40, 120, 252])
def test_what_is_measured_begins_with_the_first_bar_that_could_earn(bars: int, limit: bool) -> None:
    kinds = PortfolioReturns, TurnoverCosts, Exposure, Ledger
    found = ran(*kinds, strategy=Waits, bars=bars, limit=limit).analyzers
    path, frames = found.Ledger.path(bars), found.PortfolioReturns.frames()
    assert len(path.fills) == 1
    series = found.PortfolioReturns.series()
    assert series.to_numpy() == pytest.approx(simple_returns(path.equity), abs=1e-15)
    assert frames.returns.to_numpy().tolist() == series.to_numpy().tolist()
    assert len(frames.positions) == len(series) == BARS.n_bars - bars - 1
    assert found.PortfolioReturns.simple()[: bars + 1].tolist() == [0.0] * (bars + 1)
    traded = sum(abs(fill.size) * fill.price for fill in path.fills)
    wanted = turnover_per_year(traded, path.equity, elapsed_years(BARS.stamps[bars:]))
    assert found.TurnoverCosts.get_analysis()["turnover_per_year"] == pytest.approx(wanted, rel=1e-12)
    exposed = found.Exposure.get_analysis()
    assert exposed["mean_gross"] == pytest.approx(exposed["gross"][bars + 1 :].mean(), rel=1e-12)
    assert exposed["bars_invested"] == pytest.approx(np.mean((path.size != 0.0).any(axis=1)[1:]), rel=1e-12)


def test_the_series_of_a_hybrid_is_that_of_its_traded_span() -> None:
    begins = BARS.stamps[260].astype("M8[us]").item()
    found = ran(PortfolioReturns, Ledger, strategy=HybridStrategy, pairs=PAIRS, trade_from=begins)
    path = found.analyzers.Ledger.path(found.first_traded_row)
    series = found.analyzers.PortfolioReturns.series()
    assert series.to_numpy() == pytest.approx(simple_returns(path.equity), abs=1e-15) and found.first_traded_row == 260


def test_quantstats_reads_the_series() -> None:
    import quantstats.stats

    series = ran(PortfolioReturns).series()
    assert isinstance(series, pd.Series) and series.index.tz is None
    assert quantstats.stats.comp(series) == pytest.approx(float((1.0 + series).prod() - 1.0), rel=1e-12)


def test_legs_and_costs_sum_to_the_profit_of_the_hybrid() -> None:
    found = ran(LegAttribution, Ledger, strategy=HybridStrategy, pairs=PAIRS, record=True).analyzers
    parts, path = found.LegAttribution.get_analysis(), found.Ledger.path()
    assert sum(parts.values()) == pytest.approx(path.equity[-1] - CASH, abs=1e-6)
    assert parts["commissions"] < 0.0 and parts["sac_market"] != 0.0 and len(path.fills) > 5
    legs = sum(parts[name] for name in parts if name.startswith(("sac", "kalman")))
    assert abs(parts["execution"]) < max(abs(legs), 0.02 * CASH)
    with pytest.raises(ConfigError, match="Stock keeps no decisions"):
        ran(LegAttribution)
    with pytest.raises(ConfigError, match="trades the whole of the equity"):
        ran(LegAttribution, strategy=HybridStrategy, pairs=PAIRS, record=True, equity_share=0.5)


@pytest.mark.parametrize("name", ANALYZERS)
def test_every_analyzer_reads_a_run_without_trades_and_survives_pickling(name: str) -> None:
    params = {"pairs": PAIRS, "record": True, "overrides": {"account": {"eps_trade": 1e12}}}
    analyzer = ran(ANALYZERS[name], strategy=HybridStrategy, **params)
    before = analyzer.get_analysis()
    assert before is not None
    analyzer.strategy = analyzer._parent = None
    for attribute in [attribute for attribute in vars(analyzer) if attribute.startswith("data")]:
        setattr(analyzer, attribute, None)  # as Cerebro does with the analyzers of an optimisation
    after = pickle.loads(pickle.dumps(analyzer)).get_analysis()
    if name != "ledger":
        assert list(after) == list(before)
        numbers = [value for value in after.values() if isinstance(value, float)]
        assert not any(math.isinf(value) for value in numbers)
