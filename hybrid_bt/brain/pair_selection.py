"""Pairs that are alike: how far apart two log prices ran, each in standard deviations of its own.

    d_ij = mean of (u_i - u_j)^2 = 2 (1 - c_ij),      u = (log close - its mean) / its standard deviation

over the bars that both have among the last `WINDOW_BARS`; c is the correlation of log prices. d is 0 for a copy, 2 for
series that have nothing in common and up to 4 for those that run against each other: a series and its inverse are never
alike, whatever a cointegration test says of them. The nearest are chosen, no symbol in more than `MOST_OF_A_SYMBOL`
pairs, nothing beyond `MOST_DISTANCE`; copies of one series (equal or proportional closes) have no spread to trade and
are passed over. Y of `Y:X` is the symbol whose log price varies less (where both vary alike, the first by name): noise
in x makes the filter take the hedge ratio for smaller than it is, and a quiet y is left least under-hedged.

For those who look at the pairs, `judged` adds, on the same bars, y_t = a + b x_t + e_t (log closes, least squares):
Engle and Granger's p-value of a unit root in e (statsmodels `coint`); the half-life of e_t - e_{t-1} = c + k e_{t-1},
-log 2 / log(1 + k) bars; b on the second half less b on the first, relative to b. q is p after Benjamini and
Yekutieli's control of the false discovery rate over all pairs of the panel, which holds under any dependence; a pair
that was not tested counts as p = 1, so it holds whichever were. None of this chooses: on markets that it had no part in
likeness earned something and cointegration did not (docs/research-log.md).

Sources: Gatev, E., Goetzmann, W. and Rouwenhorst, K. (2006), Review of Financial Studies 19(3), the distance method;
Engle, R. and Granger, C. (1987), Econometrica 55(2); Benjamini, Y. and Yekutieli, D. (2001), Annals of Statistics
29(4).
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.equations.pair import MIN_VARIANCE
from hybrid_bt.errors import BarsError, listed

FloatArray = NDArray[np.float64]

WINDOW_BARS = 504  #: two years of daily bars
LEAST_COMMON_BARS = 252
MOST_DISTANCE = 0.3  #: a correlation of log prices of 0.85
MOST_OF_A_SYMBOL, MOST_PAIRS = 4, 20
COPY_DISTANCE = 1e-8  #: at most: gaps of a ten-thousandth of a standard deviation are rounding
DECIMALS = 12  #: of a distance; the rest is rounding, and must not order pairs that are equally near
LAGS = 5  #: of differences in both tests, a week of daily bars


class Candidate(NamedTuple):
    """Two symbols on the bars that both have; the tests, NaN where they were not made, inform and do not choose."""

    pair: str  #: `Y:X`
    distance: float
    bars: int
    hedge_ratio: float  #: b
    p_value: float = math.nan  #: Engle and Granger
    q_value: float = math.nan  #: after control of the false discovery rate over all pairs
    half_life_bars: float = math.nan  #: infinite where e does not return
    stability: float = math.nan  #: change of the hedge ratio from the first to the second half, relative
    chosen: bool = False


class Found(NamedTuple):
    """What there is among some symbols, the nearest first."""

    pairs: tuple[str, ...]  #: chosen
    alike: list[Candidate]  #: all that can be compared and are no copies
    copies: list[str]  #: pairs of equal or proportional closes
    columns: dict[str, tuple[int, int]]  #: of y and x

    def notes(self) -> list[str]:
        """What somebody who trades the chosen pairs must know."""
        nearest = f"; the nearest, {self.alike[0].pair}, are {self.alike[0].distance:.2f} apart" if self.alike else ""
        copies = [f"copies of one series are no pair: {listed(self.copies, 5)}"] if self.copies else []
        return copies + ([] if self.pairs else [f"no two symbols are within a distance of {MOST_DISTANCE}{nearest}"])


def find_pairs(symbols: Sequence[str], closes: FloatArray, window: int = WINDOW_BARS) -> Found:
    """The pairs to trade behind these bars; the order of symbols and the unit of their prices do not matter.

    Parameters
    ----------
    closes : (T, N)
        Before trading; NaN where a symbol has no bar.
    window : int
        Bars at the end that are looked at.

    Raises
    ------
    BarsError
        If no two symbols have `LEAST_COMMON_BARS` of them in common.
    """
    order = sorted(range(len(symbols)), key=lambda i: str(symbols[i]))  # sums have the same bits in any order
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(closes[-window:][:, order])
        there = np.isfinite(logs).astype(np.float64)
        logs = np.where(there, logs, 0.0)
        logs = (logs - logs.sum(axis=0) / there.sum(axis=0)) * there  # near 0, where sums of squares are exact enough
        n_common = there.T @ there
        means = logs.T @ there / n_common  # of i on the bars that j has too
        variances = (logs * logs).T @ there / n_common - means * means
        covariances = logs.T @ logs / n_common - means * means.T
        distances = 2.0 - 2.0 * covariances / np.sqrt(variances * variances.T)
    both = np.triu(n_common >= LEAST_COMMON_BARS, 1)
    if not both.any():
        raise BarsError(
            f"pairs: no two of {len(symbols)} symbols have {LEAST_COMMON_BARS} bars in common among the last "
            f"{min(window, len(closes))} before trading; give a longer history, or name the pairs"
        )
    found, columns = list[Candidate](), {}
    for i, j in np.argwhere(both & (np.minimum(variances, variances.T) > MIN_VARIANCE)).tolist():
        y, x = (i, j) if round(variances[i, j] / variances[j, i], 9) <= 1.0 else (j, i)
        pair, distance = f"{symbols[order[y]]}:{symbols[order[x]]}", max(0.0, round(float(distances[i, j]), DECIMALS))
        found.append(Candidate(pair, distance, int(n_common[i, j]), float(covariances[y, x] / variances[x, y])))
        columns[pair] = order[y], order[x]
    found.sort(key=lambda one: (one.distance, one.pair))
    copies = [one.pair for one in found if one.distance <= COPY_DISTANCE]
    taken, chosen = Counter[int](), list[str]()
    for n, one in enumerate(found):
        room = len(chosen) < MOST_PAIRS and all(taken[side] < MOST_OF_A_SYMBOL for side in columns[one.pair])
        if COPY_DISTANCE < one.distance <= MOST_DISTANCE and room:
            chosen.append(one.pair)
            taken.update(columns[one.pair])
            found[n] = one._replace(chosen=True)
    return Found(tuple(chosen), found[len(copies) :], copies, columns)


def with_found_pairs(bars: Bars, window: int = WINDOW_BARS) -> Market:
    """A market with the pairs of its own first bars, kept for ever."""
    return Market(bars.name, bars, find_pairs(bars.symbols, bars.close[:window]).pairs, pairs_found=True)


def judged(found: Found, closes: FloatArray, top: int) -> list[Candidate]:
    """The `top` nearest pairs and all chosen ones, the nearest first, tested on the closes (T, N) of `find_pairs`."""
    from statsmodels.stats.multitest import multipletests

    logs, listed = np.log(closes), [one for rank, one in enumerate(found.alike) if rank < top or one.chosen]
    rows = [_judged(one, logs[:, found.columns[one.pair]]) for one in listed]
    p_values = [row.p_value for row in rows] + [1.0] * (len(found.alike) - len(rows))
    q_values = multipletests(p_values, method="fdr_by")[1] if rows else ()
    return [row._replace(q_value=float(q)) for row, q in zip(rows, q_values, strict=False)]


def _judged(one: Candidate, logs: FloatArray) -> Candidate:
    y, x = logs[np.isfinite(logs).all(axis=1)].T
    ratio, half = one.hedge_ratio, one.bars // 2
    drift = (_slope(y[half:], x[half:]) - _slope(y[:half], x[:half])) / abs(ratio) if ratio else math.inf
    return one._replace(p_value=_engle_granger(y, x), half_life_bars=_half_life(y - ratio * x), stability=drift)


def _engle_granger(y: FloatArray, x: FloatArray) -> float:
    from statsmodels.tsa.stattools import coint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of collinearity, as of a series and its inverse: their p-value is 0 then
        p_value = float(coint(y, x, maxlag=LAGS, autolag=None)[1])
    return p_value if math.isfinite(p_value) else 1.0  # a residual that no test can judge


def _slope(y: FloatArray, x: FloatArray) -> float:
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ (y - y.mean())) / spread if spread > 0.0 else 0.0


def _half_life(residual: FloatArray) -> float:
    pull = _slope(np.diff(residual), residual[:-1])
    return -math.log(2.0) / math.log1p(pull) if -1.0 < pull < 0.0 else math.inf
