"""Analyzers work alone in any Cerebro: their parts add up to the account on every bar, whatever the strategies do."""

from __future__ import annotations

import math
import pickle
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import PAIRS, random_bars

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
    ],
    ids=["shares", "leverage", "interest", "futures"],
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


def test_money_set_by_hand_is_found_on_its_bar() -> None:
    class Careless(bt.Strategy):
        def next(self) -> None:
            if len(self) == 50:
                self.broker.setcash(5.0)

    with pytest.raises(ReconciliationError, match="equity moved by -99995"):
        ran(Ledger, strategy=Careless).flows()


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
    assert returns[120] == pytest.approx((path.equity[120] - 25_000.0) / path.equity[119] - 1.0, rel=1e-9)
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
