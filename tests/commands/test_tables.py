"""What commands print is whole on 80 columns: no figure is cut or broken, whatever the table; framed where it fits."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from price_files import write_prices
from rich.cells import cell_len

from hybrid_bt.commands import cli, tables
from hybrid_bt.commands.tables import Table, printed

FIGURES = st.from_regex(r"-?[0-9]{1,3}(,[0-9]{3}){0,3}(\.[0-9]{2}%?)?", fullmatch=True)
WORDS = st.from_regex(r"[a-z]{1,12}( [a-z]{1,12}){0,3}", fullmatch=True)
NAMES = WORDS | st.from_regex(r"[a-z電שé:,]{1,70}( [a-z電שé:,]{1,30}){0,3}", fullmatch=True)  # as symbols may be called


@st.composite
def tables_of_any_size(draw: st.DrawFn) -> Table:
    head = draw(st.lists(WORDS, min_size=2, max_size=14, unique=True))
    left = head[: draw(st.integers(1, 2))]
    row = st.tuples(*(NAMES if name in left else FIGURES for name in head))
    rows = draw(st.lists(row, min_size=1, max_size=4))
    spare = draw(st.sampled_from([(), tuple(head[len(left) :][-1:])]))
    return Table(head, rows, left, title=draw(WORDS), spare=spare, keys=len(left))


def letters(text: str) -> Counter[str]:
    return Counter(re.sub("[^a-z電שé:,]", "", text))


@given(tables_of_any_size(), st.integers(40, 140))
@example(Table(["a", "c"], [("aaaa a a aaaaaaa", "aaaaaaaaa a a aaaaaaaaaa")], ["a", "c"], title="a", keys=2), 40)
def test_no_figure_of_any_table_is_cut_or_broken(table: Table, width: int) -> None:
    """Regression: beside a symbol of 53 columns, "0.085" was "0." on 60."""
    text = printed(table, width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text and "..." not in text
    words = text.split()
    for row in table.rows:
        for name, cell in zip(table.head, row, strict=True):
            if name not in table.left and name not in table.spare:
                assert cell in words, (cell, text)
            if name in table.left:
                assert letters(cell) <= letters(text), (cell, text)


def test_where_there_is_room_the_table_has_its_frame_and_all_its_columns() -> None:
    table = Table(
        ("account", "max drawdown", "costs"), [("hybrid", "-15.11%", "242,602")], ("account",), spare=("costs",)
    )
    wide, narrow, least = (printed(table, width=width) for width in (39, 34, 20))
    assert "┃ account ┃ max drawdown ┃   costs ┃" in wide and "│ hybrid  │" in wide
    assert "costs" in narrow and "┃" not in narrow and "max drawdown" not in narrow, "its head stands in two lines"
    assert "costs" not in least and "-15.11%" in least


@given(st.lists(NAMES, min_size=1, max_size=8), st.integers(0, 3), st.integers(40, 140))
def test_a_line_is_broken_between_words_by_the_columns_that_they_take(names: list[str], in_by: int, width: int) -> None:
    lines = printed(" " * in_by + " ".join(names), width=width).splitlines()
    assert " ".join(lines).split() == " ".join(names).split()
    assert all(cell_len(line) <= width or len(line.split()) == 1 for line in lines)


def test_a_path_stays_one_word() -> None:
    path = "/a/path/that/is/longer/than/one/line/of/any/terminal/" + "x" * 80
    assert path in printed(f"9 files in {path}", width=80).splitlines()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ, and their ledger."""
    folder = tmp_path_factory.mktemp("reports")
    short = ["run", "--no-plots", "--start", "2021-01-04", "--cash", "123456789"]
    for name, more in (("a", ["--spread-bps", "4"]), ("b", ["--mode", "aggressive", "--no-kalman"]), ("c", [])):
        assert CliRunner().invoke(cli.main, [*short, *more, "--out", str(folder / name)]).exit_code == 0
    return folder


TABLED = {
    "run": ["--no-plots", "--start", "2021-01-04", "--cash", "123456789", "--out", "x/fig"],
    "runs": ["--ledger", "runs.jsonl"],
    "runs A B": ["a", "b"],
    "pairs": ["--top", "5"],
    "news evaluate": ["--risk", "lexicon", "--symbols", "KO,PEP", "--start", "2022-06-01", "--placebos", "1"],
}


