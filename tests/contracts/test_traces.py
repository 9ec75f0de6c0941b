"""What a command leaves behind and what leaves the machine: its own files, nothing at all; and words in any encoding.

All commands run in one process whose home and temporary folders are empty, whose sockets refuse and tell, and whose
output takes few characters. What onnxruntime does below Python shows in the files that it keeps. Prices, symbols and
documents bear names that terminals, rich, pages and pictures would obey.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest

import hybrid_bt
from hybrid_bt.commands import cli
from hybrid_bt.equations.features import OBSERVATIONS
from hybrid_bt.feeds import load_bars

ROOT = Path(hybrid_bt.__file__).parent
#: of a file: markup of rich, of HTML and of the explorer, mathematics, an emoji, another line, what moves a cursor, and
#: no character at all in UTF-8
HOSTILE = os.fsdecode(b"x[bold]{{facts}}<b>$A$:smile:\nerror: forged\x1b[31m\xe4")
SYMBOLS = {"KO": "[bold]", "PEP": "{{facts}}", "CVX": "A$B$C", "XOM": "&lt;i&gt;"}
BARS = ["--data", f"given/{HOSTILE}.csv"]
SPAN = [*BARS, "--end", "2011-03-01", "--pairs", "[bold]:{{facts}}"]
LATELY = ["--start", "2011-02-01", "--until", "2011-03-01"]
LESSON = ["--symbols", "KO,PEP", "--train-start", "2008-01-01", "--train-end", "2009-06-30", "--sac-steps", "5001"]
STATED = ["--kind", "sac", "--observation", ",".join(OBSERVATIONS["sac"][:3]), "--symbols", "KO"]
STATED += ["--train-start", "2008-01-01", "--train-end", "2009-06-30"]

#: each command with small arguments, run in this order in the folder that ARGS are relative to
TRIALS: dict[str, list[str]] = {
    "run": [*SPAN, "--out", "out/价格"],
    "trade": [*BARS, "--pairs", SPAN[-1], *LATELY, "--replay", "--state", "out/my.state", "--out", "out/live"],
    "advise": [*BARS, "--pairs", SPAN[-1], "--cash", "10000"],
    "init": ["--out", "out/mine.toml"],
    "study": [*SPAN, "--preset", "quick", "--windows", "1", "--seeds", "1", "--resamples", "20", "--out", "out/study"],
    "runs": ["--ledger", "out/runs.jsonl"],
    "pairs": [*BARS, "--out", "out/pairs.csv"],
    "parity": SPAN,
    "audit": ["--strategy", "backtrader.strategies:MA_CrossOver", *BARS, "--bars", "60", "--every", "30"],
    "data check": [f"given/{HOSTILE}", "--mend", "--out", "out/mended"],
    "news add": ["given/news.jsonl", "--store", "out/news.db"],
    "news list": ["--store", "out/news.db"],
    "news show": ["first", "--store", "out/news.db"],
    "news check": ["--store", "out/news.db"],
    "news evaluate": [*SPAN, "--news", "out/news.db", "--risk", "lexicon", "--no-masked", "--out", "out/evaluated"],
    "policy show": [str(ROOT / "policies" / "sac.onnx")],
    "train": ["sac", *LESSON, "--valid-end", "2009-12-31", "--seeds", "0", "--out", "out/sac.onnx"],
    "policy import-sb3": ["given/model.zip", *STATED, "--out", "out/theirs.onnx"],
}
#: what is tried again in an encoding that has some letters more than none
AGAIN = ("run", "trade", "advise", "study", "runs", "pairs", "data check", "news add", "news list", "news show")
LIBRARIES = {"train": "stable_baselines3", "policy import-sb3": "stable_baselines3"}
#: of others, documented in docs/faq.md: matplotlib's list of fonts; numba's kernels where the package is read-only
OTHERS = (".cache/matplotlib/", ".config/matplotlib/", ".cache/numba/")

LISTENING = """
import os, sys

def hear(event, told):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        place = told[1] if event in ("socket.connect", "socket.sendto") else told[0]
        if not isinstance(place, (str, bytes)) or event.endswith(("addrinfo", "hostbyname")):  # a path is this machine
            with open(os.environ["CALLS"], "a") as file:
                print(event, place, file=file)
            raise OSError("this test has no network")

sys.addaudithook(hear)
"""
DRIVER = """
import io, json, os, sys, traceback
from hybrid_bt.commands.cli import main

for name, arguments in json.loads(sys.argv[1]).items():
    sys.stdout = io.TextIOWrapper(open(f"said/{name}", "wb"), encoding=sys.argv[2])
    sys.stderr = io.TextIOWrapper(open(f"told/{name}", "wb"), sys.argv[2], "backslashreplace")
    try:
        main([*name.split(), *(os.fsdecode(word.encode(errors="surrogateescape")) for word in arguments)])
    except BaseException as error:
        status = traceback.format_exc() if not isinstance(error, SystemExit) else error.code
    sys.stdout.flush()
    sys.stderr.flush()
    print(json.dumps([name, status or 0]), file=sys.__stdout__, flush=True)
