"""Each rule of the account, worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from broker_cases import Case, Panel, RowsFeed, feeds, net_of_symbols, panel_of, random_case, run_cerebro
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.account.records import AccountPath, Fill
from hybrid_bt.account.replay import replay
from hybrid_bt.analyzers.ledger import Ledger
from hybrid_bt.equations.book import execute, margin_check
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.parameters import validated
from hybrid_bt.equations.sizing import OrderRules, order_size, submission_order
from hybrid_bt.errors import ConfigError

FREE = Costs(0.0, 0.0, 0.0)
WHOLE, FRACTIONS = OrderRules(lot=1.0), OrderRules(lot=0.0)
NAN = math.nan


def both(
    panel: Panel, targets: Any, cash: float = 1000.0, costs: Costs = FREE, rules: OrderRules = WHOLE
) -> AccountPath:
    """The account by replay, after seeing that Cerebro keeps the same one."""
    case = Case(panel, np.array(targets, dtype=float), cash, costs, rules, {})
    mine, theirs = replay(case.targets, panel, cash=cash, costs=costs, rules=rules), run_cerebro(case)
    for field in ("cash", "equity", "size", "borrow"):
        assert np.array_equal(getattr(mine, field), getattr(theirs, field)), field
    assert (mine.fills, mine.rejected) == (theirs.fills, theirs.rejected)
    return mine


# ---- sizing


def test_wanted_position_is_rounded_toward_zero() -> None:
    # 0.5 * 1000 / 30 = 16.67 shares
    assert order_size(0.5, 1000.0, 30.0, 0.0, WHOLE) == 16.0
    assert order_size(-0.5, 1000.0, 30.0, 0.0, WHOLE) == -16.0
    assert order_size(0.5, 1000.0, 30.0, 0.0, OrderRules(lot=10.0)) == 10.0
    assert order_size(0.5, 1000.0, 30.0, 20.0, WHOLE) == -4.0


def test_lots_below_a_share() -> None:
    # 16.67 in tenths is 16.6, on the grid of 2^-20
    assert order_size(0.5, 1000.0, 30.0, 0.0, OrderRules(lot=0.1)) == round(16.6 * 2**20) / 2**20
    assert order_size(0.5, 1000.0, 30.0, 0.0, FRACTIONS) == math.floor(2**20 * 1000.0 * 0.5 / 30.0) / 2**20


def test_no_opinion_keeps_the_position() -> None:
    assert order_size(NAN, 1000.0, 30.0, 7.0, WHOLE) == 0.0


@pytest.mark.parametrize("close", [NAN, 0.0, -1.0])
def test_nothing_is_sized_without_a_price(close: float) -> None:
    assert order_size(0.5, 1000.0, close, 7.0, WHOLE) == 0.0


@pytest.mark.parametrize("equity", [0.0, -5.0, NAN])
def test_without_equity_everything_goes(equity: float) -> None:
    assert order_size(0.5, equity, 30.0, 7.0, WHOLE) == -7.0
    assert order_size(0.5, equity, 30.0, 0.0, WHOLE) == 0.0


def test_band_holds_back_small_changes_but_no_exit() -> None:
    # 10 shares at 10 are 10 % of 1000
    rules = OrderRules(lot=1.0, rebalance_band=0.03)
    assert order_size(0.12, 1000.0, 10.0, 10.0, rules) == 0.0
    assert order_size(0.14, 1000.0, 10.0, 10.0, rules) == 4.0
    assert order_size(0.0, 1000.0, 10.0, 1.0, rules) == -1.0


def test_eps_trade_holds_back_small_orders_but_no_exit() -> None:
    rules = OrderRules(lot=1.0, eps_trade=3.0)
    assert order_size(0.12, 1000.0, 10.0, 10.0, rules) == 0.0
    assert order_size(0.13, 1000.0, 10.0, 10.0, rules) == 3.0
    assert order_size(0.0, 1000.0, 10.0, 2.0, rules) == -2.0


def test_an_order_too_large_for_a_float_is_none() -> None:
    assert order_size(1e308, 1e308, 1e-3, 0.0, WHOLE) == 0.0


@given(
    target=st.floats(-3, 3),
    equity=st.floats(1, 1e9),
    close=st.floats(0.5, 1e5),
    lot=st.sampled_from([0.0, 0.1, 1.0, 25.0]),
    held=st.integers(-(10**6), 10**6),
)
def test_position_after_the_order_is_within_the_target(
    target: float, equity: float, close: float, lot: float, held: int
) -> None:
    size = order_size(target, equity, close, float(held), OrderRules(lot=lot))
    position = held + size
    assert (position * 2**20).is_integer()
    assert position * target >= 0.0
    grid = 2.0**-20
    assert abs(position) * close <= abs(target) * equity * (1 + 1e-12) + grid * close
    assert abs(target) * equity - abs(position) * close <= (max(lot, grid) + grid) * close * (1 + 1e-9)


@pytest.mark.parametrize("rules", [OrderRules(lot=-1.0), OrderRules(lot=1e-9), OrderRules(eps_trade=NAN)])
def test_senseless_rules_are_refused(rules: OrderRules) -> None:
    with pytest.raises(ConfigError):
        validated(OrderRules, rules, "orders")


def test_sells_go_before_buys_in_symbol_order() -> None:
    queue = [9] * 6
    assert submission_order([3.0, -1.0, 0.0, 2.0, -5.0], queue, 1) == 5
    assert queue == [9, 1, 4, 0, 3, 9]


# ---- one order at the broker; costs: 10 + 10 = 20 bps a side

COSTS = Costs(spread_bps=20.0, fee_bps=10.0, borrow_bps_per_year=0.0)


def test_opening_pays_value_and_commission() -> None:
    # 10 at 50: 500 and 1.00
    assert execute(0.0, 0.0, 10.0, 50.0, 1000.0, COSTS) == pytest.approx((10.0, 50.0, 499.0, 1.0))


def test_adding_averages_the_entry() -> None:
    # (50 * 10 + 5 * 65) / 15 = 55; 325 and 0.65
    assert execute(10.0, 50.0, 5.0, 65.0, 499.0, COSTS) == pytest.approx((5.0, 55.0, 173.35, 0.65))


def test_reducing_keeps_the_entry_and_flattening_clears_it() -> None:
    # 4 at 60: 240 and 0.48
    assert execute(10.0, 50.0, -4.0, 60.0, 0.0, COSTS) == pytest.approx((-4.0, 50.0, 239.52, 0.48))
    assert execute(10.0, 50.0, -10.0, 60.0, 0.0, COSTS) == pytest.approx((-10.0, 0.0, 598.8, 1.2))


def test_a_flip_closes_at_the_old_entry_and_opens_at_the_new() -> None:
    # sell 15 of 10 held at 60: 900 in, 20 bps of 900 out
    assert execute(10.0, 50.0, -15.0, 60.0, 0.0, COSTS) == pytest.approx((-15.0, 60.0, 898.2, 1.8))


def test_short_gains_when_bought_back_lower() -> None:
    # -10 from 50, bought back at 40: 400 and 0.80
    assert execute(-10.0, 50.0, 10.0, 40.0, 1500.0, COSTS) == pytest.approx((10.0, 0.0, 1099.2, 0.8))


def test_an_opening_that_cash_cannot_pay_is_cancelled() -> None:
    assert execute(0.0, 0.0, 10.0, 50.0, 500.0, COSTS) == (0.0, 0.0, 500.0, 0.0)  # 500 and 1.00 > 500


def test_a_flip_that_cash_cannot_pay_still_closes() -> None:
    # buy back 10 at 100 (1000 and 2.00) and open 5 more for 500 with 1200: only the close goes through
    assert execute(-10.0, 50.0, 15.0, 100.0, 1200.0, COSTS) == pytest.approx((10.0, 0.0, 198.0, 2.0))


def test_closing_may_take_cash_below_zero() -> None:
    assert execute(-10.0, 50.0, 10.0, 100.0, 0.0, FREE) == (10.0, 0.0, -1000.0, 0.0)


def test_leverage_ties_up_a_fraction_of_a_long() -> None:
    # half of 500; selling at 60 gives half of the entry back, and the gain of 100 in full
    assert execute(0.0, 0.0, 10.0, 50.0, 1000.0, FREE._replace(leverage=2.0)) == (10.0, 50.0, 750.0, 0.0)
    assert execute(10.0, 50.0, -10.0, 60.0, 750.0, FREE._replace(leverage=2.0)) == (-10.0, 0.0, 1100.0, 0.0)


def test_margin_is_checked_at_the_decision_close() -> None:
    assert margin_check(0.0, 10.0, 50.0, 1000.0, COSTS) == pytest.approx(499.0)
    assert margin_check(10.0, -15.0, 50.0, 0.0, COSTS) == pytest.approx(748.5)
    assert margin_check(0.0, -10.0, 50.0, 0.0, COSTS) == pytest.approx(499.0)  # shorts bring cash


# ---- rows


def test_fill_is_next_open_and_marking_is_close() -> None:
    # row 0: half of 1000 at 10 is 50 shares; row 1 opens at 12 and closes at 14
    path = both(panel_of([[10.0], [12.0], [13.0]], [[10.0], [14.0], [15.0]]), [[0.5], [NAN], [NAN]])
    assert path.fills == (Fill(1, 0, 0, 50.0, 12.0, 0.0),)
    assert path.cash.tolist() == [1000.0, 400.0, 400.0]
    assert path.equity.tolist() == [1000.0, 1100.0, 1150.0]


def test_orders_of_the_last_row_stay_pending() -> None:
    path = both(panel_of([[10.0], [10.0]], [[10.0], [10.0]]), [[NAN], [0.5]])
    assert (path.fills, path.rejected) == ((), 0)


def test_order_waits_for_its_symbols_next_bar_and_marks_at_its_last_close() -> None:
    # S0 is bought on row 1; S1 has no bar on rows 1 and 2, is bought on row 3 and marked at 20 on row 4
    opens = [[10.0, 20.0], [10.0, NAN], [10.0, NAN], [10.0, 20.0], [10.0, NAN]]
    path = both(panel_of(opens, opens), [[0.2, 0.4], *[[NAN, NAN]] * 4])
    assert [(fill.bar, fill.symbol) for fill in path.fills] == [(1, 0), (3, 1)]
    assert path.equity.tolist() == [1000.0] * 5


def test_no_decision_without_a_bar() -> None:
    closes = [[10.0, 20.0], [10.0, NAN], [10.0, 20.0], [10.0, 20.0]]
    path = both(panel_of(closes, closes), [[NAN, NAN], [NAN, 0.4], [NAN, NAN], [NAN, NAN]])
    assert path.fills == ()


def test_a_symbol_that_begins_late_is_traded_from_its_first_bar() -> None:
    closes = [[10.0, NAN], [10.0, NAN], [10.0, 20.0], [10.0, 20.0]]
    path = both(panel_of(closes, closes), [[0.1, 0.4]] * 4)
    assert [(fill.bar, fill.decided, fill.symbol) for fill in path.fills] == [(1, 0, 0), (3, 2, 1)]


def test_a_refused_order_poisons_those_behind_it() -> None:
    # 600 are left when 1500 were bought with what two shorts brought. Buying back 1000 leaves -300 on scratch cash
    # after a sale of 100: the 100 behind it are refused as well; the sale before it is not
    opens = [[10.0] * 4] * 4
    path = both(panel_of(opens, opens), [[1.5, -1.0, -0.1, NAN], [NAN, 0.0, 0.0, -0.1], [NAN] * 4, [NAN] * 4])
    assert [fill.symbol for fill in path.fills] == [1, 2, 0, 3]
    assert path.rejected == 2


def test_a_gap_at_the_open_cancels_what_the_check_let_through() -> None:
    # 99 shares at 10 pass the check; at 10.5 they cost 1039.5
    path = both(panel_of([[10.0], [10.5]], [[10.0], [10.5]]), [[0.99], [NAN]])
    assert (path.fills, path.rejected) == ((), 1)


def test_borrow_is_charged_for_calendar_days_between_bars() -> None:
    # 3650 bps a year are 10 bps a day on 50 * 10 = 500: 0.5 a day. Friday to Monday is 3 days, a gap of S0 is caught up
    stamps = np.array(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-10"], "datetime64[D]")
    closes = [[10.0, 1.0], [10.0, 1.0], [10.0, 1.0], [NAN, 1.0], [10.0, 1.0]]
    costs = Costs(0.0, 0.0, 3650.0)
    path = both(panel_of(closes, closes, stamps), [[-0.5, NAN], *[[NAN, NAN]] * 4], costs=costs)
    assert path.borrow[:, 0].tolist() == pytest.approx([0.0, 0.0, 1.5, 0.0, 1.0])
    assert path.equity.tolist() == pytest.approx([1000.0, 1000.0, 998.5, 998.5, 997.5])


def test_no_borrow_within_a_day() -> None:
    stamps = np.datetime64("2024-01-04T10:00") + np.arange(4) * 60
    path = both(panel_of([[10.0]] * 4, [[10.0]] * 4, stamps), [[-0.5]] * 4, costs=Costs(0.0, 0.0, 3650.0))
    assert not path.borrow.any()


def test_ruin_closes_everything_for_good() -> None:
    # 1000 short 200 at 10 has 3000 in cash; at 20 it is worth -1000. Buying back costs 4000, which the margin check
    # would refuse; ruined accounts skip it. The fall to 5 afterwards comes too late.
    prices = [[10.0], [10.0], [20.0], [20.0], [5.0], [5.0]]
    path = both(panel_of(prices, prices), [[-2.0]] * 6)
    assert path.equity.tolist() == [1000.0, 1000.0, -1000.0, -1000.0, -1000.0, -1000.0]
    assert path.size[:, 0].tolist() == [0.0, -200.0, -200.0, 0.0, 0.0, 0.0]
    assert path.rejected == 0


def test_ruin_is_for_good_even_if_equity_comes_back_before_the_fill() -> None:
    # the order to zero fills at 5: equity 3000 - 1000 = 2000, yet nothing is opened again
    prices = [[10.0], [10.0], [20.0], [5.0], [5.0], [5.0]]
    path = both(panel_of(prices, prices), [[-2.0]] * 6)
    assert path.equity.tolist() == [1000.0, 1000.0, -1000.0, 2000.0, 2000.0, 2000.0]
    assert len(path.fills) == 2


# ---- replay


def test_targets_of_another_shape_or_infinite_are_refused() -> None:
    panel = panel_of([[10.0, 5.0]] * 3, [[10.0, 5.0]] * 3)
    with pytest.raises(ConfigError, match="bars x symbols"):
        replay(np.zeros((2, 2)), panel)
    with pytest.raises(ConfigError, match="S1 2024-01-02"):
        replay([[0.0, 0.0], [0.0, math.inf], [0.0, 0.0]], panel)
    with pytest.raises(ConfigError, match="cash"):
        replay(np.zeros((3, 2)), panel, cash=0.0)


def test_without_numba_the_same_code_runs_interpreted_and_says_so_once() -> None:
    script = """
