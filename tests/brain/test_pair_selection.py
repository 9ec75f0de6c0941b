"""Pairs that are alike: chosen by distance whatever the order and unit of prices, by bounds, and by nothing later."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hybrid_bt.brain.pair_selection import (
    COPY_DISTANCE,
    LEAST_COMMON_BARS,
    MOST_DISTANCE,
    MOST_OF_A_SYMBOL,
    MOST_PAIRS,
    WINDOW_BARS,
    Found,
    find_pairs,
    judged,
)
from hybrid_bt.errors import BarsError

Panel = tuple[list[str], Any]


def walks(n: int, t: int, seed: int, common: float = 1.0, missing: float = 0.0) -> Panel:
    """Walks that share one as far as `common` says."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.0, 0.01, (t, 1)).cumsum(axis=0)
    own = rng.normal(0.0, 0.01, (t, n)).cumsum(axis=0) * rng.uniform(0.05, 1.0, n)
    closes = rng.uniform(1.0, 500.0, n) * np.exp(common * shared + own)
    closes[rng.random(closes.shape) < missing] = np.nan
    return [f"S{i:03}" for i in range(n)], closes


def as_sets(found: Found) -> list[frozenset[str]]:
    return [frozenset(pair.split(":")) for pair in found.pairs]


def test_distance_by_hand() -> None:
    """A's logs are +1, -1, +1, -1, in units of its deviation; B's +1, -1, +1, +1 have mean 1/2, deviation sqrt(3)/2.

    Standardised, B is 1/sqrt(3) three times and -sqrt(3) once: the product with A has the mean
    (1/sqrt(3) + sqrt(3) + 1/sqrt(3) - 1/sqrt(3)) / 4 = 1/sqrt(3), and the mean squared gap is 2 - 2/sqrt(3).
    """
    a = np.tile([1.0, -1.0, 1.0, -1.0], 126)
    b = np.tile([1.0, -1.0, 1.0, 1.0], 126)
    found = find_pairs(["A", "B"], np.column_stack([50.0 * np.exp(0.1 * a), 8.0 * np.exp(0.3 * b)]))
    assert found.alike[0].distance == pytest.approx(2.0 - 2.0 / 3.0**0.5, abs=1e-12)
    assert (found.alike[0].pair, found.alike[0].bars) == ("A:B", 504), "A varies less"
    assert found.pairs == ()


