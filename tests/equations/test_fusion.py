"""A leg's share of risk is a line of its own in r, and the base is brought to the volatility target."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.config import load_config, overridden
from hybrid_bt.config.parts import MODES
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.fusion import (
    NOTHING,
    WHOLE,
    FusionParams,
    RiskParams,
    Said,
    Settled,
    leg_shares,
    legs_traded,
    settle_bar,
    share_at,
)
from hybrid_bt.equations.tilt import lean
from hybrid_bt.errors import ConfigError

fractions = st.floats(0.0, 1.0)
lines = st.lists(fractions, min_size=3, max_size=3).map(lambda three: FusionParams(*sorted(three, reverse=True)))
FREE = RiskParams(0.10, 2.0, 3.0, 9.0, 9.0, 9.0, 9.0, 252.0)


@given(lines, st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_pairs_lose_as_the_market_trends(p: FusionParams, r: float, s: float) -> None:
    assert share_at(min(r, s), *p) >= share_at(max(r, s), *p) - 1e-15
    assert p.at_trend - 1e-15 <= share_at(r, *p) <= p.at_reversion + 1e-15


@given(lines)
def test_named_shares_are_met_exactly(p: FusionParams) -> None:
    assert [share_at(r, *p) for r in (-1.0, 0.0, 1.0, -7.0, 7.0)] == [*p, p.at_reversion, p.at_trend]


def test_shares_between_by_hand() -> None:
    assert [share_at(r, 0.4, 0.3, 0.1) for r in (-0.5, 0.25)] == pytest.approx([0.35, 0.25], rel=1e-15)
    assert leg_shares(0.5, (WHOLE, (0.4, 0.2, 0.1), NOTHING)) == pytest.approx((1.0, 0.15, 0.0), rel=1e-15)
    assert legs_traded((WHOLE, (0.0, 0.0, 0.1), NOTHING)) == (True, True, False)


def test_pairs_that_gain_in_a_trend_are_refused() -> None:
    with pytest.raises(ConfigError, match="must not rise with r"):
        load_config("stable", overrides={"fusion": {"at_trend": 0.9}})


@pytest.mark.parametrize("mode", MODES)
def test_leg_that_is_off_leaves_the_account_to_the_other(mode: str) -> None:
    config = load_config(mode)
    off = [overridden(config, {name: {"enabled": False}}).lines() for name in ("sac", "kalman")]
    effect = config.sac.regime_effect
    base = (1.0 + effect, 1.0, 1.0 - effect)
    assert config.lines() == (base, tuple(config.fusion)) and off == [(NOTHING, WHOLE), (base, NOTHING)]


def test_few_pairs_that_a_rule_found_carry_little() -> None:
    config = load_config("stable")
    assert config.with_pairs_found(3).lines()[1] == pytest.approx(tuple(0.3 * share for share in config.fusion))
    assert config.with_pairs_found(10) == config.with_pairs_found(20) == config


def test_mix_by_hand() -> None:
    """Two assets at 20 % and 10 % a year without correlation, and a pair whose own volatility is 5 %."""
    layout = layout_of([[(0,), (1,)], [(0, 1)]])
    year = math.sqrt(252.0)
    said = Said([0.5, 0.5, 0.3, -0.2], [0.0, 0.05 / year], [0.20 / year, 0.10 / year], 0.0)
    out = Settled([0.0] * 2, [0.0] * 4, [0.0] * 2)
    scale = settle_bar(out, said, layout, [1.0, 0.25], FREE, [0.0] * 2)
    assert scale == out.weights[0] == pytest.approx(0.10 / math.hypot(0.10, 0.05))
    assert out.weights[1] == pytest.approx(0.25 * 0.10 / 0.05)
    assert list(out.targets) == pytest.approx([scale * 0.5 + 0.5 * 0.3, scale * 0.5 - 0.5 * 0.2])


def test_leg_that_has_shown_no_risk_is_not_blown_up() -> None:
    layout, said = layout_of([[(0,)], [(0, 1)]]), Said([0.0, 0.1, -0.1], [0.0, 1e-9], [0.01, 0.01], 0.3)
    out = Settled([0.0] * 2, [0.0] * 3, [0.0] * 2)
    settle_bar(out, said, layout, [1.0, 0.25], FREE, [0.0] * 2)
    assert out.weights[1] == FREE.leg_scale_limit


sizes = st.floats(0.01, 1.0)
sigmas = st.floats(0.002, 0.1)


@given(st.lists(st.tuples(sizes, sigmas, st.sampled_from((-1.0, 1.0))), min_size=1, max_size=8), st.floats(0.1, 2.0))
def test_base_leans_from_equal_risk_with_its_gross(wanted: list[tuple[float, float, float]], share: float) -> None:
    amounts, volatility = [size * sign for size, _, sign in wanted], [sigma for _, sigma, _ in wanted]
    n, layout = len(wanted), layout_of([[(i,) for i in range(len(wanted))]])
    leaned, stays, off = [0.0] * n, [0.0] * n, [9.0] * n
    for sides, weight in ((leaned, share), (stays, 1.0), (off, 0.0)):
        lean(sides, amounts, volatility, layout, weight)
    assert stays == amounts and not any(off)
    assert sum(map(abs, leaned)) == pytest.approx(sum(map(abs, amounts)))
    assert [amount > 0.0 for amount in leaned] == [amount > 0.0 for amount in amounts]
    risks, moved = ([abs(a) * sigma for a, sigma in zip(some, volatility, strict=True)] for some in (amounts, leaned))
    for i in range(1, n):  # what one asset's risk is beside another's, to the power
        assert moved[i] / moved[0] == pytest.approx((risks[i] / risks[0]) ** share, rel=1e-9)


@given(st.lists(st.tuples(st.floats(-2.0, 2.0), sigmas), min_size=2, max_size=8), st.floats(-1.0, 1.0))
def test_tilted_base_leans_as_if_tilted_by_less(seen: list[tuple[float, float]], r: float) -> None:
    """With e = 0.25: inverse volatility times exp(k z) at r is that at k (1 - e r)."""
    share = 1.0 - 0.25 * r

    def tilted(k: float) -> list[float]:
        raw = [math.exp(k * z) / sigma for z, sigma in seen]
        return [value / sum(raw) for value in raw]

    leaned, layout = [0.0] * len(seen), layout_of([[(i,) for i in range(len(seen))]])
    lean(leaned, tilted(0.5), [sigma for _, sigma in seen], layout, share)
    assert leaned == pytest.approx(tilted(0.5 * share), rel=1e-9)


def test_bundle_of_the_base_leans_as_a_whole() -> None:
    layout, leaned = layout_of([[(0, 1), (2,)]]), [0.0] * 3
    lean(leaned, [0.4, -0.2, 0.4], [0.01, 0.03, 0.01], layout, 0.5)
    assert leaned[1] / leaned[0] == pytest.approx(-0.5, rel=1e-15) and abs(leaned[0]) < 0.4 < leaned[2]
