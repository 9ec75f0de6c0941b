"""Which documents were known at each bar, and the k most relevant of them, by BM25 over what was known.

BM25 (Robertson and Zaragoza 2009, Foundations and Trends in Information Retrieval 3(4); the form of Lucene, which is
the library bm25s's default) weighs a word by how many documents hold it. An index over the whole store would let later
documents move the ranks of earlier bars, so the counts are those of the documents that were visible at the bar:

    idf(w, t) = log(1 + (N_t - n_t(w) + 1/2) / (n_t(w) + 1/2))
    score     = sum_w idf(w, t) f / (f + k1 (1 - b + b |d| / L_t))

over the words w of a fixed query about risk, f their frequency in document d of length |d|, L_t the mean length. Words
are cut by bm25s. The counts are packed beside the documents once; ranking all bars is a few array operations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import NewsError
from hybrid_bt.news.documents import visible_at
from hybrid_bt.news.store import DocumentStore
from hybrid_bt.news.verdicts import MARKET

__all__ = ["BM25", "QUERY", "DocumentIndex", "Ranker", "Selected", "index_of"]

_WORDS = """
risk loss losses decline declined fell drop plunge crash crisis default bankruptcy fraud investigation lawsuit recall
downgrade downgraded warning warned cut cuts layoffs restatement impairment volatility panic selloff war sanctions
outage breach accident spill explosion shortfall miss missed weak recession inflation outbreak pandemic emergency halt
halted
resign resigned suspended delay guidance uncertainty record rally trend reversal rebound
"""
QUERY = tuple(_WORDS.split())  #: what is looked for; a change of it is a change of `PACKED`
PACKED = "index-3"
BM25 = "bm25"
K1, B = 1.5, 0.75
DECIMALS = 9  #: of scores that are compared, below which vectorised logarithms may differ
BATCH = 5000  #: documents cut into words at once
BARS_AT_ONCE = 100  #: whose candidates are ranked together, for the sake of memory
DIGEST = 64  #: hexadecimal digits of a sha256
#: arrays of an index and how they are kept
KINDS = {
    "number": "<i8", "visible": "<i8", "length": "<i4", "digests": "u1", "symbols": "u1", "symbol_sizes": "<i4",
    "symbol_places": "<i4", "ids": "u1", "starts": "<i8", "words": "u1", "counts": "<i4", "n_unseen": "<i8",
}  # fmt: skip

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class Selected(NamedTuple):
    """What a bar asks about: (symbol, numbers of its documents, most relevant first); empty where nothing is new."""

    row: int
    documents: tuple[tuple[str, tuple[int, ...]], ...]


class Ranker(Protocol):
    """Relevance that depends on a document alone, in the place of BM25."""

    name: str  #: part of every key

    def scores(self, numbers: Sequence[int]) -> FloatArray:
        """Of documents by their numbers in the store, (C,)."""
        ...


class DocumentIndex:
    """Moments, symbols and counts of D documents, in the order of their visibility.

    Parameters
    ----------
    load : callable
        Name -> array (`KINDS`). The counts are asked for when something is ranked: a backtest whose selection was kept
        needs none.
    as_of : tuple
        `DocumentStore.as_of` before the documents were read.
    """

    def __init__(self, load: Callable[[str], NDArray[Any]], as_of: tuple[int, ...] = ()) -> None:
        self._load, self.as_of = load, as_of
        self.number: IntArray = load("number")  #: (D,) in the store
        self.n_unseen = int(load("n_unseen")[0])  #: documents without `first_seen_at`
        self._of: dict[str, IntArray] = {}
        names, sizes = load("symbols").tobytes().decode().split("\n"), load("symbol_sizes")
        if len(sizes):
            self._of = dict(zip(names, np.split(load("symbol_places"), np.cumsum(sizes)[:-1]), strict=True))
        place = np.zeros(self.number.max(initial=0) + 1, dtype=np.int64)
        place[self.number] = np.arange(len(self.number))
        ids = load("ids")
        ends = np.concatenate(([-1], np.flatnonzero(ids == ord("\n"))))
        # single values of a memoryview are read sooner than those of an array
        self._place, self._id_ends, self._ids = place.data, ends.data, ids.tobytes()
        self._digests = load("digests").tobytes().hex()

    ranker: Ranker | None = None  #: None ranks by BM25

    @property
    def retrieval(self) -> str:
        """How documents are ranked."""
        return BM25 if self.ranker is None else self.ranker.name

    def __len__(self) -> int:
        return len(self.number)

    @cached_property
    def visible(self) -> IntArray:
        """(D,) microseconds, UTC, ascending."""
        return self._load("visible")

    @cached_property
    def length(self) -> IntArray:
        """(D,) words."""
        return self._load("length")

    @cached_property
    def _entries(self) -> tuple[IntArray, NDArray[Any], NDArray[Any]]:
        """Where each document's words begin, (D + 1,); the words; how often each is there."""
        return self._load("starts"), self._load("words"), self._load("counts")

    @property
    def symbols(self) -> set[str]:
        """All that documents are about."""
        return set(self._of) - {MARKET}

    def id(self, number: int) -> str:
        """Id of a document by its number."""
        place = self._place[number]
        return self._ids[self._id_ends[place] + 1 : self._id_ends[place + 1]].decode()

    def content(self, number: int) -> str:
        """sha256 of a document by its number."""
        start = self._place[number] * DIGEST
        return self._digests[start : start + DIGEST]

    def select(
        self, cutoffs: IntArray, symbols: Sequence[str], k: int, window_us: int, since: int | None = None
    ) -> list[Selected]:
        """The k most relevant documents of every bar and symbol that has a newly visible one.

        Parameters
        ----------
        cutoffs : (T,)
            Last moments at which a document could be read, ascending.
        k : int
            Documents per symbol.
        window_us : int
            A document counts for so long.
        since : int, optional
            The cutoff before the first; by default a window before it.
        """
        if not len(cutoffs):
            return []
        before = np.concatenate(([cutoffs[0] - window_us if since is None else since], cutoffs[:-1]))
        rows, owners, places = [], [], []
        names = (MARKET, *symbols)
        for owner, name in enumerate(names):
            mine = self._of.get(name)
            if mine is None:
                continue
            moments = self.visible[mine]
            last = np.searchsorted(moments, cutoffs, "right")
            first = np.searchsorted(moments, cutoffs - window_us, "right")
            asked = np.flatnonzero((last > np.searchsorted(moments, before, "right")) & (last > first))
            if not len(asked):
                continue
            counts = (last - first)[asked]
            rows.append(np.repeat(asked, counts))
            owners.append(np.full(counts.sum(), owner))
            steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places.append(mine[np.repeat(first[asked], counts) + steps])
        if not rows:
            return []
        whole = tuple(map(np.concatenate, (rows, owners, places)))
        found: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
        order = np.argsort(whole[0], kind="stable")
        steps = np.searchsorted(whole[0][order], np.arange(0, len(cutoffs), BARS_AT_ONCE)).tolist()
        for first, last in pairwise([*steps, len(order)]):
            some = order[first:last]
            if len(some):
                self._ranked(found, whole[0][some], whole[1][some], whole[2][some], names, cutoffs, k)
        return [Selected(row, tuple(documents)) for row, documents in found.items()]

    def _ranked(
        self,
        found: dict[int, list[tuple[str, tuple[int, ...]]]],
        rows: IntArray,
        owners: IntArray,
        places: IntArray,
        names: Sequence[str],
        cutoffs: IntArray,
        k: int,
    ) -> None:
        if self.ranker is None:
            scores = self.bm25(rows, places, cutoffs)
        else:
            scores = self.ranker.scores(self.number[places].tolist())
        # the later document first among equals; the place breaks what is left
        order = np.lexsort((-places, -np.round(scores, DECIMALS), owners, rows))
        rows, owners, places = rows[order], owners[order], places[order]
        fresh = np.flatnonzero(np.concatenate(([True], (np.diff(rows) != 0) | (np.diff(owners) != 0))))
        sizes = np.minimum(np.diff(np.concatenate((fresh, [len(rows)]))), k)
        numbers = self.number[places].tolist()
        groups = zip(rows[fresh].tolist(), owners[fresh].tolist(), fresh.tolist(), sizes.tolist(), strict=True)
        for row, owner, start, size in groups:
            found.setdefault(row, []).append((names[owner], tuple(numbers[start : start + size])))

    @cached_property
    def _holders(self) -> list[IntArray]:
        """Of each word of the query, the documents that hold it, in order of time."""
        starts, words, _ = self._entries
        owner = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(starts))
        return [owner[words == word] for word in range(len(QUERY))]

    def bm25(self, rows: IntArray, places: IntArray, cutoffs: IntArray) -> FloatArray:
        """(C,) scores of candidates: documents at `places`, as they looked at the cutoffs of `rows`."""
        bars, bar = np.unique(rows, return_inverse=True)
        visible = np.searchsorted(self.visible, cutoffs[bars], "right")
        mean = self._lengths[visible] / np.maximum(visible, 1)
        idf = np.zeros((len(bars), len(QUERY)))
        for word, holders in enumerate(self._holders):
            holding = np.searchsorted(holders, visible.astype(holders.dtype), "left")
            idf[:, word] = np.log(1.0 + (visible - holding + 0.5) / (holding + 0.5))
        starts, words, counts = self._entries
        sizes = np.diff(starts)[places]
        candidate = np.repeat(np.arange(len(places)), sizes)
        entry = np.repeat(starts[places], sizes) + np.arange(len(candidate))
        entry -= np.repeat(np.cumsum(sizes) - sizes, sizes)
        f = counts[entry].astype(np.float64)
        relative = self.length[places] / np.maximum(mean[bar], 1e-9)
        part = f / (f + (K1 * (1.0 - B + B * relative))[candidate])
        weighted = idf[bar[candidate], words[entry]] * part
        return np.bincount(candidate, weighted, minlength=len(places)).astype(np.float64)

    @cached_property
    def _lengths(self) -> IntArray:
        """Words in all of the first n documents, (D + 1,)."""
        return np.concatenate(([0], np.cumsum(self.length, dtype=np.int64)))


