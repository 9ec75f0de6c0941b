"""What legs wish, side by side: of a bar, and of all bars of a run, whatever is wished for later."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import Opinion, Wish
from hybrid_bt.equations.bundles import Bundle, Layout, bundles_of, layout_of

FloatArray = NDArray[np.float64]


class Sides:
    """What one leg wishes, side by side, in the order in which its bundles were first wished for."""

    def __init__(self) -> None:
        self.firsts: dict[Bundle, int] = {}
        self.n = 0

    def laid(self, wishes: Iterable[Wish]) -> list[float]:
        """The amounts of one bar; 0 for what was wished before and is not now."""
        amounts = [0.0] * self.n
        for columns, wanted in wishes:
            first = self.firsts.get(columns)
            if first is None:
                first = self.firsts[columns] = self.n
                self.n += len(columns)
                amounts += [0.0] * len(columns)
            for k, amount in enumerate(wanted):
                amounts[first + k] += amount
        return amounts


class SidesRecord:
    """Wishes of each bar and what was settled of them, side by side in the layout of the last bar."""

    def __init__(self) -> None:
        self.layout = layout_of([])
        self._rows, self._risks = array("d"), array("d")
        self._laid: list[tuple[int, Layout]] = []  #: number of bars under each layout

    def append(self, opinion: Opinion, settled: Sequence[float]) -> None:
        if len(opinion.amounts) != len(self.layout.columns) or not self._laid:
            self.layout = opinion.layout
            self._laid.append((0, self.layout))
        self._laid[-1] = self._laid[-1][0] + 1, self.layout
        for numbers in (opinion.amounts, settled):
            self._rows.extend(numbers)
        self._risks.extend(opinion.risks)

    def risks(self, n_legs: int) -> FloatArray:
        return np.array(self._risks).reshape(-1, n_legs)

    def wishes(self) -> FloatArray:
        return self._in_last_layout(0)

    def settled(self) -> FloatArray:
        return self._in_last_layout(1)

    def _in_last_layout(self, which: int) -> FloatArray:
        places, values, at = _places(self.layout), np.array(self._rows), 0
        found = []
        for n_bars, layout in self._laid:
            n = len(layout.columns)
            rows = values[at : at + 2 * n_bars * n].reshape(n_bars, 2, n)[:, which]
            wide = np.zeros((n_bars, len(self.layout.columns)))
            for key, first in _places(layout).items():
                end, last = first + len(key[1]), places[key]
                wide[:, last : last + len(key[1])] = rows[:, first:end]
            found.append(wide)
            at += 2 * n_bars * n
        return np.concatenate(found) if found else np.zeros((0, 0))


def netted(names: Iterable[str], amounts: FloatArray, layout: Layout, shape: tuple[int, ...]) -> dict[str, FloatArray]:
    """Leg -> (T, N) of what lies side by side, (T, S)."""
    found = {name: np.zeros(shape) for name in names}
    legs, owners = list(found.values()), [leg for leg, columns in bundles_of(layout) for _ in columns]
    for side, (leg, column) in enumerate(zip(owners, layout.columns, strict=True)):
        legs[leg][:, column] += amounts[:, side]
    return found


def _places(layout: Layout) -> dict[tuple[int, Bundle], int]:
    """Where each bundle begins."""
    return dict(zip(bundles_of(layout), (0, *layout.ends), strict=False))


def padded(rows: Sequence[Sequence[float]], n: int) -> FloatArray:
    """Rows that grow, with zeros behind them: (T, n)."""
    return np.array([[*row, *([0.0] * (n - len(row)))] for row in rows]).reshape(len(rows), n)
