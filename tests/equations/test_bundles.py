"""Whatever is cut, a hedge keeps its ratio; limits hold; nothing outside what was cut moves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hybrid_bt.equations.bundles import Layout, bundles_of, hold_to, joined, layout_of, net_into
from hybrid_bt.equations.fusion import RiskParams, Said, Settled, settle_bar
from hybrid_bt.equations.tilt import lean

N = 5
fractions = st.floats(0.01, 1.0)
amount = st.floats(-1.0, 1.0).map(lambda x: round(x, 3))
hedge = st.tuples(st.permutations(range(N)), amount, st.floats(0.1, 3.0))


def laid(alone: list[float], hedges: list[tuple[list[int], float, float]]) -> tuple[list[float], Layout]:
    """A base of assets, then pairs of a second leg: Y against its hedge ratio times X."""
    pairs = [(order[0], order[1]) for order, _, _ in hedges]
    sides = [*alone]
    for _, y, ratio in hedges:
        sides += [y, -y * ratio]
    return sides, layout_of([[(i,) for i in range(N)], pairs])


def netted(sides: list[float], layout: Layout) -> list[float]:
    targets = [0.0] * N
    net_into(targets, sides, layout)
    return targets


worlds = st.tuples(st.lists(amount, min_size=N, max_size=N), st.lists(hedge, max_size=5)).map(lambda both: laid(*both))


def ratios_are_kept(before: list[float], after: list[float], layout: Layout) -> None:
    first = 0
    for _, columns in bundles_of(layout):
        end = first + len(columns)
        factors = [b / a for a, b in zip(before[first:end], after[first:end], strict=True) if a != 0.0]
        assert all(-1e-15 <= factor <= 1.0 + 1e-12 for factor in factors)
        assert max(factors, default=0.0) - min(factors, default=0.0) <= 1e-12
        first = end


@given(worlds, st.floats(0.01, 1.0), st.floats(0.01, 2.0))
def test_limits_hold_and_hedges_stay_whole(world: tuple[list[float], Layout], cap: float, net: float) -> None:
    before, layout = world
    sides = list(before)
    targets = netted(sides, layout)
    inside = all(abs(target) <= cap for target in targets) and abs(sum(targets)) <= net
    is_cut = hold_to(targets, sides, layout, [cap] * N, net)
    assert targets == netted(sides, layout)
    assert all(abs(target) <= cap * (1.0 + 1e-12) for target in targets)
    assert abs(math.fsum(targets)) <= net * (1.0 + 1e-11)
    ratios_are_kept(before, sides, layout)
    assert not inside or (not is_cut and sides == before)


@given(worlds, st.integers(0, N - 1), st.floats(0.01, 1.0))
def test_nothing_outside_of_a_cut_hedge_moves(world: tuple[list[float], Layout], i: int, cap: float) -> None:
    before, layout = world
    sides, bounds = list(before), [math.inf] * N
    bounds[i] = cap
    targets = netted(sides, layout)
    was = list(targets)
    hold_to(targets, sides, layout, bounds, math.inf)
    cut = [
        columns
        for (_, columns), moved in zip(bundles_of(layout), moved_of(before, sides, layout), strict=True)
        if moved
    ]
    assert all(i in columns for columns in cut)
    for j in range(N):
        if not any(j in columns for columns in cut):
            assert targets[j] == was[j]


def moved_of(before: list[float], after: list[float], layout: Layout) -> list[bool]:
    firsts = [0, *layout.ends]
    return [before[a:b] != after[a:b] for a, b in zip(firsts, layout.ends, strict=False)]


def test_what_stands_alone_is_cut_before_a_hedge() -> None:
    sides, layout = laid([0.15, 0.0, 0.0, 0.0, 0.0], [([0, 1, 2, 3, 4], 0.1, 1.0)])
    targets = netted(sides, layout)
    assert hold_to(targets, sides, layout, [0.2] * N, math.inf)
    assert sides[0] == pytest.approx(0.1) and sides[5:] == [0.1, -0.1]  # 0.25 is 0.2; the pair is as it was
    assert hold_to(targets, sides, layout, [0.05] * N, math.inf)
    assert sides[0] == 0.0 and sides[5:] == pytest.approx([0.05, -0.05])  # then the pair, its other side with it


@pytest.mark.parametrize(
    ("bundles", "labels"),
    [
        ([], [0, 1, 2, 3]),
        ([(1, 2)], [0, 1, 1, 3]),
        ([(1, 2), (3, 2)], [0, 1, 1, 1]),
        ([(2, 3), (0, 1)], [0, 0, 2, 2]),
        ([(2, 3), (0, 1), (1, 3)], [0, 0, 0, 0]),
        ([(3, 0, 1)], [0, 0, 2, 0]),
    ],
)
def test_what_is_connected_has_one_label(bundles: list[tuple[int, ...]], labels: list[int]) -> None:
    assert joined(4, bundles) == labels


RISKS = st.builds(
    RiskParams,
    st.floats(0.02, 0.3),
    st.floats(0.5, 4.0),
    st.floats(0.5, 4.0),
    st.floats(0.2, 2.0),
    st.floats(0.2, 3.0),
    st.floats(0.2, 2.0),
    st.floats(0.05, 1.0),
    st.just(252.0),
)


@settings(max_examples=300)
@given(
    worlds,
    st.just(0.0) | st.floats(0.01, 1.0),
    st.just(0.0) | st.floats(0.01, 1.0),
    st.floats(1e-4, 0.05),
    RISKS,
    st.integers(0, 2**31),
)
def test_account_within_its_limits_asks_for_whole_hedges(
    world: tuple[list[float], Layout], base: float, share: float, risk: float, limits: RiskParams, seed: int
) -> None:
    amounts, layout = world
    rng = np.random.default_rng(seed)
    said = Said(amounts, [0.0, risk], rng.uniform(0.002, 0.05, N).tolist(), float(rng.uniform(0.0, 0.9)))
    out = Settled([0.0] * N, [0.0] * len(amounts), [0.0, 0.0])
    settle_bar(out, said, layout, [base, share], limits, [0.0] * N)
    targets, sides, weights = (list(part) for part in out)
    assert targets == netted(sides, layout)
    leaned = list(amounts)
    lean(leaned, amounts, said.volatility, layout, base)
    ratios_are_kept([weights[leg] * a for a, leg in zip(leaned, owners(layout), strict=True)], sides, layout)
    assert max(map(abs, targets)) <= limits.asset_limit * (1.0 + 1e-11)
    assert abs(math.fsum(targets)) <= limits.net_limit * (1.0 + 1e-11)
    alone, hedged = sides[:N], sides[N:]
    assert math.fsum(map(abs, alone)) <= limits.gross_limit * (1.0 + 1e-11)
    assert math.fsum(map(abs, hedged)) <= limits.hedged_gross_limit * (1.0 + 1e-11)
    assert 0.0 <= weights[1] <= limits.leg_scale_limit
    yearly = weights[1] * risk * math.sqrt(252.0)
    assert yearly <= share * limits.volatility_target * (1.0 + 1e-12)


def owners(layout: Layout) -> list[int]:
    return [leg for leg, columns in bundles_of(layout) for _ in columns]


@given(worlds, RISKS)
def test_share_of_risk_is_what_the_leg_gets_where_nothing_binds(
    world: tuple[list[float], Layout], limits: RiskParams
) -> None:
    """A leg of twice the volatility has half the weight."""
    amounts, layout = world
    free = limits._replace(leg_scale_limit=1e9, hedged_gross_limit=1e9, gross_limit=1e9, net_limit=1e9, asset_limit=1e9)
    weights = []
    for risk in (0.01, 0.02):
        out = Settled([0.0] * N, [0.0] * len(amounts), [0.0, 0.0])
        settle_bar(out, Said(amounts, [0.0, risk], [0.01] * N, 0.3), layout, [1.0, 0.25], free, [0.0] * N)
        weights.append(out.weights[1])
    assume(weights[1] > 0.0)
    assert weights[0] == pytest.approx(2.0 * weights[1], rel=1e-12)
    assert weights[0] * 0.01 * math.sqrt(252.0) == pytest.approx(0.25 * free.volatility_target, rel=1e-12)
