"""How much a Sharpe ratio is worth, given its sample's length, skewness and tails, and the trials that led to it.

Symbols: SR a Sharpe ratio *per bar*, n the number of returns, g3 their skewness, g4 their kurtosis (3 for a normal).

    PSR(SR*) = Phi( (SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2) )
    MinTRL   = 1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z_level / (SR - SR*))^2
    SR0      = sqrt(V) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e)))         g = 0.5772..., N trials of variance V
    DSR      = PSR(SR0)

Sources: Bailey, D. and Lopez de Prado, M. (2012), The Sharpe Ratio Efficient Frontier, J. of Risk 15(2), eq. 8, 11;
(2014), The Deflated Sharpe Ratio, J. of Portfolio Management 40(5), eq. 1, 2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Moments(NamedTuple):
    """What the formulas need of a series."""

    sharpe: float  #: per bar
    n_bars: int
    skewness: float = 0.0
    kurtosis: float = 3.0  #: 3 for a normal

    @property
    def spread(self) -> float:
        """sqrt(1 - g3 SR + (g4 - 1)/4 SR^2): the deviation of the estimate times sqrt(n - 1)."""
        bent = 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe * self.sharpe
        return math.sqrt(max(bent, 0.0))


def moments_of(returns: FloatArray) -> Moments:
    """Moments of (T,) returns; NaN where they do not vary."""
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    if not deviation > 0.0:
        return Moments(math.nan, len(returns), math.nan, math.nan)
    scaled = (returns - returns.mean()) / returns.std()
    return Moments(
        float(returns.mean()) / deviation, len(returns), float(np.mean(scaled**3)), float(np.mean(scaled**4))
    )


def sharpe_probability(moments: Moments, benchmark_sharpe: float = 0.0) -> float:
    """Probability that the true Sharpe ratio per bar lies above `benchmark_sharpe`."""
    from scipy.stats import norm

    return float(norm.cdf((moments.sharpe - benchmark_sharpe) * math.sqrt(moments.n_bars - 1) / moments.spread))


def probabilistic_sharpe(returns: FloatArray, benchmark_sharpe: float = 0.0) -> float:
    """Probability that the true Sharpe ratio lies above `benchmark_sharpe`.

    Parameters
    ----------
    returns : ndarray of shape (T,)
    benchmark_sharpe : float
        Per bar.

    Returns
    -------
    float
        NaN where the returns do not vary.
    """
    return sharpe_probability(moments_of(returns), benchmark_sharpe)


def minimum_track_record(returns: FloatArray, benchmark_sharpe: float = 0.0, level: float = 0.95) -> float:
    """Bars of such returns that it takes to be `level` sure that the Sharpe ratio is above `benchmark_sharpe`.

    Infinite where the estimate is not above it.
    """
    return track_record_bars(moments_of(returns), benchmark_sharpe, level)


def track_record_bars(moments: Moments, benchmark_sharpe: float = 0.0, level: float = 0.95) -> float:
    """`minimum_track_record` of a series with these moments."""
    from scipy.stats import norm

    if not moments.sharpe > benchmark_sharpe:
        return math.inf
    return float(1.0 + (moments.spread * norm.ppf(level) / (moments.sharpe - benchmark_sharpe)) ** 2)


def expected_maximum_sharpe(n_trials: int, trial_sharpe_std: float) -> float:
    """Expected highest Sharpe ratio among `n_trials` worthless ones whose ratios have this standard deviation."""
    from scipy.stats import norm

    if n_trials < 2:
        return 0.0
    gamma = float(np.euler_gamma)
    luck = (1.0 - gamma) * norm.ppf(1.0 - 1.0 / n_trials) + gamma * norm.ppf(1.0 - 1.0 / (n_trials * math.e))
    return float(trial_sharpe_std * luck)


def deflated_sharpe(returns: FloatArray, n_trials: int, trial_sharpe_std: float) -> float:
    """Probability that the true Sharpe ratio is above 0 after the best of `n_trials` was picked.

    Parameters
    ----------
    returns : ndarray of shape (T,)
        Of the chosen trial.
    n_trials : int
        Independent trials, this one included.
    trial_sharpe_std : float
        Standard deviation of the trials' Sharpe ratios, per bar.
    """
    return probabilistic_sharpe(returns, expected_maximum_sharpe(n_trials, trial_sharpe_std))
