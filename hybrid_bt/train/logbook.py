"""What trainings say while they run: a progress bar with the time left, and their validations as CSV and picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import csv_of_rows
from hybrid_bt.report.training import write_training_curves
from hybrid_bt.train.members import Event
from hybrid_bt.train.validation import Score

COLUMNS = ("seed", "step", *Score._fields)


class Logbook:
    """Listens to trainings.

    Parameters
    ----------
    stem : Path
        `NAME.validation.csv` and `.png` are written beside, the CSV anew after each evaluation.
    """

    def __init__(self, stem: Path) -> None:
        self.csv, self.png = (stem.with_suffix(f".validation{suffix}") for suffix in (".csv", ".png"))
        self.rows: list[tuple[Any, ...]] = []  #: of `COLUMNS`
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    @contextmanager
    def progress(self, show: bool) -> Iterator[None]:
        """While it lasts, a line on stderr for each training that runs."""
        if not show:
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeLeft()
        with Progress(*columns, console=Console(stderr=True)) as self._bar:
            yield
        self._bar = None

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        if event.evaluation is not None:
            self.rows.append((event.seed, event.evaluation.step, *event.evaluation.score))
            self.rows.sort(key=lambda row: row[:2])
            write_whole(self.csv, csv_of_rows((COLUMNS, *self.rows)).encode())
        if self._bar is not None:
            if event.name not in self._tasks:
                self._tasks[event.name] = self._bar.add_task(event.name, total=event.steps)
            self._bar.update(self._tasks[event.name], completed=min(event.step, event.steps))

    def draw(self, title: str, note: str, reference: tuple[str, Score]) -> None:
        """The picture of all evaluations, if there are any."""
        curves: dict[str, dict[str, list[Any]]] = {}
        for seed, *values in self.rows:
            curve = curves.setdefault(f"seed {seed}", {name: [] for name in COLUMNS[1:]})
            for name, value in zip(COLUMNS[1:], values, strict=True):
                curve[name].append(value)
        if curves:
            write_training_curves(curves, (reference[0], reference[1]._asdict()), self.png, title=title, note=note)