def index_of(store: DocumentStore) -> DocumentIndex:
    """The index of a store: as it was kept beside the documents, or made and kept."""
    token = store.packed(PACKED)
    as_of = store.as_of()  # after the token: its arrays cover no more documents than are there now
    if token is None:
        arrays = _built(store)
        token = hashlib.sha256(arrays["digests"].tobytes() + arrays["visible"].tobytes()).hexdigest().encode()
        contents = {f"{PACKED}/{token.decode()}/{name}": array.tobytes() for name, array in arrays.items()}
        store.pack({PACKED: token, **contents}, as_of, instead_of="index-*")
        return DocumentIndex(arrays.__getitem__, as_of)
    return DocumentIndex(_Kept(store, token.decode(), as_of[-1]), as_of)


class _Kept:
    """Arrays that were kept, each read when it is asked for.

    Another process may add documents meanwhile, which takes the kept arrays away; those of the first `last` documents
    are then made again: documents never change, so they are the same.
    """

    def __init__(self, store: DocumentStore, token: str, last: int) -> None:
        self._store, self._token, self._last = store, token, last
        self._made: dict[str, NDArray[Any]] = {}

    def __call__(self, name: str) -> NDArray[Any]:
        kept = self._store.packed(f"{PACKED}/{self._token}/{name}")
        if kept is not None:
            return np.frombuffer(kept, dtype=KINDS[name])
        if not self._made:
            self._made = _built(self._store, self._last)
        return self._made[name]


