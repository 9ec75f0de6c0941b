"""News as its sources write it: items of yfinance, old and new, and of RSS and Atom, also by way of feedparser.

Such a row has neither our text nor our moment, and one of theirs. Of its several texts the fullest kind counts, without
markup, and where there is none the headline; of its several moments the last one, since a text is that of its last
change. Its id is left out: one article stands in the lists of several symbols, and under the same id after a change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from hybrid_bt.errors import NewsError, os_errors
from hybrid_bt.news import instant_us, say_us

MAX_BYTES = 50_000_000  #: of a file
ALIASES = {"date": "published_at", "datetime": "published_at", "published": "published_at", "headline": "title",
           "symbol": "symbols", "ticker": "symbols", "tickers": "symbols", "body": "text",
           "first_seen": "first_seen_at", "url": "source"}  # fmt: skip
MOMENTS = ("pubdate", "displaytime", "providerpublishtime", "published", "updated")
TEXTS = ("encoded", "content", "summary", "description", "title")
SOURCES = ("provider", "publisher", "source")
SYMBOLS = ("relatedtickers", "stocktickers")
LISTS = ("news", "entries", "items")  #: names under which an object holds items
_MARKUP = re.compile(r"</?[a-zA-Z][^>]*>")
_TICKER = re.compile(r"[\w.^=-]+")
Rows = Iterator[tuple[str, Mapping[str, Any]]]


def is_wire(names: Collection[str]) -> bool:
    """Whether a row of these names, in small letters, is of a source's own form."""
    own = {ALIASES.get(name, name) for name in names if name != "published"}
    return not own & {"text", "published_at"} and all(any(one in names for one in some) for some in (MOMENTS, TEXTS))


def own_fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row under our names; unknown ones stay, and empty ones go.

    Raises
    ------
    NewsError
        For a moment of a source's form that cannot be read.
    """
    low = {str(name).lower(): value for name, value in row.items() if value == value}  # NaN: a missing cell
    if isinstance(low.get("content"), Mapping):  # yfinance, since 0.2.50
        low |= {str(name).lower(): value for name, value in low.pop("content").items()}
    named = {ALIASES.get(key, key): value for key, value in (low if is_wire(low) else row).items()}
    if is_wire(low):
        named = _of_wire(low, where) | {name: named[name] for name in ("first_seen_at", "symbols") if name in named}
    return {name: value for name, value in named.items() if value not in (None, "", [])}


def _of_wire(low: Mapping[str, Any], where: str) -> dict[str, Any]:
    finance = low.get("finance")
    tickers = {**low, **{key.lower(): one for key, one in (finance if isinstance(finance, Mapping) else {}).items()}}
    moments = [instant_us(low[name], f"{where}: {name}") for name in MOMENTS if low.get(name) not in (None, "")]
    texts = [_plain(low[name]) for name in TEXTS if isinstance(low.get(name), str)]
    sources = [_named(low.get(name)) for name in SOURCES] + [urlsplit(str(low.get("link") or "")).netloc]
    return {
        "title": _plain(str(low.get("title") or "")),
        "text": next(filter(None, texts), ""),
        "source": next(filter(None, sources), ""),
        "published_at": say_us(max(moments)) if moments else "",
        "symbols": next(filter(None, (_tickers(tickers.get(name)) for name in SYMBOLS)), []),
    }


def _plain(text: str) -> str:
    return unescape(_MARKUP.sub(" ", text)).strip()


def _named(value: object) -> str:
    """A source, which some forms hold as an object."""
    if isinstance(value, Mapping):
        value = value.get("displayName") or value.get("title")
    return value if isinstance(value, str) else ""


def _tickers(value: object) -> list[str]:
    """Symbols of a list, of one of objects, or of a list's text in a table."""
    if isinstance(value, str):
        return _TICKER.findall(value)
    found = [one.get("symbol") if isinstance(one, Mapping) else one for one in value] if isinstance(value, list) else []
    return [one for one in found if isinstance(one, str)]


def read_json(path: Path) -> Rows:
    """Items of a JSON file: a list of objects, an object that holds one, or one object."""
    content, of = _content(path), (json.JSONDecodeError, RecursionError)
    with os_errors(NewsError, f"{path}: not JSON", "write one list of objects, or JSONL", of=of):
        found = json.loads(content)
    if isinstance(found, dict):
        found = next((found[name] for name in LISTS if isinstance(found.get(name), list)), [found])
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        if not isinstance(row, dict):
            raise NewsError(f"{path} item {number}: {type(row).__name__} is no object; write one list of objects")
        yield f"{path} item {number}", row


def read_feed(path: Path) -> Rows:
    """Items of a file of RSS or Atom."""
    content = _content(path)
    if b"<!ENTITY" in content.replace(b"\0", b""):
        raise NewsError(f"{path}: it defines entities, which may unpack into more than there is; save it without them")
    of = ElementTree.ParseError, LookupError, ValueError
    with os_errors(NewsError, f"{path}: not XML", "give RSS or Atom", of=of):
        root = ElementTree.fromstring(content)
    items = [one for one in root.iter() if _local(one) in ("item", "entry")]
    if not items:
        raise NewsError(f"{path}: no <item> and no <entry> in it; give RSS or Atom")
    for number, item in enumerate(items, 1):
        row: dict[str, str] = {"link": "", "pubdate": ""}
        for field in item:
            name = "pubdate" if _local(field) == "date" else _local(field)
            row[name] = row.get(name) or "".join(field.itertext()).strip() or field.get("href") or ""
        yield f"{path} item {number}", row


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2].lower()


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise NewsError(f"{path}: {size:,} bytes; a file of items may have {MAX_BYTES:,}: split it")
    return path.read_bytes()
