"""What mkdocs is told before it builds the site.

The front page is docs/index.md; README.md, with its links turned to where they lead from there, CHANGELOG,
CONTRIBUTING and the provenance of the samples become pages. Every Markdown file in docs/ is in the navigation: those
named below in that order, and any other under "Guides", so that a new guide needs no line anywhere.
"""

from __future__ import annotations

import logging
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

import hybrid_bt
from hybrid_bt.commands.cli import main

__all__ = ["on_config", "on_files", "on_page_markdown", "on_post_page"]

LOG = logging.getLogger("mkdocs.hooks.site")  # a warning here ends a strict build
ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ADAPTERS = ("strategies", "feeds", "analyzers")  #: that lie beside `hybrid_bt/` in a checkout
_SCRATCH = tempfile.TemporaryDirectory(prefix="hybrid_bt-site-")
EXAMPLES = "examples"  #: folder whose programs make up the page of the same name

COMMANDS_HERE = "<!-- every command -->"
NAMES_HERE = "<!-- every public name -->"
HELP_WIDTH = 92  #: columns that a page has room for
SHIM = "https://unpkg.com/iframe-worker/shim"

#: page -> file outside docs/ that it is made of
BORROWED = {
    "readme.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "provenance.md": "feeds/embedded/PROVENANCE.md",
}
ORDER = {
    "Concepts": ("fusion.md", "kalman.md", "checks.md", "out-of-sample.md", "metrics.md"),
    "Guides": (
        "drop-in.md",
        "trade.md",
        "examples.md",
        "data.md",
        "study.md",
        "evidence.md",
        "training.md",
        "train-your-own.md",
        "import-sb3.md",
    ),
    "Reference": ("commands.md", "api.md", "benchmarks.md"),
    "Record": ("research-log.md", "faq.md", "changelog.md", "contributing.md", "provenance.md"),
}


@event_priority(100)  # before mkdocstrings looks at its paths
def on_config(config: Any) -> Any:
    """Write the navigation; where a copy has no symlinks, let the reference be read from a package that is whole."""
    if not all((ROOT / "hybrid_bt" / name).is_dir() for name in ADAPTERS):
        config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_whole_package()]
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | {*BORROWED, f"{EXAMPLES}.md"}
    placed = {page for names in ORDER.values() for page in names} | {"index.md", "readme.md"}
    nav: list[Any] = [{"Three ways in": "index.md"}, {"README": "readme.md"}]
    for heading, names in ORDER.items():
        others = sorted(pages - placed) if heading == "Guides" else []
        nav.append({heading: [page for page in (*names, *others) if page in pages]})
    config.nav = nav
    return config


def _whole_package() -> str:
    """A folder with `hybrid_bt` as a wheel has it; it lasts as long as the process."""
    package = Path(_SCRATCH.name) / "hybrid_bt"
    shutil.copytree(ROOT / "hybrid_bt", package, ignore=shutil.ignore_patterns(*ADAPTERS), dirs_exist_ok=True)
    for name in ADAPTERS:
        shutil.copytree(ROOT / name, package / name, dirs_exist_ok=True)
    return _SCRATCH.name


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/."""
    for page, source in BORROWED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relinked(text, Path(source).parent)))
    files.append(File.generated(config, f"{EXAMPLES}.md", content=_examples()))
    return files


def _examples() -> str:
    programs = sorted((ROOT / EXAMPLES).glob("*.py"))
    shown = (f"## {path.stem}\n\n```python\n{path.read_text(encoding='utf-8')}```\n" for path in programs)
    return "# Examples\n\nPrograms of the folder `examples/`, as they are run by the tests.\n\n" + "\n".join(shown)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that leave docs/; put the public names, and the commands' own help, where a page asks for them."""
    if page.file.src_uri not in BORROWED:
        markdown = _relinked(markdown, DOCS.relative_to(ROOT))
    if NAMES_HERE in markdown:
        names = sorted((name for name in hybrid_bt.__all__ if name != "__version__"), key=str.lower)
        markdown = markdown.replace(NAMES_HERE, "\n".join(f"::: hybrid_bt.{name}" for name in names))
    if COMMANDS_HERE not in markdown:
        return markdown
    return markdown.replace(COMMANDS_HERE, "\n".join(_helps(main, None, "hybrid-bt")))


def _helps(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """A heading and the help of a command, then those of its subcommands, as the terminal shows them."""
    settings = {**command.context_settings, "terminal_width": HELP_WIDTH, "max_content_width": HELP_WIDTH}
    with click.Context(command, parent, info_name=name, **settings) as context:
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                if found is not None and not found.hidden:
                    yield from _helps(found, context, child)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Take the search's helper from the site itself: the theme would ask a server for it."""
    return output.replace(SHIM, "../" * page.url.count("/") + "js/iframe-worker.js")


def _relinked(text: str, home: Path) -> str:
    """Links to files of the repository as seen from docs/; a file that is no page keeps its name only."""

    def moved(found: re.Match[str]) -> str:
        label, target, anchor = found.groups(default="")
        path = posixpath.normpath((home / target).as_posix())
        pages = {source: page for page, source in BORROWED.items()}
        if path in pages:
            return f"[{label}]({pages[path]}{anchor})"
        if not path.startswith("docs/") and not (ROOT / path).exists():
            LOG.warning("a link leads to %s, which does not exist", path)
        if path.startswith("docs/"):
            return f"[{label}]({path.removeprefix('docs/')}{anchor})"
        if path == EXAMPLES or (path.startswith(f"{EXAMPLES}/") and path.endswith(".py")):
            return f"[{label}]({EXAMPLES}.md{'' if path == EXAMPLES else '#' + Path(path).stem})"
        return label if path.endswith(label.strip("`")) else f"{label} (`{path}`)"

    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)", moved, text)
