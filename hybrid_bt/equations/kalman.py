"""Recursive Kalman filter for the hedge ratio of a pair.

Estimated is the time-varying regression of y's log price on x's,

    y_t = alpha_t + beta_t x_t + e_t,         e_t ~ N(0, R)
    (alpha, beta)_t = (alpha, beta)_{t-1} + w_t,   w_t ~ N(0, diag(Q_alpha, Q_beta))

======================  =======================================================================
alpha, beta             intercept (log price) and hedge ratio (elasticity of y to x)
P = U D U'              covariance of (alpha, beta), U = [[1, u], [0, 1]], D = diag(d, p_bb)
innovation              forecast error of y given all *earlier* bars, log price
innovation_var (S)      its variance
======================  =======================================================================

Source: Durbin & Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 4.3 (filter), 7.2
(likelihood); Chan, Algorithmic Trading, 2013, ch. 3 (the pair as a dynamic regression); Bierman, Factorization Methods
for Discrete Sequential Estimation, 1977, ch. V (the update of the factors).

Log prices have an arbitrary origin, the unit of money, and a drift of beta turns the line about that origin. Traded
pairs are therefore filtered by `follow`, which puts the origin at the last closes before each step: alpha is then the
fitted level there less y, Q_alpha the drift of that level, and nothing depends on the unit of prices.

The covariance is kept as its factors. x is nearly constant, so alpha and beta are almost collinear, and both the
textbook update (I - K H) P and Joseph's form lose positive definiteness, even the sign of S, once the noise is small
against the prior. The factors' variances are only ever sums, products and quotients of positive numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from hybrid_bt.errors import BarsError

Variance: TypeAlias = Annotated[float, Ge(0), Le(1)]
LogCloses: TypeAlias = Sequence[float] | NDArray[np.float64]  #: (T,)


class KalmanParams(NamedTuple):
    """Noise and prior variances, in squared log-price units."""

    alpha_var_per_bar: Annotated[Variance, "Q_alpha: drift variance of the intercept, squared log price per bar"]
    beta_var_per_bar: Annotated[Variance, "Q_beta: drift variance of the hedge ratio, per bar"]
    noise_var: Annotated[float, Ge(1e-16), Le(1), "R: variance of the observation noise, squared log price"]
    initial_alpha_var: float = 10.0  #: the prior covers e^3-fold price ratios
    initial_beta_var: float = 1.0  #: the prior covers hedge ratios of -1 to 3 around the prior mean of 1


class KalmanState(NamedTuple):
    """Posterior after a bar, and the innovation that the bar brought."""

    alpha: float
    beta: float
    p_bb: float  #: variance of beta
    u: float  #: regression of alpha's error on beta's
    d: float  #: variance of alpha given beta
    innovation: float
    innovation_var: float
    prior_beta: float  #: beta as known before this bar: the only one that may hedge a trade on this bar's spread

    @property
    def p_ab(self) -> float:
        """Covariance of alpha and beta."""
        return self.u * self.p_bb

    @property
    def p_aa(self) -> float:
        """Variance of alpha."""
        return self.d + self.u * self.u * self.p_bb


def initial_state(params: KalmanParams) -> KalmanState:
    """Prior before the first bar: alpha 0, beta 1, wide and uncorrelated."""
    return KalmanState(0.0, 1.0, params.initial_beta_var, 0.0, params.initial_alpha_var, 0.0, 1.0, 1.0)


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
    # unpacked once: an attribute of a NamedTuple costs as much as a product
    alpha, beta, last_p_bb, last_u, last_d, _, _, _ = state
    q_alpha, q_beta, noise_var, _, _ = params
    # P_{t|t-1} = P_{t-1} + Q: p_bb first, then what is left to u and d
    p_bb = last_p_bb + q_beta
    u = last_u * last_p_bb / p_bb
    d = last_d + q_alpha + last_u * u * q_beta
    # v_t = y_t - H a_{t|t-1},  H = (1, x)
    innovation = y - (alpha + beta * x)
    # S = H P H' + R = d + f^2 p_bb + R,  (1, f) = H U
    f = u + x
    f_p_bb = f * p_bb
    r_and_d = noise_var + d
    s = r_and_d + f_p_bb * f
    # a_t = a_{t|t-1} + K v_t, K = P H' / S;  P_t = P - K S K', factor by factor (Bierman's update for one observation
    # and two states)
    return KalmanState(
        alpha + (d + u * p_bb * f) / s * innovation,
        beta + f_p_bb / s * innovation,
        p_bb * r_and_d / s,
        u - f * d / r_and_d,
        d * noise_var / r_and_d,
        innovation,
        s,
        beta,
    )


def follow(state: KalmanState, dy: float, dx: float, params: KalmanParams) -> KalmanState:
    """Absorb one pair of log returns: `step` from the last closes as origin, which moves on to the new ones.

    Parameters
    ----------
    dy, dx : float
        Log returns since the last bar on which both assets traded; 0 on the first.

    Returns
    -------
    KalmanState
        Its alpha is the fitted level at the bar's x less the bar's y; `intercept` turns it into one of log closes.
    """
    alpha, beta, p_bb, u, d, innovation, innovation_var, prior_beta = step(state, dy, dx, params)
    # level at dx less dy; the error of alpha now takes in dx times that of beta
    return KalmanState(alpha + beta * dx - dy, beta, p_bb, u + dx, d, innovation, innovation_var, prior_beta)


def intercept(state: KalmanState, y: float, x: float) -> float:
    """Alpha of plain log closes, of a state that `follow` left at the log closes y and x."""
    return state.alpha + y - state.beta * x


def _log_density(state: KalmanState) -> float:
    """Gaussian log density of the bar's innovation (Durbin & Koopman 7.2)."""
    v, s = state.innovation, state.innovation_var
    return -0.5 * (math.log(2.0 * math.pi * s) + v * v / s)


