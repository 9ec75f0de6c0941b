"""Data sources, each one file and one line in `SOURCES`, and the Backtrader feed over what they give.

A source is a function `(symbols, end, raw_prices) -> Bars`. Anything else that is passed to `load_bars` is a path.
Backtrader, pandas and yfinance are imported when they are first needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_bt.bars import Bars, Moment
from hybrid_bt.errors import did_you_mean

if TYPE_CHECKING:
    from hybrid_bt.feeds.array import ArrayFeed, to_feeds

__all__ = ["SOURCES", "ArrayFeed", "load_bars", "to_feeds"]

Source = Callable[[Sequence[str] | None, Moment | None, bool], Bars]


def _sample(name: str, symbols: Sequence[str] | None, end: Moment | None, raw_prices: bool) -> Bars:
    from hybrid_bt.feeds.sample import load_sample

    bars = load_sample(name, symbols=symbols, raw_prices=raw_prices)
    return bars if end is None else bars.between(end=end)


def _yahoo(symbols: Sequence[str] | None, end: Moment | None, raw_prices: bool) -> Bars:
    from hybrid_bt.feeds.yahoo import load_yahoo

    return load_yahoo(symbols, end=end, raw_prices=raw_prices)


SOURCES: dict[str, Source] = {
    "us20": partial(_sample, "us20"),
    "tech6": partial(_sample, "tech6"),
    "yahoo": _yahoo,
}


def load_bars(
    source: str | Path,
    *,
    symbols: Sequence[str] | None = None,
    end: Moment | None = None,
    raw_prices: bool = False,
) -> Bars:
    """Checked bars from a named source or a path.

    Parameters
    ----------
    source : str or Path
        A key of `SOURCES` ("us20", "tech6", "yahoo"), or a folder or file of prices: see `hybrid_bt.feeds.table`.
    symbols : sequence of str, optional
        Which symbols, in this order. All that are there by default; yahoo needs them.
    end : str, date or datetime64, optional
        Last day, included.
    raw_prices : bool
        Leave prices unscaled where an adjusted close is given.

    Raises
    ------
    BarsError
        Whatever is wrong with the prices or the path, by symbol, date and value.
    """
    if isinstance(source, str) and source in SOURCES:
        return SOURCES[source](symbols, end, raw_prices)
    from hybrid_bt.feeds.table import load_table

    hint = did_you_mean(str(source), SOURCES)
    bars: Bars = load_table(Path(source), symbols=symbols, raw_prices=raw_prices, hint=hint)
    return bars if end is None else bars.between(end=end)


def __getattr__(name: str) -> Any:
    if name in ("ArrayFeed", "to_feeds"):
        return getattr(importlib.import_module("hybrid_bt.feeds.array"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
