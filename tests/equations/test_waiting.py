"""Both sides of a pair trade on a bar or neither does, and orphans are closed by rule, live, replayed and compiled."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import PAIRS, random_bars

from hybrid_bt.account.records import orphans_closed
from hybrid_bt.account.registry import Panel, account
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.legs import KalmanLeg
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.brain.records import record
from hybrid_bt.config import load_config, overridden
from hybrid_bt.config.build import Policies, build, load_policies
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.waiting import tied_rows, together_rows, waiting_rows
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import HybridStrategy

CONFIG = load_config(
    "stable", overrides={"kalman": {"entry_z": 0.5, "orphan_bars": 4}, "account": {"rebalance_band": 0.0}}
)
ALONE = overridden(CONFIG, {"sac": {"enabled": False}, "gate": {"enabled": False}})
NOBODY = Policies(None, None)
POLICIES = load_policies(CONFIG)


def holed(bars: Bars, first: int, last: int, column: int) -> Bars:
    """The panel without one symbol's bars from row `first` to before `last`."""
    cells = {field: getattr(bars, field).copy() for field in ("open", "high", "low", "close")}
    for values in cells.values():
        values[first:last, column] = np.nan
    return Bars(bars.name, bars.symbols, bars.stamps, **cells, volume=bars.volume)


@pytest.mark.parametrize(
    ("what", "traded", "before", "after", "waits"),
    [
        ("everybody trades", [1, 1, 1, 1], [1, 1], [1, 1], [0, 0, 0, 0]),
        ("the other side of an open pair waits", [1, 0, 1, 1], [1, 0], [1, 0], [1, 0, 0, 0]),
        ("flat pairs tie nobody", [1, 0, 1, 1], [0, 0], [0, 0], [0, 0, 0, 0]),
        ("waiting spreads over a shared asset", [1, 0, 1, 1], [1, 1], [1, 1], [1, 0, 1, 0]),
        ("a pair that opens against a waiting asset waits", [1, 0, 1, 1], [1, 0], [1, -1], [1, 0, 1, 0]),
        ("a pair that closes against a waiting asset waits", [1, 0, 1, 1], [1, 1], [1, 0], [1, 0, 1, 0]),
        ("an orphan's side is free", [1, 0, 1, 1], [1, 0], [0, 0], [0, 0, 0, 0]),
    ],
)
def test_who_waits(what: str, traded: list[int], before: list[int], after: list[int], waits: list[int]) -> None:
    there, layout = np.array([traded], np.bool_), layout_of([[(0, 1), (2, 0)]])
    was, now = (np.repeat(np.array(side, np.float64), 2) for side in (before, after))
    tied = tied_rows(now[None], was, layout, there)
    found = waiting_rows(there, together_rows(tied, layout, [True], 4))
    assert found[0].tolist() == [bool(w) for w in waits], what
    assert not waiting_rows(there, together_rows(tied, layout, [False], 4)).any()  # a leg without a part ties nobody


def test_no_order_is_decided_for_one_side_alone() -> None:
    """Pairs alone, without a band: every bar on which a side is missing would otherwise see the other one resized."""
    bars = random_bars(700, missing=0.08, seed=3)
    made = run_backtest(bars, config=ALONE, policies=NOBODY, pairs=PAIRS)
    position, there = made.pairs.position, made.bars.traded
    decided = {(fill.decided, fill.symbol) for fill in made.accounts["hybrid"].fills}
    closed_orphans = 0
    seen = 0
    for t in range(1, len(position)):
        for p, (y, x) in enumerate(resolve_pairs(PAIRS, bars.symbols)):
            if there[t, y] != there[t, x] and position[t, p] != 0.0:
                seen += 1
                assert (t, y) not in decided and (t, x) not in decided
            closed_orphans += position[t - 1, p] != 0.0 and position[t, p] == 0.0 and not (there[t, y] and there[t, x])
    assert seen > 20 and made.facts["gaps"]["withheld"] >= seen
    assert sum(made.facts["gaps"]["orphans_closed"].values()) == closed_orphans
    assert made.facts["replay_difference"] < 1e-9


