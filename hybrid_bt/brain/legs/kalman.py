"""The Kalman leg: mean reversion of hedged pairs, by the rules of `hybrid_bt.equations.pair`.

Several pairs may share an asset: what they ask of it adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import View, Wish
from hybrid_bt.equations.compiled import choose
from hybrid_bt.equations.pair import PairPosition, PairRules, PairView, hold_bars

FloatArray = NDArray[np.float64]

READ = ("fresh", "zscore", "spread", "prior_beta")  #: of a `PairView`
SECONDS_PER_CELL = 7e-6  # of a bar x pair, interpreted


class KalmanLeg:
    """A wish for each pair: both of its sides by one decision."""

    Params = PairRules

    def __init__(self, symbols: Sequence[str], pairs: Sequence[tuple[int, int]], rules: PairRules) -> None:
        self.rules = rules
        self.positions = [PairPosition()] * len(pairs)
        self._pairs = list(pairs)

    def wishes(self, view: View) -> list[Wish]:
        """One for each pair (y, x); a pair whose assets did not both trade keeps its position, up to `orphan_bars`."""
        seen = [(pair.fresh, pair.zscore, pair.spread, pair.prior_beta) for pair in view.pairs]
        fresh, zscores, spreads, ratios = zip(*seen, strict=True) if seen else ((), (), (), ())
        amounts = [0.0] * (2 * len(self._pairs))
        hold_bars(self.positions, [fresh], [zscores], [spreads], [ratios], self.rules, [amounts])
        return [Wish(sides, (amounts[2 * p], amounts[2 * p + 1])) for p, sides in enumerate(self._pairs)]

    def wishes_of_bars(self, views: View) -> tuple[list[tuple[int, int]], FloatArray]:
        """The pairs, and what is wanted of their sides, (T, 2 P)."""
        amounts = np.zeros((len(views.traded), 2 * len(self._pairs)))
        seen: tuple[Any, Any, Any, Any] = tuple(views.pairs[:, :, PairView._fields.index(name)] for name in READ)
        if choose(None, amounts.size / 2 * SECONDS_PER_CELL):
            from hybrid_bt.equations.compiled.panel import hold_all

            self.positions = hold_all(self.positions, seen, self.rules, amounts)
        else:
            fresh, zscores, spreads, ratios = (column.tolist() for column in seen)
            hold_bars(self.positions, fresh, zscores, spreads, ratios, self.rules, amounts)
        return self._pairs, amounts
