"""Hedges of a whole run: kept whole under limits, laid out as a leg thinks of them, opened where they pay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from brain_cases import ACTIVE, PAIRS, random_bars, stand_ins

from hybrid_bt.account.registry import Panel, account, mixed
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market, resolve_pairs
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.legs import Wish
from hybrid_bt.brain.legs.sac import inverse_volatility
from hybrid_bt.brain.opinions import opinions, opinions_in_turn
from hybrid_bt.brain.reader import read_in_pieces, read_panel
from hybrid_bt.brain.records import Recorder, record
from hybrid_bt.brain.settling import mix_of, settle_panel
from hybrid_bt.config import Config, load_config, overridden
from hybrid_bt.config.build import build
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.bundles import bundles_of, layout_of

CHAIN = ("AA:BB", "BB:CC", "DD:AA", "CC:DD")  #: every symbol is in two pairs
FREE = {"kalman": {"entry_z": 1.0, "entry_costs": 0.0}, "fusion": {"at_reversion": 1.0, "at_neutral": 1.0}}
TIGHT = FREE | {"risk": {"asset_limit": 0.08}}
BARS = random_bars(420)


@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_every_open_pair_of_a_run_has_the_ratio_of_its_entry(mode: str) -> None:
    config = load_config(mode, overrides=TIGHT)
    found = run_backtest(Market("", BARS, CHAIN), mode=mode, config=TIGHT)
    d, columns, n_cut = found.decisions, resolve_pairs(CHAIN, BARS.symbols), 0
    n, ends = len(BARS.symbols), [end for end, leg in zip(d.layout.ends, d.layout.legs, strict=True) if leg == 1]
    assert [bundle for leg, bundle in bundles_of(d.layout) if leg == 1] == columns
    assert d.target == pytest.approx(sum(netted_by_hand(d.sides, d.layout, n)), abs=1e-14)
    assert np.abs(d.target).max() <= 0.08 * (1.0 + 1e-12) and (np.abs(d.target) > 0.08 * (1.0 - 1e-9)).any()
    for p, end in enumerate(ends):
        y, x = d.sides[:, end - 2], d.sides[:, end - 1]
        position, beta = found.pairs.position[:, p], found.pairs.beta[:, p]
        opened = np.flatnonzero((position != 0.0) & (np.roll(position, 1) != position))
        for row in opened[opened > 0].tolist():
            stays = np.flatnonzero(position[row:] != position[row])
            held = slice(row, row + int(stays[0]) if stays.size else len(position))
            open_y, ratio = y[held][y[held] != 0.0], beta[row - 1]  # as known before the bar of entry
            assert open_y.size and x[held][y[held] != 0.0] / open_y == pytest.approx(-ratio, rel=1e-12)
            wished = d.weights["kalman"][held] * config.pair_rules.gross_exposure / len(CHAIN) / (1.0 + ratio)
            n_cut += int(np.count_nonzero(np.abs(y[held]) < wished * (1.0 - 1e-9)))
    assert n_cut > 20  # the limits did cut pairs


def netted_by_hand(sides: Any, layout: Any, n: int) -> Iterable[Any]:
    """One (T, N) for each side, in turn."""
    for s, column in enumerate(layout.columns):
        found = np.zeros((len(sides), n))
        found[:, column] = sides[:, s]
        yield found


def test_what_documents_take_away_leaves_hedges_whole() -> None:
    """Risk by symbol, a regime of their own, vetoes: sides and target are cut alike, and both sides of a pair."""
    config = load_config("stable", overrides=TIGHT | {"news": {"min_multiplier": 0.0, "strength": 1.0}})
    brain, rng, held, n_cut = build(config, BARS.symbols, CHAIN, stand_ins()), np.random.default_rng(2), None, 0
    for closes in BARS.close.tolist():
        opinion = brain.opine(closes)
        risk, confidence = rng.integers(1, 6, 4).astype(float).tolist(), float(rng.random())
        advice = Advice(risk, [0.0] * 4, float(rng.uniform(-1, 1)), confidence, bool(rng.random() < 0.1))
        plain, managed = brain.settle(opinion), brain.settle(opinion, advice, held)
        sides, layout = np.array([managed.sides]), opinion.layout
        assert managed.target == pytest.approx(sum(netted_by_hand(sides, layout, 4))[0], abs=1e-14)
        for end in layout.ends[4:]:
            (y, x), (wished_y, wished_x) = managed.sides[end - 2 : end], opinion.amounts[end - 2 : end]
            assert y * wished_x == pytest.approx(x * wished_y, rel=1e-12, abs=1e-18)
            n_cut += abs(y) < abs(plain.sides[end - 2])
        held = managed.target
    assert n_cut > 50


# --- a leg that thinks of new bundles ---


class Growing:
    """Wishes for one hedge at first, for others of two and three symbols later on, and for a symbol alone."""

    def __init__(self, symbols: Any, pairs: Any, config: Any) -> None:
        self.n = 0

    def wishes(self, view: Any) -> list[Wish]:
        self.n += 1
        size = 0.1 * (1.0 + self.n % 7) * (self.n % 40 < 25)
        wishes = [Wish((0, 1), (size, -0.5 * size))]
        if self.n > 300:
            wishes = [Wish((3,), (0.02,)), Wish((2, 3), (-size, 0.8 * size)), *wishes]
        if 700 < self.n < 900:
            wishes += [Wish((1, 2, 3), (size, -0.5 * size, -0.5 * size)), Wish((0, 1), (0.01, -0.005))]
        return wishes if self.n % 11 else wishes[:1]


def grown(config: Config, bars: Bars) -> Hybrid:
    return build(config, bars.symbols, PAIRS, stand_ins(), legs={"kalman": Growing})


@pytest.mark.parametrize("bars", [random_bars(1100), random_bars(1100, missing=0.05, late=40, seed=3)])
def test_layout_that_grows_is_recorded_as_the_panel_has_it(bars: Bars) -> None:
    config = load_config("stable", overrides=TIGHT)
    streamed = record(grown(config, bars), bars, PAIRS)
    brain = grown(config, bars)
    whole = opinions(brain, read_panel(bars.close, brain.reader))
    mine, d = streamed.opinions(), streamed.decisions()
    assert mine.layout == whole.layout == d.layout
    later = [(1, (0, 1)), (1, (3,)), (1, (2, 3)), (1, (1, 2, 3))]
    assert bundles_of(whole.layout)[4:] == later
    for name in ("amounts", "risks", "regime", "volatility", "correlation", "warm"):
        assert np.array_equal(getattr(mine, name), getattr(whole, name)), name
    settled = settle_panel(whole, bars.traded, mix_of(whole.regime, config.lines()), config.risk)
    assert np.array_equal(settled.targets, d.sent, equal_nan=True)
    assert np.array_equal(settled.together, d.together)
    assert not d.sides[:300, 6:].any() and d.sides[301:, 6:].any()

    brain = grown(config, bars)
    ahead = Recorder(bars.n_symbols, PAIRS, tuple(brain.legs))
    for opinion in opinions_in_turn(brain, read_in_pieces(bars.close, brain.reader)):
        ahead.append(brain.settle(opinion))
    one, other = ahead.decisions(), streamed.decisions()
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert np.array_equal(a, b, equal_nan=a.dtype == float), field.name
    assert one.layout == other.layout


def test_rows_of_a_layout_that_grew_keep_their_sides() -> None:
    bars = random_bars(720)
    config = load_config("stable", overrides=TIGHT)
    found = record(grown(config, bars), bars, PAIRS)
    for first in (0, 250, 600, 710):
        rows, whole = found.decisions(first), found.decisions().rows(slice(first, None))
        assert np.array_equal(rows.sides, whole.sides) and rows.layout == whole.layout
        assert np.array_equal(found.opinions(first).before, found.opinions().rows(slice(first, None)).before)


# --- shares and entries ---


@pytest.mark.parametrize(("n_pairs", "part"), [(1, 0.1), (4, 0.4), (10, 1.0), (17, 1.0)])
def test_few_pairs_that_a_rule_found_carry_little(n_pairs: int, part: float) -> None:
    config = load_config("stable")
    found, named = config.with_pairs_found(n_pairs).lines(), config.lines()
    assert found[1] == pytest.approx([part * share for share in config.fusion], rel=1e-15)
    assert found[0] == named[0] == (1.25, 1.0, 0.75) and named[1] == tuple(config.fusion)


def test_share_of_found_pairs_reaches_the_account() -> None:
    config = load_config("stable", overrides=ACTIVE | {"risk": {"leg_scale_limit": 1000.0}})
    weights = []
    for pairs_found in (False, True):
        brain = build(config, BARS.symbols, CHAIN, stand_ins(), pairs_found=pairs_found)
        weights.append(record(brain, BARS, CHAIN).decisions().weights["kalman"])
    named, found = weights
    known = (named > 0.0) & (named < 1000.0)
    assert known.any() and found[known] == pytest.approx(0.4 * named[known], rel=1e-12)


def opened(config: Config) -> int:
    position = record(build(config, BARS.symbols, CHAIN, stand_ins()), BARS, CHAIN).pairs().position
    return int(np.count_nonzero((position[1:] != 0.0) & (position[1:] != position[:-1])))


def test_dearer_trading_opens_fewer_pairs() -> None:
    """By the run's own costs: nobody has to set a threshold anew."""
    config = load_config("stable", overrides=ACTIVE)
    dear = [overridden(config, {"costs": {"spread_bps": bps, "fee_bps": 0.0}}) for bps in (0.0, 4.0, 12.0, 200.0)]
    counts = [opened(one) for one in dear]
    assert counts[0] > counts[2] > counts[3] == 0 and counts == sorted(counts, reverse=True)
    off = [overridden(one, {"kalman": {"entry_costs": 0.0}}) for one in dear]
    assert {opened(one) for one in off} == {counts[0]}


