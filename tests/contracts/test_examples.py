"""Every example runs, installed, from an empty folder; the notebook prints what is written in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

EXAMPLES = ROOT / "examples"
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
