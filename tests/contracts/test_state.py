"""A run that is killed and resumed is the run that was never killed; a state that does not fit is refused by name."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import resource
import signal
import zlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import PAIRS, MemoryPolicy, random_bars, with_rows
from click.testing import CliRunner
from live_rehearsal import RehearsalStore
from price_files import write_prices

from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.brain.journal import Entry, Journal
from hybrid_bt.brain.legs.base import Wish
from hybrid_bt.brain.session import Session
from hybrid_bt.commands.run import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import Policies, load_policies
from hybrid_bt.equations.advice import Advice
from hybrid_bt.errors import HybridError, StateError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission, TargetOrders

N = 330  #: bars; pairs trade from row 127 on, SAC from 252
BARS = random_bars(N)
HOLED = random_bars(N, missing=0.15, late=290, seed=3)
#: shorts, several orders a bar, and a guard with a memory
COSTS = {
    "kalman": {"gross_exposure": 2.0, "entry_z": 1.0, "entry_costs": 0.0},
    "fusion": {"at_reversion": 1.0, "at_neutral": 0.8, "at_trend": 0.6},
}
GUARD = {"guard": {"drawdown_limit": 0.01, "drawdown_scale": 0.5, "drawdown_pause_bars": 7, "asset_limit": 0.15}}
#: interest that depends on the whole account
INTEREST = {"financing_bps_per_year": 300.0, "rebate_bps_per_year": 40.0, "idle_cash_bps_per_year": 100.0}
BUSY = COSTS | {"account": {"rebalance_band": 0.0}}
POLICIES = {mode: load_policies(load_config(mode)) for mode in ("stable", "aggressive")}


def cerebro_of(bars: Bars, state: Path | None = None, mode: str = "stable", **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    costs = load_config(mode).costs._replace(**INTEREST)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(costs))
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
    assert np.array_equal(mine.waits, theirs.waits) and np.array_equal(mine.together, theirs.together)
    for name in ("amounts", "before", "risks"):
        assert np.array_equal(getattr(one.recorder.opinions(), name), getattr(other.recorder.opinions(), name)), name
    assert np.array_equal(mine.sides, theirs.sides)
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
    assert one.clipped_observations == other.clipped_observations


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the kernel has; only a power cut would ask for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


# --- killed at any bar, at any stage ---

STAGES = ("filled", "decided", "sent", "half a row", "row written")


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

    def half_row(journal: Journal, row: Entry, **_: Any) -> None:
        journal._file.write(b"01234567 " + json.dumps(row).encode()[: 20 * len(row.closes)])

    before(TargetOrders, "send", "decided")
    before(Session, "keep", "sent")
    before(Journal, "append", "half a row", half_row)
    next_bar = HybridStrategy.next
    kept = Session.keep

    def keeping(session: Session, *args: Any, **kwargs: Any) -> None:
        kept(session, *args, **kwargs)
        if at["row"] == row and stage == "row written":
            die()

    Session.keep = keeping  # type: ignore[method-assign]

    def counting(strategy: Any) -> None:
        at["row"] = strategy.n_bars
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
    stages, state = np.tile(rng.permutation(STAGES), 2), tmp_path / "state"
    rows = np.sort(rng.choice(busy[:-2], size=len(stages), replace=False))
    for row, stage in zip(rows.tolist(), stages, strict=True):
        killed(bars, state, row, stage, **params)
    resumed = run(bars, state, **params)
    assert resumed.resumed_after
    assert_same_run(resumed, whole)


def test_killed_while_warming_up_and_within_the_first_line(tmp_path: Path) -> None:
    whole, state = run(BARS), tmp_path / "state"
    for row, stage in ((0, "half a row"), (0, "row written"), (100, "sent"), (252, "sent")):
        killed(BARS, state, row, stage)
    first = state.read_bytes().partition(b"\n")[0]
    for length in (0, 40, len(first)):  # nothing but a part of it was written
        (tmp_path / "cut").write_bytes(first[:length])
        killed(BARS, tmp_path / "cut", 3, "sent")
        assert (tmp_path / "cut").read_bytes() == b"".join(state.read_bytes().splitlines(keepends=True)[:4])
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
    assert later.first_traded_row == whole.first_traded_row and later.n_bars == N
    late = [fill for fill in path.fills if fill.bar >= cut]
    assert [fill[2:] for fill in mine.fills] == [fill[2:] for fill in late]
    for feed in later.datas:  # Backtrader's own trades close when they should
        trade, position = later._trades[feed][0][-1], later.broker.getposition(feed)
        assert (trade.size, trade.price) == (position.size, position.price)


@pytest.mark.parametrize("overrides", [BUSY, BUSY | GUARD], ids=["plain", "guarded"])
def test_missing_bars_and_waiting_orders_survive_a_later_start(overrides: Any, tmp_path: Path) -> None:
    whole = run(HOLED, overrides=overrides)
    path, state = whole.analyzers.ledger.path(), tmp_path / "state"
    waiting = [f.decided + 1 for f in path.fills if f.bar > f.decided + 1 and f.decided > 260]  # accepted, not filled
    cut = next(row + 1 for row in waiting if np.isnan(HOLED.close[row + 1]).any())  # the first new bar has holes too
    run(with_rows(HOLED, slice(0, cut)), state, overrides=overrides)
    later = run(with_rows(HOLED, slice(cut - 12, N)), state, overrides=overrides)
    assert np.array_equal(later.analyzers.ledger.path().equity[11:], path.equity[cut - 1 :])
    assert later.guard.report() == whole.guard.report() and bool(later.guard.triggers) == (overrides != BUSY)


def test_switch_that_was_on_then_counts_as_on(tmp_path: Path) -> None:
    switch, state = tmp_path / "stop", tmp_path / "state"

    class Switched(HybridStrategy):
        def next(self) -> None:
            if self.n_bars == 280:
                switch.touch()
            super().next()

    params = {"overrides": COSTS | {"guard": {"kill_file": str(switch)}}}
    cerebro = cerebro_of(with_rows(BARS, slice(0, 285)), state, **params)
    cerebro.strats[0][0] = (Switched, *cerebro.strats[0][0][1:])
    cerebro.run()
    switch.unlink()
    assert run(BARS, state, **params).guard.triggers == {"kill_switch": 5}


class Holding(HybridStrategy):
    """Stands for a broker that has an account of its own when the process begins."""

    def start(self) -> None:
        super().start()
        position = self.broker.positions[self.data0]
        position.size, position.price, position.datetime = 10, 50.0, datetime(2010, 1, 1)
        self.sent: list[Any] = []

    def notify_order(self, order: Any) -> None:
        self.sent.append((self.n_bars, order.ref))


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
    run(with_rows(BARS, slice(0, 300)), folder / "state")
    return folder


@pytest.fixture
def state(kept: Path, tmp_path: Path) -> Path:
    for file in kept.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "state"


def altered(bars: Bars, row: int, factor: float, field: str) -> Bars:
    lines = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume")}
    lines[field][row, 0] = lines[field][row, 0] * factor or 7.0  # they have no volume
    return Bars(bars.name, bars.symbols, bars.stamps, **lines)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"overrides": COSTS | {"risk": {"volatility_target": 0.08}}}, "risk.volatility_target 0.1, now it is 0.08"),
        ({"overrides": COSTS | {"guard": {"asset_limit": 0.1}}}, "guard.asset_limit 0.0, now it is 0.1"),
        ({"pairs": PAIRS[:1]}, "written with pairs"),
        ({"use_ppo_lstm": False}, "with policies.gate"),
        ({"policies": Policies(POLICIES["stable"].sac.member(0), POLICIES["stable"].gate)}, "with policies.sac"),
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
        (
            altered(BARS, 280, 1.0001, "open"),
            "the open of AA on 2011-10-10 was .*, now it is .*; the data has been rev",
        ),
        (altered(BARS, 280, 1.0001, "high"), "the high of AA on 2011-10-10 was"),
        (altered(BARS, 280, 0.9999, "low"), "the low of AA on 2011-10-10 was"),
        (altered(BARS, 280, 0.5, "volume"), "the volume of AA on 2011-10-10 was"),
        (altered(BARS, 0, 0.5, "volume"), "the volume of AA on 2011-01-03 was"),  # before anything is traded
        (with_rows(BARS, slice(0, 280)), "the data ends on 2011-10-09, before the last bar of .*, 2011-10-29"),
        (with_rows(BARS, [*range(270), *range(271, N)]), "has a bar on 2011-09-30, where the data has 2011-10-01"),
        (replace(BARS, stamps=BARS.stamps - np.timedelta64(400, "D")), "the data begins on 2009-11-29"),
        (BARS.select(("BB", "AA", "CC", "DD")), "was written with symbols"),
    ],
    ids=["close", "open", "high", "low", "volume", "first", "short", "gap", "early", "order"],
)
def test_state_of_other_data_is_refused_by_what_differs(state: Path, bars: Bars, message: str) -> None:
    before = state.read_bytes()
    with pytest.raises(StateError, match=message):
        run(bars, state)
    assert state.read_bytes() == before


@pytest.mark.parametrize("field", ["open", "high", "low", "volume"])
def test_revised_bar_is_told_where_later_data_overlaps(field: str, state: Path) -> None:
    with pytest.raises(StateError, match=f"the {field} of AA on 2011-10-10 was"):
        run(with_rows(altered(BARS, 280, 1.001, field), slice(270, N)), state)


@pytest.mark.parametrize("other", ["cash", "costs", "filler"])
def test_another_account_is_told_by_the_bar_on_which_it_differs(other: str, state: Path) -> None:
    before, cerebro = state.read_bytes(), cerebro_of(BARS, state)
    day, what = str(BARS.stamps[0])[:10], "cash"
    if other == "cash":
        cerebro.broker.setcash(900_000.0)
    elif other == "costs":
        cerebro.broker.addcommissioninfo(SpreadFeeCommission(spread_bps=50.0))
        fills = run(with_rows(BARS, slice(0, 300))).analyzers.ledger.path().fills
        day = str(BARS.stamps[fills[0].bar])[:10]
    else:  # orders are cut by a filler of the user's own
        cerebro.broker.set_filler(bt.fillers.FixedSize(size=1))
        day, what = r"\d{4}-\d\d-\d\d", r"\w+"
    with pytest.raises(StateError, match=f"the account's {what} on {day} was .*; the broker's cash, costs or settings"):
        cerebro.run()
    assert state.read_bytes() == before


def by_version(content: bytes, version: str, factor: float = 1.0) -> bytes:
    """The state as another version of the library would have written it, sealed by it; first targets times a factor."""
    head, *rows = unsealed(content)
    for row in rows:
        if row[4] is not None:
            row[4] = [target * factor for target in row[4]]
    return sealed(head | {"hybrid_bt": version + "+" + head["hybrid_bt"]}, *rows)


def unsealed(content: bytes) -> Any:
    """The first line, and rows as lists."""
    head, *rows = content.splitlines()
    return json.loads(head), *(json.loads(line.partition(b" ")[2]) for line in rows)


def sealed(head: Any, *rows: Any) -> bytes:
    """Whatever they hold, under the right seal."""
    lines = [json.dumps(head).encode()]
    seal = zlib.crc32(lines[0])
    for row in rows:
        text = json.dumps(row, separators=(",", ":")).encode()
        seal = zlib.crc32(text, seal)
        lines.append(b"%08x %s" % (seal, text))
    return b"\n".join(lines) + b"\n"


#: what no place of a row may hold, if it is not there already
ODD = [None, True, "x", "1.0", -3.5, float("inf"), float("nan"), [], [1.0], {}, {"x": 1.0}, 10**400]


def places_of(part: Any, place: tuple[Any, ...] = ()) -> Any:
    """Ways to everything in it; of a list of alike, to the last."""
    yield place
    if isinstance(part, dict):
        for key, value in part.items():
            yield from places_of(value, (*place, key))
    elif isinstance(part, list) and part:
        chosen = range(len(part)) if len({type(one) for one in part}) > 1 else [len(part) - 1]
        for i in chosen:
            yield from places_of(part[i], (*place, i))


def value_at(whole: Any, place: tuple[Any, ...]) -> Any:
    return functools.reduce(lambda part, key: part[key], place, whole)


def with_odd(whole: Any, place: tuple[Any, ...], odd: Any) -> Any:
    """A copy that holds something odd at one place."""
    copy = json.loads(json.dumps(whole))
    if not place:
        return odd
    part = copy
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = odd
    return copy


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A state of which each field holds something."""
    path = tmp_path_factory.mktemp("full") / "state"
    run(with_rows(BARS, slice(0, 300)), path, news=Moods(), overrides=COSTS | GUARD)
    return path.read_bytes()


