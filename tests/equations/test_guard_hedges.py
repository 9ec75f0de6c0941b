"""Whatever the guard cuts, an open hedge keeps the ratio that its leg asked for, and no limit is left broken."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_bt.equations.bundles import Bundle, Layout, bundles_of, joined, layout_of, net_into
from hybrid_bt.equations.guard import guard_step, initial_guard
from hybrid_bt.equations.guard_limits import GuardFacts, GuardParams, Wanted, rule_names
from hybrid_bt.equations.waiting import waiting_symbols

N = 5
SLACK = 1.0 + 1e-9
amounts = st.floats(-1.0, 1.0).map(lambda x: round(x, 3))
bounds = st.sampled_from([0.0, 0.05, 0.3, 1.0])
pieces = st.sampled_from([0.0, 200.0])
hedges = st.tuples(st.permutations(range(N)), amounts.filter(bool), st.floats(0.1, 3.0))


class World(NamedTuple):
    sides: list[float]
    layout: Layout
    facts: GuardFacts
    pairs: list[Bundle]
    params: GuardParams
    band: float

    def wanted(self) -> Wanted:
        """As `settling.AccountGuard` hands it over: a symbol that waits keeps what is held."""
        together = joined(N, self.pairs)
        waits = waiting_symbols(self.facts.delivered, together)
        targets = [
            math.nan if i < len(waits) and waits[i] else t for i, t in enumerate(netted(self.sides, self.layout))
        ]
        return Wanted(targets, list(self.sides), self.layout, together)


def netted(sides: list[float], layout: Layout) -> list[float]:
    targets = [0.0] * N
    net_into(targets, sides, layout)
    return targets


@st.composite
def worlds(draw: Any, *, whole: bool = True, limits: Any = bounds, pieces: Any = pieces, banded: bool = False) -> World:
    """A base of assets, and pairs that share them: Y against its hedge ratio times X."""
    drawn = draw(st.lists(hedges, min_size=1, max_size=5, unique_by=lambda one: frozenset(one[0][:2])))
    pairs = [(order[0], order[1]) for order, _, _ in drawn]
    sides = draw(st.lists(amounts, min_size=N, max_size=N))
    for _, y, ratio in drawn:
        sides += [y, -y * ratio]
    held = draw(st.lists(amounts, min_size=N, max_size=N))
    there = [True] * N if whole else draw(st.lists(st.booleans(), min_size=N, max_size=N))
    params = GuardParams(*(draw(limits) for _ in range(4)), draw(pieces))
    layout = layout_of([[(i,) for i in range(N)], pairs])
    band = draw(st.sampled_from([0.0, 0.02, 0.2])) if banded else 0.0
    return World(sides, layout, GuardFacts(1, 1e3, held, there), pairs, params, band)


def guarded(world: World) -> tuple[Wanted, int]:
    wanted = world.wanted()
    _, mask = guard_step(initial_guard(), wanted, world.facts, world.pairs, world.params, world.band)
    return wanted, mask


def factors_of(before: list[float], after: list[float], layout: Layout) -> list[list[float]]:
    """Of each bundle, what its sides were multiplied by."""
    firsts = [0, *layout.ends]
    return [
        [b / a for a, b in zip(before[first:end], after[first:end], strict=True) if a != 0.0]
        for first, end in zip(firsts, layout.ends, strict=False)
    ]


@settings(max_examples=400, deadline=None)
@given(worlds(banded=True))
def test_every_open_pair_keeps_its_ratio(world: World) -> None:
    wanted, mask = guarded(world)
    for factors in factors_of(world.sides, wanted.sides, world.layout):
        assert all(0.0 <= factor <= 1.0 for factor in factors)
        assert max(factors, default=0.0) - min(factors, default=0.0) <= 1e-12
    # what is sent is what the sides come to: the hedge is in the account, not in the books alone
    assert wanted.targets == pytest.approx(netted(wanted.sides, world.layout), abs=1e-12)
    assert mask or wanted.sides == world.sides


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_nothing_outside_of_what_was_cut_moves(world: World) -> None:
    wanted, _ = guarded(world)
    cut = [
        columns
        for (_, columns), factors in zip(
            bundles_of(world.layout), factors_of(world.sides, wanted.sides, world.layout), strict=True
        )
        if any(factor != 1.0 for factor in factors)
    ]
    for i, target in enumerate(netted(world.sides, world.layout)):
        assert any(i in columns for columns in cut) or wanted.targets[i] == target


def is_inside(world: World, targets: list[float]) -> list[str]:
    """The limits that are broken, symbols without a bar taking their share of the room."""
    facts, params, broken = world.facts, world.params, []
    can = facts.delivered
    after = [t if ok and t == t else h for t, h, ok in zip(targets, facts.held, can, strict=True)]
    if params.asset_limit and any(abs(w) > params.asset_limit * SLACK for w, ok in zip(after, can, strict=True) if ok):
        broken.append("asset")
    groups = [(params.gross_limit, tuple(range(N))), *((params.pair_limit, pair) for pair in world.pairs)]
    for limit, columns in groups:
        stuck = math.fsum(abs(facts.held[i]) for i in columns if not can[i])
        if limit and math.fsum(abs(after[i]) for i in columns) > max(limit, stuck) * SLACK:
            broken.append(f"gross of {columns}")
    if params.net_limit and all(can) and abs(math.fsum(after)) > params.net_limit * SLACK:
        broken.append("net")
    return broken


@settings(max_examples=400, deadline=None)
@given(worlds(pieces=st.just(0.0)))
def test_all_limits_hold_together(world: World) -> None:
    wanted, _ = guarded(world)
    assert is_inside(world, wanted.targets) == []


@settings(max_examples=400, deadline=None)
@given(worlds(limits=st.just(0.0), pieces=st.just(200.0)))
def test_large_orders_open_both_sides_in_step(world: World) -> None:
    wanted, _ = guarded(world)
    cap = world.params.max_order_notional / world.facts.equity
    for held, now in zip(world.facts.held, wanted.targets, strict=True):
        opened = now if held * now <= 0.0 else now - held if abs(now) > abs(held) else 0.0
        assert abs(opened) <= cap * SLACK


@settings(max_examples=400, deadline=None)
@given(worlds(pieces=st.just(200.0)))
def test_pieces_of_an_order_break_no_limit(world: World) -> None:
    wanted, _ = guarded(world)
    assert is_inside(world, wanted.targets) == []


@settings(max_examples=400, deadline=None)
@given(worlds(whole=False))
def test_limits_hold_where_symbols_have_no_bar(world: World) -> None:
    wanted, _ = guarded(world)
    assert is_inside(world, wanted.targets) == []


@settings(max_examples=400, deadline=None)
@given(worlds(whole=False, banded=True))
def test_pair_that_can_be_traded_keeps_its_ratio_whoever_waits(world: World) -> None:
    wanted, _ = guarded(world)
    before = world.wanted().targets
    moves = [can and t == t for can, t in zip(world.facts.delivered, before, strict=True)]
    factors = factors_of(world.sides, wanted.sides, world.layout)
    for (_, columns), found in zip(bundles_of(world.layout), factors, strict=True):
        if all(moves[i] for i in columns):
            assert max(found, default=0.0) - min(found, default=0.0) <= 1e-12
    for i, (target, netted_target) in enumerate(zip(wanted.targets, netted(wanted.sides, world.layout), strict=True)):
        assert not moves[i] or target == pytest.approx(netted_target, abs=1e-12)


def test_a_pair_opens_in_pieces_by_hand() -> None:
    """0.3 of Y against 0.15 of X, orders of at most 0.1: three bars, at the ratio of 0.5 on each."""
    layout, params, held, path = layout_of([[], [(0, 1)]]), GuardParams(max_order_notional=100.0), [0.0, 0.0], []
    for _ in range(4):
        wanted = Wanted([0.3, -0.15], [0.3, -0.15], layout, [0, 0])
        _, mask = guard_step(initial_guard(), wanted, GuardFacts(1, 1e3, held, [True] * 2), [(0, 1)], params, 0.0)
        held = list(wanted.targets)
        path.append((*held, rule_names(mask)))
    orders = ["max_order_notional"]
    assert [rules for *_, rules in path] == [orders, orders, [], []]
    assert [y for y, *_ in path] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert [x for _, x, _ in path] == pytest.approx([-0.05, -0.1, -0.15, -0.15])


def test_a_reduction_that_the_band_would_hold_back_keeps_the_ratio() -> None:
    """A pair drifted past its limit by less than a band: both sides go back by at least as much, at their ratio."""
    layout, facts = layout_of([[], [(0, 1)]]), GuardFacts(1, 1e6, [0.302, -0.151], [True] * 2)
    wanted = Wanted([0.3, -0.15], [0.3, -0.15], layout, [0, 0])
    guard_step(initial_guard(), wanted, facts, [(0, 1)], GuardParams(gross_limit=0.45), 0.005)
    y, x = wanted.targets
    assert 0.0 < y <= 0.3 and x / y == pytest.approx(-0.5, rel=1e-12)
