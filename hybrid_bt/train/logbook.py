"""What is said of trainings: which of how many, and the time left of all, as bars or lines; their validations as CSV;
and whether a policy that was made again is the same file.

The same libraries on one thread of the same processor type give the same bytes. Where a file differs, its manifest says
what else did (a library's version, a flag), and the weights are compared number by number.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.config.build import policy_path
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import csv_of_rows
from hybrid_bt.policies.file import read_bytes, unpack
from hybrid_bt.train.members import Event
from hybrid_bt.train.pipeline import Lesson, apart, learn
from hybrid_bt.train.validation import Score

TOGETHER = re.compile(r".*?_(seed|without)")  #: what names of trainings that belong together begin with
SECONDS = 60.0  #: between two lines about a training
SEALS = ("graph_sha256", "graph_bytes")  #: say that weights differ, not why


class Logbook:
    """Listens to trainings.

    Parameters
    ----------
    stem : Path
        `NAME.validation.csv` is written beside, anew after each evaluation.
    """

    def __init__(self, stem: Path) -> None:
        self.csv = stem.with_suffix(".validation.csv")
        self._rows: list[tuple[float, ...]] = []
        self._show: Callable[[Event, str], None] = lambda event, left: None
        self._paces: dict[str, Pace] = {}

    @contextmanager
    def progress(self, bars: bool) -> Iterator[None]:
        """While it lasts, a bar on stderr for each training that runs, or a line now and then."""
        if not bars:
            self._show = _Lines()
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}")
        tasks: dict[str, Any] = {}

        def draw(event: Event, left: str) -> None:
            name = title(event)
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=event.steps, left=left)
            bar.update(tasks[name], completed=min(event.step, event.steps), left=left)

        with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True)) as bar:
            self._show = draw
            yield

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        if event.evaluation is not None:
            self._rows.append((event.seed, event.evaluation.step, *event.evaluation.score))
            self._rows.sort(key=lambda row: row[:2])
            write_whole(self.csv, csv_of_rows((("seed", "step", *Score._fields), *self._rows)).encode())
        together = TOGETHER.match(event.name)
        pace = self._paces.setdefault(together[0] if together else event.name, Pace())
        self._show(event, time_left(pace.left(event)))


class Pace:
    """How fast trainings that belong together go."""

    def __init__(self) -> None:
        self._began, self._first, self._now = time.monotonic(), dict[str, int](), dict[str, int]()

    def left(self, event: Event) -> float:
        """Seconds until all of them are done, at the pace of what was learned here; NaN before anything was."""
        self._first.setdefault(event.name, event.step)  # what a checkpoint brought took no time
        self._now[event.name] = min(event.step, event.steps)
        done = sum(self._now.values())
        learned, rest = done - sum(self._first.values()), event.of * event.steps - done
        return 0.0 if rest <= 0 else rest * (time.monotonic() - self._began) / learned if learned > 0 else math.nan


class _Lines:
    """Says where a training stands when it begins and when it is done, and each minute between."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def __call__(self, event: Event, left: str) -> None:
        now, name = time.monotonic(), title(event)
        if event.step >= event.steps or now - self._told.get(name, -math.inf) >= SECONDS:
            self._told[name] = now if event.step < event.steps else math.inf
            print(f"{name}: step {min(event.step, event.steps):,} of {event.steps:,}, {left}", file=sys.stderr)


def title(event: Event) -> str:
    """Of a training among those that it belongs to."""
    what = "seed" if event.name.endswith(f"_seed{event.seed}") else "training"
    return f"{event.name}, {what} {event.number} of {event.of}"


def time_left(seconds: float) -> str:
    """In hours, minutes and seconds."""
    return "time left unknown" if math.isnan(seconds) else f"{timedelta(seconds=math.ceil(seconds))} left"


def rebuild(lesson: Lesson, folder: Path) -> Iterator[tuple[Path, Traversable]]:
    """Train the shipped policies again, one file after another; each new file and the one that ships.

    Parameters
    ----------
    lesson : Lesson
        What the trainings share.
    folder : Path
        Exists; gets `sac.onnx` and `gate.onnx`, which serve all modes.
    """
    for kind in ("sac", "gate"):
        out = folder / f"{kind}.onnx"
        learn(kind, apart(lesson, kind), out)
        yield out, policy_path(f"package:{out.name}")


def compare(made: Path, shipped: Traversable) -> str:
    """How the bytes of a policy differ from those that ship, its manifest and its weights; "" for the same bytes."""
    a, b = read_bytes(shipped), read_bytes(made)
    if a == b:
        return ""
    old, new = (unpack(data, "policy").model_dump(mode="json") for data in (a, b))
    changed = [field for field in old if old[field] != new[field] and field not in SEALS]
    if changed == ["gradient_steps"] and old["gradient_steps"] is None and old["graph_sha256"] == new["graph_sha256"]:
        return ""  # the file that ships recorded none
    manifest = "; ".join(f"{field}: {old[field]} -> {new[field]}" for field in changed) or "same manifest"
    return f"{_weight_difference(a, b)}; {manifest}"


def _weight_difference(a: bytes, b: bytes) -> str:
    """Of the networks' initialisers; `unpack` has seen that there is nothing but what a frozen policy holds."""
    import onnx
    from onnx.numpy_helper import to_array

    tensors = (onnx.load_from_string(data).graph.initializer for data in (a, b))
    one, other = ({tensor.name: to_array(tensor).astype(np.float64) for tensor in each} for each in tensors)
    if {name: array.shape for name, array in one.items()} != {name: array.shape for name, array in other.items()}:
        return "another network"
    largest = max(float(np.abs(one[name] - other[name]).max(initial=0.0)) for name in one)
    return f"weights differ by up to {largest:.1e}"
