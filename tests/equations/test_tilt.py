"""The base is inverse volatility; actions move it by their cross-section alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.tilt import TiltParams, smoothing_bars, tilt_bars

SIGMAS = [0.01, 0.02, 0.04]


def shares_of(actions: list[list[float]], params: TiltParams, warm: list[bool] | None = None) -> list[list[float]]:
    n, t = len(actions[0]), len(actions)
    found = [[0.0] * n for _ in range(t)]
    tilt_bars(found, [0.0] * n, actions, [SIGMAS[:n]] * t, [warm or [True] * n] * t, params)
    return found


def test_without_a_tilt_it_is_inverse_volatility() -> None:
    (shares,) = shares_of([[0.3, -0.9, 0.1]], TiltParams(0.0, 1.0))
    assert shares == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=1e-14)


def test_tilt_by_hand() -> None:
    (shares,) = shares_of([[1.0, 0.0, -1.0]], TiltParams(0.5, 0.0))
    z = math.sqrt(1.5)  # 1 in units of the population's standard deviation, sqrt(2 / 3)
    parts = [math.exp(0.5 * z) * 4, 2.0, math.exp(-0.5 * z)]
    assert shares == pytest.approx([part / sum(parts) for part in parts], rel=1e-14)


@given(st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3), st.floats(0.1, 3.0), st.floats(-0.5, 0.5))
def test_level_and_scale_of_the_actions_do_not_count(actions: list[float], scale: float, level: float) -> None:
    params = TiltParams(1.0, 0.0)
    (one,) = shares_of([actions], params)
    (other,) = shares_of([[scale * action + level for action in actions]], params)
    if max(actions) - min(actions) > 1e-3:
        assert one == pytest.approx(other, rel=1e-6)


@given(st.lists(st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3), min_size=1, max_size=6), st.floats(0.0, 6.0))
def test_shares_are_a_long_portfolio(actions: list[list[float]], half_life: float) -> None:
    for shares in shares_of(actions, TiltParams(1.0, half_life), [True, True, False]):
        assert shares[2] == 0.0 and min(shares) >= 0.0 and sum(shares) == pytest.approx(1.0, rel=1e-12)


def test_low_pass_moves_half_the_way_in_its_half_life() -> None:
    rows = shares_of([[1.0, -1.0]] * 3, TiltParams(1.0, 3.0))
    odds = [math.log(row[0] * SIGMAS[0] / (row[1] * SIGMAS[1])) / 2.0 for row in rows]
    assert odds[-1] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("bps", "bars"), [(0, 1), (3, 1), (4.5, 2), (6, 3), (8, 3), (10, 3), (12.5, 4.5), (15, 6), (99, 6)]
)
def test_dear_trading_is_slow_trading(bps: float, bars: float) -> None:
    assert smoothing_bars(Costs(spread_bps=bps, fee_bps=bps / 2)) == pytest.approx(bars)


def test_one_asset_and_equal_actions_are_no_tilt() -> None:
    assert shares_of([[0.7]], TiltParams(1.0, 1.0)) == [[1.0]]
    assert shares_of([[0.3, 0.3, 0.3]], TiltParams(1.0, 1.0))[0] == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=1e-14)


def test_asset_that_does_not_move_is_not_the_whole_account() -> None:
    found = [[0.0, 0.0]]
    tilt_bars(found, [0.0, 0.0], [[0.0, 0.0]], [[1e-6, 0.02]], [[True, True]], TiltParams(0.0, 0.0))
    assert found[0][0] < 0.96
