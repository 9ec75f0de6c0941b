"""A record that does not add up is found; one that does is split by symbol to a cent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from broker_cases import panel_of, random_case

from hybrid_bt.account.reconcile import TickerPnl, attribution, reconcile
from hybrid_bt.account.records import AccountPath, Fill
from hybrid_bt.account.replay import replay
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import ReconciliationError


def traded() -> tuple[AccountPath, Any]:
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
        size=np.array([[0.0, 0.0], [50.0, -10.0], [0.0, -10.0]]),
        borrow=np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.5]]),
        fills=fills,
    )
    return path, panel


def test_an_account_by_hand_reconciles() -> None:
    path, panel = traded()
    assert reconcile(path, panel, 1000.0) == 0.0


def test_profit_by_symbol_by_hand() -> None:
    path, panel = traded()
    assert attribution(path, panel, 1000.0) == [
        TickerPnl("S0", 100.0, 2.0, 98.0, 1, 1, 1),
        TickerPnl("S1", -10.0, 2.5, -12.5, 0, 1, 0),
    ]


@pytest.mark.parametrize("what", ["cash", "equity", "size"])
@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_a_wrong_figure_is_named_with_its_bar(what: str, wrong: float) -> None:
    path, panel = traded()
    figures = getattr(path, what).copy()
    figures[2] += wrong
    with pytest.raises(ReconciliationError, match=rf"{what} on 2024-01-03.*row 2"):
        reconcile(replace(path, **{what: figures}), panel, 1000.0)


def test_a_lost_fill_or_cost_is_found() -> None:
    path, panel = traded()
    lost = replace(path, fills=path.fills[:-1])
    unpaid = replace(path, borrow=np.zeros_like(path.borrow))
    for broken in (lost, unpaid):
        with pytest.raises(ReconciliationError):
            reconcile(broken, panel, 1000.0)
        with pytest.raises(ReconciliationError, match="add up"):
            attribution(broken, panel, 1000.0)


def test_other_bars_are_refused() -> None:
    path, _ = traded()
    with pytest.raises(ReconciliationError, match="bars"):
        reconcile(path, panel_of([[1.0]] * 3, [[1.0]] * 3), 1000.0)


def test_a_flip_is_a_round_trip() -> None:
    # +50, to -50 (one trip), to 0 (another)
    panel = panel_of([[10.0]] * 5, [[10.0]] * 5)
    path = replay([[0.5], [-0.5], [0.0], [0.0], [0.0]], panel, cash=1000.0, costs=Costs(0.0, 0.0, 0.0))
    (row,) = attribution(path, panel, 1000.0)
    assert (row.trades, row.buys, row.sells) == (2, 2, 1)


def test_cash_under_leverage_reconciles_with_the_leverage_only() -> None:
    case = random_case(14)
    costs = case.costs._replace(leverage=2.0)
    targets = np.abs(np.nan_to_num(case.targets))
    path = replay(targets, case.panel, cash=1e6, costs=costs, rules=OrderRules(lot=0.0))
    assert len(path.fills) > 50
    assert reconcile(path, case.panel, 1e6, leverage=2.0) < 1e-12
    with pytest.raises(ReconciliationError, match="cash"):
        reconcile(path, case.panel, 1e6)
