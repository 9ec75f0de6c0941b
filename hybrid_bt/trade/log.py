"""What happened, as JSON lines; what a person must look at is an alarm."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from hybrid_bt.errors import ConfigError, StateError, os_errors
from hybrid_bt.files import append_whole, lock_or_refuse
from hybrid_bt.files.texts import plain
from hybrid_bt.trade.brokers.base import BrokerError

_Answer = TypeVar("_Answer")

PAUSES = (1.0, 4.0, 16.0)  #: seconds before a broker is asked again
ALARM_SECONDS = 60.0  #: that a command may take
STDERR = 2


class Log:
    """Lines of one file, or of none; the one process that has it open trades its account.

    Parameters
    ----------
    path : Path, optional
    command : str
        Told each alarm: the line on its standard input.
    pauses : seconds between attempts at a broker

    Raises
    ------
    StateError
        If another process has it open.

    Attributes
    ----------
    alarms : list
        Lines of this process that are alarms.
    """

    def __init__(self, path: Path | None, command: str = "", pauses: tuple[float, ...] = PAUSES) -> None:
        with os_errors(ConfigError, f"--on-alarm {command}", "quote it as for a shell", of=(ValueError,)):
            self._command = shlex.split(command)
        self._file = None if path is None else _alone(path)
        self._pauses, self.alarms = pauses, list[dict[str, Any]]()

    def line(self, event: str, **facts: object) -> dict[str, Any]:
        """Write one."""
        told = plain({"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts})
        if self._file is not None:
            with os_errors(ConfigError, "trade: cannot write the log", "free the disk"):
                append_whole(self._file, json.dumps(told).encode() + b"\n")
        return told

    def alarm(self, event: str, why: str, **facts: object) -> None:
        """Write one that a person must look at; the command is told it at the end, for no order waits for that."""
        self.alarms.append(self.line(event, alarm=True, why=why, **facts))

    def _tell(self, alarm: dict[str, Any]) -> None:
        how: dict[str, Any] = {"timeout": ALARM_SECONDS, "stdout": STDERR}  # standard output is ours, perhaps JSON
        try:
            given = json.dumps(alarm).encode()
            done: int | str = subprocess.run(self._command, input=given, check=False, **how).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            done = str(error)
        if done:
            self.line("alarm command failed", command=self._command[0], status=done)

    def ask(self, question: Callable[..., _Answer], *given: object) -> _Answer:
        """Of a broker, again some seconds later where that may help; BrokerError where it does not."""
        for pause in self._pauses:
            try:
                return question(*given)
            except BrokerError as error:
                if not error.again:
                    raise
                self.line("broker asked again", why=str(error), seconds=pause)
                time.sleep(pause)
        return question(*given)

    def close(self) -> None:
        """Tell the command its alarms, and bring all to the disk."""
        for alarm in self.alarms if self._command else ():
            self._tell(alarm)
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()


def _alone(path: Path) -> IO[bytes]:
    with os_errors(ConfigError, f"trade: cannot write {path}", "name another state"):
        file = path.open("ab", buffering=0)
    state = path.with_suffix("")
    lock_or_refuse(file, StateError(f"state: another process trades with {state}; wait for its end"))
    return file