def test_orphan_is_closed_by_rule_and_its_free_side_sold() -> None:
    bars = random_bars(420, n=2, seed=1)
    brain = build(ALONE, bars.symbols, ("AA:BB",), NOBODY)
    whole = record(brain, bars, ("AA:BB",)).pairs().position[:, 0].tolist()
    gone = next(t for t in range(320, 400) if whole[t - 1] and whole[t - 4 : t] == [whole[t - 1]] * 4)  # both are held
    made = run_backtest(holed(bars, gone, 420, 1), config=ALONE, policies=NOBODY, pairs="AA:BB")
    first = 420 - made.bars.n_bars
    position = made.pairs.position[:, 0]
    assert (position[gone - first : gone - first + 3] != 0.0).all()
    assert (position[gone - first + 3 :] == 0.0).all()  # the fourth bar without both closes it
    account = made.accounts["hybrid"]
    held = account.size[gone - first]
    assert (account.size[gone - first : gone - first + 4] == held).all() and held.all()
    assert account.size[-1, 0] == 0.0 and account.size[-1, 1] == held[1]
    assert made.facts["gaps"]["orphans_closed"] == {"AA:BB": 1}
    assert made.facts["gaps"]["stranded"] == {"BB": held[1]}
    assert sum("orphans" in note or "last bar" in note for note in made.notes) == 2


@pytest.mark.parametrize("compiled", [False, True])
def test_stream_equals_batch_over_missing_bars(compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba")
    bars = holed(random_bars(600, missing=0.08, seed=5), 300, 320, 0)
    streamed = record(build(CONFIG, bars.symbols, PAIRS, POLICIES), bars, PAIRS)
    brain = build(CONFIG, bars.symbols, PAIRS, POLICIES)
    said, whole = streamed.opinions(), opinions(brain, read_panel(bars.close, brain.reader, compiled=compiled))
    assert all(np.array_equal(said.legs[name], whole.legs[name]) for name in said.legs)
    assert np.array_equal(said.regime, whole.regime) and np.array_equal(said.amounts, whole.amounts)
    sides = resolve_pairs(PAIRS, bars.symbols)
    assert streamed.decisions().waits.any() and sum(orphans_closed(bars.traded, sides, streamed.pairs().position)) > 0
    made = run_backtest(bars, config=CONFIG, policies=POLICIES, pairs=PAIRS)
    row = bars.n_bars - made.bars.n_bars
    again = account(Panel(made.bars, whole.rows(slice(row, None)), CONFIG.terms()), "hybrid")
    assert np.array_equal(again.equity, made.accounts["hybrid"].equity)
    assert np.array_equal(again.size, made.accounts["hybrid"].size)


class Holding:
    """A leg that holds another one and passes on what it says."""

    def __init__(self, symbols: Any, pairs: Any, config: Any) -> None:
        self.held = KalmanLeg(symbols, pairs, config.pair_rules)

    def wishes(self, view: Any) -> Any:
        return self.held.wishes(view)


def test_leg_that_wraps_another_keeps_the_pair_rule() -> None:
    bars = random_bars(700, missing=0.08, seed=3)
    shipped, wrapped = (strategy_of(bars, legs) for legs in ({}, {"kalman": Holding}))
    assert shipped.recorder.decisions().waits.sum() > 20
    assert np.array_equal(wrapped.recorder.decisions().waits, shipped.recorder.decisions().waits)
    assert wrapped.broker.getvalue() == shipped.broker.getvalue()


def strategy_of(bars: Bars, legs: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1e6)
    cerebro.addstrategy(HybridStrategy, config=ALONE, pairs=PAIRS, legs=legs, record=True, allow_in_sample=True)
    return cerebro.run()[0]
