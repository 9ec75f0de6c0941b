"""Pairs found by the strategy itself, on the bars before its trading start."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.pair_selection import select_pairs
from hybrid_bt.errors import BarsError


class FoundPairs:
    """Keeps the closes of the warm-up, and names the pairs that are cointegrated on them."""

    def __init__(self) -> None:
        self._stamps: list[datetime] = []
        self.closes: list[Sequence[float]] = []

    def keep(self, stamp: datetime, closes: Sequence[float]) -> None:
        """One bar; closes (N,), NaN where a symbol has none."""
        self._stamps.append(stamp)
        self.closes.append(closes)

    def names(self, symbols: tuple[str, ...]) -> tuple[str, ...]:
        """Pairs `Y:X` that pass, each symbol in one pair at most, the surest first; a warning if there is none.

        Raises
        ------
        BarsError
            If no two symbols have bars enough in common before the trading start.
        """
        closes = np.array(self.closes, dtype=np.float64).reshape(-1, len(symbols))
        there = np.flatnonzero(np.isfinite(closes).any(axis=0))  # a feed that begins later has no part in this
        begun = [symbols[i] for i in there]
        if len(begun) < 2:
            raise BarsError(
                f'pairs="auto": {len(begun)} of {len(symbols)} symbol(s) have bars before the first traded one; '
                "give earlier bars, a later trade_from, or name the pairs"
            )
        stamps = np.array(self._stamps, dtype="datetime64[ns]")
        taken: set[int] = set()
        names: list[str] = []
        for candidate in select_pairs(Bars.checked("warm-up", begun, stamps, closes[:, there])):
            ((y, x),) = resolve_pairs([candidate.pair], begun)
            if candidate.passes() and taken.isdisjoint((y, x)):
                names.append(candidate.pair)
                taken |= {y, x}
        if not names:
            warnings.warn(
                f'HybridStrategy: pairs="auto" found no cointegrated pair among {len(symbols)} symbols on '
                f"{len(self._stamps)} bars; the Kalman leg is idle",
                stacklevel=1,
            )
        return tuple(names)
