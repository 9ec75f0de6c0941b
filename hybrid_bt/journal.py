"""An append-only file of rows of doubles, one row a bar; a state file beside it says how many of them count.

Rows behind those were written by a process that died before its next snapshot: they are cut off when the file is opened
again, and made anew. While a process writes, it holds a lock that ends with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import StateError
from hybrid_bt.files import lock

DOUBLE = 8  #: bytes


class Journal:
    """Rows of `width` little-endian doubles.

    Parameters
    ----------
    path : Path
    width : int

    Raises
    ------
    StateError
        If the file cannot be written to, or another process has it open.
    """

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width, self.n_rows = path, width, 0
        self._digest = hashlib.sha256()
        try:
            self._file = open(path, "ab+", buffering=0)  # noqa: SIM115  (closed by `close`, or with the process)
        except OSError as error:
            raise StateError(f"state: cannot write {path}: {error.strerror or error}; name another file") from None
        try:
            lock(self._file, wait=False)
        except OSError:
            self._file.close()
            raise StateError(f"state: another process is writing {path}; stop it, or name another file") from None

    def recall(self, n_rows: int, sha256: str) -> NDArray[np.float64]:
        """The first `n_rows` rows, (n_rows, width); what lies behind them is cut off.

        Raises
        ------
        StateError
            If there are fewer, or they are not the ones that have this sha256.
        """
        self._file.seek(0)
        wanted = n_rows * self.width * DOUBLE
        kept = self._file.read(wanted) if wanted else b""
        digest = hashlib.sha256(kept)
        if len(kept) != wanted or digest.hexdigest() != sha256:
            what = "is shorter than" if len(kept) != wanted else "does not match"
            raise StateError(
                f"state: the journal {self.path} {what} its state; restore copies of both, or remove both to begin anew"
            )
        self._file.truncate(wanted)
        self.n_rows, self._digest = n_rows, digest
        return np.frombuffer(kept, dtype="<f8").reshape(n_rows, self.width)

    def append(self, row: Sequence[float]) -> None:
        """Write one row."""
        if len(row) != self.width:
            raise ValueError(f"journal: a row of {len(row)} numbers, not {self.width}")
        data = np.array(row, dtype="<f8").tobytes()
        try:
            written = self._file.write(data)
        except OSError as error:
            raise StateError(f"state: cannot write {self.path}: {error.strerror or error}; free the disk") from None
        if written != len(data):
            raise StateError(f"state: {self.path} could not be written whole; free the disk, then resume")
        self._digest.update(data)
        self.n_rows += 1

    def sync(self) -> dict[str, Any]:
        """Bring all rows to the disk; what the state file says of them."""
        os.fsync(self._file.fileno())
        return {"rows": self.n_rows, "width": self.width, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._file.close()
