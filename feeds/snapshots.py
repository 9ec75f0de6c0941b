"""What Yahoo said, kept on disk: one folder per symbol, every history that was fetched.

    <cache>/yahoo/KO/20220103T210000123456Z-3f2a9c11d4e5f607.npz

holds stamps and columns as fetched, the days that were asked for, and when. The name says when, too, and the beginning
of the content's sha256: a file counts only if they agree. It appears by renaming, whole, so a process killed at any
moment leaves what was there before.
"""

from __future__ import annotations

import hashlib
import io
import os
import urllib.parse
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars import RawBars, say_stamp
from hybrid_bt.errors import BarsError, os_errors
from hybrid_bt.files import read_arrays, write_whole

SAME = 1e-6  #: relative; Yahoo sends single precision


class Snapshot(NamedTuple):
    """One symbol's history as it was fetched."""

    rows: RawBars
    start: str  #: first day that was asked for
    stop: str  #: the day behind the last one
    fetched_at: str  #: UTC, ISO

    def covers(self, start: str, stop: str) -> bool:
        """Whether the days from `start` to before `stop` were asked for."""
        return self.start <= start and stop <= self.stop


def cache_folder() -> Path:
    """XDG_CACHE_HOME, or ~/.cache."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "hybrid_bt"


def read_latest(cache: Path, symbol: str) -> Snapshot | None:
    """The newest snapshot that is whole, or None; damaged ones are passed over."""
    for path in sorted(_folder(cache, symbol).glob("*.npz"), reverse=True):
        with suppress(OSError, KeyError, TypeError):  # it is gone, or holds something else
            content = path.read_bytes()
            found = read_arrays(io.BytesIO(content)) if path.stem.endswith(_digest(content)) else None
            if found is not None:
                stamps, asked = found.pop("stamps"), found.pop("asked")
                return Snapshot(RawBars(stamps, found), *map(str, asked))
    return None


def store(cache: Path, symbol: str, rows: RawBars, start: str, stop: str) -> None:
    """Keep a history, of which the days from `start` to before `stop` were asked for, beside those that are there.

    Raises
    ------
    BarsError
        If the cache cannot be written to.
    """
    folder, now, buffer = _folder(cache, symbol), datetime.now(UTC), io.BytesIO()
    asked = np.array([start, stop, now.isoformat(timespec="seconds")])
    np.savez(buffer, stamps=rows.stamps, asked=asked, **rows.columns)  # type: ignore[arg-type]
    content = buffer.getvalue()
    remedy = "free the disk, or point XDG_CACHE_HOME to a folder that can be written to"
    with os_errors(BarsError, f"bars: yahoo's snapshot cannot be kept in {folder}", remedy):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{now:%Y%m%dT%H%M%S%fZ}-{_digest(content)}.npz", content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def difference(old: RawBars, new: RawBars) -> str:
    """Where two histories differ on the days that both reach over; "" where they agree.

    An adjusted close is revised as a whole with every dividend; that is said without a day.
    """
    first, last = max(old.stamps[0], new.stamps[0]), min(old.stamps[-1], new.stamps[-1])
    told = []
    a, b = (one.stamps[(one.stamps >= first) & (one.stamps <= last)] for one in (old, new))
    odd = np.setxor1d(a, b)
    if len(odd):
        told.append(f"{len(odd)} days are in one only, first {say_stamp(odd[0])}")
    _, i, j = np.intersect1d(old.stamps, new.stamps, return_indices=True)
    for field in (field for field in old.columns if field in new.columns):
        x, y = old.columns[field][i], new.columns[field][j]
        rows = np.flatnonzero(~np.isclose(x, y, rtol=SAME, atol=0.0, equal_nan=True))
        if not len(rows):
            continue
        first = f"first {say_stamp(old.stamps[i[rows[0]]])}: {x[rows[0]]:g}, now {y[rows[0]]:g}"
        rescaled = "adjusted closes are rescaled (a dividend since then)"
        told.append(rescaled if field == "adj" else f"{field} on {len(rows)} days, {first}")
    return "; ".join(told)


def _folder(cache: Path, symbol: str) -> Path:
    """A folder of its own for each name: no separator survives quoting, and no name is only dots."""
    return cache / "yahoo" / urllib.parse.quote(symbol, safe="^=-_").replace(".", "%2E")
