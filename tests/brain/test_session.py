"""A session below Backtrader: the same targets as `HybridStrategy`, from rows and an account that anybody brings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from brain_cases import PAIRS, random_bars, with_rows

from hybrid_bt.account.replay import days_of, one_path
from hybrid_bt.bars import Bars
from hybrid_bt.brain.journal import Journal
from hybrid_bt.brain.session import Session
from hybrid_bt.brain.settling import Books
from hybrid_bt.config import load_config
from hybrid_bt.config.build import load_policies
from hybrid_bt.config.own_parts import setup_of
from hybrid_bt.equations.accounting import broker_day, send_orders
from hybrid_bt.equations.book import Tape, new_book, open_account
from hybrid_bt.errors import StateError

BARS = random_bars(340, missing=0.03, seed=4)
CASH = 1_000_000.0
ORDINAL = 719_163  #: of 1970-01-01
BUSY = {"kalman": {"entry_z": 1.0, "gross_exposure": 2.0}, "account": {"rebalance_band": 0.0}}
GUARD = {"guard": {"drawdown_limit": 0.01, "drawdown_pause_bars": 7, "asset_limit": 0.1, "daily_loss_limit": 0.002}}
CASES = pytest.mark.parametrize("overrides", [BUSY, BUSY | GUARD], ids=["no guard", "guard"])


class Traded(NamedTuple):
    """What a hand-driven session came to."""

    session: Session
    targets: list[Any]
    equity: Any


def by_hand(bars: Bars, overrides: Any, journal: Journal | None = None, **given: Any) -> Traded:
    """Drive a session over a panel, with an account of the accounting twin."""
    config = load_config("stable", overrides=overrides)
    session = Session(
        setup_of(config, bars.symbols, PAIRS, load_policies(config)), journal=journal, record=True, **given
    )
    days, opens, closes = days_of(bars).tolist(), bars.open.tolist(), bars.close.tolist()
    targets: list[Any] = []

    def drive(tape: Tape) -> Any:
        account, book = open_account(CASH), new_book(bars.n_symbols)
        for t, row in enumerate(closes):
            account = broker_day(account, book, t, days[t], opens[t], row, config.costs, tape)
            tape.cash[t], tape.equity[t] = account.cash, account.equity
            books = Books(account.equity, list(book.size), list(book.close), [close == close for close in row])
            stamp = float(ORDINAL + days[t])
            past = session.recall(stamp, row)
            sent = session.bar(stamp, row, lambda books=books: books) if past is None else past.sent
            assert past is None or past.account == {"equity": account.equity}
            account = send_orders(account, book, t, sent, row, (), config.order_rules, config.costs)
            if past is None:
                session.keep({"equity": tape.equity[t]}, lasting=False)
            targets.append(list(sent))
        return account

    return Traded(session, targets, one_path(drive, bars.close.shape).equity)


def in_cerebro(bars: Bars, overrides: Any) -> Any:
    import backtrader as bt

    from hybrid_bt.analyzers import Ledger
    from hybrid_bt.feeds import to_feeds
    from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission

    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(CASH)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(load_config().costs))
    cerebro.addanalyzer(Ledger, _name="ledger")
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, overrides=overrides, record=True)
    return cerebro.run()[0]


@CASES
def test_hand_driven_session_wants_what_the_strategy_wants_in_cerebro(overrides: Any) -> None:
    strategy, mine = in_cerebro(BARS, overrides), by_hand(BARS, overrides)
    theirs = strategy.recorder.decisions()
    assert np.array_equal(mine.targets, theirs.sent, equal_nan=True) and np.nanmax(np.abs(theirs.sent)) > 0.1
    assert np.array_equal(mine.equity, strategy.analyzers.ledger.path().equity)
    assert mine.session.guard.report() == strategy.guard.report() and bool(mine.session.guard.triggers) is (
        "guard" in overrides
    )
    assert mine.session.first_traded_row == strategy.first_traded_row and mine.session.n_bars == BARS.n_bars


@CASES
def test_session_goes_on_from_its_journal(overrides: Any, tmp_path: Path) -> None:
    whole = by_hand(BARS, overrides)
    for rows in (200, 300, BARS.n_bars, BARS.n_bars):
        journal = Journal(tmp_path / "state", {})
        found = by_hand(with_rows(BARS, slice(0, rows)), overrides, journal)
        journal.close()
    assert np.array_equal(found.targets, whole.targets, equal_nan=True)
    assert np.array_equal(found.equity, whole.equity)
    assert found.session.guard.report() == whole.session.guard.report()


def test_row_that_the_journal_has_otherwise_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state", {})
    by_hand(with_rows(BARS, slice(0, 300)), BUSY, journal)
    journal.close()
    close = BARS.close[:300].copy()
    close[250, 1] *= 1.001
    other = replace(with_rows(BARS, slice(0, 300)), close=close)
    with pytest.raises(StateError, match=f"the close of BB on {str(BARS.stamps[250])[:10]} was .* revised"):
        by_hand(other, BUSY, Journal(tmp_path / "state", {}))


def test_session_looks_ahead_where_it_is_told_what_comes_and_leaves_it_where_that_is_wrong() -> None:
    pytest.importorskip("numba")
    stamps = (days_of(BARS) + ORDINAL).astype(np.float64)
    wrong = stamps.copy()
    wrong[300] += 0.5
    found = {
        name: by_hand(BARS, BUSY, compiled=True, bars_ahead=lambda stamps=ahead: (stamps, BARS.close))
        for name, ahead in (("right", stamps), ("wrong", wrong))
    }
    assert found["right"].session.decider.ahead and not found["wrong"].session.decider.ahead
    plain = by_hand(BARS, BUSY)
    assert all(np.array_equal(one.targets, plain.targets, equal_nan=True) for one in found.values())


def test_session_needs_no_framework() -> None:
    lines = "\n".join(
        (
            "import sys, hybrid_bt.brain.session, hybrid_bt.config.own_parts",
            "print([name for name in ('backtrader', 'pandas', 'torch', 'gymnasium') if name in sys.modules])",
            "print('hybrid_bt.strategies.hybrid' in sys.modules)",
        )
    )
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]


def test_books_are_asked_for_only_where_a_rule_needs_them() -> None:
    def never() -> Books:
        raise AssertionError("nobody needs them")

    session = by_hand(with_rows(BARS, slice(0, 10)), BUSY).session
    unasked: Callable[[], Books] = never
    assert session.bar(1e6, BARS.close[10].tolist(), unasked) is not None
    assert session.bar(1e6 + 1, BARS.close[11].tolist(), None) is None
