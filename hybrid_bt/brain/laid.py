"""What is recorded of a run: wishes side by side, whatever is wished for later, and what a risk manager did."""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import accumulate
from typing import IO, TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import Wish
from hybrid_bt.equations.advice import Managed
from hybrid_bt.equations.bundles import Bundle, Layout, bundles_of
from hybrid_bt.errors import ConfigError, os_errors

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FloatArray = NDArray[np.float64]

Paths = TypeVar("Paths", bound="DataclassInstance")

FEWEST_BARS = 1_024  #: that there is room for where nobody knows how many come
SPOOLED_BYTES, PAGE = 32 * 2**20, mmap.PAGESIZE
_PAGES: WeakSet[mmap.mmap] = WeakSet()  #: of records in files


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


class Whole:
    """Records of bars, written some bars at a time: nothing is there twice, and pages that stay zero cost nothing.

    Long ones lie in a nameless file under TMPDIR; what is looked at of them stays in memory until somebody lets go.

    Parameters
    ----------
    n_bars : int
        As many as will come, where that is known; room that is full is doubled.
    """

    def __init__(self, n_bars: int = 0) -> None:
        self._room, self._at = max(n_bars, FEWEST_BARS), 0
        self._records: list[Any] = []
        self._file: IO[bytes] | None = None
        self._base = 0  #: address of the file's first page

    def write(self, *pieces: DataclassInstance) -> None:
        """The next bars of each record; arrays that are one in the first pieces are one in all."""
        if not self._records:
            blanks = self._blanks({id(path): path for piece in pieces for path in _paths_of(piece)})
            self._records = [with_paths(piece, lambda like: blanks[id(like)]) for piece in pieces]
        after = self._at + len(_paths_of(pieces[0])[0])
        if after > self._room:
            self._room = max(after, 2 * self._room)
            longer: dict[int, NDArray[Any]] = {}
            self._records = [with_paths(one, partial(self._longer, longer)) for one in self._records]
        for place, piece in enumerate(pieces):
            layout = getattr(piece, "layout", None)
            if layout is not None and layout != self._records[place].layout:
                self._records[place] = _relaid(self._records[place], layout)
            for room, values in zip(_paths_of(self._records[place]), _paths_of(piece), strict=True):
                same = np.ascontiguousarray(values, room.dtype)
                if same.view(np.uint8).any():  # -0.0 is not zero
                    self._put(room, same)
        self._at = after

    def _put(self, room: NDArray[Any], values: NDArray[Any]) -> None:
        if room.flags.writeable or self._file is None:
            room[self._at :][: len(values)] = values
            return
        begin = room.ctypes.data - self._base
        with os_errors(ConfigError, f"memory: {tempfile.gettempdir()} is full", "make room there, or set TMPDIR"):
            self._file.seek(begin + self._at * values[:1].nbytes)
            self._file.write(values.data.cast("B"))
            self._file.flush()

    def _blanks(self, likes: Mapping[int, NDArray[Any]]) -> dict[int, NDArray[Any]]:
        """For all bars, by the ids of pieces; the same for the same array."""
        shapes = {key: (self._room, *like.shape[1:]) for key, like in likes.items()}
        sizes = (math.prod(shapes[key]) * like.itemsize for key, like in likes.items())
        begins = [0, *accumulate(-(-size // PAGE) * PAGE for size in sizes)]
        mapped = _mapped(begins[-1]) if begins[-1] > SPOOLED_BYTES else None
        if mapped is None:
            return {key: np.zeros(shapes[key], like.dtype) for key, like in likes.items()}
        self._file, pages = mapped
        self._base = np.frombuffer(pages, np.uint8).ctypes.data
        given = zip(likes.values(), shapes.values(), begins, strict=False)
        found = [np.frombuffer(pages, like.dtype, math.prod(shape), at).reshape(shape) for like, shape, at in given]
        return dict(zip(shapes, found, strict=True))

    def _longer(self, known: dict[int, NDArray[Any]], old: NDArray[Any]) -> NDArray[Any]:
        if id(old) not in known:
            known[id(old)] = np.zeros((self._room, *old.shape[1:]), old.dtype)
            known[id(old)][: self._at] = old[: self._at]
        return known[id(old)]

    def records(self) -> tuple[Any, ...]:
        """As they were written so far."""
        return tuple(cut_rows(record, slice(self._at)) for record in self._records)


def _mapped(n_bytes: int) -> tuple[IO[bytes], mmap.mmap] | None:
    """A nameless file of zeros, and its pages, for reading alone; None where the system gives none."""
    with suppress(OSError):
        file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the records)
        file.truncate(n_bytes)
        _PAGES.add(pages := mmap.mmap(file.fileno(), n_bytes, access=mmap.ACCESS_READ))
        return file, pages
    return None


def let_go() -> None:
    """Take out of memory what was looked at of records that lie in files; they are read again when they are needed."""
    for pages in _PAGES:
        with suppress(AttributeError, OSError):  # systems without
            pages.madvise(mmap.MADV_DONTNEED)


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
