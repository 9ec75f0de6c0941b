"""The benchmarks run, and what they compare is equal: each raises where two accounts or answers differ."""

from __future__ import annotations

import argparse
import sys

import pytest
from places import ROOT


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


LONGER = [  # they compile or freeze; .ci/run makes the whole quick table
    pytest.param(part, marks=pytest.mark.slow) for part in ("feeds", "rivals", "policies", "env", "replay")
]


@pytest.mark.parametrize("part", ["kalman", *LONGER])
def test_a_part_of_the_quick_table(part: str) -> None:
    from benchmarks.__main__ import groups, line

    given = argparse.Namespace(quick=True, finrl=None, vectorbt=None, minutes=None)
    rows = groups(given)[part]()
    assert rows
    for row in rows:
        assert row.bound.kind == "skipped" or row.ours > 0.0
        assert row.what in line(row)


def test_the_obvious_build_trades(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from benchmarks import obvious_build

    monkeypatch.setattr(sys, "argv", ["obvious_build", "--bars", "330"])
    obvious_build.main()
    assert float(capsys.readouterr().out.split()[-1]) > 0.0


def test_the_obvious_build_decides_what_the_hybrid_decides() -> None:
    """The same models, asked by SB3 one at a time and frozen: equal but for the rounding of float32."""
    pytest.importorskip("torch")
    import backtrader as bt
    import numpy as np

    from benchmarks.models import gate_and_frozen, sac_and_frozen
    from benchmarks.obvious_build import ObviousHybrid
    from benchmarks.panels import pandas_feeds
    from hybrid_bt.brain.records import record
    from hybrid_bt.config import load_config
    from hybrid_bt.config.build import Policies, build
    from hybrid_bt.feeds import load_bars

    bars = load_bars("us20", symbols=["KO", "PEP"])
    bars = bars.between(bars.stamps[-330], None)
    (sac, frozen_sac), (gate, frozen_gate) = sac_and_frozen(), gate_and_frozen()
    cerebro = bt.Cerebro(stdstats=False)
    for feed in pandas_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.addstrategy(ObviousHybrid, pair="KO:PEP", sac=sac, gate=gate)
    (strategy,) = cerebro.run()
    brain = build(load_config("stable"), bars.symbols, ["KO:PEP"], Policies(frozen_sac, frozen_gate))
    wanted = record(brain, bars, ["KO:PEP"]).decisions()
    assert wanted.target[260:].any() and np.array(strategy.targets) == pytest.approx(wanted.target, abs=1e-4)


def test_a_miss_is_marked() -> None:
    from benchmarks.__main__ import line
    from benchmarks.measure import Row, at_least, at_most

    assert "10 ok" in line(Row("x", "us", 1.0, "y", 10.0, at_least(10.0)))
    assert "10 MISS" in line(Row("x", "us", 1.0, "y", 9.0, at_least(10.0)))
    assert "2 MISS" in line(Row("x", "us", 2.1, "y", 1.0, at_most(2.0)))
