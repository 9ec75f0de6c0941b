"""The hybrid in a Cerebro, under watch, with the Kalman indicator beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hybrid_bt.audit.watch import WatchedBrain
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies
from hybrid_bt.config import Config
from hybrid_bt.strategies import HybridStrategy, KalmanHedge, SpreadFeeCommission

__all__ = ["WatchedHybrid", "fill_with_hybrid"]


class WatchedHybrid(HybridStrategy):
    """`HybridStrategy` with its brain laid open to the probe, and one indicator per pair whose feeds tick together."""

    params: Any = (("hedges", ()),)

    def __init__(self, **unknown: Any) -> None:
        super().__init__(**unknown)
        watched: Any = WatchedBrain(self.brain, self.symbols, self.pair_names)
        self.brain = self.watched = watched
        feeds = dict(zip(self.symbols, self.datas, strict=True))
        self.hedges = [KalmanHedge(*(feeds[side] for side in pair.split(":"))) for pair in self.p.hedges]


def fill_with_hybrid(config: Config, policies: Policies, pairs: Sequence[str]) -> Callable[[Any, Bars], None]:
    """Puts the whole stack into a Cerebro; training spans do not matter here, since no result is reported."""

    def fill(cerebro: Any, bars: Bars) -> None:
        whole = {symbol: bool(bars.traded[:, i].all()) for i, symbol in enumerate(bars.symbols)}
        cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.trading_costs()))
        cerebro.addstrategy(
            WatchedHybrid,
            config=config,
            policies=policies,
            pairs=tuple(pairs),
            hedges=tuple(pair for pair in pairs if all(whole[side] for side in pair.split(":"))),
            allow_in_sample=True,
        )

    return fill
