"""A session: the decisions of one account, bar after bar, and what stands around them. It knows no framework.

    sent = session.bar(stamp, closes, books, advice)
    brain, bar by bar or ahead of them -> what documents advise -> guard -> recorder -> journal

Whoever trades brings the rows, looks into the account where the guard asks, and carries out what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import numpy as np

from hybrid_bt.brain.foresight import BarsAhead, Decider
from hybrid_bt.brain.hybrid import Hybrid, looks_at_account
from hybrid_bt.brain.journal import REVISED, Entry, Journal, Prices, compare, moment_of, said
from hybrid_bt.brain.laid import FloatArray
from hybrid_bt.brain.legs.base import Decision, check_closes
from hybrid_bt.brain.legs.kalman import IdlePairs
from hybrid_bt.brain.records import Recorder
from hybrid_bt.brain.settling import AccountGuard, Books
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.equations.guard_limits import GuardFacts, GuardParams
from hybrid_bt.equations.waiting import withheld
from hybrid_bt.errors import BarsError

Look = Callable[[bool], GuardFacts | None]  #: at the account, told whether a part failed
Advise = Callable[[float], object]  #: what documents say at a close


class Setup(NamedTuple):
    """What a session decides with."""

    symbols: tuple[str, ...]
    make: Callable[[tuple[str, ...]], Hybrid]  #: a fresh brain for pairs by name
    pairs: tuple[str, ...] = ()
    guard: GuardParams = GuardParams()
    band: float = 0.0  #: `OrderRules.rebalance_band`
    trade_from: float = 0.0  #: stamp of the first bar that may be traded
    find_pairs: Callable[[FloatArray], tuple[str, ...]] | None = None  #: in place of `pairs`, by closes before trading
    rate: Callable[[Sequence[float]], float] | None = None  #: bars per year by the stamps before trading
    moment: Callable[[float], datetime] = moment_of  #: of a stamp, for what people read
    idle: Callable[[tuple[str, ...]], IdlePairs] = IdlePairs  #: watches the pairs of these names


class Session:
    """Decides bar after bar.

    Parameters
    ----------
    compiled : bool, optional
        Opinions ahead, where `bars_ahead` are known: same bits, sooner; by default under numba where worth it.
    bars_ahead : callable, optional
        Stamps and closes of all bars to come, asked for on the first; None where they are not certain.
    history : (T0, N) array, optional
        Closes before the first bar, which the recursions alone read.
    record : bool
        Keep every decision in `recorder`.
    journal : Journal, optional
        Keeps what came and what was sent; rows that it has are decided again (`recall`).

    Attributes
    ----------
    decider : Decider
        Its `brain`, and whether opinions come `ahead` of their bars.
    decision : Decision or None
        The last one of `n_bars`; `target` is what was sent, after the guard.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        compiled: bool | None = None,
        bars_ahead: BarsAhead | None = None,
        history: FloatArray | None = None,
        record: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self._setup, self.pairs, self.journal = setup, setup.pairs, journal
        self._compiled = False if setup.find_pairs else compiled
        self.n_bars, self._bars_ahead, self._records = 0, bars_ahead, record
        self._history = np.empty((0, len(setup.symbols))) if history is None else history
        self.guard = AccountGuard(setup.guard, setup.band, setup.moment)
        self.decider = Decider(partial(setup.make, self.pairs))
        self._tells = any(map(looks_at_account, self.decider.current.legs.values()))
        self.recorder = self._new_recorder() if record else None
        self.decision: Decision | None = None
        self.together: Sequence[int] = ()  #: (N,) symbols of a label were one decision on the last bar; empty: nobody
        self.idle = IdlePairs()  #: pairs that have not opened on the bars traded so far
        self.first_traded_row: int | None = None
        self._last: Sequence[float] = [0.0] * len(setup.symbols)  # targets of the last traded bar, for what is advised
        self._early: list[float] | None = [] if setup.rate else None  # stamps before trading
        self._finding: list[Sequence[float]] | None = [] if setup.find_pairs else None
        #: of the last bar, that are to be kept
        self._kept: tuple[float, Sequence[float], Advice | None, GuardFacts | None, Sequence[float] | None]

    def _new_recorder(self) -> Recorder:
        return Recorder(len(self._setup.symbols), self.pairs, tuple(self.decider.current.legs))

    def bar(
        self, stamp: float, closes: Sequence[float], books: Callable[[], Books] | None, advice: Advice | None = None
    ) -> Sequence[float] | None:
        """Decide at the close of a bar.

        Parameters
        ----------
        stamp : float
            Days, as `moment_of` takes them; later than that of the bar before.
        closes : (N,)
            NaN where a symbol has no bar.
        books : callable or None
            Gives the account at this close, where the guard asks for it; None where nothing can be sent on this bar.
        advice : Advice, optional
            What documents say at this close.

        Returns
        -------
        (N,) signed fractions of equity to be held, NaN for what is held already; None where nothing is to be sent.
        """
        facts = None
        if books is not None and stamp >= self._setup.trade_from:

            def facts(failed: bool) -> GuardFacts | None:
                looks = failed or self._tells or self.guard.is_active
                return self.guard.facts(stamp, books(), failed) if looks else None

        seen, sent = self._decide(stamp, closes, advice, facts)
        self._kept = stamp, closes, advice, seen, sent
        return sent

    def keep(self, account: Mapping[str, object], prices: Prices = None, *, lasting: bool = True) -> None:
        """Write the last bar, with the account behind its orders: plain data by name; if `lasting`, to the disk."""
        if self.journal is not None:
            self.journal.append(Entry(*self._kept, account, prices), lasting=lasting)

    def recall(
        self, stamp: float, closes: Sequence[float], advise: Advise | None = None, rescaled: bool = False
    ) -> Entry | None:
        """Decide what the journal has up to this bar once more; its row of the bar, None where the bar is new.

        `advise` is told each past bar on which documents were read, so that its reader remembers. Where prices were
        `rescaled` since, by a factor for each symbol, these closes are read, and what was sent stays as it was.

        Raises
        ------
        StateError
            If the data is not that of the journal, or a target not what was sent then.
        """
        journal, begins = self.journal, self.n_bars == 0
        if journal is None or journal.is_over:
            return None
        while not journal.is_over:
            row = journal.due(stamp, begins=begins)
            if rescaled:
                row = row._replace(closes=closes)
            elif row.stamp == stamp:
                compare(stamp, "the close of", self._named(row.closes), self._named(closes), REVISED)
            self._again(journal, row, advise, compares=not rescaled)
            if row.stamp == stamp:
                return row
        return None

    def _again(self, journal: Journal, row: Entry, advise: Advise | None, compares: bool) -> None:
        """Let brain and guard remember a past bar, and compare what they want with what was sent, or trust it."""
        if row.advice and advise is not None:
            advise(row.stamp)  # what counts is what was said then
        advice = None if row.advice is None else Advice(*row.advice)
        seen = None if row.seen is None else GuardFacts(*row.seen)
        _, sent = self._decide(row.stamp, row.closes, advice, None if row.sent is None else lambda _: seen)
        if compares:
            journal.check_sent(row.stamp, self._named(row.sent or ()), self._named(sent or ()))

    def _named(self, values: Sequence[float]) -> dict[str, float]:
        return dict(zip(self._setup.symbols, map(float, values), strict=False))

    def _decide(
        self, stamp: float, closes: Sequence[float], advice: Advice | None, facts: Look | None
    ) -> tuple[GuardFacts | None, Sequence[float] | None]:
        """What the guard saw of the account, told whether a part failed, and what is to be sent."""
        if self.n_bars == 0:
            self.guard.told(stamp, self.decider.begin(self._bars_ahead, self._history, self._compiled))
            if self.recorder and self.decider.ahead:
                self.recorder.expect(self.decider.ahead.n_ahead)
        if self._early is not None or self._finding is not None:
            self._prepare(stamp, closes)
        seen, sent = facts(False) if self._tells and facts is not None else None, None
        if self._tells:
            self.decider.current.tell(seen)
        decision = self._decided(stamp, closes, advice)
        self.guard.told(stamp, decision.failures)
        if facts is not None:
            seen = facts(bool(decision.failures)) if seen is None else seen._replace(failed=bool(decision.failures))
            if seen is not None and (seen.failed or self.guard.is_active):
                decision = self.guard.settled(stamp, decision, seen, self.decider.current.reader.columns)
            sent = withheld(decision.target, decision.waits) if decision.waits else decision.target
            if self.first_traded_row is None:
                self.first_traded_row, self.idle = self.n_bars, self._setup.idle(self.pairs)
            if self.idle.closed:
                self.idle.see(decision.view.pairs, decision.positions)
            if advice is not None:
                self._last = [old if new != new else new for old, new in zip(self._last, decision.target, strict=True)]
        self.decision, self.together = decision, decision.together
        if self.recorder:
            self.recorder.append(decision)
        self.n_bars += 1
        return seen, sent

    def _decided(self, stamp: float, closes: Sequence[float], advice: Advice | None) -> Decision:
        if self.decider.ahead is not None:
            found = self.decider.ahead.of(stamp, closes)
            if found is not None:
                return found if advice is None else self.decider.current.settle(found.opinion, advice, self._last)
            self.decider.go_bar_by_bar()
        try:
            return self.decider.current.decide(closes, advice, self._last)
        except BarsError:
            check_closes(closes, self._setup.symbols, f" on {said(stamp)}")  # the brain does not know which bar it is
            raise

    def _prepare(self, stamp: float, closes: Sequence[float]) -> None:
        """What is settled by the bars before trading, on the first one traded: pairs, and bars per year."""
        trades = stamp >= self._setup.trade_from
        if self._early is not None and self._setup.rate is not None:
            if trades and len(self._early) >= WARMUP_BARS // 2:  # no earlier than a pair can open
                self.decider.take_rate(self._setup.rate(self._early))
                self._early = None
            else:
                self._early.append(stamp)
        if self._finding is not None and not trades:
            self._finding.append(closes)
        elif self._finding is not None:
            self._find_pairs(self._finding)
            self._finding = None

    def _find_pairs(self, rows: Sequence[Sequence[float]]) -> None:
        """Find the pairs, and bring a brain with them up to date."""
        assert self._setup.find_pairs is not None
        self.pairs = self._setup.find_pairs(np.array(rows).reshape(-1, len(self._setup.symbols)))
        rate, self.decider = self.decider.current.reader.bars_per_year, Decider(partial(self._setup.make, self.pairs))
        self.decider.take_rate(rate)
        self.recorder = self._new_recorder() if self._records else None
        for decision in map(self.decider.current.decide, rows):
            if self.recorder:
                self.recorder.append(decision)
