"""Bootstrapped bars: whole rows of the market in blocks, as panels that replays and checks accept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from brain_cases import random_bars
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.account.replay import replay
from hybrid_bt.bars import Bars
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence import bootstrap, bootstrap_bars
from hybrid_bt.evidence.blocks import block_length, stationary_rows


def holed() -> Bars:
    bars = random_bars(300, missing=0.1)
    return bars.between(bars.stamps[int(np.argmax(bars.traded.all(axis=1)))])


def market(bars: Bars) -> Any:
    """What each row is made of, to rounding: ratios that do not depend on the level."""
    ratios = [getattr(bars, field)[1:] / bars.close[1:] for field in ("open", "high", "low")]
    return np.round(np.hstack([*ratios, bars.volume[1:]]), 9)


@pytest.mark.parametrize("bars", [random_bars(300), holed()], ids=["whole", "holed"])
def test_rows_are_rows_of_the_market_in_blocks(bars: Bars) -> None:
    theirs = [row.tobytes() for row in market(bars)]
    for panel in bootstrap_bars(bars, 3, seed=1, block_bars=10.0):
        rows = [theirs.index(row.tobytes()) for row in market(panel)]  # a row that is none of theirs has no index
        steps = np.diff(rows) % len(rows)
        assert 0.8 < (steps == 1).mean() < 0.97  # 9 of 10 follow each other
        assert len(set(rows)) > 100


@pytest.mark.parametrize("bars", [random_bars(300), holed()], ids=["whole", "holed"])
def test_panels_are_bars_that_the_checks_accept(bars: Bars) -> None:
    for panel in bootstrap_bars(bars, 5, block_bars=5.0):
        prices = {field: getattr(panel, field) for field in ("open", "high", "low", "volume")}
        Bars.checked("again", panel.symbols, panel.stamps, panel.close, **prices)
        assert np.array_equal(panel.close[0], bars.close[0]) and np.array_equal(panel.stamps, bars.stamps)


def test_returns_and_their_correlation_survive() -> None:
    """Rows are drawn whole: over many scenarios mean, variance and correlation are those of the market."""
    bars = random_bars(400)
    truth = np.diff(np.log(bars.close), axis=0)
    drawn = np.vstack([np.diff(np.log(panel.close), axis=0) for panel in bootstrap_bars(bars, 200, block_bars=5.0)])
    assert drawn.mean(axis=0) == pytest.approx(truth.mean(axis=0), abs=4.0 * truth.std() / np.sqrt(len(drawn) / 5))
    assert drawn.std(axis=0) == pytest.approx(truth.std(axis=0), rel=0.03)
    assert np.corrcoef(drawn.T) == pytest.approx(np.corrcoef(truth.T), abs=0.03)


def test_same_seed_same_panels_however_many() -> None:
    bars = random_bars(100)
    few, many, other = (bootstrap_bars(bars, n, seed=s, block_bars=5.0) for n, s in ((2, 7), (4, 7), (2, 8)))
    assert [panel.sha256 for panel in few] == [panel.sha256 for panel in many[:2]]
    assert len({panel.sha256 for panel in (*many, *other)}) == 6


def test_other_histories_give_other_accounts() -> None:
    bars = holed()
    targets = np.random.default_rng(0).uniform(-0.3, 0.3, bars.close.shape)
    ends = {replay(targets, panel).equity[-1] for panel in bootstrap_bars(bars, 4, block_bars=10.0)}
    assert len(ends) == 4


def test_blocks_have_the_length_asked_for() -> None:
    rows = stationary_rows(np.random.default_rng(0), 20_000, 25.0)
    assert 1.0 / (np.diff(rows) % 20_000 != 1).mean() == pytest.approx(25.0, rel=0.1)
    whole = stationary_rows(np.random.default_rng(0), 50, np.inf)
    assert np.array_equal(np.sort(whole), np.arange(50))  # one block around the end


def test_the_block_length_is_estimated_where_none_is_given() -> None:
    bars = holed()
    assert bootstrap_bars(bars, 1)[0].n_bars == bars.n_bars


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(20, 400))
def test_accounts_are_drawn_as_arch_draws_them(seed: int, length: int, n_bars: int) -> None:
    table = np.arange(n_bars, dtype=np.float64)[:, None]
    theirs = StationaryBootstrap(length, table[:, 0], seed=seed)
    rows = [theirs.update_indices() for _ in range(3)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hybrid_bt.evidence.block_length", lambda _: float(length))
        drawn = bootstrap(
            {"one": table[:, 0]}, {"first": lambda rows: rows[0], "sum": sum_of}, n_resamples=3, seed=seed
        )
    assert drawn.resamples["first"][:, 0].tolist() == [float(chosen[0]) for chosen in rows]
    assert drawn.resamples["sum"][:, 0].tolist() == [float(sum_of(chosen[:, None])[0]) for chosen in rows]


def sum_of(rows: np.ndarray) -> np.ndarray:
    """Told apart by the order of the rows, too."""
    return rows.T @ np.arange(1.0, len(rows) + 1.0)


SERIES = {
    "noise": lambda x: x,
    "a walk": lambda x: np.cumsum(x, axis=0),
    "squares": np.square,
    "waves": lambda x: np.sin(np.arange(len(x))[:, None] / 3.0) + 0.1 * x,
    "tiny": lambda x: 1e-9 * x,
    "mostly still": lambda x: np.where(x > 1.0, x, 0.0),
}


@pytest.mark.parametrize("kind", SERIES)
@given(seed=st.integers(0, 10**6), n_bars=st.integers(20, 2_000))
def test_the_length_of_blocks_is_that_of_arch(kind: str, seed: int, n_bars: int) -> None:
    values = SERIES[kind](np.random.default_rng(seed).normal(size=(n_bars, 2)))
    lengths = [optimal_block_length(table)["stationary"].max() for table in (values, values**2)]
    assert block_length(values) == pytest.approx(np.clip(max(lengths), 1.0, n_bars / 3.0), rel=1e-9)


def test_a_series_that_stops_has_a_block_of_one_bar_and_no_warning() -> None:
    assert block_length(np.array([[1.0], [-1.0], *[[0.0]] * 40])) >= 1.0


def test_mistakes_are_named() -> None:
    bars = random_bars(100)
    late = random_bars(100, late=10)
    for on, options, message in (
        (bars, {"n_scenarios": 0}, "at least one scenario"),
        (bars, {"n_scenarios": 1, "block_bars": 0.5}, "at least one bar, not 0.5"),
        (bars, {"n_scenarios": 1, "block_bars": float("nan")}, "at least one bar, not nan"),
        (bars.between(bars.stamps[0], bars.stamps[10]), {"n_scenarios": 1}, "11 bars are too few"),
        (late, {"n_scenarios": 1}, "no bar on the first row"),
    ):
        with pytest.raises(ConfigError, match=message):
            bootstrap_bars(on, **options)
