"""Drawdown of the account, deposits left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import drawdown
from hybrid_bt.analyzers.returns import PortfolioReturns


class Drawdown(PortfolioReturns):
    """How far the account was below its peak, a fraction <= 0, in terms of its time-weighted growth.

    `get_analysis()`: `drawdown` (T,) array, `max_drawdown`, `peak` and `trough` (stamps of the deepest one), and
    `longest_bars`, the longest time below a peak. Backtrader's own DrawDown counts a withdrawal as a loss.
    """

    def get_analysis(self) -> dict[str, Any]:
        """Drawdowns of each bar and their summary."""
        growth = np.concatenate(([1.0], np.cumprod(1.0 + self.simple())))  # the value before the first bar leads
        below = drawdown(growth)[1:]
        if not len(below):
            return {"drawdown": below, "max_drawdown": 0.0, "peak": None, "trough": None, "longest_bars": 0}
        trough = int(np.argmin(below))
        peak = int(np.argmax(growth[: trough + 2]))
        return {
            "drawdown": below,
            "max_drawdown": float(below.min()),
            "peak": self.stamps[max(peak - 1, 0)],
            "trough": self.stamps[trough],
            "longest_bars": _longest(below < 0.0),
        }


def _longest(under: NDArray[np.bool_]) -> int:
    longest = current = 0
    for bar in under:
        current = current + 1 if bar else 0
        longest = max(longest, current)
    return longest
