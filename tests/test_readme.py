"""The README says what the program does: its results are what the named commands print, its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hybrid_bt.run import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"README has no block {name!r}"
    return found.group(1)


@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_results_are_what_the_command_prints(mode: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--mode", mode, "--no-plots", "--out", str(tmp_path / "fig")])
    assert result.exit_code == 0, result.output
    printed = [line.rstrip() for line in result.output.splitlines()]
    assert block(f"results {mode}").splitlines() == printed[: len(block(f"results {mode}").splitlines())]


def test_exactly_two_commands_do_all_set_up() -> None:
    assert block("run command").count("\n") == block("test command").count("\n") == 1
    assert block("run command").strip().endswith("python -m hybrid_bt.run --mode stable")
    assert "pytest" in block("test command")


def test_ci_runs_the_readme_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in script
    assert "pytest" not in script


def test_every_flag_of_the_command_is_in_the_readme() -> None:
    flags = {flag for option in main.params for flag in (*option.opts, *option.secondary_opts) if not option.hidden}
    assert {flag for flag in flags if flag not in README} == set()


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
