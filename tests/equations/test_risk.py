"""Limits hold for every input, and nothing but scaling and capping happens to a target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hybrid_bt.equations.fusion import RiskParams, limit_in_place, portfolio_volatility

ROUNDING = 1e-12
WIDE = RiskParams(1e6, 1e6, 1e6, 1e6, 1e6, 1e6, 1e6, 252.0)  # nothing binds

params = st.builds(
    RiskParams,
    volatility_target=st.floats(0.01, 0.5),
    scale_limit=st.floats(0.1, 5.0),
    leg_scale_limit=st.just(1.0),
    hedged_gross_limit=st.just(1.0),
    gross_limit=st.floats(0.1, 4.0),
    net_limit=st.floats(0.05, 3.0),
    asset_limit=st.floats(0.01, 2.0),
    bars_per_year=st.sampled_from([12.0, 252.0, 98280.0]),
)
target = st.one_of(st.just(0.0), st.floats(-10.0, 10.0).filter(lambda value: abs(value) > 1e-100))
assets = st.lists(st.tuples(target, st.floats(1e-6, 0.2)), min_size=1, max_size=8)
correlations = st.floats(0.0, 0.99)


def split(book: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [pair[0] for pair in book], [pair[1] for pair in book]


def limit(targets: list[float], volatilities: list[float], rho: float, p: RiskParams) -> tuple[list[float], float]:
    """What `limit_in_place` leaves of targets, and its factor."""
    held = list(targets)
    return held, limit_in_place(held, volatilities, rho, p)


@given(assets, correlations)
def test_volatility_is_the_quadratic_form_of_equicorrelation(book: list[tuple[float, float]], rho: float) -> None:
    targets, volatilities = split(book)
    n = len(book)
    matrix = np.outer(volatilities, volatilities) * (rho * np.ones((n, n)) + (1.0 - rho) * np.eye(n))
    wanted = np.array(targets) @ matrix @ np.array(targets)
    scale = float(np.dot(np.abs(targets), volatilities))
    assert portfolio_volatility(targets, volatilities, rho) ** 2 == pytest.approx(
        wanted, rel=1e-9, abs=1e-12 * scale**2
    )


def test_volatility_by_hand() -> None:
    # risks 3 and 4: uncorrelated 5; hedged at correlation 0.5 sqrt(9 + 16 - 12)
    assert portfolio_volatility([3.0, 4.0], [1.0, 1.0], 0.0) == 5.0
    assert portfolio_volatility([3.0, -4.0], [1.0, 1.0], 0.5) == pytest.approx(math.sqrt(13.0), rel=1e-15)


@given(assets, correlations, params)
def test_hard_limits_hold_for_every_input(book: list[tuple[float, float]], rho: float, p: RiskParams) -> None:
    targets, volatilities = split(book)
    held, scale = limit(targets, volatilities, rho, p)
    assert math.fsum(map(abs, held)) <= p.gross_limit * (1.0 + ROUNDING)
    assert abs(math.fsum(held)) <= p.net_limit * (1.0 + ROUNDING)
    assert max(map(abs, held)) <= p.asset_limit * (1.0 + ROUNDING)
    assert scale <= p.scale_limit or not any(targets)
    assert all(
        abs(after) <= abs(before) * p.scale_limit * (1.0 + ROUNDING)
        for before, after in zip(targets, held, strict=True)
    )


# regression: capping the long leg of a hedged book left its shorts uncovered, at more than the target
@example([(0.4, 0.01), (-0.2, 0.01), (-0.2, 0.01)], 0.9, RiskParams(0.03, 1.0, 1.0, 4.0, 1.0, 3.0, 0.2, 252.0))
@given(assets, correlations, params)
def test_volatility_never_exceeds_its_target(book: list[tuple[float, float]], rho: float, p: RiskParams) -> None:
    targets, volatilities = split(book)
    held, _ = limit(targets, volatilities, rho, p)
    yearly = portfolio_volatility(held, volatilities, rho) * math.sqrt(p.bars_per_year)
    assert yearly <= p.volatility_target * (1.0 + 1e-9)


@given(assets, correlations, st.floats(0.01, 0.5))
def test_volatility_meets_its_target_where_nothing_else_binds(
    book: list[tuple[float, float]], rho: float, wanted: float
) -> None:
    targets, volatilities = split(book)
    assume(portfolio_volatility(targets, volatilities, rho) > 1e-6)
    held, _ = limit(targets, volatilities, rho, WIDE._replace(volatility_target=wanted))
    yearly = portfolio_volatility(held, volatilities, rho) * math.sqrt(252.0)
    assert yearly == pytest.approx(wanted, rel=1e-9)


@given(assets, correlations, params)
def test_signs_are_kept(book: list[tuple[float, float]], rho: float, p: RiskParams) -> None:
    targets, volatilities = split(book)
    held, _ = limit(targets, volatilities, rho, p)
    assert [np.sign(value) for value in held] == [np.sign(value) for value in targets]


@given(assets, correlations, params)
def test_mirrored_targets_are_held_mirrored(book: list[tuple[float, float]], rho: float, p: RiskParams) -> None:
    targets, volatilities = split(book)
    mirrored, _ = limit([-value for value in targets], volatilities, rho, p)
    assert mirrored == [-value for value in limit(targets, volatilities, rho, p)[0]]


@given(st.integers(1, 5), correlations, params)
def test_nothing_in_nothing_out(n: int, rho: float, p: RiskParams) -> None:
    assert limit([0.0] * n, [0.01] * n, rho, p)[0] == [0.0] * n


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"scale_limit": 2.0}, [0.8, -0.4]),
        ({"scale_limit": 2.0, "gross_limit": 0.9}, [0.6, -0.3]),
        ({"scale_limit": 2.0, "net_limit": 0.1}, [0.2, -0.1]),
        ({"scale_limit": 2.0, "asset_limit": 0.5}, [0.5, -0.4]),
        ({"volatility_target": 0.05}, [0.4, -0.2]),
    ],
)
def test_each_limit_by_hand(change: dict[str, float], wanted: list[float]) -> None:
    # volatilities 0.1 and 0.15 per bar, one bar a year: risks 0.04 and 0.03, together 0.05
    p = WIDE._replace(bars_per_year=1.0)._replace(**change)
    assert limit([0.4, -0.2], [0.1, 0.15], 0.0, p)[0] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("change", [{"gross_limit": 0.6}, {"net_limit": 0.2}, {"asset_limit": 0.4}])
def test_a_limit_overshot_by_little_is_met(change: dict[str, float]) -> None:
    (name, bound), targets = *change.items(), [0.4002, -0.2]
    held, _ = limit(targets, [0.1, 0.15], 0.0, WIDE._replace(scale_limit=1.0, **change))
    reached = {"gross_limit": sum(map(abs, held)), "net_limit": abs(sum(held)), "asset_limit": max(map(abs, held))}
    assert reached[name] == pytest.approx(bound, rel=1e-12)


def test_cap_that_unbalances_a_hedged_book_does_not_break_the_net_limit() -> None:
    # the cap leaves 0.4 against 0.6; half of everything brings the net from 0.2 down to 0.1
    p = WIDE._replace(scale_limit=1.0, asset_limit=0.4, net_limit=0.1)
    held, scale = limit([0.6, -0.3, -0.3], [1e-6] * 3, 0.0, p)
    assert held == pytest.approx([0.2, -0.15, -0.15], rel=1e-12) and scale == 1.0
