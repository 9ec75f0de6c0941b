"""The mix is convex in r and has no other effect."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.config import load_config
from hybrid_bt.config.parts import MODES
from hybrid_bt.equations.fusion import (
    FusionParams,
    MixParams,
    constant_weights,
    leg_weights,
    legs_traded,
    mix_into,
    sac_weight,
)

fractions = st.floats(0.0, 1.0)
params = st.lists(fractions, min_size=3, max_size=3).map(lambda three: FusionParams(*sorted(three)))
targets = st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=6)


@given(params, st.floats(-3.0, 3.0))
def test_weights_are_convex(p: FusionParams, r: float) -> None:
    assert p.at_reversion - 1e-15 <= sac_weight(r, p) <= p.at_trend + 1e-15


@given(params, st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_sac_gains_as_the_market_trends(p: FusionParams, r: float, s: float) -> None:
    assert sac_weight(min(r, s), p) <= sac_weight(max(r, s), p) + 1e-15


@given(params)
def test_named_weights_are_met_exactly(p: FusionParams) -> None:
    assert sac_weight(0.0, p) == p.at_neutral
    assert sac_weight(-1.0, p) == pytest.approx(p.at_reversion, rel=1e-15, abs=1e-16)
    assert sac_weight(1.0, p) == pytest.approx(p.at_trend, rel=1e-15, abs=1e-16)


@pytest.mark.parametrize("mode", MODES)
def test_weights_of_the_shipped_modes_are_exact(mode: str) -> None:
    p = load_config(mode).fusion
    assert [sac_weight(r, p) for r in (-1.0, 0.0, 1.0)] == list(p)


def test_weights_between_by_hand() -> None:
    p = FusionParams(0.2, 0.6, 1.0)
    assert [sac_weight(r, p) for r in (-0.5, 0.25)] == pytest.approx([0.4, 0.7], rel=1e-15)


def test_score_outside_its_range_is_the_nearer_end() -> None:
    p = FusionParams(0.2, 0.6, 0.9)
    assert sac_weight(-7.0, p) == sac_weight(-1.0, p) and sac_weight(7.0, p) == sac_weight(1.0, p)


def mix(legs: list[list[float]], weights: list[float]) -> list[float]:
    mixed = [math.nan] * len(legs[0])
    mix_into(mixed, legs, weights)
    return mixed


def test_mix_by_hand() -> None:
    assert mix([[1.0, -2.0, 0.0], [0.0, 2.0, 4.0]], [0.75, 0.25]) == [0.75, -1.0, 1.0]
    assert mix([[1.0], [2.0], [-4.0]], [0.5, 0.5, 0.25]) == [0.5]


@given(targets, st.floats(0.0, 1.0))
def test_mix_lies_between_the_legs(sac: list[float], w: float) -> None:
    kalman = [1.0 - a for a in sac]
    for a, b, mixed in zip(sac, kalman, mix([sac, kalman], [w, 1.0 - w]), strict=True):
        assert min(a, b) - 1e-12 <= mixed <= max(a, b) + 1e-12


@given(targets)
def test_all_the_weight_is_the_leg_itself(sac: list[float]) -> None:
    other = [a + 1.0 for a in sac]
    assert mix([sac, other], [1.0, 0.0]) == sac and mix([sac, other], [0.0, 1.0]) == other


def test_further_legs_have_lines_of_their_own() -> None:
    p = MixParams(FusionParams(0.2, 0.6, 1.0), ((0.0, 0.1, 0.3), (0.0, 0.0, 0.0)))
    assert leg_weights(0.5, p) == pytest.approx((0.8, 0.2, 0.2, 0.0), rel=1e-15)
    assert legs_traded(p) == (True, True, True, False)
    assert legs_traded(MixParams(constant_weights(1.0))) == (True, False) and legs_traded(
        MixParams(constant_weights(0.0))
    ) == (False, True)
