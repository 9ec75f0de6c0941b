"""Bounded feeds (`exactbars=1`) that can take a bar back.

Backtrader loads a bar from each feed and takes it back where it is ahead of the others. A bounded buffer has no room
for that: the older bar is gone, the one taken back is lost, and a feed that ends leaves nothing to value a position
at. With room for one bar more, and the bar put on the feed's own stack to be loaded again, every feed reads as it does
unbounded. And where several strategies bound the same feed, the last one forgets what the indicators of the others
need; here the longest need stays.
"""

from __future__ import annotations

from functools import partial
from typing import Any


def give_room(feed: Any) -> None:
    """Mend one feed of a run with `exactbars=1`, for all strategies of its Cerebro."""
    feed.qbuffer = partial(_bound, feed)
    feed.rewind = partial(_put_back, feed)


def _bound(feed: Any, savemem: int = 0, replaying: bool = False) -> None:
    for line in feed.lines:
        needed = line.maxlen if line.mode == line.QBuffer else 0
        line.qbuffer(savemem=savemem, extrasize=1)
        line.minbuffer(needed)


def _put_back(feed: Any, size: int = 1) -> None:
    feed._save2stack(erase=True, force=True)
