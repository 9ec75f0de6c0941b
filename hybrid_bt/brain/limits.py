"""Which limits hold a target where it is: those that move it when they are tightened a little.

The equations (`equations.fusion`) are asked again under each limit, so the answer is theirs wherever a limit stands in
them, also where it reaches a symbol through another: a hedge is cut with its other side, and a cap on one asset may
raise the volatility of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.laid import FloatArray
from hybrid_bt.brain.records import Opinions
from hybrid_bt.brain.settling import mix_of, settle_panel
from hybrid_bt.equations.bundles import ROUNDING
from hybrid_bt.equations.fusion import Line, RiskParams

RARE = "scale_limit", "leg_scale_limit", "gross_limit", "hedged_gross_limit"  #: asked together first
LIMITS = RiskParams._fields[:-1]  #: in the order of the bits; behind them the cap of a risk manager
TIGHTER = 1.0 - 1e-6


def listed(words: Sequence[str], mask: int) -> str:
    """The words of the bits, or ""."""
    return " and ".join(word for bit, word in enumerate(words) if mask >> bit & 1)


class Limits(NamedTuple):
    """Of T bars."""

    opinions: Opinions
    lines: Sequence[Line]  #: share of each leg at r = -1, 0 and +1
    risk: RiskParams
    regime: FloatArray  #: (T,) r, or what a risk manager made of it

    def rows(self, rows: slice) -> Limits:
        """Of some of the bars."""
        return self._replace(opinions=self.opinions.rows(rows), regime=self.regime[rows])

    def words(self) -> list[str]:
        """What each bit stands for."""
        risk = self.risk
        return [
            f"the volatility target of {100.0 * risk.volatility_target:g} % a year",
            f"the limit of {risk.scale_limit:g} on the scale of the base",
            f"the limit of {risk.leg_scale_limit:g} on the weight of a leg",
            f"the gross limit of {risk.gross_limit:g}",
            f"the gross limit of {risk.hedged_gross_limit:g} on hedges",
            f"the net limit of {risk.net_limit:g}",
            f"the limit of {risk.asset_limit:g} for one asset",
            "documents: no more gross exposure than without them",
        ]

    def holding(self) -> NDArray[np.uint8]:
        """(T, N) the limits that hold each target, before guard and multipliers, as a mask."""
        targets, factor = self.proposed(self.risk)
        found: NDArray[np.uint8] = np.uint8(1 << len(LIMITS)) * ((factor < 1.0)[:, None] & (targets != 0.0))
        idle = () if self._moved(targets, RARE).any() else RARE
        for name in (name for name in LIMITS if name not in idle):
            found |= np.uint8(1 << LIMITS.index(name)) * self._moved(targets, (name,))
        return found

    def _moved(self, targets: FloatArray, names: Sequence[str]) -> NDArray[np.bool_]:
        risk = self.risk._replace(**{name: getattr(self.risk, name) * TIGHTER for name in names})
        moved: NDArray[np.bool_] = np.abs(self.proposed(risk)[0] - targets) > ROUNDING * (1.0 + np.abs(targets))
        return moved

    def proposed(self, risk: RiskParams) -> tuple[FloatArray, FloatArray]:
        """(T, N) targets and the factor in them, (T,), that keeps the gross exposure at r' to that at r."""
        settled, (plain, moved) = self._settled(self.regime, risk), (self.opinions.regime, self.regime)
        factor = np.ones(len(moved))
        if (rows := moved != plain).any():
            gross, most = (np.abs(one).sum(axis=1) for one in (settled, self._settled(plain, risk)))
            np.divide(most, gross, out=factor, where=rows & (gross > most))
        return settled * factor[:, None], factor

    def _settled(self, regime: FloatArray, risk: RiskParams) -> FloatArray:
        shape = self.opinions.volatility.shape
        return settle_panel(self.opinions, np.ones(shape, np.bool_), mix_of(regime, self.lines), risk).targets
