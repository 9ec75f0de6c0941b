"""Imports point down, and each framework has an address: read from the source, without running it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from places import ROOT

import hybrid_bt

ADAPTERS = ("strategies", "feeds", "analyzers")

#: folders are the layers, lowest first: a module imports from its own line and from those above it
PACKAGES = (
    ("errors",),
    ("files",),
    ("bars",),
    ("equations",),
    ("policies",),
    ("brain",),
    ("account",),
    ("config",),
    ("feeds",),
    ("envs", "strategies"),
    ("analyzers",),
    ("report",),
    ("backtest",),
    ("news",),
    ("train",),
    ("evidence",),
    ("trade",),
    ("commands",),
    ("run",),
)
DOORS = ("run", "train.__main__")  #: `python -m hybrid_bt.run` and `.train`: three lines that hand over to a command

#: where a framework may be imported: modules, or packages with everything in them
ADDRESSES: dict[str, tuple[str, ...]] = {
    "backtrader": ("feeds.framework",),
    "gymnasium": ("envs", "policies"),
    "torch": ("train", "policies", "news"),
    "stable_baselines3": ("train", "policies"),
    "sb3_contrib": ("train", "policies"),
    "optuna": ("train.tune",),
    "onnx": ("train", "policies"),
    "onnxruntime": ("policies.session",),
    "pandas": ("bars", "feeds", "report", "evidence.audit", "analyzers", "strategies"),
    "stockstats": ("strategies",),
    "matplotlib": ("report", "evidence.study"),
    "quantstats": ("report",),
    "numba": ("equations.compiled",),
    "click": ("commands",),
}

#: most lines of a file, most code lines and files of all: what is new makes room for itself
MOST_LINES, MOST_CODE, MOST_FILES, MOST_ENTRIES = 250, 26_050, 231, 22

#: what `import hybrid_bt` must not cost
HEAVY = ("torch", "numba", "matplotlib", "quantstats", "pandas", "backtrader", "scipy", "onnxruntime", "gymnasium")


class Import(NamedTuple):
    """One module asking for another."""

    module: str  #: without `hybrid_bt.`
    wanted: str  #: whole dotted name
    runs: bool  #: False where only a type checker follows it


@cache
def sources() -> dict[str, ast.Module]:
    """Parsed source of every module, by its name without `hybrid_bt.`; the package itself is ""."""
    found = {}
    for top, folder in (("", ROOT / "hybrid_bt"), *((name, ROOT / name) for name in ADAPTERS)):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            if not top and parts[0] in ADAPTERS:
                continue  # the symlinks to the adapters, which are read at their own place
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((*([top] if top else []), *parts))] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def _file_of(module: str) -> Path:
    parts = module.split(".") if module else []
    home = ROOT.joinpath(*parts) if parts and parts[0] in ADAPTERS else ROOT.joinpath("hybrid_bt", *parts)
    return home / "__init__.py" if home.is_dir() else home.with_suffix(".py")


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for module, tree in sources().items() for found in _imports_of(module, tree))


def _imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    unrun = {id(node) for test in ast.walk(tree) if _is_type_checking(test) for node in ast.walk(test)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports out in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (Import(module, name, id(node) not in unrun) for name in names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _module_of(wanted: str) -> str | None:
    """The module of ours that a dotted name lies in, without `hybrid_bt.`; None for somebody else's."""
    if wanted.split(".")[0] != "hybrid_bt":
        return None
    name = wanted.removeprefix("hybrid_bt").removeprefix(".")
    while name and name not in sources():
        name = name.rpartition(".")[0]
    return name


def _line(module: str) -> int:
    return next(i for i, packages in enumerate(PACKAGES) if module.split(".")[0] in packages)


def test_every_module_lies_in_a_package_of_the_list() -> None:
    known = {name for names in PACKAGES for name in names}
    assert {module.split(".")[0] for module in sources()} - {""} == known


def test_imports_point_down() -> None:
    upward = [
        f"{found.module} -> {target}"
        for found in imports()
        if (target := _module_of(found.wanted))
        and found.module not in ("", *DOORS)
        and _line(target) > _line(found.module)
    ]
    assert upward == []


