"""A state file: one line that says what follows, one line of JSON. It appears whole or not at all, and is never run.

    {"format": "hybrid_bt state", "version": 1, "sha256": "..."}
    {"bar": {...}, "brain": {...}, ...}

Arrays of doubles are kept as their bytes in base64, so that every bit comes back, NaN included.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.errors import StateError
from hybrid_bt.files import write_whole

FORMAT, VERSION = "hybrid_bt state", 1
PACKED = "base64"


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Whenever the process dies, `path` holds one whole state.

    Raises
    ------
    StateError
        If the folder cannot be written to; `path` is then as it was.
    """
    body = json.dumps(state, default=_packed, separators=(",", ":")).encode()
    head = json.dumps({"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    try:
        write_whole(path, head, b"\n", body, b"\n")
    except OSError as error:
        raise StateError(f"state: cannot write {path}: {error.strerror or error}; free the disk or move it") from None


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Raises
    ------
    StateError
        If the file is no state, is damaged or cut off, or of a newer format.
    """
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise StateError(f"state: cannot read {path}: {error.strerror or error}; name a file") from None
    said = _json(head)
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise StateError(f"state: {path} does not begin as a state file; name another one, or remove it to begin anew")
    if said.get("version") != VERSION:
        raise StateError(
            f"state: {path} has format version {said.get('version')!r}, this code reads {VERSION}; upgrade hybrid_bt"
        )
    body = body.removesuffix(b"\n")
    if hashlib.sha256(body).hexdigest() != said.get("sha256"):
        raise StateError(
            f"state: {path} is damaged or cut off: its sha256 does not match; restore a copy, or remove it"
        )
    state = json.loads(body, object_hook=_unpacked)  # as written, or the seal would not match
    if not isinstance(state, dict):
        raise StateError(f"state: {path} holds {type(state).__name__}, not a state; name another file")
    return state


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value, dtype="<f8")
        return {PACKED: base64.b64encode(array.tobytes()).decode(), "shape": array.shape}
    raise TypeError(f"state: {type(value).__name__} {value!r} has no JSON form")


def _unpacked(found: dict[str, Any]) -> Any:
    if set(found) != {PACKED, "shape"}:
        return found
    try:
        return np.frombuffer(base64.b64decode(found[PACKED]), dtype="<f8").reshape(found["shape"]).copy()
    except (ValueError, binascii.Error):
        raise StateError("state: an array in it is damaged; restore a copy, or remove it to begin anew") from None
