"""What the commands share: help, nearest names, output for people and for machines, a configuration to begin with."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hybrid_bt.commands import cli
from hybrid_bt.commands.console import Command
from hybrid_bt.commands.init import commented_toml
from hybrid_bt.commands.run import main as run
from hybrid_bt.config import load_config
from hybrid_bt.config.parts import MODES
from hybrid_bt.equations import compiled as batch

SHORT = ["--data", "us20", "--symbols", "KO,PEP", "--end", "2011-03-01", "--no-plots"]


def invoke(*arguments: str):
    return CliRunner().invoke(cli.main, list(arguments))


def test_every_command_is_listed_once_under_a_heading():
    help_text = invoke("--help").stdout
    for name, text in cli.COMMANDS.items():
        assert help_text.count(f"\n  {name} ") == 1
        assert text.split()[0] in help_text
    assert "Other" not in help_text, "a command without a group"


def every_command(command: click.Command, name: str = ""):
    """The command, and those under it."""
    yield name, command
    if isinstance(command, click.Group):
        for child in command.list_commands(click.Context(command)):
            yield from every_command(command.get_command(click.Context(command), child), f"{name} {child}".strip())


COMMANDS = dict(every_command(cli.main))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_says_what_it_is_and_what_its_default_is(name: str):
    for option in (option for option in COMMANDS[name].params if isinstance(option, click.Option)):
        assert option.help, f"{name} {option.opts}"
        silent = not (option.is_flag or option.required or option.hidden or option.show_default)
        assert not silent or "[default:" in option.help, f"{name} {option.opts}"
    assert "[%Y" not in invoke(*name.split(), "--help").stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_every_command_ends_with_an_example_that_it_takes(name: str):
    text = " ".join(invoke(*name.split(), "--help").stdout.split())
    *words, last = re.findall(r"Example: hybrid-bt (.*)", text)[0].split()
    words = [*words, last]
    assert " ".join(words).startswith(name), "its own"
    context, command = click.Context(cli.main), cli.main
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    command.make_context("example", words)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("run --data my_price.csv", "my_prices.csv"),
        ("run --no-plots --config mien.toml", "mine.toml"),
        ("run --no-plots --sac mien.onnx", "mine.onnx"),
        ("runs --ledger run.jsonl", "runs.jsonl"),
        ("runs fgi figs", "fig"),
        ("data check my_price.csv", "my_prices.csv"),
        ("pairs --data my_price.csv", "my_prices.csv"),
        ("policy show mien.onnx", "mine.onnx"),
        ("news add dox.jsonl", "docs.jsonl"),
        ("news check --store new.db", "news.db"),
        ("audit --strategy my_strateg.py:Mine", "'my_strategy'"),
    ],
)
def test_a_file_that_is_not_there_gets_the_nearest_that_is(
    words: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("my_prices.csv", "mine.toml", "mine.onnx", "runs.jsonl", "docs.jsonl", "news.db", "my_strategy.py"):
        (tmp_path / name).touch()
    (tmp_path / "fig").mkdir()
    answer = invoke(*words.split())
    assert answer.exit_code == 2 and answer.stderr.rstrip().endswith(f"; did you mean {meant}?"), answer.output
    assert len(answer.stderr.splitlines()) == 1


def test_a_flag_that_is_not_there_gets_the_nearest_that_is():
    assert "--no-plots" in invoke("run", "--no-plts").stderr


def test_every_silent_wait_is_counted_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    """Of whichever command, while it draws no bar of its own; nothing of it is left, and a pipe sees nothing."""
    groups = (cli.main, *(found for found in COMMANDS.values() if isinstance(found, click.Group)))
    assert all(isinstance(found, (Command, *map(type, groups))) for found in COMMANDS.values())
    code = """
import time
from hybrid_bt.commands import ending
from hybrid_bt.commands.console import command, progress_bar
ending.PATIENCE = 0.2
@command("slow", example="slow")
def main():
    time.sleep(1.0)
    ending.echo("said")
    with progress_bar("bar"):
        time.sleep(1.0)
