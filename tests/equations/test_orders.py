"""Orders that belong together are one decision, and a full account can fill what it sends."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import backtrader as bt
import numpy as np
import pytest
from broker_cases import Case, actions_of, environment_of, feeds, panel_of, random_case, run_cerebro
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.account.replay import replay
from hybrid_bt.analyzers.ledger import Ledger
from hybrid_bt.envs.episodes import Episode
from hybrid_bt.equations.accounting import send_orders
from hybrid_bt.equations.book import closing_part, margin_check, new_book, open_account
from hybrid_bt.equations.bundles import joined
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules, order_size
from hybrid_bt.errors import ConfigError
from hybrid_bt.strategies.orders import TargetOrders

NAN, RICH, EQUITY = math.nan, 1e15, 1e6
WEIGHT = st.floats(-2.0, 2.0).map(lambda w: round(w, 3))


class Row(NamedTuple):
    """What an account decides on at one close."""

    targets: list[float]
    closes: list[float]
    held: list[float]
    sides: list[int]
    rules: OrderRules
    costs: Costs


@st.composite
def rows(draw: st.DrawFn) -> Row:
    n = draw(st.integers(2, 6))
    lot = draw(st.sampled_from([0.0, 1.0, 100.0]))

    def each(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    closes = each(st.floats(1.0, 500.0))
    held = [order_size(w, EQUITY, close, 0.0, OrderRules(lot)) for w, close in zip(each(WEIGHT), closes, strict=True)]
    near = [held[i] * closes[i] / EQUITY + change for i, change in enumerate(each(st.floats(-0.02, 0.02)))]
    targets = [draw(st.sampled_from([near[i], near[i], draw(WEIGHT), 0.0, NAN])) for i in range(n)]
    rules = OrderRules(
        lot, draw(st.sampled_from([0.0, 50.0])), draw(st.sampled_from([0.0, 0.01])), draw(st.sampled_from([0.0, 0.03]))
    )
    costs = Costs(10.0, 5.0, leverage=draw(st.sampled_from([1.0, 2.5])))
    missing = each(st.sampled_from([False, False, False, True]))
    closes = [NAN if gone else close for gone, close in zip(missing, closes, strict=True)]
    return Row(targets, closes, held, each(st.integers(0, 2)), rules, costs)


def decided(row: Row, cash: float) -> list[float]:
    """The orders of a row, signed shares."""
    book = new_book(len(row.closes))
    book.size[:] = row.held
    account = open_account(cash)._replace(equity=EQUITY)
    send_orders(account, book, 0, row.targets, row.closes, row.sides, row.rules, row.costs)
    return list(book.fresh)


@given(rows())
def test_all_of_a_label_trade_to_their_targets_or_none_does(row: Row) -> None:
    orders = decided(row, RICH)
    given_alone = zip(row.targets, row.closes, row.held, strict=True)
    alone = [order_size(target, EQUITY, close, held, row.rules) for target, close, held in given_alone]
    for label in set(row.sides):
        members = [i for i, side in enumerate(row.sides) if side == label]
        trades = any(alone[i] for i in members)
        for i in members:
            if not row.closes[i] > 0.0 or row.targets[i] != row.targets[i]:
                assert orders[i] == 0.0
            elif trades or row.targets[i] == 0.0:
                off = row.targets[i] * EQUITY / row.closes[i] - row.held[i] - orders[i]
                assert abs(off) < max(row.rules.lot, 2.0**-20) + 1e-6
            else:
                assert orders[i] == 0.0


def checked(row: Row, orders: list[float], cash: float) -> float:
    """The least scratch cash of the margin check, over all orders, sells first."""
    least = math.inf
    for i in sorted(range(len(orders)), key=lambda i: orders[i] > 0.0):
        if orders[i] != 0.0:
            cash = margin_check(row.held[i], orders[i], row.closes[i], cash, row.costs)
            least = min(least, cash)
    return least


@given(rows(), st.floats(-0.5, 2.0), st.sampled_from([None, -1e-3, -1e-9, 0.0, 1e-9, 1e-6, 1e-3, 1.0]))
def test_a_margin_check_would_refuse_none_that_is_accepted_at_once(row: Row, cash: float, off: float | None) -> None:
    """Also where what there is and what is needed differ by next to nothing."""
    full = decided(row, RICH)
    held = cash * EQUITY if off is None or not any(full) else EQUITY - checked(row, full, EQUITY) + off
    book = new_book(len(row.closes))
    book.size[:] = row.held
    account = open_account(held)._replace(equity=EQUITY)
    sent = send_orders(account, book, 0, row.targets, row.closes, row.sides, row.rules, row.costs)
    if sent.waiting:
        assert sent.submitted == 0 and checked(row, list(book.fresh), held) >= 0.0
    rich = send_orders(account._replace(cash=1e9), book, 0, row.targets, row.closes, row.sides, row.rules, row.costs)
    assert rich.submitted == 0  # not asked about in vain


@given(rows(), st.floats(-0.5, 2.0))
def test_buys_leave_the_buffer_and_hedges_are_cut_as_a_whole(row: Row, cash: float) -> None:
    full, cut = decided(row, RICH), decided(row, cash * EQUITY)
    left, still = cash * EQUITY, []
    for i in sorted(range(len(cut)), key=lambda i: cut[i] > 0.0):
        if cut[i] != 0.0:
            left = margin_check(row.held[i], cut[i], row.closes[i], left, row.costs)
    for label in set(row.sides):
        members = [i for i, side in enumerate(row.sides) if side == label and full[i] != 0.0]
        exits = [i for i in members if full[i] == -row.held[i]]
        assert all(cut[i] == full[i] for i in exits)
        opens = [i for i in members if full[i] > 0.0 and closing_part(row.held[i], full[i]) != full[i]]
        if len(members) == 1 and opens:  # closes what is short, and opens what there is cash for
            i = members[0]
            closing = closing_part(row.held[i], full[i])
            assert closing <= cut[i] <= full[i]
            still += [i] if cut[i] > closing else []
        elif not opens:
            assert all(cut[i] == full[i] for i in members)
        else:  # each to the same part of its way, to a lot for each time that the row is cut
            room, others = 4.0 * max(row.rules.lot, 2.0**-20), [i for i in members if i not in exits]
            assert all(0.0 <= cut[i] / full[i] <= 1.0 for i in others)
            assert max(abs(cut[i]) / abs(full[i]) for i in others) <= min(
                (abs(cut[i]) + room) / abs(full[i]) for i in others
            )
            takes = 0.0
            for i in others:
                takes = margin_check(row.held[i], full[i], row.closes[i], takes, row.costs)
            still += [i for i in others if cut[i] != 0.0 and takes < 0.0]
    # what is still bought leaves the buffer; where nothing is, no order that could be scaled is to blame
    assert not still or left >= row.rules.cash_buffer * EQUITY - 1e-6


@pytest.mark.parametrize("compiled", [False, True])
def test_no_labels_are_own_labels_to_the_bit(compiled: bool) -> None:
    for seed in range(40):
        case = random_case(seed)
        terms: dict[str, Any] = {"costs": case.costs, "rules": case.rules, "compiled": compiled}
        plain = replay(case.targets, case.panel, **terms)
        labels = np.arange(len(case.panel.symbols))
        own = replay(case.targets, case.panel, sides=labels[::-1], **terms)
        assert np.array_equal(plain.equity, own.equity) and plain.fills == own.fills


def test_labels_of_another_shape_are_refused() -> None:
    case = random_case(0)
    for wrong in (np.zeros(3, int), np.zeros((2, 2), int), np.zeros(case.targets.shape)):
        with pytest.raises(ConfigError, match="sides"):
            replay(case.targets, case.panel, sides=wrong)


@given(st.integers(2, 8), st.data())
def test_joined_labels_are_the_smallest_column_in_reach(n: int, data: st.DataObject) -> None:
    column = st.integers(0, n - 1)
    bundles = data.draw(st.lists(st.lists(column, min_size=1, max_size=3, unique=True).map(tuple), max_size=6))
    reach = np.eye(n, dtype=bool)
    for columns in bundles:
        reach[np.ix_(columns, columns)] = True
    for _ in range(n):
        reach = reach @ reach
    assert joined(n, bundles) == [int(np.argmax(row)) for row in reach]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_band_no_longer_breaks_a_hedge(compiled: bool) -> None:
    # S0 is off by 0.03 and S1 by 0.02 of equity; a band of 0.025 lets S0 trade, and with it S1
    panel = panel_of([[10.0, 10.0]] * 4, [[10.0, 10.0]] * 4)
    targets = [[0.4, -0.4], [0.431, -0.421], [NAN, NAN], [NAN, NAN]]
    rules = OrderRules(rebalance_band=0.025)
    case = Case(panel, np.array(targets), 1000.0, Costs(0.0, 0.0, 0.0), rules, {}, np.zeros((4, 2), int))
    path = run_cerebro(case)
    assert path.size[-1].tolist() == [43.0, -42.0]
    lanes = environment_of(case).lanes(1, compiled=compiled)
    lanes.begin(0, Episode(0, 0, 3))
    for row in targets[:-1]:
        lanes.step(actions_of([row]))
    assert list(lanes.book().size) == [43.0, -42.0]


# ---- a full account


def gentle(seed: int, gap: float) -> tuple[Any, Any]:
    """Prices whose opens lie within `gap` of the closes before, and a target of all in one symbol on each bar."""
    rng = np.random.default_rng(seed)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (120, 4)), axis=0))
    opens = np.vstack([closes[:1], closes[:-1] * np.exp(rng.uniform(-gap, gap, (119, 4)))])
    targets = np.zeros(closes.shape)
    targets[np.arange(120), rng.integers(0, 4, 120)] = 1.0
    return panel_of(opens, closes), targets


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0]))
def test_fully_invested_targets_lose_no_order_to_a_gap_that_the_buffer_pays(seed: int, lot: float) -> None:
    panel, targets = gentle(seed, 0.01)
    path = replay(targets, panel, rules=OrderRules(lot))
    assert path.rejected == 0
    assert (path.size[1:] * panel.close[1:]).sum() > 0.0
    held = (path.size * panel.close).sum(axis=1)[1:] / path.equity[1:]
    assert held.min() > 0.94


def test_what_a_gap_cancels_is_named_and_sent_again_at_what_the_cash_carries() -> None:
    # 97 of 100 shares at 10; at 11 they would cost 1067. The next bar buys 97 % of 1000 at 11: 88
    panel = panel_of([[10.0], [11.0], [11.0], [11.0]], [[10.0], [11.0], [11.0], [11.0]])
    case = Case(panel, np.ones((4, 1)), 1000.0, Costs(0.0, 0.0, 0.0), OrderRules(rebalance_band=0.02), {})
    path, twin = run_cerebro(case), replay(case.targets, panel, cash=1000.0, costs=case.costs, rules=case.rules)
    assert (path.rejected, path.first_rejected, twin.rejected) == (1, 1, 1)
    assert path.size[:, 0].tolist() == twin.size[:, 0].tolist() == [0.0, 0.0, 88.0, 88.0]


class Full(bt.Strategy):
    params = (("targets", None), ("share", 1.0))

    def start(self) -> None:
        self.orders = TargetOrders(self, OrderRules(), equity_share=self.p.share)

    def next(self) -> None:
        self.orders.send(self.p.targets[len(self) - 1])


@pytest.mark.parametrize("terms", [{"commission": 0.01}, {"commission": 0.05, "commtype": bt.CommInfoBase.COMM_FIXED}])
@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5)])
def test_the_buffer_holds_under_backtraders_own_schemes_and_beside_others(
    terms: dict[str, Any], shares: tuple[float, ...]
) -> None:
    for seed in range(5):
        panel, targets = gentle(seed, 0.01)
        cerebro = bt.Cerebro(stdstats=False)
        for feed in feeds(panel):
            cerebro.adddata(feed)
        cerebro.broker.setcash(1e6)
        cerebro.broker.setcommission(stocklike=True, percabs=True, **terms)
        for share in shares:
            cerebro.addstrategy(Full, targets=targets.tolist(), share=share)
        cerebro.addanalyzer(Ledger, _name="ledger")
        path = cerebro.run()[0].analyzers.ledger.path()
        assert path.rejected == 0 and len(path.fills) > 100
        assert np.median(path.cash[5:] / path.equity[5:]) < 0.05
