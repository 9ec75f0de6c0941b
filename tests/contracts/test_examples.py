"""Every example runs, installed, from an empty folder; notebooks print what is written in them, pages say what is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from hybrid_bt.envs import SPECS, ready_env

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
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "Warning" in line and "escape sequence" not in line]
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    assert SAYS[script.stem] in output([str(script)], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_prints_what_is_written_in_it(path: Path, tmp_path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    written = "".join("".join(out["text"]) for cell in cells for out in cell["outputs"])
    assert output(["-c", "\n".join("".join(cell["source"]) for cell in cells)], tmp_path) == written != ""


def test_the_page_that_trains_an_agent_runs_to_its_tearsheet(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "train-your-own.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 40
    output(["-W", "ignore", "-c", code], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tearsheet.html"]
    assert "My agent" in (tmp_path / "tearsheet.html").read_text(encoding="utf-8")


def test_the_table_of_environments_says_what_they_are() -> None:
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    sizes = {"Asset": "(7,)", "Regime": "(12,)", "Portfolio": "(7 N + 12 + N,)"}
    assert set(sizes) == set(SPECS)
    for name, kind in SPECS.items():
        (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`hybrid_bt/{name}-v0`" in line]
        asset, market, account = map(len, kind.observation)
        here = ready_env(name, compiled=False)
        n = len(here.tracks[0].symbols)
        assert sizes[name] in row and ("(N,)" if kind.per_asset else "(1,)") in row
        shown = sizes[name].strip("(,)").replace("7 N", "7 * N")
        assert eval(shown, {"N": n}) == n * (asset + account) + market == here.observation_space.shape[0]
