"""kill -9 at any moment: what lies on disk is one whole writing, never half of two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import CASES

COMMON = """
import json, os, random, signal, sys, time
from pathlib import Path

def rounds(write, check, place, n, longest):
    random.seed(0)
    for _ in range(n):
        child = os.fork()
        if child == 0:
            k = 0
            while True:
                write(place, k)
                k += 1
        time.sleep(random.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        check(place)
"""

SNAPSHOTS = (
    COMMON
    + """
import numpy as np
from hybrid_bt.bars.checks import RawBars
from hybrid_bt.feeds.snapshots import read_latest, store

STAMPS = np.datetime64("2020-01-01", "ns") + np.arange(3000) * np.timedelta64(1, "D")
seen = set()

def write(place, k):
    store(place, "KO", RawBars(STAMPS, {"close": np.full(3000, 1.0 + k)}), "2020-01-01", str(k))

def check(place):
    kept = read_latest(place, "KO")
    if kept is not None:
        close = kept.rows.columns["close"]
        assert (close == close[0]).all() and kept.stop == str(int(close[0]) - 1)
        seen.add(int(close[0]))

rounds(write, check, Path(sys.argv[1]), 12, 0.08)
print(len(seen))
"""
)

REPORTS = (
    COMMON
    + """
import csv
sys.path.insert(0, sys.argv[2])
from brain_cases import random_bars
from hybrid_bt.backtest import run_backtest
from hybrid_bt.config.build import Policies
from hybrid_bt.config import load_config
from hybrid_bt.report import write_report
from hybrid_bt.report.tables import TABLES

off = {"sac": {"enabled": False}, "gate": {"enabled": False}}
bars, records = random_bars(320), []
for cash in (1e6, 2e6):
    config = load_config("stable", overrides=off | {"account": {"cash": cash}})
    records.append(run_backtest(bars, config=config, pairs="AA:BB"))
seen = set()

def write(place, k):
    write_report(records[k % 2], place, plots=False)

def check(place):
    if not (place / "run.json").exists():
        return
    cash = json.loads((place / "run.json").read_text())["start_value"]
    assert all((place / name).is_file() for name in TABLES)
    for name, column in (("equity.csv", "equity"), ("summary_pnl.csv", "start_value")):
        with (place / name).open() as file:
            assert float(next(csv.DictReader(file))[column]) == cash
    seen.add(cash)

rounds(write, check, Path(sys.argv[1]), 12, 0.25)
print(len(seen))
"""
)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.parametrize(("script", "least"), [(SNAPSHOTS, 2), (REPORTS, 1)], ids=["snapshots", "reports"])
def test_what_a_kill_leaves_is_whole(script: str, least: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", script, str(tmp_path / "place"), str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least  # some writings were whole, so that something was looked at
