"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["write_whole"]

PERMISSIONS = 0o666  #: less the user's mask, as `open` gives; a temporary file is for its owner alone


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary name beside `path`, to the disk, then rename; whatever was there is kept until then.

    Raises
    ------
    OSError
        If the folder cannot be written to; nothing is left behind.
    """
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(PERMISSIONS & ~_mask())
        os.replace(name, path)
    except BaseException:  # an interrupt, too, leaves nothing half-written
        Path(name).unlink(missing_ok=True)
        raise


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
