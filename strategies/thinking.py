"""Where a strategy's decisions come from: its brain bar by bar, or opinions made ahead where all feeds are in memory.

Both give the same bits. The ahead path begins on the first bar if nobody has laid hands on the brain before, and ends
as soon as somebody asks for the brain, a policy fails or a bar is not the one foreseen: then a fresh brain reads every
bar so far and goes on bar by bar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.advice import Advice
from hybrid_bt.hybrid import Decision, Hybrid
from hybrid_bt.recording import pair_rows
from hybrid_bt.safe_policy import policies_of, take_failures

__all__ = ["Thinking", "foreseen_panel"]


class Thinking:
    """Decisions of one strategy, bar after bar.

    Parameters
    ----------
    strategy : bt.Strategy
        Its `feeds`, in order, are the symbols.
    make : callable
        A fresh brain; called again if the ahead path has to be left.
    compiled : bool or None
        See `hybrid_bt.ahead.can_run_ahead`.
    history : (T0, N) array
        Closes before the first bar, which the brain is to have seen by then.
    """

    def __init__(
        self, strategy: Any, make: Callable[[], Hybrid], compiled: bool | None, history: NDArray[np.float64]
    ) -> None:
        self._strategy, self._make, self._compiled, self._history = strategy, make, compiled, history
        self._clock = strategy.lines.datetime
        self._brain: Hybrid = make()
        self._ahead: Any = None
        self._stamps: list[float] = []
        self._rate: float | None = None
        self._settled = False  # whether the brain was taken hold of, so that nothing can be made ahead any more
        self._remembers = False  # the history

    @property
    def ahead(self) -> bool:
        """Whether opinions are being looked up."""
        return self._ahead is not None

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
        """Observations that each policy clipped so far."""
        ahead = self._ahead.clipped() if self._ahead is not None else {}
        return {name: policy.clipped_count + ahead.get(name, 0) for name, policy in policies_of(self._brain).items()}

    def take_failures(self) -> list[str]:
        """What policies and legs of the user's own did wrong since this was last asked for."""
        return [] if self.ahead else take_failures(self._brain)  # the ahead path is left before a failure is noted

    def take_rate(self, bars_per_year: float) -> None:
        """`Hybrid.take_rate`: it changes what is made of opinions, and nothing that is remembered."""
        self._rate = bars_per_year
        self._brain.take_rate(bars_per_year)

    def remember(self) -> None:
        """See the history; the first `decide` does so if nobody did before."""
        if self._remembers:
            return
        self._remembers = True
        self._ahead = self._made_ahead()
        for closes in self._history.tolist():
            if self._ahead is None or not self._ahead.skip():
                self._go_bar_by_bar()
                self._brain.opine(closes)

    def decide(
        self, closes: list[float], advice: Advice | None = None, held: Sequence[float] | None = None
    ) -> Decision:
        """Decision at the close of this bar; closes (N,), NaN where a symbol has none; the rest as `Hybrid.settle`."""
        self.remember()
        if self._ahead is not None:
            opinion = self._ahead.next() if self._is_foreseen(self._ahead.row + 1, closes) else None
            if opinion is not None:
                return self._brain.settle(opinion, advice, held)
            self._go_bar_by_bar()
        return self._brain.decide(closes, advice, held) if advice is not None else self._brain.decide(closes)

    def pair_rows(self, decision: Decision) -> Sequence[float]:
        """`recording.pair_rows` after the last decision."""
        if self._ahead is not None:
            return self._ahead.pair_rows()  # type: ignore[no-any-return]
        return pair_rows(self._brain, decision.view)

    def _made_ahead(self) -> Any:
        """Opinions on the history and on all bars of the feeds; None where these are not certain, or too few."""
        found = None if self._settled or self._compiled is False else foreseen_panel(self._strategy)
        if found is None:
            return None
        from hybrid_bt.ahead import Ahead, can_run_ahead

        stamps, closes = found[0].tolist(), np.concatenate([self._history, found[1]])
        self._stamps = [math.nan] * len(self._history) + stamps
        return Ahead(self._brain, closes) if can_run_ahead(self._brain, closes, self._compiled) else None

    def _is_foreseen(self, row: int, closes: list[float]) -> bool:
        if row >= len(self._stamps) or self._clock[0] != self._stamps[row]:
            return False
        due = self._ahead.closes(row)
        return due == closes or all(a == b or (a != a and b != b) for a, b in zip(due, closes, strict=True))

    def _go_bar_by_bar(self) -> None:
        self._settled = True
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._brain = self._make()
            if self._rate is not None:
                self._brain.take_rate(self._rate)
            for row in range(ahead.row + 1):
                self._brain.opine(ahead.closes(row))


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
