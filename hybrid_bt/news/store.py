"""Documents in one SQLite file (write-ahead log): appended, never changed.

One `add` is one transaction: after a crash all of it is there or nothing. A document whose text and symbols are there
already is a duplicate and counted; the first one stays, so that what comes later moves nothing. A revision is a
document of its own, with its own id and its own `first_seen_at`.

A store is sealed: `add` keeps a digest of all that is there, and the first read compares; a text is compared with its
own digest whenever it is read from a file. What a disk or another program changed is an error, never another result.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from hybrid_bt.errors import NewsError, os_errors
from hybrid_bt.news import Document, content_sha256, say_us
from hybrid_bt.news.intake import read_documents

SAMPLE = "sample"  #: the embedded documents, by name
FORMAT = 3
APPLICATION = 0x68627431  #: "hbt1", so that another program's database is not taken for ours
BUSY_SECONDS = 30.0
_MAGIC = b"SQLite format 3\x00"
_SCHEMA = f"""
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL UNIQUE, symbols TEXT NOT NULL,
    source TEXT NOT NULL, title TEXT NOT NULL, published_at INTEGER NOT NULL, first_seen_at INTEGER, text TEXT NOT NULL
);
CREATE TABLE state (seal TEXT NOT NULL);
INSERT INTO state VALUES ('{hashlib.sha256().hexdigest()}');
"""
_SEALED = "SELECT seal, sha256, id, source, title, published_at, first_seen_at FROM state LEFT JOIN documents"
_COLUMNS = "id, sha256, symbols, source, title, published_at, first_seen_at, text"


class DocumentStore(AbstractContextManager["DocumentStore"]):
    """Documents by number, 1 and on, in the order in which they were added.

    Parameters
    ----------
    path : Path, optional
        File; None keeps the documents in memory.
    write : bool
        Make the file if it is missing.

    Raises
    ------
    NewsError
        If the file is missing, or no store of documents.
    """

    def __init__(self, path: Path | None = None, *, write: bool = False) -> None:
        self.path = path
        self._db = _open(path, write)
        self._is_sound = False  # once it was compared with its seal

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __len__(self) -> int:
        return int(self._one("SELECT COUNT(*) FROM documents")[0])

    def add(self, documents: Iterable[Document]) -> tuple[int, int]:
        """Append documents, all of them or, after an error, none: how many are new, and how many duplicates.

        Raises
        ------
        NewsError
            If an id is there already with another text.
        """
        with os_errors(NewsError, f"documents: cannot write to {self.path}", of=(sqlite3.DatabaseError,)), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._check()  # what is damaged is not sealed anew
            fresh = [self._insert(document) for document in documents]
            self._db.execute("UPDATE state SET seal = ?", [self._digest()[0]])
        return sum(fresh), len(fresh) - sum(fresh)

    def _insert(self, document: Document) -> bool:
        row = (*document[:2], " ".join(document.symbols), *document[3:])
        insert = f"INSERT INTO documents ({_COLUMNS}) VALUES ({', '.join('?' * len(row))})"
        try:
            return self._db.execute(f"{insert} ON CONFLICT (sha256) DO NOTHING", row).rowcount == 1
        except sqlite3.IntegrityError:
            (stored,) = self._one("SELECT published_at FROM documents WHERE id = ?", document.id)
            why = f"id {document.id!r} is there already ({say_us(stored)}) with another text or other symbols"
            raise NewsError(f"documents: {why}; give a revision its own id and first_seen_at") from None

    def documents(self, where: str = "1", arguments: Sequence[object] = ()) -> Iterator[Document]:
        """Documents in the order of their publication; `where` is SQL over the columns."""
        query = f"SELECT {_COLUMNS} FROM documents WHERE {where} ORDER BY published_at, number"
        yield from map(self._document, self._rows(query, arguments))

    def get(self, name: str) -> Document:
        """A document by its id, which is there."""
        for one in self._called(name):
            return one
        raise self._damaged()

    def _called(self, name: str) -> list[Document]:
        # by its number: of what SQLite takes from its index of ids, nothing says that it belongs to the row
        found = list(self.documents("number = (SELECT number FROM documents WHERE id = ?)", [name]))
        if any(one.id != name for one in found):
            raise self._damaged()
        return found

    def find(self, name: str) -> Document:
        """A document by its id, or by the beginning of its sha256.

        Raises
        ------
        NewsError
            If there is none, or more than one.
        """
        found = self._called(name) or list(self.documents("substr(sha256, 1, ?) = ?", [len(name), name]))
        if len(found) != 1:
            raise NewsError(f"documents: {len(found)} documents are called {name!r}; `hybrid-bt news list` shows ids")
        return found[0]

    def sha256(self) -> str:
        """Digest of every document's content and moments; the order in which they were added does not matter."""
        return str(self._one("SELECT seal FROM state")[0])

    def _digest(self) -> list[object]:
        """What its seal should be, and the seal, of one moment; of rows in the table's own order, as they are read."""
        digest, seals = hashlib.sha256(), set()
        for seal, *row in self._selected(f"{_SEALED} ORDER BY +sha256"):
            seals.add(seal)
            if row[0] is not None:  # of a store without documents
                digest.update(repr(tuple(row)).encode())
        return [digest.hexdigest(), *seals]

    def _check(self) -> None:
        """Compare the documents with their seal, once."""
        if not self._is_sound:
            due, *seals = self._digest()
            if seals != [due]:
                raise self._damaged()
            self._is_sound = True

    def _document(self, row: tuple[Any, ...]) -> Document:
        found = Document(*row)._replace(symbols=tuple(str(row[2]).split()))
        if self.path and found.sha256 != content_sha256(str(found.text), found.symbols):
            raise self._damaged()
        return found

    def _damaged(self) -> NewsError:
        why = "its seal does not fit: it was damaged, or changed by another program"
        return NewsError(f"documents: cannot read {self.path}: {why}; restore the file or add anew")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within it all that is read is of one moment."""
        with self._db:
            self._db.execute("BEGIN")
            yield

    def _one(self, query: str, *arguments: object) -> tuple[Any, ...]:
        return next(self._rows(query, arguments), ())

    def _rows(self, query: str, arguments: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        self._check()
        yield from self._selected(query, arguments)

    def _selected(self, query: str, arguments: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        what = f"documents: cannot read {self.path}"
        with os_errors(NewsError, what, "restore the file or add anew", of=(sqlite3.DatabaseError,)):
            yield from self._db.execute(query, arguments)


def documents_named(name: str) -> DocumentStore:
    """The embedded documents by their name, `SAMPLE`, else a store at a path."""
    if name != SAMPLE:
        return open_store(Path(name))
    with resources.as_file(resources.files("hybrid_bt.news") / "sample" / "events.jsonl") as path:
        return open_store(path)


def open_store(path: Path) -> DocumentStore:
    """A store to read from: a database, or documents of any format that `read_documents` knows, kept in memory."""
    if _is_database(path):
        return DocumentStore(path)
    if not path.exists():
        raise NewsError(f"store {path} does not exist; fill it with `hybrid-bt news add FILE --store {path}`")
    store = DocumentStore()
    store.add(read_documents(path))
    return store


def _is_database(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
    return False


def _open(path: Path | None, write: bool) -> sqlite3.Connection:
    remedy, of = "give a store of documents or a new name", (sqlite3.DatabaseError, OSError)
    with os_errors(NewsError, f"documents: cannot open {path}", remedy, of=of):
        db = _connect(path, write)
        if path is None or write:
            _prepare(db)
        _check(db, path)
    return db


def _connect(path: Path | None, write: bool) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
    # a store in a folder that cannot be written to has no room for the log's index: read the file as it is
    may_write = all(os.access(place, os.W_OK) for place in (path.parent, path))
    mode = "rwc" if write else "rw" if may_write else "ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")  # which does nothing in memory
    db.execute("PRAGMA synchronous = FULL")
    with db:
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            pragmas = f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {FORMAT}"
            for statement in (*_SCHEMA.split(";"), *pragmas):
                db.execute(statement)


def _check(db: sqlite3.Connection, path: Path | None) -> None:
    application, version = (db.execute(f"PRAGMA {n}").fetchone()[0] for n in ("application_id", "user_version"))
    if application != APPLICATION:
        raise NewsError(f"documents: {path} is another program's database; give a store of documents or a new name")
    if version != FORMAT:
        raise NewsError(f"documents: {path} has format {version}, and {FORMAT} is known; add the documents anew")
