"""The profit taken apart: a hand-worked pair, sums to the cent, and the market's part."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from report_cases import make_record

from hybrid_bt.account.attribution import contributions
from hybrid_bt.account.records import AccountPath
from hybrid_bt.backtest import run_backtest
from hybrid_bt.brain.records import Decisions, PairPaths
from hybrid_bt.config import load_config
from hybrid_bt.feeds import load_bars
from hybrid_bt.report.tables import split_of


def flat(t: int, n: int = 2) -> np.ndarray:
    return np.zeros((t, n))


def total(found: dict[str, np.ndarray]) -> np.ndarray:
    return np.sum(list(found.values()), axis=0)


def test_a_pair_by_hand():
    """1,000 of equity, prices of 10; +20 Y against -10 X (U = 200, V = 100, entry ratio 0.5), then Y +5 %, X +1 %."""
    close = np.array([[10.0, 10.0], [10.0, 10.0], [10.0, 10.0], [10.5, 10.1]])
    t = len(close)
    kalman = np.array([[0.2, -0.1]] * t)
    decisions = Decisions(
        legs={"sac": flat(t), "kalman": kalman},
        weights={"sac": np.zeros(t), "kalman": np.ones(t)},
        regime=np.zeros(t),
        fused=kalman,
        target=kalman,
        scale=np.ones(t),
    )
    beta = np.array([[0.5], [0.5], [0.7], [0.7]])
    blank = np.zeros((t, 1))
    pairs = PairPaths(("Y:X",), blank, beta, blank, blank, blank, blank, blank, np.ones((t, 1)))
    profit = 20 * 0.5 - 10 * 0.1
    equity = np.array([1000.0, 1000.0, 1000.0, 1000.0 + profit])
    account = AccountPath(equity, equity, np.tile([20.0, -10.0], (t, 1)), flat(t), ())
    # the open of the last bar is its close, so the decision before the last two is what was held
    found = contributions(account, decisions, pairs, [(0, 1)], 0.3, close, close)
    y, x, m, b = 0.05, 0.01, 0.03, 0.5
    assert found["kalman_spread"][-1] == pytest.approx(200 * ((y - m) - b * (x - m)))
    assert found["kalman_hedge_revision"][-1] == pytest.approx((200 * b - 100) * (x - m), abs=1e-12)
    assert found["kalman_market"][-1] == pytest.approx((200 - 100) * m)
    assert found["execution"][-1] == pytest.approx(0.0, abs=1e-12)
    assert total(found)[-1] == pytest.approx(profit)


def test_a_pair_is_explained_by_the_hedge_ratio_known_before_its_entry():
    """Opened on row 2, when the filter said 0.5 before the bar and 0.8 after it; all else as above, at 0.5."""
    close = np.array([[10.0, 10.0]] * 4 + [[10.5, 10.1]])
    t = len(close)
    kalman = np.where(np.arange(t)[:, None] >= 2, [[0.2, -0.1]], 0.0)
    blank, one = np.zeros((t, 1)), np.ones(t)
    decisions = Decisions(
        {"sac": flat(t), "kalman": kalman}, {"sac": 0.0 * one, "kalman": one}, 0.0 * one, kalman, kalman, one
    )
    beta = np.array([[0.3], [0.5], [0.8], [0.8], [0.8]])
    position = np.where(np.arange(t)[:, None] >= 2, 1.0, 0.0)
    pairs = PairPaths(("Y:X",), blank, beta, blank, blank, blank, blank, blank, position)
    profit = 20 * 0.5 - 10 * 0.1
    equity = np.array([1000.0] * 4 + [1000.0 + profit])
    account = AccountPath(equity, equity, np.vstack([flat(3), [[20.0, -10.0]] * 2]), flat(t), ())
    found = contributions(account, decisions, pairs, [(0, 1)], 0.3, close, close)
    assert found["execution"][-1] == pytest.approx(0.0, abs=1e-12)  # at another ratio the legs do not explain it all
    assert total(found)[-1] == pytest.approx(profit)


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_sum_to_the_profit_whatever_was_traded(seed: int):
    record = make_record(t=120 + seed, every=0.3)
    found = split_of(record)
    equity = record.accounts["hybrid"].equity
    assert np.isfinite(total(found)).all()
    assert np.abs(total(found).cumsum() - (equity - equity[0])).max() < 0.01
    assert found["borrow"].sum() == pytest.approx(-record.accounts["hybrid"].borrow.sum())


@pytest.fixture(scope="module")
def real():
    config = load_config("stable")
    bars = load_bars("us20", symbols=("KO", "PEP", "XOM", "CVX"), end=np.datetime64("2012-12-31").item())
    return run_backtest(bars, config=config, pairs="KO:PEP,CVX:XOM")


def test_a_real_run_adds_up_and_little_is_left_to_execution(real):
    found = split_of(real)
    equity = real.accounts["hybrid"].equity
    assert total(found).sum() == pytest.approx(equity[-1] - equity[0], abs=0.01)
    assert np.abs(found["execution"]).mean() < 0.2 * np.abs(found["sac_market"]).mean()
    assert found["commissions"].sum() == pytest.approx(-sum(f.commission for f in real.accounts["hybrid"].fills))


def test_a_leg_without_weight_earns_nothing(real):
    wanted = real.decisions
    weights = {"sac": np.ones_like(wanted.regime), "kalman": np.zeros_like(wanted.regime)}
    alone = dataclasses.replace(real, decisions=dataclasses.replace(wanted, weights=weights))
    found = split_of(alone)
    assert not np.any([found["kalman_spread"], found["kalman_hedge_revision"], found["kalman_market"]])
