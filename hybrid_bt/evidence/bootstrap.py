"""Intervals by the stationary block bootstrap, for every account at once.

Returns are dependent (volatility comes in clusters, books change slowly), so blocks of bars are drawn, of random
geometric length (Politis and Romano 1994, J. of the American Statistical Association 89). The mean length is that of
Politis and White (2004), corrected by Patton, Politis and White (2009), Econometric Reviews 28, for the returns and
for their squares, whichever is longer. Both come from the library arch. All accounts are drawn on the same bars, so the
interval of a difference is that of paired results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.measures import Measure

__all__ = ["Draws", "Interval", "block_length", "bootstrap"]

FloatArray = NDArray[np.float64]

LEVEL = 0.95
N_RESAMPLES = 1000
FEWEST_BARS = 20  #: below this no block length can be estimated


class Interval(NamedTuple):
    """An estimate and the percentile interval of its resamples."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0.0 or self.high < 0.0


class Draws:
    """Resampled measures of K series.

    Parameters
    ----------
    names : sequence of str, K
    estimates : measure -> (K,)
        On the series as they are.
    resamples : measure -> (R, K)
    block_bars : float
        Mean length of a block, bars.
    """

    def __init__(
        self,
        names: Sequence[str],
        estimates: Mapping[str, FloatArray],
        resamples: Mapping[str, FloatArray],
        block_bars: float,
    ) -> None:
        self.names, self.estimates, self.resamples = tuple(names), estimates, resamples
        self.block_bars = block_bars

    def interval(self, measure: str, name: str, level: float = LEVEL) -> Interval:
        """Percentile interval of one series."""
        column = self.names.index(name)
        return _interval(self.estimates[measure][column], self.resamples[measure][:, column], level)

    def difference(self, measure: str, name: str, other: str, level: float = LEVEL) -> Interval:
        """Percentile interval of `name` less `other`, drawn on the same bars."""
        a, b = self.names.index(name), self.names.index(other)
        estimate, draws = self.estimates[measure], self.resamples[measure]
        return _interval(estimate[a] - estimate[b], draws[:, a] - draws[:, b], level)


def _interval(estimate: float, draws: FloatArray, level: float) -> Interval:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Interval(float(estimate), math.nan, math.nan)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return Interval(float(estimate), float(low), float(high))


def bootstrap(
    returns: Mapping[str, FloatArray],
    measures: Mapping[str, Measure],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    block_bars: float | None = None,
) -> Draws:
    """Resample simple returns of accounts on the same bars.

    Parameters
    ----------
    returns : account -> (T,)
    measures : measure -> function of (T, K)
        See `hybrid_bt.evidence.measures`.
    block_bars : float, optional
        Mean length of a block; by default `block_length` of all series.

    Raises
    ------
    ConfigError
        Without the library arch (extra `study`), or with fewer than `FEWEST_BARS` bars.
    """
    table = np.column_stack(list(returns.values()))
    if len(table) < FEWEST_BARS:
        raise ConfigError(
            f"bootstrap: {len(table)} returns are too few for an interval; give at least {FEWEST_BARS} bars"
        )
    length = block_length(table) if block_bars is None else block_bars
    sampler = _arch("StationaryBootstrap")(max(round(length), 1), np.arange(len(table)), seed=seed)
    found = {name: np.empty((n_resamples, table.shape[1])) for name in measures}
    for row in range(n_resamples):
        drawn = table[sampler.update_indices()]
        for name, measure in measures.items():
            found[name][row] = measure(drawn)
    return Draws(tuple(returns), {name: measure(table) for name, measure in measures.items()}, found, length)


def block_length(returns: FloatArray) -> float:
    """Mean block length, bars: the longest over the columns of (T, K) and over their squares."""
    moving = returns[:, returns.std(axis=0) > 0.0]
    if not moving.size:
        return 1.0
    optimal = _arch("optimal_block_length")
    lengths = [optimal(table)["stationary"].max() for table in (moving, moving**2)]
    return float(np.clip(max(lengths), 1.0, len(returns) / 3.0))


def _arch(name: str):  # type: ignore[no-untyped-def]  # arch has no types
    try:
        import arch.bootstrap
    except ImportError:
        raise ConfigError("intervals need the library arch: pip install 'hybrid_bt[study]'") from None
    return getattr(arch.bootstrap, name)