def taken_in_silence(whole: Any, write: Any) -> list[tuple[Any, Any]]:
    """Of odd values, four at each place, what a run goes on from; the others are refused in one line."""
    taken = []
    for number, place in enumerate(places_of(whole)):
        for odd in (ODD * 2)[number % 3 * 4 : number % 3 * 4 + 4]:
            path = write(with_odd(whole, place, odd))
            try:
                run(BARS, path, news=Moods(), overrides=COSTS | GUARD)
            except StateError as error:
                assert str(error).startswith("state: ") and "\n" not in str(error)
            else:
                taken.append((place, odd))
    return [(place, odd) for place, odd in taken if odd is not value_at(whole, place)]


def test_content_that_is_wrong_under_a_right_seal_is_refused(full: bytes, tmp_path: Path) -> None:
    head, *rows = unsealed(full)
    assert rows[-1][2] and rows[-1][3] and rows[-1][4] and rows[-1][5]["positions"] and rows[-1][5]["orders"]

    def write(row: Any) -> Path:
        (tmp_path / "state").write_bytes(sealed(head, *rows[:-1], row))
        return tmp_path / "state"

    words = (2, 5), (2, 6)  # reasons and ids, which nothing hangs on
    assert [one for one in taken_in_silence(rows[-1], write) if one[0][:2] not in words] == []


