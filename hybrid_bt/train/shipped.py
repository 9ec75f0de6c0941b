"""`hybrid-bt train shipped`: make the shipped policies again, and say whether they are the same files.

The same libraries on one thread of the same processor type give the same bytes. Where a file differs, its manifest says
what else did (a library's version, a flag), and the weights are compared number by number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.config.build import policy_path
from hybrid_bt.policies.file import read_bytes, unpack
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.pipeline import Lesson, learn

KINDS = ("sac", "gate")
SEALS = ("graph_sha256", "graph_bytes")  #: say that weights differ, not why


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


def rebuild(
    lesson_of: Callable[[str], Lesson], modes: Sequence[str], sac_steps: int, ppo_steps: int, folder: Path
) -> Iterator[Rebuilt]:
    """Train, freeze and compare, one file after another.

    Parameters
    ----------
    lesson_of : callable
        Mode -> what its trainings share.
    folder : Path
        Exists; gets `sac_MODE.onnx` and `gate_MODE.onnx`.
    """
    for mode in modes:
        for kind in KINDS:
            out = folder / f"{kind}_{mode}.onnx"
            lesson = _apart(lesson_of(mode), out.stem)
            learn(kind, lesson, sac_steps, ppo_steps, out)
            yield compare(out, policy_path(f"package:{out.name}"))


def _apart(lesson: Lesson, name: str) -> Lesson:
    """Checkpoints of each file in a folder of their own."""
    folder = lesson.practice.checkpoint_dir
    practice = lesson.practice._replace(checkpoint_dir=folder and folder / name)
    return lesson._replace(
        practice=practice, tell=lambda event: lesson.tell(event._replace(name=f"{name} {event.name}"))
    )


def compare(made: Path, shipped: Traversable) -> Rebuilt:
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
