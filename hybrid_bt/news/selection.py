"""What a backtest reads, kept beside the documents, so that another run on the same bars ranks nothing anew.

A selection is found by the sha256 of everything that it depends on but the documents themselves; whatever changes
those, another program too, takes it away (`DocumentStore.pack`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.news.index import PACKED, DocumentIndex, Selected
from hybrid_bt.news.store import DocumentStore
from hybrid_bt.news.verdicts import MARKET

__all__ = ["kept_selection"]

FORMAT = "selection-1"
MOST_KEPT = 8  #: settings whose selections are kept at once
KIND = "<i4"

IntArray = NDArray[np.int64]


def kept_selection(
    store: DocumentStore, index: DocumentIndex, cutoffs: IntArray, symbols: Sequence[str], k: int, window_us: int
) -> list[Selected]:
    """`DocumentIndex.select`, from the store where it was kept, else made and kept."""
    if len(cutoffs) < 2 or not index.as_of or store.as_of() != index.as_of:
        return index.select(cutoffs, symbols, k, window_us)
    moments = hashlib.sha256(cutoffs.tobytes()).hexdigest()
    asked = json.dumps([PACKED, index.retrieval, list(symbols), k, window_us, moments])
    name = f"{FORMAT}/{hashlib.sha256(asked.encode()).hexdigest()}"
    names, kept = (MARKET, *symbols), store.packed(name)
    if kept is not None:
        return _unpacked(np.frombuffer(kept, dtype=KIND).tolist(), names)
    found = index.select(cutoffs, symbols, k, window_us)
    full = store.n_packed("selection-*") >= MOST_KEPT
    store.pack({name: _packed(found, names)}, index.as_of, instead_of="selection-*" if full else "")
    return found


def _packed(selected: Sequence[Selected], names: Sequence[str]) -> bytes:
    """Row, number of owners, and of each owner its place, number of documents and their numbers."""
    places, flat = {name: i for i, name in enumerate(names)}, []
    for one in selected:
        flat += [one.row, len(one.documents)]
        for name, numbers in one.documents:
            flat += [places[name], len(numbers), *numbers]
    return np.array(flat, dtype=KIND).tobytes()


def _unpacked(flat: Sequence[int], names: Sequence[str]) -> list[Selected]:
    found, at = [], 0
    while at < len(flat):
        row, owners = flat[at], flat[at + 1]
        at += 2
        documents = []
        for _ in range(owners):
            end = at + 2 + flat[at + 1]
            documents.append((names[flat[at]], tuple(flat[at + 2 : end])))
            at = end
        found.append(Selected(row, tuple(documents)))
    return found
