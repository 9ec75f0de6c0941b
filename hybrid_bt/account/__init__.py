"""From targets to an account: the one loop, the registry of accounts, what an account shows, and proofs of it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CELLS_TO_COLLECT = 100_000  #: bars x symbols behind which `give_back` is worth its tenth of a second


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's cycle collector out of the way inside; afterwards it is as before.

    A run makes millions of tuples and next to no cycles, and Backtrader's objects live until it is over: looking for
    garbage among them costs a tenth of its time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def give_back() -> None:
    """Drop cycles that nobody holds, and give free memory back to the system, which glibc keeps as it is."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # another library of C
        ctypes.CDLL(None).malloc_trim(0)
