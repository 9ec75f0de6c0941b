"""Scores over seeds: the interquartile mean and its stratified bootstrap interval.

The mean of the middle half is steadier than the mean of all and less wasteful than the median. Runs are drawn anew
within each column (a window, a market), never across. Source: Agarwal, R. et al. (2021), Deep Reinforcement Learning at
the Edge of the Statistical Precipice, NeurIPS 34, section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.evidence.bootstrap import LEVEL, Interval

__all__ = ["interquartile_mean", "interquartile_mean_interval"]

FloatArray = NDArray[np.float64]

N_RESAMPLES = 2000
_TRIMMED = 0.25  #: from either end


def interquartile_mean(scores: FloatArray) -> float:
    """Mean of the middle half of all scores, of any shape."""
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(scores, dtype=np.float64).ravel(), _TRIMMED))


def interquartile_mean_interval(
    scores: FloatArray, *, level: float = LEVEL, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Interval:
    """The interquartile mean and the percentile interval of its stratified resamples.

    Parameters
    ----------
    scores : ndarray of shape (seeds,) or (seeds, tasks)
    """
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(table), size=(n_resamples, *table.shape))
    drawn = np.take_along_axis(table[None], picks, axis=1).reshape(n_resamples, -1)
    drawn.sort(axis=1)
    cut = int(_TRIMMED * drawn.shape[1])
    means = drawn[:, cut : drawn.shape[1] - cut].mean(axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(interquartile_mean(table), float(low), float(high))
