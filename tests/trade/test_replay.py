"""A span that is traded bar by bar with the paper broker is the backtest of it, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trade_cases import START, Desk, small

from hybrid_bt import run_backtest
from hybrid_bt.report import Run
from hybrid_bt.trade.beside import twin
from hybrid_bt.trade.status import read_standing


def fills_of(path: Path) -> list[tuple[str, float, float, float]]:
    """Of the paper account, in the order in which they happened."""
    import sqlite3

    with sqlite3.connect(path) as db:
        asked = "select o.symbol, f.size, f.price, f.fee from fills f join orders o on o.id = f.id order by f.number"
        return db.execute(asked).fetchall()


def check_equal(run: Run, home: Path) -> None:
    """Orders, fills, account and decisions."""
    standing, hybrid = read_standing(home / "s"), run.accounts["hybrid"]
    assert np.array_equal([row.sent for row in standing.rows], run.decisions.sent, equal_nan=True)
    assert np.array_equal(standing.twin.live, hybrid.equity)
    assert np.array_equal(standing.twin.path.equity, hybrid.equity)
    assert [row.account["cash"] for row in standing.rows] == hybrid.cash.tolist()
    assert fills_of(home / "s.paper") == [(run.bars.symbols[one.symbol], *one[3:]) for one in hybrid.fills]
    ordered = sum(len(row.account["orders"]) for row in standing.rows)
    assert ordered == len(hybrid.fills) + hybrid.rejected + len(standing.pending)


@pytest.mark.parametrize("mode", ["stable", "aggressive"])
@pytest.mark.parametrize("gaps", [False, True])
def test_replay_is_the_run(tmp_path: Path, mode: str, gaps: bool) -> None:
    market = small(gaps=gaps)
    desk = Desk(tmp_path, market, mode)
    steps, _ = desk.walk()
    run = run_backtest(market, mode=mode, start=START)
    check_equal(run, tmp_path)
    assert [step.holdings.equity for step in steps] == run.accounts["hybrid"].equity.tolist()
    assert desk.events() == []
    with desk.opened() as again:  # what stands on the disk comes to the same
        assert again.step() is None
        costs, rules = again.case.config.costs, again.case.config.order_rules
        assert twin(market.bars.symbols, again.state.rows, costs, rules).path.equity[-1] == steps[-1].holdings.equity


def test_evening_by_evening_is_the_walk(tmp_path: Path) -> None:
    market = small("2020-02-28")
    (tmp_path / "walk").mkdir()
    (tmp_path / "days").mkdir()
    walk, days = Desk(tmp_path / "walk", market), Desk(tmp_path / "days", market)
    walk.walk("2020-01-02")
    days.walk("2020-01-02")
    walk.walk()
    for stamp in market.bars.stamps[market.bars.stamps > np.datetime64("2020-01-02")]:
        step = days.step(str(stamp)[:10])
        assert step is not None and days.events() == []
    assert fills_of(tmp_path / "walk" / "s.paper") == fills_of(tmp_path / "days" / "s.paper") != []
    rows = [read_standing(tmp_path / name / "s").rows for name in ("walk", "days")]
    assert repr(rows[0]) == repr(rows[1])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_replay_of_us20_is_the_run(tmp_path: Path, mode: str) -> None:
    from click.testing import CliRunner

    from hybrid_bt.commands.trade import main

    flags = ["--state", str(tmp_path / "s"), "--mode", mode, "--replay", "--start", "2015-01-02", "--no-plots", "-q"]
    assert CliRunner().invoke(main, flags).exit_code == 0
    check_equal(run_backtest("us20", mode=mode, start="2015-01-02"), tmp_path)


def test_documents_are_read_once_and_stand_in_the_state(tmp_path: Path) -> None:
    """Evening by evening with a risk manager is the run with it; what a row has is not asked again."""
    from hybrid_bt.config import load_config
    from hybrid_bt.news.answers import RiskSetup
    from hybrid_bt.news.desk import open_desk

    market = small("2020-02-14")
    config = load_config("stable")
    desk = Desk(tmp_path, market)
    desk.documents = open_desk(RiskSetup("lexicon"), config.news, market.bars.symbols)
    desk.walk("2020-01-02")
    for stamp in market.bars.stamps[market.bars.stamps > np.datetime64("2020-01-02")]:
        assert desk.step(str(stamp)[:10]) is not None
    run = run_backtest(market, start=START, news=open_desk(RiskSetup("lexicon"), config.news, market.bars.symbols))
    check_equal(run, tmp_path)
    advice = [row.advice for row in read_standing(tmp_path / "s").rows]
    assert None not in advice and any(any(one[5]) for one in advice)  # reasons


def test_bars_before_trading_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hybrid_bt.brain import foresight

    read, absorb = [], foresight.absorb
    monkeypatch.setattr(foresight, "absorb", lambda brain, closes: read.append(len(closes)) or absorb(brain, closes))
    market, memory = small("2020-01-31"), tmp_path / "s.memory"
    desk = Desk(tmp_path, market)
    desk.step("2020-01-02")
    n = int(np.searchsorted(market.bars.stamps, np.datetime64("2020-01-02")))
    assert sum(read) == n - 1  # and the last of them as a bar
    whole = memory.read_bytes()
    half = len(whole) // 2
    rotten = (whole[:half] + whole[half:].replace(b"7", b"8", 1), whole.replace(b'"thing"', b'"thong"'))
    for damage in (None, b"{", b"", whole.replace(b"key", b"kex"), *rotten):
        read.clear()
        if damage is not None:
            memory.write_bytes(damage)
        with desk.opened("2020-01-02") as trader:
            assert trader.step() is None
        assert sum(read) == (0 if damage is None else n - 1)
    other = small("2020-01-31")
    close = other.bars.close.copy()
    close[3, 0] *= 1.01  # of the past
    bars = type(other.bars)(*("small", other.bars.symbols, other.bars.stamps, *[close] * 4, other.bars.volume))
    fresh = Desk(tmp_path / "fresh", other)
    fresh.home.mkdir()
    (fresh.home / "s.memory").write_bytes(memory.read_bytes())
    read.clear()
    fresh.step("2020-01-02", bars)
    assert sum(read) == n - 1


@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_a_brain_from_its_memory_is_the_brain_that_read_everything(tmp_path: Path, mode: str) -> None:
    from functools import partial

    from hybrid_bt.config.task import prepare
    from hybrid_bt.trade.memory import remember

    case = prepare(small(gaps=True), mode, start=START)
    make, closes = case.brain, case.market.bars.close
    ask = partial(remember, tmp_path / "memory", {}, closes[: case.row], make)
    read, kept = ask(), ask()
    whole = make()
    for row in closes[: case.row].tolist():
        whole.opine(row)
    for row in closes[case.row :].tolist():
        said = {repr(brain.decide(row)) for brain in (whole, read.current, kept.current)}
        assert len(said) == 1