KO = ("--symbols", "KO,PEP", "--start", "2022-06-01")
LONG, WIDE = "A" * 32, "日本電信電話株式会社"
#: what other commands say, one after another
SAID = {
    "data check px": [],
    "data check broken": [],
    "data check": ["--rules"],
    "run": ["--data", "px", "--no-plots", "--pairs", f"{LONG}:{WIDE},DDD:{WIDE}", "--out", "x/y"],
    "pairs": ["--data", "px", "--train-end", "2016-05-01"],
    "parity": [*KO],
    "audit": ["--data", "px", "--strategy", "mine.py:Mine", "--bars", "60", "--every", "20"],
    "policy show package:sac.onnx": [],
    "advise": ["--cash", "123456789012", "--data", "px", "--pairs", f"{LONG}:{WIDE}"],
    "trade": ["--cash", "123456789012", "--data", "px", "--no-plots", "--until", "2016-03-02", "--state", "s"],
    "trade status": ["--state", "s"],
    "news add documents.jsonl": [],
    "news list": [],
    "news show a": [],
    "news check": [],
    "init a_folder_that_has/a_name_of_more_than_forty_letters.toml": [],
    "runs": ["--ledger", "runs.jsonl"],
}


@pytest.mark.parametrize("columns", [80, 40])
def test_nothing_that_is_said_is_wider_than_the_terminal(
    columns: int, reports: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Regression: audit took 89 columns, a note of wide names 88, how prices were read 92."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(columns))
    write_prices(Path("px"))
    Path("px/AAA.csv").rename(f"px/{LONG}.csv")
    Path("px/BBB.csv").rename(f"px/{WIDE}.csv")
    Path("broken").mkdir()
    Path(f"broken/{LONG}.csv").write_text("date,close\n2020-01-02,1.5\n2020-01-02,0\n2020-01-03,-1\n")
    Path("mine.py").write_text(
        "import backtrader as bt\nclass Mine(bt.Strategy):\n    next = lambda self: self.buy()\n"
    )
    Path("runs.jsonl").write_bytes((reports / "runs.jsonl").read_bytes())
    words = {"id": "a", "symbols": ["KO"], "title": "many words " * 20, "text": "more words " * 40}
    Path("documents.jsonl").write_text(json.dumps(words | {"published_at": "2020-01-02T00:00:00Z"}) + "\n")
    for name, flags in SAID.items():
        answer = CliRunner().invoke(cli.main, [*name.split(), *flags])
        assert answer.exit_code == (name in ("data check broken", "news check")) and answer.stdout, (
            name,
            answer.output,
        )
        wide = [line for line in answer.stdout.splitlines() if cell_len(line) > columns and len(line.split()) > 1]
        assert wide == [], name


@pytest.mark.parametrize("columns", [80, 240])
@pytest.mark.parametrize("name", TABLED)
def test_every_table_is_whole(name: str, columns: int, reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reports)
    monkeypatch.setenv("COLUMNS", str(columns))
    seen: list[Table] = []
    real = tables._drawn
    monkeypatch.setattr(tables, "_drawn", lambda table, width: seen.append(table) or real(table, width))
    answer = CliRunner().invoke(cli.main, [*name.removesuffix(" A B").split(), *TABLED[name]])
    assert answer.exit_code == 0 and seen, answer.output
    lines = [line for line in answer.stdout.splitlines() if " " in line]
    assert max(map(len, lines)) <= columns and "…" not in answer.stdout
    words = re.sub("[│┃]", " ", answer.stdout).split()
    for table in seen:
        figures = [row[i] for row in table.rows for i, title in enumerate(table.head) if title not in table.left]
        spare = {row[table.head.index(title)] for row in table.rows for title in table.spare}
        assert [cell for cell in figures if not set(cell.split()) <= set(words) and cell not in spare] == []
    assert ("┃" in answer.stdout) == (columns == 240)


def test_runs_says_what_differs(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the mode's own numbers, so that a run of nothing but defaults says nothing."""
    monkeypatch.chdir(reports)
    monkeypatch.setenv("COLUMNS", "300")
    lines = CliRunner().invoke(cli.main, ["runs"]).stdout.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    cash = "account.cash 123456789.0"
    assert [row[-1] for row in cells] == [f"{cash}, costs.spread_bps 4.0", f"{cash}, kalman.enabled False", cash]
    trial = json.loads((reports / "runs.jsonl").read_text().splitlines()[2])
    later = trial | {"span": ["2022-01-03", trial["span"][1]], "policies": {**trial["policies"], "sac": "0" * 64}}
    (reports / "two.jsonl").write_text(json.dumps(trial) + "\n" + json.dumps(later) + "\n")
    lines = CliRunner().invoke(cli.main, ["runs", "--ledger", "two.jsonl"]).stdout
    assert "start 2021-01-04" in lines and "start 2022-01-03" in lines and "policies.sac 000000000000," in lines
