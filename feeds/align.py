"""One symbol's checked bars, and the panel that several of them make on the union of their calendars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import MIN_BARS, Bars
from hybrid_bt.bars.checks import RawBars
from hybrid_bt.bars.findings import Finding
from hybrid_bt.errors import BarsError, did_you_mean

FloatArray = NDArray[np.float64]
Align = Literal["union", "intersection"]
ALIGN: tuple[Align, ...] = ("union", "intersection")
_UNEVEN = ("late_listing", "missing_bars", "delisted")  #: rules about bars that some symbols have and others lack


class SymbolBars(NamedTuple):
    """The bars of one symbol: arrays of shape (T,), no cell missing."""

    stamps: NDArray[np.datetime64]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray


def symbol_bars(symbol: str, raw: RawBars, *, raw_prices: bool) -> SymbolBars:
    """Put one symbol's rows on one price, that of its adjusted close if it has one and `raw_prices` is False.

    Raises
    ------
    BarsError
        If some of open, high and low are there, but not all.
    """
    stamps, columns = raw.stamps, raw.columns
    close = columns["close"]
    ranges = [columns[field] for field in ("open", "high", "low") if field in columns]
    if len(ranges) not in (0, 3):
        raise BarsError(
            f"bars: {symbol} has only some of open, high and low; add the missing columns or drop all three"
        )
    volume = np.nan_to_num(columns.get("volume", np.zeros(len(close))), posinf=np.inf, neginf=-np.inf)
    open, high, low = ranges or (close, close, close)
    if not raw_prices and "adj" in columns:
        # adj * (x / close) rather than x * (adj / close): the close becomes adj exactly, and rounding keeps the order.
        open, high, low, close = (columns["adj"] * (values / close) for values in (open, high, low, close))
    return SymbolBars(stamps, open, high, low, close, volume)


def pick(name: str, found: Iterable[str], symbols: Sequence[str] | None) -> list[str]:
    """The symbols asked for, in that order, or all in the order found; BarsError for one that is not there."""
    known = list(found)
    if symbols is None:
        return known
    for symbol in symbols:
        if symbol not in known:
            raise BarsError(f"bars: {name} has no symbol {symbol!r}{did_you_mean(symbol, known)}")
    if not symbols or len(set(symbols)) != len(symbols):
        raise BarsError(f"bars: ask for at least one symbol and for each once, got {list(symbols)}")
    return list(symbols)


def align(
    name: str, series: Mapping[str, SymbolBars], notes: Iterable[str] = (), findings: Iterable[Finding] = ()
) -> Bars:
    """The panel of all symbols on the union of their calendars; where a symbol has no bar, its cells are NaN.

    A note counts the bars that symbols miss, because a symbol that did not trade can be neither bought nor sold.
    """
    stamps = np.unique(np.concatenate([one.stamps for one in series.values()]))
    rows = {symbol: np.searchsorted(stamps, one.stamps) for symbol, one in series.items()}
    # where all four prices are one, one array can stand for them
    flat = all(np.array_equal(one.open, one.close) and np.array_equal(one.low, one.high) for one in series.values())
    fields = ["close", "volume"] if flat else ["close", "volume", "open", "high", "low"]
    panel = {}
    for field in fields:
        values = _column_of_one(series, field)
        if values is None:
            values = np.full((len(stamps), len(series)), 0.0 if field == "volume" else np.nan)
            for column, (symbol, one) in enumerate(series.items()):
                values[rows[symbol], column] = getattr(one, field)
        values.setflags(write=False)  # what nobody can write to is taken over without a copy
        panel[field] = values
    missing = {symbol: len(stamps) - len(one.stamps) for symbol, one in series.items() if len(one.stamps) < len(stamps)}
    told = [f"{name}: bars missing out of {len(stamps)} (not traded there): {_say_some(missing)}"] if missing else []
    return Bars.checked(name, list(series), stamps, **panel, notes=[*notes, *told], findings=findings)


def on_common_bars(
    name: str, series: Mapping[str, SymbolBars], found: Iterable[Finding]
) -> tuple[dict[str, SymbolBars], list[Finding], list[str]]:
    """Every symbol on the bars that all of them have; the findings and a note say what went.

    Raises
    ------
    BarsError
        If fewer than two bars are common.
    """
    common = reduce(np.intersect1d, (one.stamps for one in series.values()))
    if len(common) < MIN_BARS:
        raise BarsError(
            f"bars: the symbols of {name} have {len(common)} bar(s) in common, at least {MIN_BARS} are needed; leave "
            "some symbols out, check times and zones, or give align='union'"
        )
    gone = {symbol: len(one.stamps) - len(common) for symbol, one in series.items() if len(one.stamps) > len(common)}
    cut = {
        symbol: SymbolBars._make(values[np.searchsorted(one.stamps, common)] for values in one)
        for symbol, one in series.items()
    }
    said = [one._replace(action="left out of all symbols") if one.rule in _UNEVEN else one for one in found]
    listed = _say_some(gone)
    notes = [f"{name}: on the {len(common)} bars that all symbols have; left out: {listed}"] if gone else []
    return cut, said, notes


def _column_of_one(series: Mapping[str, SymbolBars], field: str) -> FloatArray | None:
    """A symbol that is alone is its own panel; no copy, unless somebody else may hold the array."""
    first = next(iter(series.values()))
    own: FloatArray = getattr(first, field)
    return own[:, None] if len(series) == 1 and own.flags.owndata else None


def _say_some(counts: Mapping[str, int]) -> str:
    named = [f"{symbol} {count}" for symbol, count in counts.items()]
    more = f" and {len(named) - 10} more" if len(named) > 10 else ""
    return ", ".join(named[:10]) + more
