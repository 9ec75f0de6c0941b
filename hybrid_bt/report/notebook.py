"""A run in a notebook: how far it is while it runs, then its table, its notes and pictures in the cell."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_bt.files.texts import escape, html_image, html_table

if TYPE_CHECKING:
    from hybrid_bt.report import Run

#: that stand in the cell; `run.plot(NAME)` draws the others
INLINE = ("equity_drawdown.png", "attribution.png")

Progress = Callable[[int, int], None]


@contextmanager
def shown_progress(label: str, given: Progress | None) -> Iterator[Progress | None]:
    """`progress(done, total)`: the one given, else in a notebook one that draws a bar in the cell until it is over."""
    if given is not None or "ipykernel" not in sys.modules:
        yield given
        return
    from IPython.display import HTML, display

    cell = display(HTML(""), display_id=True)

    def progress(done: int, total: int) -> None:
        bar = f'<progress value="{done}" max="{total}"></progress>'
        cell.update(HTML(f"{bar} {escape(label)}, {done / total:.0%}"))

    try:
        yield progress
    finally:
        cell.update(HTML(""))


def cell_of(run: Run) -> str:
    """The HTML of a run: title, table, notes, pictures."""
    from hybrid_bt.report import picture_names, write_picture

    head, *rows = run.table()
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.notes)
    with tempfile.TemporaryDirectory() as folder:
        drawn = [write_picture(run, name, Path(folder)) for name in INLINE if name in picture_names(run)]
        images = "".join(html_image(path, path.stem.replace("_", " ")) for path in drawn)
    return f"<p>{escape(run.title)}</p>{html_table(head, rows, chief='hybrid')}<ul>{notes}</ul>{images}"
