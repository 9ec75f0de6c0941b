"""The site builds without network and without a warning, holds every page, and loads nothing from anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

pytest.importorskip("mkdocs", reason="needs the extra `docs`")
pytest.importorskip("material", reason="needs the extra `docs`")

NO_PROXY_ANSWERS = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, **NO_PROXY_ANSWERS, "NO_MKDOCS_2_WARNING": "1"}
    # not --quiet: it silences warnings, and what is silent does not end a strict build
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_navigation(site: Path):
    front = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name).is_file() and f'href="{name}"' in front, name
    assert all(f'href="{name}.html"' in front for name in ("changelog", "contributing", "provenance"))


def test_nothing_is_loaded_from_anywhere(site: Path):
    loaded = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="(https?:|//)[^"]*"')
    for page in site.rglob("*.html"):
        found = [tag[0] for tag in loaded.finditer(page.read_text(encoding="utf-8"))]
        assert page.name == "404.html" or found == [], page.name


def test_the_reference_is_that_of_the_commands(site: Path):
    from hybrid_bt.commands.run import main

    page = (site / "commands.html").read_text(encoding="utf-8")
    assert all(flag in page for option in main.params if not option.hidden for flag in option.opts)
    assert "hybrid-bt policy import-sb3" in page


def test_the_reference_has_every_public_name(site: Path):
    import hybrid_bt

    page = (site / "api.html").read_text(encoding="utf-8")
    assert [name for name in hybrid_bt.__all__ if name[0] != "_" and f'id="hybrid_bt.{name}"' not in page] == []
