"""In a notebook a run draws how far it is, then its table and pictures; run by a real kernel."""

from __future__ import annotations

import importlib.util
import os
import re
import sys

import pytest
from places import ROOT

from hybrid_bt.backtest import run_backtest
from hybrid_bt.report.notebook import INLINE, shown_progress

CODE = """
from hybrid_bt import run_backtest
run_backtest("us20", start="2021-01-04")
"""


def test_the_cell_holds_table_notes_and_pictures() -> None:
    run = run_backtest("us20", start="2022-01-03")
    cell = run._repr_html_()
    assert cell.count("data:image/png;base64,") == len(INLINE) == 2
    assert all(text in re.sub("<[^>]+>", " ", cell) for row in run.table()[1:] for text in row[:2])
    assert all(f"<li>{note}</li>" in cell for note in run.notes) and run.notes


def test_outside_of_a_notebook_there_is_the_progress_that_was_given_or_none() -> None:
    if importlib.util.find_spec("ipykernel"):
        importlib.import_module("ipykernel.kernelapp")  # as libraries do, without a kernel
    with shown_progress("us20", None) as none, shown_progress("us20", print) as given:  # type: ignore[arg-type]
        assert none is None and given is print


def test_a_kernel_shows_progress_then_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra `test`")
    import nbformat

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
    seen: list[str] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
        def process_message(self, message, cell, index):  # type: ignore[no-untyped-def]
            seen.append(str(message["content"].get("data", {}).get("text/html", "")))
            return super().process_message(message, cell, index)

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    Client(book, timeout=300, kernel_name="python3").execute()
    bars = [text for text in seen if "<progress" in text]
    assert len(bars) > 5 and "us20, stable, " in bars[0]
    left = [output["data"]["text/html"] for output in book.cells[0].outputs if "data" in output]
    assert "<progress" not in "".join(left), "the bar goes when the run is over"
    assert left[-1].count("data:image/png;base64,") == 2 and "hybrid" in left[-1]
