"""Which documents were known at each bar, and the k most relevant of them, by BM25 over what was known.

BM25 (Robertson and Zaragoza 2009, Foundations and Trends in Information Retrieval 3(4); the form of Lucene, which is
the library bm25s's default) weighs a word by how many documents hold it. An index over the whole store would let later
documents move the ranks of earlier bars, so the counts are those of the documents that were visible at the bar:

    idf(w, t) = log(1 + (N_t - n_t(w) + 1/2) / (n_t(w) + 1/2))
    score     = sum_w idf(w, t) f / (f + k1 (1 - b + b |d| / L_t))

over the words w of a fixed query about risk, f their frequency in document d of length |d|, L_t the mean length. Words
are cut by bm25s, once: the counts are kept beside a store of documents as arrays, under the store's digest. Ranking all
bars is a few array operations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.files import read_arrays, write_arrays
from hybrid_bt.news import US_PER_DAY, Document
from hybrid_bt.news.lexicon import QUERY, word_counts
from hybrid_bt.news.store import DocumentStore
from hybrid_bt.news.verdicts import MARKET

if TYPE_CHECKING:
    from hybrid_bt.news.embeddings import EmbeddingRanker

FORMAT = "index-5"  #: of what is kept, the query's words among it
SUFFIX = ".index.npz"  #: of the file beside a store
BM25 = "bm25"
K1, B = 1.5, 0.75
DECIMALS = 9  #: of scores that are compared, below which vectorised logarithms may differ
BATCH = 5000  #: documents cut into words at once
BARS_AT_ONCE = 200  #: whose candidates are ranked together, for the sake of memory
DIGEST = 32  #: bytes of a sha256

UNKNOWN = int(np.iinfo(np.int64).min)  #: in the place of a `first_seen_at` that nobody knows, among numbers

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
#: what a bar asks about: symbols, and places of their documents in the index, most relevant first
Selected = list[tuple[str, tuple[int, ...]]]


def visible_at(published_at: NDArray[np.int64], first_seen_at: NDArray[np.int64]) -> NDArray[np.int64]:
    """(D,) first moments at which documents may be known, before the latency; microseconds, UTC.

    That is `first_seen_at`, but never before the publication; where it is `UNKNOWN`, one trading day (Monday to Friday)
    after the publication, a weekend counting as the Monday behind it.
    """
    day, rest = np.divmod(published_at, US_PER_DAY)
    weekday = day.astype("datetime64[D]")
    later = np.busday_offset(weekday, 1, roll="forward").astype(np.int64) * US_PER_DAY + rest
    return np.where(first_seen_at == UNKNOWN, later, np.maximum(first_seen_at, published_at))


def visible(documents: Sequence[Document]) -> IntArray:
    """`visible_at` of documents, (D,)."""
    seen = [UNKNOWN if one.first_seen_at is None else one.first_seen_at for one in documents]
    return visible_at(np.array([one.published_at for one in documents], dtype=np.int64), np.array(seen, dtype=np.int64))


class DocumentIndex:
    """Moments, symbols and counts of D documents, in the order of their visibility, as `index_of` makes them."""

    def __init__(self, arrays: Arrays, ranker: EmbeddingRanker | None = None) -> None:
        self._ranker = ranker
        self.visible: IntArray = arrays["visible"]  #: (D,) microseconds, UTC, ascending
        self.length: IntArray = arrays["length"]  #: (D,) words
        #: words in all of the first n documents, (D + 1,)
        self._lengths: IntArray = np.concatenate(([0], np.cumsum(self.length, dtype=np.int64)))
        self.n_unseen = int(arrays["n_unseen"])  #: documents without `first_seen_at`
        self.sha256 = str(arrays["sha256"])  #: of all documents, as `DocumentStore.sha256`
        self.retrieval = ranker.name if ranker else BM25  #: how documents are ranked
        #: where each document's words begin, (D + 1,); the words; how often each is there
        self._entries = arrays["starts"], arrays["words"], arrays["counts"]
        #: of each word of the query, the documents that hold it, in order of time
        self._holders = np.split(arrays["holders"], np.cumsum(arrays["holder_sizes"])[:-1])
        places = np.split(arrays["symbol_places"], np.cumsum(arrays["symbol_sizes"]))[:-1]
        self._of: dict[str, IntArray] = dict(zip(_lines(arrays["symbols"]), places, strict=False))
        self.symbols = set(self._of) - {MARKET}  #: all that documents are about
        self.ids = _lines(arrays["ids"])
        self._digests = arrays["digests"].tobytes()

    def __len__(self) -> int:
        return len(self.visible)

    def content(self, place: int) -> str:
        """sha256 of a document."""
        return self._digests[place * DIGEST : (place + 1) * DIGEST].hex()

    def select(
        self, moments: Sequence[int], symbols: Sequence[str], k: int, window_us: int, since: int | None = None
    ) -> dict[int, Selected]:
        """Row of a bar -> the k most relevant documents of every symbol that has a newly visible one.

        `moments`, one a bar, are the last at which a document could be read, ascending, and `since` the one before the
        first, by default a window before it. A document counts for `window_us`.
        """
        if not moments:
            return {}
        cutoffs = np.array(moments, np.int64)
        before = np.concatenate(([cutoffs[0] - window_us if since is None else since], cutoffs[:-1]))
        names: tuple[str, ...] = (MARKET, *symbols)
        found: dict[int, Selected] = {}
        for first in range(0, len(cutoffs), BARS_AT_ONCE):
            some = slice(first, first + BARS_AT_ONCE)
            groups, places = self._candidates(names, cutoffs[some], before[some], window_us)
            if len(groups):
                found |= self._best(groups + first * len(names), places, names, cutoffs, k)
        return found

    def _candidates(
        self, names: Sequence[str], cutoffs: IntArray, before: IntArray, window_us: int
    ) -> tuple[IntArray, IntArray]:
        """Groups (bar times names, plus name) and places in their windows, (C,), of groups that have a new one."""
        groups, places = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for owner, name in enumerate(names):
            mine = self._of.get(name, places[0])
            moments = self.visible[mine]
            first, seen, last = (np.searchsorted(moments, at, "right") for at in (cutoffs - window_us, before, cutoffs))
            asked = np.flatnonzero((last > seen) & (last > first))
            counts = (last - first)[asked]
            groups.append(np.repeat(asked * len(names) + owner, counts))
            places.append(mine[_ranges(first[asked], counts)])
        return np.concatenate(groups), np.concatenate(places)

    def _best(
        self, groups: IntArray, places: IntArray, names: Sequence[str], cutoffs: IntArray, k: int
    ) -> dict[int, Selected]:
        """The k first of every group; the later document first among equals."""
        groups, places = groups[::-1], places[::-1]
        if self._ranker is None:
            scores = self.bm25(groups // len(names), places, cutoffs)
        else:
            scores = self._ranker.scores([self.ids[place] for place in places.tolist()])
        order = np.lexsort((-np.round(scores, DECIMALS), groups))
        groups, best = groups[order], places[order].tolist()
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        ends = np.minimum(np.append(starts[1:], len(groups)), starts + k)
        found: dict[int, Selected] = {}
        for group, start, end in zip(groups[starts].tolist(), starts.tolist(), ends.tolist(), strict=True):
            row, owner = divmod(group, len(names))
            found.setdefault(row, []).append((names[owner], tuple(best[start:end])))
        return found

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
        entry = _ranges(starts[places], sizes)
        f = counts[entry].astype(np.float64)
        relative = self.length[places] / np.maximum(mean[bar], 1e-9)
        part = f / (f + (K1 * (1.0 - B + B * relative))[candidate])
        weighted = idf[bar[candidate], words[entry]] * part
        return np.bincount(candidate, weighted, minlength=len(places)).astype(np.float64)


def _ranges(starts: IntArray, sizes: IntArray) -> IntArray:
    """start, start + 1, ... of so many, range after range."""
    return np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)


def index_of(store: DocumentStore, ranker: EmbeddingRanker | None = None) -> DocumentIndex:
    """The index of a store, as it was kept beside it, or made anew and kept; it ranks by BM25, or by meaning."""
    if store.path is None:
        return DocumentIndex(_built(store), ranker)
    path = Path(f"{store.path}{SUFFIX}")
    with store.snapshot():  # another process may add documents meanwhile: key and documents are of one moment
        key = f"{FORMAT} {store.sha256()}"
        arrays: Arrays | None = read_arrays(path)
        if arrays is None or str(arrays.get("key")) != key:
            arrays = _built(store)
            with suppress(OSError):  # where nothing can be written, it is made again next time
                write_arrays(path, {"key": np.array(key), **arrays})
    return DocumentIndex(arrays, ranker)


def _built(store: DocumentStore) -> Arrays:
    known: list[Document] = []
    cut: list[tuple[int, list[tuple[int, int]]]] = []
    documents = store.documents()
    while batch := list(islice(documents, BATCH)):
        known += [one._replace(text="") for one in batch]
        cut += word_counts([f"{one.title}\n{one.text}" for one in batch])
    moments = visible(known)
    order = np.lexsort((np.array([one.sha256 for one in known], dtype="S64"), moments)).tolist()
    known, cut = [known[i] for i in order], [cut[i] for i in order]
    found = [pairs for _, pairs in cut]
    of = defaultdict[str, list[int]](list)
    for place, one in enumerate(known):
        for name in one.symbols or (MARKET,):
            of[name].append(place)
    words, counted = np.array([pair for pairs in found for pair in pairs], dtype=np.int32).reshape(-1, 2).T
    sizes = [len(pairs) for pairs in found]
    return {
        "sha256": np.array(store.sha256()),
        "n_unseen": np.array(sum(one.first_seen_at is None for one in known)),
        "visible": moments[order],
        "length": np.array([length for length, _ in cut], dtype=np.int32),
        "digests": np.frombuffer(bytes.fromhex("".join(one.sha256 for one in known)), dtype=np.uint8),
        "ids": _packed(one.id for one in known),
        "symbols": _packed(of),
        "symbol_sizes": np.array([len(places) for places in of.values()], dtype=np.int32),
        "symbol_places": np.array([place for places in of.values() for place in places], dtype=np.int32),
        "starts": np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))),
        "words": words.astype(np.uint8),
        "counts": counted.astype(np.min_scalar_type(counted.max(initial=0))),
        "holders": np.repeat(np.arange(len(known), dtype=np.int32), sizes)[np.argsort(words, kind="stable")],
        "holder_sizes": np.bincount(words, minlength=len(QUERY)),
    }


def _packed(names: Iterable[str]) -> NDArray[np.uint8]:
    """Lines of text; an array of texts would be as wide as the longest."""
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8)


def _lines(packed: NDArray[np.uint8]) -> list[str]:
    return packed.tobytes().decode().split("\n")
