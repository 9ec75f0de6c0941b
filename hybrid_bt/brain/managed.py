"""What the risk manager read and did, bar by bar; and cutting records to some bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.equations.advice import Managed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FloatArray = NDArray[np.float64]

Paths = TypeVar("Paths", bound="DataclassInstance")


def cut_rows(record: Paths, rows: slice, **others: object) -> Paths:
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
        return cut_rows(self, rows, reasons=self.reasons[texts], documents=self.documents[texts])


def managed_paths(rows: Sequence[Managed | None]) -> ManagedPaths | None:
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
