"""A panel may be read, heard, decided and split in pieces of any length: the bits are those of the whole."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from brain_cases import PAIRS, SYMBOLS, random_bars
from hypothesis import given, settings
from hypothesis import strategies as st
from report_cases import make_record

from hybrid_bt.account.conditional import VOLATILITY_BARS, WINDOWS_AT_ONCE, _market_returns, _market_volatility
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain import laid
from hybrid_bt.brain.legs.base import View
from hybrid_bt.brain.legs.kalman import IdlePair, IdlePairs
from hybrid_bt.brain.reader import MarketReader, cut, read_on, read_panel
from hybrid_bt.config import load_config
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.pair import PairView
from hybrid_bt.report.tables import split_of

BARS = random_bars(700, 4, missing=0.04, late=300)
CUTS = st.lists(st.integers(0, BARS.n_bars), max_size=6)


def reader() -> MarketReader:
    config = load_config("stable")
    pairs = resolve_pairs(PAIRS, SYMBOLS[:4])
    return MarketReader(4, pairs, [config.kalman_params] * len(pairs), config.spread_params)


def pieces(cuts: list[int], n_bars: int) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(sorted({0, *cuts, n_bars}))]


@settings(deadline=None, max_examples=20)
@given(cuts=CUTS, compiled=st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_panel_is_read_in_any_pieces_compiled_or_not(cuts: list[int], compiled: list[bool]) -> None:
    whole, driven, streamed = read_panel(BARS.close, reader(), compiled=False), reader(), reader()
    for rows, how in zip(pieces(cuts, BARS.n_bars), compiled, strict=False):
        for name, mine, theirs in zip(
            View._fields, read_on(BARS.close[rows], driven, compiled=how), cut(whole, rows), strict=True
        ):
            assert mine.tobytes() == theirs.tobytes(), name
    for closes in BARS.close.tolist():
        streamed.read(closes)
    assert repr(vars(driven)) == repr(vars(streamed))


@settings(deadline=None, max_examples=20)
@given(cuts=CUTS, seed=st.integers(0, 30), opens=st.booleans())
def test_idle_pairs_say_the_same_of_bars_as_of_one_bar_after_the_other(cuts: list[int], seed: int, opens: bool) -> None:
    rng = np.random.default_rng(seed)
    views = rng.normal(0.0, 1.5, (BARS.n_bars, 5, len(PairView._fields)))
    views[:, :, PairView._fields.index("fresh")] = rng.random((BARS.n_bars, 5)) < 0.9
    views[:, :, PairView._fields.index("zscore")] *= rng.random((BARS.n_bars, 5)) < 0.9
    positions = np.zeros((BARS.n_bars, 5))
    positions[rng.integers(BARS.n_bars), 0] = positions[rng.integers(BARS.n_bars), 1] = float(opens)
    rules = load_config("stable").pair_rules
    one, many = (IdlePairs([f"P{i}" for i in range(5)], rules) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdlePair)
        for row, held in zip(views.tolist(), positions.tolist(), strict=True):
            one.see([PairView(*numbers) for numbers in row], held)
        for rows in pieces(cuts, BARS.n_bars):
            many.see_bars(views[rows], positions[rows])
    assert (one.at_start, one.at_end(), one.closed) == (many.at_start, many.at_end(), many.closed)


@dataclass(frozen=True)
class Rows:
    layout: Any
    amounts: np.ndarray
    legs: dict[str, np.ndarray]
    same: np.ndarray


@settings(deadline=None, max_examples=60)
@given(cuts=CUTS, zeros=st.booleans(), expected=st.sampled_from([0, 40, BARS.n_bars]), in_a_file=st.booleans())
def test_what_is_written_in_pieces_is_whole_to_the_sign_of_zero(
    cuts: list[int], zeros: bool, expected: int, in_a_file: bool
) -> None:
    with patch.multiple(laid, FEWEST_BARS=16, SPOOLED_BYTES=-1 if in_a_file else laid.SPOOLED_BYTES):
        check_whole(cuts, zeros, expected)


def check_whole(cuts: list[int], zeros: bool, expected: int) -> None:
    n = BARS.n_bars
    amounts = np.where(np.random.default_rng(0).random((n, 2)) < 0.5, -0.0, 0.0 if zeros else 1.5)
    calm, layout, wide = np.zeros((n, 3)), layout_of([[(0,), (1,)]]), layout_of([[(0,), (1,), (0, 1)]])
    whole = laid.Whole(expected)
    for i, rows in enumerate(pieces(cuts, n)):
        later = np.hstack([amounts[rows], np.ones((rows.stop - rows.start, 2))])
        given = (layout, amounts[rows]) if i == 0 else (wide, later)
        whole.write(Rows(*given, {"a": amounts[rows], "b": calm[rows]}, calm[rows]))
        laid.let_go()
    (found,) = whole.records()
    assert found.amounts[:, :2].tobytes() == amounts.tobytes() == found.legs["a"].tobytes()
    assert not found.legs["b"].any() and found.layout == (wide if len(pieces(cuts, n)) > 1 else layout)


@pytest.mark.parametrize("seed", range(3))
def test_profits_are_split_in_any_pieces(seed: int) -> None:
    record = make_record(t=120 + seed, every=0.3)
    whole, n = split_of(record), record.bars.n_bars
    for cuts in ([1], [2, 3], [50, 51, 119], list(range(n))):
        parts = [split_of(record, rows) for rows in pieces(cuts, n)]
        for name, values in whole.items():
            assert np.concatenate([part[name] for part in parts]).tobytes() == values.tobytes(), name


def test_volatility_of_a_quarter_is_that_of_all_windows_at_once() -> None:
    n = WINDOWS_AT_ONCE + 100
    close = 50.0 * np.exp(np.random.default_rng(0).normal(0.0, 0.01, (n, 2)).cumsum(axis=0))
    bars = Bars.checked("two", ["AA", "BB"], np.datetime64("1990-01-01", "ns") + np.arange(n) * 86_400 * 10**9, close)
    windows = np.lib.stride_tricks.sliding_window_view(_market_returns(bars), VOLATILITY_BARS)
    assert np.array_equal(_market_volatility(bars)[VOLATILITY_BARS:], windows.std(axis=1))
