"""Compiled drivers, and whether to run them: same functions, same bits.

Nothing is computed here. The step functions of the other modules are made callable from compiled code and looped over,
without fastmath, so that the bits are CPython's. numba is imported nowhere else, and on first use of a driver only;
where it is missing, one warning says so.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from hybrid_bt.errors import Hint

#: numba and a kernel that was compiled in an earlier process; what is estimated counts the work that follows, too
SECONDS_TO_LOAD = 1.0
SECONDS_LOADED = 0.05  # a kernel, numba being there already
_interpreted_so_far = [0.0]  # seconds, as estimated: many short replays are as long as one long one
_kept_off: list[bool] = []


@cache
def have_numba() -> bool:
    """Whether numba can be imported; says so the first time it cannot, unless a worker process asks."""
    if importlib.util.find_spec("numba") is not None:
        return True
    if multiprocessing.parent_process() is None:
        told = "no numba: same numbers, 1.5 to 3 times the time (pip install numba)"  # docs/benchmarks.md
        warnings.warn(told, Hint, stacklevel=2)
    return False


@contextmanager
def interpreted(always: bool = True) -> Iterator[None]:
    """Inside, numba is not loaded for what nobody asked to be compiled."""
    _kept_off.append(always)
    try:
        yield
    finally:
        _kept_off.pop()


def choose(compiled: bool | None, interpreted_seconds: float) -> bool:
    """Whether to run compiled: as asked, or once a process would have interpreted for as long as it takes to load."""
    if compiled is None and any(_kept_off):
        return False
    if compiled is None:
        _interpreted_so_far[0] += interpreted_seconds
        compiled = _interpreted_so_far[0] >= (SECONDS_LOADED if "numba" in sys.modules else SECONDS_TO_LOAD)
    return compiled and have_numba()
