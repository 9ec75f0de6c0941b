"""The embedded price samples. Where they come from, and what they are good for: `feeds/embedded/PROVENANCE.md`."""

from __future__ import annotations

import csv
import gzip
import hashlib
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.bars.checks import RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.panel import Query, align, pick
from hybrid_bt.feeds.symbol import symbol_bars


class Sample(NamedTuple):
    """One embedded file and what every reader of a result on it must know."""

    file: str
    notes: tuple[str, ...]
    pairs: tuple[str, ...]  #: `Y:X`, companies of one trade; chosen by what they sell, not by their prices


_EXAMPLES_ONLY = "for examples and testing, not for investment"

SAMPLES = {
    "us20": Sample(
        "us20_close_1990_2022.csv.gz",
        (
            "us20: survivorship: the 20 companies were chosen with hindsight, which flatters any long position",
            "us20: close only: open, high and low equal the close, so a fill at the next open is the next close",
            "us20: early prices are rounded to 3 decimals, up to 28 bps in 1990 and below 2 bps from 2010 on",
            f"us20: {_EXAMPLES_ONLY}",
        ),
        (
            *("KO:PEP", "CVX:XOM", "BAC:JPM", "MRK:PFE", "HD:WMT"),
            *("PG:JNJ", "LLY:MRK", "AAPL:MSFT", "PG:KO", "BBY:HD"),
        ),
    ),
    "tech6": Sample(
        "tech6_ohlcv_2013_2023.csv.gz",
        (
            "tech6: survivorship: the 6 companies were chosen with hindsight, which flatters any long position",
            f"tech6: {_EXAMPLES_ONLY}",
        ),
        ("GOOG:META", "AMZN:NFLX", "AAPL:GOOG"),
    ),
}


def load_sample(name: str, query: Query) -> Bars:
    """An embedded sample as Bars.

    Read without pandas, which takes longer to import than the file to parse.

    Parameters
    ----------
    name : str
        A key of `SAMPLES`.
    query : Query
        Raw prices leave tech6 unadjusted for dividends. us20 holds adjusted closes only.

    Raises
    ------
    BarsError
        An unknown symbol, or a file that is not the one that was shipped.
    """
    sample = SAMPLES[name]
    rows = list(csv.reader(gzip.decompress(sample_bytes(sample.file)).decode().splitlines()))
    header, body = rows[0], rows[1:]
    series, raw_prices = (_long if "symbol" in header else _wide)(header, body), query.handling.raw_prices
    chosen = pick(name, series, query.symbols)
    return align(name, {one: symbol_bars(one, series[one], raw_prices=raw_prices) for one in chosen}, sample.notes)


def sample_pairs(bars: Bars) -> tuple[str, ...]:
    """Pairs of the embedded sample that these bars were cut from; none for other data, whatever its name."""
    sample = SAMPLES.get(bars.name)
    if sample is None or not set(sample.notes) <= set(bars.notes):
        return ()
    return tuple(pair for pair in sample.pairs if set(pair.split(":")) <= set(bars.symbols))


def sample_bytes(file: str) -> bytes:
    """A packaged file, after its sha256 has been compared with `SHA256SUMS`."""
    folder = files("hybrid_bt.feeds") / "embedded"
    content = (folder / file).read_bytes()
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    found = hashlib.sha256(content).hexdigest()
    if sums.get(file) != found:
        raise BarsError(f"bars: sample {file} has sha256 {found}, expected {sums.get(file)}; install the checkout anew")
    return content


def _wide(header: list[str], body: list[list[str]]) -> dict[str, RawBars]:
    stamps = np.array([row[0] for row in body], dtype="M8[ns]")
    closes = np.array([[float(cell) for cell in row[1:]] for row in body])
    return {symbol: RawBars(stamps, {"close": closes[:, i].copy()}) for i, symbol in enumerate(header[1:])}


def _long(header: list[str], body: list[list[str]]) -> dict[str, RawBars]:
    fields = header[2:]
    by_symbol: dict[str, list[list[str]]] = {}
    for row in body:
        by_symbol.setdefault(row[1], []).append(row)
    series = {}
    for symbol, rows in by_symbol.items():
        values = np.array([[float(cell) for cell in row[2:]] for row in rows])
        stamps = np.array([row[0] for row in rows], dtype="M8[ns]")
        series[symbol] = RawBars(stamps, {field: values[:, i].copy() for i, field in enumerate(fields)})
    return series
