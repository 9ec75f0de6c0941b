"""Random accounts, and the Cerebro runs that the accounting twin is held against."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import backtrader as bt
import numpy as np

from hybrid_bt.account.flows import by_symbol, flows_of, marked_close
from hybrid_bt.account.records import AccountPath, Fill, Fills
from hybrid_bt.account.replay import days_of
from hybrid_bt.analyzers.ledger import Ledger
from hybrid_bt.envs import NO_LIMITS, PORTFOLIO, Span, Task, Track, TradingEnv
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.strategies.commission import SpreadFeeCommission
from hybrid_bt.strategies.orders import TargetOrders


class Panel(NamedTuple):
    """What accounts read of `hybrid_bt.bars.Bars`."""

    symbols: tuple[str, ...]
    stamps: Any
    open: Any
    high: Any
    low: Any
    close: Any
    traded: Any


class Case(NamedTuple):
    panel: Panel
    targets: Any
    cash: float
    costs: Costs
    rules: OrderRules
    modes: dict[str, Any]
    sides: Any = None  #: (T, N) labels


class RowsFeed(bt.feed.DataBase):
    """One symbol's bars."""

    params = (("rows", ()),)

    def start(self) -> None:
        super().start()
        self._rows = iter(self.p.rows)

    def _load(self) -> bool:
        row = next(self._rows, None)
        if row is None:
            return False
        lines = self.lines
        lines.datetime[0], lines.open[0], lines.high[0], lines.low[0], lines.close[0] = row
        lines.volume[0] = lines.openinterest[0] = 0.0
        return True


class TargetStrategy(bt.Strategy):
    """Sends the targets of the row, from the first row on."""

    params = (("targets", None), ("rules", None), ("sides", None))

    def start(self) -> None:
        self.orders = TargetOrders(self, self.p.rules)
        self.row = 0

    def next(self) -> None:
        sides = None if self.p.sides is None else self.p.sides[self.row]
        self.orders.send(self.p.targets[self.row], sides)
        self.row += 1

    prenext = next


def feeds(panel: Panel) -> list[RowsFeed]:
    stamps = [bt.date2num(stamp) for stamp in panel.stamps.astype("datetime64[us]").tolist()]
    columns = [values.tolist() for values in (panel.open, panel.high, panel.low, panel.close)]
    return [
        RowsFeed(rows=[(stamps[t], *(c[t][i] for c in columns)) for t in np.flatnonzero(panel.traded[:, i])])
        for i in range(len(panel.symbols))
    ]


def run_cerebro(case: Case) -> AccountPath:
    """The account that Backtrader's broker keeps for the case's targets."""
    cerebro = bt.Cerebro(stdstats=False, **case.modes)
    for symbol, feed in zip(case.panel.symbols, feeds(case.panel), strict=True):
        cerebro.adddata(feed, name=symbol)
    cerebro.broker.setcash(case.cash)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(case.costs))
    cerebro.addstrategy(TargetStrategy, targets=case.targets.tolist(), rules=case.rules, sides=case.sides)
    keeps = len(case.targets) % 2 == 0  # half of the cases
    cerebro.addanalyzer(Ledger, keep_orders=keeps, _name="ledger")
    (strategy,) = cerebro.run()
    assert strategy.row == len(case.panel.stamps)
    assert keeps or not cerebro.broker.orders
    path: AccountPath = strategy.analyzers.ledger.path()
    return path


def panel_of(opens: Any, closes: Any, stamps: Any = None, symbols: tuple[str, ...] = ()) -> Panel:
    opens, closes = np.array(opens, dtype=float), np.array(closes, dtype=float)
    if stamps is None:
        stamps = np.datetime64("2024-01-01") + np.arange(len(closes))
    symbols = symbols or tuple(f"S{i}" for i in range(closes.shape[1]))
    high, low = np.fmax(opens, closes), np.fmin(opens, closes)
    return Panel(symbols, np.array(stamps, "datetime64[ns]"), opens, high, low, closes, ~np.isnan(closes))


