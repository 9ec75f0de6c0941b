"""Where a strategy's decisions come from: its brain bar by bar, or opinions made ahead where all feeds are in memory.

Both give the same bits. The ahead path begins on the first bar if nobody has laid hands on the brain before, and ends
as soon as somebody asks for the brain or a bar is not the one foreseen: then a fresh brain reads every bar so far and
goes on bar by bar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.hybrid import Decision, Hybrid, Opinion
from hybrid_bt.brain.opinions import can_be_foreseen, in_chunks
from hybrid_bt.brain.reader import READING_SECONDS, read_panel
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.compiled.choice import choose


class Thinking:
    """Decisions of one strategy, bar after bar.

    Parameters
    ----------
    strategy : bt.Strategy
        Its `feeds`, in order, are the symbols.
    make : callable
        A fresh brain; called again if the ahead path has to be left.
    compiled : bool or None
        Make opinions ahead, compiled; by default where the work is worth loading numba.
    history : (T0, N) array
        Closes before the first bar, which the brain is to have seen by then.
    """

    def __init__(
        self, strategy: Any, make: Callable[[], Hybrid], compiled: bool | None, history: NDArray[np.float64]
    ) -> None:
        self._strategy, self._make, self._compiled, self._history = strategy, make, compiled, history
        self._brain: Hybrid = make()
        self._panel: Any = None
        self._coming: Iterator[Opinion] | None = None
        self._row = -1  # of the panel, that was looked up last
        self._stamps: list[float] = []
        self._settled = False  # whether the brain was taken hold of, so that nothing can be made ahead any more
        self._remembers = False  # the history

    def __getstate__(self) -> dict[str, Any]:
        """Without what comes: another process that looks at a run does not go on with it."""
        return self.__dict__ | {"_coming": None, "_panel": None}

    @property
    def ahead(self) -> bool:
        """Whether opinions are being looked up."""
        return self._coming is not None

    @property
    def brain(self) -> Hybrid:
        """The brain as it stands after the last decision; bar by bar from here on, since it may be changed."""
        self._go_bar_by_bar()
        return self._brain

    @brain.setter
    def brain(self, brain: Hybrid) -> None:
        self._go_bar_by_bar()
        self._brain = brain

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Columns (y, x) of the pairs."""
        return self._brain.reader.columns

    def clipped(self) -> dict[str, int]:
        """Observations that each policy clipped so far; where they are asked ahead, of the bars they were asked for."""
        parts = {**self._brain.legs, "gate": self._brain.gate}
        policies = {name: getattr(part, "policy", None) for name, part in parts.items()}
        return {name: int(policy.clipped_count) for name, policy in policies.items() if policy is not None}

    def take_rate(self, bars_per_year: float) -> None:
        """Bars per year from the next bar on: they change what is made of a memory, and nothing that is remembered."""
        if bars_per_year == self._brain.reader.bars_per_year:
            return
        if self._coming is None:
            self._brain.reader.bars_per_year = bars_per_year
            return
        self._panel.bars_per_year[self._row + 1 :] = bars_per_year
        self._brain = self._make()
        self._brain.reader.bars_per_year = bars_per_year
        self._coming = islice(self._opinions(), self._row + 1, None)

    def remember(self) -> list[str]:
        """See the history, and say what failed on it; the first `decide` does so if nobody did before."""
        if self._remembers:
            return []
        self._remembers = True
        self._look_ahead()
        said = (self._next() if self._coming else self._brain.opine(row) for row in self._history.tolist())
        return [failure for opinion in said for failure in opinion.failures]

    def decide(
        self, stamp: float, closes: Sequence[float], advice: Advice | None = None, held: Sequence[float] | None = None
    ) -> Decision:
        """Decision at the close of a bar; closes (N,), NaN where a symbol has none; the rest as `Hybrid.settle`."""
        self.remember()
        if self._coming is not None:
            if self._is_foreseen(self._row + 1, stamp, closes):
                return self._brain.settle(self._next(), advice, held)
            self._go_bar_by_bar()
        return self._brain.decide(closes, advice, held) if advice is not None else self._brain.decide(closes)

    def _next(self) -> Opinion:
        assert self._coming is not None
        self._row += 1
        return next(self._coming)

    def _look_ahead(self) -> None:
        """Begin to look opinions up, where all bars are certain, and enough to be worth it."""
        if self._settled or self._compiled is False or not can_be_foreseen(self._brain):
            return
        found = foreseen_panel(self._strategy)
        if found is None:
            return
        closes = np.concatenate([self._history, found[1]])
        good = np.isnan(closes) | ((closes > 0.0) & (closes < math.inf))  # a bad close is refused on its own bar
        if good.all() and choose(self._compiled, closes.size * READING_SECONDS):
            self._stamps = [math.nan] * len(self._history) + found[0].tolist()
            self._panel = read_panel(closes, self._brain.reader, compiled=True)
            self._coming = self._opinions()

    def _opinions(self) -> Iterator[Opinion]:
        return (opinion for chunk in in_chunks(self._brain, self._panel) for opinion in chunk.rows())

    def _is_foreseen(self, row: int, stamp: float, closes: Sequence[float]) -> bool:
        if row >= len(self._stamps) or stamp != self._stamps[row]:
            return False
        due = self._panel.closes[row].tolist()
        return due == closes or all(a == b or (a != a and b != b) for a, b in zip(due, closes, strict=True))

    def _go_bar_by_bar(self) -> None:
        self._settled = True
        if self._coming is not None:
            self._coming = None
            rate, self._brain = self._brain.reader.bars_per_year, self._make()
            self._brain.reader.bars_per_year = rate
            for closes in self._panel.closes[: self._row + 1].tolist():
                self._brain.opine(closes)


def foreseen_panel(strategy: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Stamps (T,) and closes (T, N) of the bars that Cerebro will hand a strategy; None where that is not certain.

    It is certain where every traded feed was preloaded whole, is neither resampled, replayed nor live, and its stamps
    rise: then each bar is one stamp of any of them, as `Cerebro._runonce` merges them. Each is compared all the same.
    """
    cerebro, feeds = strategy.cerebro, strategy.feeds
    whole = cerebro._dopreload and cerebro._dorunonce and not cerebro.p.oldsync
    if not whole or any(feed.islive() or feed.resampling or feed.replaying for feed in feeds):
        return None
    stamps, columns = zip(*((_loaded(feed.lines.datetime), _loaded(feed.lines.close)) for feed in feeds), strict=True)
    if any(not len(own) or not (np.diff(own) > 0.0).all() for own in stamps):
        return None
    rows = np.unique(np.concatenate(stamps))
    closes = np.full((len(rows), len(feeds)), np.nan)
    for i, (own, column) in enumerate(zip(stamps, columns, strict=True)):
        closes[np.searchsorted(rows, own), i] = column
    return rows, closes


def _loaded(line: Any) -> NDArray[np.float64]:
    """A line's preloaded values, without the room for what looks ahead."""
    return np.array(line.array[: line.buflen()], dtype=np.float64)
