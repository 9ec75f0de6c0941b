"""Recursive Kalman filter for the hedge ratio of a pair.

Estimated is the time-varying regression of y's log price on x's,

    y_t = alpha_t + beta_t x_t + e_t,         e_t ~ N(0, R)
    (alpha, beta)_t = (alpha, beta)_{t-1} + w_t,   w_t ~ N(0, diag(Q_alpha, Q_beta))

======================  =======================================================================
alpha, beta             intercept (log price) and hedge ratio (elasticity of y to x)
p_aa, p_ab, p_bb        covariance of (alpha, beta)
innovation              forecast error of y given all *earlier* bars, log price
innovation_var (S)      its variance
======================  =======================================================================

Source: Durbin & Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 4.3 (filter), 7.2
(likelihood); Chan, Algorithmic Trading, 2013, ch. 3 (the pair as a dynamic regression).

The covariance update is Joseph's form, (I - K H) P (I - K H)' + K R K'. The textbook (I - K H) P loses symmetry and
positive definiteness after some thousand bars because x is nearly constant, which makes alpha and beta almost
collinear; Joseph's form is a sum of squares and cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import BarsError

__all__ = ["KalmanParams", "KalmanState", "filter_pair", "fit", "initial_state", "log_likelihood", "step"]


class KalmanParams(NamedTuple):
    """Noise and prior variances, in squared log-price units."""

    alpha_var_per_bar: float  #: Q_alpha, drift of the intercept
    beta_var_per_bar: float  #: Q_beta, drift of the hedge ratio
    noise_var: float  #: R
    initial_alpha_var: float = 10.0  #: the prior covers e^3-fold price ratios
    initial_beta_var: float = 1.0  #: the prior covers hedge ratios of -1 to 3 around the prior mean of 1


class KalmanState(NamedTuple):
    """Posterior after a bar, and the innovation that the bar brought."""

    alpha: float
    beta: float
    p_aa: float
    p_ab: float
    p_bb: float
    innovation: float
    innovation_var: float
    prior_beta: float  #: beta as known before this bar: the only one that may hedge a trade on this bar's spread


def initial_state(params: KalmanParams) -> KalmanState:
    """Prior before the first bar: alpha 0, beta 1, wide and uncorrelated."""
    return KalmanState(0.0, 1.0, params.initial_alpha_var, 0.0, params.initial_beta_var, 0.0, 1.0, 1.0)


def step(state: KalmanState, y: float, x: float, params: KalmanParams) -> KalmanState:
    """Absorb one pair of closes.

    Parameters
    ----------
    state : KalmanState
        Posterior after bar t - 1.
    y, x : float
        Log closes of the dependent and the hedge asset at bar t; finite (`filter_pair` and the legs check it).
    params : KalmanParams

    Returns
    -------
    KalmanState
        Posterior after bar t. `innovation` is the forecast error of y *before* this update: trade on it, never on the
        fitted residual, which has already seen the bar.
    """
    # P_{t|t-1} = P_{t-1} + Q
    p_aa = state.p_aa + params.alpha_var_per_bar
    p_ab = state.p_ab
    p_bb = state.p_bb + params.beta_var_per_bar
    # v_t = y_t - H a_{t|t-1},  H = (1, x)
    innovation = y - (state.alpha + state.beta * x)
    # S = H P H' + R
    ph_a = p_aa + p_ab * x
    ph_b = p_ab + p_bb * x
    s = ph_a + ph_b * x + params.noise_var
    # K = P H' / S
    k_a = ph_a / s
    k_b = ph_b / s
    # P_t = (I - K H) P (I - K H)' + K R K'
    g_aa, g_ab = 1.0 - k_a, -k_a * x
    g_ba, g_bb = -k_b, 1.0 - k_b * x
    m_aa, m_ab = g_aa * p_aa + g_ab * p_ab, g_aa * p_ab + g_ab * p_bb
    m_ba, m_bb = g_ba * p_aa + g_bb * p_ab, g_ba * p_ab + g_bb * p_bb
    return KalmanState(
        state.alpha + k_a * innovation,
        state.beta + k_b * innovation,
        m_aa * g_aa + m_ab * g_ab + k_a * params.noise_var * k_a,
        m_aa * g_ba + m_ab * g_bb + k_a * params.noise_var * k_b,
        m_ba * g_ba + m_bb * g_bb + k_b * params.noise_var * k_b,
        innovation,
        s,
        state.beta,
    )


def _log_density(state: KalmanState) -> float:
    """Gaussian log density of the bar's innovation (Durbin & Koopman 7.2)."""
    v, s = state.innovation, state.innovation_var
    return -0.5 * (math.log(2.0 * math.pi * s) + v * v / s)


def _check_log_closes(y: Sequence[float] | NDArray[np.float64], x: Sequence[float] | NDArray[np.float64]) -> None:
    if len(y) != len(x):
        raise BarsError(f"kalman: y has {len(y)} bars and x {len(x)}; pass two series on one calendar")
    for name, series in (("y", y), ("x", x)):
        bad = np.flatnonzero(~np.isfinite(np.asarray(series, dtype=np.float64)))
        if bad.size:
            raise BarsError(
                f"kalman: {name} is not finite at bar {bad[0]}; pass log closes of bars on which both traded"
            )


def filter_pair(
    y: Sequence[float] | NDArray[np.float64], x: Sequence[float] | NDArray[np.float64], params: KalmanParams
) -> list[KalmanState]:
    """Filter two series of log closes, (T,) each, into T states: a loop over `step`.

    Raises
    ------
    BarsError
        If the lengths differ or a value is not finite.
    """
    _check_log_closes(y, x)
    state = initial_state(params)
    states = []
    for y_t, x_t in zip(np.asarray(y, float).tolist(), np.asarray(x, float).tolist(), strict=True):
        state = step(state, y_t, x_t, params)
        states.append(state)
    return states


def log_likelihood(
    y: Sequence[float] | NDArray[np.float64],
    x: Sequence[float] | NDArray[np.float64],
    params: KalmanParams,
    burn_in_bars: int = 20,
) -> float:
    """Gaussian log likelihood of y given x; the first bars, which only locate the diffuse prior, are left out."""
    return math.fsum(_log_density(state) for state in filter_pair(y, x, params)[burn_in_bars:])


def fit(
    y: Sequence[float] | NDArray[np.float64],
    x: Sequence[float] | NDArray[np.float64],
    start: KalmanParams,
) -> KalmanParams:
    """Noise variances by maximum likelihood (Nelder-Mead on their logarithms, scipy).

    Parameters
    ----------
    y, x : array of shape (T,)
        Log closes of bars *before* the trading start only.
    start : KalmanParams
        Where the search begins; its priors are kept.

    Returns
    -------
    KalmanParams
    """
    from scipy.optimize import minimize

    def params_of(logs: NDArray[np.float64]) -> KalmanParams:
        alpha_var, beta_var, noise_var = np.exp(logs).tolist()
        return start._replace(alpha_var_per_bar=alpha_var, beta_var_per_bar=beta_var, noise_var=noise_var)

    found = minimize(
        lambda logs: -log_likelihood(y, x, params_of(np.clip(logs, -40.0, 5.0))),
        np.log([max(start.alpha_var_per_bar, 1e-12), max(start.beta_var_per_bar, 1e-12), start.noise_var]),
        method="Nelder-Mead",
        options={"xatol": 0.05, "fatol": 0.05, "maxiter": 200},
    )
    return params_of(np.clip(found.x, -40.0, 5.0))
