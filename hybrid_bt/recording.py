"""A growing record of decisions, kept as flat doubles: 8 bytes a number, whatever the number of bars."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import kalman
from hybrid_bt.advice import Managed
from hybrid_bt.bars import Bars
from hybrid_bt.hybrid import Decision, Hybrid
from hybrid_bt.legs.base import PairView, View
from hybrid_bt.records import Decisions, LegPaths, ManagedPaths, PairPaths

__all__ = ["PAIR_FIELDS", "Recorder", "pair_paths", "pair_row", "pair_rows", "record"]

_VECTORS = ("sac", "kalman", "fused", "target")
_SCALARS = ("regime", "w_sac", "scale", "guard")
#: fields of a pair, in the order in which `pair_row` returns them and `PairPaths` names them
PAIR_FIELDS = ("alpha", "beta", "beta_var", "innovation", "innovation_var", "spread", "zscore", "position")


class Recorder:
    """Collects what a brain decides, bar by bar."""

    def __init__(self, n_symbols: int, pair_names: Sequence[str]) -> None:
        self._n_symbols = n_symbols
        self._nobody = (False,) * n_symbols
        self._pair_names = tuple(pair_names)
        self._vectors = {name: array("d") for name in _VECTORS}
        self._scalars = {name: array("d") for name in _SCALARS}
        self._pairs = array("d")
        self._wanted = array("d")
        self._volatility = array("d")
        self._correlation = array("d")
        self._warm = array("b")
        self._waits = array("b")
        self._managed: list[Managed | None] = []

    def add(self, decision: Decision, brain: Hybrid) -> None:
        """Append one bar of a brain that has just decided it."""
        self.append(decision, pair_rows(brain, decision.view))

    def append(self, decision: Decision, pairs: Sequence[float]) -> None:
        """Append one bar; `pairs` are its `pair_rows`."""
        for name, values in self._vectors.items():
            values.extend(getattr(decision, name))
        for name, values in self._scalars.items():
            values.append(getattr(decision, name))
        self._wanted.extend(decision.target if decision.wanted is None else decision.wanted)
        self._volatility.extend(decision.view.volatilities)
        self._warm.extend(decision.view.warm)
        self._waits.extend(decision.waits or self._nobody)
        self._correlation.append(decision.view.correlation)
        self._managed.append(decision.managed)
        self._pairs.extend(pairs)

    def last_row(self) -> list[float]:
        """The numbers of the last bar, for `add_row`."""
        return [value for values, width in self._columns() for value in values[len(values) - width :]]

    @property
    def width(self) -> int:
        """Numbers that a bar adds."""
        return sum(width for _, width in self._columns())

    def add_row(self, row: Sequence[float]) -> None:
        """Append a bar from what `last_row` of another recorder gave."""
        self._managed.append(None)  # a run that goes on from a state has no risk manager
        at = 0
        for values, width in self._columns():
            numbers = row[at : at + width]
            values.extend(map(int, numbers) if values.typecode == "b" else numbers)
            at += width
        if at != len(row):
            raise ValueError(f"recorder: a row of {len(row)} numbers, not {at}")

    def _columns(self) -> list[tuple[array[Any], int]]:
        """Everything that a bar adds to, and by how many numbers."""
        n = self._n_symbols
        return [
            *((values, n) for values in self._vectors.values()),
            *((values, 1) for values in self._scalars.values()),
            (self._pairs, len(self._pair_names) * len(PAIR_FIELDS)),
            (self._wanted, n),
            (self._volatility, n),
            (self._correlation, 1),
            (self._warm, n),
            (self._waits, n),
        ]

    def decisions(self, start: int = 0) -> Decisions:
        """The bars from row `start` on."""
        vector = {name: _matrix(values, self._n_symbols)[start:] for name, values in self._vectors.items()}
        scalar = {name: np.array(values)[start:] for name, values in self._scalars.items()}
        return Decisions(
            legs={"sac": vector["sac"], "kalman": vector["kalman"]},
            weights={"sac": scalar["w_sac"], "kalman": 1.0 - scalar["w_sac"]},
            regime=scalar["regime"],
            fused=vector["fused"],
            target=vector["target"],
            scale=scalar["scale"],
            wanted=_matrix(self._wanted, self._n_symbols)[start:],
            guard=scalar["guard"],
            waits=self.waits(start),
            managed=_managed_paths(self._managed[start:]),
        )

    def legs(self, start: int = 0) -> LegPaths:
        """What can be mixed, limited and traded again (`hybrid_bt.replay_legs`), from row `start` on."""
        sac, kalman = (_matrix(self._vectors[name], self._n_symbols)[start:] for name in ("sac", "kalman"))
        regime = np.array(self._scalars["regime"])[start:]
        return LegPaths(sac, kalman, regime, self.volatility(start), self.correlation(start), self.waits(start))

    def volatility(self, start: int = 0) -> NDArray[np.float64]:
        """(T, N) volatilities per bar that the limits used, from row `start` on."""
        return _matrix(self._volatility, self._n_symbols)[start:]

    def correlation(self, start: int = 0) -> NDArray[np.float64]:
        """(T,) correlation that the limits used, from row `start` on."""
        return np.array(self._correlation)[start:]

    def warm(self, start: int = 0) -> NDArray[np.bool_]:
        """(T, N) whether the symbol's features were warm, from row `start` on."""
        return np.array(self._warm, dtype=np.bool_).reshape(-1, self._n_symbols)[start:]

    def waits(self, start: int = 0) -> NDArray[np.bool_]:
        """(T, N) whether the symbol might not be ordered (`hybrid_bt.waiting`), from row `start` on."""
        return np.array(self._waits, dtype=np.bool_).reshape(-1, self._n_symbols)[start:]

    def pairs(self, start: int = 0) -> PairPaths:
        """The pairs of the bars from row `start` on."""
        n_pairs, n_fields = len(self._pair_names), len(PAIR_FIELDS)
        n_bars = len(self._scalars["regime"])
        return pair_paths(self._pair_names, np.array(self._pairs).reshape(n_bars, n_pairs, n_fields)[start:])


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


