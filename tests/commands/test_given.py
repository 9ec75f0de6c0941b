"""Whatever a command is given, and whatever the system refuses it: one line, status 2, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from test_console import COMMANDS

from hybrid_bt.commands import cli
from hybrid_bt.errors import ConfigError
from hybrid_bt.files import alone, append_line, append_whole, whole_folder, write_whole

LEAVES = {name: command for name, command in COMMANDS.items() if not isinstance(command, click.Group)}
SHORT = ["--symbols", "KO,PEP", "--start", "2010-01-04", "--end", "2011-03-01"]
LONG = "x" * 300

GIVEN = [
    (name, param.name)
    for name, command in LEAVES.items()
    for param in command.params
    if not getattr(param, "is_flag", False) and not getattr(param, "hidden", False)
]
PATHS = [
    (name, param)
    for name, param in GIVEN
    if isinstance(next(one for one in LEAVES[name].params if one.name == param).type, click.Path)
]


def words_for(name: str, /, **given: str) -> list[str]:
    """The command's words with what it cannot do without, and what is given."""
    words = name.split()
    for param in LEAVES[name].params:
        if param.required or param.name in given:
            plain = "2010-01-04" if "yyyy" in param.type.name else "x"
            choice = param.type.choices[0] if isinstance(param.type, click.Choice) else plain
            value = given.get(str(param.name), choice)
            words += ([] if isinstance(param, click.Argument) else [param.opts[-1]]) + [value] * max(param.nargs, 1)
    return words


def refused(answer: Result) -> str:
    """The one line that a refusal is."""
    assert answer.exit_code == 2 and answer.stdout == "", answer.output
    assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1, answer.stderr
    return answer.stderr


def slips(word: str, first: int) -> set[str]:
    """A word with a letter dropped, doubled, or exchanged with the next, or in capitals."""
    i = (first + len(word)) // 2
    return {word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:first] + word[first:].upper()} | {
        word[:i] + word[i + 1 :][:1] + word[i] + word[i + 2 :]
    }


@pytest.mark.parametrize("name", LEAVES)
def test_a_slip_in_a_flag_or_a_choice_gets_the_nearest(name: str) -> None:
    """Regression: no word of `--MODE`, nor which of its values `stabel` was to be."""
    options = [one for one in LEAVES[name].params if isinstance(one, click.Option) and not one.hidden]
    flags = {flag for one in options for flag in (*one.opts, *one.secondary_opts) if flag.startswith("--")}
    tried = [([slip], flag) for flag in flags for slip in slips(flag, 2) - flags]
    for one in (one for one in options if isinstance(one.type, click.Choice)):
        choices = [choice for choice in one.type.choices if len(choice) > 3]  # of three letters, more than one is near
        tried += [
            ([one.opts[0], slip], f"did you mean {c!r}") for c in choices for slip in slips(c, 0) - {*one.type.choices}
        ]
    for words, meant in tried:
        answer = CliRunner().invoke(cli.main, [*name.split(), *words])
        assert answer.exit_code == 2 and meant in answer.stderr, (words, answer.output)


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(("name", "param"), GIVEN)
def test_what_is_given_and_empty_is_refused(name: str, param: str, empty: str) -> None:
    """Regression: `--out ""`, an unset variable, wrote into the current folder; `--config ""` was ignored."""
    assert " is empty" in refused(CliRunner().invoke(cli.main, words_for(name, **{param: empty})))