def test_first_line_that_is_wrong_is_refused(full: bytes, tmp_path: Path) -> None:
    head, *rows = unsealed(full)

    def write(line: Any) -> Path:
        (tmp_path / "state").write_bytes(sealed(line, *rows))
        return tmp_path / "state"

    assert [one for one in taken_in_silence(head, write) if one[0] != ("hybrid_bt",)] == []


def test_state_is_the_file_that_its_name_leads_to(state: Path, tmp_path: Path) -> None:
    link, other = tmp_path / "link", tmp_path / "other" / "link"
    other.parent.mkdir()
    link.symlink_to(state)
    other.symlink_to("../link")
    assert_same_run(run(BARS, other), run(BARS))
    assert other.is_symlink() and link.is_symlink() and len(state.read_bytes().splitlines()) == N + 1
    cerebro = cerebro_of(BARS, link)
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, state=other)
    with pytest.raises(StateError, match="two strategies share"):
        cerebro.run()


def make_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/null"), "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (make_loop, "cannot write"),
        (lambda path: path.symlink_to("nowhere/state"), "cannot write"),
        (Path.mkdir, "cannot write"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(make: Any, refusal: str, tmp_path: Path) -> None:
    make(tmp_path / "state")
    with pytest.raises(StateError, match=refusal):
        run(BARS, tmp_path / "state")


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 200] * 30), "a\0b"])
def test_name_that_the_system_does_not_take_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot write"):
        run(BARS, tmp_path / name)