"""


def leaves(command: click.Command, name: str = "") -> Any:
    if not isinstance(command, click.Group):
        yield name
        return
    context = click.Context(command)
    for child in command.list_commands(context):
        yield from leaves(command.get_command(context, child), f"{name} {child}".strip())


def test_every_command_is_tried() -> None:
    assert set(TRIALS) == set(leaves(cli.main))


def possible(encoding: str) -> dict[str, list[str]]:
    names = [name for name in TRIALS if importlib.util.find_spec(LIBRARIES.get(name, "hybrid_bt"))]
    return {name: TRIALS[name] for name in names if encoding == "ascii" or name in AGAIN}


def make_inputs(folder: Path) -> None:
    prices = folder / HOSTILE
    prices.mkdir(parents=True)
    days = [f"2020-01-{day:02},10,11,9,{10 + day / 10},100" for day in range(1, 29)]
    (prices / "A.csv").write_text("\n".join(["date,open,high,low,close,volume", *days, days[-1]]))
    rows = ["symbol,date,close"]
    for symbol, name in SYMBOLS.items():
        bars = load_bars("us20", symbols=[symbol], end=date(2011, 3, 1))
        stamps = bars.stamps.astype("M8[D]").astype(str).tolist()
        rows += [f"{name},{day},{close}" for day, close in zip(stamps, bars.close[:, 0].tolist(), strict=True)][-1500:]
    (folder / f"{HOSTILE}.csv").write_text("\n".join(rows) + "\n")
    story = {
        "id": "first",
        "published_at": "2010-06-01T12:00:00Z",
        "symbols": ["[bold]"],
        "title": "Verlust \u2212 \u4ef7\u683c \x1b[31m [bold]",
        "text": "Bankruptcy, fraud and losses \u2192 nothing else.",
        "source": "test",
    }
    (folder / "news.jsonl").write_text(json.dumps(story) + "\n")
    if importlib.util.find_spec("stable_baselines3"):
        make_model(folder / "model.zip")


def make_model(path: Path) -> None:
    import gymnasium as gym
    import numpy as np
    from gymnasium import spaces
    from stable_baselines3 import SAC

    class Still(gym.Env[Any, Any]):
        observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    SAC("MlpPolicy", Still(), buffer_size=1, policy_kwargs={"net_arch": [4]}).save(path)


@pytest.fixture(scope="module", params=["ascii", "cp1252"])
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Where the commands ran, name -> exit status, and the sockets' calls."""
    work = tmp_path_factory.mktemp(request.param)
    for name in ("home", "temp", "at", "hooks", "at/said", "at/told", "at/out"):
        (work / name).mkdir()
    (work / "hooks" / "sitecustomize.py").write_text(LISTENING)
    make_inputs(work / "at" / "given")
    asked = possible(request.param)
    calls = work / "calls"
    calls.touch()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(work / "hooks"), str(ROOT.parent)]),
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "temp"),
        "CALLS": str(calls),
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "MPLBACKEND": "nonsense",
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(asked), request.param],
        cwd=work / "at",
        env=environment,
        capture_output=True,
        timeout=300,
    )
    ended = dict(json.loads(line) for line in done.stdout.decode().splitlines())
    assert set(ended) == set(asked), done.stderr.decode(errors="replace")
    return work, request.param, ended


def test_no_command_opens_a_connection(tried: Any) -> None:
    assert (tried[0] / "calls").read_text() == ""


def test_no_command_leaves_a_file_where_it_was_not_told_to(tried: Any) -> None:
    work, _, _ = tried
    left = [path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()]
    ours = ("at/out/", "at/said/", "at/told/", "at/given/", "hooks/", "calls", *(f"home/{place}" for place in OTHERS))
    assert [path for path in left if not path.startswith(ours)] == []
    assert list((work / "temp").iterdir()) == []


def test_every_command_ends_well_whatever_its_output_can_hold(tried: Any) -> None:
    work, _, ended = tried
    assert {name: status for name, status in ended.items() if status not in (0, 1)} == {}  # 1: something was found
    assert all((work / "at" / "said" / name).stat().st_size for name in ended)


def test_no_name_is_obeyed(tried: Any) -> None:
    """By a terminal, rich, a page or a script in it."""
    at, encoding, ended = tried[0] / "at", tried[1], tried[2]
    said = {file: file.read_bytes().decode(encoding) for place in ("said", "told") for file in (at / place).iterdir()}
    for file, text in said.items():
        assert all(c.isprintable() or c == "\n" for c in text), file
        assert not any(line.startswith("error: forged") for line in text.splitlines()), file
    for name in {"run", "runs", "study", "parity", "audit", "data check"} & set(ended):
        told = (at / "said" / name).read_text(encoding=encoding)
        assert "x[bold]{{facts}}<b>$A$:smile:\\nerror:forged\\x1b[31m" in "".join(told.split()), (
            name
        )  # broken at spaces
    pages = [file.read_text() for file in (at / "out").rglob("*.html")]
    assert len(pages) == 4
    assert not any("<b>$A$" in page or "\x1b" in page for page in pages)
    (explorer,) = (at / "out").rglob("explorer.html")
    facts = json.loads(explorer.read_text().split('id="facts">')[1].split("</script>")[0])
    assert facts["symbols"] == [*SYMBOLS.values()] and "{{facts}}<b>$A$" in facts["title"]
    assert json.loads((explorer.parent / "run.json").read_text())["data"]["symbols"] == [*SYMBOLS.values()]


def test_a_minus_is_never_lost(tried: Any) -> None:
    """In the sentence that `run` says of its Sharpe ratio."""
    said = (tried[0] / "at" / "said" / "run").read_bytes().decode(tried[1])
    (claim,) = (line for line in said.splitlines() if line.startswith("claim "))
    assert "[-" in claim and "?" not in claim


def test_onnxruntime_is_silent_for_whoever_imports_it_after_us(tmp_path: Path) -> None:
    places = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT.parent)}
    code = "import hybrid_bt, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=places, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
