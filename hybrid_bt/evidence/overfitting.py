"""Probability of backtest overfitting, by combinatorially symmetric cross-validation (CSCV).

The bars are cut into S blocks. For every choice of S/2 of them, the configuration with the best Sharpe ratio there is
looked up in the other half: w is its relative rank, logit = log(w / (1 - w)). PBO is the share of choices whose best
configuration is below the median elsewhere, logit <= 0.

Source: Bailey, D., Borwein, J., Lopez de Prado, M. and Zhu, Q. (2017), The Probability of Backtest Overfitting, J. of
Computational Finance 20(4), section 2.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import ConfigError

FloatArray = NDArray[np.float64]

N_BLOCKS = 16


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
    chosen = np.zeros((comb(n_blocks, n_blocks // 2), n_blocks))
    for row, picked in enumerate(combinations(range(n_blocks), n_blocks // 2)):
        chosen[row, list(picked)] = 1.0
    bars = blocks.shape[1] * n_blocks // 2
    inside = _sharpe(chosen @ sums, chosen @ squares, bars)
    outside = _sharpe((1.0 - chosen) @ sums, (1.0 - chosen) @ squares, bars)
    best = inside.argmax(axis=1)
    found = outside[np.arange(len(best)), best]
    below = (outside < found[:, None]).sum(axis=1)
    ties = (outside == found[:, None]).sum(axis=1)
    rank = (below + (ties + 1) / 2.0) / (n_configurations + 1.0)
    logits = np.log(rank / (1.0 - rank))
    return Overfitting(float((logits <= 0.0).mean()), logits)


def _sharpe(sums: FloatArray, squares: FloatArray, n: int) -> FloatArray:
    mean = sums / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0.0)
