"""Backtrader by its one door: what newer Pythons say of its sources, and of our arithmetic, does not reach the user."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import backtrader as bt
import pytest
from brain_cases import random_bars
from places import ROOT

from hybrid_bt.evidence.audit.user import check_strategy, fill_with
from hybrid_bt.feeds import load_bars, to_feeds


def stderr(folder: Path, *arguments: str) -> str:
    """Of a fresh Python that says all its warnings and finds no bytecode, as under uv or in a container."""
    told = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "default", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | told, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("module", ["strategies.hybrid", "feeds.array", "analyzers", "evidence.audit.user"])
def test_importing_says_nothing_where_no_bytecode_is_kept(module: str, tmp_path: Path) -> None:
    assert stderr(tmp_path, "-c", f"import hybrid_bt.{module}") == ""


@pytest.mark.parametrize(
    "command", ["run -q --symbols KO,PEP --end 2011-03-01 --out fig", "pairs --symbols KO,PEP,CVX"]
)
def test_commands_say_nothing_where_no_bytecode_is_kept(command: str, tmp_path: Path) -> None:
    assert stderr(tmp_path, "-m", "hybrid_bt.commands.cli", *command.split()) == ""


def test_the_door_leaves_everybodys_filters_as_they_were(tmp_path: Path) -> None:
    code = (
        "import numpy, warnings; warnings.filterwarnings('error', 'mine'); before = list(warnings.filters)\n"
        "import hybrid_bt.feeds.framework, sys\n"
        "assert 'backtrader' in sys.modules and warnings.filters == before"
    )
    assert stderr(tmp_path, "-c", code) == ""


class Crossing(bt.Strategy):
    """A stranger's strategy, whose own warnings are his to see."""

    def __init__(self) -> None:
        self.rule = bt.ind.CrossOver(bt.ind.SMA(period=5), bt.ind.SMA(period=20))

    def next(self) -> None:
        warnings.warn("utcnow, says the stranger", UserWarning, stacklevel=1)
        self.order_target_percent(target=0.5 if self.rule[0] > 0 else 0.0)


def test_feeds_are_played_and_strategies_audited_without_backtraders_warnings() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        bars = load_bars(list(to_feeds(random_bars(60))))
        check_strategy("Crossing", fill_with(Crossing, {}), bars, every=20)
    assert {str(one.message) for one in said} == {"utcnow, says the stranger"}
