"""What commands print is whole on 80 columns: no figure is cut or broken, whatever the table; framed where it fits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.commands import cli, tables
from hybrid_bt.commands.tables import Table, printed

FIGURES = st.from_regex(r"-?[0-9]{1,3}(,[0-9]{3}){0,3}(\.[0-9]{2}%?)?", fullmatch=True)
WORDS = st.from_regex(r"[a-z]{1,12}( [a-z]{1,12}){0,3}", fullmatch=True)


@st.composite
def tables_of_any_size(draw: st.DrawFn) -> Table:
    head = draw(st.lists(WORDS, min_size=2, max_size=14, unique=True))
    left = head[: draw(st.integers(1, 2))]
    row = st.tuples(*(WORDS if name in left else FIGURES for name in head))
    rows = draw(st.lists(row, min_size=1, max_size=4))
    return Table(head, rows, left, title=draw(WORDS), spare=draw(st.sampled_from([(), tuple(head[-1:])])))


@given(tables_of_any_size(), st.integers(60, 140))
def test_no_figure_of_any_table_is_cut_or_broken(table: Table, width: int) -> None:
    text = printed(table, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text and "..." not in text
    words = text.split()
    for row in table.rows:
        for name, cell in zip(table.head, row, strict=True):
            if name not in table.left and name not in table.spare:
                assert cell in words, (cell, text)


def test_where_there_is_room_the_table_has_its_frame_and_all_its_columns() -> None:
    table = Table(
        ("account", "max drawdown", "costs"), [("hybrid", "-15.11%", "242,602")], ("account",), spare=("costs",)
    )
    wide, narrow, least = (printed(table, width=width) for width in (39, 34, 20))
    assert "┃ account ┃ max drawdown ┃   costs ┃" in wide and "│ hybrid  │" in wide
    assert "costs" in narrow and "┃" not in narrow and "max drawdown" not in narrow, "its head stands in two lines"
    assert "costs" not in least and "-15.11%" in least


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
    lines = [line for line in answer.stdout.splitlines() if not line.startswith("--pairs ")]
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
