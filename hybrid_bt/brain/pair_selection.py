"""Which pairs move together, judged on training bars only and with a price on looking at many.

For every two symbols, on their common bars:

    y_t = a + b x_t + e_t     (log closes, least squares, the direction with the smaller p-value)

Engle and Granger's test asks whether e has a unit root (statsmodels `coint`); since the better of two directions is
taken, its p-value is doubled. The half-life is that of
e_t - e_{t-1} = c + k e_{t-1}, -log 2 / log(1 + k) bars. Stability is b on the second half less b on the first, relative
to b. With N (N - 1) / 2 pairs some pass by luck: q is the p-value after Benjamini and Yekutieli's control of the false
discovery rate, which holds under any dependence, as between pairs that share a symbol.

Sources: Engle, R. and Granger, C. (1987), Econometrica 55(2); Benjamini, Y.
and Yekutieli, D. (2001), Annals of Statistics 29(4).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.errors import BarsError

FloatArray = NDArray[np.float64]

LEAST_COMMON_BARS = 252
LAGS = 5  #: of differences in both tests, a week of daily bars


class Bounds(NamedTuple):
    """What a pair must keep to."""

    fdr: float = 0.1  #: share of false finds allowed
    half_life_bars: float = 60.0
    drift: float = 0.5  #: relative change of the hedge ratio from the first half to the second


USUAL = Bounds()


class Candidate(NamedTuple):
    """One pair on its training bars."""

    pair: str  #: `Y:X`
    bars: int
    hedge_ratio: float
    p_value: float  #: Engle and Granger, the better direction, doubled
    q_value: float  #: after control of the false discovery rate over all pairs
    half_life_bars: float  #: infinite where e does not return
    stability: float  #: change of the hedge ratio from the first to the second half, relative

    def passes(self, most: Bounds = USUAL) -> bool:
        """Whether it is cointegrated, returns soon enough, and has a stable hedge ratio."""
        soon, stable = self.half_life_bars <= most.half_life_bars, abs(self.stability) <= most.drift
        return self.q_value <= most.fdr and soon and stable


def select_pairs(bars: Bars, progress: Callable[[int, int], None] | None = None) -> list[Candidate]:
    """All pairs of the panel, the smallest p-value first.

    Parameters
    ----------
    bars : Bars
        Training bars only; cut the panel with `between` first.
    progress : callable, optional
        Called as `progress(pairs_done, pairs_in_all)`.

    Raises
    ------
    BarsError
        If no two symbols have `LEAST_COMMON_BARS` bars in common.
    """
    logs = np.log(bars.close)
    both = list(combinations(range(bars.n_symbols), 2))
    found: list[Candidate] = []
    for done, (a, b) in enumerate(both):
        common = np.isfinite(logs[:, a]) & np.isfinite(logs[:, b])
        if common.sum() >= LEAST_COMMON_BARS:
            found.append(_candidate(bars.symbols[a], bars.symbols[b], logs[common, a], logs[common, b]))
        if progress is not None:
            progress(done + 1, len(both))
    if not found:
        raise BarsError(
            f"pairs: no two of {bars.n_symbols} symbols have {LEAST_COMMON_BARS} bars in common; give a longer history"
        )
    return sorted(_controlled(found), key=lambda candidate: (candidate.p_value, candidate.pair))


def find_pairs(symbols: Sequence[str], moments: Sequence[datetime], closes: FloatArray) -> tuple[str, ...]:
    """Pairs `Y:X` that pass on the bars of a warm-up, each symbol in one pair at most, the surest first.

    Parameters
    ----------
    moments : (T,)
    closes : (T, N)
        NaN where a symbol has no bar.

    Raises
    ------
    BarsError
        If no two symbols have bars enough in common.
    """
    there = np.flatnonzero(np.isfinite(closes).any(axis=0)).tolist()  # a symbol that begins later has no part in this
    begun = [symbols[i] for i in there]
    if len(begun) < 2:
        raise BarsError(
            f'pairs="auto": {len(begun)} of {len(symbols)} symbol(s) have bars before the first traded one; '
            "give earlier bars, a later trade_from, or name the pairs"
        )
    stamps = np.array(moments, dtype="datetime64[ns]")
    taken: set[int] = set()
    names: list[str] = []
    for candidate in select_pairs(Bars.checked("warm-up", begun, stamps, closes[:, there])):
        (sides,) = resolve_pairs([candidate.pair], begun)
        if candidate.passes() and taken.isdisjoint(sides):
            names.append(candidate.pair)
            taken.update(sides)
    if not names:
        warnings.warn(
            f'HybridStrategy: pairs="auto" found no cointegrated pair among {len(symbols)} symbols on '
            f"{len(moments)} bars; the Kalman leg is idle",
            stacklevel=1,
        )
    return tuple(names)


def _controlled(found: list[Candidate]) -> list[Candidate]:
    from statsmodels.stats.multitest import multipletests

    q_values = multipletests([candidate.p_value for candidate in found], method="fdr_by")[1]
    return [candidate._replace(q_value=float(q)) for candidate, q in zip(found, q_values, strict=True)]


def _candidate(name_a: str, name_b: str, a: FloatArray, b: FloatArray) -> Candidate:
    p_ab, p_ba = _engle_granger(a, b), _engle_granger(b, a)
    name, y, x = (f"{name_a}:{name_b}", a, b) if p_ab <= p_ba else (f"{name_b}:{name_a}", b, a)
    ratio = _slope(y, x)
    half = len(y) // 2
    return Candidate(
        name,
        len(y),
        ratio,
        min(2.0 * min(p_ab, p_ba), 1.0),
        math.nan,
        _half_life(y - ratio * x),
        (_slope(y[half:], x[half:]) - _slope(y[:half], x[:half])) / abs(ratio) if ratio else math.inf,
    )


def _engle_granger(y: FloatArray, x: FloatArray) -> float:
    from statsmodels.tools.sm_exceptions import CollinearityWarning
    from statsmodels.tsa.stattools import coint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollinearityWarning)  # two copies of one series: their p-value is 0 then
        return float(coint(y, x, maxlag=LAGS, autolag=None)[1])


def _slope(y: FloatArray, x: FloatArray) -> float:
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ (y - y.mean())) / spread if spread > 0.0 else 0.0


def _half_life(residual: FloatArray) -> float:
    pull = _slope(np.diff(residual), residual[:-1])
    return -math.log(2.0) / math.log1p(pull) if -1.0 < pull < 0.0 else math.inf
