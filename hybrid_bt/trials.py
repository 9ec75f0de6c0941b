"""The trial ledger `runs.jsonl`: one line for every run and study, appended and never changed.

Whoever tries often enough finds a good result by luck, so the number of trials belongs beside it: it feeds the deflated
Sharpe ratio. A line is one JSON object, written by a single append under a lock and flushed to the disk; a line that a
crash cut off is counted and passed over, and the next one begins on a line of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from hybrid_bt.errors import ConfigError

__all__ = ["LEDGER", "Ledger", "append_trial", "configuration_key", "count_trials", "read_trials"]

LEDGER = "runs.jsonl"
FORMAT = 1


class Ledger(NamedTuple):
    """What a ledger file holds."""

    trials: list[dict[str, Any]]  #: in the order in which they were written
    damaged: int  #: lines that are no JSON object


def append_trial(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line.

    Parameters
    ----------
    entry : mapping
        Plain data; `when` (UTC) and `format` are added.

    Raises
    ------
    ConfigError
        If the file cannot be written to.
    """
    line = json.dumps({"format": FORMAT, "when": datetime.now(UTC).isoformat(timespec="seconds"), **entry}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file, _locked(file):
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else "\n" + line  # after a line that a crash cut off
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(
            f"ledger: cannot write to {path}: {error.strerror or error}; pass --no-ledger, or write elsewhere"
        ) from None


def read_trials(path: Path) -> Ledger:
    """All trials of a ledger; none if there is no such file.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Ledger([], 0)
    except OSError as error:
        raise ConfigError(f"ledger: cannot read {path}: {error.strerror or error}") from None
    trials = [trial for line in lines if line.strip() and (trial := _parsed(line)) is not None]
    return Ledger(trials, sum(1 for line in lines if line.strip()) - len(trials))


def configuration_key(config: Mapping[str, Any]) -> str:
    """sha256 of a resolved configuration: runs of the same one are one trial."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def count_trials(ledger: Ledger, data_sha256: str, but: str = "") -> int:
    """Different configurations that were tried on these prices, leaving out the one whose key is `but`."""
    tried = {trial.get("config_sha256") for trial in ledger.trials if trial.get("data_sha256") == data_sha256}
    return len(tried - {but})


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        trial = json.loads(line)
    except ValueError:
        return None
    return trial if isinstance(trial, dict) else None


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
