"""The profit taken apart: a hand-worked pair, sums to the cent, and the market's part."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from report_cases import make_record

from hybrid_bt.account.attribution import contributions
from hybrid_bt.account.records import AccountPath, Fills
from hybrid_bt.backtest import run_backtest
from hybrid_bt.brain.laid import netted
from hybrid_bt.brain.records import Decisions, PairPaths
from hybrid_bt.config import load_config
from hybrid_bt.equations.bundles import bundles_of, layout_of
from hybrid_bt.feeds import load_bars
from hybrid_bt.report.tables import split_of


def flat(t: int, n: int = 2) -> np.ndarray:
    return np.zeros((t, n))


def total(found: dict[str, np.ndarray]) -> np.ndarray:
    return np.sum(list(found.values()), axis=0)


def pair_alone(kalman: np.ndarray) -> Decisions:
    """Two symbols, SAC wants neither, the pair has (T, 2)."""
    t, one = len(kalman), np.ones(len(kalman))
    return Decisions(
        legs={"sac": flat(t), "kalman": kalman},
        weights={"sac": 0.0 * one, "kalman": one},
        regime=0.0 * one,
        fused=kalman,
        target=kalman,
        scale=one,
        layout=layout_of([[(0,), (1,)], [(0, 1)]]),
        sides=np.hstack([flat(t), kalman]),
        risks=flat(t),
        together=np.zeros((t, 2), np.int64),
        wanted=kalman,
        guard=0.0 * one,
        market=np.zeros((t, 12)),
        waits=np.zeros((t, 2), np.bool_),
    )


def test_a_pair_by_hand():
    """1,000 of equity, prices of 10; +20 Y against -10 X (U = 200, V = 100, entry ratio 0.5), then Y +5 %, X +1 %."""
    close = np.array([[10.0, 10.0], [10.0, 10.0], [10.0, 10.0], [10.5, 10.1]])
    t = len(close)
    decisions = pair_alone(np.array([[0.2, -0.1]] * t))
    beta = np.array([[0.5], [0.5], [0.7], [0.7]])
    blank = np.zeros((t, 1))
    pairs = PairPaths(("Y:X",), blank, beta, blank, blank, blank, blank, blank, np.ones((t, 1)))
    profit = 20 * 0.5 - 10 * 0.1
    equity = np.array([1000.0, 1000.0, 1000.0, 1000.0 + profit])
    account = AccountPath(equity, equity, np.tile([20.0, -10.0], (t, 1)), flat(t), Fills.of(()))
    # the open of the last bar is its close, so the decision before the last two is what was held
    found = contributions(account, decisions, pairs, [(0, 1)], close, close)
    y, x, m, b = 0.05, 0.01, 0.03, 0.5
    assert found["kalman_spread"][-1] == pytest.approx(200 * ((y - m) - b * (x - m)))
    assert found["kalman_hedge_revision"][-1] == pytest.approx((200 * b - 100) * (x - m), abs=1e-12)
    assert found["kalman_market"][-1] == pytest.approx((200 - 100) * m)
    assert found["execution"][-1] == pytest.approx(0.0, abs=1e-12)
    assert total(found)[-1] == pytest.approx(profit)


def test_a_pair_keeps_the_ratio_of_its_entry_while_the_filter_moves_on():
    """Opened on row 2 at 0.5, when the filter said 0.8 of it; then Y +5 %, X +1 %."""
    close = np.array([[10.0, 10.0]] * 4 + [[10.5, 10.1]])
    t = len(close)
    decisions = pair_alone(np.where(np.arange(t)[:, None] >= 2, [[0.2, -0.1]], 0.0))
    blank = np.zeros((t, 1))
    beta = np.array([[np.nan], [0.5], [0.8], [0.3], [0.3]])  # that of the decision counts, not a later one
    position = np.where(np.arange(t)[:, None] >= 2, 1.0, 0.0)
    pairs = PairPaths(("Y:X",), blank, beta, blank, blank, blank, blank, blank, position)
    profit = 20 * 0.5 - 10 * 0.1
    equity = np.array([1000.0] * 4 + [1000.0 + profit])
    account = AccountPath(equity, equity, np.vstack([flat(3), [[20.0, -10.0]] * 2]), flat(t), Fills.of(()))
    found = contributions(account, decisions, pairs, [(0, 1)], close, close)
    y, x, m, b = 0.05, 0.01, 0.03, 0.8
    assert found["kalman_spread"][-1] == pytest.approx(200 * ((y - m) - b * (x - m)))
    assert found["kalman_hedge_revision"][-1] == pytest.approx((200 * b - 100) * (x - m))
    assert found["kalman_market"][-1] == pytest.approx((200 - 100) * m)
    assert found["execution"][-1] == pytest.approx(0.0, abs=1e-12)
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


def test_a_leg_that_the_limits_left_nothing_earns_nothing(real):
    wanted = real.decisions
    is_pair = np.array([len(columns) > 1 for _, columns in bundles_of(wanted.layout) for _ in columns])
    assert wanted.sides[:, is_pair].any()
    without = dataclasses.replace(wanted, sides=np.where(is_pair, 0.0, wanted.sides))
    found, whole = split_of(dataclasses.replace(real, decisions=without)), split_of(real)
    assert not np.any([found["kalman_spread"], found["kalman_hedge_revision"], found["kalman_market"]])
    assert np.array_equal(found["sac_market"], whole["sac_market"])
    assert np.array_equal(found["sac_selection"], whole["sac_selection"])


def test_the_parts_of_a_leg_are_what_its_settled_sides_earn(real):
    """Whatever the mix and the limits left of a wish, held from the next open, is all that a leg's parts speak of."""
    decisions, found, bars = real.decisions, split_of(real), real.bars
    parts = netted(decisions.legs, decisions.sides, decisions.layout, decisions.target.shape)
    assert sum(parts.values()) == pytest.approx(decisions.target, abs=1e-12)
    shares = {name: sides * real.accounts["hybrid"].equity[:, None] / bars.close for name, sides in parts.items()}
    for name, held in shares.items():
        before, now = held[:-2] * (bars.open[2:] - bars.close[1:-1]), held[1:-1] * (bars.close[2:] - bars.open[2:])
        earned = sum(values for part, values in found.items() if part.startswith(f"{name}_"))
        assert earned[2:] == pytest.approx((before + now).sum(axis=1), abs=1e-6)
    assert np.abs(found["kalman_spread"]).sum() > 0.0