def test_older_version_is_gone_on_from_where_it_wanted_the_same(state: Path) -> None:
    state.write_bytes(by_version(state.read_bytes(), "0.0.9"))
    assert_same_run(run(BARS, state), run(BARS))


def test_older_version_that_wanted_something_else_is_told_by_the_bar_and_by_what_to_do(state: Path) -> None:
    content = by_version(state.read_bytes(), "0.0.9", 0.5)
    state.write_bytes(content)
    targets = run(BARS).recorder.decisions().target
    first = str(BARS.stamps[np.flatnonzero(targets.any(axis=1))[0]])[:10]
    with pytest.raises(StateError, match=rf"on {first} was .*; hybrid_bt 0\.0\.9\+.* wrote .*, this is .*trade_from"):
        run(BARS, state)
    assert state.read_bytes() == content


def damaged(content: bytes, how: str) -> bytes:
    lines = content.splitlines(keepends=True)
    return {
        "empty line": content.replace(b"\n", b"\n\n", 1),
        "other": b"\x80\x04pickle",
        "other text": b"date,close\n2020-01-01,1.0\n",
        "earlier": content.replace(b'"version": 3', b'"version": 1', 1),
        "first line": content.replace(b'"hybrid_bt": "', b'"hybrid_bt": "1', 1),
        "bit": content.replace(b'"cash":', b'"cash":1', 1),
        "lost row": b"".join(lines[:40] + lines[41:]),
        "rows exchanged": b"".join([*lines[:40], lines[41], lines[40], *lines[42:]]),
    }[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty line", "is damaged in line 2"),
        ("other", "does not begin as a state file"),
        ("other text", "does not begin as a state file"),
        ("earlier", "format version 1, this code reads 3; go on with the hybrid_bt that wrote it"),
        ("first line", "is damaged in line 2"),
        ("bit", "is damaged in line 2"),
        ("lost row", "is damaged in line 41"),
        ("rows exchanged", "is damaged in line 41"),
    ],
)
def test_damaged_state_is_refused_and_left_alone(state: Path, how: str, message: str) -> None:
    content = damaged(state.read_bytes(), how)
    state.write_bytes(content)
    with pytest.raises(StateError, match=message):
        run(BARS, state)
    assert state.read_bytes() == content


