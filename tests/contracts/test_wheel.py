"""What a user installs works without the checkout."""

from __future__ import annotations

import subprocess
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