@pytest.mark.parametrize(("name", "param"), PATHS)
def test_a_path_that_nothing_can_have_or_that_never_ends_is_refused(
    name: str, param: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for path, why in ((LONG, "File name too long"), ("pipe", "pipe or a device"), ("/dev/full", "pipe or a device")):
        told = refused(CliRunner().invoke(cli.main, words_for(name, **{param: path})))
        assert why in told or "no file" in told
    assert os.listdir() == ["pipe"]


@pytest.mark.parametrize("flag", ["--sac", "--gate", "--data", "--config", "--state", "--out"])
def test_a_run_says_in_a_line_that_a_name_is_too_long(flag: str, tmp_path: Path) -> None:
    out = [] if flag == "--out" else ["--out", str(tmp_path / "fig")]
    refused(CliRunner().invoke(cli.main, ["run", *out, "--no-ledger", "--no-plots", flag, LONG]))


FRACTIONS = [
    (name, str(param.name))
    for name, command in LEAVES.items()
    for param in command.params
    if "float" in param.type.name and name.split()[0] != "policy"
]


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
@pytest.mark.parametrize(("name", "param"), FRACTIONS)
def test_a_number_is_finite_and_not_below_zero(name: str, param: str, value: str) -> None:
    """Regression: `--scorer-timeout nan` waited, `--scorer-price -1` earned."""
    words = [*words_for(name, **{param: value}), *(["--no-ledger"] if name == "run" else [])]
    answer = CliRunner().invoke(cli.main, words)
    assert answer.exit_code == 2 and isinstance(answer.exception, SystemExit)
    assert re.search("finite|range|greater than", answer.stderr), answer.stderr


def test_a_seed_that_nobody_draws_from_is_refused() -> None:
    """Regression: `news evaluate --seed -1` ended in numpy's ValueError."""
    for name in ("news evaluate", "study"):
        assert "range" in CliRunner().invoke(cli.main, [*name.split(), "--seed", "-1"]).stderr


# --- a folder is one run's


@contextmanager
def somebody_writing(out: Path) -> Iterator[None]:
    """Another process that has a place to itself."""
    code = f"""
import sys
from pathlib import Path
from hybrid_bt.files import alone
with alone(Path({str(out)!r})):
    print("in", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin and other.stdout and other.stdout.readline() == b"in\n"
        yield
        other.stdin.close()


DEFAULTS = {"run": "fig", "study": "study", "train sac": "sac.onnx", "train shipped": "policies"}
OUTS = [name for name, command in LEAVES.items() if any(param.name == "out" for param in command.params)]


def test_every_folder_that_is_written_by_default_is_known() -> None:
    assert {name.split()[0] for name in DEFAULTS} <= set(OUTS)
    assert set(OUTS) == {
        *("run", "init", "data check", "pairs", "news evaluate", "train", "policy import-sb3", "study"),
    }


@pytest.mark.parametrize("name", OUTS)
def test_one_run_at_a_time_writes_to_a_place(name: str, tmp_path: Path) -> None:
    with somebody_writing(tmp_path / "deep" / "out"):
        for spelling in ("deep/out", "deep/../deep/out"):
            told = refused(CliRunner().invoke(cli.main, words_for(name, out=str(tmp_path / spelling))))
            assert "another run is writing" in told
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("name", DEFAULTS)
def test_one_run_at_a_time_writes_where_nothing_was_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with somebody_writing(tmp_path / DEFAULTS[name]):
        assert "another run is writing" in refused(CliRunner().invoke(cli.main, name.split()))


def test_of_two_runs_at_once_a_folder_holds_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hybrid_bt.run", *SHORT, "--no-plots", "--no-ledger", "-q", "--out", "fig"]
    both = [
        subprocess.Popen([*command, "--cash", cash], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for cash in ("1000000", "500000")
    ]
    told = [one.communicate(timeout=120)[1] for one in both]
    ended = [one.returncode for one in both]
    assert sorted(ended) in ([0, 0], [0, 2]), told  # one after the other, where the machine was slow to begin
    assert all(("another run is writing" in text) == (code == 2) for text, code in zip(told, ended, strict=True))
    cash = json.loads((tmp_path / "fig" / "run.json").read_text())["start_value"]
    first = (tmp_path / "fig" / "equity.csv").read_text().splitlines()[1].split(",")
    assert float(first[1]) == cash and os.listdir(tmp_path) == ["fig"]


def test_a_folder_is_kept_from_threads_and_taken_again(tmp_path: Path) -> None:
    out, told = tmp_path / "fig", []

    def other() -> None:
        try:
            with whole_folder(out):
                told.append("written")
        except ConfigError as error:
            told.append(str(error))

    with alone(out):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with whole_folder(out) as fresh:  # the part of a command that is alone there
            (fresh / "a").write_text("mine")
    other()
    assert "another run is writing" in told[0] and told[1:] == ["written"]
    assert [path.name for path in tmp_path.rglob("*")] == ["fig", "a"]


def test_a_lock_that_a_killed_process_left_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / ".hybrid-bt-fig.lock").touch()
    with alone(tmp_path / "fig"):
        pass
    assert os.listdir(tmp_path) == []


# --- a full disk, as a limit on the size of files makes it


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


DOCUMENT = {"id": "a", "published_at": "2010-06-01T10:00:00Z", "symbols": ["KO"], "title": "t", "text": "word " * 99}
#: command -> words with which it writes
WRITING = {
    "run": [*SHORT, "--no-plots"],
    "run with pages": [*SHORT],
    "run with a state": [*SHORT, "--no-plots", "--no-ledger", "--state", "state"],
    "run with verdicts": [*SHORT, "--no-plots", "--no-ledger", "--risk", "record", "--verdicts", "verdicts"],
    "trade": ["--until", "2022-12-20", "--state", "state"],
    "init": [],
    "data check": ["KO.csv", "--mend", "--out", "mended"],
    "pairs": ["--out", "pairs.csv"],
    "news add": ["news.jsonl"],
    "news evaluate": [*SHORT, "--risk", "lexicon", "--placebos", "2", "--out", "effects"],
    "study": ["--symbols", "KO,PEP", "--end", "2012-03-01", "--preset", "quick"],
    "train": ["gate", "--symbols", "KO,PEP", "--ppo-steps", "128", "--seeds", "0", "--train-end", "1993-12-31"],
}
READING = ["advise", "audit", "parity", "runs", "data check", "news list", "news show", "news check", "policy show"]


def test_every_command_writes_or_reads() -> None:
    known = {name.partition(" with")[0] for name in WRITING} | {*READING, "policy import-sb3"}
    assert known == set(LEAVES)


@pytest.mark.parametrize("name", WRITING)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(name: str, tmp_path: Path) -> None:
    rows = "".join(f"2021-03-{day:02d},{day},{day}\n" for day in range(1, 29))
    given = {"KO.csv": "date,close,volume\n" + rows, "news.jsonl": json.dumps(DOCUMENT) + "\n"}
    for file, text in given.items():
        (tmp_path / file).write_text(text)
    words = [*name.partition(" with")[0].split(), *WRITING[name]]
    command = [sys.executable, "-m", "hybrid_bt.commands.cli", *words]
    done = subprocess.run(
        command, cwd=tmp_path, preexec_fn=limited, capture_output=True, text=True, timeout=300, check=False
    )
    *progress, said = done.stderr.splitlines()  # of a training
    assert done.returncode == 2 and said.startswith("error: "), done.stderr
    assert all(line.startswith("gate_seed0, seed 1 of 1: ") for line in progress), done.stderr
    left = {path.name: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and path.name not in given}
    assert not any(left.values()), left


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from hybrid_bt.files import append_line
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
append_line(Path({str(tmp_path / "lines")!r}), "one")
try:
    append_line(Path({str(tmp_path / "lines")!r}), "x" * 200)
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "File too large\n" and (tmp_path / "lines").read_text() == "one\n"
    append_line(tmp_path / "lines", "two")
    with open(tmp_path / "lines", "ab+", buffering=0) as file:
        append_whole(file, b"three\n")
    assert (tmp_path / "lines").read_text() == "one\ntwo\nthree\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as told:
        write_whole(tmp_path / "folder", b"")
    assert told.value.filename == str(tmp_path / "folder") and os.listdir(tmp_path) == ["folder"]
