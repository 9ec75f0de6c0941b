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

import io
from collections.abc import Iterable, Sequence
from itertools import islice
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
PACKED = "index-2"
BM25 = "bm25"
K1, B = 1.5, 0.75
DECIMALS = 9  #: of scores that are compared, below which vectorised logarithms may differ
BATCH = 5000  #: documents cut into words at once

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
    """Moments, symbols and counts of D documents, in the order of their visibility."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.number: IntArray = arrays["number"]  #: (D,) in the store
        self.visible: IntArray = arrays["visible"]  #: (D,) microseconds, UTC, ascending
        self.length = arrays["length"]  #: (D,) words
        self.sha256: list[str] = arrays["sha256"].astype(str).tolist()
        self._ids: list[str] = arrays["ids"].tobytes().decode().split("\n")
        self.n_unseen = int(arrays["n_unseen"])  #: documents without `first_seen_at`
        self._starts, self._words, self._counts = arrays["starts"], arrays["words"], arrays["counts"]
        names = arrays["symbols"].tobytes().decode().split("\n")
        self._of = _by_symbol(names if len(self.number) else [])
        self._place = dict(zip(self.number.tolist(), range(len(self.number)), strict=True))

    ranker: Ranker | None = None  #: None ranks by BM25

    @property
    def retrieval(self) -> str:
        """How documents are ranked."""
        return BM25 if self.ranker is None else self.ranker.name

    def __len__(self) -> int:
        return len(self.number)

    @property
    def symbols(self) -> set[str]:
        """All that documents are about."""
        return set(self._of) - {MARKET}

    def id(self, number: int) -> str:
        """Id of a document by its number."""
        return self._ids[self._place[number]]

    def content(self, number: int) -> str:
        """sha256 of a document by its number."""
        return self.sha256[self._place[number]]

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
        return self._ranked(np.concatenate(rows), np.concatenate(owners), np.concatenate(places), names, cutoffs, k)

    def _ranked(
        self, rows: IntArray, owners: IntArray, places: IntArray, names: Sequence[str], cutoffs: IntArray, k: int
    ) -> list[Selected]:
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
        found: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
        for row, owner, start, size in groups:
            found.setdefault(row, []).append((names[owner], tuple(numbers[start : start + size])))
        return [Selected(row, tuple(documents)) for row, documents in found.items()]

    def bm25(self, rows: IntArray, places: IntArray, cutoffs: IntArray) -> FloatArray:
        """(C,) scores of candidates: documents at `places`, as they looked at the cutoffs of `rows`."""
        visible = np.searchsorted(self.visible, cutoffs, "right")
        lengths = np.concatenate(([0], np.cumsum(self.length)))[visible]
        mean = lengths / np.maximum(visible, 1)
        owner = np.repeat(np.arange(len(self)), np.diff(self._starts))
        idf = np.zeros((len(cutoffs), len(QUERY)))
        for word in range(len(QUERY)):
            holding = np.searchsorted(owner[self._words == word], visible, "left")  # documents are in order of time
            idf[:, word] = np.log(1.0 + (visible - holding + 0.5) / (holding + 0.5))
        sizes = (self._starts[1:] - self._starts[:-1])[places]
        candidate = np.repeat(np.arange(len(places)), sizes)
        entry = np.repeat(self._starts[places], sizes) + np.arange(len(candidate))
        entry -= np.repeat(np.cumsum(sizes) - sizes, sizes)
        f = self._counts[entry].astype(np.float64)
        relative = self.length[places] / np.maximum(mean[rows], 1e-9)
        part = f / (f + (K1 * (1.0 - B + B * relative))[candidate])
        weighted = idf[rows[candidate], self._words[entry]] * part
        return np.bincount(candidate, weighted, minlength=len(places)).astype(np.float64)


def index_of(store: DocumentStore) -> DocumentIndex:
    """The index of a store: as it was kept beside the documents, or made and kept."""
    kept = store.packed(PACKED)
    if kept is None:
        arrays = _built(store)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        store.pack(PACKED, file.getvalue())
    else:
        with np.load(io.BytesIO(kept), allow_pickle=False) as file_arrays:
            arrays = dict(file_arrays)
    return DocumentIndex(arrays)


def _built(store: DocumentStore) -> dict[str, NDArray[Any]]:
    number, sha256, symbols, length, published, seen = [], [], [], [], [], []
    ids: list[str] = []
    words: list[IntArray] = []
    counts: list[IntArray] = []
    rows = store.rows()
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
    sizes = np.array([len(words[i]) for i in order], dtype=np.int64)
    return {
        "number": np.array(number, dtype=np.int64)[order],
        "visible": moments[order],
        "length": np.array(length, dtype=np.int64)[order],
        "sha256": digests[order],
        "symbols": np.frombuffer("\n".join(symbols[i] for i in order).encode(), dtype=np.uint8),
        "ids": np.frombuffer("\n".join(ids[i] for i in order).encode(), dtype=np.uint8),
        "starts": np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        "words": np.concatenate([words[i] for i in order] or [np.zeros(0, np.int64)]),
        "counts": np.concatenate([counts[i] for i in order] or [np.zeros(0, np.int64)]),
        "n_unseen": np.array(sum(one == np.iinfo(np.int64).min for one in seen)),
    }


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


def _by_symbol(names: list[str]) -> dict[str, IntArray]:
    """Places of each symbol's documents, in order of time."""
    found: dict[str, list[int]] = {}
    for place, line in enumerate(names):
        for name in line.split() or (MARKET,):
            found.setdefault(name, []).append(place)
    return {name: np.array(places, dtype=np.int64) for name, places in found.items()}