def test_equations_import_the_errors_alone() -> None:
    asked = {
        target for found in imports() if found.module.startswith("equations") and (target := _module_of(found.wanted))
    }
    assert {target for target in asked if target.split(".")[0] != "equations"} == {"errors"}


def test_the_package_is_seen_with_ls() -> None:
    found = (ROOT / "hybrid_bt").iterdir()  # a folder that an earlier version left behind holds bytecode alone
    entries = [path for path in found if path.is_file() or any(path.rglob("*.py"))]
    assert len(entries) <= MOST_ENTRIES, sorted(path.name for path in entries)


def _code_lines(tree: ast.Module, text: str) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    words: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            words.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for k, line in lines if k not in words and line.strip() and not line.strip().startswith("#"))


def test_the_house_does_not_grow() -> None:
    texts = {module: _file_of(module).read_text(encoding="utf-8") for module in sources()}
    assert {module: n for module, text in texts.items() if (n := len(text.splitlines())) > MOST_LINES} == {}
    assert sum(_code_lines(tree, texts[module]) for module, tree in sources().items()) <= MOST_CODE
    assert len(texts) <= MOST_FILES


@pytest.mark.parametrize("framework", ADDRESSES)
def test_framework_is_imported_at_its_address_only(framework: str) -> None:
    users = {found.module for found in imports() if found.wanted.split(".")[0] == framework}
    homes = tuple(f"{home}." for home in ADDRESSES[framework])
    strays = {user for user in users if not f"{user}.".startswith(homes)}
    assert strays == set()


def test_adapters_are_never_imported_by_their_bare_names() -> None:
    assert [found for found in imports() if found.wanted.split(".")[0] in ADAPTERS] == []


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in sources() if module}
    for found in imports():
        target = _module_of(found.wanted)
        # a package whose __init__ gathers its own modules is no cycle: they do not ask for the package
        if found.runs and found.module and target and target != found.module:
            graph[found.module].add(target)
    while leaves := [module for module, wanted in graph.items() if not wanted & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert {module: wanted & graph.keys() for module, wanted in graph.items()} == {}


def test_every_subpackage_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {ROOT / "hybrid_bt": "hybrid_bt", **{ROOT / name: f"hybrid_bt.{name}" for name in ADAPTERS}}
    found = {
        ".".join((package, *file.parent.relative_to(folder).parts))
        for folder, package in folders.items()
        for file in folder.rglob("__init__.py")
        if "__pycache__" not in file.parts
    }
    assert set(listed) == found


def test_every_module_says_what_it_is() -> None:
    assert [module for module, tree in sources().items() if not ast.get_docstring(tree)] == []


def test_one_module_renames_files_and_locks_them() -> None:
    found = {
        module
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (node.attr in ("rename", "flock", "lockf") or ast.unparse(node) == "os.replace")
    }
    assert found == {"files"}


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, hybrid_bt; print(' '.join(name for name in sys.argv[1:] if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_deciding_needs_neither_backtrader_nor_training_nor_plots() -> None:
    code = (
        "import sys, hybrid_bt.config.build, hybrid_bt.brain.records; from hybrid_bt.config import load_config;"
        "hybrid_bt.config.build.load_policies(load_config());"
        "print(' '.join(name for name in sys.argv[1:] if name in sys.modules))"
    )
    heavy = [name for name in HEAVY if name != "onnxruntime"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_plain_run_loads_nothing_of_news(tmp_path: Path) -> None:
    code = (
        "import sys; from hybrid_bt.run import main; main(sys.argv[1:], standalone_mode=False);"
        "print(' '.join(name for name in sys.modules if name.split('.')[:2] == ['hybrid_bt', 'news']))"
    )
    flags = ("--start", "2010-01-04", "--end", "2010-02-01", "--no-plots", "--no-ledger", "--quiet", "--out", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, flags)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [] and (tmp_path / "run.json").exists()


def test_no_export_bears_the_name_of_a_module() -> None:
    """Importing the module would put it in the place of the export."""
    modules = {module.split(".")[0] for module in sources()}
    assert set(hybrid_bt.__all__) & modules == set()
    assert all(callable(getattr(hybrid_bt, name)) for name in hybrid_bt.__all__ if name != "__version__")