NO_ORDER = 8.0  #: an action that stands for a target of NaN


def act_or_hold(wanted: Any, asked: Any, row: int, world: Any) -> None:
    """Actions are targets, but for one that sends no order."""
    for i in range(len(wanted)):
        wanted[i] = math.nan if asked[i] == NO_ORDER else asked[i]


def actions_of(targets: Any) -> Any:
    return np.nan_to_num(np.asarray(targets, np.float32), nan=NO_ORDER)


def environment_of(case: Case) -> TradingEnv:
    """The environment that trades the case by `actions_of` its targets; rewards look at a bar that opens as the last
    one closed."""
    n_bars, n = case.panel.close.shape
    nothing = np.zeros((n_bars + 1, 0), np.float32), np.zeros((n_bars + 1, n)), np.zeros(n_bars + 1)
    opens, closes = (np.vstack([prices, case.panel.close[-1:]]) for prices in (case.panel.open, case.panel.close))
    days = np.append(days_of(case.panel), days_of(case.panel)[-1])
    track = Track(case.panel.symbols, *nothing, opens, closes, days, Span(0, n_bars - 1))
    if case.sides is not None:
        track = track._replace(sides=np.vstack([case.sides, case.sides[-1:]]))
    task = Task(low=-NO_ORDER, high=NO_ORDER, costs=case.costs, rules=case.rules, risk=NO_LIMITS)
    from numba.extending import register_jitable  # some tests look when numba is first imported

    act = register_jitable(act_or_hold)
    return TradingEnv(PORTFOLIO._replace(act=act), [track], task, episode_bars=None, cash=case.cash)


MODES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"runonce": False},
    {"preload": False},
    {"exactbars": 1},
    {"quicknotify": True},
)


