"""What Yahoo said, kept on disk: one folder per symbol, every history that differs from the one before it.

    <cache>/yahoo/KO/manifest.json                       snapshots, newest last: file, sha256, fetched_at, arguments
    <cache>/yahoo/KO/20220103T210000Z-3f2a9c11.npz       stamps and columns as fetched

A snapshot counts only if the manifest names it and its sha256 agrees. The file is whole on disk before the manifest
names it, and both appear by renaming, so a process killed at any moment leaves what was there before.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import urllib.parse
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.bars import say_stamp
from hybrid_bt.bars.checks import PRICES, RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.files import write_whole

MANIFEST = "manifest.json"
FIELDS = (*PRICES, "volume")
SAME = 1e-6  #: relative; Yahoo sends single precision


class Snapshot(NamedTuple):
    """One symbol's history as it was fetched."""

    rows: RawBars
    fetched_at: str  #: UTC, ISO
    arguments: Mapping[str, str]  #: start and end (excluded) that were asked for

    def covers(self, start: str, stop: str) -> bool:
        """Whether the days from `start` to before `stop` were asked for."""
        return self.arguments["start"] <= start and stop <= self.arguments["end"]


def cache_folder() -> Path:
    """The user's cache folder: XDG_CACHE_HOME, or the platform's own."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given and Path(given).is_absolute():
        return Path(given) / "hybrid_bt"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hybrid_bt" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hybrid_bt"
    return Path.home() / ".cache" / "hybrid_bt"


def read_latest(cache: Path, symbol: str) -> Snapshot | None:
    """The newest snapshot that is whole, or None; damaged ones are passed over."""
    folder = _folder(cache, symbol)
    for entry in reversed(_manifest(folder)):
        try:
            content = (folder / str(entry["file"])).read_bytes()
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                continue
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                columns = {field: arrays[field] for field in FIELDS if field in arrays}
                rows = RawBars(arrays["stamps"], columns)
            return Snapshot(rows, str(entry["fetched_at"]), dict(entry["arguments"]))
        except (OSError, KeyError, TypeError, ValueError, MemoryError, zipfile.BadZipFile):
            continue
    return None


def store(cache: Path, symbol: str, rows: RawBars, arguments: Mapping[str, str]) -> None:
    """Keep a history beside those that are there, and name it in the manifest.

    Raises
    ------
    BarsError
        If the cache cannot be written to.
    """
    folder = _folder(cache, symbol)
    now = datetime.now(UTC)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, stamps=rows.stamps, **rows.columns)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = f"{now:%Y%m%dT%H%M%SZ}-{digest[:8]}.npz"
    entry = {
        "file": file,
        "sha256": digest,
        "fetched_at": now.isoformat(timespec="seconds"),
        "arguments": dict(arguments),
        "bars": len(rows.stamps),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / file, buffer.getvalue())
        text = json.dumps({"symbol": symbol, "snapshots": [*_manifest(folder), entry]}, indent=2)
        write_whole(folder / MANIFEST, text.encode())
    except OSError as error:
        raise BarsError(
            f"bars: yahoo's snapshot cannot be kept in {folder}: {error.strerror or error}; free the disk, or point "
            "XDG_CACHE_HOME to a folder that can be written to"
        ) from error


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
    for field in FIELDS:
        if field not in old.columns or field not in new.columns:
            continue
        x, y = old.columns[field][i], new.columns[field][j]
        rows = np.flatnonzero(~np.isclose(x, y, rtol=SAME, atol=0.0, equal_nan=True))
        if not len(rows):
            continue
        if field == "adj":
            told.append("adjusted closes are rescaled (a dividend since then)")
        else:
            row = rows[0]
            told.append(
                f"{field} on {len(rows)} days, first {say_stamp(old.stamps[i[row]])}: {x[row]:g}, now {y[row]:g}"
            )
    return "; ".join(told)


def _folder(cache: Path, symbol: str) -> Path:
    """A folder of its own for each name: no separator survives quoting, and no name is only dots."""
    return cache / "yahoo" / urllib.parse.quote(symbol, safe="^=-_").replace(".", "%2E")


def _manifest(folder: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        entries = document["snapshots"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
