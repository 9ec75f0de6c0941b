"""README's first command as a newcomer gives it: a new environment, an empty folder, packages in pip's cache."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.commands import RUN
from benchmarks.measure import Bound, Row, at_most, in_process, missing

__all__ = ["first_minute"]

ROOT = Path(__file__).parents[1]
MB, REPEATS = 2**20, 3


def taken(file: Path) -> int:
    """Bytes on the disk, whole blocks where the system tells them."""
    found = file.lstat()
    return getattr(found, "st_blocks", 0) * 512 or found.st_size


def first_minute(quick: bool) -> list[Row]:
    """Install, first run and later runs by the clock, without numba; how much longer that takes than here."""
    if quick:
        return []
    with tempfile.TemporaryDirectory() as folder:
        source, environment = Path(folder, "source"), Path(folder, "environment")
        python = str(environment / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        try:
            subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
        except (OSError, subprocess.CalledProcessError):
            return [missing("README's first command", "needs git, and a checkout")]
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        began = time.perf_counter()
        pip = [python, "-m", "pip", "install", "--no-compile", "."]
        subprocess.run(pip, check=True, cwd=source, capture_output=True)
        install = time.perf_counter() - began

        given = [*RUN, "-q", "--no-ledger", "--out", f"{folder}/fig"]
        first = in_process(given, python, folder)
        turns = [
            [in_process([*given, *less], *where) for less in ([], ["--no-plots"]) for where in ((python, folder), ())]
            for _ in range(REPEATS)
        ]
        size = sum(taken(file) for file in environment.rglob("*")) / MB
    none, seconds = Bound("figure", math.nan), "by the clock"
    bare, compiled, tables, compiled_tables = (median(run.wall for run in runs) for runs in zip(*turns, strict=True))
    pairs = (("all", bare, compiled), ("--no-plots", tables, compiled_tables))
    return [
        Row("README's first command, whole", "s", install + first.wall, "", math.nan, Bound("figure", 25.0), seconds),
        Row("of which the install", "s", install, "", math.nan, none, seconds),
        Row("of which the first run", "s", first.wall, "", math.nan, Bound("figure", 7.0), f"CPU {first.cpu:.1f} s"),
        Row("the environment after it", "MB", size, "", math.nan, Bound("figure", 600.0)),
        *(
            Row(f"run us20, {what}, no numba", "s", without, "numba", quick_one, at_most(1.3), seconds)
            for what, without, quick_one in pairs
        ),
    ]
