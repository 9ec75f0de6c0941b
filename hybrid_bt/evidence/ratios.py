"""How much a Sharpe ratio is worth, given its sample's length, skewness and tails, and the trials that led to it.

Symbols: SR a Sharpe ratio *per bar*, n the number of returns, g3 their skewness, g4 their kurtosis (3 for a normal).

    PSR(SR*) = Phi( (SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2) )
    MinTRL   = 1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z_level / (SR - SR*))^2
    SR0      = sqrt(V) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e)))         g = 0.5772..., N trials of variance V
    DSR      = PSR(SR0)

Sources: Bailey, D. and Lopez de Prado, M. (2012), The Sharpe Ratio Efficient Frontier, J. of Risk 15(2), eq. 8, 11;
(2014), The Deflated Sharpe Ratio, J. of Portfolio Management 40(5), eq. 1, 2.

Probability of backtest overfitting, by combinatorially symmetric cross-validation (CSCV).

The bars are cut into S blocks. For every choice of S/2 of them, the configuration with the best Sharpe ratio there is
looked up in the other half: w is its relative rank, logit = log(w / (1 - w)). PBO is the share of choices whose best
configuration is below the median elsewhere, logit <= 0.

Source: Bailey, D., Borwein, J., Lopez de Prado, M. and Zhu, Q. (2017), The Probability of Backtest Overfitting, J. of
Computational Finance 20(4), section 2.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import ConfigError

FloatArray = NDArray[np.float64]

N_BLOCKS = 16  #: of CSCV


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


def probabilistic_sharpe(moments: Moments, benchmark_sharpe: float = 0.0) -> float:
    """Probability that the true Sharpe ratio per bar lies above `benchmark_sharpe`; NaN where returns do not vary."""
    from scipy.stats import norm

    return float(norm.cdf((moments.sharpe - benchmark_sharpe) * math.sqrt(moments.n_bars - 1) / moments.spread))


def minimum_track_record(moments: Moments, benchmark_sharpe: float = 0.0, level: float = 0.95) -> float:
    """Bars of such returns that it takes to be `level` sure that the Sharpe ratio is above `benchmark_sharpe`.

    Infinite where the estimate is not above it.
    """
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


def deflated_sharpe(moments: Moments, n_trials: int, trial_sharpe_std: float) -> float:
    """Probability that the true Sharpe ratio is above 0 after the best of `n_trials` was picked.

    Parameters
    ----------
    moments : Moments
        Of the chosen trial.
    n_trials : int
        Independent trials, this one included.
    trial_sharpe_std : float
        Standard deviation of the trials' Sharpe ratios, per bar.
    """
    return probabilistic_sharpe(moments, expected_maximum_sharpe(n_trials, trial_sharpe_std))


class Overfitting(NamedTuple):
    """What CSCV found."""

    probability: float  #: in [0, 1]
    logits: FloatArray  #: one per choice of blocks


def backtest_overfitting(returns: FloatArray, n_blocks: int = N_BLOCKS) -> Overfitting:
    """PBO of choosing the configuration with the best Sharpe ratio.

    Parameters
    ----------
    returns : ndarray of shape (T, K)
        Simple returns of K >= 2 configurations on the same bars.
    n_blocks : int
        Even; bars that do not fill a block are left out at the beginning.

    Raises
    ------
    ConfigError
        For fewer than two configurations, an odd number of blocks, or blocks of less than two bars.
    """
    n_bars, n_configurations = returns.shape
    if n_configurations < 2:
        raise ConfigError("overfitting: one configuration cannot be over-fitted by choice; give two or more")
    if n_blocks < 2 or n_blocks % 2 or n_bars < 2 * n_blocks:
        raise ConfigError(f"overfitting: {n_blocks} blocks of {n_bars} bars; give an even number, two bars a block")
    blocks = returns[n_bars % n_blocks :].reshape(n_blocks, -1, n_configurations)
    sums, squares = blocks.sum(axis=1), (blocks**2).sum(axis=1)
    chosen = np.zeros((math.comb(n_blocks, n_blocks // 2), n_blocks))
    for row, picked in enumerate(combinations(range(n_blocks), n_blocks // 2)):
        chosen[row, list(picked)] = 1.0
    bars = blocks.shape[1] * n_blocks // 2
    inside = _sharpe_of_sums(chosen @ sums, chosen @ squares, bars)
    outside = _sharpe_of_sums((1.0 - chosen) @ sums, (1.0 - chosen) @ squares, bars)
    best = inside.argmax(axis=1)
    found = outside[np.arange(len(best)), best]
    below = (outside < found[:, None]).sum(axis=1)
    ties = (outside == found[:, None]).sum(axis=1)
    rank = (below + (ties + 1) / 2.0) / (n_configurations + 1.0)
    logits = np.log(rank / (1.0 - rank))
    return Overfitting(float((logits <= 0.0).mean()), logits)


def _sharpe_of_sums(sums: FloatArray, squares: FloatArray, n: int) -> FloatArray:
    mean = sums / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0.0)
