"""A run that is killed and resumed is the run that was never killed; a state that does not fit is refused by name."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import PAIRS, MemoryPolicy, random_bars, with_rows
from click.testing import CliRunner
from test_run import write_prices

import hybrid_bt.strategies.keeper as keeper_module
from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies, load_policies
from hybrid_bt.config import load_config
from hybrid_bt.errors import ConfigError, HybridError, StateError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.feeds.rehearsal import RehearsalStore
from hybrid_bt.journal import Journal
from hybrid_bt.run import main
from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission, TargetOrders

N = 330  #: bars; pairs trade from row 127 on, SAC from 252
BARS = random_bars(N)
HOLED = random_bars(N, missing=0.15, late=290, seed=3)
#: shorts, several orders a bar, and a guard with a memory
COSTS = {"kalman": {"gross_exposure": 2.0}, "fusion": {"at_reversion": 0.0, "at_neutral": 0.2, "at_trend": 0.4}}
GUARD = {"guard": {"drawdown_limit": 0.01, "drawdown_scale": 0.5, "drawdown_pause_bars": 7, "asset_limit": 0.15}}
POLICIES = {mode: load_policies(load_config(mode)) for mode in ("stable", "aggressive")}


def cerebro_of(bars: Bars, state: Path | None = None, mode: str = "stable", **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(load_config(mode).costs))
    given = {"mode": mode, "pairs": PAIRS, "record": True, "policies": POLICIES[mode], "overrides": COSTS}
    cerebro.addstrategy(HybridStrategy, state=state, **(given | params))
    cerebro.addanalyzer(Ledger, _name="ledger")
    cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
    return cerebro


def run(bars: Bars, state: Path | None = None, **params: Any) -> Any:
    (strategy,) = cerebro_of(bars, state, **params).run()
    return strategy


def assert_same_run(one: Any, other: Any) -> None:
    mine, theirs = one.recorder.decisions(), other.recorder.decisions()
    for name in ("regime", "fused", "target", "scale", "wanted", "guard"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name), equal_nan=True), name
    assert all(np.array_equal(mine.legs[leg], theirs.legs[leg]) for leg in mine.legs)
    for name in ("alpha", "beta", "zscore", "position"):
        assert np.array_equal(
            getattr(one.recorder.pairs(), name), getattr(other.recorder.pairs(), name), equal_nan=True
        )
    a, b = one.analyzers.ledger.path(), other.analyzers.ledger.path()
    for name in ("cash", "equity", "size", "borrow"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert a.fills == b.fills and a.rejected == b.rejected
    assert one.analyzers.trades.get_analysis() == other.analyzers.trades.get_analysis()
    assert one.guard.report() == other.guard.report()
    assert one.brain.legs["sac"].policy.clipped_count == other.brain.legs["sac"].policy.clipped_count


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the kernel has; only a power cut would ask for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


# --- killed at any bar, at any stage ---

STAGES = ("filled", "decided", "sent", "half a row", "row written", "half a state", "state not renamed", "renamed")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(row: int, stage: str) -> None:
    """Make this process kill itself on a row, at a stage of its bar."""
    at = {"row": -1}

    def before(owner: Any, name: str, when: str, first: Any = None) -> None:
        real = getattr(owner, name)

        def deadly(*args: Any, **kwargs: Any) -> Any:
            if at["row"] == row and stage == when:
                if first is not None:
                    first(*args)
                die()
            return real(*args, **kwargs)

        setattr(owner, name, deadly)

    def half_row(journal: Journal, numbers: Any) -> None:
        journal._file.write(np.array(numbers[: journal.width // 2]).tobytes())

    def half_state(path: Path, state: Any) -> None:
        path.with_name(f".{path.name}.0.part").write_bytes(path.read_bytes()[:999] if path.exists() else b"{")

    before(TargetOrders, "send", "decided")
    before(keeper_module.StateKeeper, "keep", "sent")
    before(Journal, "append", "half a row", half_row)
    before(keeper_module.StateKeeper, "save", "row written")
    before(keeper_module, "write_state", "half a state", half_state)
    before(os, "replace", "state not renamed")
    before(HybridStrategy, "_bar_is_over", "renamed")
    next_bar = HybridStrategy.next

    def counting(strategy: Any) -> None:
        at["row"] = strategy._rows
        if at["row"] == row and stage == "filled":
            die()
        next_bar(strategy)

    HybridStrategy.next = counting  # type: ignore[method-assign]


def killed(bars: Bars, state: Path, row: int, stage: str, **params: Any) -> None:
    def target() -> None:
        arm(row, stage)
        run(bars, state, **params)

    child = multiprocessing.get_context("fork").Process(target=target)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"not killed on row {row}, {stage}"


@pytest.mark.parametrize(
    ("bars", "mode", "overrides"),
    [(BARS, "stable", COSTS), (HOLED, "stable", COSTS | GUARD), (BARS, "aggressive", COSTS), (HOLED, "aggressive", {})],
    ids=["stable", "stable-holed-guarded", "aggressive", "aggressive-holed"],
)
def test_killed_again_and_again_equals_an_unbroken_run(bars: Bars, mode: str, overrides: Any, tmp_path: Path) -> None:
    params = {"mode": mode, "overrides": overrides}
    whole = run(bars, **params)
    fills = whole.analyzers.ledger.path().fills
    assert len(fills) > 30 and (overrides == {} or (whole.analyzers.ledger.path().size < 0).any())
    rng = np.random.default_rng(len(mode))
    busy = sorted({fill.decided for fill in fills})  # orders are under way at the end of these
    for every in (1, 5):
        state = tmp_path / f"state{every}"
        stages = rng.permutation(STAGES) if every == 1 else STAGES[:4]
        rows = np.sort(rng.choice(busy[: -2 * every], size=len(stages), replace=False))
        for row, stage in zip(rows.tolist(), stages, strict=True):
            killed(bars, state, row, stage, state_every=every, **params)
        resumed = run(bars, state, state_every=every, **params)
        assert resumed.keeper.resumed_after
        assert_same_run(resumed, whole)


def test_killed_while_warming_up_and_before_the_first_snapshot(tmp_path: Path) -> None:
    whole, state = run(BARS), tmp_path / "state"
    for row, stage in ((0, "row written"), (1, "half a state"), (100, "sent"), (252, "sent")):
        killed(BARS, state, row, stage)
    assert_same_run(run(BARS, state), whole)


def test_finished_run_resumes_to_itself_and_more_bars_go_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run(with_rows(BARS, slice(0, 300)), state)
    before = state.read_bytes()
    run(with_rows(BARS, slice(0, 300)), state)
    assert state.read_bytes() == before
    assert_same_run(run(BARS, state), run(BARS))


# --- a process that gets later bars only ---


@pytest.mark.parametrize("overlap", [0, 1, 40])
@pytest.mark.parametrize("modes", [{}, {"preload": False}, {"runonce": False}], ids=str)
def test_later_bars_alone_go_on_as_if_nothing_had_happened(overlap: int, modes: Any, tmp_path: Path) -> None:
    whole = run(BARS)
    path = whole.analyzers.ledger.path()
    decided = [fill.decided for fill in path.fills if fill.decided > 260]
    cut = 1 + decided[len(decided) // 2]  # orders are under way
    state = tmp_path / "state"
    run(with_rows(BARS, slice(0, cut)), state)
    cerebro = cerebro_of(with_rows(BARS, slice(cut - overlap, N)), state)
    (later,) = cerebro.run(**modes)
    mine = later.analyzers.ledger.path()
    for name in ("cash", "equity", "size"):
        assert np.array_equal(getattr(mine, name)[max(overlap - 1, 0) :], getattr(path, name)[cut - (overlap > 0) :]), (
            name
        )
    assert np.array_equal(later.recorder.decisions().target, whole.recorder.decisions().target)
    assert later.first_traded_row == whole.first_traded_row and later._rows == N
    late = [fill for fill in path.fills if fill.bar >= cut]
    assert [fill[2:] for fill in mine.fills] == [fill[2:] for fill in late]
    for feed in later.datas:  # Backtrader's own trades close when they should
        trade, position = later._trades[feed][0][-1], later.broker.getposition(feed)
        assert (trade.size, trade.price) == (position.size, position.price)


def test_missing_bars_and_waiting_orders_survive_a_later_start(tmp_path: Path) -> None:
    whole = run(HOLED)
    path, state = whole.analyzers.ledger.path(), tmp_path / "state"
    waiting = [f.decided + 1 for f in path.fills if f.bar > f.decided + 1 and f.decided > 260]  # accepted, not filled
    cut = 1 + waiting[0]
    run(with_rows(HOLED, slice(0, cut)), state)
    later = run(with_rows(HOLED, slice(cut - 12, N)), state)
    assert np.array_equal(later.analyzers.ledger.path().equity[11:], path.equity[cut - 1 :])


class Holding(HybridStrategy):
    """Stands for a broker that has an account of its own when the process begins."""

    def start(self) -> None:
        super().start()
        position = self.broker.positions[self.data0]
        position.size, position.price, position.datetime = 10, 50.0, None
        self.sent: list[Any] = []

    def notify_order(self, order: Any) -> None:
        self.sent.append((self._rows, order.ref))


def test_broker_with_an_account_of_its_own_gets_no_order_twice(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run(with_rows(BARS, slice(0, 300)), state)
    cerebro = cerebro_of(BARS, state)
    cerebro.strats[0][0] = (Holding, *cerebro.strats[0][0][1:])
    (strategy,) = cerebro.run()
    assert strategy.sent and min(row for row, _ in strategy.sent) > 300
    assert np.array_equal(strategy.recorder.decisions().fused, run(BARS).recorder.decisions().fused)


# --- a state that does not fit ---


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    run(with_rows(BARS, slice(0, 300)), folder / "state", state_every=50)
    return folder


@pytest.fixture
def state(kept: Path, tmp_path: Path) -> Path:
    for file in kept.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "state"


def altered(bars: Bars, row: int, factor: float, field: str) -> Bars:
    prices = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
    prices[field][row, 0] *= factor
    return Bars(bars.name, bars.symbols, bars.stamps, **prices, volume=bars.volume)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"overrides": COSTS | {"risk": {"volatility_target": 0.08}}}, "risk.volatility_target 0.1, now it is 0.08"),
        ({"overrides": COSTS | {"guard": {"asset_limit": 0.1}}}, "guard.asset_limit 0.0, now it is 0.1"),
        ({"pairs": PAIRS[:1]}, "written with pairs"),
        ({"use_ppo_lstm": False}, "with policies.gate"),
        ({"policies": Policies(POLICIES["aggressive"].sac, POLICIES["stable"].gate)}, "with policies.sac"),
        ({"trade_from": BARS.stamps[270].astype("datetime64[us]").item()}, "written with trade_from"),
    ],
)
def test_state_of_another_run_is_refused_by_what_differs(state: Path, params: Any, message: str) -> None:
    with pytest.raises(StateError, match=message):
        run(BARS, state, **params)


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        (altered(BARS, 280, 1.0001, "close"), "the close of AA on 2011-10-10 was"),
        (with_rows(BARS, slice(0, 280)), "the data ends on 2011-10-09, before the last bar of .*, 2011-10-29"),
        (with_rows(BARS, [*range(270), *range(271, N)]), "has a bar on 2011-09-30, where the data has 2011-10-01"),
        (replace(BARS, stamps=BARS.stamps - np.timedelta64(400, "D")), "the data begins on 2009-11-29"),
        (BARS.select(("BB", "AA", "CC", "DD")), "was written with symbols"),
    ],
    ids=["close", "short", "gap", "early", "order"],
)
def test_state_of_other_data_is_refused_by_what_differs(state: Path, bars: Bars, message: str) -> None:
    before = state.read_bytes()
    with pytest.raises(StateError, match=message):
        run(bars, state)
    assert state.read_bytes() == before


def test_revised_open_is_told_by_the_account_that_it_gives(state: Path) -> None:
    path = run(with_rows(BARS, slice(0, 300))).analyzers.ledger.path()
    row = next(fill.bar for fill in path.fills if fill.symbol == 0)
    with pytest.raises(StateError, match="the account's cash on 2011-10-29 was"):
        run(altered(BARS, row, 1.001, "open"), state)


def damage(state: Path, how: str) -> None:
    journal, head_body = state.with_name("state.journal"), state.read_bytes()
    if how == "cut":
        state.write_bytes(head_body[:-100])
    elif how == "bit":
        state.write_bytes(head_body.replace(b'"cash":', b'"cash":1', 1))
    elif how == "empty":
        state.write_bytes(b"")
    elif how == "other":
        state.write_bytes(b"\x80\x04pickle")
    elif how == "newer":
        state.write_bytes(head_body.replace(b'"version": 1', b'"version": 2', 1))
    elif how == "folder":
        state.unlink()
        state.mkdir()
    elif how == "no journal":
        journal.unlink()
    elif how == "short journal":
        os.truncate(journal, 4000)
    else:
        whole = journal.read_bytes()
        journal.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "is damaged or cut off"),
        ("bit", "is damaged or cut off"),
        ("empty", "does not begin as a state file"),
        ("other", "does not begin as a state file"),
        ("newer", "format version 2, this code reads 1; upgrade"),
        ("folder", "cannot read .*: Is a directory"),
        ("no journal", "is shorter than its state"),
        ("short journal", "is shorter than its state"),
        ("journal bit", "does not match its state"),
    ],
)
def test_damaged_state_is_refused_and_left_alone(state: Path, how: str, message: str) -> None:
    damage(state, how)
    with pytest.raises(StateError, match=message):
        run(BARS, state)


def test_state_is_plain_and_sealed(state: Path) -> None:
    head, body = (json.loads(line) for line in state.read_text().splitlines())
    assert head["format"] == "hybrid_bt state" and head["version"] == 1
    assert set(body) == {"fit", "bar", "strategy", "brain", "account", "journal"}
    assert body["journal"]["rows"] == 300 and body["bar"]["moment"] == "2011-10-29"
    assert body["account"]["positions"] and isinstance(body["account"]["cash"], float)


def test_state_is_for_one_process_and_one_strategy(state: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()

    def hold() -> None:
        journal = Journal(state.with_name("state.journal"), 1)
        held.set()
        done.wait(20)
        journal.close()

    child = context.Process(target=hold)
    child.start()
    assert held.wait(20)
    with pytest.raises(StateError, match="another process is writing"):
        run(BARS, state)
    done.set()
    child.join()
    cerebro = cerebro_of(BARS, state)
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, state=state)
    with pytest.raises(StateError, match="two strategies share"):
        cerebro.run()


def test_what_cannot_be_kept_is_said_before_the_first_bar(tmp_path: Path) -> None:
    gate: Any = MemoryPolicy()
    gate.manifest = SimpleNamespace(train_end=None, valid_end=None)
    with pytest.raises(StateError, match=r"gate \(MemoryPolicy\) has no state\(\) and restore\(\)"):
        run(BARS, tmp_path / "state", policies=Policies(POLICIES["stable"].sac, gate))
    with pytest.raises(StateError, match="cannot write"):
        run(BARS, tmp_path / "nowhere" / "state")
    with pytest.raises(ConfigError, match="state_every must be"):
        run(BARS, tmp_path / "state", state_every=0)


# --- the command ---


def test_command_killed_and_resumed_writes_the_same_bytes(tmp_path: Path) -> None:
    prices = write_prices(tmp_path / "four", 330)
    common = ["--data", str(prices), "--pairs", "BBB:AAA", "--no-plots", "--no-ledger", "--quiet"]
    state = [*common, "--state", str(tmp_path / "state"), "--state-every", "3"]

    def target() -> None:
        arm(300, "sent")
        main([*state, "--out", str(tmp_path / "never")], standalone_mode=False)

    child = multiprocessing.get_context("fork").Process(target=target)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL and not (tmp_path / "never").exists()
    for arguments, out in ((common, "whole"), (state, "resumed")):
        done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    for file in sorted((tmp_path / "whole").iterdir()):
        other = (tmp_path / "resumed" / file.name).read_bytes()
        if file.name != "run.json":
            assert file.read_bytes() == other, file.name
        else:
            one, two = json.loads(file.read_bytes()), json.loads(other)
            assert two["wall_clock"].pop("resumed_after") and one.pop("wall_clock") and two.pop("wall_clock")
            assert one == two
    refused = CliRunner().invoke(main, [*state, "--lot", "5", "--out", str(tmp_path / "refused")])
    assert refused.exit_code == 2 and "account.lot 1.0, now it is 5.0" in refused.output
    assert refused.output.count("\n") == 1 and not (tmp_path / "refused").exists()


def test_every_refusal_is_a_users_mistake() -> None:
    assert issubclass(StateError, HybridError)


class GoneError(Exception):
    """The process went away."""


@pytest.mark.parametrize(("calls", "history"), [(330, 0), (700, 0), (300, 330)])
def test_late_live_feeds_go_on_from_a_state_as_if_nothing_had_happened(
    calls: int, history: int, tmp_path: Path
) -> None:
    def earned(die: int = 0, **params: Any) -> float:
        class Mortal(HybridStrategy):
            def next(self) -> None:
                super().next()
                if len(self) == die:
                    raise GoneError

        store, cerebro = RehearsalStore(random_bars(400), latency=3, history=history), bt.Cerebro(stdstats=False)
        cerebro.addstore(store)
        for feed in store.feeds():
            cerebro.adddata(feed, name=feed._name)
        cerebro.broker.setcash(1_000_000.0)
        cerebro.addstrategy(Mortal, pairs=PAIRS, **params)
        cerebro.run()
        return float(cerebro.broker.getvalue())

    kept = tmp_path / "state"
    with pytest.raises(GoneError):
        earned(calls, state=kept)
    assert earned(state=kept) == earned() != 1_000_000.0
