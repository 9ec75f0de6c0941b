"""A number beside its own last three years: exponential mean and variance of 756 bars, plain ones at first."""

from __future__ import annotations

import math
from typing import NamedTuple

THREE_YEARS = 2.0 / 757.0  #: gain of a span of 756 bars
LEAST_VARIANCE = 1e-12  #: below it nothing has moved


class History(NamedTuple):
    """After a bar."""

    n: float  #: bars that count
    mean: float
    var: float
    score: float  #: of the last one, in standard deviations


NO_HISTORY = History(0.0, 0.0, 0.0, 0.0)


def absorb(history: History, value: float) -> History:
    """Absorb a bar's number; its score is 0 while nothing has moved."""
    n, mean, var, _ = history
    gain = max(THREE_YEARS, 1.0 / (n + 1.0))
    away = value - mean
    mean += gain * away
    var = (1.0 - gain) * (var + gain * away * away)
    return History(n + 1.0, mean, var, (value - mean) / math.sqrt(var) if var > LEAST_VARIANCE else 0.0)
