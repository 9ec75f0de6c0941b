"""Every example runs, installed, from an empty folder; the notebook prints what is written in it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brain_cases import altered_from, random_bars

from hybrid_bt import own_parts
from hybrid_bt.config import load_config
from hybrid_bt.kalman import KalmanParams
from hybrid_bt.own_parts import own_legs
from hybrid_bt.reader import MarketReader
from hybrid_bt.spread import SpreadParams

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
#: a part of what each prints
SAYS = {
    "custom_mode": "gross exposure wanted at most",
    "drop_in": "traded from 2010-01-04: the policies were trained until 2009-12-31",
    "live_rehearsal": "1155 rows of 1155",
    "optimise": "aggressive {'kalman': {'entry_z': 2.0}}",
    "own_data": "equal-weight",
    "own_leg": "with momentum",
    "own_policy": "traded from row 401 of 1155",
}


def output(arguments: list[str], folder: Path) -> str:
    """What a fresh Python prints in an empty folder."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "Warning" in line and "escape sequence" not in line]
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    assert SAYS[script.stem] in output([str(script)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_notebook_prints_what_is_written_in_it(tmp_path: Path) -> None:
    notebook = json.loads((EXAMPLES / "walk_through_a_decision.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    written = "".join("".join(out["text"]) for cell in cells for out in cell["outputs"])
    assert output(["-c", "\n".join("".join(cell["source"]) for cell in cells)], tmp_path) == written


# --- legs of one's own keep a leg's contract ---


def momentum() -> Any:
    spec = importlib.util.spec_from_file_location("own_leg", EXAMPLES / "own_leg.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MomentumLeg


def offered() -> dict[str, Any]:
    """The example's leg, and those that installed packages offer."""
    return {"momentum": momentum()} | {
        point.name: point.load() for point in own_parts.entry_points(group=own_parts.ENTRY_POINTS)
    }


def drive(maker: Any, bars: Any) -> Any:
    reader = MarketReader(4, [(0, 1)], [KalmanParams(1.9e-4, 1.1e-5, 2e-6)], SpreadParams(10.0, 60.0, 126.0))
    leg = maker(bars.symbols, [(0, 1)], load_config("stable"))
    return np.array([leg.targets(reader.read(closes)) for closes in bars.close.tolist()])


@pytest.mark.parametrize("name", offered())
def test_own_leg_keeps_the_contract_of_a_leg(name: str) -> None:
    maker, bars = offered()[name], random_bars(360, missing=0.05, late=30)
    targets = drive(maker, bars)
    assert targets.shape == (360, 4) and np.isfinite(targets).all() and targets[300:].any()
    after = drive(maker, altered_from(bars, 320))
    assert np.array_equal(after[:320], targets[:320]) and not np.array_equal(after[320:], targets[320:])


def test_legs_of_installed_packages_are_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "their_package.py").write_text("class Leg:\n    def __init__(self, *parts): self.parts = parts\n")
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hybrid_bt.legs]\ntheirs = their_package:Leg\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    maker = own_legs({"sac": "theirs"})["sac"]
    assert maker is EntryPoint("theirs", "their_package:Leg", own_parts.ENTRY_POINTS).load()
