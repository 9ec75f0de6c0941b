"""The spread is a decaying sum of innovations; its z-score never judges a bar by a scale that the bar has set."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hybrid_bt.equations.pair import SpreadParams, SpreadState, initial_spread, rates_of, spread_step

PARAMS = SpreadParams(spread_half_life_bars=5.0, scale_half_life_bars=20.0, warmup_bars=10.0)


def run(innovations: list[float], params: SpreadParams = PARAMS) -> list[SpreadState]:
    state, states, rates = initial_spread(), [], rates_of(params)
    for innovation in innovations:
        state = spread_step(state, innovation, rates)
        states.append(state)
    return states


def noise(n: int, seed: int = 0, sd: float = 0.01) -> list[float]:
    return [float(v) for v in np.random.default_rng(seed).normal(0.0, sd, n)]


def test_spread_is_the_weighted_sum_of_innovations() -> None:
    innovations = noise(60)
    for t, state in enumerate(run(innovations)):
        # an innovation of k bars ago has decayed k + 1 times
        wanted = sum(v * 0.5 ** ((t - i + 1) / 5.0) for i, v in enumerate(innovations[: t + 1]))
        assert state.spread == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_memory_halves_every_half_life() -> None:
    states = run([1.0] + [0.0] * 20)
    assert states[5].spread == pytest.approx(states[0].spread / 2, rel=1e-12)
    assert states[20].spread == pytest.approx(states[0].spread / 16, rel=1e-12)


def test_zscore_by_hand() -> None:
    # half-life 1: keep = 1/2; white noise of unit variance then has sd sqrt(1/4 / (3/4)) = sqrt(1/3)
    params = SpreadParams(1.0, 1e9, 2.0)
    a, b, c = run([3.0, -1.0, 5.0], params)
    assert (a.zscore, b.zscore) == (0.0, 0.0)
    # the variance of the two earlier innovations is (9 + 1) / 2 = 5
    assert c.spread == 0.5 * (0.5 * (0.5 * 3.0 - 1.0) + 5.0) == 2.625
    assert c.zscore == pytest.approx(2.625 / math.sqrt(5.0 / 3.0), rel=1e-14)


def test_scale_leaves_the_current_bar_out() -> None:
    past = noise(40)
    small, large = run([*past, 0.01])[-1], run([*past, 10.0])[-1]
    assert small.zscore / small.spread == pytest.approx(large.zscore / large.spread, rel=1e-12)
    assert large.variance > 1000 * small.variance


def test_zscore_is_zero_until_the_scale_has_seen_its_bars() -> None:
    states = run(noise(30))
    assert all(state.zscore == 0.0 for state in states[:10])
    assert all(state.zscore != 0.0 for state in states[10:])


def test_swapped_innovations_swap_the_zscore() -> None:
    innovations = noise(80)
    for one, other in zip(run(innovations), run([-v for v in innovations]), strict=True):
        assert (one.spread, one.zscore, one.variance) == (-other.spread, -other.zscore, other.variance)


def test_zscore_has_no_unit() -> None:
    innovations = noise(80)
    for one, other in zip(run(innovations), run([8.0 * v for v in innovations]), strict=True):
        assert one.zscore == pytest.approx(other.zscore, rel=1e-12)


def test_zscore_of_white_noise_has_unit_variance() -> None:
    zscores = np.array([state.zscore for state in run(noise(40_000), SpreadParams(5.0, 500.0, 200.0))[1000:]])
    assert zscores.std() == pytest.approx(1.0, abs=0.04)


def test_scale_is_the_plain_average_at_first_and_exponential_later() -> None:
    innovations = noise(200)
    states = run(innovations)
    gain = 1.0 - 0.5 ** (1.0 / 20.0)
    full = math.floor(1.0 / gain)  # up to here 1 / n is the larger gain
    squares = np.square(innovations)
    assert states[full - 1].variance == pytest.approx(squares[:full].mean(), rel=1e-12)
    ages = np.arange(200 - full - 1, -1, -1)
    wanted = squares[:full].mean() * (1.0 - gain) ** (200 - full) + np.sum(gain * (1.0 - gain) ** ages * squares[full:])
    assert states[-1].variance == pytest.approx(wanted, rel=1e-10)


def test_spread_that_never_moved_has_no_zscore() -> None:
    assert run([0.0] * 50 + [0.1])[-1].zscore == 0.0
