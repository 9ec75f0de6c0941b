"""Rules that say of every asset whether it will earn more than the others, without learning: what a policy is held
against, and what a regime score chooses between.

Lehmann, Fads, Martingales, and Market Efficiency, QJE 105(1), 1990 (reversal); Jegadeesh & Titman, Returns to Buying
Winners and Selling Losers, J. of Finance 48(1), 1993 (momentum).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.flows import marked_close
from hybrid_bt.bars import Bars
from hybrid_bt.equations.tilt import CLIP, LEAST_SD

FloatArray = NDArray[np.float64]

MOMENTUM_BARS, SKIPPED_BARS = 252, 21  #: twelve months without the last


def moves(bars: Bars, since: int, until: int = 0) -> FloatArray:
    """log(c[t - until] / c[t - since]) of last known closes, (T, N); NaN where there is none so long ago."""
    closes = marked_close(bars.close)
    logs, found = np.log(np.where(closes > 0.0, closes, np.nan)), np.full(closes.shape, np.nan)
    if bars.n_bars > since:
        found[since:] = logs[since - until : bars.n_bars - until] - logs[:-since]
    return found


def momentum(bars: Bars) -> FloatArray:
    """Of twelve months without the last, (T, N)."""
    return moves(bars, MOMENTUM_BARS, SKIPPED_BARS)


def standard_scores(values: FloatArray) -> FloatArray:
    """(T, N) less the mean over the assets of each bar, in their standard deviation, within +-2; 0 where NaN."""
    there = np.isfinite(values)
    n, known = np.maximum(there.sum(axis=1, keepdims=True), 1), np.where(there, values, 0.0)
    away = np.where(there, known - known.sum(axis=1, keepdims=True) / n, 0.0)
    sd = np.sqrt((away**2).sum(axis=1, keepdims=True) / n)
    scores: FloatArray = np.clip(away / np.where(sd > LEAST_SD, sd, np.inf), -CLIP, CLIP)
    return scores
