"""The filter against statsmodels, against Gaussian conditioning done in one piece, and against least squares."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from brain_cases import altered_from, random_bars
from statsmodels.tsa.statespace.kalman_filter import KalmanFilter

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.config import load_config
from hybrid_bt.config.task import fit_pairs
from hybrid_bt.equations.kalman import (
    KalmanParams,
    KalmanState,
    filter_pair,
    fit,
    follow_pair,
    initial_state,
    intercept,
    log_likelihood,
    step,
)
from hybrid_bt.errors import BarsError

PARAMS = KalmanParams(2e-4, 3e-5, 4e-4, 5.0, 0.7)


def random_pair(n: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = 4.0 + np.cumsum(rng.normal(0.0, 0.02, n))
    return 0.5 + 1.3 * x + np.cumsum(rng.normal(0.0, 0.01, n)) + rng.normal(0.0, 0.01, n), x


def columns(states: list[KalmanState]) -> dict[str, Any]:
    fields = (*KalmanState._fields, "p_aa", "p_ab")
    return {field: np.array([getattr(state, field) for state in states]) for field in fields}


def statsmodels_filter(y: Any, x: Any, params: KalmanParams) -> Any:
    """The same model in statsmodels; its initial state is the *forecast* of the first bar."""
    drift = np.diag([params.alpha_var_per_bar, params.beta_var_per_bar])
    model = KalmanFilter(k_endog=1, k_states=2)
    model.bind(np.ascontiguousarray(y)[:, None])
    model["design"] = np.stack([np.ones_like(x), x])[None]
    model["transition"] = model["selection"] = np.eye(2)
    model["state_cov"] = drift
    model["obs_cov"] = [[params.noise_var]]
    prior = np.diag([params.initial_alpha_var, params.initial_beta_var])
    model.initialize_known(np.array([0.0, 1.0]), prior + drift)
    return model.filter()


def test_equals_statsmodels() -> None:
    y, x = random_pair(400)
    mine, theirs = columns(filter_pair(y, x, PARAMS)), statsmodels_filter(y, x, PARAMS)
    assert mine["alpha"] == pytest.approx(theirs.filtered_state[0], abs=1e-10)
    assert mine["beta"] == pytest.approx(theirs.filtered_state[1], abs=1e-10)
    assert mine["innovation"] == pytest.approx(theirs.forecasts_error[0], abs=1e-10)
    assert mine["innovation_var"] == pytest.approx(theirs.forecasts_error_cov[0, 0], abs=1e-10)
    covariance = theirs.filtered_state_cov
    for field, values in (("p_aa", covariance[0, 0]), ("p_ab", covariance[0, 1]), ("p_bb", covariance[1, 1])):
        assert mine[field] == pytest.approx(values, abs=1e-10)


@pytest.mark.parametrize("burn_in_bars", [0, 20])
def test_log_likelihood_equals_statsmodels(burn_in_bars: int) -> None:
    y, x = random_pair(300, seed=3)
    theirs = statsmodels_filter(y, x, PARAMS).llf_obs[burn_in_bars:].sum()
    assert log_likelihood(y, x, PARAMS, burn_in_bars) == pytest.approx(theirs, abs=1e-8)


def test_equals_gaussian_conditioning_in_one_piece() -> None:
    # theta_t = theta_0 + w_1 + ... + w_t is jointly normal with y_1 ... y_T; conditioning needs no recursion
    n = 7
    y, x = random_pair(n, seed=1)
    drift = np.diag([PARAMS.alpha_var_per_bar, PARAMS.beta_var_per_bar])
    prior = np.diag([PARAMS.initial_alpha_var, PARAMS.initial_beta_var])
    mean = np.array([0.0, 1.0])
    designs = np.stack([np.ones(n), x], axis=1)

    def state_cov(t: int, s: int) -> Any:
        return prior + (min(t, s) + 1) * drift

    observed = np.array([[designs[t] @ state_cov(t, s) @ designs[s] for s in range(n)] for t in range(n)])
    observed += PARAMS.noise_var * np.eye(n)
    for t, state in enumerate(filter_pair(y, x, PARAMS)):
        past = slice(0, t + 1)
        cross = np.stack([state_cov(t, s) @ designs[s] for s in range(t + 1)], axis=1)
        gain = cross @ np.linalg.inv(observed[past, past])
        wanted = mean + gain @ (y[past] - designs[past] @ mean)
        covariance = state_cov(t, t) - gain @ cross.T
        assert [state.alpha, state.beta] == pytest.approx(wanted, abs=1e-10)
        assert [state.p_aa, state.p_ab, state.p_bb] == pytest.approx(covariance.ravel()[[0, 1, 3]], abs=1e-10)


def test_forecast_error_is_gaussian_conditioning_on_the_past() -> None:
    n = 6
    y, x = random_pair(n, seed=2)
    designs = np.stack([np.ones(n), x], axis=1)
    prior = np.diag([PARAMS.initial_alpha_var, PARAMS.initial_beta_var])
    drift = np.diag([PARAMS.alpha_var_per_bar, PARAMS.beta_var_per_bar])
    joint = np.array(
        [[designs[t] @ (prior + (min(t, s) + 1) * drift) @ designs[s] for s in range(n)] for t in range(n)]
    )
    joint += PARAMS.noise_var * np.eye(n)
    for t, state in enumerate(filter_pair(y, x, PARAMS)):
        weights = np.linalg.solve(joint[:t, :t], joint[:t, t])
        forecast = x[t] + weights @ (y[:t] - x[:t])  # the prior mean of y is 0 + 1 x
        assert state.innovation == pytest.approx(y[t] - forecast, abs=1e-10)
        assert state.innovation_var == pytest.approx(joint[t, t] - weights @ joint[:t, t], abs=1e-10)


def ridge(y: Any, x: Any, params: KalmanParams) -> tuple[Any, Any]:
    """Normal equations with the prior as a penalty: coefficients and their covariance."""
    designs = np.stack([np.ones(len(x)), x], axis=1)
    penalty = np.diag([1.0 / params.initial_alpha_var, 1.0 / params.initial_beta_var])
    precision = penalty + designs.T @ designs / params.noise_var
    right = penalty @ np.array([0.0, 1.0]) + designs.T @ y / params.noise_var
    return np.linalg.solve(precision, right), np.linalg.inv(precision)


def test_without_drift_it_is_ridge_regression() -> None:
    still = PARAMS._replace(alpha_var_per_bar=0.0, beta_var_per_bar=0.0)
    y, x = random_pair(200)
    states = filter_pair(y, x, still)
    for n in (1, 2, 10, 200):
        coefficients, covariance = ridge(y[:n], x[:n], still)
        state = states[n - 1]
        assert [state.alpha, state.beta] == pytest.approx(coefficients, abs=1e-8)
        assert [state.p_aa, state.p_ab, state.p_bb] == pytest.approx(covariance.ravel()[[0, 1, 3]], rel=1e-6, abs=1e-11)


def test_one_step_by_hand() -> None:
    # P + Q = diag(2, 1), x = 2: S = 2 + 4 + 2 = 8, K = (1/4, 1/4), v = 7 - (0 + 1 * 2) = 5
    params = KalmanParams(1.0, 0.5, 2.0, 1.0, 0.5)
    state = step(initial_state(params), 7.0, 2.0, params)
    assert (state.innovation, state.innovation_var) == (5.0, 8.0)
    assert (state.alpha, state.beta) == (1.25, 2.25)
    # P - K S K' = diag(2, 1) - 8 / 16 * ones
    assert (state.p_aa, state.p_ab, state.p_bb) == (1.5, -0.5, 0.5)


@pytest.mark.parametrize("drift", [0.0, 1e-9, 1e-6])
@pytest.mark.parametrize("noise_var", [1e-6, 1e-9, 4e-18])
def test_covariance_stays_positive_while_x_hardly_moves(noise_var: float, drift: float) -> None:
    # regression: Joseph's form gave a negative S here, and the search for the variances the logarithm of one
    rng = np.random.default_rng(0)
    x = 4.6 + rng.normal(0.0, 1e-5, 20_000)
    params = KalmanParams(drift, drift, noise_var)
    path = columns(filter_pair(1.1 * x + rng.normal(0.0, 1e-3, len(x)), x, params))
    assert (path["d"] > 0.0).all() and (path["p_bb"] > 0.0).all()
    assert (path["innovation_var"] >= noise_var).all()
    assert (np.abs(path["p_ab"]) <= np.sqrt(path["p_aa"] * path["p_bb"]) * (1.0 + 1e-12)).all()


@pytest.mark.parametrize(("wobble", "noise_var"), [(1e-3, 1e-6), (1e-5, 1e-9), (1e-7, 1e-12)])
def test_covariance_is_still_exact_after_20000_bars(wobble: float, noise_var: float) -> None:
    rng = np.random.default_rng(0)
    x = 4.6 + rng.normal(0.0, wobble, 20_000)
    params = KalmanParams(0.0, 0.0, noise_var)
    state = filter_pair(1.1 * x, x, params)[-1]
    # without drift the precision is a sum, which fractions add up without rounding
    noise, exact = Fraction(noise_var), [Fraction(value) for value in x.tolist()]
    m_aa = 1 / Fraction(params.initial_alpha_var) + len(x) / noise
    m_ab = sum(exact) / noise
    m_bb = 1 / Fraction(params.initial_beta_var) + sum(value * value for value in exact) / noise
    determinant = m_aa * m_bb - m_ab * m_ab
    wanted = [float(m_bb / determinant), float(-m_ab / determinant), float(m_aa / determinant)]
    assert [state.p_aa, state.p_ab, state.p_bb] == pytest.approx(wanted, rel=1e-6)


def test_prior_beta_is_the_beta_of_the_bar_before() -> None:
    path = columns(filter_pair(*random_pair(100), PARAMS))
    assert path["prior_beta"][0] == 1.0
    assert np.array_equal(path["prior_beta"][1:], path["beta"][:-1])


def test_the_last_bar_moves_neither_the_earlier_states_nor_its_own_prior() -> None:
    y, x = random_pair(50)
    before = filter_pair(y, x, PARAMS)
    y[-1] += 1.0
    after = filter_pair(y, x, PARAMS)
    assert before[:-1] == after[:-1]
    assert before[-1].prior_beta == after[-1].prior_beta and before[-1].innovation_var == after[-1].innovation_var
    assert after[-1].innovation == pytest.approx(before[-1].innovation + 1.0, abs=1e-12)


def in_one_origin(x: Any, params: KalmanParams) -> Any:
    """Drift of (alpha, beta) of plain log closes, (2, 2, T), where beta turns the line about the last close of x."""
    last = np.concatenate([x[:1], x[:-1]])
    drift = np.empty((2, 2, len(x)))
    drift[0, 0] = params.alpha_var_per_bar + last**2 * params.beta_var_per_bar
    drift[0, 1] = drift[1, 0] = -last * params.beta_var_per_bar
    drift[1, 1] = params.beta_var_per_bar
    return drift


def test_following_is_the_filter_whose_line_turns_about_the_last_close() -> None:
    y, x = random_pair(400)
    mine = follow_pair(y, x, PARAMS)
    drift = in_one_origin(x, PARAMS)
    model = KalmanFilter(k_endog=1, k_states=2)
    model.bind(np.ascontiguousarray(y)[:, None])
    model["design"] = np.stack([np.ones_like(x), x])[None]
    model["transition"] = model["selection"] = np.eye(2)
    model["state_cov"] = np.concatenate([drift[:, :, 1:], drift[:, :, -1:]], axis=2)  # of the step to the next bar
    model["obs_cov"] = [[PARAMS.noise_var]]
    # level y and hedge ratio 1 at the first closes
    turn = np.array([[1.0, -x[0]], [0.0, 1.0]])
    prior = turn @ np.diag([PARAMS.initial_alpha_var, PARAMS.initial_beta_var]) @ turn.T
    model.initialize_known(np.array([y[0] - x[0], 1.0]), prior + drift[:, :, 0])
    theirs = model.filter()
    alphas = [intercept(state, *closes) for state, *closes in zip(mine, y, x, strict=True)]
    assert alphas == pytest.approx(theirs.filtered_state[0], abs=1e-9)
    path = columns(mine)
    assert path["beta"] == pytest.approx(theirs.filtered_state[1], abs=1e-10)
    assert path["innovation"] == pytest.approx(theirs.forecasts_error[0], abs=1e-10)
    assert path["innovation_var"] == pytest.approx(theirs.forecasts_error_cov[0, 0], abs=1e-10)


@pytest.mark.parametrize(("y_unit", "x_unit"), [(1000.0, 1000.0), (1e-6, 1.0), (0.01, 1e9)])
def test_following_does_not_know_the_unit_of_prices(y_unit: float, x_unit: float) -> None:
    y, x = random_pair(500)
    plain, scaled = follow_pair(y, x, PARAMS), follow_pair(y + math.log(y_unit), x + math.log(x_unit), PARAMS)
    for name, values in columns(plain).items():
        assert columns(scaled)[name] == pytest.approx(values, rel=1e-9, abs=1e-13), name


def test_loop_over_step_is_the_batch() -> None:
    y, x = random_pair(80)
    state, stream = initial_state(PARAMS), []
    for y_t, x_t in zip(y.tolist(), x.tolist(), strict=True):
        state = step(state, y_t, x_t, PARAMS)
        stream.append(state)
    assert stream == filter_pair(y, x, PARAMS) == filter_pair(y.tolist(), x.tolist(), PARAMS)


def test_fit_finds_the_variances_of_a_simulated_pair() -> None:
    rng = np.random.default_rng(7)
    n, truth = 1500, KalmanParams(1e-4, 4e-5, 9e-4)
    x = rng.normal(0.0, 1.0, n)  # x that moves tells alpha from beta
    alpha = np.cumsum(rng.normal(0.0, math.sqrt(truth.alpha_var_per_bar), n))
    beta = 1.0 + np.cumsum(rng.normal(0.0, math.sqrt(truth.beta_var_per_bar), n))
    y = alpha + beta * x + rng.normal(0.0, math.sqrt(truth.noise_var), n)
    start = KalmanParams(1e-6, 1e-6, 1e-2, 3.0, 2.0)
    found = fit(y, x, start)
    for name in ("alpha_var_per_bar", "beta_var_per_bar", "noise_var"):
        assert 0.5 < getattr(found, name) / getattr(truth, name) < 2.0, name
    assert log_likelihood(y, x, found) > log_likelihood(y, x, truth) - 0.1
    assert (found.initial_alpha_var, found.initial_beta_var) == (3.0, 2.0)


def test_fit_of_a_run_reads_no_bar_from_the_start_on() -> None:
    bars = random_bars(340)
    config = load_config()

    def fitted(bars: Bars) -> list[KalmanParams]:
        return fit_pairs(Market("", bars, "AA:BB"), 300, config)

    assert fitted(altered_from(bars, 300)) == fitted(bars)
    assert fitted(altered_from(bars, 299)) != fitted(bars)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("work", [filter_pair, log_likelihood, fit])
def test_what_is_not_finite_is_refused_by_name_and_bar(work: Any, bad: float) -> None:
    y, x = random_pair(30)
    x[4] = bad
    with pytest.raises(BarsError, match="x is not finite at bar 4"):
        work(y, x, PARAMS)
    with pytest.raises(BarsError, match="y is not finite at bar 4"):
        work(x, y, PARAMS)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(BarsError, match="y has 3 bars and x 2"):
        filter_pair([1.0, 2.0, 3.0], [1.0, 2.0], PARAMS)
