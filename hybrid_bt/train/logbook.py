"""What is said of trainings: a progress bar with the time left, their validations as CSV and picture, and whether a
policy that was made again is the same file.

The same libraries on one thread of the same processor type give the same bytes. Where a file differs, its manifest says
what else did (a library's version, a flag), and the weights are compared number by number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.files import whole_file, write_whole
from hybrid_bt.files.texts import csv_of_rows
from hybrid_bt.policies.file import read_bytes, unpack
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.report.style import GREY, INK, PALETTE, blank_figure, house_style, money, percent, save
from hybrid_bt.train.members import Event
from hybrid_bt.train.validation import Evaluation, Score

PANELS = {"sharpe": "Sharpe ratio", "net_pnl": "net PnL", "max_drawdown": "max drawdown"}
HEIGHT_INCHES = 7.2
LINE = 0.14  # of a panel's height, between two names
SEALS = ("graph_sha256", "graph_bytes")  #: say that weights differ, not why


class Logbook:
    """Listens to trainings.

    Parameters
    ----------
    stem : Path
        `NAME.validation.csv` and `.png` are written beside, the CSV anew after each evaluation.
    """

    def __init__(self, stem: Path) -> None:
        self.csv, self.png = (stem.with_suffix(f".validation{suffix}") for suffix in (".csv", ".png"))
        self.heard: list[tuple[int, Evaluation]] = []  #: with the seed, in order of seed and step
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
            self.heard.append((event.seed, event.evaluation))
            self.heard.sort(key=lambda one: (one[0], one[1].step))
            rows = [(seed, step, *score) for seed, (step, score) in self.heard]
            write_whole(self.csv, csv_of_rows((("seed", "step", *Score._fields), *rows)).encode())
        if self._bar is not None:
            if event.name not in self._tasks:
                self._tasks[event.name] = self._bar.add_task(event.name, total=event.steps)
            self._bar.update(self._tasks[event.name], completed=min(event.step, event.steps))

    def draw(self, title: str, note: str, reference: tuple[str, Score]) -> None:
        """Sharpe ratio, net PnL and drawdown against environment steps, if there are evaluations.

        A line for each training, whose large dot is the highest Sharpe ratio; an account without learning is dashed.
        """
        curves = [list(curve) for _, curve in groupby(self.heard, key=lambda one: one[0])]
        if not curves:
            return
        colors = [PALETTE[k % len(PALETTE)] for k in range(len(curves))]
        names = [(f"seed {curve[0][0]}", color) for curve, color in zip(curves, colors, strict=True)]
        names += [(f"{reference[0]}, dashed", INK), ("large dot: best Sharpe", GREY)]
        with house_style():
            figure = blank_figure(title, note, HEIGHT_INCHES)
            grid = {"left": 0.075, "right": 0.85, "top": 0.87, "bottom": 0.075, "hspace": 0.28}
            axes = figure.subplots(len(PANELS), 1, sharex=True, gridspec_kw=grid)
            for axis, (field, label) in zip(axes, PANELS.items(), strict=True):
                for curve, color in zip(curves, colors, strict=True):
                    steps = [one.step for _, one in curve]
                    values = [getattr(one.score, field) for _, one in curve]
                    best = max(range(len(curve)), key=lambda i: curve[i][1].score.sharpe)
                    axis.plot(steps, values, color=color, marker="o", markersize=2.5)
                    axis.plot(steps[best], values[best], color=color, marker="o", markersize=6)
                axis.axhline(getattr(reference[1], field), color=INK, linestyle="--", linewidth=1.1)
                axis.margins(x=0.02)
                axis.set_title(label)
            axes[1].yaxis.set_major_formatter(money)
            axes[2].yaxis.set_major_formatter(lambda value, _: percent(value))
            axes[2].xaxis.set_major_formatter(money)
            axes[2].set_xlabel("environment steps")
            for k, (name, color) in enumerate(names):
                axes[0].text(1.01, 1.0 - LINE * k, name, color=color, size=8.5, va="top", transform=axes[0].transAxes)
            with whole_file(self.png) as part:
                save(figure, part)


class Rebuilt(NamedTuple):
    """One policy and how it compares with the file that ships."""

    name: str  #: of the file
    same_bytes: bool
    differing: tuple[str, ...]  #: fields of the manifest, `field: shipped -> made`
    largest_weight_difference: float  #: NaN where the networks have other shapes

    def words(self) -> str:
        """The verdict on one line."""
        if self.same_bytes:
            return f"{self.name}: the same bytes as the shipped file"
        difference = self.largest_weight_difference
        weights = "another network" if np.isnan(difference) else f"weights differ by up to {difference:.1e}"
        return f"{self.name}: NOT the shipped bytes, {weights}; " + ("; ".join(self.differing) or "same manifest")


def compare(made: Path, shipped: Path) -> Rebuilt:
    """Bytes, manifests and weights of two policies."""
    a, b = read_bytes(shipped), read_bytes(made)
    old, new = (FrozenPolicy(data).manifest.model_dump(mode="json") for data in (a, b))
    differing = tuple(
        f"{field}: {old[field]} -> {new[field]}" for field in old if old[field] != new[field] and field not in SEALS
    )
    return Rebuilt(made.name, a == b, differing, _weight_difference(_weights(a), _weights(b)))


def _weights(data: bytes) -> dict[str, Any]:
    """Initialisers of the network by name."""
    import onnx
    from onnx.numpy_helper import to_array

    unpack(data, "policy")  # nothing but what a frozen policy holds is parsed
    return {tensor.name: to_array(tensor) for tensor in onnx.load_from_string(data).graph.initializer}


def _weight_difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    if {name: array.shape for name, array in a.items()} != {name: array.shape for name, array in b.items()}:
        return float("nan")
    return max(float(np.abs(a[name].astype(np.float64) - b[name]).max(initial=0.0)) for name in a)
