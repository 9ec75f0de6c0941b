"""What a brain said and decided, bar by bar: T bars from row 0, the bar of the first decision, N symbols, P pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.laid import FloatArray, ManagedPaths, Whole, cut_rows, managed_paths, netted, places_of
from hybrid_bt.brain.legs.base import Decision
from hybrid_bt.equations.advice import Managed
from hybrid_bt.equations.bundles import Bundle, Layout, layout_of
from hybrid_bt.equations.features import KEPT_FEATURES, MARKET_FEATURES
from hybrid_bt.equations.pair import PairView

CELLS_AT_ONCE = 1_024  #: bars x symbols that a recorder writes together
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
        self._few: list[Decision] = []  # as long as they are not written
        self._most_at_once = max(CELLS_AT_ONCE // max(n_symbols, 1), 1)
        self._whole, self._n_bars = Whole(), 0
        self._tied: Sequence[tuple[int, Bundle]] = ()
        self._managed: list[Managed] = []  # of the last bars in a row on which a risk manager was asked

    def expect(self, n_bars: int) -> None:
        """So many bars come from here on."""
        if not self._n_bars:
            self._whole = Whole(n_bars)

    def append(self, decision: Decision) -> None:
        """Append one bar."""
        few, opinion = self._few, decision.opinion
        if len(few) >= self._most_at_once or (few and len(opinion.amounts) != len(few[0].opinion.amounts)):
            self._write()
        if not self._n_bars:
            self._tied = list(opinion.ties)
        self._few.append(decision)
        self._n_bars += 1
        if decision.managed is not None:
            self._managed.append(decision.managed)
        elif self._managed:
            self._managed.clear()

    def _write(self) -> None:
        few, self._few = self._few, []
        said, views, n = [one.opinion for one in few], [one.view for one in few], self._n_symbols
        nobody, alone, shape = (False,) * n, range(n), (len(few), n)
        layout = said[0].layout if said else layout_of([])

        def laid(rows: list[Any], width: int, kind: type = np.float64) -> NDArray[Any]:
            return np.array(rows, dtype=kind).reshape(len(few), width)

        def numbers(values: Iterable[float]) -> FloatArray:
            return np.fromiter(values, np.float64, len(few))

        amounts = laid([one.amounts for one in said], len(layout.columns))
        legs = netted(self._leg_names, amounts, layout, shape)
        legs[self._leg_names[0]] = laid([one.legs[self._leg_names[0]] for one in few], n)
        regime, risks = numbers(one.regime for one in few), laid([one.risks for one in said], len(self._leg_names))
        seen = [[(*pair[:7], held) for pair, held in zip(one.view.pairs, one.positions, strict=True)] for one in few]
        cube = np.array(seen, dtype=np.float64).reshape(len(few), len(self._pair_names), len(_SEEN) + 1)
        opinions = Opinions(
            names=self._leg_names,
            layout=layout,
            amounts=amounts,
            before=np.zeros(0),
            risks=risks,
            regime=regime,
            volatility=laid([view.volatility for view in views], n),
            correlation=numbers(view.correlation for view in views),
            warm=laid([view.warm for view in views], n, np.bool_),
        )
        decisions = Decisions(
            legs=legs,
            weights={name: numbers(one.weights[name] for one in few) for name in self._leg_names},
            regime=regime,
            fused=laid([one.fused for one in few], n),
            target=laid([one.target for one in few], n),
            scale=numbers(one.scale for one in few),
            layout=layout,
            sides=laid([one.sides for one in few], len(layout.columns)),
            risks=risks,
            together=laid([one.together or alone for one in few], n, np.intc),
            wanted=laid([one.target if one.wanted is None else one.wanted for one in few], n),
            guard=numbers(one.guard for one in few),
            waits=laid([one.waits or nobody for one in few], n, np.bool_),
            market=laid([_kept(view.market) for view in views], len(KEPT_FEATURES)),
        )
        self._whole.write(opinions, decisions, PairPaths.of(self._pair_names, cube, cube[:, :, -1]))

    def _written(self) -> tuple[Opinions, Decisions, PairPaths]:
        if self._few or not self._n_bars:
            self._write()
        opinions, decisions, pairs = self._whole.records()
        return opinions, decisions, pairs

    def decisions(self, start: int = 0) -> Decisions:
        """The bars from row `start` on."""
        found, first = self._written()[1].rows(slice(start, None)), self._n_bars - len(self._managed)
        return replace(found, managed=managed_paths(self._managed[start - first :]) if start >= first else None)

    def opinions(self, start: int = 0) -> Opinions:
        """What can be mixed, limited and traded again (`hybrid_bt.brain.settling`), from row `start` on."""
        said = self._written()[0]
        before, places = np.zeros(said.amounts.shape[1]), places_of(said.layout)
        for key in self._tied:  # a bundle that closes on the first bar was open before it
            before[places[key] : places[key] + len(key[1])] = 1.0
        return replace(said, before=before).rows(slice(start, None))

    def pairs(self, start: int = 0) -> PairPaths:
        """The pairs of the bars from row `start` on."""
        return self._written()[2].rows(slice(start, None))


def record(brain: Hybrid, bars: Bars, pair_names: Sequence[str]) -> Recorder:
    """Ask the brain about every bar of a panel, one after the other, without any broker."""
    recorder = Recorder(bars.n_symbols, pair_names, tuple(brain.legs))
    for closes in bars.close.tolist():
        recorder.append(brain.decide(closes))
    return recorder
