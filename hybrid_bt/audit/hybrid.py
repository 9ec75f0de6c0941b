"""The hybrid in a Cerebro, under watch, with the Kalman indicator beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hybrid_bt.audit.trace import Column
from hybrid_bt.audit.watch import WatchedBrain
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies
from hybrid_bt.config import Config
from hybrid_bt.strategies import HybridStrategy, KalmanHedge, SpreadFeeCommission

VECTORS, SCALARS = ("fused", "target"), ("regime", "scale")  #: of a decision, beside what its legs want and weigh


class WatchedHybrid(HybridStrategy):
    """`HybridStrategy` with its brain laid open to the probe, and one indicator per pair whose feeds tick together."""

    params: Any = (("hedges", ()),)

    def __init__(self, **unknown: Any) -> None:
        super().__init__(**unknown)
        watched: Any = WatchedBrain(self.brain, self.symbols, self.pair_names)
        self.brain = self.watched = watched
        feeds = dict(zip(self.symbols, self.datas, strict=True))
        self.hedges = [KalmanHedge(*(feeds[side] for side in pair.split(":"))) for pair in self.p.hedges]


class ForeseeingHybrid(HybridStrategy):
    """`HybridStrategy` whose opinions were made ahead (`hybrid_bt.opinions`), with what it decided laid open.

    To look at its brain would end that path, so the probe sees decisions only.
    """

    params: Any = (("hedges", ()),)

    def __init__(self, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.watched = self

    def columns(self) -> list[Column]:
        """Names of the row's numbers."""
        legs = self.config.legs_enabled()
        vectors = [Column(f"target {name}", symbol) for name in (*legs, *VECTORS) for symbol in self.symbols]
        return vectors + [Column(name, "-") for name in (*(f"weight of {leg}" for leg in legs), *SCALARS)]

    @property
    def row(self) -> list[float]:
        """The last decision."""
        said: Any = self.decision
        vectors = (*said.legs.values(), *(getattr(said, name) for name in VECTORS))
        scalars = (*said.weights.values(), *(getattr(said, name) for name in SCALARS))
        return [value for vector in vectors for value in vector] + list(scalars)

    def stop(self) -> None:
        super().stop()
        assert self._thinking.ahead, "the audit of opinions made ahead ran bar by bar"


def fill_with_hybrid(
    config: Config, policies: Policies, pairs: Sequence[str], *, ahead: bool = False
) -> Callable[[Any, Bars], None]:
    """Puts the whole stack into a Cerebro; training spans do not matter here, since no result is reported.

    Parameters
    ----------
    ahead : bool
        With opinions made ahead, which needs numba, instead of bar by bar under watch.
    """

    def fill(cerebro: Any, bars: Bars) -> None:
        whole = {symbol: bool(bars.traded[:, i].all()) for i, symbol in enumerate(bars.symbols)}
        cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
        cerebro.addstrategy(
            ForeseeingHybrid if ahead else WatchedHybrid,
            compiled=ahead,
            config=config,
            policies=policies,
            pairs=tuple(pairs),
            hedges=tuple(pair for pair in pairs if all(whole[side] for side in pair.split(":"))),
            allow_in_sample=True,
        )

    return fill
