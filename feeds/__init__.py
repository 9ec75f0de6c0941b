"""Data sources, each one file and one line in `SOURCES`, and the Backtrader feed over what they give.

A source is a function of a `Query`. Anything else that is passed to `load_bars` is a path, a pandas frame, a dict of
frames, or Backtrader feeds. Backtrader, pandas and yfinance are imported when they are first needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypedDict, Unpack

from hybrid_bt.bars import Bars, Moment, OnBadData
from hybrid_bt.bars.market import Market, names_of
from hybrid_bt.errors import BarsError, did_you_mean
from hybrid_bt.feeds.clock import StampedBy
from hybrid_bt.feeds.panel import Align, Handling, Query, build_panel
from hybrid_bt.feeds.sample import DAYS, PREFIX, SAMPLES, load_olps, load_sample, sample_pairs

if TYPE_CHECKING:
    import pandas as pd

    from hybrid_bt.feeds.array import ArrayFeed, to_feeds
    from hybrid_bt.feeds.framework import Framework

__all__ = ["SOURCES", "ArrayFeed", "Query", "as_market", "load_bars", "to_feeds"]


#: a source by its name, a path, or prices at hand
Prices: TypeAlias = "str | Path | pd.DataFrame | Mapping[str, pd.DataFrame] | Framework | Sequence[Framework]"


class HandlingWords(TypedDict, total=False):
    """The fields of `Handling`, as keywords of `load_bars`."""

    raw_prices: bool
    on_bad_data: OnBadData
    calendar: str | None
    align: Align
    time_zone: str | None
    stamps: StampedBy | None
    date_format: str | None


def _yahoo(query: Query) -> Bars:
    from hybrid_bt.feeds.yahoo import load_yahoo

    return load_yahoo(query)


SOURCES: dict[str, Callable[[Query], Bars]] = {
    **{name: partial(load_sample, name) for name in SAMPLES},
    "yahoo": _yahoo,
    **{f"{PREFIX}{name}": partial(load_olps, name) for name in DAYS},
}


def load_bars(
    source: Prices,
    *,
    symbols: Sequence[str] | None = None,
    end: Moment | None = None,
    trade_from: Moment | None = None,
    offline: bool = False,
    resample: str | None = None,
    **handling: Unpack[HandlingWords],
) -> Bars:
    """Checked bars from a named source, a path, pandas frames or Backtrader feeds.

    Parameters
    ----------
    source : str, Path, DataFrame, dict of DataFrame, or Backtrader feeds
        A key of `SOURCES` ("us20", "tech6", "yahoo", "olps:nyse_o"); a folder or file of prices
        (`hybrid_bt.feeds.files`); one long or wide frame, or one frame per symbol (`hybrid_bt.feeds.frame`); a feed or
        a list of them.
    symbols : sequence of str, optional
        Which symbols, in this order. All that are there by default; yahoo needs them.
    end : str, date or datetime64, optional
        Last day, included.
    raw_prices : bool, default False
        Leave prices unscaled where an adjusted close is given.
    trade_from : str, date or datetime64, optional
        First day that will be traded: yahoo fetches no more than the warm-up before it.
    on_bad_data : "fail", "mend" or "warn", default "fail"
        Refuse errors; repair them; or repair nothing and leave out the bars that cannot be traded on. What was found
        and done is in `Bars.findings`. The embedded samples hold no errors.
    offline : bool
        Take yahoo from the snapshots on disk only.
    calendar : str, optional
        Exchange whose sessions files and frames are compared with, such as "XNYS" (needs exchange_calendars).
    align : "union" or "intersection", default "union"
        Bars of all symbols, where one that has none is neither traded nor given a price and keeps its last value; or
        only those that all of them have. The embedded samples have every bar.
    time_zone : str, optional
        Zone of the exchange, "America/New_York", for dates that carry a zone; by default the calendar's, or their own.
    stamps : "begin" or "end", optional
        Whether bars are stamped by their beginning, and are moved to their end. By default by their end; stamps that
        cannot be ends are refused.
    date_format : str, optional
        Of dates that have two readings, as strptime writes it: "%d/%m/%Y".
    resample : str, optional
        Make longer bars of shorter ones, session by session: "60min", "1D", "1D@17:00" (`hybrid_bt.feeds.resample`).

    Raises
    ------
    BarsError
        Whatever is wrong with the prices or the path, by symbol, date and value.

    Examples
    --------
    >>> load_bars("us20", symbols=["KO", "PEP"], end="2009-12-31")
    Bars('us20', 5043 bars 1990-01-02..2009-12-31, 2 symbols: KO, PEP)
    """
    for word in handling.keys() - HandlingWords.__annotations__.keys():
        known = [*(load_bars.__kwdefaults__ or ()), *HandlingWords.__annotations__]
        raise TypeError(f"load_bars takes no {word!r}{did_you_mean(word, known)}")
    if resample is not None:
        from hybrid_bt.feeds.resample import parse_step
        from hybrid_bt.feeds.resample import resample as longer

        parse_step(resample)  # a mistake is told before anything is fetched
    bars = _load(source, Query(symbols, end, trade_from, offline, Handling(**handling)))
    return bars if resample is None else longer(bars, resample)


def as_market(
    source: Prices | Bars | Market, pairs: str | Sequence[str] | None = None, *, trade_from: Moment | None = None
) -> Market:
    """A market of whatever `load_bars` takes, of bars, or a market itself; a sample brings pairs if none are named."""
    if isinstance(source, Market):
        return source if pairs is None else Market(source.name, source.bars, names_of(pairs))
    bars = source if isinstance(source, Bars) else load_bars(source, trade_from=trade_from)
    return Market(bars.name, bars, sample_pairs(bars) if pairs is None else names_of(pairs))


def _load(source: Prices, query: Query) -> Bars:
    if isinstance(source, str) and source in SOURCES:
        bars = SOURCES[source](query)
    elif isinstance(source, (str, Path)):
        if not str(source):
            raise BarsError("bars: the source has no name; give one, or a path")
        from hybrid_bt.account import CELLS_TO_COLLECT, give_back
        from hybrid_bt.feeds.files import rows_of_path, stem_of
        from hybrid_bt.feeds.reading import Told

        told, hint, date_format = Told(), did_you_mean(str(source), SOURCES), query.handling.date_format
        rows = rows_of_path(Path(source), query.symbols, hint=hint, date_format=date_format, told=told)
        name = stem_of(Path(source))
        bars = build_panel(name, rows, query.handling, told.notes(name))
        if bars.close.size > CELLS_TO_COLLECT:
            give_back()
    else:
        from hybrid_bt.feeds.frame import load_objects

        bars = load_objects(source, query)
    return bars if query.end is None else bars.between(end=query.end)


def __getattr__(name: str) -> object:
    if name in ("ArrayFeed", "to_feeds"):
        return getattr(importlib.import_module("hybrid_bt.feeds.array"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
