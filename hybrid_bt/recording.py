"""A growing record of decisions, kept as flat doubles: 8 bytes a number, whatever the number of bars."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.advice import Managed
from hybrid_bt.bars import Bars
from hybrid_bt.hybrid import Decision, Hybrid
from hybrid_bt.market import PairView
from hybrid_bt.records import Decisions, ManagedPaths, Opinions, PairPaths

_VECTORS = ("fused", "target")
_SCALARS = ("regime", "scale", "guard")
_SEEN = PairView._fields[:7]  # of a pair, as `PairPaths` names them


class Recorder:
    """Collects what a brain decides, bar by bar."""

    def __init__(self, n_symbols: int, pair_names: Sequence[str], leg_names: Sequence[str]) -> None:
        self._n_symbols, self._leg_names = n_symbols, tuple(leg_names)
        self._nobody = (False,) * n_symbols
        self._pair_names = tuple(pair_names)
        self._legs = {name: array("d") for name in leg_names}
        self._weights = {name: array("d") for name in leg_names}
        self._vectors = {name: array("d") for name in _VECTORS}
        self._scalars = {name: array("d") for name in _SCALARS}
        self._pairs = array("d")
        self._wanted = array("d")
        self._volatility = array("d")
        self._correlation = array("d")
        self._warm = array("b")
        self._waits = array("b")
        self._ties: dict[int, Any] = {}
        self._managed: list[Managed | None] = []

    def append(self, decision: Decision) -> None:
        """Append one bar."""
        view = decision.view
        if any(decision.ties):
            self._ties[len(self._correlation)] = decision.ties
        for name in self._leg_names:
            self._legs[name].extend(decision.legs[name])
            self._weights[name].append(decision.weights[name])
        for name, values in self._vectors.items():
            values.extend(getattr(decision, name))
        for name, values in self._scalars.items():
            values.append(getattr(decision, name))
        self._wanted.extend(decision.target if decision.wanted is None else decision.wanted)
        self._volatility.extend(view.volatility)
        self._warm.extend(view.warm)
        self._waits.extend(decision.waits or self._nobody)
        self._correlation.append(view.correlation)
        self._managed.append(decision.managed)
        for pair, position in zip(view.pairs, decision.positions, strict=True):
            self._pairs.extend((*pair[:7], position))

    def decisions(self, start: int = 0) -> Decisions:
        """The bars from row `start` on."""
        vector = {name: _matrix(values, self._n_symbols)[start:] for name, values in self._vectors.items()}
        scalar = {name: np.array(values)[start:] for name, values in self._scalars.items()}
        return Decisions(
            legs=self._targets(start),
            weights={name: np.array(values)[start:] for name, values in self._weights.items()},
            regime=scalar["regime"],
            fused=vector["fused"],
            target=vector["target"],
            scale=scalar["scale"],
            wanted=_matrix(self._wanted, self._n_symbols)[start:],
            guard=scalar["guard"],
            waits=self.waits(start),
            managed=_managed_paths(self._managed[start:]),
        )

    def _targets(self, start: int) -> dict[str, NDArray[np.float64]]:
        return {name: _matrix(values, self._n_symbols)[start:] for name, values in self._legs.items()}

    def opinions(self, start: int = 0) -> Opinions:
        """What can be mixed, limited and traded again (`hybrid_bt.settling`), from row `start` on."""
        return Opinions(
            legs=self._targets(start),
            regime=np.array(self._scalars["regime"])[start:],
            volatility=_matrix(self._volatility, self._n_symbols)[start:],
            correlation=np.array(self._correlation)[start:],
            warm=np.array(self._warm, dtype=np.bool_).reshape(-1, self._n_symbols)[start:],
            ties={row - start: ties for row, ties in self._ties.items() if row >= start},
        )

    def waits(self, start: int = 0) -> NDArray[np.bool_]:
        """(T, N) whether the symbol might not be ordered (`hybrid_bt.waiting`), from row `start` on."""
        return np.array(self._waits, dtype=np.bool_).reshape(-1, self._n_symbols)[start:]

    def pairs(self, start: int = 0) -> PairPaths:
        """The pairs of the bars from row `start` on."""
        cube = np.array(self._pairs).reshape(len(self._correlation), len(self._pair_names), len(_SEEN) + 1)[start:]
        return pair_paths(self._pair_names, cube)


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


def pair_paths(names: Sequence[str], cube: NDArray[np.float64]) -> PairPaths:
    """Paths from (T, P, fields): what is seen of each pair, and its position."""
    return PairPaths(tuple(names), *(np.ascontiguousarray(cube[:, :, k]) for k in range(cube.shape[2])))


def _matrix(values: array[float], width: int) -> NDArray[np.float64]:
    return np.array(values).reshape(-1, width)


def record(brain: Hybrid, bars: Bars, pair_names: Sequence[str]) -> Recorder:
    """Ask the brain about every bar of a panel, one after the other, without any broker."""
    recorder = Recorder(bars.n_symbols, pair_names, tuple(brain.legs))
    for closes in bars.close.tolist():
        recorder.append(brain.decide(closes))
    return recorder
