"""What a brain said and decided, bar by bar: T bars from row 0, the bar of the first decision, N symbols, P pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_Paths = TypeVar("_Paths", "ManagedPaths", "Decisions", "Opinions", "PairPaths")


def _cut(record: _Paths, rows: slice, **others: object) -> _Paths:
    """A record of some bars alone: views of its arrays, whose first axis is T, and `others` in place of the rest."""
    cut: dict[str, Any] = dict(others)
    for one in fields(record):
        value = getattr(record, one.name)
        if one.name in others:
            continue
        if isinstance(value, np.ndarray):
            cut[one.name] = value[rows]
        elif isinstance(value, dict):
            cut[one.name] = {leg: path[rows] for leg, path in value.items()}
    return replace(record, **cut)


@dataclass(frozen=True, eq=False)
class ManagedPaths:
    """What the risk manager read and did, bar by bar (`hybrid_bt.equations.advice`)."""

    proposed: FloatArray  #: (T, N) targets before it
    multiplier: FloatArray  #: (T, N) m in [0, 1]
    regime: FloatArray  #: (T,) r'
    risk: FloatArray  #: (T, N) 1..5, 3 is neutral
    sentiment: FloatArray  #: (T, N) [-1, 1]
    regime_read: FloatArray  #: (T,) r_llm
    confidence: FloatArray  #: (T,) [0, 1]
    no_new_risk: NDArray[np.bool_]  #: (T,)
    reasons: tuple[str, ...]  #: T * N, row-major
    documents: tuple[str, ...]  #: T * N, ids with blanks between

    def rows(self, rows: slice) -> ManagedPaths:
        """Bars in a row alone; the arrays are views."""
        n = self.proposed.shape[1]
        first, end, _ = rows.indices(len(self.proposed))
        texts = slice(first * n, end * n)
        return _cut(self, rows, reasons=self.reasons[texts], documents=self.documents[texts])


@dataclass(frozen=True, eq=False)
class Decisions:
    """What each part of the brain wanted, bar by bar; targets are signed fractions of equity."""

    legs: dict[str, FloatArray]  #: leg name -> (T, N) target
    weights: dict[str, FloatArray]  #: leg name -> (T,) fusion weight
    regime: FloatArray  #: (T,) r in [-1, 1]
    fused: FloatArray  #: (T, N) mix of the legs' targets
    target: FloatArray  #: (T, N) after limits: what is traded
    scale: FloatArray  #: (T,) factor that the volatility target and the limits put on the fused target
    wanted: FloatArray | None = None  #: (T, N) target before the guard; NaN in `target` holds what is held
    guard: FloatArray | None = None  #: (T,) rules of `hybrid_bt.equations.guard` that changed the target, as a mask

    waits: NDArray[np.bool_] | None = None  #: (T, N) not ordered, (`hybrid_bt.equations.waiting`); None: nobody
    managed: ManagedPaths | None = None  #: None where no risk manager was asked

    @property
    def sent(self) -> FloatArray:
        """(T, N) the targets that orders were made for: NaN, which keeps what is held, where a symbol waits."""
        return self.target if self.waits is None else np.where(self.waits, np.nan, self.target)

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
        return _cut(self, rows, managed=None if self.managed is None else self.managed.rows(rows))


@dataclass(frozen=True, eq=False)
class Opinions:
    """What legs and gate said, bar by bar, and what the limits need: enough to trade any mix of them again."""

    legs: dict[str, FloatArray]  #: leg -> (T, N) targets, netted, signed fractions of equity
    regime: FloatArray  #: (T,) r in [-1, 1]
    volatility: FloatArray  #: (T, N) per bar, as known at the decision
    correlation: FloatArray  #: (T,) in [0, 1)
    warm: NDArray[np.bool_]  #: (T, N) the symbol's features have warmed up
    #: row on which a symbol has no bar -> of each leg, the bundles of symbols that trade as a whole
    ties: Mapping[int, Sequence[Sequence[tuple[int, ...]]]] = field(default_factory=dict)

    def rows(self, rows: slice) -> Opinions:
        """Bars in a row alone; the arrays are views."""
        first, end, _ = rows.indices(len(self.regime))
        return _cut(self, rows, ties={row - first: ties for row, ties in self.ties.items() if first <= row < end})


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

    def rows(self, rows: slice) -> PairPaths:
        """Bars in a row alone; the arrays are views."""
        return _cut(self, rows)
