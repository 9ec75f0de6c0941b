"""A record that does not add up is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from broker_cases import hand_account, panel_of, random_case

from hybrid_bt.account.reconcile import reconcile
from hybrid_bt.account.replay import replay
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import ReconciliationError


def test_an_account_by_hand_reconciles() -> None:
    path, panel = hand_account()
    assert reconcile(path, panel, 1000.0) == 0.0


@pytest.mark.parametrize("what", ["cash", "equity", "size"])
@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_a_wrong_figure_is_named_with_its_bar(what: str, wrong: float) -> None:
    path, panel = hand_account()
    figures = getattr(path, what).copy()
    figures[2] += wrong
    with pytest.raises(ReconciliationError, match=rf"{what} on 2024-01-03.*row 2"):
        reconcile(replace(path, **{"held" if what == "size" else what: figures}), panel, 1000.0)


def test_a_lost_fill_or_cost_is_found() -> None:
    path, panel = hand_account()
    lost = replace(path, fills=path.fills[:-1])
    unpaid = replace(path, borrow=np.zeros_like(path.borrow))
    for broken in (lost, unpaid):
        with pytest.raises(ReconciliationError):
            reconcile(broken, panel, 1000.0)


def test_other_bars_are_refused() -> None:
    path, _ = hand_account()
    with pytest.raises(ReconciliationError, match="bars"):
        reconcile(path, panel_of([[1.0]] * 3, [[1.0]] * 3), 1000.0)


def test_cash_under_leverage_is_less_what_longs_cost_in_full() -> None:
    case = random_case(14)
    costs = case.costs._replace(leverage=2.0)
    targets = np.abs(np.nan_to_num(case.targets))
    path = replay(targets, case.panel, cash=1e6, costs=costs, rules=OrderRules(lot=0.0))
    assert len(path.fills) > 50
    assert path.cash.min() < 0.0 and reconcile(path, case.panel, 1e6) < 1e-12
