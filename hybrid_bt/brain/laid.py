"""What is recorded of a run: wishes side by side, whatever is wished for later, and what a risk manager did."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import Opinion, Wish
from hybrid_bt.equations.advice import Managed
from hybrid_bt.equations.bundles import Bundle, Layout, bundles_of, layout_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FloatArray = NDArray[np.float64]

Paths = TypeVar("Paths", bound="DataclassInstance")


class Sides:
    """What one leg wishes, side by side, in the order in which its bundles were first wished for."""

    def __init__(self) -> None:
        self.firsts: dict[Bundle, int] = {}
        self.n = 0

    def laid(self, wishes: Iterable[Wish]) -> list[float]:
        """The amounts of one bar; 0 for what was wished before and is not now."""
        amounts = [0.0] * self.n
        for columns, wanted in wishes:
            first = self.firsts.get(columns)
            if first is None:
                first = self.firsts[columns] = self.n
                self.n += len(columns)
                amounts += [0.0] * len(columns)
            for k, amount in enumerate(wanted):
                amounts[first + k] += amount
        return amounts


class SidesRecord:
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
        values, at, found = np.frombuffer(self._rows), 0, []
        for n_bars, layout in self._laid:
            n = len(layout.columns)
            rows = values[at : at + 2 * n_bars * n].reshape(n_bars, 2, n)[:, which]
            found.append(widened(rows, layout, self.layout))
            at += 2 * n_bars * n
        return np.concatenate(found) if found else np.zeros((0, 0))


class Whole:
    """Records of T bars, written some bars at a time: nothing is there twice, and pages that stay zero cost nothing.

    Parameters
    ----------
    n_bars : int
        T.
    """

    def __init__(self, n_bars: int) -> None:
        self._n_bars, self._at = n_bars, 0
        self._records: list[Any] = []

    def write(self, *pieces: DataclassInstance) -> None:
        """The next bars of each record; arrays that are one in the first pieces are one in all."""
        if not self._records:
            blanks: dict[int, NDArray[Any]] = {}
            self._records = [with_paths(piece, partial(self._blank, blanks)) for piece in pieces]
        after = self._at
        for place, piece in enumerate(pieces):
            layout = getattr(piece, "layout", None)
            if layout is not None and layout != self._records[place].layout:
                self._records[place] = _relaid(self._records[place], layout)
            for room, values in zip(_paths_of(self._records[place]), _paths_of(piece), strict=True):
                after = self._at + len(values)
                if np.ascontiguousarray(values).view(np.uint8).any():  # -0.0 is not zero
                    room[self._at : after] = values
        self._at = after

    def _blank(self, known: dict[int, NDArray[Any]], like: NDArray[Any]) -> NDArray[Any]:
        """For all bars; the same for the same array."""
        return known.setdefault(id(like), np.zeros((self._n_bars, *like.shape[1:]), like.dtype))

    def records(self) -> tuple[Any, ...]:
        """As they were written."""
        return tuple(self._records)


def _paths_of(record: DataclassInstance) -> list[NDArray[Any]]:
    """The arrays of a record whose first axis is T."""
    found: list[NDArray[Any]] = []
    with_paths(record, lambda path: found.append(path) or path)  # type: ignore[func-returns-value]
    return found


def _relaid(record: Any, layout: Layout) -> Any:  # noqa: ANN401
    """A record of wishes in a later layout."""
    wide = [name for name in ("amounts", "sides") if hasattr(record, name)]
    return replace(
        record, layout=layout, **{name: widened(getattr(record, name), record.layout, layout) for name in wide}
    )


def widened(rows: FloatArray, layout: Layout, last: Layout) -> FloatArray:
    """What lies side by side in one layout, (T, S), in a later one that has all of its bundles."""
    wide, places = np.zeros((len(rows), len(last.columns))), places_of(last)
    for key, first in places_of(layout).items():
        n = len(key[1])
        wide[:, places[key] : places[key] + n] = rows[:, first : first + n]
    return wide


def netted(names: Iterable[str], amounts: FloatArray, layout: Layout, shape: tuple[int, ...]) -> dict[str, FloatArray]:
    """Leg -> (T, N) of what lies side by side, (T, S)."""
    found = {name: np.zeros(shape) for name in names}
    legs, owners = list(found.values()), [leg for leg, columns in bundles_of(layout) for _ in columns]
    for side, (leg, column) in enumerate(zip(owners, layout.columns, strict=True)):
        legs[leg][:, column] += amounts[:, side]
    return found


def places_of(layout: Layout) -> dict[tuple[int, Bundle], int]:
    """Where each bundle begins."""
    return dict(zip(bundles_of(layout), (0, *layout.ends), strict=False))


def padded(rows: Sequence[Sequence[float]], n: int) -> FloatArray:
    """Rows that grow, with zeros behind them: (T, n)."""
    return np.array([[*row, *([0.0] * (n - len(row)))] for row in rows]).reshape(len(rows), n)


def cut_rows(record: Paths, rows: slice, **others: object) -> Paths:
    """A record of some bars alone: views of its arrays, whose first axis is T, and `others` in place of the rest."""
    return with_paths(record, lambda path: path[rows], **others)


def with_paths(record: Paths, made: Callable[[NDArray[Any]], NDArray[Any]], **others: object) -> Paths:
    """A record with what is made of each of its arrays, and `others` in place of the rest."""
    new: dict[str, Any] = dict(others)
    for one in fields(record):
        value = getattr(record, one.name)
        if one.name in others or one.name == "before":  # of the bar before the first
            continue
        if isinstance(value, np.ndarray):
            new[one.name] = made(value)
        elif isinstance(value, dict):
            new[one.name] = {leg: made(path) for leg, path in value.items()}
    return replace(record, **new)


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
        reasons=tuple(text for row in known for text in texts_told(row.advice.reasons, row.sources, "pair: ")),
        documents=tuple(text for row in known for text in texts_told(row.advice.documents, row.sources, "")),
    )


def texts_told(texts: Sequence[str], sources: Sequence[int], mark: str) -> list[str]:
    """Each symbol's text, or that of the one that it shares its multiplier with."""
    if not texts:
        return [""] * len(sources)
    return [texts[i] if i == source else mark + texts[source] for i, source in enumerate(sources)]
