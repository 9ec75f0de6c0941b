"""The one place outside the adapters that builds a Cerebro: how a case is traded.

Through Backtrader's broker, by its twin on arrays, or by both, which must come to the same. The two share the brain and
the session, and nothing of what lies around them: feeds, clock, broker, orders, ledger.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.registry import Terms, traded_at
from hybrid_bt.account.replay import checked_terms, trade_session
from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.brain.foresight import clipped_by
from hybrid_bt.brain.journal import moment_of
from hybrid_bt.brain.laid import Whole
from hybrid_bt.brain.legs.kalman import IdlePair
from hybrid_bt.brain.opinions import can_be_foreseen, check_blind, hear
from hybrid_bt.brain.reader import read_in_pieces
from hybrid_bt.brain.records import Decisions, PairPaths
from hybrid_bt.brain.session import Session, Setup
from hybrid_bt.brain.settling import decided
from hybrid_bt.config.facts import Trading, quantities
from hybrid_bt.config.own_parts import setup_of
from hybrid_bt.config.task import Case
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.guard_limits import is_active
from hybrid_bt.errors import BarsError, ConfigError, ReconciliationError
from hybrid_bt.feeds.lines import date_numbers

Progress = Callable[[int, int], None]  #: called as `progress(bars_done, bars_in_all)`


class Reader(Protocol):
    """Who reads documents along the bars."""

    def advise(self, moment: datetime) -> Advice: ...


class Words(NamedTuple):
    """What an engine is told beside the case."""

    progress: Progress | None = None
    stage: Reader | None = None  #: asked at every close that is traded
    state: Path | None = None  #: file that the strategy's state is kept in


def by_backtrader(task: Case, words: Words = Words()) -> Trading:  # noqa: B008 (an immutable tuple)
    """Run the strategy through Cerebro, trading from the task's row on.

    Where every symbol has a bar on that row, earlier bars reach the strategy as an array: its recursions read them,
    and there was nothing in them for a broker to do. A state keeps all of its bars, so it needs them as bars.
    """
    from hybrid_bt.analyzers import Ledger
    from hybrid_bt.feeds import to_feeds
    from hybrid_bt.feeds.framework import bt
    from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission
    from hybrid_bt.strategies.underway import OrderWarning

    bars, config, row = task.market.bars, task.config, task.row
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(config.account.cash)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
    skipped = row if words.state is None and bars.traded[row].all() else 0
    for feed in to_feeds(bars.between(bars.stamps[skipped], None)):
        cerebro.adddata(feed, name=feed._name)
    told = _Told(words.progress, skipped, bars.n_bars)
    cerebro.addstrategy(
        HybridStrategy,
        config=config,
        pairs=task.market.pairs,
        policies=task.policies,
        legs=task.legs,
        kalman_params=task.fitted,
        trade_from=bars.stamps[row].astype("datetime64[us]").item(),
        allow_in_sample=task.allow_in_sample,
        history=bars.close[:skipped] if skipped else None,
        news=words.stage,
        record=True,
        state=words.state,
        on_bar=told.on_bar,
    )
    cerebro.addanalyzer(Ledger, start=row - skipped, keep_orders=False, _name="ledger")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdlePair)  # the notes say it, how many orders were refused, and why none came
        warnings.filterwarnings("ignore", ".* (refused|comes to nothing)", OrderWarning)
        (strategy,) = cerebro.run()
    if told.done != bars.n_bars:
        raise BarsError(
            f"bars: Backtrader ran {told.done} of {bars.n_bars} bars of {bars.name}; check the calendar of the data"
        )
    return _trading(strategy.session, row - skipped, strategy.analyzers.ledger.path(), strategy.resumed_after)


def by_replay(task: Case, words: Words = Words(), *, compiled: bool | None = None) -> Trading:  # noqa: B008
    """Let a session trade on the twin's account: no feed, no clock, no broker.

    Raises
    ------
    ConfigError
        For a state: it keeps an account at Backtrader's broker.
    """
    if words.state is not None:
        raise ConfigError("engine: a state keeps the account at Backtrader's broker; leave out --state, or --engine")
    setup = setup_of(task.config, task.traded.symbols, task.market.pairs, task.policies, task.legs, task.fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdlePair)
        found = _at_once(task, setup) if words.stage is None and compiled is not False else None
        return found or _in_turn(task, setup, words, compiled)


def _at_once(task: Case, setup: Setup) -> Trading | None:
    """All bars together; None where a guard looks at the account, or a part fails or answers one bar at a time."""
    brain, terms, row = task.brain(), task.config.terms(), task.row
    if is_active(task.config.guard) or task.config.guard.kill_file or not can_be_foreseen(brain):
        return None
    check_blind(brain)
    traded, idle, whole, ahead = task.traded, setup.idle(setup.pairs), Whole(task.traded.n_bars), row
    for heard in hear(brain, read_in_pieces(task.market.bars.close, brain.reader)):
        if any(heard.failures):
            return None
        views, said, positions, failures = heard.rows(slice(min(ahead, len(heard.failures)), None))
        ahead -= len(heard.failures) - len(failures)
        if failures:
            idle.see_bars(views.pairs, positions)
            decisions = decided(said, views.traded, views.market, terms.lines, terms.risk)
            whole.write(said, decisions, PairPaths.of(setup.pairs, views.pairs, positions))
    said, decisions, pairs = whole.records()
    account = traded_at(terms, decisions.sent, traded, decisions.together)
    if account.rejected:
        account = replace(account, first_rejected=_first_rejected(terms, decisions, traded))
    return Trading(decisions, said, pairs, account, clipped_by(brain), {}, "", idle)


def _first_rejected(terms: Terms, decisions: Decisions, bars: Bars) -> int:
    """Row of the first order refused: a shorter replay has refused one or has not."""

    def refused(t: int) -> int:
        few = bars.between(None, bars.stamps[t])
        return traded_at(terms, decisions.sent[: t + 1], few, decisions.together[: t + 1]).rejected

    return bisect_left(range(bars.n_bars), 1, key=refused)


def _in_turn(task: Case, setup: Setup, words: Words, compiled: bool | None) -> Trading:
    """Bar by bar."""
    bars, row, stage, terms = task.market.bars, task.row, words.stage, task.config.terms()
    stamps = date_numbers(bars.stamps[row:])
    session = Session(
        setup._replace(trade_from=float(stamps[0])),
        compiled=compiled,
        bars_ahead=lambda: (stamps, bars.close[row:]),
        history=bars.close[:row],
        record=True,
    )
    told = _Told(words.progress, row, bars.n_bars)
    advise = None if stage is None else lambda stamp: stage.advise(moment_of(stamp))
    given = checked_terms(terms.cash, terms.costs, terms.rules)
    account = trade_session(session, task.traded, stamps.tolist(), given, advise, told.on_bar)
    return _trading(session, 0, account)


def by_both(task: Case, words: Words = Words()) -> Trading:  # noqa: B008
    """The account at Backtrader's broker, after a look whether its twin is the same on every bar.

    Raises
    ------
    ReconciliationError
        Naming the first bar on which anything differs, and what.
    """
    if words.state is not None:
        raise ConfigError("engine: a state keeps the account at Backtrader's broker; leave out --state, or --engine")
    first, second = (None, None) if words.stage is None else _read_once(words.stage)
    one = by_backtrader(task, words._replace(stage=first))
    other = by_replay(task, words._replace(stage=second))
    rows = [
        (int(np.argmax(gaps > 0.0)), said.name)
        for said in quantities(task.config.account.cash, one, other)
        if (gaps := said.gaps()).any()
    ]
    if rows:
        row, name = min(rows, key=itemgetter(0))
        on = say_stamp(task.traded.stamps[row])
        raise ReconciliationError(
            f"engine: Backtrader and its replay differ first on {on}, in {name}; please report this with the data"
        )
    return one


#: name -> how a case is traded
ENGINES: Mapping[str, Callable[[Case, Words], Trading]] = {
    "backtrader": by_backtrader,
    "replay": by_replay,
    "both": by_both,
}


class _Told:
    """Counts bars, and tells of them now and then."""

    def __init__(self, progress: Progress | None, done: int, n_bars: int) -> None:
        self.done, self._progress, self._n_bars = done, progress, n_bars

    def on_bar(self) -> None:
        self.done += 1
        if self._progress is not None and self.done % 64 == 0:
            self._progress(self.done, self._n_bars)


class _Again(NamedTuple):
    advise: Callable[[datetime], Advice]


def _read_once(stage: Reader) -> tuple[Reader, Reader]:
    """Documents are read for the first account; the second is told the same."""
    said: list[Advice] = []

    def read(moment: datetime) -> Advice:
        said.append(stage.advise(moment))
        return said[-1]

    again: Iterator[Advice] = iter(said)
    return _Again(read), _Again(lambda _: next(again))


def _trading(session: Session, row: int, account: AccountPath, resumed_after: str = "") -> Trading:
    """What a session leaves, from a row of its recorder on."""
    recorder = session.recorder
    assert recorder is not None
    session.decider.ahead = None  # what was seen of all bars, which is over
    paths = recorder.decisions(row), recorder.opinions(row), recorder.pairs(row)
    return Trading(*paths, account, session.decider.clipped(), session.guard.report(), resumed_after, session.idle)