def test_state_of_an_earlier_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text('{"format": "hybrid_bt state", "version": 1, "sha256": "5f"}\n{"fit": {}}\n')
    with pytest.raises(StateError, match="format version 1, this code reads 3"):
        run(BARS, tmp_path / "state")


@pytest.mark.parametrize("length", [1, 500, 5000])
def test_rows_cut_off_are_decided_again(state: Path, length: int) -> None:
    content = state.read_bytes()
    state.write_bytes(content[:-length])
    assert_same_run(run(BARS, state), run(BARS))
    assert state.read_bytes().startswith(content)


def test_state_is_plain_and_sealed(state: Path) -> None:
    head, *rows = state.read_text().splitlines()
    said = json.loads(head)
    assert (said["format"], said["version"]) == ("hybrid_bt state", 3)
    assert said["columns"] == list(Entry._fields) and len(rows) == 300
    last = Entry(*json.loads(rows[-1].partition(" ")[2]))
    assert f"{bt.num2date(last.stamp):%Y-%m-%d}" == "2011-10-29"
    assert last.account["positions"] and isinstance(last.account["cash"], float)


def test_state_is_for_one_process_and_one_strategy(state: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()

    def hold() -> None:
        journal = Journal(state.with_name("own"), {})
        held.set()
        done.wait(20)
        journal.close()

    child = context.Process(target=hold)
    child.start()
    assert held.wait(20)
    with pytest.raises(StateError, match="another process is writing"):
        run(BARS, state.with_name("own"))
    done.set()
    child.join()
    cerebro = cerebro_of(BARS, state)
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, state=state)
    with pytest.raises(StateError, match="two strategies share"):
        cerebro.run()


def test_state_that_cannot_be_written_is_said_before_the_first_bar(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "state"):
        with pytest.raises(StateError, match="cannot write"):
            run(BARS, path)


def test_row_that_the_disk_has_no_room_for_ends_the_run_and_is_decided_again(tmp_path: Path) -> None:
    state = tmp_path / "state"

    def crowded() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(StateError, match=r"cannot write .*; free the disk, then go on with it"):
            run(BARS, state)

    child = multiprocessing.get_context("fork").Process(target=crowded)
    child.start()
    child.join()
    assert child.exitcode == 0 and 99_000 < state.stat().st_size < 100_000 and state.read_bytes().endswith(b"\n")
    assert_same_run(run(BARS, state), run(BARS))


# --- parts that know nothing of states ---


class Slow(MemoryPolicy):
    """A gate of one's own with a memory, and no word about it."""

    manifest = SimpleNamespace(train_end=None, valid_end=None, action_low=-1.0, action_high=1.0)


class Trend:
    """A leg of one's own that remembers."""

    def __init__(self, symbols: Any, pairs: Any, config: Any) -> None:
        self.last = [0.0] * len(symbols)

    def wishes(self, view: Any) -> list[Wish]:
        self.last = [0.9 * old + 0.01 * row[0] for old, row in zip(self.last, view.features, strict=True)]
        return [Wish((i,), (max(-0.2, min(0.2, value)),)) for i, value in enumerate(self.last)]


@pytest.mark.parametrize("first", [0, 290], ids=["whole", "later"])
@pytest.mark.parametrize(
    "own",
    [
        {"policies": Policies(POLICIES["stable"].sac, Slow())},  # type: ignore[arg-type]
        {"legs": {"sac": Trend}},
        {"pairs": "auto", "trade_from": BARS.stamps[260].astype("datetime64[us]").item(), "allow_in_sample": True},
        {"news": None},
    ],
    ids=["policy", "leg", "auto", "news"],
)
def test_parts_without_state_methods_go_on(own: dict[str, Any], first: int, tmp_path: Path) -> None:
    def given() -> dict[str, Any]:
        return {"news": Moods()} if "news" in own else own

    bars, state = random_bars(N, seed=3), tmp_path / "state"
    whole = run(bars, **given())
    killed(bars, state, 300, "sent", **given())
    resumed = run(with_rows(bars, slice(first, N)), state, **given())
    assert resumed.resumed_after and resumed.pair_names == whole.pair_names != ()
    if first == 0:
        assert_same_run(resumed, whole)
    one, other = resumed.recorder.decisions(), whole.recorder.decisions()
    assert np.array_equal(one.target, other.target, equal_nan=True) and other.target[300:].any()
    assert np.array_equal(resumed.analyzers.ledger.path().equity[-29:], whole.analyzers.ledger.path().equity[-29:])


