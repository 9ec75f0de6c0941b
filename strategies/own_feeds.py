"""The same bars under another identity, so that a strategy's positions are its own; and room for bounded feeds.

Backtrader's broker keeps one position for each data *object*. Two strategies on one feed share it: what one has bought,
the other takes for its own in `self.position`, `close()` and `order_target_*`, and sells. A twin has the feed's
attributes, one dictionary between the two, so it shows the same bars under the same name in every run mode, costs
nothing, and is another key of the books.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial

from hybrid_bt.errors import ConfigError
from hybrid_bt.feeds.framework import Framework, bt


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
    feed._save2stack(erase=True, force=True)
