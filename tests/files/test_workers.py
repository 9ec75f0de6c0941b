"""Whatever ends a process, its workers and folders go with it; a worker that is killed is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

from hybrid_bt.errors import ConfigError
from hybrid_bt.files.workers import DEADLY, OF_A_SIGNAL, signals_as_exits, workers

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="asks the system for processes by session")

SCRIPT = """
import sys, time
from concurrent.futures import wait
from pathlib import Path

from hybrid_bt.files import whole_folder
from hybrid_bt.files.workers import workers

if __name__ == "__main__":
    with whole_folder(Path("out")), workers(2, "test", "wait") as pool:
        at_work = [pool.submit(time.sleep, 60) for _ in range(2)]
        while not all(one.running() for one in at_work):
            time.sleep(0.01)
        print("at work", flush=True)
        wait(at_work)
"""
LOST = """
import os, signal, sys, time

import click

from hybrid_bt.commands.ending import Ending


class Swallows:
    def __del__(self):  # Python prints what is raised here, and goes on
        os.kill(os.getpid(), int(sys.argv[2]))
        time.sleep(0.1)


@click.command(cls=Ending)
@click.argument("how")
@click.argument("number")
def main(how, number):
    if how == "swallowed":
        Swallows()
    else:  # as compiled code does
        try:
            os.kill(os.getpid(), int(number))
            time.sleep(0.1)
        except BaseException:
            raise ImportError("initialization failed") from None
    time.sleep(30)


main()
"""
BARS = ["--data", "us20", "--symbols", "KO,PEP,CVX,XOM"]
LESSON = ["--symbols", "KO,PEP", "--train-start", "2000-01-03", "--train-end", "2004-12-31"]
#: commands that start processes of their own, at work for longer than it takes to look
AT_WORK = {
    "audit": ["audit", *BARS, "--jobs", "2"],
    "study": ["study", *BARS, "--preset", "quick", "--seeds", "3", "--jobs", "2", "--no-ledger"],
    "run": ["run", *BARS, "--no-ledger"],
    "train": ["train", "gate", *LESSON, "--seeds", "0,1", "--jobs", "2", "--out", "gate.onnx"],
}


def of_session(leader: int) -> list[int]:
    """Processes that it, or one of its own, started."""
    listed = subprocess.run(["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return [int(pid) for pid, session, state in rows if session == str(leader) and state[0] != "Z"]


def commands_of(pid: int) -> str:
    listed = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout


def begun(command: list[str], at: Path, least: int) -> tuple[subprocess.Popen[str], list[int]]:
    """A process, in a session of its own, and its workers, once there are so many."""
    (at / "temporary").mkdir()
    places = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(at / "temporary")}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=at,
        env=places,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found: list[int] = []
    until = time.monotonic() + 90
    while len(found) < least and process.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
        found = [
            pid for pid in of_session(process.pid) if pid != process.pid and "tracker import" not in commands_of(pid)
        ]
    assert len(found) >= least, process.communicate()
    return process, found


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status, output, errors; whatever is left of its session is an error."""
    try:
        said = process.communicate(timeout=60)
        until = time.monotonic() + 10
        while of_session(process.pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert [commands_of(pid) for pid in of_session(process.pid)] == []
    finally:
        for pid in of_session(process.pid):
            os.kill(pid, signal.SIGKILL)
    return process.returncode, *said


@pytest.mark.parametrize("number", [*DEADLY, signal.SIGKILL])
def test_workers_and_folders_go_with_their_process(number: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process, _ = begun(["script.py"], tmp_path, 2)
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    os.kill(process.pid, number)
    status, *_ = ended(process)
    assert status == (-number if number == signal.SIGKILL else OF_A_SIGNAL + number)
    if number != signal.SIGKILL:  # which leaves a hidden folder
        assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py", "temporary"]
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, *DEADLY])
@pytest.mark.parametrize("how", ["swallowed", "turned into another error"])
def test_a_signal_ends_a_command_whatever_becomes_of_its_exception(how: str, number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOST, how, str(int(number))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (OF_A_SIGNAL + number, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("name", AT_WORK)
def test_no_command_leaves_a_worker_or_a_temporary_folder(name: str, number: int, tmp_path: Path) -> None:
    if name == "train":
        pytest.importorskip("sb3_contrib")
    process, _ = begun(["-m", "hybrid_bt.commands.cli", *AT_WORK[name]], tmp_path, 1 if name == "run" else 2)
    time.sleep(0.0 if name == "run" else 0.5)  # of a run the pictures alone are still to be drawn
    os.kill(process.pid, number)
    status, _, said = ended(process)
    assert (status, "Traceback" in said) == (-number if number == signal.SIGKILL else OF_A_SIGNAL + number, False), said
    if number != signal.SIGKILL:
        assert list((tmp_path / "temporary").iterdir()) == [] and not list(tmp_path.glob(".hybrid-bt-*"))


@pytest.mark.parametrize("name", ["audit", "study"])
def test_a_worker_that_is_killed_is_named_and_no_finding(name: str, tmp_path: Path) -> None:
    process, found = begun(["-m", "hybrid_bt.commands.cli", *AT_WORK[name]], tmp_path, 2)
    time.sleep(1.0)
    os.kill(found[-1], signal.SIGKILL)
    status, _, said = ended(process)
    assert status == 2 and "killed by SIGKILL" in said and "--jobs" in said and "Traceback" not in said


def test_a_killed_worker_of_a_pool_is_named_by_its_number() -> None:
    named = pytest.raises(ConfigError, match=r"^test: worker \d+ was killed by SIGKILL; wait$")
    with named, workers(1, "test", "wait") as pool:
        pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL).result()


def test_signals_that_are_ignored_or_handled_stay_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with signals_as_exits():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(SystemExit) as left:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1.0)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert left.value.code == 143 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
