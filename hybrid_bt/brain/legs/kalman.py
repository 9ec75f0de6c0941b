"""The Kalman leg: mean reversion of hedged pairs, by the rules of `hybrid_bt.equations.pair_rules`.

Several pairs may share an asset: what they ask of it adds up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import View, Wish
from hybrid_bt.equations.compiled.choice import choose
from hybrid_bt.equations.market import PairView
from hybrid_bt.equations.pair_rules import PairPosition, PairRules, amounts_of, bar_step, hold_bars

FloatArray = NDArray[np.float64]

READ = ("fresh", "zscore", "prior_beta")  #: of a `PairView`
SECONDS_PER_CELL = 2e-6  # of a bar x pair, interpreted


class KalmanLeg:
    """A wish for each pair: both of its sides by one decision."""

    Params = PairRules

    def __init__(self, symbols: Sequence[str], pairs: Sequence[tuple[int, int]], rules: PairRules) -> None:
        self.rules = rules
        self.positions = [PairPosition()] * len(pairs)
        self._pairs = list(pairs)

    def wishes(self, view: View) -> list[Wish]:
        """One for each pair (y, x); a pair whose assets did not both trade keeps its position, up to `orphan_bars`."""
        n, rules = len(self._pairs), self.rules
        self.positions = [
            bar_step(position, pair.fresh > 0.0, pair.zscore, pair.prior_beta, rules)
            for position, pair in zip(self.positions, view.pairs, strict=True)
        ]
        amounts = (amounts_of(position, n, rules) for position in self.positions)
        return [Wish(columns, amount) for columns, amount in zip(self._pairs, amounts, strict=True)]

    def wishes_of_bars(self, views: View) -> tuple[list[tuple[int, int]], FloatArray]:
        """The pairs, and what is wanted of their sides, (T, 2 P)."""
        amounts = np.zeros((len(views.traded), 2 * len(self._pairs)))
        fresh, zscores, ratios = (views.pairs[:, :, PairView._fields.index(name)] for name in READ)
        if choose(None, fresh.size * SECONDS_PER_CELL):
            from hybrid_bt.equations.compiled.market import hold_all

            self.positions = hold_all(self.positions, fresh, zscores, ratios, self.rules, amounts)
        else:
            hold_bars(self.positions, fresh.tolist(), zscores.tolist(), ratios.tolist(), self.rules, amounts)
        return self._pairs, amounts