# --- the base without learning ---


@pytest.mark.parametrize("missing", [0.0, 0.06])
@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_inverse_volatility_is_the_hybrid_without_tilt_and_pairs(mode: str, missing: float) -> None:
    plain = {"sac": {"tilt": 0.0}, "kalman": {"enabled": False}}
    bars = random_bars(420, missing=missing, late=20, seed=9)
    found = run_backtest(Market("", bars, PAIRS), mode=mode, config=plain)
    assert np.array_equal(found.accounts["inverse-vol"].equity, found.accounts["hybrid"].equity)
    assert np.array_equal(found.accounts["inverse-vol"].equity, found.accounts["sac"].equity)
    assert len(found.accounts["hybrid"].fills) > 20
    tilted = run_backtest(Market("", bars, PAIRS), mode=mode)
    assert np.array_equal(found.accounts["inverse-vol"].equity, tilted.accounts["inverse-vol"].equity)
    assert not np.array_equal(tilted.accounts["sac"].equity, tilted.accounts["inverse-vol"].equity)


def test_inverse_volatility_by_hand() -> None:
    volatility = np.array([[0.01, 0.02, 0.04], [0.01, 0.02, 0.04]])
    warm = np.array([[True] * 3, [True, False, True]])
    shares = inverse_volatility(volatility, warm)
    assert shares == pytest.approx(np.array([[4 / 7, 2 / 7, 1 / 7], [4 / 5, 0.0, 1 / 5]]), rel=1e-14)


def test_a_base_of_anything_is_scaled_alike() -> None:
    """What the volatility target and the limits do to a base knows nothing of what made it."""
    config = load_config("stable")
    brain = build(config, BARS.symbols, PAIRS, stand_ins())
    said = opinions(brain, read_panel(BARS.close, brain.reader))
    panel = Panel(BARS, said, config.terms())
    own = said.with_base("own", said.legs["sac"])
    assert own.layout == layout_of([[(i,) for i in range(4)]])
    again = mixed(panel, mix_of(np.zeros(BARS.n_bars), [(1.0, 1.0, 1.0)]), own)
    assert np.array_equal(again.equity, account(panel, "sac").equity)
