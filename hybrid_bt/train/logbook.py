"""What trainings say while they run: a progress bar with the time left, and their validations as CSV and picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_bt.files import whole_file, write_whole
from hybrid_bt.files.texts import csv_of_rows
from hybrid_bt.report.style import GREY, INK, PALETTE, blank_figure, house_style, money, percent, save
from hybrid_bt.train.members import Event
from hybrid_bt.train.validation import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = (("sharpe", "Sharpe ratio"), ("net_pnl", "net PnL"), ("max_drawdown", "max drawdown"))
HEIGHT_INCHES = 7.2
LINE = 0.14  # of a panel's height, between two names
COLUMNS = ("seed", "step", *Score._fields)

Curve = Mapping[str, Sequence[float]]


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


def write_training_curves(
    curves: Mapping[str, Curve], reference: tuple[str, Mapping[str, float]], path: Path, *, title: str, note: str
) -> None:
    """Sharpe ratio, net PnL and drawdown against environment steps, a line for each training.

    Parameters
    ----------
    curves : mapping of name to columns
        `step`, `sharpe`, `net_pnl`, `max_drawdown`, of one length; the large dot is the highest Sharpe ratio.
    reference : (name, values)
        An account without learning, the dashed line.
    path : Path
        Appears whole or not at all.
    """
    with house_style():
        figure = blank_figure(title, note, HEIGHT_INCHES)
        grid = {"left": 0.075, "right": 0.85, "top": 0.87, "bottom": 0.075, "hspace": 0.28}
        axes = figure.subplots(len(PANELS), 1, sharex=True, gridspec_kw=grid)
        for axis, (column, label) in zip(axes, PANELS, strict=True):
            _draw_panel(axis, curves, column, reference[1][column])
            axis.set_title(label)
        axes[1].yaxis.set_major_formatter(money)
        axes[2].yaxis.set_major_formatter(lambda value, _: percent(value))
        axes[2].xaxis.set_major_formatter(money)
        axes[2].set_xlabel("environment steps")
        names = [
            *((name, PALETTE[k % len(PALETTE)]) for k, name in enumerate(curves)),
            (f"{reference[0]}, dashed", INK),
            ("large dot: best Sharpe", GREY),
        ]
        for k, (name, color) in enumerate(names):
            axes[0].text(1.01, 1.0 - LINE * k, name, color=color, size=8.5, va="top", transform=axes[0].transAxes)
        with whole_file(path) as part:
            save(figure, part)


def _draw_panel(axis: Axes, curves: Mapping[str, Curve], column: str, reference: float) -> None:
    for k, curve in enumerate(curves.values()):
        color, steps, values = PALETTE[k % len(PALETTE)], curve["step"], curve[column]
        axis.plot(steps, values, color=color, marker="o", markersize=2.5)
        best = max(range(len(steps)), key=curve["sharpe"].__getitem__)
        axis.plot(steps[best], values[best], color=color, marker="o", markersize=6)
    axis.axhline(reference, color=INK, linestyle="--", linewidth=1.1)
    axis.margins(x=0.02)
