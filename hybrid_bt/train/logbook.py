"""What is said of trainings: a progress bar with the time left, their validations as CSV, and whether a policy that was
made again is the same file.

The same libraries on one thread of the same processor type give the same bytes. Where a file differs, its manifest says
what else did (a library's version, a flag), and the weights are compared number by number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.config.build import policy_path
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import csv_of_rows
from hybrid_bt.policies.file import read_bytes, unpack
from hybrid_bt.train.members import Event
from hybrid_bt.train.pipeline import Lesson, learn
from hybrid_bt.train.validation import Score

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
            self._rows.append((event.seed, event.evaluation.step, *event.evaluation.score))
            self._rows.sort(key=lambda row: row[:2])
            write_whole(self.csv, csv_of_rows((("seed", "step", *Score._fields), *self._rows)).encode())
        if self._bar is not None:
            if event.name not in self._tasks:
                self._tasks[event.name] = self._bar.add_task(event.name, total=event.steps)
            self._bar.update(self._tasks[event.name], completed=min(event.step, event.steps))


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
        learn(kind, _apart(lesson, kind), out)
        yield out, policy_path(f"package:{out.name}")


def _apart(lesson: Lesson, name: str) -> Lesson:
    """Checkpoints of each file in a folder of their own."""
    folder, tell = lesson.practice.checkpoint_dir, lesson.tell
    practice = lesson.practice._replace(checkpoint_dir=folder and folder / name)
    return lesson._replace(practice=practice, tell=lambda event: tell(event._replace(name=f"{name} {event.name}")))


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
