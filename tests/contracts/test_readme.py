"""The README says what the program does: its results are what the named commands print, its code runs."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from places import ROOT
from test_architecture import PACKAGES

from hybrid_bt.commands import cli
from hybrid_bt.commands.run import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
RUN = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
MOST_BYTES = 10_000
FOLDERS = ("hybrid_bt", "feeds", "strategies", "analyzers", "benchmarks", "docs", "examples")


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", README + RESULTS, re.DOTALL)
    assert found, f"neither README nor docs/results.md has a block {name!r}"
    return found.group(1)


@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_results_are_what_the_command_prints(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(main, ["--mode", mode, "--no-plots", "--out", str(tmp_path / "fig")])
    assert result.exit_code == 0, result.output
    printed = [line.rstrip() for line in result.output.splitlines()]
    assert block(f"results {mode}").splitlines() == printed[: len(block(f"results {mode}").splitlines())]


def test_exactly_two_commands_do_all_set_up() -> None:
    assert block("run command").count("\n") == block("test command").count("\n") == 1
    assert block("run command").strip().endswith("python -m hybrid_bt.run --mode stable")
    assert "pytest" in block("test command")


def test_ci_runs_the_readme_command() -> None:
    script, tests = ((ROOT / ".ci" / name).read_text(encoding="utf-8") for name in ("run", "tests"))
    assert "bash .ci/tests" in script and "<!-- test command -->" in tests
    assert "pytest" not in script + tests


def test_the_readme_is_one_document() -> None:
    assert len(README.encode()) <= MOST_BYTES


def test_the_architecture_is_the_list_of_packages_in_order() -> None:
    shown = README[README.index("## Architecture") : README.index("## Tests")]
    names = [name for names in PACKAGES for name in names if name != "run"]
    lines = [line.split("  ") for line in shown.splitlines() if line.startswith("    ")]
    words = [word for line in lines for part in line for word in part.split() if word in names]
    first = [words.index(name) for name in names]
    assert first == sorted(first)


def test_every_flag_of_the_command_is_in_its_guide() -> None:
    flags = {flag for option in main.params for flag in (*option.opts, *option.secondary_opts) if not option.hidden}
    assert {flag for flag in flags if flag not in RUN} == set()


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: indent, kind and text of what stands between fences
FENCED = re.compile(r"^([ >]*)(?:`{3,}|~{3,}) *(.*?)\n(.*?)^[ >]*(?:`{3,}|~{3,}) *$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (_, kind, code) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")))
    if kind == "python"
]
EXTRAS = ("stable_baselines3", "vaderSentiment")  #: libraries of extras that blocks say they need


@pytest.mark.parametrize("code", BLOCKS)
def test_every_block_of_python_runs_as_it_is_pasted(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXTRAS:
        if name in code:
            pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


def test_no_page_hides_its_python_from_the_test_above() -> None:
    """Regression: five pages had Python that nobody could run, behind four blanks instead of fences."""
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    fences = [found for text in texts.values() for found in FENCED.findall(text)]
    assert {kind for _, kind, _ in fences} == {"bash", "ini", "python", "text", "toml"} and len(BLOCKS) > 15
    assert {indent for indent, *_ in fences} == {""}
    for page, text in texts.items():
        for found in re.findall(r"(?:^|\n)\n((?: {4}.*\n)+)", FENCED.sub("", text)):
            assert not is_python(textwrap.dedent(found)), (page.name, found)


def is_python(text: str) -> bool:
    """Whether anything is called, imported, assigned or defined in it; words and formulas alone are not."""
    kinds = (ast.Import, ast.ImportFrom, ast.Assign, ast.Call, ast.FunctionDef, ast.ClassDef)
    try:
        return any(isinstance(node, kinds) for node in ast.walk(ast.parse(text)))
    except SyntaxError:
        return bool(re.search(r"^(?:from \w[\w.]* import|import \w|def \w|class \w|>>> )", text, re.MULTILINE))


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of every command of ours, what is said about it left out."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.match(r" {4}((?:hybrid-bt|python -m hybrid_bt\.\w+) .*)", line)
        if found and not re.search(r"[|]", found[1]):
            yield shlex.split(re.split(r" {3,}|; ", re.sub(r"(?<=\S) +(?=--)", " ", found[1]))[0])


def test_every_command_that_is_shown_exists_with_its_flags() -> None:
    texts = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]
    shown = [words for text in texts for words in commands_in(text)]
    assert len(shown) > 20
    for words in shown:
        rest = words[1:] if words[0] == "hybrid-bt" else [words[2].removeprefix("hybrid_bt."), *words[3:]]
        command: click.Command | None = cli.main
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            command = command.get_command(click.Context(command), rest.pop(0))
        assert command is not None, words
        known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)} | {"--help"}
        given = {word.split("=")[0] for word in rest if word.startswith("-")}
        assert given <= known, f"{' '.join(words)}: {given - known}"


def test_what_is_to_be_installed_comes_from_the_checkout_and_exists() -> None:
    """The project's name is not on the package index: whoever takes it would be installed."""
    texts = {
        path: path.read_text(encoding="utf-8")
        for kind in ("md", "py", "html", "toml", "yml", "ipynb")
        for path in ROOT.rglob(f"*.{kind}")
        if path.relative_to(ROOT).parts[0] in (*FOLDERS, path.name)
    }
    by_name = re.compile(r"install (?:-\S+ )*['\"]?hybrid[-_]bt\b|hybrid[-_]bt\[")
    assert {str(path): found[0] for path, text in texts.items() if (found := by_name.search(text))} == {}
    extras = set(tomllib.loads(texts[ROOT / "pyproject.toml"])["project"]["optional-dependencies"])
    named = re.compile(r"['\"]\.\[([a-z,]+)\]|how_to_install\(['\"](\w+)|library\([^)]*?, \"(\w+)\"")
    asked = {
        one for text in texts.values() for found in named.findall(text) for words in found for one in words.split(",")
    }
    assert {"train", "study", "markets", "news"} <= asked - {""} <= extras


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
