"""What a brain said and decided, bar by bar: T bars from row 0, the bar of the first decision, N symbols, P pairs.

A record grows as flat doubles: 8 bytes a number, whatever the number of bars.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.laid import FloatArray, ManagedPaths, SidesRecord, cut_rows, managed_paths, netted, places_of
from hybrid_bt.brain.legs.base import Decision
from hybrid_bt.equations.advice import Managed
from hybrid_bt.equations.bundles import Bundle, Layout, layout_of
from hybrid_bt.equations.features import KEPT_FEATURES, MARKET_FEATURES
from hybrid_bt.equations.pair import PairView

_NUMBERS = ("regime", "scale", "guard", "correlation")  #: one of each bar
_VECTORS = ("base", "fused", "target", "wanted", "volatility", "warm", "waits", "together")  #: one of each symbol
_CODES = {"warm": "b", "waits": "b", "together": "i"}  #: of those that are no doubles
KEPT_COLUMNS = tuple(map(MARKET_FEATURES.index, KEPT_FEATURES))
_kept = itemgetter(*KEPT_COLUMNS)
_SEEN = PairView._fields[:7]  # of a pair, as `PairPaths` names them


@dataclass(frozen=True, eq=False)
class Decisions:
    """What each part of the brain wanted, bar by bar; targets are signed fractions of equity."""

    legs: dict[str, FloatArray]  #: leg name -> (T, N) what it wished; of the base, as r weighs it
    weights: dict[str, FloatArray]  #: leg name -> (T,) what its wishes were multiplied by
    regime: FloatArray  #: (T,) r in [-1, 1]
    fused: FloatArray  #: (T, N) mix of the legs' targets
    target: FloatArray  #: (T, N) after limits: what is traded
    scale: FloatArray  #: (T,) factor that brought the base to the volatility target
    layout: Layout  #: of what the legs wished
    sides: FloatArray  #: (T, S) what the target is made of, side by side
    risks: FloatArray  #: (T, L) volatility per bar of each leg's wishes
    together: NDArray[np.integer]  #: (T, N) symbols of the same label were one decision
    wanted: FloatArray  #: (T, N) target before the guard; NaN in `target` holds what is held
    guard: FloatArray  #: (T,) rules of `hybrid_bt.equations.guard` that changed the target, as a mask
    waits: NDArray[np.bool_]  #: (T, N) not ordered (`hybrid_bt.equations.waiting`)
    market: FloatArray  #: (T, F) of what the gate could see, named in `features.KEPT_FEATURES`
    managed: ManagedPaths | None = None  #: None where no risk manager was asked

    @property
    def sent(self) -> FloatArray:
        """(T, N) the targets that orders were made for: NaN, which keeps what is held, where a symbol waits."""
        return np.where(self.waits, np.nan, self.target) if self.waits.any() else self.target

    @property
    def standing_target(self) -> FloatArray:
        """`target` with the last one carried on where it is NaN, which holds what is held; 0 before the first."""
        if not np.isnan(self.target).any():
            return self.target
        rows = np.where(np.isnan(self.target), 0, np.arange(1, len(self.target) + 1)[:, None])
        known = np.vstack([np.zeros((1, self.target.shape[1])), self.target])
        carried: FloatArray = np.take_along_axis(known, np.maximum.accumulate(rows, axis=0), axis=0)
        return carried

    def rows(self, rows: slice) -> Decisions:
        """Bars in a row alone; the arrays are views."""
        return cut_rows(self, rows, managed=None if self.managed is None else self.managed.rows(rows))


@dataclass(frozen=True, eq=False)
class Opinions:
    """What legs and gate said, bar by bar, and what the limits need: enough to trade any mix of them again."""

    names: tuple[str, ...]  #: of the L legs, the base first
    layout: Layout  #: of what they wished
    amounts: FloatArray  #: (T, S) side by side, signed fractions of equity
    before: FloatArray  #: (S,) of the bar before the first; only what is 0 is looked at
    risks: FloatArray  #: (T, L) volatility per bar of each leg's wishes
    regime: FloatArray  #: (T,) r in [-1, 1]
    volatility: FloatArray  #: (T, N) per bar, as known at the decision
    correlation: FloatArray  #: (T,) in [0, 1)
    warm: NDArray[np.bool_]  #: (T, N) the symbol's features have warmed up

    @property
    def legs(self) -> dict[str, FloatArray]:
        """Leg -> (T, N) targets, netted."""
        return netted(self.names, self.amounts, self.layout, self.volatility.shape)

    def called(self, names: Mapping[str, str]) -> Opinions:
        """The same with legs under the names of their accounts, those that have others."""
        return replace(self, names=tuple(names.get(leg, leg) for leg in self.names))

    def with_base(self, name: str, targets: FloatArray) -> Opinions:
        """The same bars with one leg alone, that wishes (T, N) of the symbols."""
        n_bars, n = targets.shape
        layout = layout_of([[(i,) for i in range(n)]])
        return replace(
            self, names=(name,), layout=layout, amounts=targets, before=np.zeros(n), risks=np.zeros((n_bars, 1))
        )

    def rows(self, rows: slice) -> Opinions:
        """Bars in a row alone; the arrays are views."""
        first, _, _ = rows.indices(len(self.regime))
        return cut_rows(self, rows, before=self.amounts[first - 1] if first else self.before)


@dataclass(frozen=True, eq=False)
class PairPaths:
    """Kalman state and position of each pair, bar by bar; NaN before the pair's first bar."""

    names: tuple[str, ...]  #: P names `Y:X`
    alpha: FloatArray  #: (T, P) posterior intercept, log price
    beta: FloatArray  #: (T, P) posterior hedge ratio
    beta_var: FloatArray  #: (T, P) posterior variance of beta
    innovation: FloatArray  #: (T, P) forecast error of y before the update
    innovation_var: FloatArray  #: (T, P) its variance S
    spread: FloatArray  #: (T, P) see `hybrid_bt.equations.pair`
    zscore: FloatArray  #: (T, P) spread in its own standard deviations: what the leg trades
    position: FloatArray  #: (T, P) -1, 0 or +1 (+1 is long Y, short X)

    @classmethod
    def of(cls, names: Sequence[str], seen: FloatArray, positions: FloatArray) -> PairPaths:
        """From fields of `PairView`, (T, P, 7 or more), and the directions in which pairs are held."""
        paths = (*np.moveaxis(seen, 2, 0)[: len(_SEEN)], positions)
        return cls(tuple(names), *(np.ascontiguousarray(path) for path in paths))

    def rows(self, rows: slice) -> PairPaths:
        """Bars in a row alone; the arrays are views."""
        return cut_rows(self, rows)


