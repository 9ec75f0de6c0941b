"""From deliveries to rows of closes: one row for each moment, whatever the feeds and however late their bars arrive.

Backtrader calls a strategy when any feed delivers. From files all bars of a moment come in one call. From live feeds
they come one after another, and a brain that took each call for a bar would see a market of one symbol at a time. Here
a row waits until every feed has its bar that had one in the row before and is still connected; a bar of a later moment
ends the waiting. A replayed feed's bar is complete, and read, when its next one begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Rows(NamedTuple):
    """What may be decided on in this call."""

    closes: list[list[float]]  #: rows of (N,) closes, NaN where a feed has no bar; most often one
    is_complete: bool  #: the last row is that of this moment: orders may be sent


class Gathering:
    """Collects the closes of each moment.

    Parameters
    ----------
    feeds : sequence of feeds
    """

    def __init__(self, feeds: Sequence[Any]) -> None:
        self._feeds = list(feeds)
        self._closes = [feed.lines.close for feed in self._feeds]  # found once: a feed's `__getattr__` costs more
        self._is_live = len(self._feeds) > 1 and any(feed.islive() for feed in self._feeds)
        self._lengths = [0] * len(self._feeds)
        self._row = [math.nan] * len(self._feeds)  # of the moment that is being gathered
        self._stamp = math.nan  # of that moment; NaN while none is
        self._expected = [False] * len(self._feeds)

    def rows(self) -> Rows:
        """Look at the feeds once, in each `next` and `prenext`."""
        lengths = [len(close) for close in self._closes]
        new = [now > before for now, before in zip(lengths, self._lengths, strict=True)]
        self._lengths = lengths
        if not any(new):
            return Rows([], False)  # a bar of a feed that is not traded, or one more tick of a replayed bar
        closes = [
            _close(feed, close) if came else math.nan
            for feed, close, came in zip(self._feeds, self._closes, new, strict=True)
        ]
        return self._gathered(closes, new) if self._is_live else Rows([closes], True)

    def _gathered(self, closes: list[float], new: Sequence[bool]) -> Rows:
        stamp = max(feed.datetime[0] for feed, came in zip(self._feeds, new, strict=True) if came)
        done = []
        if self._stamp < stamp:  # the moment before was waited for in vain
            done.append(self._finished())
        self._stamp = stamp
        self._row = [close if came else old for close, came, old in zip(closes, new, self._row, strict=True)]
        if any(map(self._is_awaited, range(len(self._feeds)))):
            return Rows(done, False)
        return Rows([*done, self._finished()], True)

    def _is_awaited(self, i: int) -> bool:
        is_over = self._feeds[i]._laststatus == self._feeds[i].DISCONNECTED
        return self._expected[i] and math.isnan(self._row[i]) and not is_over

    def _finished(self) -> list[float]:
        row = self._row
        self._row, self._stamp = [math.nan] * len(row), math.nan
        self._expected = [not math.isnan(close) for close in row]
        return row


def _close(feed: Any, close: Any) -> float:
    """Close of the bar that has just come; of a replayed feed, of the bar that its new one completes."""
    if not feed.replaying:
        return float(close[0])
    return float(close[-1]) if len(close) > 1 else math.nan