import sys, warnings
sys.modules["numba"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else found(name, *rest)
import numpy as np
from types import SimpleNamespace
from hybrid_bt.account.replay import replay
prices = np.full((4, 1), 10.0)
bars = SimpleNamespace(open=prices, close=prices, symbols=("A",), stamps=np.arange(4).astype("datetime64[D]"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        path = replay(np.full((4, 1), 0.5), bars, compiled=True)
assert len(path.fills) >= 1 and [str(w.message) for w in caught if "numba" in str(w.message)], caught
assert len(caught) == 1, caught
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_importing_replay_loads_neither_numba_nor_backtrader() -> None:
    script = (
        "import sys, hybrid_bt.account.replay as r; assert not {'numba', 'backtrader', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# ---- ledger on strangers' strategies


class Stranger(bt.Strategy):
    """Buys with limit, stop and market orders of its own; knows nothing of targets."""

    params = (("offset", 0),)

    def next(self) -> None:
        row = len(self) + self.p.offset
        if row % 7 == 0:
            self.buy(self.datas[row % 2], size=5, exectype=bt.Order.Limit, price=self.datas[row % 2].close[0] * 0.99)
        elif row % 5 == 0:
            self.sell(self.datas[row % 2], size=3)
        elif row % 11 == 0:
            self.order_target_percent(self.datas[0], 0.5)


def run_strangers(case: Case, **ledger: Any) -> tuple[Any, AccountPath]:
    cerebro = bt.Cerebro(stdstats=False)
    for feed in feeds(case.panel):
        cerebro.adddata(feed)
    cerebro.broker.setcash(1e6)
    cerebro.broker.setcommission(commission=0.002, interest=0.3, leverage=1.0)
    cerebro.addstrategy(Stranger)
    cerebro.addstrategy(Stranger, offset=3)  # runs after the first one's analyzer has looked
    cerebro.addanalyzer(Ledger, **ledger)
    strategy = cerebro.run()[0]
    found: AccountPath = strategy.analyzers.getbyname("ledger").path()
    return strategy, found


def daily_case() -> Case:
    for seed in range(100):
        case = random_case(seed)
        if case.panel.traded.all() and len(case.panel.stamps) > 50:
            return case
    raise AssertionError("no case without gaps")


def test_ledger_follows_all_orders_of_any_strategies() -> None:
    from hybrid_bt.account.reconcile import reconcile

    case = daily_case()
    strategy, path = run_strangers(case)
    assert len(path.fills) > 20 and path.borrow.any()
    assert path.equity[-1] == strategy.broker.getvalue()
    assert reconcile(path, case.panel, 1e6) < 1e-12
    assert net_of_symbols(path, case.panel) == pytest.approx(path.equity[-1] - 1e6, abs=0.005)
    market = [fill for fill in path.fills if fill.size == -3.0]
    assert market and all(fill.bar == fill.decided + 1 for fill in market)
    assert {fill.decided + 1 for fill in market} | {fill.decided + 4 for fill in market} >= {5, 10}


def test_ledger_can_begin_later() -> None:
    case = daily_case()
    _, whole = run_strangers(case)
    first = whole.fills[0].bar - 1
    _, later = run_strangers(case, start=case.panel.stamps[first])
    assert np.array_equal(later.equity, whole.equity[first:])
    assert later.fills[0].bar == 1
    with pytest.raises(ConfigError, match="before start"):
        run_strangers(case, start=first + 2)
    with pytest.raises(ConfigError, match="not among"):
        run_strangers(case, start=10**6)


def test_ledger_counts_rows_before_all_feeds_have_begun() -> None:
    rows = [(float(day), 10.0, 10.0, 10.0, 10.0) for day in range(730_000, 730_010)]
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(RowsFeed(rows=rows))
    cerebro.adddata(RowsFeed(rows=rows[4:]))
    cerebro.addstrategy(Stranger)
    cerebro.addanalyzer(Ledger)
    ledger = cerebro.run()[0].analyzers.ledger
    assert len(ledger.path().cash) == len(ledger.stamps) == 10
