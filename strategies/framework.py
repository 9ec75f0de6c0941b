"""The one door to Backtrader, quiet about what newer Pythons say of its sources.

Python compiles them at every start that finds no bytecode (uv, Docker, a read-only site-packages), and each time warns
of escape sequences in their docstrings. Whoever uses this package can mend neither those nor `utcnow`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

__all__ = ["Framework", "bt", "quietly"]

Framework: TypeAlias = Any  #: a thing of Backtrader's, which has no types


@contextmanager
def quietly() -> Iterator[None]:
    """Leave unsaid what Backtrader's own sources are warned of; everybody's filters are as they were behind it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*invalid escape sequence")  # which category depends on the Python
        warnings.filterwarnings("ignore", r"datetime\.datetime\.utcnow", DeprecationWarning, "backtrader")
        yield


with quietly():
    import backtrader as bt
