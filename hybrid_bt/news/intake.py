"""Documents from files: JSONL, JSON, CSV, Parquet, RSS and Atom, and folders of text and PDF.

A file of a folder is dated by its name, which begins with YYYY-MM-DD; a folder inside names the symbols its files are
about (`KO/2015-02-10 results.pdf`, `KO,PEP/...`), and files at the top are about the market. A link out of the folder
is refused: what it leads to was not given, and would go to the scorer.

A PDF is a program for a reader: it may loop, or unpack into more memory than there is. So pypdf reads it in a process
of its own, within limits of size, pages, time and memory; what happens to it is an error message here and nothing else:
`python -m hybrid_bt.news.intake FILE.pdf PARENT` prints {"text": ...} or {"error": ...}.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_bt.errors import NewsError, how_to_install, library, os_errors
from hybrid_bt.files.texts import json_object
from hybrid_bt.files.workers import end_with_parent
from hybrid_bt.news import MAX_CHARS, Document, checked_document
from hybrid_bt.news.wires import ALIASES, Rows, is_wire, own_fields, read_feed, read_json

MAX_LINE = 4 * MAX_CHARS  #: characters of one line of JSON
PAGES = (".txt", ".md", ".pdf")  #: one document a file
MAX_TEXT_BYTES, MAX_PDF_BYTES, MAX_PAGES = 4 * MAX_CHARS, 50_000_000, 500
MAX_SECONDS, MAX_MEMORY = 60, 2_000_000_000  #: of the child, in bytes of address space
MAX_TEXT = 4_000_000  #: characters that it hands back
_DATED = re.compile(r"(\d{4}-\d{2}-\d{2})[ _.-]*")


def read_documents(
    path: Path, defaults: Mapping[str, Any] | None = None, skipped: list[str] | None = None
) -> Iterator[Document]:
    """Checked documents of a file or folder, in the order of lines or names.

    Parameters
    ----------
    defaults : mapping, optional
        Fields for documents that do not name them themselves, such as `{"source": "wire", "symbols": "KO"}`.
    skipped : list of str, optional
        Takes the words of files that cannot be read, which are then left out.

    Raises
    ------
    NewsError
        Naming the file and line.
    """
    path = Path(path)
    for file in folder_files(path) if path.is_dir() else [path]:
        try:
            yield from _documents(file, _page(file, path) if path.is_dir() else _rows(file), defaults or {})
        except NewsError as error:
            if skipped is None:
                raise
            skipped.append(str(error))


def _documents(path: Path, rows: Rows, defaults: Mapping[str, Any]) -> Iterator[Document]:
    try:
        with os_errors(NewsError, f"{path}: cannot read", "check the path"):
            for where, row in rows:
                yield checked_document({**defaults, **own_fields(row, where)}, where)
    except UnicodeDecodeError as error:
        raise NewsError(f"{path}: not UTF-8 (byte {error.start}); convert the file to UTF-8") from None


def _rows(path: Path) -> Rows:
    if not path.exists():
        raise NewsError(f"{path} does not exist; give a file of {', '.join(FORMATS)} or a folder of text and PDF")
    if (reader := FORMATS.get(path.suffix.lower())) is None:
        raise NewsError(f"{path}: unknown kind {path.suffix!r}; known: {', '.join(FORMATS)}, and folders")
    return reader(path)


def _jsonl(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), 1):
            where = f"{path}:{number}"
            if len(line) > MAX_LINE:
                raise NewsError(f"{where}: the line has over {MAX_LINE:,} characters; split the document")
            if not line.strip():
                continue
            with os_errors(NewsError, f"{where}: not JSON", "write one object a line", of=(ValueError, RecursionError)):
                row = json.loads(line)
            if not isinstance(row, dict):
                raise NewsError(f"{where}: {type(row).__name__} is no object; write one object a line")
            yield where, row


def _csv(path: Path) -> Rows:
    csv.field_size_limit(min(MAX_LINE, sys.maxsize))
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _check_columns(path, reader.fieldnames or [])
        try:
            for row in reader:
                if None in row:
                    raise NewsError(f"{path}:{reader.line_num}: more cells than columns; quote texts with commas")
                yield f"{path}:{reader.line_num}", {str(key).strip().lower(): value for key, value in row.items()}
        except csv.Error as error:
            raise NewsError(f"{path}:{reader.line_num}: {error}; check the quotes") from None


def _parquet(path: Path) -> Rows:
    named = "pyarrow", "pyarrow.parquet"
    pyarrow, pq = (library(name, "parquet", f"{path}: Parquet needs pyarrow", NewsError) for name in named)
    of = (pyarrow.ArrowException,)
    with os_errors(NewsError, f"{path}: not Parquet", "check the file", of=of), pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names)
        rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            yield f"{path} row {number}", {key.strip().lower(): value for key, value in row.items()}


def _check_columns(path: Path, names: Sequence[str]) -> None:
    low = [name.strip().lower() for name in names if name]
    if is_wire(low) or "content" in low:  # a column of objects
        return
    known = {ALIASES.get(name, name) for name in low}
    for needed in ("text", "published_at"):
        if needed not in known:
            raise NewsError(f"{path}: no column {needed!r} among {', '.join(map(str, names))}; add it")


def folder_files(path: Path) -> list[Path]:
    """The documents of a folder and the folders in it, by name.

    Raises
    ------
    NewsError
        If there is none, another kind of file among them, or a link that leads out.
    """
    found, home = [file for file in sorted(path.rglob("*")) if not file.name.startswith(".")], path.resolve()
    for file in found:
        if file.is_symlink() and not file.resolve().is_relative_to(home):
            raise NewsError(f"{file} is a link out of the folder, to {file.resolve()}; put a copy there, or remove it")
    if not (files := [file for file in found if file.is_file()]):
        raise NewsError(f"{path} holds no files; give a folder of .txt, .md and .pdf")
    for file in files:
        if file.suffix.lower() not in PAGES:
            raise NewsError(f"{file}: a folder may hold .txt, .md and .pdf; move {file.name} elsewhere")
    return files


def _page(file: Path, home: Path | None = None) -> Rows:
    dated = _DATED.match(file.name)
    if dated is None:
        raise NewsError(f"{file}: the name must begin with the date of publication, YYYY-MM-DD; rename the file")
    folders = file.relative_to(home or file.parent).parent.parts
    title = file.stem[dated.end() :].strip()
    row = {"published_at": dated.group(1), "title": title, "text": _file_text(file), "source": file.name}
    yield str(file), {**row, "symbols": folders[-1]} if folders else row


def _file_text(file: Path) -> str:
    if file.suffix.lower() == ".pdf":
        return _pdf_text(file)
    size = file.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise NewsError(f"{file}: {size:,} bytes; a text may have {MAX_TEXT_BYTES:,}: split it")
    return file.read_text(encoding="utf-8-sig")


def _pdf_text(path: Path) -> str:
    """All text of a PDF.

    Raises
    ------
    NewsError
        If the file is too large or too long, broken, encrypted, without text, or takes too much time or memory.
    """
    if (size := path.stat().st_size) > MAX_PDF_BYTES:
        raise NewsError(f"{path}: {size:,} bytes; a PDF may have {MAX_PDF_BYTES:,}: split it")
    command = [sys.executable, "-m", __name__, str(path.absolute()), str(os.getpid())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MAX_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NewsError(f"{path}: the PDF was not read within {MAX_SECONDS} s; convert it to text") from None
    died = {"error": f"its reader died with status {done.returncode} (out of memory or time?)"}
    answer = json_object(done.stdout) or died
    if "text" not in answer:
        raise NewsError(f"{path}: cannot read the PDF: {answer['error']}; repair it, or convert it to text")
    return str(answer["text"])


def pdf_answer(path: str) -> dict[str, str]:
    """Answer of the child."""
    _limit()
    logging.disable()  # pypdf warns about each oddity; only the result counts
    try:
        import pypdf
    except ImportError:
        return {"error": f"pypdf is not installed: {how_to_install('news')}"}
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted:
            return {"error": "it is encrypted"}
        if len(reader.pages) > MAX_PAGES:
            return {"error": f"it has {len(reader.pages)} pages, and {MAX_PAGES} are the limit"}
        text = ""
        for page in reader.pages:
            text += page.extract_text() + "\n"
            if len(text) > MAX_TEXT:
                return {"error": f"it has more than {MAX_TEXT:,} characters"}
    except Exception as error:  # whatever a hostile file provokes, the parent says it in one line
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"text": text} if text.strip() else {"error": "it holds no text (scanned pages?)"}


def _limit() -> None:
    """Memory and processor time, where the system knows such limits (not on Windows)."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CPU, MAX_SECONDS)):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


FORMATS: dict[str, Callable[[Path], Rows]] = {
    **dict.fromkeys((".jsonl", ".ndjson"), _jsonl),
    ".csv": _csv,
    ".parquet": _parquet,
    ".json": read_json,
    **dict.fromkeys((".xml", ".rss", ".atom"), read_feed),
    **dict.fromkeys(PAGES, _page),
}

if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    sys.stdout.write(json.dumps(pdf_answer(sys.argv[1])))
