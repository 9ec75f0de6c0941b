"""CPU time of several cases side by side: interleaved, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Bound", "Process", "Row", "at_least", "at_most", "cpu_seconds", "in_process", "medians", "missing", "spend"]


class Bound(NamedTuple):
    """What the ratio of a row should be."""

    kind: str  #: "faster": the other's cost over ours; "cost": ours over the other's; "figure": ours itself
    limit: float  #: NaN for none

    def ratio(self, ours: float, other: float) -> float:
        """The row's ratio, in the direction in which its bound is stated."""
        return {"faster": other / ours, "cost": ours / other if other else 0.0, "figure": ours}[self.kind]

    def holds(self, ratio: float) -> bool:
        """Whether a ratio meets the limit."""
        if self.limit != self.limit:
            return True
        return ratio >= self.limit if self.kind == "faster" else ratio <= self.limit


def at_least(limit: float) -> Bound:
    """We should be this many times faster."""
    return Bound("faster", limit)


def at_most(limit: float) -> Bound:
    """We should cost at most this many times the other."""
    return Bound("cost", limit)


class Row(NamedTuple):
    """One line of the table; costs in `unit`, the smaller the better."""

    what: str
    unit: str
    ours: float
    other_name: str
    other: float
    bound: Bound
    note: str = ""


def missing(what: str, why: str) -> Row:
    """A line that says why something was not measured."""
    return Row(what, "", float("nan"), why, float("nan"), Bound("skipped", float("nan")))


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call, all threads, garbage of earlier calls collected before."""
    gc.collect()
    before = time.process_time()
    work()
    return time.process_time() - before


def spend(work: Callable[[], object], seconds: float) -> float:
    """CPU seconds of one call of something short, repeated for about `seconds`."""
    work()
    calls = 0
    gc.collect()
    before = now = time.process_time()
    while now - before < seconds:
        for _ in range(10):
            work()
        calls += 10
        now = time.process_time()
    return (now - before) / calls


def medians(
    cases: Mapping[str, Callable[[], object]],
    repeats: int,
    measure: Callable[[Callable[[], object]], float] = cpu_seconds,
) -> dict[str, float]:
    """Median cost of each case over rounds in which every case is measured once."""
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, work in cases.items():
            costs[name].append(measure(work))
    return {name: statistics.median(values) for name, values in costs.items()}


class Process(NamedTuple):
    """What a process of its own took."""

    wall: float  #: s
    cpu: float  #: s, user and system
    peak: float  #: MB resident
    printed: str


_WATCH = """
import resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
wall = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
print(done.stdout, end="")
sys.exit(done.returncode)
"""


def in_process(arguments: Sequence[str], python: str = sys.executable, folder: str | None = None) -> Process:
    """Run Python in a process of its own, with its peak memory; `CalledProcessError` if it fails.

    It keeps compiled modules, as an installation has them, also where this process was told not to. In a `folder` it
    knows what is installed, and nothing of this checkout.
    """
    told = {"PYTHONDONTWRITEBYTECODE"} | ({"PYTHONPATH"} if folder else set())
    environment = {name: value for name, value in os.environ.items() if name not in told}
    watched = [sys.executable, "-c", _WATCH, python, *arguments]
    done = subprocess.run(watched, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=folder)
    figures, _, printed = done.stdout.partition("\n")
    return Process(*map(float, figures.split()), printed)
