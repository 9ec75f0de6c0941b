"""What comes from the feeds: rows of closes, one for each moment, however late its bars arrive.

Backtrader calls a strategy when any feed delivers. From files all bars of a moment come in one call. From live feeds
they come one after another, and a brain that took each call for a bar would see a market of one symbol at a time. Here
a row waits until every feed has its bar that had one in the row before and is still connected; a bar of a later moment
ends the waiting. Daily bars of one date are one moment, whatever their clocks. A replayed feed's bar is complete, and
read, when its next one begins.

Backtrader's broker keeps one position for each data *object*. Two strategies on one feed share it: what one has bought,
the other takes for its own in `self.position`, `close()` and `order_target_*`, and sells. A twin has the feed's
attributes, one dictionary between the two, so it shows the same bars under the same name in every run mode, costs
nothing, and is another key of the books.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from hybrid_bt.bars.market import names_of
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.strategies.admission import FloatArray, day_of, loaded

#: rows of (N,) closes, NaN where a feed has no bar, most often one; and whether the last is that of this moment, so
#: that orders may be sent
Rows: TypeAlias = tuple[list[list[float]], bool]


class LateRows:
    """Collects the closes of each moment from feeds of which a bar may come late, or not be complete when it comes.

    Parameters
    ----------
    feeds : sequence of feeds
    read : callable
        What rows hold of a feed's bar: its close by default.
    """

    def __init__(self, feeds: Sequence[Framework], read: Callable[[Framework], float] | None = None) -> None:
        self._feeds, self._read = list(feeds), read or _close
        self._is_live = len(feeds) > 1 and any(feed.islive() for feed in feeds)
        #: whether a call is more, or less, than the row of a moment
        self.are_needed = self._is_live or any(feed.replaying for feed in feeds)
        self._lengths = [0] * len(self._feeds)
        self._row = [math.nan] * len(self._feeds)  # of the moment that is being gathered
        self._moment = math.nan  # a stamp or, of daily bars, a date; NaN while none is gathered
        self._are_daily = all(feed._timeframe >= bt.TimeFrame.Days for feed in self._feeds)
        self._expected = [self._are_daily] * len(self._feeds)  # of a first date all are

    def rows(self) -> Rows:
        """What may be decided on in this call; look once, in each `next` and `prenext`."""
        before, self._lengths = self._lengths, [len(feed) for feed in self._feeds]
        if self._lengths == before:
            return [], False  # a bar of a feed that is not traded, or one more tick of a replayed bar
        new = [now > old for now, old in zip(self._lengths, before, strict=True)]
        closes = [self._read(feed) if came else math.nan for feed, came in zip(self._feeds, new, strict=True)]
        return self._gathered(closes, new) if self._is_live else ([closes], True)

    def _gathered(self, closes: list[float], new: Sequence[bool]) -> Rows:
        stamps = [(feed, feed.datetime[0]) for feed, came in zip(self._feeds, new, strict=True) if came]
        moment = max(day_of(feed, stamp) if self._are_daily else stamp for feed, stamp in stamps)
        done = []
        is_second = any(came and old == old for came, old in zip(new, self._row, strict=True))  # of its feed
        if self._moment < moment or is_second:  # the moment before was waited for in vain
            self._are_daily = self._are_daily and not is_second
            done.append(self._finished())
        self._moment = moment
        self._row = [close if came else old for close, came, old in zip(closes, new, self._row, strict=True)]
        if any(map(self._is_awaited, range(len(self._feeds)))):
            return done, False
        return [*done, self._finished()], True

    def _is_awaited(self, i: int) -> bool:
        is_over = self._feeds[i]._laststatus == self._feeds[i].DISCONNECTED
        return self._expected[i] and math.isnan(self._row[i]) and not is_over

    def _finished(self) -> list[float]:
        row = self._row
        self._row, self._moment = [math.nan] * len(row), math.nan
        self._expected = [not math.isnan(close) for close in row]
        return row


def _close(feed: Framework) -> float:
    """Close of the bar that has just come; of a replayed feed, of the bar that its new one completes."""
    if not feed.replaying:
        return float(feed.close[0])
    return float(feed.close[-1]) if len(feed) > 1 else math.nan


def bar_number(feed: Framework) -> float:
    """Which bar of a feed it is whose close a row would hold, counted from 1; NaN where there is none."""
    return math.nan if math.isnan(_close(feed)) else float(len(feed) - bool(feed.replaying))


def traded_feeds(
    feeds: Sequence[Framework], wanted: str | Sequence[str] | None
) -> tuple[tuple[str, ...], list[Framework]]:
    """Names and feeds to trade; a feed without a name is `data` and its number."""
    names = tuple(f"data{i}" if feed._name in (None, "") else str(feed._name) for i, feed in enumerate(feeds))
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"two feeds are named {name!r}; give each its own: cerebro.adddata(feed, name=...)")
    symbols = names if wanted is None else names_of(wanted)
    if not symbols:
        raise ConfigError("symbols is empty; name the feeds to trade, or leave it out for all")
    for i, symbol in enumerate(symbols):
        if symbol not in names or symbol in symbols[:i]:
            rule = "comes twice" if symbol in names else f"is not a feed{did_you_mean(symbol, names)}"
            raise ConfigError(f"symbols: {symbol!r} {rule}")
    for feed in feeds if feeds[0]._env._exactbars > 0 else ():
        give_room(feed)
    return symbols, [feeds[names.index(symbol)] for symbol in symbols]


def rows_ahead(cerebro: Framework, feeds: Sequence[Framework]) -> tuple[FloatArray, FloatArray] | None:
    """Stamps (T,) and closes (T, N) of the rows that Cerebro will hand a strategy; None where that is not certain.

    It is certain where every traded feed was preloaded whole, is neither resampled, replayed nor live, and its stamps
    rise: then each row is one stamp of any of them, as `Cerebro._runonce` merges them.
    """
    whole = cerebro._dopreload and cerebro._dorunonce and not cerebro.p.oldsync
    if not whole or any(feed.islive() or feed.resampling or feed.replaying for feed in feeds):
        return None
    stamps, columns = zip(*((loaded(feed.lines.datetime), loaded(feed.lines.close)) for feed in feeds), strict=True)
    if any(not len(own) or not (np.diff(own) > 0.0).all() for own in stamps):
        return None
    rows = np.unique(np.concatenate(stamps))
    closes = np.full((len(rows), len(feeds)), np.nan)
    for i, (own, column) in enumerate(zip(stamps, columns, strict=True)):
        closes[np.searchsorted(rows, own), i] = column
    return rows, closes


def take_own_feeds(strategy: Framework) -> dict[Framework, Framework]:
    """Give a strategy, at the beginning of its `__init__`, a twin of each of its feeds; feed -> twin.

    Raises
    ------
    ConfigError
        Where positions are not kept by feed.
    """
    broker = type(strategy.broker)
    if not issubclass(broker, bt.brokers.BackBroker):
        raise ConfigError(
            f"own_feeds: {broker.__name__} keeps the positions of an account by asset, whatever the feed; leave out "
            "own_feeds, and let other strategies trade on other accounts"
        )
    for feed in strategy.datas:
        if feed._compensate is not None:
            raise ConfigError(
                f"own_feeds: orders on {feed._name!r} change the position of another feed (`compensate`), which others "
                "trade too; leave out own_feeds, or the compensation"
            )
    twins = {feed: _twin(feed) for feed in strategy.datas}
    strategy.datas = list(twins.values())
    strategy.ddatas = dict.fromkeys(strategy.datas)
    at = {id(feed): twin for feed, twin in twins.items()}
    everything: list[Framework] = [vars(strategy), strategy.dnames]
    for known in everything:  # `data`, `data0`, `_clock`; `dnames.KO`
        known.update({name: at[id(value)] for name, value in known.items() if id(value) in at})
    return twins


def _twin(feed: Framework) -> Framework:
    twin = object.__new__(type(feed))
    twin.__dict__ = feed.__dict__
    return twin


def warn_of_company(strategy: Framework, symbols: Iterable[str], feeds: Iterable[Framework]) -> None:
    """Name the other strategies that see, and may sell, what this one holds; those that count their own do not."""
    named = dict(zip(feeds, symbols, strict=True))  # by identity: `in` and == on feeds make lines of Backtrader's
    for other in strategy.cerebro.runningstrats:
        shared = [named[feed] for feed in other.datas if feed in named]
        if other is strategy or not shared or getattr(other, "counts_own_fills", False):
            continue
        listed = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
        mine, theirs = type(strategy).__name__, type(other).__name__
        warnings.warn(
            f"{mine} and {theirs} share the feeds {listed}: Backtrader has one position a feed, so what {mine} holds "
            f"stands in {theirs}'s self.position, and its close() and order_target_* sell it; give {mine} "
            "own_feeds=True, or each its own feeds",
            stacklevel=1,
        )


def give_room(feed: Framework) -> None:
    """Let a bounded feed (`exactbars=1`) take a bar back, for all strategies of its Cerebro.

    Backtrader loads a bar from each feed and takes it back where it is ahead of the others. A bounded buffer has no
    room for that: the older bar is gone, the one taken back is lost, and a feed that ends leaves nothing to value a
    position at. With room for one bar more, and the bar put on the feed's own stack to be loaded again, every feed
    reads as it does unbounded. And where several strategies bound the same feed, the last one forgets what the
    indicators of the others need; here the longest need stays.
    """
    feed.qbuffer = partial(_bound, feed)
    feed.rewind = partial(_put_back, feed)


def _bound(feed: Framework, savemem: int = 0, replaying: bool = False) -> None:
    for line in feed.lines:
        needed = line.maxlen if line.mode == line.QBuffer else 0
        line.qbuffer(savemem=savemem, extrasize=1)
        line.minbuffer(needed)


def _put_back(feed: Framework, size: int = 1) -> None:
    feed._barstack.appendleft([line[0] for line in feed.itersize()])
    feed.backwards(force=True)
