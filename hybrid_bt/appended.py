"""A file of lines to which lines are added and never changed.

A line is written by a single append under a lock and flushed to the disk; one that a crash cut off stays as it is, and
the next begins on a line of its own.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = ["append_line"]


def append_line(path: Path, text: str) -> None:
    """Add a line, making the file and its folder where they are missing.

    Raises
    ------
    OSError
        If it cannot be written whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", buffering=0) as file, _locked(file):
        torn = _ends_within_a_line(file)
        _append(file, (("\n" if torn else "") + text + "\n").encode())


def _ends_within_a_line(file: IO[bytes]) -> bool:
    """Whether a crash cut the last line off."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _append(file: IO[bytes], line: bytes) -> None:
    """One write, on the disk when it returns; the rest of a line that did not fit (a full disk) is not tried again."""
    if file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file.fileno())


@contextmanager
def _locked(file: IO[bytes]) -> Any:
    """Alone with the file, where the system knows such locks (not on Windows, where one append is one write)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
