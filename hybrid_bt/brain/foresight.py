"""Where opinions come from: a brain bar by bar, or ahead of the bars where all of them are in memory. The same bits.

The ahead path begins on the first bar if nobody has laid hands on the brain before, and ends as soon as somebody asks
for the brain or a bar is not the one foreseen: then a fresh brain reads every bar so far and goes on bar by bar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.laid import FloatArray
from hybrid_bt.brain.legs.base import Decision
from hybrid_bt.brain.opinions import Heard, absorb, can_be_foreseen, decisions_in_turn, hear
from hybrid_bt.brain.reader import piece_rows, read_in_pieces
from hybrid_bt.equations.compiled import interpreted

BarsAhead = Callable[[], tuple[FloatArray, FloatArray] | None]  #: stamps (T,) and closes (T, N)


class Foresight:
    """What a brain says of bars that are certain to come, looked up one after the other.

    Parameters
    ----------
    brain : Hybrid
        Its parts are asked some hundred bars ahead.
    stamps : (T,)
        NaN for bars of a history.
    closes : (T, N)
    n_past : int
        Rows of the history.
    compiled : bool, optional
        Read the market under numba (same bits). By default where the work is worth loading it.
    """

    def __init__(
        self, brain: Hybrid, stamps: FloatArray, closes: FloatArray, n_past: int, compiled: bool | None = None
    ) -> None:
        self._n_past, self._row, self.n_ahead = n_past, 0, len(closes) - n_past
        self._closes, self._rates, self._compiled = closes, np.full(len(closes), brain.reader.bars_per_year), compiled
        self._rows = zip(stamps.tolist(), map(np.ndarray.tolist, closes), strict=True)
        self._heard: Iterator[Heard]
        self._few: Iterator[Decision]
        self._begin(brain)

    def __getstate__(self) -> dict[str, object]:
        """Without what comes: another process that looks at a run does not go on with it."""
        return self.__dict__ | {"_heard": None, "_few": None, "_rows": None}

    @classmethod
    def of_bars(
        cls, brain: Hybrid, bars_ahead: BarsAhead, history: FloatArray, compiled: bool | None
    ) -> Foresight | None:
        """Where all bars are certain and good; read under numba where that is worth it (or `compiled`)."""
        found = bars_ahead() if can_be_foreseen(brain) else None
        if found is None:
            return None
        stamps = np.concatenate([np.full(len(history), math.nan), found[0]])
        closes = np.concatenate([history, found[1]])
        good = np.isnan(closes) | ((closes > 0.0) & (closes < math.inf))  # a bad close is refused on its own bar
        if not good.all():
            return None
        return cls(brain, stamps, closes, len(history), compiled)

    def past(self) -> list[str]:
        """Let the brain hear the history, which comes first; what parts did wrong on it."""
        self._row = self._n_past
        for _ in range(self._n_past):
            next(self._rows)
        return self._pass_over(self._n_past)

    def of(self, stamp: float, closes: Sequence[float]) -> Decision | None:
        """What is decided on the next bar; None if it is not the one foreseen."""
        due = next(self._rows, None)
        if due is None or due[0] != stamp:
            return None
        if due[1] != closes and not all(a == b or (a != a and b != b) for a, b in zip(due[1], closes, strict=True)):
            return None
        self._row += 1
        decision = next(self._few, None)
        if decision is None:
            self._few = decisions_in_turn(self._brain, next(self._heard))
            decision = next(self._few)
        return decision

    def seen(self) -> list[list[float]]:
        """Closes of the bars that were looked up."""
        return self._closes[: self._row].tolist()  # type: ignore[no-any-return]

    def go_on_with(self, brain: Hybrid, bars_per_year: float) -> None:
        """Ask a fresh brain from the next bar on, at another number of bars per year."""
        self._rates[self._row :] = bars_per_year
        self._begin(brain)
        self._pass_over(self._row)

    def _begin(self, brain: Hybrid) -> None:
        """Bars are read when they are asked about: what is seen of them is as much as the closes twenty times."""
        views = read_in_pieces(self._closes, brain.reader.anew(), compiled=self._compiled)
        rates = (self._rates[rows] for rows in piece_rows(*self._closes.shape))
        pieces = (view._replace(bars_per_year=rate) for view, rate in zip(views, rates, strict=True))
        self._brain, self._heard, self._few = brain, hear(brain, pieces), iter(())

    def _pass_over(self, n_rows: int) -> list[str]:
        """Hear bars that nobody decides on; what parts did wrong on them."""
        wrong: list[str] = []
        while n_rows > 0:
            heard = next(self._heard)
            few = min(n_rows, len(heard.failures))
            wrong += [failure for of_bar in heard.failures[:few] for failure in of_bar]
            self._few, n_rows = decisions_in_turn(self._brain, heard.rows(slice(few, None))), n_rows - few
        return wrong


class Decider:
    """A brain and what it was asked ahead.

    Parameters
    ----------
    make : callable
        A fresh brain; called again if the ahead path has to be left.

    Attributes
    ----------
    current : Hybrid
        As it settles opinions; while they come from `ahead`, its parts have seen more than the last bar.
    ahead : Foresight or None
    """

    def __init__(self, make: Callable[[], Hybrid]) -> None:
        self._make = make
        self.current = make()
        self.ahead: Foresight | None = None
        self._is_taken = False  # whether somebody took hold of the brain, so that nothing is made ahead any more

    @property
    def brain(self) -> Hybrid:
        """The brain as it stands after the last bar; it may be changed, so from then on bar by bar."""
        self.go_bar_by_bar()
        return self.current

    @brain.setter
    def brain(self, brain: Hybrid) -> None:
        self.go_bar_by_bar()
        self.current = brain

    def clipped(self) -> dict[str, int]:
        """Observations that each policy clipped so far; where they are asked ahead, of the bars they were asked for."""
        return clipped_by(self.current)

    def begin(self, bars_ahead: BarsAhead | None, history: FloatArray, compiled: bool | None) -> list[str]:
        """Look ahead where that is certain, and read the history; what failed on it."""
        if not self._is_taken and compiled is not False and bars_ahead is not None:
            self.ahead = Foresight.of_bars(self.current, bars_ahead, history, compiled)
        if self.ahead is None and can_be_foreseen(self.current):
            with interpreted(compiled is False):
                return absorb(self.current, history)
        if self.ahead is not None:
            return self.ahead.past()
        return [failure for closes in history.tolist() for failure in self.current.opine(closes).failures]

    def take_rate(self, bars_per_year: float) -> None:
        """Bars per year from the next bar on: they change what is made of a memory, and nothing that is remembered."""
        if bars_per_year == self.current.reader.bars_per_year:
            return
        if self.ahead is not None:
            self.current = self._make()
            self.ahead.go_on_with(self.current, bars_per_year)
        self.current.reader.bars_per_year = bars_per_year

    def go_bar_by_bar(self) -> None:
        """Leave the ahead path for good."""
        self._is_taken = True
        if self.ahead is not None:
            seen, self.ahead = self.ahead.seen(), None
            rate, self.current = self.current.reader.bars_per_year, self._make()
            self.current.reader.bars_per_year = rate
            for closes in seen:
                self.current.opine(closes)


def clipped_by(brain: Hybrid) -> dict[str, int]:
    """Observations that each policy of a brain clipped so far."""
    policies = {name: getattr(part, "policy", None) for name, part in {**brain.legs, "gate": brain.gate}.items()}
    return {name: int(policy.clipped_count) for name, policy in policies.items() if policy is not None}
