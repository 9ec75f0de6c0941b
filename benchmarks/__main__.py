"""`python -m benchmarks`: one table of speed and memory beside what one would use otherwise.

Ratios carry from machine to machine, absolute figures do not. A row that misses its bound is marked; nothing fails
but a comparison whose results differ. Rivals that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before numpy and torch are imported

from benchmarks.measure import Row  # noqa: E402


def groups(given: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    """Parts of the table by name, in order."""
    from benchmarks import commands, env_steps, event_path, first_minute, growth, histories, inference, replays

    quick = given.quick
    return {
        "feeds": lambda: event_path.feeds(quick),
        "hybrid": lambda: event_path.hybrid(quick),
        "policies": lambda: inference.policies(quick),
        "kalman": lambda: inference.kalman_step(quick),
        "env": lambda: env_steps.env_steps(quick, given.finrl),
        "replay": lambda: replays.event_path(quick),
        "rivals": lambda: replays.rivals(quick, given.vectorbt),
        "commands": lambda: commands.commands(quick),
        "first": lambda: first_minute.first_minute(quick),
        "histories": lambda: histories.histories(quick),
        "growth": lambda: growth.growth(quick),
        "minutes": lambda: [] if quick else growth.minutes(given.minutes),
    }


def line(row: Row) -> str:
    """A row of the table."""
    if row.bound.kind == "skipped":
        return f"{row.what:52} skipped: {row.other_name}"
    other = f"{row.other:10.4g}" if row.other == row.other else " " * 10
    ratio, bound = "", ""
    value = row.bound.ratio(row.ours, row.other)
    if row.bound.kind != "figure":
        ratio = f"{value:9.4g}x"
    if row.bound.limit == row.bound.limit:
        sign = ">=" if row.bound.kind == "faster" else "<="
        bound = f"{sign} {row.bound.limit:g} {'ok' if row.bound.holds(value) else 'MISS'}"
    what = f"{row.what:52}{row.ours:10.4g} {row.unit:7}{row.other_name:26}{other}"
    return f"{what} {ratio:11}{bound:16}{row.note}".rstrip()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--only", default="", metavar="NAME,...", help="parts of the table")
    parser.add_argument("--finrl", metavar="PATH", help="FinRL's env_stocktrading.py (pip install --no-deps finrl)")
    parser.add_argument("--vectorbt", metavar="PYTHON", help="interpreter that has vectorbt, if this one has not")
    parser.add_argument("--minutes", metavar="PATH", help="one-minute bars of one symbol (CSV, may be .gz)")
    given = parser.parse_args()
    table = groups(given)
    wanted = given.only.split(",") if given.only else list(table)
    unknown = [name for name in wanted if name not in table]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(table)}")
    began = time.perf_counter()
    print(f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, CPU time, medians of interleaved rounds")
    print(f"{'':52}{'ours':>10} {'':7}{'other':26}{'':10} {'ratio':11}{'bound':16}")
    for name in wanted:
        for row in table[name]():
            print(line(row), flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
