"""Keeps a strategy's state on disk, and goes on from it after the process has died: the state is its inputs.

A bar is kept by one row of a journal: what came from outside (stamp, closes, what documents advised, the account as the
guard saw it) and what was sent. Whenever the process dies, the rows tell all that happened up to some bar.

On the way back brain and guard decide those bars again, on the rows, and must want what was sent:

    data from the first row on   the targets go to the simulated broker again, so that orders, fills, analyzers and
                                 observers are those of an unbroken run
    data that begins later       a simulated broker that holds nothing gets the account of the last row, with the orders
                                 that were under way

A broker with an account of its own keeps it: no order is ever sent to it twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_bt import __version__
from hybrid_bt.brain.journal import Journal, Row
from hybrid_bt.config.build import Policies
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.guard_limits import GuardFacts
from hybrid_bt.errors import StateError
from hybrid_bt.feeds.framework import bt
from hybrid_bt.strategies.broker_state import is_fresh_simulator, put_account, read_account

PATHS = ("sac.file", "gate.file", "guard.kill_file")  #: names of files; their content is what counts


class StateKeeper:
    """State of one `HybridStrategy` between bars.

    Parameters
    ----------
    strategy : HybridStrategy
    path : str or Path
    policies : Policies

    Attributes
    ----------
    resumed_after : str
        Stamp of the last bar that was taken from the state; empty where nothing was.
    """

    journal: Journal  #: from `start` on

    def __init__(self, strategy: Any, path: str | Path, policies: Policies) -> None:
        self.strategy, self.path, self._policies = strategy, Path(path), policies
        self.symbols = dict(zip(strategy.feeds, strategy.symbols, strict=True))
        self.resumed_after = ""
        self._resends = False  # whether past targets go to the broker again
        self._begun = False  # whether the first bar of this process has been found among the past ones
        self._at = 0  # next past row

    def start(self) -> None:
        """Open the journal and read what is there.

        Raises
        ------
        StateError
            If it is damaged, of another run, or in use.
        """
        for other in self.strategy.cerebro.runningstrats:
            keeper = getattr(other, "keeper", None)
            if other is not self.strategy and keeper and keeper.path.absolute() == self.path.absolute():
                raise StateError(f"state: two strategies share {self.path}; name a file for each")
        self.journal = Journal(self.path, _fit(self.strategy, self._policies))

    def recall(self, closes: Sequence[float]) -> bool:
        """Decide a bar again that the state has seen; False from the first new bar on.

        Parameters
        ----------
        closes : (N,)
            NaN where a symbol has no bar.
        """
        if not self._begun:
            self._begin()
        if self._at == len(self.journal.lines):
            return False
        row, now = self._next_row(), self.strategy.datetime[0]
        if now != row.stamp:
            raise StateError(
                f"state: {self.path} has a bar on {_moment(row.stamp)}, where the data has {_moment(now)}; "
                "give the data that it was written on"
            )
        remedy = "the data has been revised: give the earlier data, or remove the state to begin anew"
        self._compare(row, "the close of", self._of_symbols(row.closes), self._of_symbols(closes), remedy)
        self._decide_again(row)
        self.strategy.carry_out(row.stamp, row.sent, send=self._resends)
        if self._resends:
            remedy = "the broker's cash, costs or settings, or other prices than closes, have changed since"
            self._compare(row, "the account's", row.account, read_account(self.strategy, self.symbols), remedy)
        if self._at == len(self.journal.lines):
            self._take_over(row, at_its_bar=True)
        return True

    def keep(
        self, closes: Sequence[float], advice: Advice | None, seen: GuardFacts | None, sent: Sequence[float] | None
    ) -> None:
        """End a new bar, after its orders; where it could not be had again, wait until it is on the disk."""
        strategy = self.strategy
        lasting = not isinstance(strategy.broker, bt.brokers.BackBroker) or any(f.islive() for f in strategy.feeds)
        account = read_account(strategy, self.symbols)
        self.journal.append(Row(strategy.datetime[0], closes, advice, seen, sent, account), lasting=lasting)

    def stop(self) -> None:
        """Let go of the journal.

        Raises
        ------
        StateError
            If the data ended before the last bar of the state.
        """
        if self._begun and self._at < len(self.journal.lines):
            raise StateError(
                f"state: the data ends on {_moment(self.strategy.datetime[0])}, before the last bar of {self.path}, "
                f"{_moment(_row(self.journal.lines[-1]).stamp)}; give that data again, or more of it"
            )
        self.journal.close()

    def _next_row(self) -> Row:
        self._at += 1
        return _row(self.journal.lines[self._at - 1])

    def _begin(self) -> None:
        """On the first bar of this process: decide what lies before it once more."""
        self._begun, lines = True, self.journal.lines
        if not lines:
            return
        strategy, now, first = self.strategy, self.strategy.datetime[0], _row(lines[0]).stamp
        if now < first:
            raise StateError(
                f"state: the data begins on {_moment(now)}, {self.path} on {_moment(first)}; "
                "begin both on the same bar, or the data later"
            )
        self._resends = now == first and is_fresh_simulator(strategy.broker)
        while self._at < len(lines) and _row(lines[self._at]).stamp < now:
            row = self._next_row()
            self._decide_again(row)
            strategy.n_bars += 1
        if self._at == len(lines):
            self._take_over(row, at_its_bar=False)

    def _decide_again(self, row: Row) -> None:
        """Let brain and guard remember a past bar, and compare what they want with what was sent."""
        strategy, seen = self.strategy, row.seen and GuardFacts(*row.seen)
        if row.advice:
            strategy.advise(row.stamp)  # whoever reads documents remembers them too; what counts is what was said then
        advice = row.advice and Advice(*row.advice)
        look = None if row.sent is None else lambda _: seen
        _, sent = strategy.decide(row.stamp, row.closes, advice, look)
        remedy = (
            f"hybrid_bt {self.journal.written_by} wrote {self.path}, this is {__version__}, or a part of your own "
            "answers otherwise: go on with what wrote it, or, from the account as it stands, with another state file "
            "and trade_from behind this one's last bar"
        )
        self._compare(row, "the target of", self._of_symbols(row.sent or ()), self._of_symbols(sent or ()), remedy)

    def _of_symbols(self, values: Sequence[float]) -> dict[str, float]:
        return dict(zip(self.strategy.symbols, map(float, values), strict=False))

    def _compare(self, row: Row, what: str, before: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
        """Name the first thing that is not what it was on a past bar."""
        for name, value in before.items():
            if repr(value) != repr(now[name]):  # NaN is not equal to itself
                raise StateError(
                    f"state: {what} {name} on {_moment(row.stamp)} was {value!r}, now it is {now[name]!r}; {remedy}"
                )

    def _take_over(self, row: Row, *, at_its_bar: bool) -> None:
        """Go on from the last row: at the close of its bar, or on the first bar behind it, before it is decided on."""
        strategy = self.strategy
        self.resumed_after = _moment(row.stamp)
        if self._resends:
            return
        strategy.target_orders.ruined = row.account["ruined"]
        if strategy.target_orders.counts_itself:
            raise StateError(
                f"state: beside other strategies, or where orders fill in parts, {self.path} can only be gone on from "
                f"with the whole data, from {_moment(_row(self.journal.lines[0]).stamp)} on"
            )
        if "orders" in row.account and is_fresh_simulator(strategy.broker):
            put_account(strategy, row.account, self.symbols)
            if not at_its_bar:
                strategy.broker.next()  # what it did on this bar so far, it did without the account
            broker = strategy.broker
            for analyzer in strategy.analyzers:  # who noted the account of this bar before it was put in
                analyzer._notify_fund(broker.getcash(), broker.getvalue(), broker.fundvalue, broker.fundshares)


def _fit(strategy: Any, policies: Policies) -> dict[str, Any]:
    """What a state holds true for, by name."""
    config, p = strategy.config, strategy.p
    sections = config.without_news() if p.news is None else config.sections()
    numbers = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {
        "symbols": strategy.symbols,
        "pairs": p.pairs if p.pairs == "auto" else strategy.pair_names,
        **{
            f"policies.{name}": policy and str(getattr(policy, "sha256", None) or type(policy).__name__)
            for name, policy in policies._asdict().items()
        },
        "kalman_params": p.kalman_params,
        "trade_from": strategy.trade_from,
        **{name: value for name, value in numbers.items() if name not in PATHS},
    }


def _row(line: bytes) -> Row:
    return Row(*json.loads(line))


def _moment(stamp: float) -> str:
    moment = bt.num2date(stamp)
    return f"{moment:%Y-%m-%d}" if moment.time() == moment.min.time() else moment.isoformat(sep=" ", timespec="seconds")
