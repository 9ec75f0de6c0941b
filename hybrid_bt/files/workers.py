"""Processes that work for this one, and signals: whatever ends a process, its workers and its folders go with it.

A signal that would end a process at once (docker, systemd and cron send them) is an exception here, so that every
`finally` runs. A worker watches the process that it works for, for kill -9 asks nobody; Ctrl-C, which a terminal
sends to all of them, is that process's affair.
"""

from __future__ import annotations

import _thread
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from types import FrameType

from hybrid_bt.errors import ConfigError

OF_A_SIGNAL = 128  #: exit status of what a signal ended, less the signal's number
POLL_SECONDS = 0.2
SWALLOWED_SECONDS = 0.01  #: until a signal that was swallowed is asked again: the swallower must have returned
#: those of them that the system has
DEADLY = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]


class Signals:
    """Which signal was first to ask the process to end; 0 while none has."""

    def __init__(self) -> None:
        self.first, self.hook = 0, sys.unraisablehook

    def leave(self, number: int, frame: FrameType | None = None) -> None:
        """A handler: out of the main thread, by KeyboardInterrupt or SystemExit."""
        self.first = self.first or number
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(OF_A_SIGNAL + number)

    def again(self, lost: sys.UnraisableHookArgs) -> None:
        """A hook: what a destructor or a callback swallowed, where Python only prints an exception, is asked again."""
        if self.first and isinstance(lost.exc_value, KeyboardInterrupt | SystemExit):
            threading.Timer(SWALLOWED_SECONDS, _ask_again, (self.first,)).start()
        else:
            self.hook(lost)


def _ask_again(number: int) -> None:
    if os.name == "posix":  # which wakes the main thread where it waits
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


@contextmanager
def signals_as_exits() -> Iterator[Signals]:
    """Within, a deadly signal that nobody handles or ignores raises SystemExit in the main thread, Ctrl-C as ever."""
    told = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    defaults = {number: signal.SIG_DFL for number in DEADLY} | {signal.SIGINT: signal.default_int_handler}
    ours = {number: handler for number, handler in defaults.items() if signal.getsignal(number) is handler}
    try:
        for number in ours:
            signal.signal(number, told.leave)
        if ours:
            sys.unraisablehook = told.again
        yield told
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        sys.unraisablehook = told.hook


def end_with_parent(number: int | None = None) -> None:
    """In a worker: let it end soon after the process that it works for, and not by Ctrl-C.

    Its `number` is needed where `multiprocessing` did not start the worker: it may be gone already.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    number = parent.pid if parent and parent.pid else number
    wait = parent.join if parent and os.name != "posix" else None  # on Windows a dead parent keeps its number
    threading.Thread(target=_outlive, args=(number, wait), daemon=True).start()


def _outlive(parent: int | None, wait: Callable[[], None] | None) -> None:
    if wait is not None:
        wait()
    else:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
    os._exit(1)


class _Spawn(SpawnContext):
    """Spawned processes, which share no memory with the threads of this one, and are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[BaseProcess] = []

    def Process(self, *given: object, **named: object) -> BaseProcess:  # type: ignore[override]  # noqa: N802
        self.made.append(super().Process(*given, **named))  # type: ignore[arg-type]
        return self.made[-1]


@contextmanager
def workers(
    jobs: int, what: str, remedy: str, begin: Callable[..., None] = end_with_parent, *given: object
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end with the block, however it ends.

    Parameters
    ----------
    what, remedy : str
        For messages: who works there, and what to do where a worker was killed.
    begin, given
        How a worker begins; it must call `end_with_parent`.

    Raises
    ------
    ConfigError
        If a worker was killed from outside; it is named, with the signal.
    """
    spawn = _Spawn()
    with signals_as_exits():
        pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=begin, initargs=given)
        try:
            yield pool
        except BaseException as error:
            for worker in filter(BaseProcess.is_alive, spawn.made):
                worker.terminate()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise ConfigError(f"{what}: {_killed(spawn.made)}; {remedy}") from None
            raise
        pool.shutdown()


def _killed(made: list[BaseProcess]) -> str:
    """The first that the system ended; the pool itself ends the others by SIGTERM."""
    ended = [(worker, worker.exitcode) for worker in made if worker.exitcode]
    first = next((one for one in ended if one[1] != -signal.SIGTERM), *ended[:1])
    if first is None:
        return "a worker was killed"
    worker, code = first
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return f"worker {worker.pid} was {how}"
