"""The brain: closes in, decision out. It knows no broker, no order and no framework.

a = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman,      then limits, then what the risk manager takes away
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hybrid_bt.advice import Advice, Managed, ManagerParams, blend, multipliers, reduce
from hybrid_bt.fusion import FusionParams, fuse, pairs_traded, sac_weight
from hybrid_bt.legs.base import Leg, View
from hybrid_bt.legs.kalman import KalmanLeg
from hybrid_bt.legs.sac import SacLeg
from hybrid_bt.reader import MarketReader
from hybrid_bt.regime import Gate
from hybrid_bt.risk import RiskParams, limit

__all__ = ["Decision", "Hybrid", "MarketReader", "Opinion"]


class Opinion(NamedTuple):
    """What each part said at a close, before anything was mixed: it depends on bars alone."""

    view: View
    sac: list[float]  #: (N,) targets, signed fractions of equity
    kalman: list[float]  #: (N,)
    regime: float  #: r in [-1, 1]
    waits: Sequence[bool] = ()  #: (N,) no order on this bar: the other side of a pair has none; empty for nobody


class Decision(NamedTuple):
    """What each part wanted at a close, and what is to be held; targets are signed fractions of equity."""

    sac: list[float]  #: (N,)
    kalman: list[float]  #: (N,)
    regime: float
    w_sac: float
    fused: list[float]  #: (N,)
    target: list[float]  #: (N,) after limits
    scale: float
    view: View
    waits: Sequence[bool] = ()  #: (N,) what is held is kept on this bar, whatever the target; empty for nobody
    managed: Managed | None = None  #: what the risk manager did; None where it was not asked
    wanted: list[float] | None = None  #: (N,) `target` before the guard; None where no guard stood behind it
    guard: int = 0  #: rules of `hybrid_bt.guard` that changed it, as a mask


class Hybrid:
    """Two legs, a gate, a mix and limits.

    Parameters
    ----------
    reader : MarketReader
    sac, kalman_leg : Leg or None
        A leg that is switched off leaves its weight to the other one.
    gate : Gate or None
        Without a gate r is 0.
    manager : ManagerParams, optional
        Of the risk manager; needed where decisions are made under an `Advice`.
    """

    def __init__(
        self,
        reader: MarketReader,
        sac: Leg | None,
        kalman_leg: Leg | None,
        gate: Gate | None,
        fusion: FusionParams,
        risk: RiskParams,
        manager: ManagerParams | None = None,
    ) -> None:
        self.reader, self.sac, self.kalman, self.gate = reader, sac, kalman_leg, gate
        self._fusion, self._risk, self._manager = fusion, risk, manager

    @property
    def pair_directions(self) -> list[float]:
        """(P,) +1, 0 or -1 for each pair that the Kalman leg holds; 0 where another leg stands in its place."""
        if isinstance(self.kalman, KalmanLeg):
            return [position.direction for position in self.kalman.positions]
        return [0.0] * len(self.reader.columns)

    def decide(
        self, closes: Sequence[float], advice: Advice | None = None, held: Sequence[float] | None = None
    ) -> Decision:
        """Decision at the close of a bar; closes (N,), NaN where a symbol has no bar; the rest as in `settle`."""
        return self.settle(self.opine(closes), advice, held)

    def opine(self, closes: Sequence[float]) -> Opinion:
        """Step every memory over the close of a bar and ask each part."""
        view = self.reader.read(closes)
        flat = [0.0] * len(closes)
        a_sac = self.sac.targets(view) if self.sac else flat
        a_kalman = self.kalman.targets(view) if self.kalman else flat
        r = self.gate.score(view) if self.gate else 0.0
        waits = self.kalman.waits if isinstance(self.kalman, KalmanLeg) else ()
        return Opinion(view, a_sac, a_kalman, r, waits)

    def take_rate(self, bars_per_year: float) -> None:
        """Bars per year from now on, where they were not known when the brain was made."""
        self._risk = self._risk._replace(bars_per_year=bars_per_year)
        if isinstance(self.sac, SacLeg):
            self.sac.unit = self.sac.unit._replace(bars_per_year=bars_per_year)

    def settle(self, opinion: Opinion, advice: Advice | None = None, held: Sequence[float] | None = None) -> Decision:
        """Mix and limit, and take away what documents advise against; remembers nothing.

        Parameters
        ----------
        advice : Advice, optional
            What documents say at this close.
        held : (N,) sequence of float, optional
            The last final targets; nothing by default.
        """
        plain = self._mixed(opinion, opinion.regime)
        if advice is None or self._manager is None:
            return plain
        r = blend(opinion.regime, advice, self._manager)
        moved = plain if r == opinion.regime else _capped(self._mixed(opinion, r), plain)
        pairs = [(y, x) for y, x in self.reader.columns if opinion.kalman[y] != 0.0 and opinion.kalman[x] != 0.0]
        factors, sources = multipliers(moved.target, held or [0.0] * len(moved.target), pairs, advice, self._manager)
        managed = Managed(advice, r, moved.target, factors, sources)
        return moved._replace(regime=opinion.regime, target=reduce(moved.target, factors), managed=managed)

    def _mixed(self, opinion: Opinion, r: float) -> Decision:
        view, a_sac, a_kalman, _, waits = opinion
        w_sac = self._sac_weight(r)
        fused = fuse(a_sac, a_kalman, w_sac)
        target, scale = limit(fused, view.volatilities, view.correlation, self._risk)
        waits = waits if pairs_traded(self._fusion) or self.sac is None else ()
        return Decision(a_sac, a_kalman, r, w_sac, fused, target, scale, view, waits)

    def _sac_weight(self, r: float) -> float:
        if self.sac is None or self.kalman is None:
            return 1.0 if self.sac else 0.0
        return sac_weight(r, self._fusion)


def _capped(moved: Decision, plain: Decision) -> Decision:
    """The mix at r', with no more gross exposure than the mix at r."""
    gross, most = (sum(map(abs, decision.target)) for decision in (moved, plain))
    if gross <= most:
        return moved
    cap = most / gross
    return moved._replace(target=[cap * target for target in moved.target], scale=cap * moved.scale)
