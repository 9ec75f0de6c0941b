"""What a brain said and decided, bar by bar: T bars from row 0, the bar of the first decision, N symbols, P pairs.

A record grows as flat doubles: 8 bytes a number, whatever the number of bars.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.legs.base import Decision, Opinion
from hybrid_bt.equations.advice import Managed
from hybrid_bt.equations.bundles import Bundle, Layout, bundles_of, layout_of
from hybrid_bt.equations.pair import PairView

FloatArray = NDArray[np.float64]

_NUMBERS = ("regime", "scale", "guard", "correlation")  #: one of each bar
_VECTORS = ("fused", "target", "wanted", "volatility", "warm", "waits", "together")  #: one of each symbol
_CODES = {"warm": "b", "waits": "b", "together": "q"}  #: of those that are no doubles
_SEEN = PairView._fields[:7]  # of a pair, as `PairPaths` names them

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

    legs: dict[str, FloatArray]  #: leg name -> (T, N) what it wished
    weights: dict[str, FloatArray]  #: leg name -> (T,) what its wishes were multiplied by
    regime: FloatArray  #: (T,) r in [-1, 1]
    fused: FloatArray  #: (T, N) mix of the legs' targets
    target: FloatArray  #: (T, N) after limits: what is traded
    scale: FloatArray  #: (T,) factor that brought the base to the volatility target
    layout: Layout  #: of what the legs wished
    sides: FloatArray  #: (T, S) what the target is made of, side by side
    risks: FloatArray  #: (T, L) volatility per bar of each leg's wishes
    together: NDArray[np.int64]  #: (T, N) symbols of the same label were one decision
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

    names: tuple[str, ...]  #: of the L legs, the base first
    layout: Layout  #: of what they wished
    amounts: FloatArray  #: (T, S) side by side, signed fractions of equity
    before: FloatArray  #: (S,) of the bar before the first
    risks: FloatArray  #: (T, L) volatility per bar of each leg's wishes
    regime: FloatArray  #: (T,) r in [-1, 1]
    volatility: FloatArray  #: (T, N) per bar, as known at the decision
    correlation: FloatArray  #: (T,) in [0, 1)
    warm: NDArray[np.bool_]  #: (T, N) the symbol's features have warmed up

    @property
    def legs(self) -> dict[str, FloatArray]:
        """Leg -> (T, N) targets, netted."""
        return netted(self.names, self.amounts, self.layout, self.volatility.shape)

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
        return _cut(self, rows, before=self.amounts[first - 1] if first else self.before)


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


class _Sides:
    """Wishes of each bar and what was settled of them, side by side in the layout of the last bar."""

    def __init__(self) -> None:
        self.layout = layout_of([])
        self._rows, self._risks = array("d"), array("d")
        self._laid: list[tuple[int, Layout]] = []  #: number of bars under each layout

    def append(self, opinion: Opinion, settled: Sequence[float]) -> None:
        if len(opinion.amounts) != len(self.layout.columns) or not self._laid:
            self.layout = opinion.layout
            self._laid.append((0, self.layout))
        self._laid[-1] = self._laid[-1][0] + 1, self.layout
        for numbers in (opinion.amounts, settled):
            self._rows.extend(numbers)
        self._risks.extend(opinion.risks)

    def risks(self, n_legs: int) -> FloatArray:
        return np.array(self._risks).reshape(-1, n_legs)

    def wishes(self) -> FloatArray:
        return self._in_last_layout(0)

    def settled(self) -> FloatArray:
        return self._in_last_layout(1)

    def _in_last_layout(self, which: int) -> FloatArray:
        places, values, at = _places(self.layout), np.array(self._rows), 0
        found = []
        for n_bars, layout in self._laid:
            n = len(layout.columns)
            rows = values[at : at + 2 * n_bars * n].reshape(n_bars, 2, n)[:, which]
            wide = np.zeros((n_bars, len(self.layout.columns)))
            for key, first in _places(layout).items():
                end, last = first + len(key[1]), places[key]
                wide[:, last : last + len(key[1])] = rows[:, first:end]
            found.append(wide)
            at += 2 * n_bars * n
        return np.concatenate(found) if found else np.zeros((0, 0))


def netted(names: Iterable[str], amounts: FloatArray, layout: Layout, shape: tuple[int, ...]) -> dict[str, FloatArray]:
    """Leg -> (T, N) of what lies side by side, (T, S)."""
    found = {name: np.zeros(shape) for name in names}
    legs, owners = list(found.values()), [leg for leg, columns in bundles_of(layout) for _ in columns]
    for side, (leg, column) in enumerate(zip(owners, layout.columns, strict=True)):
        legs[leg][:, column] += amounts[:, side]
    return found


def _places(layout: Layout) -> dict[tuple[int, Bundle], int]:
    """Where each bundle begins."""
    return dict(zip(bundles_of(layout), (0, *layout.ends), strict=False))


def padded(rows: Sequence[Sequence[float]], n: int) -> FloatArray:
    """Rows that grow, with zeros behind them: (T, n)."""
    return np.array([[*row, *([0.0] * (n - len(row)))] for row in rows]).reshape(len(rows), n)


class Recorder:
    """Collects what a brain decides, bar by bar."""

    def __init__(self, n_symbols: int, pair_names: Sequence[str], leg_names: Sequence[str]) -> None:
        self._n_symbols, self._leg_names, self._pair_names = n_symbols, tuple(leg_names), tuple(pair_names)
        self._nobody, self._alone = (False,) * n_symbols, range(n_symbols)
        self._legs = {name: array("d") for name in leg_names}
        self._weights = {name: array("d") for name in leg_names}
        self._numbers = {name: array("d") for name in _NUMBERS}
        self._vectors: dict[str, array[Any]] = {name: array(_CODES.get(name, "d")) for name in _VECTORS}
        self._pairs = array("d")
        self._sides = _Sides()
        self._managed: list[Managed | None] = []

    def append(self, decision: Decision) -> None:
        """Append one bar."""
        view = decision.view
        self._sides.append(decision.opinion, decision.sides)
        for name in self._leg_names:
            self._legs[name].extend(decision.legs[name])
            self._weights[name].append(decision.weights[name])
        numbers = (decision.regime, decision.scale, decision.guard, view.correlation)
        for column, number in zip(self._numbers.values(), numbers, strict=True):
            column.append(number)
        wanted = decision.target if decision.wanted is None else decision.wanted
        waits, together = decision.waits or self._nobody, decision.together or self._alone
        vectors = (decision.fused, decision.target, wanted, view.volatility, view.warm, waits, together)
        for column, vector in zip(self._vectors.values(), vectors, strict=True):
            column.extend(vector)
        self._managed.append(decision.managed)
        for pair, position in zip(view.pairs, decision.positions, strict=True):
            self._pairs.extend((*pair[:7], position))

    def decisions(self, start: int = 0) -> Decisions:
        """The bars from row `start` on."""
        return Decisions(
            legs={name: self._matrix(leg)[start:] for name, leg in self._legs.items()},
            weights={name: np.array(values)[start:] for name, values in self._weights.items()},
            layout=self._sides.layout,
            sides=self._sides.settled()[start:],
            risks=self._sides.risks(len(self._leg_names))[start:],
            managed=_managed_paths(self._managed[start:]),
            **self._paths(start, "regime", "fused", "target", "scale", "wanted", "guard", "waits", "together"),
        )

    def opinions(self, start: int = 0) -> Opinions:
        """What can be mixed, limited and traded again (`hybrid_bt.brain.settling`), from row `start` on."""
        amounts, risks = self._sides.wishes(), self._sides.risks(len(self._leg_names))
        before, seen = np.zeros(amounts.shape[1]), self._paths(0, "regime", "volatility", "correlation", "warm")
        return Opinions(self._leg_names, self._sides.layout, amounts, before, risks, **seen).rows(slice(start, None))

    def _paths(self, start: int, *names: str) -> dict[str, Any]:
        """Those numbers (T,) and vectors (T, N)."""
        vectors = {name: self._matrix(values)[start:] for name, values in self._vectors.items() if name in names}
        return vectors | {name: np.array(values)[start:] for name, values in self._numbers.items() if name in names}

    def _matrix(self, values: array[Any]) -> NDArray[Any]:
        kind = {"b": np.bool_, "q": np.int64}.get(values.typecode, np.float64)
        return np.array(values, kind).reshape(-1, self._n_symbols)

    def pairs(self, start: int = 0) -> PairPaths:
        """The pairs of the bars from row `start` on."""
        cube = np.array(self._pairs).reshape(len(self._managed), len(self._pair_names), len(_SEEN) + 1)[start:]
        return PairPaths(self._pair_names, *(np.ascontiguousarray(path) for path in np.moveaxis(cube, 2, 0)))


def _managed_paths(rows: Sequence[Managed | None]) -> ManagedPaths | None:
    known = [row for row in rows if row is not None]
    if not known or len(known) < len(rows):
        return None  # a risk manager is asked on every traded bar, or on none
    advice = [row.advice for row in known]
    return ManagedPaths(
        proposed=np.array([row.proposed for row in known]),
        multiplier=np.array([row.multipliers for row in known]),
        regime=np.array([row.regime for row in known]),
        risk=np.array([one.risk for one in advice], dtype=np.float64),
        sentiment=np.array([one.sentiment for one in advice], dtype=np.float64),
        regime_read=np.array([one.regime for one in advice]),
        confidence=np.array([one.confidence for one in advice]),
        no_new_risk=np.array([one.no_new_risk for one in advice]),
        reasons=tuple(text for row in known for text in _told(row.advice.reasons, row.sources, "pair: ")),
        documents=tuple(text for row in known for text in _told(row.advice.documents, row.sources, "")),
    )


def _told(texts: Sequence[str], sources: Sequence[int], mark: str) -> list[str]:
    """Each symbol's text, or that of the one that it shares its multiplier with."""
    if not texts:
        return [""] * len(sources)
    return [texts[i] if i == source else mark + texts[source] for i, source in enumerate(sources)]


def record(brain: Hybrid, bars: Bars, pair_names: Sequence[str]) -> Recorder:
    """Ask the brain about every bar of a panel, one after the other, without any broker."""
    recorder = Recorder(bars.n_symbols, pair_names, tuple(brain.legs))
    for closes in bars.close.tolist():
        recorder.append(brain.decide(closes))
    return recorder
