"""What a user installs works without the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

SCRIPT = ROOT / ".ci" / "wheel"


@pytest.mark.slow
def test_wheel_and_sdist_work_outside_of_the_checkout(tmp_path: Path):
    pytest.importorskip("build", reason="needs the extra `dev`")
    done = subprocess.run([SCRIPT, "--no-isolation"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "the wheel works"
    assert {".whl", ".gz"} <= {Path(line).suffix for line in done.stdout.splitlines()[:2]}


@pytest.mark.slow
@pytest.mark.parametrize("risk", ["off", "lexicon"])
def test_wheel_runs_as_it_lies_on_the_path(wheel: Path, risk: str, tmp_path: Path):
    words = ["--symbols", "KO,PEP", "--end", "2011-03-01", "--no-plots", "--no-ledger", "--risk", risk]
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import hybrid_bt.run\n"
        f"assert hybrid_bt.__file__.startswith({str(wheel)!r})\nhybrid_bt.run.main({words})"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build", reason="needs the extra `dev`")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))
