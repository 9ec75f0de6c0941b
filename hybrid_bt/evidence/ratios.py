"""How much a Sharpe ratio is worth, given its sample's length, skewness and tails, and the trials that led to it;
and what a run shows, in one sentence.

Symbols: SR a Sharpe ratio *per bar*, n the number of returns, g3 their skewness, g4 their kurtosis (3 for a normal).

    PSR(SR*) = Phi( (SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2) )
    MinTRL   = 1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z_level / (SR - SR*))^2
    SR0      = sqrt(V) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e)))         g = 0.5772..., N trials of variance V
    DSR      = PSR(SR0)

Sources: Bailey, D. and Lopez de Prado, M. (2012), The Sharpe Ratio Efficient Frontier, J. of Risk 15(2), eq. 8, 11;
(2014), The Deflated Sharpe Ratio, J. of Portfolio Management 40(5), eq. 1, 2.

Probability of backtest overfitting, by combinatorially symmetric cross-validation (CSCV).

The bars are cut into S blocks. For every choice of S/2 of them, the configuration with the best Sharpe ratio there is
looked up in the other half. PBO is the share of choices whose best configuration is below the median elsewhere, logit
of its relative rank < 0; on the median (logit = 0: the middle one of an odd number) it counts as half a choice, or pure
noise would be over-fitted more often than not.

Source: Bailey, D., Borwein, J., Lopez de Prado, M. and Zhu, Q. (2017), The Probability of Backtest Overfitting, J. of
Computational Finance 20(4), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from hybrid_bt.account.metrics import RETURN_RESOLUTION, FloatArray, elapsed_years, measures, simple_returns
from hybrid_bt.account.records import RunRecord
from hybrid_bt.account.registry import EQUAL_WEIGHT, HURDLES
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence import FEWEST_BARS, N_RESAMPLES, UNKNOWN, Draws, bootstrap, figure
from hybrid_bt.files.texts import cell, end_days

NORMAL = NormalDist()
ACCOUNT, HURDLE = "hybrid", "vol-target"
UNLEARNED = (EQUAL_WEIGHT, *HURDLES)
NO_GAIN, PASSED = "no evidence of a gain", f"after which the probability of a ratio above that of {HURDLE} is"
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
    """Moments of (T,) returns; NaN where they do not vary, beyond the rounding of returns, or are fewer than two."""
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    if not deviation >= RETURN_RESOLUTION:
        return Moments(math.nan, len(returns), math.nan, math.nan)
    scaled = (returns - returns.mean()) / returns.std()
    skewness, kurtosis = (float(np.mean(scaled**power)) for power in (3, 4))
    return Moments(float(returns.mean()) / deviation, len(returns), skewness, kurtosis)


def probabilistic_sharpe(moments: Moments, benchmark_sharpe: float = 0.0) -> float:
    """Probability that the true Sharpe ratio per bar lies above `benchmark_sharpe`; NaN where returns do not vary.

    NaN too where the formula leaves the estimate no deviation, as two values with g3 SR = 2 do.
    """
    if moments.n_bars < 2 or not moments.spread > 0.0:
        return math.nan
    return float(NORMAL.cdf((moments.sharpe - benchmark_sharpe) * math.sqrt(moments.n_bars - 1) / moments.spread))


def minimum_track_record(moments: Moments, benchmark_sharpe: float = 0.0, level: float = 0.95) -> float:
    """Bars of such returns that it takes to be `level` sure that the Sharpe ratio is above `benchmark_sharpe`.

    Infinite where the estimate is not above it.
    """
    if not moments.sharpe > benchmark_sharpe:
        return math.inf
    return float(1.0 + (moments.spread * NORMAL.inv_cdf(level) / (moments.sharpe - benchmark_sharpe)) ** 2)


def expected_maximum_sharpe(n_trials: int, trial_sharpe_std: float) -> float:
    """Expected highest Sharpe ratio among `n_trials` worthless ones whose ratios have this standard deviation."""
    if n_trials < 2:
        return 0.0
    gamma = float(np.euler_gamma)
    high, higher = (NORMAL.inv_cdf(1.0 - 1.0 / n) for n in (n_trials, n_trials * math.e))
    luck = (1.0 - gamma) * high + gamma * higher
    return float(trial_sharpe_std * luck)


def deflated_sharpe(moments: Moments, n_trials: int, trial_sharpe_std: float, hurdle_sharpe: float = 0.0) -> float:
    """Probability that the true Sharpe ratio is above the hurdle after the best of `n_trials` was picked.

    Parameters
    ----------
    moments : Moments
        Of the chosen trial.
    n_trials : int
        Independent trials, this one included.
    trial_sharpe_std : float
        Standard deviation of the trials' Sharpe ratios, per bar (`spread_of_trials`).
    hurdle_sharpe : float, per bar, taken as known
    """
    return probabilistic_sharpe(moments, hurdle_sharpe + expected_maximum_sharpe(n_trials, trial_sharpe_std))


def spread_of_trials(sharpes: Iterable[float], n_bars: int) -> float:
    """Standard deviation of the trials' Sharpe ratios, per bar.

    Parameters
    ----------
    sharpes : iterable of float
        Of the trials that are known, per bar; NaN is not known.
    n_bars : int
        Returns of a trial, >= 2.

    Returns
    -------
    float
        Where fewer than two are known, that of the estimates of worthless trials, 1 / sqrt(n_bars - 1).
    """
    known = [sharpe for sharpe in sharpes if math.isfinite(sharpe)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else 1.0 / math.sqrt(n_bars - 1)


def backtest_overfitting(returns: FloatArray, n_blocks: int = N_BLOCKS) -> float:
    """PBO, in [0, 1], of choosing the configuration with the best Sharpe ratio.

    Parameters
    ----------
    returns : ndarray of shape (T, K)
        Simple returns of K >= 2 configurations on the same bars.
    n_blocks : int
        Even; bars that do not fill a block are left out at the beginning.

    Raises
    ------
    ConfigError
        For fewer than two configurations, an odd number of blocks, blocks of less than two bars, or a return that is
        not finite.
    """
    n_bars, n_configurations = returns.shape
    if n_configurations < 2:
        raise ConfigError("overfitting: one configuration cannot be over-fitted by choice; give two or more")
    if n_blocks < 2 or n_blocks % 2 or n_bars < 2 * n_blocks:
        raise ConfigError(f"overfitting: {n_blocks} blocks of {n_bars} bars; give an even number, two bars a block")
    bad = np.argwhere(~np.isfinite(returns))
    if len(bad):
        row, column = bad[0]
        what = f"configuration {column} has the return {returns[row, column]} on bar {row}"
        raise ConfigError(f"overfitting: {what}; leave it out")
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
    above = n_configurations - below - ties
    return float(np.heaviside(above - below, 0.5).mean())


def _sharpe_of_sums(sums: FloatArray, squares: FloatArray, n: int) -> FloatArray:
    mean = sums / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0.0)


def claim(record: RunRecord, others: Collection[object] = (), *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> str:
    """What a run shows, in one sentence: the Sharpe ratio and its interval, the hurdle, and the trials it took.

    Parameters
    ----------
    record : RunRecord
    others : collection
        Sharpe ratio per year of each other configuration tried on these prices; None where it is not known.
    n_resamples, seed
        As in `bootstrap`.

    Returns
    -------
    str
        With 95 % intervals; where the bars are too few it says so and goes without.
    """
    first, last = end_days(record.bars.stamps)
    sample = "IN SAMPLE" if record.in_sample.any() else "out of sample"
    return f"claim ({sample}, {first} to {last}): {_result(record, n_resamples, seed)}; {_trials(record, others)}"


def _result(record: RunRecord, n_resamples: int, seed: int) -> str:
    # all accounts, though two are told: the length of the blocks is the longest that any of them asks for
    returns = {name: simple_returns(path.equity) for name, path in record.accounts.items()}
    sharpe = measures(record.bars.bars_per_year, elapsed_years(record.bars.stamps))["sharpe"]
    estimate = float(sharpe(returns[ACCOUNT][:, None])[0]) if len(returns[ACCOUNT]) > 1 else float("nan")
    if not np.isfinite(estimate):
        traded = len(record.accounts[ACCOUNT].fills) > 0
        why = f"traded on {record.bars.n_bars} bars, too few for a ratio" if traded else "did not trade"
        return f"{ACCOUNT} {why}, so that there is nothing to claim"
    if len(returns[ACCOUNT]) < FEWEST_BARS:
        return f"{ACCOUNT} Sharpe {figure(estimate)}, on too few bars for an interval"
    draws = bootstrap(returns, {"sharpe": sharpe}, n_resamples=n_resamples, seed=seed)
    return f"{ACCOUNT} Sharpe {draws.interval('sharpe', ACCOUNT).text()}{_against(draws)}"


def _against(draws: Draws) -> str:
    """The hurdle, whether it is passed, and who else of those that learn nothing does better than it."""
    if HURDLE not in draws.names:
        return ""
    unlearned = {name: draws.interval("sharpe", name).estimate for name in UNLEARNED if name in draws.names}
    gain = draws.difference("sharpe", ACCOUNT, HURDLE)
    verdict = "evidence of a gain" if gain.low > 0.0 else "evidence of a loss" if gain.high < 0.0 else NO_GAIN
    best = max(unlearned, key=lambda name: unlearned[name])
    more = "" if best == HURDLE else f"; of those without learning {best} is best, {figure(unlearned[best])}"
    return f", {HURDLE} {figure(unlearned[HURDLE])}: {verdict}, {gain.said(plus=True)}{more}"


def _trials(record: RunRecord, others: Collection[object]) -> str:
    """How many were tried, and what the best of so many would be worth."""
    n_trials = 1 + len(others)
    counted = f"{n_trials} trial{'' if n_trials == 1 else 's'} on this data"
    mine = moments_of(simple_returns(record.accounts[ACCOUNT].equity))
    if np.isnan(mine.sharpe) or HURDLE not in record.accounts:
        return counted
    hurdle = moments_of(simple_returns(record.accounts[HURDLE].equity)).sharpe
    told = [value / record.bars.bars_per_year**0.5 for value in others if isinstance(value, int | float)]
    worth = deflated_sharpe(mine, n_trials, spread_of_trials([mine.sharpe, *told], mine.n_bars), hurdle)
    return f"{counted}, {PASSED} {cell(worth, '.2f', UNKNOWN)}"
