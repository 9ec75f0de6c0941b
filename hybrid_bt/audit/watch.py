"""The stack under watch: everything that it knows at a bar, as numbers."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.audit.cerebros import Fill
from hybrid_bt.audit.trace import NOBODY, Known, numbers_of
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies
from hybrid_bt.config import Config
from hybrid_bt.features import MARKET_FEATURES as GATE_OBSERVATION
from hybrid_bt.features import AssetState, MarketState
from hybrid_bt.hybrid import Hybrid
from hybrid_bt.legs import PairView
from hybrid_bt.legs import sac as sac_leg
from hybrid_bt.legs.base import Decision
from hybrid_bt.strategies import HybridStrategy, KalmanHedge, SpreadFeeCommission


class _Tap:
    """A policy that keeps its last observation."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.seen: NDArray[np.float64] | None = None  #: None if it was not asked on this bar

    def act(self, observations: NDArray[np.float64]) -> Any:
        self.seen = observations.copy()
        return self.policy.act(observations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def memory(self) -> list[float]:
        """LSTM state h and c, flat; empty without one."""
        state = self.policy.state() if hasattr(self.policy, "state") else {}
        return [value for array in state.values() for value in array.ravel().tolist()]


class WatchedBrain(Hybrid):
    """Decides as the brain that it is made from, whose policies it taps, and lays each bar's numbers open."""

    def __init__(self, brain: Hybrid, symbols: Sequence[str], pairs: Sequence[str]) -> None:
        vars(self).update(vars(brain))
        self.symbols, self.pairs = tuple(symbols), tuple(pairs)
        self.known: list[Known] = []  #: of the last bar
        self.numbers = array("d")  #: of every bar so far
        self._taps: dict[str, _Tap] = {}
        for name, part in (("sac", brain.legs["sac"]), ("gate", brain.gate)):
            owner: Any = part
            if hasattr(owner, "policy"):
                owner.policy = self._taps[name] = _Tap(owner.policy)

    def decide(self, closes: Sequence[float], *advice: Any) -> Decision:
        """As `Hybrid.decide`."""
        for tap in self._taps.values():
            tap.seen = None
        decision = super().decide(closes, *advice)
        self.known = [*self._memories(decision), *self._observations(decision), *decided(decision, self.symbols)]
        self.numbers.extend(numbers_of(self.known))
        return decision

    def _memories(self, decision: Decision) -> list[Known]:
        view, reader = decision.view, self.reader
        pairs = [(*pair, position) for pair, position in zip(view.pairs, decision.positions, strict=True)]
        return [
            Known([f"recursion {field}" for field in AssetState._fields], self.symbols, [*chain(*reader.assets)]),
            Known([f"market recursion mean.{field}" for field in AssetState._fields], NOBODY, reader.market.mean),
            Known([f"market recursion {field}" for field in MarketState._fields[1:]], NOBODY, reader.market[1:]),
            Known([f"pair {field}" for field in (*PairView._fields, "position")], self.pairs, [*chain(*pairs)]),
            Known(["volatility"], self.symbols, view.volatility),
            Known(["correlation"], NOBODY, [view.correlation]),
        ]

    def _observations(self, decision: Decision) -> list[Known]:
        """Of each policy; NaN where it was not asked."""
        view, found = decision.view, []
        for name, tap in self._taps.items():
            owners, fields = (self.symbols, sac_leg.OBSERVATION) if name == "sac" else (NOBODY, GATE_OBSERVATION)
            table = np.full((len(owners), len(fields)), np.nan)
            if tap.seen is not None:
                asked = np.logical_and(view.warm, view.traded) if name == "sac" else [True]
                table[asked] = tap.seen
            kind = "SAC" if name == "sac" else name
            found.append(Known([f"{kind} observation {field}" for field in fields], owners, table.ravel().tolist()))
        if "gate" in self._taps:
            memory = self._taps["gate"].memory()
            found.append(Known([f"LSTM state {i}" for i in range(len(memory))], NOBODY, memory))
        return found


def decided(decision: Decision, symbols: Sequence[str]) -> list[Known]:
    """What each part wanted, and what came of it."""
    mix = ("regime r", *(f"weight of {leg}" for leg in decision.weights), "scale of limits")
    targets = {f"leg target {leg}": wanted for leg, wanted in decision.legs.items()}
    targets |= {"fused target": decision.fused, "final target": decision.target}
    return [
        Known(mix, NOBODY, [decision.regime, *decision.weights.values(), decision.scale]),
        *(Known([name], symbols, wanted) for name, wanted in targets.items()),
    ]


class WatchedHybrid(HybridStrategy):
    """`HybridStrategy` with its brain laid open to the probe, and one indicator per pair whose feeds tick together.

    To look at the brain would end the path of opinions made ahead (`compiled`), so there it shows decisions alone.
    """

    params: Any = (("hedges", ()),)

    def __init__(self, **unknown: Any) -> None:
        super().__init__(**unknown)
        self._watched: WatchedBrain | None = None
        if not self.p.compiled:
            self.brain = self._watched = WatchedBrain(self.brain, self.symbols, self.pair_names)
        feeds = dict(zip(self.symbols, self.datas, strict=True))
        self.hedges = [KalmanHedge(*(feeds[side] for side in pair.split(":"))) for pair in self.p.hedges]

    def laid_open(self) -> list[Known]:
        """What the probe reads at the end of a bar."""
        decision: Any = self.decision
        return self._watched.known if self._watched else decided(decision, self.symbols)

    def stop(self) -> None:
        super().stop()
        assert self._watched or self.session.decider.ahead, "the audit of opinions made ahead ran bar by bar"


def fill_with_hybrid(config: Config, policies: Policies, pairs: Sequence[str], *, ahead: bool = False) -> Fill:
    """Puts the whole stack into a Cerebro; training spans do not matter here, since no result is reported.

    Parameters
    ----------
    ahead : bool
        With opinions made ahead, which needs numba, instead of bar by bar under watch.
    """

    def fill(cerebro: Any, bars: Bars) -> None:
        whole = {symbol for symbol in bars.symbols if bars.traded[:, bars.index_of(symbol)].all()}
        cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
        cerebro.addstrategy(
            WatchedHybrid,
            compiled=ahead,
            config=config,
            policies=policies,
            pairs=tuple(pairs),
            hedges=tuple(pair for pair in pairs if not ahead and whole.issuperset(pair.split(":"))),
            allow_in_sample=True,
        )

    return fill
