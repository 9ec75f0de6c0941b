"""Prices that are in memory already: pandas frames, and the feeds of any other Backtrader project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hybrid_bt.bars import Bars
from hybrid_bt.bars.checks import RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.align import pick
from hybrid_bt.feeds.cells import dated, single
from hybrid_bt.feeds.panel import Handling, build_panel
from hybrid_bt.feeds.table import rows_of_frames

KINDS = "give a source's name, a path, a DataFrame, a dict of DataFrames, or Backtrader feeds"
MADE_UTC = "UTC, into which Backtrader turns the table's own"
LINES = ("open", "high", "low", "close", "volume")


def load_objects(source: Any, symbols: Sequence[str] | None, handling: Handling) -> Bars:
    """Checked bars from objects.

    Parameters
    ----------
    source : DataFrame, mapping of str to DataFrame, or a Backtrader feed or a sequence of them
        One frame is long (a `symbol` column) or wide (date, then one column of closes per symbol), named and typed as
        in a file; dates may be the index. Feeds are run once through a Cerebro of their own, with their filters,
        `fromdate` and `todate`; they can be used again behind it.

    Raises
    ------
    BarsError
        Anything else, and whatever is wrong with the prices.
    """
    if isinstance(source, pd.DataFrame):
        found = rows_of_frames([dated(source)], "the frame", "data")
    elif isinstance(source, Mapping):
        found = {str(symbol): _framed(symbol, frame) for symbol, frame in source.items()}
    else:
        found = dict(_from_feeds(source))
    if not found:
        raise BarsError(f"bars: nothing to read; {KINDS}")
    rows = [(symbol, found[symbol]) for symbol in pick("the data", found, symbols)]
    return build_panel("data", rows, handling)


def _framed(symbol: object, frame: Any) -> RawBars:
    if not isinstance(frame, pd.DataFrame):
        raise BarsError(f"bars: {symbol} is {type(frame).__name__}, no DataFrame; {KINDS}")
    return single(dated(frame), str(symbol))


def _from_feeds(source: Any) -> Iterator[tuple[str, RawBars]]:
    from hybrid_bt.feeds.framework import bt

    feeds = [source] if isinstance(source, bt.feed.DataBase) else source
    if not isinstance(feeds, Sequence) or not all(isinstance(feed, bt.feed.DataBase) for feed in feeds):
        raise BarsError(f"bars: {type(source).__name__} is no source; {KINDS}")
    seen: set[str] = set()
    for feed in feeds:
        name = str(feed._name or "")
        if not name or name in seen:
            raise BarsError(f"bars: feed {name!r} needs a name of its own; give each feed name=SYMBOL")
        seen.add(name)
        try:
            rows = _played(feed)
        except Exception as error:  # somebody else's code, which may raise anything
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise BarsError(f"bars: the feed {name} cannot be played: {cause}; mend the feed") from error
        if not len(rows.stamps):
            raise BarsError(f"bars: the feed {name} delivered no bar; check its fromdate, todate and filters")
        yield name, rows


def _played(feed: Any) -> RawBars:
    """What a strategy would see of a feed, bar by bar."""
    from hybrid_bt.feeds.framework import bt, quietly

    seen: list[tuple[float, ...]] = []
    stamps: list[Any] = []

    class Reader(bt.Strategy):
        def next(self) -> None:
            stamps.append(self.data.datetime.datetime(0))
            seen.append(tuple(getattr(self.data, line)[0] for line in LINES))

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.addstrategy(Reader)
    with quietly():
        cerebro.run(runonce=False)
    values = np.array(seen, dtype=np.float64).reshape(len(seen), len(LINES))
    columns = {line: np.ascontiguousarray(values[:, i]) for i, line in enumerate(LINES)}
    unread = tuple(line for line in feed.getlinealiases() if line not in (*LINES, "openinterest", "datetime"))
    zone = getattr(getattr(getattr(feed.p, "dataname", None), "index", None), "tz", None)
    zones = frozenset() if zone is None else frozenset({MADE_UTC})
    return RawBars(np.array(stamps, dtype="M8[us]").astype("M8[ns]"), columns, zones, unread)
