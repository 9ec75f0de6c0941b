"""From targets to an account: the one loop, the registry of accounts, what an account shows, and proofs of it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

M_MMAP_THRESHOLD, LARGE_BYTES = -3, 4 * 2**20  #: a parameter of malloc.h, and from where on an array is apart
CELLS_TO_COLLECT = 1_000_000  #: bars x symbols behind which `give_back` is worth its tenth of a second


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
    """Drop cycles that nobody holds, and give free memory back to the system; large arrays, from here on, at once.

    glibc keeps what is freed where arrays of some MB came and went before.
    """
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # another library of C
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.malloc_trim(0)