def _check_log_closes(y: LogCloses, x: LogCloses) -> None:
    if len(y) != len(x):
        raise BarsError(f"kalman: y has {len(y)} bars and x {len(x)}; pass two series on one calendar")
    for name, series in (("y", y), ("x", x)):
        bad = np.flatnonzero(~np.isfinite(np.asarray(series, dtype=np.float64)))
        if bad.size:
            raise BarsError(f"kalman: {name} is not finite at bar {bad[0]}; pass log closes where both traded")


def filter_pair(y: LogCloses, x: LogCloses, params: KalmanParams) -> list[KalmanState]:
    """Filter two series of log closes, (T,) each, into T states: a loop over `step`.

    Raises
    ------
    BarsError
        If the lengths differ or a value is not finite.
    """
    _check_log_closes(y, x)
    return _driven(step, np.asarray(y, float).tolist(), np.asarray(x, float).tolist(), params)


def follow_pair(y: LogCloses, x: LogCloses, params: KalmanParams) -> list[KalmanState]:
    """`filter_pair` from bar to bar, a loop over `follow`: how pairs are traded; errors as there."""
    _check_log_closes(y, x)
    return _driven(follow, _moves(y), _moves(x), params)


def _driven(
    absorb: Callable[[KalmanState, float, float, KalmanParams], KalmanState],
    y: list[float],
    x: list[float],
    params: KalmanParams,
) -> list[KalmanState]:
    states = [initial_state(params)]
    for y_t, x_t in zip(y, x, strict=True):
        states.append(absorb(states[-1], y_t, x_t, params))
    return states[1:]


def _moves(logs: LogCloses) -> list[float]:
    """Log returns, the first 0."""
    closes = np.asarray(logs, dtype=np.float64)
    moves: list[float] = np.diff(closes, prepend=closes[:1]).tolist()
    return moves


def log_likelihood(
    y: LogCloses,
    x: LogCloses,
    params: KalmanParams,
    burn_in_bars: int = 20,
    filtered: Callable[..., list[KalmanState]] = filter_pair,
) -> float:
    """Gaussian log likelihood of y given x under `filter_pair` or `follow_pair`; the first bars, which only locate the
    diffuse prior, are left out."""
    return math.fsum(_log_density(state) for state in filtered(y, x, params)[burn_in_bars:])


def fit(
    y: LogCloses, x: LogCloses, start: KalmanParams, filtered: Callable[..., list[KalmanState]] = filter_pair
) -> KalmanParams:
    """Noise variances by maximum likelihood (Nelder-Mead on their logarithms, scipy).

    Parameters
    ----------
    y, x : array of shape (T,)
        Log closes of bars *before* the trading start only.
    start : KalmanParams
        Where the search begins; its priors are kept.
    filtered : `filter_pair` or `follow_pair`
        The filter that the variances are for.

    Returns
    -------
    KalmanParams
    """
    from scipy.optimize import minimize

    def params_of(logs: NDArray[np.float64]) -> KalmanParams:
        alpha_var, beta_var, noise_var = np.exp(logs).tolist()
        return start._replace(alpha_var_per_bar=alpha_var, beta_var_per_bar=beta_var, noise_var=noise_var)

    found = minimize(
        lambda logs: -log_likelihood(y, x, params_of(np.clip(logs, -40.0, 5.0)), filtered=filtered),
        np.log([max(start.alpha_var_per_bar, 1e-12), max(start.beta_var_per_bar, 1e-12), start.noise_var]),
        method="Nelder-Mead",
        options={"xatol": 0.05, "fatol": 0.05, "maxiter": 200},
    )
    return params_of(np.clip(found.x, -40.0, 5.0))
