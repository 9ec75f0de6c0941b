"""A trader: one bar at a time, from what the broker has to what is to be ordered of it, killed at any moment.

    come back   rows of the state are decided again; what the last one meant to send and the broker lacks is sent
    step        new bars -> the session -> targets -> orders of the broker's account -> the row, on disk -> submitted

The state is the journal of `brain.journal`, whose rows hold the account as the broker had it, what became of earlier
orders, and the orders meant. An order is known by its id, so the broker is asked what it has, and it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.journal import Journal, moment_of, said
from hybrid_bt.brain.legs.base import Decision
from hybrid_bt.brain.session import Session
from hybrid_bt.brain.settling import Books
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies, load_policies
from hybrid_bt.config.own_parts import setup_of, state_fit
from hybrid_bt.config.task import prepare
from hybrid_bt.equations.advice import Advice
from hybrid_bt.trade.beside import Difference, beside
from hybrid_bt.trade.brokers.base import Broker, BrokerError, Clock, Holdings, Order, Status
from hybrid_bt.trade.log import Log
from hybrid_bt.trade.memory import remember
from hybrid_bt.trade.orders import Sized, Standing, check_abilities, free_cash, sized
from hybrid_bt.trade.rows import LAPSED, SEEN, Seen, Told, moment_text, order_of, seen, told, written
from hybrid_bt.trade.state import State


class Plan(NamedTuple):
    """What is traded, and how."""

    mode: str
    config: Config
    symbols: tuple[str, ...]
    pairs: tuple[str, ...]
    allow_in_sample: bool = False
    tolerance_bps: float = 25.0  #: of equity a bar, and of the price of a fill, between broker and backtest
    policies: Policies | None = None  #: by default the configuration's


class Reads(Protocol):
    """Documents along the bars, such as `hybrid_bt.news.desk.RiskStage`."""

    def advise(self, stamp: datetime) -> Advice: ...


class Step(NamedTuple):
    """One bar that was traded."""

    stamp: float
    closes: Sequence[float]  #: (N,)
    holdings: Holdings  #: at the close, before its orders
    sizes: Sequence[float]  #: (N,) held
    targets: Sequence[float]  #: (N,) signed fractions of equity that were wanted; NaN keeps what is held
    decision: Decision
    sized: Sized
    answers: Mapping[str, Told]  #: what the broker said at once, by id
    differences: Sequence[Difference]  #: from what a backtest had since the bar before


class Trader:
    """One account, bar after bar.

    Parameters
    ----------
    broker : Broker
    plan : Plan
    path : Path
        Of the state; another process that has it open is refused.
    log : Log
    reads : callable, optional
        Documents, by the bars known.
    walks : bool
        Through bars that can be had again: a row need not be on the disk before the next one.
    is_dry : bool
        Neither write nor send.

    Raises
    ------
    StateError
        If the state is damaged, in use, of another account or plan, or the data was revised.
    ConfigError
        If the broker cannot do what is wanted, whatever is decided.
    BrokerError
        If the broker cannot be had.
    """

    def __init__(
        self,
        broker: Broker,
        plan: Plan,
        path: Path,
        log: Log,
        *,
        reads: Callable[[Bars], Reads] | None = None,
        walks: bool = False,
        is_dry: bool = False,
    ) -> None:
        self.broker, self.plan, self.log, self._walks, self._is_dry = broker, plan, log, walks, is_dry
        policies = plan.policies or load_policies(plan.config)
        fit = state_fit(plan.config, policies, plan.symbols, plan.pairs, None, reads is not None)
        journal = Journal(path, fit | {"broker": broker.name}, SEEN)
        self.abilities = log.ask(broker.abilities, plan.symbols)
        check_abilities(self.abilities, plan.config.order_rules, plan.config.costs.leverage)
        bars: Bars = log.ask(broker.bars, plan.symbols)
        self.state = state = State(journal, log, bars)
        self.case = prepare(
            Market(bars.name, bars, plan.pairs),
            plan.mode,
            config=plan.config,
            policies=policies,
            start=bars.stamps[state.first],
            allow_in_sample=plan.allow_in_sample,
            fills_later=True,
        )
        setup = setup_of(self.case.config, plan.symbols, plan.pairs, policies, self.case.legs, self.case.fitted)
        self.session = Session(setup, compiled=False, journal=journal)
        make, memory = partial(setup.make, setup.pairs), path.with_name(f"{path.name}.memory")
        self.session.decider = remember(memory, fit, bars.close[: state.first], make)
        self._reads = None if reads is None else reads(bars)
        self._looked = False  # whether bars were asked for since the last step
        if not journal.is_over:
            state.recall(self.session, self._advise)
            self._finish()

    def _finish(self) -> None:
        """Send what was meant for the next open and is not at the broker; later it lapses."""
        state, last = self.state, self.state.rows[-1]
        meant = [order_of(order) for order in seen(last)["orders"]]
        if not meant or self._is_dry:
            return
        known = self.log.ask(self.broker.orders, [order.id for order in meant])
        missing = [order for order in meant if order.id not in known]
        if not missing:
            return
        opens = moment_text(self.log.ask(self.broker.clock).next_open)
        if state.row == state.bars.n_bars - 1 and opens == seen(last)["next_open"]:
            self.log.line("goes on sending", bar=said(last.stamp), orders=len(missing))
            self._submit(missing)
            return
        state.over |= {order.id: (LAPSED, [], "") for order in missing}
        why = f"{len(missing)} orders of {said(last.stamp)} were never sent, and their open is over"
        self.log.alarm("lapsed", why, symbols=[order.symbol for order in missing])

    def _advise(self, stamp: float) -> Advice | None:
        return None if self._reads is None else self._reads.advise(moment_of(stamp))

    def step(self) -> Step | None:
        """Trade the newest closed bar; None where it was before. Bars between are decided on, and nothing is sent."""
        state = self.state
        if self._looked:
            state.look(self.log.ask(self.broker.bars, self.plan.symbols))
        self._looked = True
        newest = state.bars.n_bars - 1
        if state.row >= newest:
            return None
        clock: Clock = self.log.ask(self.broker.clock)
        if clock.is_open and clock.next_open > clock.now:
            raise BrokerError("broker: the market is open, its bar not over; step between a close and the next open")
        for row in range(state.row + 1 if state.rows else newest, newest):
            self._pass_over(row)
        return self._trade(newest, clock)

    def _pass_over(self, row: int) -> None:
        state, stamp, bar = self.state, self.state.numbers[row], said(self.state.numbers[row])
        self.session.bar(stamp, state.bars.close[row].tolist(), None)
        self.log.alarm("missed", f"nobody traded on {bar}: decided on now, and nothing sent", bar=bar)
        state.keep(self.session, row, state.seen(self.broker, None), None, lasting=not self._walks)

    def _trade(self, row: int, clock: Clock) -> Step:
        state, config, symbols = self.state, self.case.config, self.plan.symbols
        stamp, closes = state.numbers[row], state.bars.close[row].tolist()
        holdings: Holdings = self.log.ask(self.broker.account)
        account = state.seen(self.broker, holdings)
        sizes = [account["positions"].get(symbol, 0.0) for symbol in symbols]
        worth = [close if size else 0.0 for close, size in zip(state.last_closes(row), sizes, strict=True)]
        books = Books(account["equity"], sizes, worth, [close == close for close in closes])
        targets = self.session.bar(stamp, closes, lambda: books, self._advise(stamp))
        decision = self.session.decision
        assert targets is not None and decision is not None
        longs = sum(max(size * close, 0.0) for size, close in zip(sizes, worth, strict=True))
        cash = free_cash(holdings, longs, config.costs.leverage)
        standing = Standing(cash, books.equity, self._with_underway(sizes, account), state.was_ruined)
        together = [int(label) for label in self.session.together]
        terms = config.order_rules, config.costs
        found = sized(self.broker.name, stamp, symbols, closes, (targets, together), standing, terms, self.abilities)
        account["ruined"], account["together"] = found.ruined, together
        account["orders"], account["next_open"] = [*map(written, found.orders)], moment_text(clock.next_open)
        state.doubt(row)
        differences = self._beside(row, account)
        answers: Mapping[str, Told] = {}
        if not self._is_dry:
            state.keep(self.session, row, account, targets, lasting=not self._walks)
            facts = {"orders": len(found.orders), "held_back": found.held_back, "equity": account["equity"]}
            self.log.line("intent", bar=said(stamp), **facts)
            answers = self._submit(found.orders)
        return Step(stamp, closes, holdings, sizes, targets, decision, found, answers, differences)

    def _with_underway(self, sizes: Sequence[float], account: Seen) -> list[float]:
        """Shares held, and those that an order is still to bring."""
        both = dict(zip(self.plan.symbols, sizes, strict=True))
        for id, (status, fills, _) in account["answers"].items():
            order = self.state.pending[id]
            if status == Status.OPEN.value:
                both[order.symbol] += order.size - sum(fill[0] for fill in fills)
        return list(both.values())

    def _beside(self, row: int, account: Seen) -> list[Difference]:
        """What differs from a backtest since the row before; alarms of it."""
        state = self.state
        if not state.rows or not seen(state.rows[-1])["next_open"]:
            return []
        found = beside(state.bars, row, state.rows[-1], account, state.pending, self.case.config.costs)
        bar = said(state.numbers[row])
        for one in found:
            facts = {"bar": bar, "symbol": one.symbol, "assumed": one.assumed, "found": one.found, "bps": one.bps}
            if one.matters(self.plan.tolerance_bps):
                self.log.alarm(one.kind, one.words(), **facts)
            else:
                self.log.line(one.kind, **facts)
        return found

    def _submit(self, orders: Sequence[Order]) -> dict[str, Told]:
        """One after the other; one that is refused keeps no other waiting."""
        answers = {}
        for order in orders:
            try:
                answers[order.id] = told(self.log.ask(self.broker.submit, order))
            except BrokerError as error:
                if error.again:
                    raise
                answers[order.id] = self.state.over[order.id] = Status.REJECTED.value, [], str(error)
            status, _, reason = answers[order.id]
            self.log.line("order", id=order.id, symbol=order.symbol, size=order.size, status=status, reason=reason)
            if status == Status.REJECTED.value:
                self.log.alarm("rejected", f"{order.size:+g} {order.symbol}: {reason}", id=order.id)
        return answers

    def close(self) -> None:
        """Let go of the state; broker and log are the caller's."""
        self.state.journal.close()
