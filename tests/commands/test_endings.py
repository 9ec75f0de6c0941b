"""Status 0 only where all that was asked for was written; no traceback, whatever becomes of the output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")

#: asked of every command, in a child of one process each: what becomes of standard output, and of errors
DRIVER = """
import json, os, sys
import click
from hybrid_bt.commands import cli

def leaves(command, words=()):
    if not isinstance(command, click.Group):
        yield list(words)
        return
    context = click.Context(command)
    for child in command.list_commands(context):
        yield from leaves(command.get_command(context, child), (*words, child))

def full(number):
    os.dup2(os.open("/dev/full", os.O_WRONLY), number)

def unread(number):
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, number)

def closed(number):
    os.close(number)
    setattr(sys, {1: "stdout", 2: "stderr"}[number], None)
    setattr(sys, {1: "__stdout__", 2: "__stderr__"}[number], None)

found = []
for words in leaves(cli.main):
    for asked, number in (([*words, "--help"], 1), ([*words, "--no-such-flag"], 2)):
        for how in (full, unread, closed):
            said = os.memfd_create("said")
            child = os.fork()
            if not child:
                os.dup2(said, 3 - number)
                how(number)
                sys.argv = ["hybrid-bt", *asked]
                cli.main()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            os.lseek(said, 0, 0)
            found.append([asked, how.__name__, number, status, os.read(said, 10_000).decode()])
            os.close(said)
print(json.dumps(found))
"""


def test_every_command_says_by_its_status_that_its_output_is_lost() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert len(found) >= 6 * 16
    for asked, how, number, status, said in found:
        expected = 141 if how == "unread" and number == 1 else 2
        assert (asked, how, status) == (asked, how, expected), said
        assert "Traceback" not in said and len(said.splitlines()) == (number == 1 and how != "unread"), said


RUN = ["run", "--data", "us20", "--symbols", "KO,PEP", "--end", "2011-03-01", "--no-ledger", "--no-plots"]
TRIALS = {"table": [*RUN, "--out", "out"], "json": [*RUN, "--out", "out", "--json"]}


@pytest.mark.parametrize("how", TRIALS)
def test_run_on_a_full_output_keeps_its_files_and_says_so(how: str, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hybrid_bt.commands.cli", *TRIALS[how]],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            check=False,
        )
    assert done.returncode == 2 and (tmp_path / "out" / "run.json").exists()
    assert done.stderr.startswith("error: output: cannot be written (No space left on device)")
    assert len(done.stderr.splitlines()) == 1
