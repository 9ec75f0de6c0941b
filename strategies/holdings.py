"""What one strategy holds of a feed that others may trade too.

Backtrader keeps one position per feed for the whole account. A strategy that took it for its own would sell what
another one has just bought. Here each counts its own fills, and what it has under way.
"""

from __future__ import annotations

from typing import Any


class Holdings:
    """Signed shares of each feed from this strategy's own orders.

    Parameters
    ----------
    n_feeds : int
    """

    def __init__(self, n_feeds: int) -> None:
        self._settled = [0.0] * n_feeds
        self._open: list[list[Any]] = [[] for _ in range(n_feeds)]

    def add(self, column: int, order: Any) -> None:
        """Count this order from now on."""
        self._open[column].append(order)

    def size(self, column: int) -> float:
        """Held and under way: filled so far, and what is still to be filled."""
        total, still = self._settled[column], []
        for order in self._open[column]:
            if order.alive():
                still.append(order)
            else:
                total += float(order.executed.size)
        self._settled[column], self._open[column] = total, still
        for order in still:
            total += float(order.executed.size) + float(order.executed.remsize)
        return total
