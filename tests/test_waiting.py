"""Both sides of a pair trade on a bar or neither does, and orphans are closed by rule, live, replayed and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from brain_cases import PAIRS, random_bars, with_rows

from hybrid_bt.backtest import Request, backtest
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies, build, load_policies, resolve_pairs
from hybrid_bt.config import load_config, overridden
from hybrid_bt.history import record_kalman_leg
from hybrid_bt.leg_replay import replay_legs
from hybrid_bt.recording import record
from hybrid_bt.waiting import orphans_closed, waiting_sides, waits_of

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
    found = waiting_sides([bool(t) for t in traded], [(0, 1), (2, 0)], before, after)
    assert found == [bool(w) for w in waits], what


def test_no_order_is_decided_for_one_side_alone() -> None:
    """Pairs alone, without a band: every bar on which a side is missing would otherwise see the other one resized."""
    bars = random_bars(700, missing=0.08, seed=3)
    made = backtest(Request(bars, ALONE, NOBODY, PAIRS, mode="stable"))
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
    made = backtest(Request(holed(bars, gone, 420, 1), ALONE, NOBODY, ("AA:BB",)))
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
    bars = random_bars(600, missing=0.08, seed=5)
    bars = holed(bars, 300, 320, 0)
    brain = build(CONFIG, bars.symbols, PAIRS, POLICIES)
    streamed = record(brain, bars, PAIRS)
    targets, pairs = record_kalman_leg(bars, brain.reader, CONFIG.pair_rules, PAIRS, compiled=compiled)
    sides = resolve_pairs(PAIRS, bars.symbols)
    assert np.array_equal(targets, streamed.decisions().legs["kalman"])
    assert np.array_equal(waits_of(bars.traded, sides, pairs.position), streamed.waits())
    assert streamed.waits().any() and sum(orphans_closed(bars.traded, sides, pairs.position)) > 0

    def traded(legs: Any, rows: slice) -> Any:
        return replay_legs(
            legs,
            with_rows(bars, rows),
            fusion=CONFIG.fusion,
            risk=CONFIG.risk,
            costs=CONFIG.costs,
            rules=CONFIG.order_rules,
            compiled=compiled,
        )

    made = backtest(Request(bars, CONFIG, POLICIES, PAIRS))
    row = bars.n_bars - made.bars.n_bars
    replayed = traded(streamed.legs(row), slice(row, None))
    assert np.array_equal(replayed.equity, made.accounts["hybrid"].equity)
    assert np.array_equal(replayed.size, made.accounts["hybrid"].size)
