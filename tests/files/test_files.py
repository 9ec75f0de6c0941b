"""A file appears whole or not at all, a folder's files all or none, a line on its own; a lock keeps others out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_bt.errors import ConfigError
from hybrid_bt.files import append_line, lock, whole_file, whole_folder, write_whole


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_that_fails_on_the_way_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"ear", b"lier")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a") as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert held(tmp_path) == {"a": "earlier"}


def test_a_file_may_be_read_by_whom_the_mask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("n_moves", range(4))
def test_a_folder_that_fails_on_the_way_is_as_it_was(
    n_moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "old", "mine"):
        (tmp_path / name).write_text("earlier")
    left, replace = iter(range(n_moves)), os.replace

    def failing(source: Path, target: Path) -> None:
        if next(left, None) is None:
            monkeypatch.undo()  # what was moved already may go back
            raise PermissionError(13, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ConfigError, match="in use; give another folder"), whole_folder(tmp_path, ("a", "old")) as fresh:
        for name in ("a", "b"):
            (fresh / name).write_text("new")
    assert held(tmp_path) == {"a": "earlier", "old": "earlier", "mine": "earlier"}


def test_a_folder_takes_away_what_is_ours_and_was_not_written_again(tmp_path: Path) -> None:
    for name in ("a", "old", "mine"):
        (tmp_path / name).write_text("earlier")
    with whole_folder(tmp_path, ("a", "old")) as fresh:
        for name in ("a", "b"):
            (fresh / name).write_text("new")
    assert held(tmp_path) == {"a": "new", "b": "new", "mine": "earlier"}


def test_a_line_begins_on_a_line_of_its_own_after_a_crash(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "lines"
    append_line(file, "one")
    file.write_text(file.read_text() + "cut o")
    append_line(file, "two")
    assert file.read_text() == "one\ncut o\ntwo\n"
    file.write_text("one\ncut o")
    append_line(file, "two", torn="!")
    append_line(file, "three", torn="!")
    assert file.read_text() == "one\ncut o!\ntwo\nthree\n"


def test_a_lock_keeps_another_process_out_until_the_file_is_closed(tmp_path: Path) -> None:
    code = f"from hybrid_bt.files import lock; lock(open({str(tmp_path / 'f')!r}, 'ab'), wait=False)"
    other = [sys.executable, "-c", code]
    with open(tmp_path / "f", "ab") as file:
        lock(file)
        assert b"BlockingIOError" in subprocess.run(other, capture_output=True, timeout=60).stderr
    subprocess.run(other, check=True, timeout=60)