def pair_row(pair: PairView, direction: float) -> tuple[float, ...]:
    """A pair's row of `PAIR_FIELDS`; NaN before its first bar."""
    if not pair.started:
        nan = math.nan
        return nan, nan, nan, nan, nan, nan, nan, direction
    state, spread = pair.kalman, pair.spread
    return (
        kalman.intercept(state, pair.log_y, pair.log_x),
        state.beta,
        state.p_bb,
        state.innovation,
        state.innovation_var,
        spread.spread,
        spread.zscore,
        direction,
    )


def pair_rows(brain: Hybrid, view: View) -> list[float]:
    """The fields of all pairs, one pair after the other, as the brain holds them after the bar of this view."""
    rows: list[float] = []
    for pair, direction in zip(view.pairs, brain.pair_directions, strict=True):
        rows += pair_row(pair, direction)
    return rows


def pair_paths(names: Sequence[str], cube: NDArray[np.float64]) -> PairPaths:
    """Paths from a (T, P, fields) array of `pair_row`."""
    return PairPaths(tuple(names), *(np.ascontiguousarray(cube[:, :, k]) for k in range(len(PAIR_FIELDS))))


def _matrix(values: array[float], width: int) -> NDArray[np.float64]:
    return np.array(values).reshape(-1, width)


def record(brain: Hybrid, bars: Bars, pair_names: Sequence[str]) -> Recorder:
    """Ask the brain about every bar of a panel, without any broker."""
    recorder = Recorder(bars.n_symbols, pair_names)
    for closes in bars.close.tolist():
        recorder.add(brain.decide(closes), brain)
    return recorder
