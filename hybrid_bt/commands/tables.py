"""What a command prints: lines broken between words, tables whole; on a terminal's own width, on 80 columns elsewhere.

A table is drawn with its frame where there is room, without it where there is less, then without its spare columns,
then in parts, one below another, each behind the columns that tell its rows apart. No figure is ever cut or broken.
"""

from __future__ import annotations

import io
import re
import shutil
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hybrid_bt.commands.ending import unclocked
from hybrid_bt.files.texts import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Drawn

_Look: TypeAlias = Any  #: keywords of rich

PAGE_WIDTH, RUN_WIDTH = 120, 80  #: columns of what stands on a page, and of a run's table there
SHORTEST_LINE = 24  #: columns of a text that is broken, at least


class Table(NamedTuple):
    """Texts to print; the columns of `left` begin at the left and may be broken, the others end at the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Collection[str]
    title: str = ""
    spare: Collection[str] = ()  #: columns that are left out first
    keys: int = 1  #: columns that say what a row is about, and begin each part


def say(*found: str | Table, hang: int = 0, err: bool = False) -> None:
    """Print lines and tables; a line that is broken goes on `hang` columns further in than it begins."""
    from rich.console import Console

    with unclocked():
        _print(Console(width=shutil.get_terminal_size().columns, stderr=err), found, hang)


def printed(*found: str | Table, width: int = PAGE_WIDTH) -> str:
    """Lines and tables as pages hold them."""
    from rich.console import Console

    text = io.StringIO()
    _print(Console(file=text, width=width, force_terminal=False, color_system=None), found)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _print(console: Console, found: Iterable[str | Table], hang: int = 0) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    def line(text: str, style: str = "") -> None:
        """A path that is longer than a line stays one word, to be copied."""
        words, lines = re.findall(" *[^ ]+", shown(text)) or [""], [""]
        further = " " * (len(words[0]) - len(words[0].lstrip()) + hang)
        for word in words:
            if lines[-1].strip() and cell_len(lines[-1] + word) > console.width:
                lines.append(further + word.lstrip())
            else:
                lines[-1] += word
        console.print(Text("\n".join(lines), style), highlight=False, soft_wrap=True)

    for one in found:
        if not isinstance(one, Table):
            line(one)
            continue
        if one.title:
            line(one.title, "table.title")
        for part in _drawn(one, console.width):
            console.print(part, highlight=False)


def _drawn(table: Table, width: int) -> Iterator[Drawn]:
    """With as much of its frame, and as many of its columns side by side, as there is room for."""
    from rich import box
    from rich.cells import cell_len

    head = [shown(name) for name in table.head]
    rows = [[shown(cell) for cell in row] for row in table.rows]
    widest = [max((cell_len(row[i]) for row in rows), default=0) for i in range(len(head))]
    framed = [max(cell_len(name), cells) for name, cells in zip(head, widest, strict=True)]
    if sum(framed) + 3 * len(framed) + 1 <= width:
        yield _part(table, head, rows, framed, range(len(head)))
        return
    words = [max((cell_len(word) for row in rows for word in row[i].split()), default=0) for i in range(len(head))]
    least = [
        max(*map(cell_len, name.split()), 0, max(word, min(cells, SHORTEST_LINE)) if known in table.left else cells)
        for name, known, word, cells in zip(head, table.head, words, widest, strict=True)
    ]
    head = [textwrap.fill(name, max(room, 1)) for name, room in zip(head, least, strict=True)]
    every, kept = range(len(head)), [i for i, name in enumerate(table.head) if name not in table.spare]

    def room(columns: Sequence[int], gap: int = 2) -> int:
        return width - sum(least[i] for i in columns) - gap * (len(columns) - 1)

    def part(columns: Sequence[int], gap: int = 2) -> Drawn:
        """Its first columns of words get what room is left."""
        widths, more = list(least), room(columns, gap)
        for i in (i for i in columns if table.head[i] in table.left):
            widths[i] += min(more, max(widest[i] - least[i], 0))
            more -= widths[i] - least[i]
        return _part(table, head, rows, widths, columns, box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0))

    for columns, gap in ((every, 2), (kept, 2), (kept, 1)):
        if room(columns, gap) >= 0:
            yield part(columns, gap)
            return
    keys, others = kept[: table.keys], kept[table.keys :]
    figures = max((least[i] for i in others if table.head[i] not in table.left), default=1)
    fair = (width - figures) // len(keys) - 2
    for i in (i for i in kept if table.head[i] in table.left):  # words are broken where a figure would be
        beside = sum(least[j] if i in others else min(least[j], fair) for j in keys if j != i) + 2 * len(keys)
        least[i] = max(min(least[i], width - beside - (0 if i in others else figures)), 1)
    if not others:
        yield part(keys)
    while others:
        columns = [*keys, others.pop(0)]
        while others and room([*columns, others[0]]) >= 0:
            columns.append(others.pop(0))
        yield part(columns)


def _part(
    table: Table, head: list[str], rows: list[list[str]], widths: list[int], columns: Sequence[int], **bare: _Look
) -> Drawn:
    """Some columns of a table; `bare` is how one without a frame is drawn."""
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(show_edge=not bare, pad_edge=not bare, **bare)
    for i in columns:
        left = table.head[i] in table.left
        how: dict[str, _Look] = {"justify": "left" if left else "right", "overflow": "fold"}
        drawn.add_column(Text(head[i]), width=widths[i], no_wrap=not left, **how)
    for row in rows:
        drawn.add_row(*(Text(row[i]) for i in columns))
    return drawn