def _built(store: DocumentStore, last: int | None = None) -> dict[str, NDArray[Any]]:
    number, sha256, symbols, length, published, seen = [], [], [], [], [], []
    ids: list[str] = []
    words: list[IntArray] = []
    counts: list[IntArray] = []
    rows = store.rows(last)
    while batch := list(islice(rows, BATCH)):
        ids += [store_id for *_, store_id in batch]
        for row, (total, found) in zip(batch, _word_counts([f"{row[3]}\n{row[4]}" for row in batch]), strict=True):
            number.append(row[0])
            sha256.append(row[1])
            symbols.append(row[2])
            published.append(row[5])
            seen.append(np.iinfo(np.int64).min if row[6] is None else row[6])
            length.append(total)
            words.append(np.array(sorted(found), dtype=np.int64))
            counts.append(np.array([found[word] for word in sorted(found)], dtype=np.int64))
    moments = visible_at(np.array(published, dtype=np.int64), np.array(seen, dtype=np.int64))
    digests = np.array(sha256, dtype="S64")
    order = np.lexsort((digests, moments))
    of = _by_symbol([symbols[i] for i in order])
    arrays: dict[str, Any] = {
        "number": np.array(number, dtype=np.int64)[order],
        "visible": moments[order],
        "length": np.array(length, dtype=np.int64)[order],
        "digests": np.frombuffer(bytes.fromhex("".join(sha256[i] for i in order)), dtype=np.uint8),
        "symbols": np.frombuffer("\n".join(of).encode(), dtype=np.uint8),
        "symbol_sizes": [len(places) for places in of.values()],
        "symbol_places": [place for places in of.values() for place in places],
        "ids": np.frombuffer("".join(f"{ids[i]}\n" for i in order).encode(), dtype=np.uint8),
        "starts": np.concatenate(([0], np.cumsum([len(words[i]) for i in order]))),
        "words": np.concatenate([words[i] for i in order] or [np.zeros(0)]),
        "counts": np.concatenate([counts[i] for i in order] or [np.zeros(0)]),
        "n_unseen": [sum(one == np.iinfo(np.int64).min for one in seen)],
    }
    return {name: np.asarray(values).astype(KINDS[name]) for name, values in arrays.items()}


def _word_counts(texts: list[str]) -> Iterable[tuple[int, dict[int, int]]]:
    """Words in all, and how often each word of the query, of every text."""
    try:
        import bm25s
    except ImportError:
        raise NewsError("documents are ranked by bm25s: pip install 'hybrid_bt[news]'") from None
    cut = bm25s.tokenize(texts, stopwords="en", return_ids=True, show_progress=False)
    wanted = {cut.vocab[word]: i for i, word in enumerate(QUERY) if word in cut.vocab}
    for ids in cut.ids:
        found: dict[int, int] = {}
        for one in ids:
            if one in wanted:
                found[wanted[one]] = found.get(wanted[one], 0) + 1
        yield len(ids), found


def _by_symbol(names: list[str]) -> dict[str, list[int]]:
    """Places of each symbol's documents, in order of time."""
    found: dict[str, list[int]] = {}
    for place, line in enumerate(names):
        for name in line.split() or (MARKET,):
            found.setdefault(name, []).append(place)
    return found
