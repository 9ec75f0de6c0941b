"""Keeps a strategy's state on disk, and goes on from it after the process has died.

A bar is kept in two steps: a row is appended to `FILE.journal` (stamp, closes, targets sent, what a recorder notes);
then, on every `every`-th bar, FILE is replaced by a snapshot that says how many rows count. Whenever the process dies,
FILE holds the whole state after some bar.

On the way back, bars up to that one are not decided again:

    data from the first journalled bar on   the targets that were sent then are sent to the simulated broker again, so
                                            that orders, fills, analyzers and observers are those of an unbroken run
    data that begins later                  they are passed over; a simulated broker that holds nothing gets the account
                                            of the snapshot, with the orders that were under way

A broker with an account of its own keeps it: no order is ever sent to it twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.errors import StateError
from hybrid_bt.hybrid import Decision
from hybrid_bt.journal import Journal
from hybrid_bt.recording import Recorder
from hybrid_bt.snapshot import brain_state, check_fit, restore_brain
from hybrid_bt.state_file import read_state, write_state
from hybrid_bt.strategies.broker_state import is_fresh_simulator, put_account, read_account
from hybrid_bt.strategies.framework import bt


class StateKeeper:
    """State of one `HybridStrategy` between bars.

    Parameters
    ----------
    strategy : HybridStrategy
    path : str or Path
    every : int
        Bars from one snapshot to the next.
    fit : dict
        `hybrid_bt.snapshot.fit_of` of the strategy.

    Attributes
    ----------
    resumed_after : str
        Stamp of the last bar that was taken from the state; empty where nothing was.
    """

    def __init__(self, strategy: Any, path: str | Path, every: int, fit: dict[str, Any]) -> None:
        self.strategy, self.path, self.every, self.fit = strategy, Path(path), every, fit
        self.symbols = dict(zip(strategy.feeds, strategy.symbols, strict=True))
        self.resumed_after = ""
        self._resends = False  # whether past targets go to the broker again
        self._joined = False  # whether the first bar has been found among the past ones
        self._at = 0  # next past row
        self._unsaved = 0
        self._state: dict[str, Any] = {}
        n = len(strategy.symbols)
        width = 1 + 2 * n + self._recorder().width
        self._closes, self._sent, self._record = slice(1, 1 + n), slice(1 + n, 1 + 2 * n), slice(1 + 2 * n, width)
        self._past = np.empty((0, width))
        self._journal: Journal | None = None

    def _recorder(self) -> Recorder:
        strategy = self.strategy
        return Recorder(len(strategy.symbols), strategy.pair_names, tuple(strategy.config.legs_enabled()))

    def start(self) -> None:
        """Open the files and read what is there.

        Raises
        ------
        StateError
            If the state is damaged, of another run, or in use.
        """
        for other in self.strategy.cerebro.runningstrats:
            keeper = getattr(other, "keeper", None)
            if other is not self.strategy and keeper and keeper.path.absolute() == self.path.absolute():
                raise StateError(f"state: two strategies share {self.path}; name a file for each")
        brain_state(self.strategy.brain)  # what cannot be kept is said now, not after the first bar
        self._read()
        self._journal = journal = Journal(self.path.with_name(self.path.name + ".journal"), self._past.shape[1])
        kept = self._read()  # again: before the lock another process may have written it
        self._past = (
            journal.recall(kept["rows"], kept["sha256"]) if kept else journal.recall(0, sha256(b"").hexdigest())
        )

    def _read(self) -> dict[str, Any]:
        """Read the snapshot, if there is one; what it says of the journal."""
        if not self.path.exists():
            return {}
        self._state = read_state(self.path)
        check_fit(self.path, self._state["fit"], self.fit)
        kept: dict[str, Any] = self._state["journal"]
        if kept["width"] != self._past.shape[1]:
            raise StateError(f"state: {self.path} is of another version of hybrid_bt; finish with that, or begin anew")
        return kept

    def recall(self, closes: Sequence[float]) -> list[float] | None:
        """The targets sent on this bar, if the state has seen it; None from the first new bar on.

        Parameters
        ----------
        closes : (N,)
            NaN where a symbol has no bar.
        """
        if not self._joined:
            self._join()
        if self._at >= len(self._past):
            return None
        row = self._past[self._at]
        self._check_bar(row, closes)
        if self.strategy.recorder is not None:
            self.strategy.recorder.add_row(row[self._record].tolist())
        self._at += 1
        sent: list[float] = row[self._sent].tolist()
        return sent

    @property
    def resends(self) -> bool:
        """Whether the targets of a bar that was recalled are to be sent again."""
        return self._resends

    def end_past_bar(self) -> None:
        """End a bar that was recalled, after its orders."""
        if self._at == len(self._past):
            self._take_over(at_its_bar=True)

    def keep(self, closes: Sequence[float], decision: Decision, sent: Sequence[float]) -> None:
        """End a new bar, after its orders; `sent` is what they were made for, NaN where nothing was."""
        recorder = self._recorder()
        recorder.append(decision)
        self._open_journal().append([self.strategy.datetime[0], *closes, *sent, *recorder.last_row()])
        self._unsaved += 1
        if self._unsaved >= self.every:
            self.save()

    def save(self) -> None:
        """Take a snapshot now."""
        strategy = self.strategy
        write_state(
            self.path,
            {
                "fit": self.fit,
                "bar": {"stamp": strategy.datetime[0], "moment": _moment(strategy.datetime[0])},
                "strategy": strategy.own_state(),
                "brain": brain_state(strategy.brain),
                "account": read_account(strategy, self.symbols),
                "journal": self._open_journal().sync(),
            },
        )
        self._unsaved = 0

    def stop(self) -> None:
        """Keep the last bars as well, and let go of the files.

        Raises
        ------
        StateError
            If the data ended before the bar that the state was taken on.
        """
        if self._joined and self._at < len(self._past):
            raise StateError(
                f"state: the data ends on {_moment(self.strategy.datetime[0])}, before the last bar of {self.path}, "
                f"{_moment(self._past[-1, 0])}; give that data again, or more of it"
            )
        if self._unsaved:
            self.save()
        self._open_journal().close()

    def _open_journal(self) -> Journal:
        assert self._journal is not None, "StateKeeper: start() comes first"
        return self._journal

    def _join(self) -> None:
        """On the first bar of this process: find it among the past ones."""
        self._joined = True
        if not len(self._past):
            return
        stamps, now = self._past[:, 0], self.strategy.datetime[0]
        if now < stamps[0]:
            raise StateError(
                f"state: the data begins on {_moment(now)}, {self.path} on {_moment(stamps[0])}; "
                "begin both on the same bar, or the data later"
            )
        self._at = int(np.searchsorted(stamps, now))
        if self.strategy.recorder is not None:
            for row in self._past[: self._at]:
                self.strategy.recorder.add_row(row[self._record].tolist())
        fresh = is_fresh_simulator(self.strategy.broker)
        self._resends = fresh and self._at == 0
        self.strategy.begin_at(self._at)
        if self._at == len(self._past):
            self._take_over(at_its_bar=False)

    def _check_bar(self, row: Any, closes: Sequence[float]) -> None:
        """Compare a bar of the data with the one that was decided on."""
        now = self.strategy.datetime[0]
        if now != row[0]:
            raise StateError(
                f"state: {self.path} has a bar on {_moment(row[0])}, where the data has {_moment(now)}; "
                "give the data that it was written on"
            )
        for symbol, before, close in zip(self.strategy.symbols, row[self._closes].tolist(), closes, strict=True):
            if before != close and not (math.isnan(before) and math.isnan(close)):
                raise StateError(
                    f"state: the close of {symbol} on {_moment(now)} was {before!r}, now it is {close!r}; the data has "
                    "been revised: give the earlier data, or remove the state to begin anew"
                )

    def _take_over(self, *, at_its_bar: bool) -> None:
        """Go on from the snapshot: at the close of its bar, or on the first bar behind it, before it is decided on."""
        strategy, account = self.strategy, self._state["account"]
        restore_brain(strategy.brain, self._state["brain"])
        strategy.restore_own(self._state["strategy"], self._past[:, 0].tolist())
        self.resumed_after = _moment(self._past[-1, 0])
        if self._resends:
            self._check_account(account)
        elif strategy.shares_account():
            raise StateError(
                f"state: beside other strategies, or where orders fill in parts, {self.path} can only be gone on from "
                f"with the whole data, from {_moment(self._past[0, 0])} on"
            )
        elif is_fresh_simulator(strategy.broker) and "orders" in account:
            put_account(strategy, account, self.symbols)
            if not at_its_bar:
                strategy.broker.next()  # what it did on this bar so far, it did without the account
            self._tell_analyzers()

    def _tell_analyzers(self) -> None:
        """The account of this bar once more, for those who noted it before it was put in."""
        broker = self.strategy.broker
        for analyzer in self.strategy.analyzers:
            analyzer._notify_fund(broker.getcash(), broker.getvalue(), broker.fundvalue, broker.fundshares)

    def _check_account(self, kept: dict[str, Any]) -> None:
        now = read_account(self.strategy, self.symbols)
        for name, before in kept.items():
            if before != now[name] and repr(before) != repr(now[name]):  # NaN is not equal to itself
                raise StateError(
                    f"state: the account's {name} on {self.resumed_after} was {before!r}, now it is {now[name]!r}: "
                    "the broker's cash, costs or settings, or other prices than closes, have changed since"
                )


def _moment(stamp: float) -> str:
    moment = bt.num2date(stamp)
    return f"{moment:%Y-%m-%d}" if moment.time() == moment.min.time() else moment.isoformat(sep=" ", timespec="seconds")
