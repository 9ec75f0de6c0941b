"""A run in a notebook: how far it is while it runs, then its table, its notes and pictures in the cell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hybrid_bt.files.texts import escape, html_image, html_table

#: that stand in the cell; `run.plot(NAME)` draws the others
INLINE = ("equity_drawdown.png", "attribution.png")

Progress = Callable[[int, int], None]


@contextmanager
def shown_progress(label: str, given: Progress | None) -> Iterator[Progress | None]:
    """`progress(done, total)`: the one given, else in a notebook one that draws a bar in the cell until it is over."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if given is not None or not hasattr(shell, "kernel"):  # no cell, though some library may have imported ipykernel
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


def cell_of(title: str, table: Sequence[Sequence[str]], notes: Iterable[str], pictures: Iterable[Path]) -> str:
    """The HTML of a run; the first row of its table is the head."""
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    images = "".join(html_image(path, path.stem.replace("_", " ")) for path in pictures)
    return f"<p>{escape(title)}</p>{html_table(table[0], table[1:], chief='hybrid')}<ul>{said}</ul>{images}"
