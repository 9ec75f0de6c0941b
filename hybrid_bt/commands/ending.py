"""What a process of ours prints, and how it ends: its status tells signals, lost output and mistakes apart."""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeAlias

import click

from hybrid_bt.files.texts import shown
from hybrid_bt.files.workers import OF_A_SIGNAL, signals_as_exits

USER_MISTAKE = 2  #: exit status
CLOSED_PIPE = 13  #: SIGPIPE, which not every system has a name for
PATIENCE = 2.0  #: seconds of silence on a terminal
NEAREST = "hybrid_bt.nearest"  #: how characters are written that the output's encoding lacks

_Thing: TypeAlias = Any  #: what click hands on


class Ending(click.Command):
    """How a process of ours ends: its status is 0 only where all that it was to print has been written."""

    def main(self, args: Sequence[str] | None = None, **how: _Thing) -> _Thing:  # type: ignore[override]
        """As click's, but Ctrl-C is 130, other signals 128 and their number, output that cannot be written 2."""
        if not how.pop("standalone_mode", True):
            return super().main(args, standalone_mode=False, **how)
        os.environ["MPLBACKEND"] = "Agg"  # no command opens a window, whatever it is told to draw on
        output = _opened()
        with signals_as_exits() as told:
            try:
                status = super().main(args, standalone_mode=False, **how) or 0
                sys.stdout.flush()
            except click.ClickException as error:
                status, said = error.exit_code, io.StringIO()
                error.show(said)
                with suppress(OSError):
                    echo(*said.getvalue().splitlines(), err=True)
            except (click.Abort, KeyboardInterrupt):
                status = OF_A_SIGNAL + signal.SIGINT
            except (OSError, SystemExit):  # click's own answer to a closed pipe is among these
                if output is None or output.lost is None:
                    raise
                status = OF_A_SIGNAL + CLOSED_PIPE
                if output.lost.errno != errno.EPIPE:
                    tell("error", f"output: cannot be written ({output.lost.strerror}); free the disk, or name a file")
                    status = USER_MISTAKE
                _let_go(output)
            except Exception:  # compiled code turns what a signal raised into errors of its own
                if not told.first:
                    raise
        try:
            sys.stderr.flush()
        except OSError:
            _let_go(sys.stderr)
        sys.exit(OF_A_SIGNAL + told.first if told.first else status)


class _Output(io.FileIO):
    """Standard output; it remembers why it could not be written."""

    lost: OSError | None = None

    def write(self, data: _Thing) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            raise


def is_of_output(error: OSError) -> bool:
    """Whether it is what was printed that could not be written."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(error, BrokenPipeError) or (isinstance(raw, _Output) and raw.lost is not None)


def _opened() -> _Output | None:
    """Standard output, if it is the process's own; where the shell closed one, nothing else may get its number."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    before = sys.__stdout__
    if before is not sys.stdout:
        return None
    output = _Output(before.fileno() if before else os.open(os.devnull, os.O_RDONLY), "w", closefd=False)
    how = (before.encoding, before.errors, None, before.isatty()) if before else ()
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(output), *how)
    return output


def _let_go(stream: IO[_Thing]) -> None:
    """Of what was not written, or Python would complain of it at its end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class _Clock:
    """`hybrid-bt news evaluate: 12 s`, while a command draws and prints nothing for `PATIENCE` on a terminal."""

    def __init__(self, label: str) -> None:
        self._label, self._began, self._heard, self._drawn = label, time.monotonic(), time.monotonic(), False
        self._lock, self._over, self.others = threading.RLock(), threading.Event(), 0
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while not self._over.wait(PATIENCE / 4):
            with self._lock:
                now = time.monotonic()
                if not self.others and now - self._heard >= PATIENCE and not self._over.is_set():
                    self._write(f"\r{self._label}: {now - self._began:.0f} s")
                    self._drawn = True

    def clear(self) -> None:
        with self._lock:
            if self._drawn:
                self._write("\r\x1b[K")
            self._heard, self._drawn = time.monotonic(), False

    def end(self) -> None:
        self._over.set()
        self.clear()

    @staticmethod
    def _write(text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


_clocks: list[_Clock] = []


@contextmanager
def at_work(label: str, hidden: bool | None) -> Iterator[None]:
    """Show on a terminal for how long a command has been at work, wherever it has nothing else to show."""
    if hidden or not sys.stderr.isatty():
        yield
        return
    clock = _Clock(label)
    _clocks.append(clock)
    try:
        yield
    finally:
        _clocks.remove(clock)
        clock.end()


@contextmanager
def unclocked() -> Iterator[None]:
    """While something else is drawn."""
    heard = [*_clocks]
    for clock in heard:
        clock.others += 1
        clock.clear()
    try:
        yield
    finally:
        for clock in heard:
            clock.others -= 1
            clock.clear()


def tell(kind: str, message: object) -> None:
    with suppress(OSError):  # where stderr cannot be written, the status says it
        echo(f"{kind}: {' '.join(str(message).split())}", err=True)


def echo(*lines: str, err: bool = False) -> None:
    """Print lines as they are; a name of somebody else's neither moves the cursor nor begins a line."""
    for clock in _clocks:
        clock.clear()
    for line in lines:  # click's own echo would choose another encoding where this one is ASCII
        print(shown(line), file=sys.stderr if err else sys.stdout, flush=True)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """What is written for characters that the encoding lacks; a minus stays one, or a number would be wrong."""
    assert isinstance(error, UnicodeEncodeError)
    wide = error.object[error.start : error.end].replace("\u2212", "-")
    parts = (c for c in unicodedata.normalize("NFKD", wide) if not unicodedata.combining(c))
    return "".join(parts).encode("ascii", "replace").decode(), error.end


codecs.register_error(NEAREST, _nearest)
