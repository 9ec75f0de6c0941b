"""News as its sources write it: yfinance old and new, RSS, Atom, feedparser; and links out of a folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hybrid_bt.commands.news import main
from hybrid_bt.errors import NewsError
from hybrid_bt.news import Document, checked_document, instant_us, say_us
from hybrid_bt.news.intake import read_documents
from hybrid_bt.news.store import open_store

NESTED = {
    "id": "0b6c6d1c",
    "content": {
        "id": "0b6c6d1c",
        "contentType": "STORY",
        "title": "Apple ships &amp; sells",
        "description": "",
        "summary": "Sales rose.",
        "pubDate": "2024-11-21T20:25:27Z",
        "displayTime": "2024-11-21T21:00:00Z",
        "isHosted": True,
        "thumbnail": {"originalUrl": "https://s.yimg.com/x", "resolutions": [{"width": 1}]},
        "provider": {"displayName": "Reuters", "url": "http://www.reuters.com/"},
        "canonicalUrl": {"url": "https://finance.yahoo.com/news/x", "site": "finance"},
        "finance": {"stockTickers": [{"symbol": "AAPL"}], "premiumFinance": {"isPremiumNews": False}},
        "storyline": None,
    },
}
FLAT = {
    "uuid": "4711",
    "title": "Bank fails",
    "publisher": "Barrons.com",
    "link": "https://www.barrons.com/x",
    "providerPublishTime": 1669852800,
    "type": "STORY",
    "thumbnail": {"resolutions": []},
    "relatedTickers": ["JPM", "^GSPC", "BRK-B"],
}
RSS_ROW = {
    "title": "Profit warning",
    "link": "https://feeds.example.com/a/b?c=" + "d" * 300,
    "pubDate": "Tue, 01 Nov 2016 06:00:00 EDT",
    "description": "<p>Sales <b>fell</b> &lt; 3 %.</p>",
    "guid": "g" * 300,
}
FEEDPARSER = {
    "title": "Strike ends",
    "title_detail": {"type": "text/plain", "value": "Strike ends"},
    "links": [{"rel": "alternate", "href": "https://example.com/1"}],
    "link": "https://example.com/1",
    "summary": "After a week.",
    "id": "https://example.com/1",
    "guidislink": False,
    "published": "Tue, 01 Nov 2016 10:00:00 GMT",
    "published_parsed": [2016, 11, 1, 10, 0, 0, 1, 306, 0],
    "updated": "2016-11-01T12:00:00Z",
}
#: row, title, text, source, publication, symbols
CASES: list[tuple[dict[str, Any], str, str, str, str, tuple[str, ...]]] = [
    (NESTED, "Apple ships & sells", "Sales rose.", "Reuters", "2024-11-21T21:00:00Z", ("AAPL",)),
    (FLAT, "Bank fails", "Bank fails", "Barrons.com", "2022-12-01T00:00:00Z", ("BRK-B", "JPM", "^GSPC")),
    (RSS_ROW, "Profit warning", "Sales  fell  < 3 %.", "feeds.example.com", "2016-11-01T10:00:00Z", ("KO",)),
    (FEEDPARSER, "Strike ends", "After a week.", "example.com", "2016-11-01T12:00:00Z", ("KO",)),
]


def is_case(found: Document, case: tuple[dict[str, Any], str, str, str, str, tuple[str, ...]]) -> bool:
    _, *fields = case
    return [found.title, found.text, found.source, say_us(found.published_at), found.symbols] == fields


def news(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["list.json", "object.json", "one.json", "lines.jsonl"])
def test_items_of_yfinance_and_of_feeds_are_documents(case: Any, form: str, tmp_path: Path) -> None:
    path, (row, *_) = tmp_path / form, case
    whole = {"list": [row, row], "object": {"count": 1, "news": [row]}, "one": row, "lines": row}[path.stem]
    path.write_text(json.dumps(whole))
    done = news("add", path, "--store", tmp_path / "n.db", "--symbols", "KO")
    assert done.exit_code == 0 and done.output.startswith("1 added"), done.output
    (found,) = open_store(tmp_path / "n.db").documents()
    assert is_case(found, case) and found.first_seen_at is None


def test_tables_of_items_are_read_too(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame([FLAT, {**FLAT, "title": "Another", "relatedTickers": None}])
    table.drop(columns="thumbnail").to_csv(tmp_path / "a.csv", index=False)
    table.drop(columns="thumbnail").to_parquet(tmp_path / "a.parquet")
    pandas.DataFrame([NESTED]).to_parquet(tmp_path / "nested.parquet")
    (nested,) = read_documents(tmp_path / "nested.parquet", {"symbols": "KO"})
    assert is_case(nested, CASES[0])
    for path in (tmp_path / "a.csv", tmp_path / "a.parquet"):
        first, second = read_documents(path, {"symbols": "KO"})
        assert is_case(first, CASES[1]) and second.symbols == ("KO",) and second.text == "Another"


def test_what_its_reader_knows_better_stands_beside_an_item(tmp_path: Path) -> None:
    for row in (NESTED, FLAT, RSS_ROW):
        own = {**row, "first_seen": "2025-01-02T03:04:05Z", "symbols": ["XOM"]}
        (tmp_path / "a.json").write_text(json.dumps(own))
        (found,) = read_documents(tmp_path / "a.json", {"symbols": "KO"})
        assert found.symbols == ("XOM",) and say_us(found.first_seen_at or 0) == "2025-01-02T03:04:05Z"


RSS = """<?xml version="1.0"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:media="http://search.yahoo.com/mrss/"><channel><title>Wire</title>
<pubDate>Wed, 02 Nov 2016 10:00:00 GMT</pubDate>
<item><title>Profit warning</title><link>https://feeds.example.com/a</link><media:content url="x"/>
<pubDate>Tue, 01 Nov 2016 06:00:00 -0400</pubDate>
<description><![CDATA[<p>Sales <b>fell</b> &lt; 3 %.</p>]]></description>
<guid isPermaLink="false">1</guid><category>a</category><category>b</category></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Wire</title><updated>2020-01-01T00:00:00Z</updated><entry>
<title>Strike ends</title><link href="https://example.com/1"/><id>urn:1</id><summary>After a week.</summary>
<published>2016-11-01T10:00:00Z</published><updated>2016-11-01T12:00:00Z</updated></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><item><title>Strike ends</title><link>https://example.com/1</link>
<description>After a week.</description><dc:date>2016-11-01T12:00:00Z</dc:date></item></rdf:RDF>"""


@pytest.mark.parametrize(
    ("name", "content", "case"),
    [("a.rss", RSS, CASES[2]), ("a.xml", RSS, CASES[2]), ("a.atom", ATOM, CASES[3]), ("a.xml", RDF, CASES[3])],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_feeds_are_read(name: str, content: str, case: Any, encoding: str, tmp_path: Path) -> None:
    content = content.removeprefix('<?xml version="1.0"?>')
    (tmp_path / name).write_text(content, encoding=encoding)
    (found,) = read_documents(tmp_path / name, {"symbols": "KO"})
    assert is_case(found, case)


def test_one_article_in_the_lists_of_two_symbols_is_about_each(tmp_path: Path) -> None:
    row = {**FLAT, "relatedTickers": []}
    for symbol in ("AAPL", "MSFT"):
        (tmp_path / f"{symbol}.json").write_text(json.dumps([row]))
        done = news("add", tmp_path / f"{symbol}.json", "--symbols", symbol, "--store", tmp_path / "n.db")
        assert done.exit_code == 0, done.output
    assert [one.symbols for one in open_store(tmp_path / "n.db").documents()] == [("AAPL",), ("MSFT",)]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><rss><item><title>&b;</title></item></rss>'


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.rss", BOMB.encode(), "defines entities"),
        ("a.rss", BOMB.encode("utf-16"), "defines entities"),
        ("a.rss", b"<rss><item>", "not XML"),
        ("a.rss", b"<?xml version='1.0' encoding='shift_jis'?><rss/>", "not XML|no <item>"),
        ("a.rss", b"<a>" * 100_000 + b"</a>" * 100_000, "no <item> and no <entry>"),
        ("a.rss", b"<html><body/></html>", "no <item> and no <entry>"),
        ("a.rss", b"<rss><item><title>x</title></item></rss>", "item 1: published_at is missing"),
        ("a.json", b"[1]", "item 1: int is no object"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"\xff\xfe\x00", "a.json"),
        ("a.json", json.dumps({**FLAT, "providerPublishTime": 20110805}).encode(), "providerpublishtime is 20110805"),
        ("a.json", json.dumps({**RSS_ROW, "pubDate": "Tue, 01 Nov 2016 10:00:00 CEST"}).encode(), "no ISO 8601 moment"),
        ("a.json", json.dumps({**RSS_ROW, "title": "", "description": ""}).encode(), "the text is empty"),
        (
            "a.json",
            json.dumps({"text": "x", "published_at": "2011-01-01", "titel": 1}).encode(),
            "did you mean 'title'",
        ),
    ],
)
def test_feed_that_cannot_be_used_is_one_clear_line(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    done = news("add", tmp_path / name, "--store", tmp_path / "n.db")
    assert (
        done.exit_code == 2
        and any(one in done.stderr for one in says.split("|"))
        and len(done.stderr.strip().splitlines()) == 1
    ), done.output


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1669852800, "2022-12-01T00:00:00Z"),
        (1669852800.5, "2022-12-01T00:00:00.500000Z"),
        ("1669852800", "2022-12-01T00:00:00Z"),
        ("1669852800.0", "2022-12-01T00:00:00Z"),
        (1669852800000, "2022-12-01T00:00:00Z"),
        ("Tue, 01 Nov 2016 10:00:00 GMT", "2016-11-01T10:00:00Z"),
        ("Tue, 1 Nov 2016 10:00 EST", "2016-11-01T15:00:00Z"),
        ("01 Nov 2016 10:00:00 +0530", "2016-11-01T04:30:00Z"),
        ("Tue, 01 Nov 2016 10:00:00 -0000", "2016-11-01T10:00:00Z"),
        ("Tue, 01 Nov 2016 10:00:00", "2016-11-01T10:00:00Z"),
        ("20110805", "2011-08-06T12:00:00Z"),  # a date alone, in each form of ISO 8601
        ("2011-W31-5", "2011-08-06T12:00:00Z"),
        ("2011-08-05", "2011-08-06T12:00:00Z"),
    ],
)
def test_moments_are_read_in_every_form_of_a_source(value: object, moment: str) -> None:
    assert say_us(instant_us(value, "published_at")) == moment


@pytest.mark.parametrize(
    "value",
    [True, 20110805, 20110805200000, 201108052000, 0, -1, float("nan"), float("inf"), 1e18,
     "Tue, 32 Nov 2016 10:00:00 GMT", "Tue, 01 Nov 2016", "Tue, 01 Nov 16 10:00:00 GMT",
     "Tue, 01 Nov 2016 10:00:00 CET", "9" * 400],
)  # fmt: skip
def test_moments_of_two_readings_or_none_are_refused(value: object) -> None:
    with pytest.raises(NewsError, match="published_at"):
        checked_document({"text": "x", "published_at": value}, "test")


# --- folders ---


@pytest.mark.skipif(sys.platform == "win32", reason="links")
@pytest.mark.parametrize("kind", ["file", "folder", "chain", "dangling"])
def test_folder_does_not_follow_links_out_of_itself(kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "2015-02-10 secret.txt").write_text("secret")
    home = tmp_path / "home"
    (home / "KO").mkdir(parents=True)
    (home / "KO" / "2015-02-10 own.txt").write_text("own")
    link = home / "KO" / "2015-02-11 note.txt"
    link.symlink_to(outside / ("none.txt" if kind == "dangling" else "2015-02-10 secret.txt"))
    if kind == "folder":
        link.unlink()
        link = home / "PEP"
        link.symlink_to(outside)
    if kind == "chain":
        (home / "2015-02-12 chain.txt").symlink_to(link)
        link = home / "2015-02-12 chain.txt"
    for mode in ("fail", "skip"):
        done = news("add", home, "--store", tmp_path / "n.db", "--on-bad-file", mode)
        assert done.exit_code == 2 and f"{link} is a link out of the folder" in done.stderr, done.output
        assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "n.db").exists()
    with pytest.raises(NewsError, match="link out of the folder"):
        open_store(home)


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_links_within_a_folder_and_a_link_to_it_are_fine(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "2015-02-10 a.txt").write_text("one")
    os.symlink("2015-02-10 a.txt", home / "2015-02-11 b.txt")
    (tmp_path / "link").symlink_to(home)
    assert len(list(read_documents(tmp_path / "link"))) == 2
