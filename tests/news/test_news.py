"""Documents: what may enter the store, when each is known, and what is refused with one line."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hybrid_bt.commands.news import main
from hybrid_bt.errors import NewsError
from hybrid_bt.news import Document, checked_document, instant_us, say_us
from hybrid_bt.news.index import visible_at
from hybrid_bt.news.intake import read_documents
from hybrid_bt.news.store import DocumentStore, open_store

UNKNOWN = np.iinfo(np.int64).min


def document(text: str, published: str = "2015-02-10T12:00:00Z", **fields: object) -> Document:
    return checked_document({"text": text, "published_at": published, **fields}, "test")


def news(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_moments_are_utc_and_a_date_alone_is_the_end_of_that_day_anywhere() -> None:
    said = {
        "2015-02-10T12:00:00Z": "2015-02-10T12:00:00Z",
        "2015-02-10T12:00:00": "2015-02-10T12:00:00Z",
        "2015-02-10T12:00:00+09:00": "2015-02-10T03:00:00Z",
        "2015-02-10": "2015-02-11T12:00:00Z",
    }
    assert {given: say_us(instant_us(given, "it")) for given in said} == said


@pytest.mark.parametrize(
    ("published", "seen", "known"),
    [
        ("2015-02-10T12:00:00Z", "2015-02-10T12:05:00Z", "2015-02-10T12:05:00Z"),
        ("2015-02-10T12:00:00Z", "2015-02-09T00:00:00Z", "2015-02-10T12:00:00Z"),  # not before it was published
        ("2015-02-10T12:00:00Z", None, "2015-02-11T12:00:00Z"),
        ("2015-02-13T12:00:00Z", None, "2015-02-16T12:00:00Z"),  # Friday to Monday
        ("2015-02-14T12:00:00Z", None, "2015-02-17T12:00:00Z"),  # Saturday counts as Monday
    ],
)
def test_document_is_known_when_first_seen_else_a_trading_day_after_publication(
    published: str, seen: str | None, known: str
) -> None:
    first = UNKNOWN if seen is None else instant_us(seen, "it")
    assert say_us(int(visible_at(np.array([instant_us(published, "it")]), np.array([first]))[0])) == known


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "", "published_at": "2015-01-01"}, "text is empty"),
        ({"text": "x"}, "published_at is missing"),
        ({"text": "x", "published_at": "yesterday"}, "no ISO 8601"),
        ({"text": "x", "published_at": "0001-01-01T00:00:00+14:00"}, "1900 to 2200"),
        ({"text": "x", "published_at": 3.0}, "no moment"),
        ({"text": "x", "published_at": "2015-01-01", "symbol": "KO"}, "did you mean 'symbols'"),
        ({"text": "x", "published_at": "2015-01-01", "symbols": {"KO": 1}}, "give a list"),
        ({"text": "x" * 1_000_001, "published_at": "2015-01-01"}, "at most 1,000,000"),
    ],
)
def test_document_that_cannot_be_used_is_refused_by_name(row: dict[str, object], says: str) -> None:
    with pytest.raises(NewsError, match=says):
        checked_document(row, "test")


def test_characters_that_are_not_seen_do_not_enter() -> None:
    assert document("a\x00b\u202ec\u200bd\x1b[31m\nnew").text == "abcd[31m\nnew"


def test_same_text_about_the_same_symbols_is_kept_once_and_the_first_stays(tmp_path: Path) -> None:
    with DocumentStore(tmp_path / "n.db", write=True) as store:
        first = document("dividend", id="one", symbols="KO")
        assert store.add([first, document("dividend", "2010-01-01", id="two", symbols=["KO"])]) == (1, 1)
        assert store.add([document("dividend", symbols=["PEP"]), first]) == (1, 1)
        assert store.get(first.id) == first and len(store) == 2


def test_revision_under_the_same_id_is_refused_and_nothing_is_added(tmp_path: Path) -> None:
    with DocumentStore(tmp_path / "n.db", write=True) as store:
        store.add([document("first", id="a")])
        with pytest.raises(NewsError, match="give a revision its own id"):
            store.add([document("new"), document("second", id="a")])
        assert len(store) == 1


def test_digest_depends_on_documents_and_not_on_their_order() -> None:
    two = [document("one"), document("two")]
    digests = set()
    for order in (two, two[::-1]):
        store = DocumentStore()
        store.add(order)
        digests.add(store.sha256())
    store.add([document("three")])
    assert len(digests) == 1 and store.sha256() not in digests


def test_every_format_gives_the_same_documents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"id": "a", "text": 'said "x", y', "symbols": "KO;PEP", "published_at": "2015-02-10T12:00:00Z"},
        {"id": "b", "text": "two\nlines", "symbols": "", "published_at": "2015-02-11"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    quoted = [",".join('"' + str(v).replace('"', '""') + '"' for v in row.values()) for row in rows]
    (tmp_path / "a.csv").write_text("\n".join(["ID,Text,Symbols,Date", *quoted]))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = [list(read_documents(tmp_path / f"a.{kind}")) for kind in ("jsonl", "csv", "parquet")]
    assert found[0] == found[1] == found[2]
    assert found[0][0].symbols == ("KO", "PEP") and found[0][1].symbols == ()


def pdf_bytes(body: bytes) -> bytes:
    """A minimal PDF of one page that shows `body`."""
    stream = b"BT /F1 12 Tf 72 720 Td (" + body + b") Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>/MediaBox[0 0 612 792]>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + table
    return out + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % start


def test_folder_gives_text_and_pdf_dated_by_name_and_symbols_by_folder(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "KO").mkdir()
    (tmp_path / "2016-01-01 note.txt").write_text("about the market")
    (tmp_path / "KO" / "2016-02-01_results.pdf").write_bytes(pdf_bytes(b"Profit fell"))
    found = {one.title: one for one in read_documents(tmp_path)}
    assert (found["note"].symbols, found["note"].text) == ((), "about the market")
    assert (found["results"].symbols, found["results"].text) == (("KO",), "Profit fell")
    assert say_us(found["results"].published_at) == "2016-02-02T12:00:00Z"


@pytest.mark.parametrize("hostile", ["noise", "cut", "bomb", "loop", "empty"])
def test_hostile_pdf_is_one_clear_line_and_adds_nothing(tmp_path: Path, hostile: str) -> None:
    pytest.importorskip("pypdf")
    import zlib

    whole = pdf_bytes(b"Profit fell")
    packed = zlib.compress(b"0" * 300_000_000, 9)
    bomb = b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(packed), packed)
    content = {
        "noise": os.urandom(2000),
        "cut": b"%PDF-1.4\n" + whole[100:200],
        "bomb": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 9 9]>>endobj\n4 0 obj" + bomb + b"endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF",
        "loop": whole.replace(b"/Kids[3 0 R]", b"/Kids[2 0 R]"),
        "empty": b"",
    }[hostile]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "2016-01-01.pdf").write_bytes(content)
    (tmp_path / "in" / "2016-01-02.txt").write_text("fine")
    result = news("add", tmp_path / "in", "--store", tmp_path / "n.db")
    assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1, result.output
    assert "2016-01-01.pdf" in result.stderr and not (tmp_path / "n.db").exists()
    assert news("add", tmp_path / "in", "--store", tmp_path / "n.db", "--on-bad-file", "skip").exit_code == 0
    assert len(open_store(tmp_path / "n.db")) == 1


def test_wrong_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "published_at": "2015-01-01"}\n[1]\n')
    (tmp_path / "bad.csv").write_text("text,when\na,b\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "\xe9"}\n')
    (tmp_path / "other.db").write_text("hello")
    sqlite3.connect(tmp_path / "sql.db").execute("CREATE TABLE t (a)").connection.close()
    store = ("--store", tmp_path / "n.db")
    for arguments, says in (
        (("add", tmp_path / "bad.jsonl", *store), "bad.jsonl:2: list is no object"),
        (("add", tmp_path / "bad.csv", *store), "no column 'published_at'"),
        (("add", tmp_path / "latin.jsonl", *store), "not UTF-8"),
        (("add", tmp_path / "none.csv", *store), "does not exist"),
        (("add", tmp_path / "bad.jsonl", "--store", tmp_path / "other.db"), "not a database"),
        (("add", tmp_path / "bad.jsonl", "--store", tmp_path / "sql.db"), "another program's database"),
        (("show", "x", *store), "does not exist"),
    ):
        result = news(*arguments)
        assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1), result.output
        assert says in result.stderr


def _add_many(path: Path, count: int, prefix: str) -> None:
    with DocumentStore(path, write=True) as store:
        store.add(document(f"{prefix} number {i}") for i in range(count))


def test_two_writers_at_once_lose_nothing_and_a_killed_one_leaves_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    spawn = multiprocessing.get_context("fork")
    both = [spawn.Process(target=_add_many, args=(path, 200, prefix)) for prefix in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(open_store(path)) == 400
    victim = spawn.Process(target=_add_many, args=(path, 10**7, "c"))
    victim.start()
    time.sleep(0.5)
    os.kill(victim.pid or 0, signal.SIGKILL)
    victim.join()
    with DocumentStore(path, write=True) as store:
        assert len(store) == 400 and store.add([document("after")]) == (1, 0)


def test_a_damaged_store_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    with DocumentStore(path, write=True) as store:
        store.add([document(f"text {n} " * 50) for n in range(200)])
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\xff" * (size // 3))
    answer = news("list", "--store", path)
    assert answer.exit_code == 2 and "cannot read" in answer.stderr and "restore the file" in answer.stderr
    with DocumentStore(path, write=True) as store:
        for use in (store.sha256, lambda: list(store.documents()), lambda: store.add([document("one more")])):
            with pytest.raises(NewsError, match=r"cannot (read|write)"):
                use()


def test_list_check_and_show_say_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"id": "x", "text": "seen", "published_at": "2015-01-01", "first_seen_at": "2015-01-03", "symbols": ["KO"]}\n'
    )
    store = ("--store", tmp_path / "n.db")
    assert news("add", tmp_path / "a.jsonl", *store).exit_code == 0
    assert news("check", *store).exit_code == 0
    listed = json.loads(news("list", "--json", *store).stdout)
    assert listed == json.loads(news("show", "x", "--json", *store).stdout)
    assert news("list", "--symbols", "PEP", *store).stdout == ""
    (tmp_path / "b.jsonl").write_text('{"text": "unseen", "published_at": "2015-01-01"}\n')
    news("add", tmp_path / "b.jsonl", *store)
    assert news("check", *store).exit_code == 1
