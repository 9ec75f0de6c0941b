"""One training and how it is watched: plain data, so that it can go to another process."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hybrid_bt.config import Config
from hybrid_bt.envs import Track
from hybrid_bt.train.validation import Evaluation, GateValidation, SacValidation

LIBRARIES = ("torch", "stable-baselines3", "sb3-contrib", "numpy")


class Practice(NamedTuple):
    """How training is watched, kept and spread; the step at which a training ends aside, no weight depends on it."""

    valid_every: int | None = None  #: environment steps between evaluations; None for twenty in all
    patience: int | None = None  #: evaluations without a better Sharpe ratio after which a training ends
    keep: Literal["best", "last"] = "last"  #: which evaluated weights are frozen
    checkpoint_dir: Path | None = None
    checkpoint_every: int = 10_000  #: environment steps
    resume: bool = False
    jobs: int = 1  #: trainings side by side
    tensorboard_log: Path | None = None


class Event(NamedTuple):
    """What a training says while it runs."""

    name: str
    step: int
    steps: int
    evaluation: Evaluation | None = None


class Member(NamedTuple):
    """One training."""

    name: str  #: of its checkpoint and its progress bar, e.g. `sac_seed0`
    kind: Literal["sac", "gate"]
    tracks: list[Track]  #: of assets; of the regime, one
    config: Config
    spec: Any  #: SacSpec or GateSpec, by the kind
    steps: int
    seed: int
    base_regime: float = 0.0
    validation: SacValidation | GateValidation | None = None
    practice: Practice = Practice()
    reward_unit: float = 1.0  #: of a gate's rewards

    @property
    def valid_every(self) -> int:
        """Environment steps between evaluations."""
        return self.practice.valid_every or max(self.steps // 20, 1)


def member_seed(name: str) -> int:
    """Seed in a member's name."""
    return int(name.rpartition("seed")[2])


def identity(member: Member) -> dict[str, Any]:
    """What a checkpoint must agree with before a training goes on from it; JSON data."""
    watched = member.validation is not None
    return {
        "training": member.name,
        "steps": member.steps,
        "seed": member.seed,
        "spec": member.spec.model_dump(mode="json"),
        "config": member.config.without_news(),
        "base_regime": member.base_regime,
        "reward_unit": member.reward_unit,
        "training bars": _fingerprint(member.tracks),
        "validation bars": member.validation.history.bars.sha256 if member.validation else None,
        "valid_every": member.valid_every if watched else None,
        "patience": member.practice.patience if watched else None,
        "versions": {name: metadata.version(name) for name in LIBRARIES},
    }


def _fingerprint(tracks: list[Track]) -> str:
    """Over everything that the environments read."""
    digest = hashlib.sha256()
    for track in tracks:
        for field in (field for field in track if field is not None):
            array = np.ascontiguousarray(field)
            digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
