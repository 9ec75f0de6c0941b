"""Documents in one SQLite file (write-ahead log): appended, never changed.

One `add` is one transaction: after a crash all of it is there or nothing. A document whose text and symbols are there
already is a duplicate and counted; the first one stays, so that what comes later moves nothing. A revision is a
document of its own, with its own id and its own `first_seen_at`.
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

from hybrid_bt.errors import NewsError
from hybrid_bt.news import Document, say_us
from hybrid_bt.news.intake import read_documents

SAMPLE = "sample"  #: the embedded documents, by name
FORMAT = 2
APPLICATION = 0x68627431  #: "hbt1", so that another program's database is not taken for ours
BUSY_SECONDS = 30.0
_MAGIC = b"SQLite format 3\x00"
_SCHEMA = """
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL UNIQUE, symbols TEXT NOT NULL,
    source TEXT NOT NULL, title TEXT NOT NULL, published_at INTEGER NOT NULL, first_seen_at INTEGER, text TEXT NOT NULL
);
CREATE TABLE state (token TEXT NOT NULL);
INSERT INTO state VALUES (hex(randomblob(16)));
"""
_TRIGGERS = tuple(
    f"CREATE TRIGGER changed_by_{change} AFTER {change} ON documents "
    "BEGIN UPDATE state SET token = hex(randomblob(16)); END"
    for change in ("INSERT", "UPDATE", "DELETE")
)
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
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                fresh = [self._insert(document) for document in documents]
        except sqlite3.DatabaseError as error:
            raise NewsError(f"documents: cannot write to {self.path}: {error}") from None
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
        yield from map(_document, self._rows(query, arguments))

    def get(self, name: str) -> Document:
        """A document by its id."""
        return _document(self._one(f"SELECT {_COLUMNS} FROM documents WHERE id = ?", name))

    def find(self, name: str) -> Document:
        """A document by its id, or by the beginning of its sha256.

        Raises
        ------
        NewsError
            If there is none, or more than one.
        """
        by_sha256 = "substr(sha256, 1, ?) = ?", [len(name), name]
        found = list(self.documents("id = ?", [name])) or list(self.documents(*by_sha256))
        if len(found) != 1:
            raise NewsError(f"documents: {len(found)} documents are called {name!r}; `hybrid-bt news list` shows ids")
        return found[0]

    def sha256(self) -> str:
        """Digest of every document's content and moments; the order in which they were added does not matter."""
        digest = hashlib.sha256()
        columns = "sha256, id, source, title, published_at, first_seen_at"
        for row in self._rows(f"SELECT {columns} FROM documents ORDER BY sha256"):
            digest.update(repr(row).encode())
        return digest.hexdigest()

    def token(self) -> str:
        """Another one after every change of the documents, another program's too: a key for what is derived of them."""
        return str(self._one("SELECT token FROM state")[0])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within it all that is read is of one moment."""
        with self._db:
            self._db.execute("BEGIN")
            yield

    def _one(self, query: str, *arguments: object) -> tuple[Any, ...]:
        return next(self._rows(query, arguments), ())

    def _rows(self, query: str, arguments: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, arguments)
        except sqlite3.DatabaseError as error:
            raise NewsError(f"documents: cannot read {self.path}: {error}; restore the file or add anew") from None


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
    if path is not None and not write and not path.is_file():
        raise NewsError(f"documents: {path} does not exist; make it with: hybrid-bt news add FILES --store {path}")
    try:
        db = _connect(path, write)
        if path is None or write:
            _prepare(db)
        _check(db, path)
    except (sqlite3.DatabaseError, OSError) as error:
        raise NewsError(f"documents: cannot open {path}: {error}; give a store of documents or a new name") from None
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
            for statement in (*_SCHEMA.split(";"), *_TRIGGERS, *pragmas):
                db.execute(statement)


def _check(db: sqlite3.Connection, path: Path | None) -> None:
    application, version = (db.execute(f"PRAGMA {n}").fetchone()[0] for n in ("application_id", "user_version"))
    if application != APPLICATION:
        raise NewsError(f"documents: {path} is another program's database; give a store of documents or a new name")
    if version != FORMAT:
        raise NewsError(f"documents: {path} has format {version}, and {FORMAT} is known; add the documents anew")


def _document(row: tuple[object, ...]) -> Document:
    values: list[object] = list(row)
    values[2] = tuple(str(row[2]).split())
    return Document(*values)  # type: ignore[arg-type]