class Moods:
    """Documents that are read bar by bar; what they advise hangs on all that was read before."""

    def __init__(self) -> None:
        self.mood = 3.0

    def advise(self, moment: Any) -> Advice:
        self.mood = 0.8 * self.mood + 0.2 * (1 + moment.toordinal() % 5)
        return Advice([self.mood] * 4, [0.0] * 4, 0.1, 0.5, False, [f"{moment:%d}"] * 4, [""] * 4)


def test_part_that_answers_otherwise_is_told_by_the_bar(tmp_path: Path) -> None:
    def leg(gain: float) -> Any:
        class Other(Trend):
            def wishes(self, view: Any) -> list[Wish]:
                return [Wish(columns, (gain * amounts[0],)) for columns, amounts in super().wishes(view)]

        return Other

    state = tmp_path / "state"
    run(with_rows(BARS, slice(0, 300)), state, legs={"sac": leg(1.0)}, use_ppo_lstm=False)
    targets = run(BARS, legs={"sac": leg(1.0)}, use_ppo_lstm=False).recorder.decisions().target
    first = str(BARS.stamps[np.flatnonzero(targets.any(axis=1))[0]])[:10]
    with pytest.raises(
        StateError, match=rf"target of \w\w on {first} was .*; hybrid_bt .* wrote .* go on .* trade_from"
    ):
        run(BARS, state, legs={"sac": leg(2.0)}, use_ppo_lstm=False)


def test_policy_that_failed_then_need_not_fail_again(tmp_path: Path) -> None:
    class Flaky(Slow):
        fails = True

        def act(self, observations: Any) -> Any:
            answer = super().act(observations)
            self.calls = getattr(self, "calls", 0) + 1
            if Flaky.fails and self.calls == 40:
                raise OSError("the line is down")
            return answer

    def given() -> dict[str, Any]:
        return {"policies": Policies(POLICIES["stable"].sac, Flaky())}  # type: ignore[arg-type]

    whole, state = run(BARS, **given()), tmp_path / "state"
    assert whole.guard.triggers == {"policy_failure": 1}
    run(BARS, state, **given())
    Flaky.fails = False
    assert run(BARS, state, **given()).guard.triggers == {"policy_failure": 1}


# --- the command ---


@pytest.mark.parametrize("kind", ["whole", "missing bars", "documents"])
def test_command_killed_and_resumed_writes_the_same_bytes(kind: str, tmp_path: Path) -> None:
    prices = write_prices(tmp_path / "four", 330)
    common = ["--data", str(prices), "--pairs", "BBB:AAA", "--no-plots", "--no-ledger", "--quiet"]
    if kind == "missing bars":  # of one side of an open pair, so that the other waits, also in replays of accounts
        lines = (prices / "AAA.csv").read_text().splitlines(keepends=True)
        (prices / "AAA.csv").write_text("".join(line for i, line in enumerate(lines) if i < 200 or i % 5))
        (tmp_path / "busy.toml").write_text("[account]\nrebalance_band = 0.0\n[kalman]\nentry_z = 1.0\n")
        common += ["--config", str(tmp_path / "busy.toml")]
    if kind == "documents":
        pytest.importorskip("bm25s")
        days = np.busday_offset("2016-01-04", np.arange(0, 60, 3), roll="forward")
        bad = [{"text": f"Lawsuit, recall and fraud {day}", "symbols": ["AAA"]} for day in days]
        dated = [
            one | dict.fromkeys(("published_at", "first_seen_at"), f"{day}T10:00:00Z")
            for one, day in zip(bad, days, strict=True)
        ]
        (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, dated)))
        common += ["--risk", "lexicon", "--news", str(tmp_path / "bad.jsonl")]
    state = [*common, "--state", str(tmp_path / "state")]

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
