"""A new parameter is one edit in one file: the suite passes untouched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

FIELD = '    tax_bps: Annotated[float, Ge(0), "tax on purchases, bps of notional"] = 0.0\n'
#: whatever makes, checks, stacks, compiles, records or shows the costs of an account
SUITE = ("config", "equations", "envs", "account/test_reconcile.py", "commands/test_console.py", "train/test_train.py",
         "contracts/test_examples.py")  # fmt: skip


def _run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run([sys.executable, *words], cwd=tree, env=env, capture_output=True, text=True, timeout=3000)


@pytest.mark.slow
def test_a_cost_that_is_new_is_one_edit(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__", "site", "*.egg-info"))
    source = tree / "hybrid_bt" / "equations" / "costs.py"
    before, last, after = source.read_text(encoding="utf-8").partition("    financing_bps_per_year:")
    line, newline, rest = after.partition("\n")
    source.write_text(before + last + line + newline + FIELD + rest, encoding="utf-8")
    said = _run(
        tree,
        "-c",
        "from hybrid_bt.config import load_config as load; "
        "print(load().costs.tax_bps, load(overrides={'costs': {'tax_bps': 7}}).sections()['costs']['tax_bps'])",
    )
    assert said.stdout.split() == ["0.0", "7.0"], said.stderr
    done = _run(tree, "-m", "pytest", "-q", "-x", *(f"tests/{name}" for name in SUITE))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
