"""Prices that have a name: the embedded samples, and the classic markets of online portfolio selection.

Where the samples come from, and what they are good for: `feeds/embedded/PROVENANCE.md`.

The markets lie in the package universal-portfolios (extra `markets`). Nothing of it is shipped and none of its code is
run to read them: each file holds the growth of 1 put into each stock the day before, one row a day, and no dates.
Source: Li, B. and Hoi, S. (2014), Online Portfolio Selection: A Survey, ACM Computing Surveys 46(3), table 2, which
also has the days on which the sets begin and end.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars import Bars, FloatArray, RawBars, Stamps
from hybrid_bt.errors import BarsError, ConfigError, how_to_install
from hybrid_bt.feeds.panel import Query, align, build_panel, pick
from hybrid_bt.feeds.symbol import symbol_bars


class Sample(NamedTuple):
    """One embedded file and what every reader of a result on it must know."""

    file: str
    notes: Sequence[str]
    pairs: Sequence[str]  #: `Y:X`, companies of one trade; chosen by what they sell, not by their prices


_TOLD = tomllib.loads((files("hybrid_bt.feeds") / "embedded" / "samples.toml").read_text(encoding="utf-8"))
#: set of online portfolio selection -> first day and last
DAYS: dict[str, list[str]] = _TOLD.pop("olps")
SAMPLES = {name: Sample(**told) for name, told in _TOLD.items()}
PREFIX = "olps:"
MOST_MOVE = 0.9  #: in a day: beyond it a column holds a fault and not a price


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


def _columns(names: list[str], rows: list[list[str]]) -> RawBars:
    stamps, values = np.array([row[0] for row in rows], "M8[ns]"), np.array([row[1:] for row in rows], np.float64)
    return RawBars(stamps, {name: values[:, i].copy() for i, name in enumerate(names)})


def _wide(header: list[str], body: list[list[str]]) -> dict[str, RawBars]:
    closes = _columns(header[1:], body)
    return {symbol: RawBars(closes.stamps, {"close": own}) for symbol, own in closes.columns.items()}


def _long(header: list[str], body: list[list[str]]) -> dict[str, RawBars]:
    by_symbol: dict[str, list[list[str]]] = {}
    for day, symbol, *values in body:
        by_symbol.setdefault(symbol, []).append([day, *values])
    return {symbol: _columns(header[2:], rows) for symbol, rows in by_symbol.items()}


def load_olps(name: str, query: Query) -> Bars:
    """One set, its symbols numbered as the columns of the file are: S01, S02 and so on.

    Parameters
    ----------
    name : str
        A key of `DAYS`.

    Raises
    ------
    BarsError
        If the package is not installed or has no such file, or a symbol is unknown or left out.
    """
    series = read_set(name)
    first, last = DAYS[name]
    stamps = business_days(name, len(next(iter(series.values()))))
    wild = {symbol: move for symbol, closes in series.items() if (move := _largest(closes)) > MOST_MOVE}
    notes = [
        f"{name}: dates are rebuilt: business days from {first} to {last}, less some in even steps for holidays",
        f"{name}: survivorship: the stocks were chosen with hindsight, which flatters reversal and any long position",
        f"{name}: close only: open, high and low equal the close, so a fill at the next open is the next close",
        *(f"{name}: {symbol} is left out: it moves by {move:.0%} in a day" for symbol, move in wild.items()),
    ]
    chosen = pick(name, [symbol for symbol in series if symbol not in wild], query.symbols)
    raw = ((symbol, RawBars(stamps, {"close": np.array(series[symbol])})) for symbol in chosen)
    return build_panel(name, raw, query.handling, notes)


def business_days(name: str, n: int) -> Stamps:
    """(n,) from the first day of a set to its last; holidays are unknown, so days are left out in even steps."""
    first, last = (np.datetime64(day) for day in DAYS[name])
    steps = np.round(np.linspace(0.0, float(np.busday_count(first, last)), n)).astype(np.int64)
    return np.busday_offset(first, steps).astype("M8[ns]")


def read_set(name: str) -> dict[str, list[float]]:
    """Symbol -> growth of 1 since the day before the first, (T,), as the file has it, faults too.

    Raises
    ------
    BarsError
        If the package is not installed, or has no such file.
    """
    try:
        text = (files("universal") / "data" / f"{name}.csv").read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        raise BarsError(f"bars: {PREFIX}{name} needs universal-portfolios: {how_to_install('markets')}") from None
    _, *rows = csv.reader(io.StringIO(text))  # a name in tse.csv is U+0085, which `splitlines` would cut at
    return {f"S{column:02d}": list(map(float, cells)) for column, cells in enumerate(zip(*rows, strict=True), 1)}


def online_weights(algorithm: str, closes: FloatArray) -> FloatArray:
    """What an algorithm of the package held over each day, (T, N), knowing the closes (T, N) before it.

    Parameters
    ----------
    algorithm : str
        A class of `universal.algos` with its own parameters: BAH, CRP, PAMR, OLMAR.

    Raises
    ------
    ConfigError
        If the package or one that it needs is not installed.
    """
    try:
        import pandas as pd
        import universal.algos
    except ImportError as error:
        what = f"{algorithm} is computed by universal-portfolios ({error})"
        raise ConfigError(f"study: {what}: {how_to_install('markets')}") from None
    with np.errstate(divide="ignore", invalid="ignore"):  # a first day on which nothing moved yet
        run = getattr(universal.algos, algorithm)().run(pd.DataFrame(closes), log_progress=False)
    held: FloatArray = run.B.to_numpy(dtype=np.float64)[:, : closes.shape[1]]
    return held


def _largest(closes: list[float]) -> float:
    """Largest move from one close to the next, relative; infinite where a price is none."""
    if not all(math.isfinite(close) and close > 0.0 for close in closes):
        return math.inf
    return max((abs(after / before - 1.0) for before, after in pairwise(closes)), default=0.0)