main(prog_name='slow')
"""
    terminal = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color"}
    before, _, after = in_terminal([sys.executable, "-c", code], terminal).partition("said")
    assert re.findall(r"\rslow: \d s", before) and before.endswith("\r\x1b[K") and "slow:" not in after
    piped = subprocess.run([sys.executable, "-c", code], env=terminal, capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("said\n", "")


def test_a_date_of_another_form_is_told_the_form(tmp_path: Path):
    answer = CliRunner().invoke(run, ["--start", "4.1.2010", "--out", str(tmp_path / "fig")])
    assert answer.exit_code == 2 and "write YYYY-MM-DD" in answer.stderr


def test_no_color_is_honoured_and_progress_is_for_terminals(tmp_path: Path):
    """In a terminal of the kind that `script` makes: colours and a bar, with NO_COLOR no colour at all."""
    command = [sys.executable, "-m", "hybrid_bt.run", *SHORT, "--no-ledger", "--out", str(tmp_path / "fig")]
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm-256color"}
    colour, quiet = "\x1b[1m", "\x1b["
    assert colour in in_terminal(command, plain)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", in_terminal(command, plain | {"NO_COLOR": "1"}))
    piped = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    assert quiet not in piped.stdout + piped.stderr and piped.stderr == ""


def test_a_run_without_plots_imports_nothing_that_draws(tmp_path: Path):
    drawing = {"matplotlib", "plotly", "quantstats", "seaborn"}
    code = (
        "import sys; from hybrid_bt.run import main; main(sys.argv[1:], standalone_mode=False);"
        f"print(sorted({drawing} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    command = [sys.executable, "-c", code, *SHORT, "--quiet", "--no-ledger", "--out", str(tmp_path / "fig")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def in_terminal(command: list[str], environment: dict[str, str]) -> str:
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    said = b""
    while True:
        try:
            said += os.read(master, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
    os.close(master)
    assert process.wait() == 0
    return said.decode()


@pytest.mark.parametrize(("words", "meant"), [("rnu", "run"), ("data chekc", "check"), ("news evalute", "evaluate")])
def test_a_misspelt_command_gets_the_nearest_name(words: str, meant: str):
    answer = invoke(*words.split())
    assert answer.exit_code == 2
    assert f"did you mean '{meant}'" in answer.stderr


@pytest.mark.parametrize("name", ["run", "parity", "study", "news evaluate --risk lexicon"])
def test_a_span_that_ends_before_it_begins_is_refused_alike(name: str):
    answer = invoke(*name.split(), "--start", "2012-01-01", "--end", "2011-01-01")
    assert answer.exit_code == 2 and "--end 2011-01-01 is not after --start 2012-01-01" in answer.stderr


@pytest.mark.parametrize("mode", MODES)
def test_the_commented_file_is_the_mode(mode: str, tmp_path: Path):
    text = commented_toml(mode)
    plain = load_config(mode)
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert load_config(mode, file) == plain
    assert set(tomllib.loads(text)) == set(plain.sections())
    lines = text.splitlines()
    assert all(lines[i - 1].startswith("# ") for i, line in enumerate(lines) if " = " in line and line[0] != "#")


def test_init_writes_a_file_that_run_takes_and_never_replaces_one(tmp_path: Path):
    file = tmp_path / "deep" / "mine.toml"
    assert invoke("init", "--mode", "aggressive", "--out", str(file)).exit_code == 0
    answer = invoke("init", "--out", str(file))
    assert answer.exit_code == 2 and "--force" in answer.stderr
    assert invoke("init", "--out", str(file), "--force").exit_code == 0
    assert invoke("init", "--out", "-").stdout == file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["mine.toml"]


def test_init_takes_its_file_without_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("init", "my.toml").stdout.startswith("wrote my.toml; to use it:\n    hybrid-bt run")
    assert invoke("init").exit_code == 0
    assert (tmp_path / "my_strategy.py").exists()
    written = {path.name: path.read_text() for path in tmp_path.glob("*.toml")}
    assert written == dict.fromkeys(("my.toml", "hybrid_bt.toml"), commented_toml("stable"))
    assert invoke("init", "-").stdout == commented_toml("stable")
    both = invoke("init", "a.toml", "--out", "b.toml")
    assert both.exit_code == 2 and "got a.toml and --out b.toml" in both.stderr


@pytest.mark.parametrize("mode", MODES)
def test_init_writes_a_script_that_runs(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    said = invoke("init", "mine.py", "--mode", mode).stdout
    assert said == "wrote mine.py; to run it:\n    python mine.py\n"
    told = subprocess.run([sys.executable, "mine.py", "--help"], capture_output=True, text=True)
    assert told.returncode == 0 and told.stderr == "" and "prices" in told.stdout
    done = subprocess.run([sys.executable, "mine.py", "tech6"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = re.sub(r".*/quantstats/.*: UserWarning: .*\n.*\n", "", done.stderr)  # with pandas 3
    assert theirs == "" and "end value" in done.stdout and Path("tearsheet.html").stat().st_size > 100_000
    config = invoke("init", "mine.toml", "--mode", mode)
    assert config.exit_code == 0 and load_config(mode, Path("mine.toml")) == load_config(mode)


def test_json_is_the_summary_and_nothing_else(tmp_path: Path):
    answer = CliRunner().invoke(run, [*SHORT, "--out", str(tmp_path / "fig"), "--json"])
    result = json.loads(answer.stdout)
    table = (tmp_path / "fig" / "summary_pnl.csv").read_text().splitlines()
    header, first = (line.split(",") for line in table[:2])
    assert first[0] == "hybrid"
    assert repr(result["accounts"]["hybrid"]["end_value"]) == first[header.index("end_value")]
    assert set(result["accounts"]) == {line.split(",")[0] for line in table[1:]}
    assert result["out_of_sample"] is True
    assert all(Path(file).is_file() for file in result["files"])


def test_quiet_says_nothing_and_verbose_names_the_files(tmp_path: Path):
    assert CliRunner().invoke(run, [*SHORT, "--out", str(tmp_path / "fig"), "-q"]).output == ""
    said = CliRunner().invoke(run, [*SHORT, "--out", str(tmp_path / "fig"), "-v"]).stdout
    assert "run.json" in said and "backtest" in said


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch):
    """A machine that lacks it, and runs long enough that it would be worth loading."""
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(batch, "SECONDS_LOADED", 0.0)
    batch.have_numba.cache_clear()
    yield
    batch.have_numba.cache_clear()


@pytest.mark.usefixtures("without_numba")
@pytest.mark.parametrize("talk", [[], ["--quiet"]])
def test_a_run_without_numba_says_so_once_and_last_and_never_when_it_is_to_be_quiet(tmp_path: Path, talk: list[str]):
    answer = CliRunner().invoke(run, [*SHORT, "--out", str(tmp_path / "fig"), *talk])
    said = [line for line in answer.output.splitlines() if "no numba" in line]
    told = "note: no numba: same numbers, 1.5 to 3 times the time (pip install numba)"
    assert said == ([] if talk else [told])
    assert answer.output.splitlines()[-1:] == said


@pytest.mark.usefixtures("without_numba")
def test_in_python_the_lack_of_numba_is_one_warning():
    with pytest.warns(UserWarning, match="pip install numba") as heard:
        assert [batch.choose(True, 1.0), batch.have_numba()] == [False, False]
    assert len(heard) == 1


@pytest.mark.parametrize("flags", [["--json", "--quiet"], ["-q", "-v"], ["--open"], ["--plot-symbols", "KO"]])
def test_flags_that_contradict_each_other_are_refused(flags: list[str], tmp_path: Path):
    answer = CliRunner().invoke(run, [*SHORT, "--out", str(tmp_path / "fig"), *flags])
    assert answer.exit_code == 2
    assert not (tmp_path / "fig").exists()


def test_open_shows_the_explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    monkeypatch.setattr("hybrid_bt.report.write_report", lambda *_, **__: [])
    short = [word for word in SHORT if word != "--no-plots"]
    answer = CliRunner().invoke(run, [*short, "--no-ledger", "--open", "--out", str(tmp_path / "fig")])
    assert answer.exit_code == 0, answer.output
    assert shown == [(tmp_path / "fig" / "explorer.html").as_uri()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pairs", "--top", "0"], "not in the range"),
        (["audit", "--cash", "inf"], "no finite number"),
        (["run", "--out", "FILE"], "a file is in the way"),
        (["run", "--out", "FILE/deeper/down"], "Not a directory; give another with --out"),
        (["run", "--config", "FOLDER"], "Is a directory; name a TOML file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(words: list[str], said: str, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    places = {"FILE": str(tmp_path / "file"), "FOLDER": str(tmp_path)}
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    result = invoke(*words)
    assert result.exit_code == 2 and said in result.output, result.output
    assert (tmp_path / "file").read_text() == "mine"
