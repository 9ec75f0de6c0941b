"""Start-up, bars per second and peak memory of the main job, each in a process of its own.

    python benchmarks/bench_run.py [--repeat 3]

Absolute figures are this machine's; the ratio to an empty Backtrader loop over the same bars carries.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = {
    "import hybrid_bt": ["-c", "import hybrid_bt"],
    "hybrid-bt --help": ["-m", "hybrid_bt.cli", "--help"],
    "hybrid-bt run --help": ["-m", "hybrid_bt.run", "--help"],
    "empty Backtrader loop, PandasData": [str(Path(__file__).with_name("empty_loop.py"))],
    "run us20 stable, --no-plots": ["-m", "hybrid_bt.run", "--mode", "stable", "--no-plots"],
    "run us20 stable": ["-m", "hybrid_bt.run", "--mode", "stable"],
    "run us20 aggressive, --no-plots": ["-m", "hybrid_bt.run", "--mode", "aggressive", "--no-plots"],
    "run tech6 stable, --no-plots": ["-m", "hybrid_bt.run", "--data", "tech6", "--no-plots"],
}
BARS = {"us20": 8_313, "tech6": 2_699}


def measure(arguments: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of one Python process."""
    with tempfile.TemporaryDirectory() as folder:
        script = (
            "import resource, subprocess, sys, time\n"
            "t = time.perf_counter()\n"
            "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)\n"
            "u = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(time.perf_counter() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)\n"
        )
        out = ["--out", f"{folder}/fig"] if "hybrid_bt.run" in arguments and "--help" not in arguments else []
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments, *out], capture_output=True, text=True, check=True
        )
    wall, cpu, peak = map(float, done.stdout.split())
    return wall, cpu, peak


def main() -> None:
    """Print a table; the median of the repeats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    print(f"Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}, median of {repeat}")
    print(f"{'':36}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}{'bars/s':>9}")
    for name, arguments in CASES.items():
        wall, cpu, peak = (
            statistics.median(column) for column in zip(*(measure(arguments) for _ in range(repeat)), strict=True)
        )
        bars = BARS["tech6"] if "tech6" in name else BARS["us20"]
        rate = f"{bars / wall:9,.0f}" if name.startswith(("run", "empty")) else ""
        print(f"{name:36}{wall:9.2f}{cpu:9.2f}{peak:9.0f}{rate}")


if __name__ == "__main__":
    main()
