"""A brain under watch: everything that it knows at a bar as one row of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.audit.trace import Column
from hybrid_bt.features import AssetState, MarketState
from hybrid_bt.hybrid import Decision, Hybrid
from hybrid_bt.legs import PairView
from hybrid_bt.legs import sac as sac_leg
from hybrid_bt.regime import OBSERVATION as GATE_OBSERVATION


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


class WatchedBrain:
    """Decides as the brain that it holds, and lays each bar's numbers open.

    Parameters
    ----------
    brain : Hybrid
        Its policies are replaced by taps.
    symbols, pairs : sequence of str
    """

    def __init__(self, brain: Hybrid, symbols: Any, pairs: Any) -> None:
        self.brain, self.symbols, self.pairs = brain, tuple(symbols), tuple(pairs)
        self._taps: dict[str, _Tap] = {}
        for name, part in (("sac", brain.legs["sac"]), ("gate", brain.gate)):
            owner: Any = part
            if hasattr(owner, "policy"):
                owner.policy = self._taps[name] = _Tap(owner.policy)
        self.row: list[float] = []  #: of the last bar, in the order of `columns`

    def __getattr__(self, name: str) -> Any:
        return getattr(self.brain, name)

    def decide(self, closes: Any, *advice: Any) -> Decision:
        """As `Hybrid.decide`."""
        for tap in self._taps.values():
            tap.seen = None
        decision = self.brain.decide(closes, *advice)
        self.row = self._row(decision)
        return decision

    def columns(self) -> list[Column]:
        """What each number of `row` is."""
        everyone = list(self.symbols)
        found = [Column(f"recursion {field}", symbol) for symbol in everyone for field in AssetState._fields]
        found += [Column(f"market recursion mean.{field}", "-") for field in AssetState._fields]
        found += [Column(f"market recursion {field}", "-") for field in MarketState._fields[1:]]
        found += [Column(f"pair {field}", pair) for pair in self.pairs for field in (*PairView._fields, "position")]
        found += [Column("volatility", symbol) for symbol in everyone] + [Column("correlation", "-")]
        if "sac" in self._taps:
            names = sac_leg.OBSERVATION
            found += [Column(f"SAC observation {name}", symbol) for symbol in everyone for name in names]
        if "gate" in self._taps:
            found += [Column(f"gate observation {name}", "-") for name in GATE_OBSERVATION]
            found += [Column(f"LSTM state {i}", "-") for i in range(len(self._taps["gate"].memory()))]
        legs = self.brain.legs
        found += [Column(name, "-") for name in ("regime r", *(f"weight of {leg}" for leg in legs), "scale of limits")]
        targets = (*(f"leg target {leg}" for leg in legs), "fused target", "final target")
        return found + [Column(name, symbol) for name in targets for symbol in everyone]

    def _row(self, decision: Decision) -> list[float]:
        view, reader = decision.view, self.brain.reader
        row = [value for asset in reader.assets for value in asset]
        row += [*reader.market.mean, *reader.market[1:]]
        for pair, position in zip(view.pairs, decision.positions, strict=True):
            row += (*pair, position)
        row += [*view.volatility, view.correlation]
        for name, tap in self._taps.items():
            row += self._sac_rows(tap, decision) if name == "sac" else self._gate_row(tap)
        row += [decision.regime, *decision.weights.values(), decision.scale]
        return [*row, *(wanted for leg in decision.legs.values() for wanted in leg), *decision.fused, *decision.target]

    def _sac_rows(self, tap: _Tap, decision: Decision) -> list[float]:
        """One observation per symbol, NaN where the policy was not asked."""
        view = decision.view
        table = np.full((len(self.symbols), len(sac_leg.OBSERVATION)), np.nan)
        if tap.seen is not None:
            table[[i for i, both in enumerate(zip(view.warm, view.traded, strict=True)) if all(both)]] = tap.seen
        return table.ravel().tolist()

    @staticmethod
    def _gate_row(tap: _Tap) -> list[float]:
        seen = [np.nan] * len(GATE_OBSERVATION) if tap.seen is None else tap.seen[0].tolist()
        return seen + tap.memory()