class Recorder:
    """Collects what a brain decides, bar by bar."""

    def __init__(self, n_symbols: int, pair_names: Sequence[str], leg_names: Sequence[str]) -> None:
        self._n_symbols, self._leg_names, self._pair_names = n_symbols, tuple(leg_names), tuple(pair_names)
        self._nobody, self._alone = (False,) * n_symbols, range(n_symbols)
        self._weights = {name: array("d") for name in leg_names}
        self._numbers = {name: array("d") for name in _NUMBERS}
        self._vectors: dict[str, array[Any]] = {name: array(_CODES.get(name, "d")) for name in _VECTORS}
        self._market, self._pairs = array("d"), array("d")
        self._sides, self._tied = SidesRecord(), list[tuple[int, Bundle]]()
        self._managed: list[Managed | None] = []
        self._read: Any = np.array

    def append(self, decision: Decision) -> None:
        """Append one bar."""
        view = decision.view
        if not self._managed:
            self._tied = list(decision.opinion.ties)
        self._sides.append(decision.opinion, decision.sides)
        for name in self._leg_names:
            self._weights[name].append(decision.weights[name])
        numbers = (decision.regime, decision.scale, decision.guard, view.correlation)
        for column, number in zip(self._numbers.values(), numbers, strict=True):
            column.append(number)
        wanted = decision.target if decision.wanted is None else decision.wanted
        waits, together = decision.waits or self._nobody, decision.together or self._alone
        base = decision.legs[self._leg_names[0]]
        vectors = (base, decision.fused, decision.target, wanted, view.volatility, view.warm, waits, together)
        for column, vector in zip(self._vectors.values(), vectors, strict=True):
            column.extend(vector)
        self._managed.append(decision.managed)
        self._market.extend(_kept(view.market))
        for pair, position in zip(view.pairs, decision.positions, strict=True):
            self._pairs.extend((*pair[:7], position))

    def close(self) -> None:
        """No more bars come: from here on what is read are views of the record, no copies."""
        self._read = np.frombuffer

    def decisions(self, start: int = 0) -> Decisions:
        """The bars from row `start` on."""
        shape = len(self._managed), self._n_symbols
        legs = netted(self._leg_names, self._sides.wishes(), self._sides.layout, shape)
        legs[self._leg_names[0]] = self._matrix(self._vectors["base"])
        return Decisions(
            legs={name: leg[start:] for name, leg in legs.items()},
            weights={name: self._read(values)[start:] for name, values in self._weights.items()},
            layout=self._sides.layout,
            sides=self._sides.settled()[start:],
            risks=self._sides.risks(len(self._leg_names))[start:],
            managed=managed_paths(self._managed[start:]),
            market=self._read(self._market).reshape(-1, len(KEPT_FEATURES))[start:],
            **self._paths(start, "regime", "fused", "target", "scale", "wanted", "guard", "waits", "together"),
        )

    def opinions(self, start: int = 0) -> Opinions:
        """What can be mixed, limited and traded again (`hybrid_bt.brain.settling`), from row `start` on."""
        amounts, risks = self._sides.wishes(), self._sides.risks(len(self._leg_names))
        before, seen = np.zeros(amounts.shape[1]), self._paths(0, "regime", "volatility", "correlation", "warm")
        places = places_of(self._sides.layout)
        for key in self._tied:  # a bundle that closes on the first bar was open before it
            before[places[key] : places[key] + len(key[1])] = 1.0
        return Opinions(self._leg_names, self._sides.layout, amounts, before, risks, **seen).rows(slice(start, None))

    def _paths(self, start: int, *names: str) -> dict[str, Any]:
        """Those numbers (T,) and vectors (T, N)."""
        vectors = {name: self._matrix(values)[start:] for name, values in self._vectors.items() if name in names}
        return vectors | {name: self._read(values)[start:] for name, values in self._numbers.items() if name in names}

    def _matrix(self, values: array[Any]) -> NDArray[Any]:
        kind = {"b": np.bool_, "i": np.intc}.get(values.typecode, np.float64)
        found: NDArray[Any] = self._read(values, kind).reshape(-1, self._n_symbols)
        return found

    def pairs(self, start: int = 0) -> PairPaths:
        """The pairs of the bars from row `start` on."""
        cube = self._read(self._pairs).reshape(len(self._managed), len(self._pair_names), len(_SEEN) + 1)[start:]
        return PairPaths.of(self._pair_names, cube, cube[:, :, -1])


def record(brain: Hybrid, bars: Bars, pair_names: Sequence[str]) -> Recorder:
    """Ask the brain about every bar of a panel, one after the other, without any broker."""
    recorder = Recorder(bars.n_symbols, pair_names, tuple(brain.legs))
    for closes in bars.close.tolist():
        recorder.append(brain.decide(closes))
    return recorder