@given(st.integers(2, 12), st.integers(0, 10**6), st.sampled_from([0.0, 0.1]), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_and_unit_of_prices_do_not_matter(n: int, seed: int, missing: float, random: Any) -> None:
    symbols, closes = walks(n, 400, seed, missing=missing)
    found = find_pairs(symbols, closes)
    order = random.sample(range(n), n)
    mixed = find_pairs([symbols[i] for i in order], closes[:, order])
    assert mixed.pairs == found.pairs and mixed.copies == found.copies
    assert [(a.pair, a.distance) for a in mixed.alike] == [(a.pair, a.distance) for a in found.alike]
    units = np.array([random.choice([1e-3, 0.5, 2.0, 7.3, 1e4]) for _ in symbols])
    assert find_pairs(symbols, closes * units).pairs == found.pairs


@given(st.integers(2, 30), st.integers(0, 10**6), st.floats(0.0, 3.0))
@settings(max_examples=40, deadline=None)
def test_choice_keeps_its_bounds_and_is_the_nearest_that_does(n: int, seed: int, common: float) -> None:
    symbols, closes = walks(n, 504, seed, common)
    found = find_pairs(symbols, closes)
    apart = {alike.pair: alike.distance for alike in found.alike}
    assert len(found.pairs) <= MOST_PAIRS and all(apart[pair] <= MOST_DISTANCE for pair in found.pairs)
    taken = Counter(symbol for pair in as_sets(found) for symbol in pair)
    assert max(taken.values(), default=0) <= MOST_OF_A_SYMBOL
    assert [apart[pair] for pair in found.pairs] == sorted(apart[pair] for pair in found.pairs)
    for alike in found.alike:  # whoever was left out had both room and a distance that kept it out
        if alike.pair not in found.pairs and alike.distance <= MOST_DISTANCE and len(found.pairs) < MOST_PAIRS:
            nearer = Counter(
                symbol for pair in found.pairs if apart[pair] <= alike.distance for symbol in pair.split(":")
            )
            assert max(nearer[symbol] for symbol in alike.pair.split(":")) == MOST_OF_A_SYMBOL


def test_only_the_last_bars_count() -> None:
    symbols, closes = walks(6, WINDOW_BARS + 300, 3)
    early = closes.copy()
    early[:300] = early[:300, ::-1] ** 2.0
    assert find_pairs(symbols, early) == find_pairs(symbols, closes)
    early[300] *= np.linspace(1.0, 3.0, 6)
    assert find_pairs(symbols, early).alike != find_pairs(symbols, closes).alike


def test_series_that_run_against_each_other_are_never_chosen() -> None:
    _, closes = walks(2, 504, 0)
    bear = find_pairs(["BULL", "BEAR"], np.column_stack([closes[:, 0], 1e4 / closes[:, 0]]))
    assert bear.pairs == () and bear.alike[0].distance == pytest.approx(4.0) and "4.00 apart" in bear.notes()[0]
    (row,) = judged(bear, np.column_stack([closes[:, 0], 1e4 / closes[:, 0]]), 1)
    assert row.p_value < 0.05 and row.hedge_ratio == pytest.approx(-1.0) and not row.chosen


def test_copies_are_passed_over_by_name() -> None:
    symbols, closes = walks(3, 504, 1, common=3.0)
    panel = np.column_stack([closes, 7.0 * closes[:, 0], closes[:, 0]])
    panel[::3, 4] = np.nan  # equal where it has bars
    found = find_pairs([*symbols, "TWIN", "SAME"], panel)
    assert {frozenset(copy.split(":")) for copy in found.copies} == {
        frozenset(pair) for pair in (("S000", "TWIN"), ("S000", "SAME"), ("SAME", "TWIN"))
    }
    assert not set(found.copies) & {alike.pair for alike in found.alike} and found.pairs
    assert all(copy in found.notes()[0] for copy in found.copies)


def column(kind: str, base: Any, rng: Any) -> Any:
    made = {
        "walk": lambda: 9.0 * np.exp(rng.normal(0.0, 0.01, len(base)).cumsum()),
        "equal": lambda: base,
        "proportional": lambda: 0.1 * base,
        "inverse": lambda: 100.0 / base,
        "power": lambda: base**0.5,
        "constant": lambda: np.full(len(base), 12.34),
        "step": lambda: np.where(np.arange(len(base)) < len(base) // 3, 5.0, 6.0),
        "two": lambda: np.where(np.arange(len(base)) % 2, 5.0, 6.0),
        "empty": lambda: np.full(len(base), np.nan),
        "short": lambda: np.where(np.arange(len(base)) < len(base) - 100, np.nan, base),
        "rounded": lambda: np.round(base, 1),
    }
    return made[kind]()


KINDS = ["walk", "equal", "proportional", "inverse", "power", "constant", "step", "two", "empty", "short", "rounded"]


@given(st.lists(st.sampled_from(KINDS), max_size=7), st.integers(0, 900), st.integers(0, 99))
@example(KINDS, 504, 0)
@example(["equal"], 504, 0)
@example(["constant", "constant"], 504, 0)
@example([], 504, 0)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("error")
def test_no_panel_ends_in_anything_but_an_answer_or_a_word_to_the_user(kinds: list[str], t: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = 50.0 * np.exp(rng.normal(0.0, 0.01, t).cumsum())
    closes = np.array([column(kind, base, rng) for kind in kinds]).reshape(len(kinds), t).T
    symbols = [f"{kind}{i}" for i, kind in enumerate(kinds)]
    try:
        found = find_pairs(symbols, closes)
    except BarsError as error:
        both = np.isfinite(closes[-WINDOW_BARS:]).astype(int)
        assert "bars in common" in str(error)
        assert not (np.triu(both.T @ both, 1) >= LEAST_COMMON_BARS).any()
        return
    rows = judged(found, closes[-WINDOW_BARS:], 99)
    assert len(rows) == len(found.alike) and {row.pair for row in rows if row.chosen} == set(found.pairs)
    for row in rows:
        assert COPY_DISTANCE < row.distance <= 4.0 + 1e-9 and 0.0 <= row.p_value <= row.q_value <= 1.0
        assert "constant" not in row.pair and "empty" not in row.pair and np.isfinite(row.hedge_ratio)


def test_thousands_of_pairs_take_no_time() -> None:
    symbols, closes = walks(100, 600, 0, missing=0.02)
    find_pairs(symbols, closes)
    began = time.process_time()
    found = find_pairs(symbols, closes)
    assert time.process_time() - began < 0.5 and len(found.alike) == 4950 and len(found.pairs) == MOST_PAIRS


def test_q_counts_every_pair_of_the_panel_tested_or_not() -> None:
    symbols, closes = walks(8, 504, 2)
    found = find_pairs(symbols, closes)
    some, every = judged(found, closes, 5), judged(found, closes, 28)
    assert len(every) == 28 > len(some) >= 5
    assert all(row.q_value >= row.p_value for row in every)
    harmonic = sum(1.0 / k for k in range(1, 29))
    least = min(some, key=lambda row: row.p_value)
    bound = min(28 * harmonic * row.p_value / rank for rank, row in enumerate(sorted(some, key=lambda r: r.p_value), 1))
    assert least.q_value == pytest.approx(min(1.0, bound))