def random_panel(rng: np.random.Generator, n_bars: int, n: int, wild: bool) -> Panel:
    daily = 0.12 if wild else rng.choice([0.01, 0.03, 0.12])
    drift = rng.choice([0.0, -0.5 * daily, 0.3 * daily])
    close = rng.uniform(5, 300, n) * np.exp(np.cumsum(rng.normal(drift, daily, (n_bars, n)), axis=0))
    opens = close * np.exp(rng.normal(0, daily * rng.choice([0.0, 0.5, 1.0]), (n_bars, n)))
    if rng.random() < 0.4:
        close, opens = np.round(close, 2) + 0.01, np.round(opens, 2) + 0.01
    missing = rng.random((n_bars, n)) < rng.choice([0.0, 0.0, 0.05, 0.3])
    if rng.random() < 0.4:
        missing |= np.arange(n_bars)[:, None] < rng.integers(0, n_bars // 2, n)
    if rng.random() < 0.2:
        missing |= np.arange(n_bars)[:, None] >= rng.integers(n_bars // 2, n_bars + 1, n)
    for t in np.flatnonzero(missing.all(axis=1)):
        missing[t, rng.integers(n)] = False
    for i in np.flatnonzero(missing.all(axis=0)):
        missing[rng.integers(n_bars), i] = False
    close[missing] = opens[missing] = np.nan
    if rng.random() < 0.7:
        stamps = np.datetime64("2015-01-01") + np.cumsum(rng.choice([1, 1, 1, 3, 5], n_bars))
    else:  # minutes, within and across days
        stamps = np.datetime64("2015-01-01T09:30") + np.cumsum(rng.choice([1, 60, 400, 1440], n_bars))
    return panel_of(opens, close, stamps)


def random_targets(rng: np.random.Generator, panel: Panel, wild: bool) -> Any:
    n_bars, n = panel.close.shape
    gross = 5.0 if wild else rng.choice([0.5, 1.0, 1.0, 2.0, 5.0])
    weights = rng.normal(0, 1, (n_bars, n))
    kind = rng.integers(3)
    if kind == 0:  # held for a while
        weights = np.repeat(weights, rng.integers(2, 15), axis=0)[:n_bars]
    elif kind == 1:  # drifting
        weights = np.cumsum(weights, axis=0) * 0.3
    if rng.random() < 0.3:
        weights = np.abs(weights)
    weights[rng.random((n_bars, n)) < 0.15] = 0.0
    weights *= gross / np.maximum(np.abs(weights).sum(axis=1, keepdims=True), 1.0)
    if rng.random() < 0.5:
        weights[rng.random((n_bars, n)) < 0.3] = np.nan
    return weights.astype(np.float32).astype(float)  # what an environment's action can say


def random_case(seed: int) -> Case:
    """2 to 8 assets, 60 to 600 bars (most of them short), every feature switched on in some share of the seeds."""
    rng = np.random.default_rng(seed)
    n_bars = int(rng.choice([60, 60, 60, 80, 100, 130])) if seed % 25 else int(rng.integers(250, 601))
    wild = seed % 5 == 2  # large moves on many times the equity: headed for ruin
    panel = random_panel(rng, n_bars, int(rng.integers(2, 9)), wild)
    costs = Costs(
        spread_bps=float(rng.choice([0.0, 3.0, 40.0])),
        fee_bps=float(rng.choice([0.0, 1.0, 12.5])),
        borrow_bps_per_year=float(rng.choice([0.0, 50.0, 3000.0])),
        leverage=float(rng.choice([1.0, 1.0, 2.0, 3.3])),
        financing_bps_per_year=float(rng.choice([0.0, 0.0, 600.0])),
    )
    rules = OrderRules(
        lot=float(rng.choice([0.0, 0.0, 1.0, 1.0, 10.0, 0.1])),
        eps_trade=float(rng.choice([0.0, 0.0, 2.0])),
        rebalance_band=float(rng.choice([0.0, 0.01, 0.1])),
        cash_buffer=float(rng.choice([0.0, 0.0, 0.03, 0.2])),
    )
    shape = panel.close.shape
    sides = rng.integers(0, shape[1], shape) if rng.random() < 0.5 else None
    cash = float(rng.choice([2_000.0, 100_000.0, 1e6, 1e6 / 3]))
    modes = MODES[seed % len(MODES)]
    if modes == {"exactbars": 1} and not panel.traded.all():
        modes = {}  # Backtrader's one-bar buffers cannot hold back a feed that is not due: IndexError in its broker
    targets = random_targets(rng, panel, wild)
    rebate, idle = rng.choice([0.0, 0.0, 200.0]), rng.choice([0.0, 0.0, 300.0])
    costs = costs._replace(rebate_bps_per_year=float(rebate), idle_cash_bps_per_year=float(idle))
    return Case(panel, targets, cash, costs, rules, modes, sides)


def net_of_symbols(path: AccountPath, panel: Panel) -> float:
    """The symbols' profits after costs, added up."""
    return float(by_symbol(path, flows_of(path, marked_close(panel.close)))["pnl_net"].sum())


def hand_account() -> tuple[AccountPath, Panel]:
    # S0: 50 bought at 10, sold at 12 on row 2, for 1 each time; S1: 10 sold short at 20, 0.5 interest, open at 21
    panel = panel_of([[10.0, 20.0], [10.0, 20.0], [12.0, 21.0]], [[10.0, 20.0], [11.0, 20.0], [12.0, 21.0]])
    fills = (
        Fill(1, 0, 1, -10.0, 20.0, 2.0),
        Fill(1, 0, 0, 50.0, 10.0, 1.0),
        Fill(2, 1, 0, -50.0, 12.0, 1.0),
    )
    path = AccountPath(
        cash=np.array([1000.0, 697.0, 1295.5]),
        equity=np.array([1000.0, 1047.0, 1085.5]),
        held=np.array([[0.0, 0.0], [50.0, -10.0], [0.0, -10.0]]),
        borrow=np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.5]]),
        fills=Fills.of(fills),
    )
    return path, panel
