"""Legs: when a pair is held and how it is sized; what the SAC policy is asked and what its answer means."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from brain_cases import TiltPolicy, altered_from, random_bars, targets_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import ROOT

import hybrid_bt.evidence.audit
from hybrid_bt.brain.legs import LEGS, KalmanLeg, Leg, PairView, SacLeg, View, Wish, each_asset
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.equations.features import ASSET_FEATURES, MARKET_FEATURES, OBSERVATIONS, asset_features
from hybrid_bt.equations.fusion import RiskUnit, exposure
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import SpreadParams
from hybrid_bt.equations.pair_rules import PairPosition, PairRules, pair_step, stale_step
from hybrid_bt.equations.tilt import TiltParams
from hybrid_bt.errors import LegError
from hybrid_bt.evidence.audit import check_leg

EXAMPLE = ROOT / "examples" / "own_leg.py"
FloatArray = NDArray[np.float64]

RULES = PairRules(
    entry_z=1.0,
    exit_z=0.0,
    stop_z=4.0,
    max_hold_bars=5,
    orphan_bars=99,
    min_hedge_ratio=0.1,
    max_hedge_ratio=3.0,
    gross_exposure=1.0,
    entry_costs=0.0,
    cost_per_side=0.0003,
)
NAMES = ("AA", "BB", "CC")
UNIT = RiskUnit(risk_unit=0.20, exposure_cap=1.5, bars_per_year=256.0)
TILT = TiltParams(tilt=0.5, half_life_bars=0.0)
KALMAN, SPREAD = KalmanParams(1.9e-4, 1.1e-5, 2e-6), SpreadParams(10.0, 60.0, 126.0)


# --- when a pair is held ---


def directions(
    zscores: list[float], rules: PairRules = RULES, hedge_ratio: float = 0.5, spread: float = 0.01
) -> list[float]:
    position, path = PairPosition(), []
    for zscore in zscores:
        position = pair_step(position, zscore, spread, hedge_ratio, rules)
        path.append(position.direction)
    return path


@pytest.mark.parametrize(
    ("what", "zscores", "wanted"),
    [
        ("enters at the level, not before", [0.99, 1.0], [0, -1]),
        ("a cheap spread is bought", [-0.99, -1.0], [0, 1]),
        ("held between exit and entry", [1.2, 0.5, 0.1], [-1, -1, -1]),
        ("closed at the mean", [1.2, 0.5, 0.0], [-1, -1, 0]),
        ("closed beyond the mean, reopened the bar after", [1.2, -1.5, -1.5], [-1, 0, 1]),
        ("closed when given up", [1.2, 4.0], [-1, 0]),
        ("barred after a stop until it is back inside", [1.2, 4.0, 3.0, 1.0, 0.9, 1.1], [-1, 0, 0, 0, 0, -1]),
        ("barred on the other side too", [1.2, 4.0, -2.0, -0.5, -2.0], [-1, 0, 0, 0, 1]),
        ("closed after max_hold_bars", [1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2], [-1, -1, -1, -1, -1, 0, 0]),
        ("reopened after a time-out once it was inside", [2, 2, 2, 2, 2, 2, 2, 0.5, 2], [-1] * 5 + [0, 0, 0, -1]),
        ("not opened beyond the stop", [4.0, 3.9], [0, -1]),
    ],
)
def test_hysteresis_of_a_pair(what: str, zscores: list[float], wanted: list[float]) -> None:
    assert directions(zscores) == wanted, what


def test_orphaned_pair_is_barred_until_the_spread_is_back_inside() -> None:
    rules = RULES._replace(orphan_bars=2)
    position = pair_step(PairPosition(), 2.0, 0.01, 0.5, rules)
    position = stale_step(stale_step(position, rules), rules)
    path = []
    for zscore in (2.0, 1.5, 0.9, 1.5):
        position = pair_step(position, zscore, 0.01, 0.5, rules)
        path.append(position.direction)
    assert path == [0.0, 0.0, 0.0, -1.0]


def test_exit_below_the_mean_waits_for_the_other_side() -> None:
    rules = RULES._replace(exit_z=-0.5)
    assert directions([1.2, 0.0, -0.4, -0.5], rules) == [-1, -1, -1, 0]


@pytest.mark.parametrize(
    ("hedge_ratio", "opens"), [(0.09, False), (0.1, True), (3.0, True), (3.01, False), (-1, False)]
)
def test_pair_opens_within_the_hedge_ratios_only(hedge_ratio: float, opens: bool) -> None:
    assert directions([2.0], hedge_ratio=hedge_ratio) == [-1.0 if opens else 0.0]


@pytest.mark.parametrize(
    ("entry_costs", "spread", "hedge_ratio", "exit_z", "opens"),
    [
        # 10 bps a side and a ratio of 1: the round trip of both sides costs 0.004
        (1.0, 0.0041, 1.0, 0.0, True),
        (1.0, 0.0039, 1.0, 0.0, False),
        (1.0, 0.0039, 0.9, 0.0, True),
        (5.0, 0.021, 1.0, 0.0, True),
        (5.0, 0.019, 1.0, 0.0, False),
        (1.0, 0.0079, 1.0, 1.0, False),  # closed half-way to the mean, a pair earns half of its spread
        (1.0, 0.0081, 1.0, 1.0, True),
        (0.0, 0.0, 1.0, 0.0, True),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_pair_opens_only_where_its_spread_pays_the_costs(
    entry_costs: float, spread: float, hedge_ratio: float, exit_z: float, opens: bool, sign: float
) -> None:
    rules = RULES._replace(entry_costs=entry_costs, cost_per_side=0.001, entry_z=1.5, exit_z=exit_z)
    position = pair_step(PairPosition(), sign * 2.0, sign * spread, hedge_ratio, rules)
    assert position.direction == (-sign if opens else 0.0)
    held = pair_step(PairPosition(-sign, 1.0, 1.0), sign * 2.0, sign * spread, hedge_ratio, rules)
    assert held.direction == -sign  # what is open asks for no costs


def test_hedge_ratio_is_frozen_at_entry() -> None:
    position = pair_step(PairPosition(), 1.5, 0.01, 0.5, RULES)
    for ratio in (0.6, 9.0, -1.0):
        position = pair_step(position, 1.5, 0.01, ratio, RULES)
        assert position.hedge_ratio == 0.5


@given(st.lists(st.floats(-6.0, 6.0), max_size=60))
def test_swapped_spread_swaps_the_position(zscores: list[float]) -> None:
    assert directions([-z for z in zscores]) == [-d for d in directions(zscores)]


@given(st.lists(st.floats(-6.0, 6.0), max_size=60))
def test_pair_is_held_against_the_spread_and_never_past_a_limit(zscores: list[float]) -> None:
    held = 0
    before = 0.0
    for zscore, direction in zip(zscores, directions(zscores), strict=True):
        held = held + 1 if direction else 0
        assert held <= RULES.max_hold_bars
        if direction:
            assert 0.0 < -direction * zscore < RULES.stop_z
            assert before == direction or abs(zscore) >= RULES.entry_z
        before = direction


# --- targets of pairs ---


def pair(y: int, x: int, zscore: float, prior_beta: float = 0.5, *, fresh: bool = True) -> PairView:
    return PairView(0.0, 17.0, 1.0, 0.0, 1.0, 0.01 * zscore, zscore, prior_beta, 1.0 if fresh else 0.0, 0.01)


def view_of(*pairs: PairView, n: int = 3) -> View:
    features, market = [(0.0,) * len(ASSET_FEATURES)] * n, (0.0,) * len(MARKET_FEATURES)
    return View([1.0] * n, [True] * n, [True] * n, features, market, True, [0.0125] * n, 0.0, list(pairs), 256.0)


def test_assets_of_a_pair_are_opposite_and_sized_by_the_prior_hedge_ratio() -> None:
    leg = KalmanLeg(NAMES, [(0, 2)], RULES)
    # dear y: short it against 0.5 of x in money, together 1 of equity
    assert targets_of(leg, view_of(pair(0, 2, 2.0))) == pytest.approx([-2 / 3, 0.0, 1 / 3], rel=1e-15)
    assert targets_of(leg, view_of(pair(0, 2, 1.5, prior_beta=2.0))) == pytest.approx([-2 / 3, 0.0, 1 / 3], rel=1e-15)
    assert targets_of(leg, view_of(pair(0, 2, -0.1))) == [0.0, 0.0, 0.0]


def test_targets_on_a_shared_asset_are_netted() -> None:
    leg = KalmanLeg(NAMES, [(0, 1), (1, 2)], RULES)
    # half the account each: -1/3 and +1/6 in the first pair, -1/4 and +1/4 in the second
    wanted = [-1 / 3, 1 / 6 - 1 / 4, 1 / 4]
    assert targets_of(leg, view_of(pair(0, 1, 2.0), pair(1, 2, 2.0, prior_beta=1.0))) == pytest.approx(
        wanted, rel=1e-15
    )


@given(st.lists(st.tuples(st.floats(-5.0, 5.0), st.floats(0.2, 2.5)), min_size=1, max_size=30))
def test_swapped_spread_swaps_the_targets_and_gross_stays_inside(path: list[tuple[float, float]]) -> None:
    legs = KalmanLeg(NAMES, [(0, 1), (1, 2)], RULES), KalmanLeg(NAMES, [(0, 1), (1, 2)], RULES)
    for z, beta in path:
        one, other = (
            targets_of(leg, view_of(pair(0, 1, sign * z, beta), pair(1, 2, sign * z / 2, beta)))
            for leg, sign in zip(legs, (1.0, -1.0), strict=True)
        )
        assert other == [-value for value in one]
        assert sum(map(abs, one)) <= RULES.gross_exposure * (1.0 + 1e-12)


def test_pair_without_both_bars_keeps_its_position() -> None:
    leg = KalmanLeg(NAMES, [(0, 2)], RULES)
    opened = targets_of(leg, view_of(pair(0, 2, 2.0)))
    held = leg.positions[0]
    for bar in range(10):  # neither the mean nor the time-out is seen
        assert targets_of(leg, view_of(pair(0, 2, 0.0, fresh=False))) == opened
        assert leg.positions[0] == held._replace(stale_bars=bar + 1.0)
    assert targets_of(leg, view_of(pair(0, 2, 0.0))) == [0.0] * 3


def test_pair_does_not_open_on_a_bar_that_one_side_missed() -> None:
    assert targets_of(KalmanLeg(NAMES, [(0, 2)], RULES), view_of(pair(0, 2, 2.0, fresh=False))) == [0.0] * 3


# --- the SAC leg ---


class NotedPolicy:
    """Answers with given actions and keeps what it was asked."""

    def __init__(self, *answers: list[float]) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def act(self, observations: Any) -> Any:
        self.asked.append(observations)
        return np.array(self.answers[len(self.asked) - 1])


def test_exposure_by_hand() -> None:
    # 0.0125 per bar is 0.2 a year at 256 bars: one risk unit; twice as wild gets half; calm assets are capped
    assert exposure(1.0, 0.0125, UNIT) == 1.0
    assert exposure(-0.5, 0.025, UNIT) == -0.25
    assert exposure(1.0, 1e-6, UNIT) == 1.5
    assert exposure(1.0, 0.2 / 1.5 / 16, UNIT) == pytest.approx(1.5, rel=1e-12)


@given(st.floats(-1.0, 1.0).filter(lambda action: action == 0.0 or abs(action) > 1e-100), st.floats(1e-6, 1.0))
def test_exposure_stays_under_its_cap_and_its_risk_unit(action: float, volatility: float) -> None:
    held = exposure(action, volatility, UNIT)
    assert abs(held) <= abs(action) * UNIT.exposure_cap * (1.0 + 1e-12)
    assert abs(held) * volatility * 16.0 <= abs(action) * UNIT.risk_unit * (1.0 + 1e-12)
    assert held * action >= 0.0


def test_actions_tilt_inverse_volatility() -> None:
    view = view_of()._replace(volatility=[0.01, 0.02, 0.04])
    up, down = math.exp(0.5 * math.sqrt(1.5)), math.exp(-0.5 * math.sqrt(1.5))
    whole = 4.0 * up + 2.0 * down + 1.0
    leg = SacLeg(NAMES, [], TILT, NotedPolicy([0.6, -0.6, 0.0]))
    assert targets_of(leg, view) == pytest.approx([4.0 * up / whole, 2.0 * down / whole, 1.0 / whole], rel=1e-14)
    assert targets_of(SacLeg(NAMES, [], TILT), view) == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=1e-14)


def test_cold_symbols_get_nothing_and_no_share() -> None:
    policy = NotedPolicy([0.6, 0.9])
    leg = SacLeg(NAMES, [], TILT, policy)
    odds = math.exp(-0.5)
    found = targets_of(leg, view_of()._replace(warm=[True, False, True]))
    assert found == pytest.approx([odds / (odds + 1 / odds), 0.0, 1 / odds / (odds + 1 / odds)], rel=1e-14)
    assert policy.asked[0].shape == (2, len(OBSERVATIONS["sac"]))
    assert targets_of(leg, view_of()._replace(warm=[False] * 3)) == [0.0] * 3
    assert len(policy.asked) == 1


def test_symbols_without_a_bar_keep_their_action_and_are_not_asked() -> None:
    policy = NotedPolicy([0.6, 0.9, 0.3], [0.9, 0.9])
    leg = SacLeg(NAMES, [], TILT, policy)
    targets_of(leg, view_of())
    after = targets_of(leg, view_of()._replace(traded=[True, False, True]))
    assert after == pytest.approx([1 / 3] * 3, rel=1e-14)
    assert policy.asked[1].shape[0] == 2


def test_policy_is_asked_about_the_features_of_each_symbol() -> None:
    reader, view = MarketReader(3, [(0, 1)], [KALMAN], SPREAD), None
    for closes in random_bars(300, 3).close.tolist():
        view = reader.read(closes)
    assert view is not None
    policy = NotedPolicy([0.0] * 3)
    targets_of(SacLeg(NAMES, [], TILT, policy), view)
    wanted = [asset_features(asset, reader.market) for asset in reader.assets]
    assert np.array_equal(policy.asked[0], np.array(wanted))


# --- every leg ---

MAKERS: dict[str, Callable[[], Leg]] = {
    "sac": lambda: SacLeg("ABCD", [(0, 1), (2, 0)], TILT, TiltPolicy()),
    "kalman": lambda: KalmanLeg("ABCD", [(0, 1), (2, 0)], RULES),
}


def drive(name: str, bars: Any) -> Any:
    reader = MarketReader(4, [(0, 1), (2, 0)], [KALMAN] * 2, SPREAD)
    leg = MAKERS[name]()
    return np.array([targets_of(leg, reader.read(closes)) for closes in bars.close.tolist()])


def test_every_leg_is_tested() -> None:
    assert set(MAKERS) == set(LEGS)
    assert all(type(make()) is LEGS[name] for name, make in MAKERS.items())


@pytest.mark.parametrize("name", LEGS)
def test_leg_answers_with_finite_targets_once_warm(name: str) -> None:
    targets = drive(name, random_bars(400, missing=0.05, late=30))
    assert targets.shape == (400, 4) and np.isfinite(targets).all()
    assert not targets[:100].any() and targets[300:].any()


@pytest.mark.parametrize("name", LEGS)
def test_leg_does_not_read_the_future(name: str) -> None:
    bars = random_bars(400, missing=0.05)
    before, after = drive(name, bars), drive(name, altered_from(bars, 350))
    assert np.array_equal(before[:350], after[:350])
    assert not np.array_equal(before[350:], after[350:])


@pytest.mark.parametrize("name", LEGS)
def test_leg_survives_a_bar_on_which_nothing_trades(name: str) -> None:
    reader = MarketReader(4, [(0, 1), (2, 0)], [KALMAN] * 2, SPREAD)
    leg = MAKERS[name]()
    for closes in random_bars(330).close.tolist():
        before = targets_of(leg, reader.read(closes))
    assert targets_of(leg, reader.read([math.nan] * 4)) == before


# --- the check that users have ---


def test_own_legs_and_the_example_pass_the_users_check() -> None:
    for make in MAKERS.values():
        check_leg(lambda *_, make=make: make())
    runpy.run_path(str(EXAMPLE))
    try:
        check_leg("momentum")
    finally:
        del LEGS["momentum"]


class Blank:
    def __init__(self, symbols: Any, pairs: Any, config: Any) -> None:
        self.n, self.calls = len(symbols), 0

    def amounts(self, view: Any) -> list[float]:
        self.calls += 1
        return [0.0] * self.n

    def wishes(self, view: Any) -> Any:
        return each_asset(self.amounts(view))


class Short(Blank):
    def wishes(self, view: Any) -> Any:
        return [Wish((0, 1), (amount,)) for amount in self.amounts(view)]


class Elsewhere(Blank):
    def wishes(self, view: Any) -> Any:
        return [Wish((self.n,), (0.0,))]


class Infinite(Blank):
    def amounts(self, view: Any) -> list[float]:
        return [*super().amounts(view)[1:], math.nan if self.calls > 300 else 0.0]


class Nothing(Blank):
    def wishes(self, view: Any) -> Any:
        return None


class Shared(Blank):
    seen: list[float] = []  # noqa: RUF012

    def amounts(self, view: Any) -> list[float]:
        self.seen.append(math.log(view.closes[0]) if view.traded[0] else 0.0)
        return [sum(self.seen[-2:])] * self.n


class Peeking(Blank):
    """Knows the first prices that a leg ever saw, and so what comes."""

    def amounts(self, view: Any) -> list[float]:
        self.calls += 1
        return [TOLD[-1][self.calls]] * self.n


TOLD: list[FloatArray] = []


@pytest.mark.parametrize(
    ("leg", "said"),
    [
        (Short, r"bar 0: 1 amounts for the symbols \(0, 1\)"),
        (Elsewhere, "bar 0: wish for symbol number 4; there are 4"),
        (Infinite, "bar 300: amount nan for symbol number 3"),
        (Nothing, "wishes is None"),
        (Shared, "differs from run to run"),
        (Peeking, "depends on prices from bar"),
    ],
)
def test_leg_that_breaks_its_contract_is_told_which_and_where(
    leg: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = hybrid_bt.evidence.audit._answers

    def told(maker: Any, config: Any, closes: Any, **how: Any) -> Any:
        TOLD.append(np.append(np.nan_to_num(closes[:, 0]), 0.0))
        return answers(maker, config, closes, **how)

    monkeypatch.setattr(hybrid_bt.evidence.audit, "_answers", told)
    with pytest.raises(LegError, match=said):
        check_leg(leg)
    check_leg(Blank)
