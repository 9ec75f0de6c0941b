"""What a training says while it runs, and what it leaves in the temporary directory: nothing, however it ends."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from places import ROOT

from hybrid_bt.train.logbook import Pace, time_left, title
from hybrid_bt.train.members import Event

SPAN = ["--symbols", "KO,PEP", "--train-start", "1996-01-02", "--train-end", "1998-12-31"]
SHORT = ["sac", *SPAN, "--sac-steps", "5200", "--seeds", "7,3"]
ENDLESS = ["sac", *SPAN, "--sac-steps", "90000000", "--seeds", "0,1"]


def begin(folder: Path, words: list[str], before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    (folder / "temp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "temp"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name in ("TORCHINDUCTOR_CACHE_DIR", "SB3_LOGDIR"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "hybrid_bt.train", *words, "--out", str(folder / "out.onnx")]
    return subprocess.Popen(command, env=environment, cwd=folder, text=True, stderr=subprocess.PIPE, preexec_fn=before)


def left(folder: Path) -> list[str]:
    return [path.name for path in (folder / "temp").iterdir()]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_seed_is_told_with_the_time_left_and_nothing_is_left_behind(tmp_path: Path, jobs: str) -> None:
    process = begin(tmp_path, [*SHORT, "--jobs", jobs])
    lines = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 0 and left(tmp_path) == []
    told = [re.match(r"sac_seed(\d), seed (\d) of 2: step ([\d,]+) of 5,200, (.*left.*)", line) for line in lines]
    begun = {(found[1], found[2]) for found in told if found and found[3] == "0"}
    done = {(found[1], found[2]) for found in told if found and found[3] == "5,200"}
    assert begun == done == {("7", "1"), ("3", "2")}
    assert "time left unknown" in lines[0] and lines[-1].endswith(", 0:00:00 left")


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_stopped_leaves_no_folder(tmp_path: Path, number: signal.Signals, jobs: str) -> None:
    process = begin(tmp_path, [*ENDLESS, "--jobs", jobs])
    assert process.stderr is not None
    process.stderr.readline()  # it has begun
    time.sleep(1.0)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0 and left(tmp_path) == []


def no_large_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))


def test_a_training_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    kept = ["--checkpoint-dir", str(tmp_path / "kept"), "--checkpoint-every", "100"]
    process = begin(tmp_path, [*SHORT, *kept], no_large_files)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and "error: checkpoint: cannot write" in said and left(tmp_path) == []


def event(name: str, step: int, number: int = 1, of: int = 3) -> Event:
    return Event(name, number - 1, step, 100, None, number, of)


def test_the_time_left_is_that_of_all_at_the_pace_of_what_was_learned_here(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace()
    assert time_left(pace.left(event("sac_seed0", 40))) == "time left unknown"  # a checkpoint brought 40
    now[0] += 10.0
    assert pace.left(event("sac_seed0", 60)) == pytest.approx((300 - 60) / (20 / 10.0))
    now[0] += 20.0
    assert pace.left(event("sac_seed1", 0, 2)) == pytest.approx((300 - 60) / (20 / 30.0))
    assert pace.left(event("sac_seed1", 104, 2)) == pytest.approx((300 - 160) / (120 / 30.0))  # rollouts overshoot
    assert pace.left(event("sac_seed0", 100)) == pytest.approx(100 / (160 / 30.0))
    assert time_left(pace.left(event("sac_seed2", 100, 3))) == "0:00:00 left"
    assert time_left(3_661.2) == "1:01:02 left"
    assert title(event("gate_without_us20", 0, 2)) == "gate_without_us20, training 2 of 3"
    assert title(event("rehearsal sac_seed0", 0)) == "rehearsal sac_seed0, seed 1 of 3"
