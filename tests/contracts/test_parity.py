"""The accounting twin against Backtrader's broker: equal to the last bit, at every bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from broker_cases import Case, actions_of, environment_of, net_of_symbols, random_case, run_cerebro

from hybrid_bt.account.reconcile import reconcile
from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.replay import replay

CASES, CHUNK = 520, 20
FIELDS = ("cash", "equity", "size", "borrow")


def twin(case: Case, **options: Any) -> AccountPath:
    terms = {"cash": case.cash, "costs": case.costs, "rules": case.rules, "sides": case.sides}
    return replay(case.targets, case.panel, **terms, **options)


def assert_same(mine: AccountPath, theirs: AccountPath, seed: int) -> None:
    for field in FIELDS:
        assert np.array_equal(getattr(mine, field), getattr(theirs, field)), (seed, field)
    assert mine.fills == theirs.fills, seed
    assert mine.rejected == theirs.rejected, seed


def assert_environment_same(case: Case, theirs: AccountPath, seed: int) -> None:
    """Cash, equity and positions at every close, and the rejections, until the account is ruined."""
    env = environment_of(case)
    env.reset()
    row, over = 0, False
    while True:
        account = env.account
        assert account.equity == theirs.equity[row], (seed, row)
        assert case.costs.leverage > 1.0 or account.cash == theirs.cash[row], (seed, row)
        assert account.interest == pytest.approx(theirs.borrow[: row + 1].sum(), rel=1e-9, abs=1e-6), (seed, row)
        assert np.array_equal(env.sizes, theirs.size[row]), (seed, row)
        if row == len(theirs.cash) - 1 or over:
            break
        *_, over, cut, _ = env.step(actions_of(case.targets[row]))
        row += 1
        ruined = min(theirs.equity[row], ahead(case, theirs, row)) <= 0.0
        assert over == ruined and (over or cut == (row == len(theirs.cash) - 1)), (seed, row)
    rejected = theirs.rejected if row == len(theirs.cash) - 1 else twin(cut_after(case, row)).rejected
    assert account.rejected == rejected, seed


def ahead(case: Case, path: AccountPath, row: int) -> float:
    """Equity at the next open, before fills: what rewards end with."""
    if row == len(path.equity) - 1:
        return float(path.equity[row])
    opens, held = case.panel.open[row + 1], path.size[row]
    last = [next((price for price in column if price == price), 0.0) for column in case.panel.close[row::-1].T]
    moved = np.where(np.isfinite(opens), opens - last, 0.0)
    return float(path.equity[row] + held @ moved - path.borrow[row + 1].sum())


def cut_after(case: Case, row: int) -> Case:
    """The rows up to this one."""
    fields = {field: getattr(case.panel, field)[: row + 1] for field in case.panel._fields if field != "symbols"}
    return case._replace(
        panel=case.panel._replace(**fields),
        targets=case.targets[: row + 1],
        sides=None if case.sides is None else case.sides[: row + 1],
    )


def check_seed(seed: int) -> AccountPath:
    case = random_case(seed)
    theirs = run_cerebro(case)
    assert_environment_same(case, theirs, seed)
    assert_same(twin(case, compiled=False), theirs, seed)
    assert_same(twin(case, compiled=True), theirs, seed)
    assert reconcile(theirs, case.panel, case.cash) < 1e-9
    assert net_of_symbols(theirs, case.panel) == pytest.approx(theirs.equity[-1] - case.cash, abs=0.005)
    return theirs


@pytest.mark.parametrize("first", range(0, CASES, CHUNK))
def test_twin_is_the_broker(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check_seed(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(CASES, CASES + 3000, 100))
def test_twin_is_the_broker_on_more_paths(first: int) -> None:
    for seed in range(first, first + 100):
        check_seed(seed)


def test_random_paths_meet_what_they_are_for() -> None:
    # parity on paths without rejections, ruin, gaps or interest would prove little
    cases = [random_case(seed) for seed in range(CASES)]
    paths = [twin(case, compiled=True) for case in cases]
    assert sum(len(path.cash) for path in paths) > 40_000
    assert sum(len(path.fills) for path in paths) > 80_000
    assert sum(path.rejected for path in paths) > 2_000
    assert sum(case.sides is not None for case in cases) > 200
    assert sum(bool((path.equity <= 0).any()) for path in paths) > 40
    assert sum(bool(path.borrow.any()) for path in paths) > 200
    assert sum(bool((path.borrow < 0.0).any()) for path in paths) > 100
    assert sum(bool((path.borrow * (path.size > 0.0) > 0.0).any()) for path in paths) > 50
    assert sum(bool(not case.panel.traded.all()) for case in cases) > 200
    assert sum(case.rules.lot == 0.0 for case in cases) > 100
    assert sum(case.costs.leverage > 1.0 for case in cases) > 100
    assert {case.panel.close.shape[1] for case in cases} == set(range(2, 9))
    assert max(len(path.cash) for path in paths) > 500


def test_later_bars_leave_earlier_rows_alone() -> None:
    case = random_case(11)
    keep = len(case.targets) - 20
    short, full = twin(cut_after(case, keep - 1)), twin(case)
    for field in FIELDS:
        assert np.array_equal(getattr(short, field), getattr(full, field)[:keep])
