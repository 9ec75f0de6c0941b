"""Members of an ensemble, trained one after another or side by side in processes of their own; same weights.

What a training is and how it is watched is plain data, so that it can go to another process.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from importlib import metadata
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from hybrid_bt.config import Config
from hybrid_bt.envs import TradingEnv
from hybrid_bt.errors import ConfigError
from hybrid_bt.files.workers import POLL_SECONDS, end_with_parent, workers
from hybrid_bt.train.agents import AgentValidation
from hybrid_bt.train.ground import Ground, RegimeGround
from hybrid_bt.train.spec import Spec, refusals
from hybrid_bt.train.validation import Evaluation, Model, Validation

LIBRARIES = ("torch", "stable-baselines3", "sb3-contrib", "numpy")


class Practice(NamedTuple):
    """How training is watched, kept and spread; no weight depends on it."""

    valid_every: int | None = None  #: environment steps between evaluations; None for twenty in all
    checkpoint_dir: Path | None = None
    checkpoint_every: int = 10_000  #: environment steps
    resume: bool = False
    jobs: int = 1  #: trainings side by side
    tensorboard_log: Path | None = None


class Event(NamedTuple):
    """What a training says while it runs."""

    name: str  #: of the member
    seed: int
    step: int
    steps: int
    evaluation: Evaluation | None = None
    number: int = 1  #: of the trainings that it is one of, from 1 on
    of: int = 1  #: these trainings


Tell: TypeAlias = Callable[[Event], None]


def named(tell: Tell, name: str) -> Tell:
    """The same for trainings whose names begin with another."""
    return lambda event: tell(event._replace(name=f"{name} {event.name}"))


Events: TypeAlias = "SimpleQueue[Event]"
_events: Events  #: of a process of its own


#: what is learned from: of SAC, of a gate, of an agent
Grounds: TypeAlias = tuple[Ground, ...] | tuple[RegimeGround, ...] | tuple[TradingEnv, ...]


class Member(NamedTuple):
    """One training."""

    name: str  #: of its checkpoint and its progress bar, e.g. `sac_seed0`
    kind: str  #: a key of `models.RECIPES`
    grounds: Grounds  #: on bars of the training span only
    config: Config
    spec: Spec
    steps: int
    seed: int
    validation: Validation | AgentValidation | None = None
    practice: Practice = Practice()
    number: int = 1  #: of the ensemble's members, from 1 on
    of: int = 1  #: members

    @property
    def valid_every(self) -> int:
        """Environment steps between evaluations."""
        return self.practice.valid_every or max(self.steps // 20, 1)

    @property
    def checkpoint(self) -> Path | None:
        """Where its state is kept."""
        folder = self.practice.checkpoint_dir
        return folder / f"{self.name}.ckpt" if folder else None

    def event(self, step: int, evaluation: Evaluation | None) -> Event:
        """What it says at a step."""
        return Event(self.name, self.seed, step, self.steps, evaluation, self.number, self.of)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with before a training goes on from it; JSON data."""
        seen = self.validation
        return {
            "training": self.name,
            "steps": self.steps,
            "seed": self.seed,
            "spec": self.spec._asdict(),
            "config": self.config.without_news(),
            "training bars": _fingerprint(self.grounds),
            "validation bars": seen.bars.sha256 if seen else None,
            "valid_every": self.valid_every if seen else None,
            "versions": {name: metadata.version(name) for name in LIBRARIES},
        }


class Trained(NamedTuple):
    """A member that has learned."""

    model: Model  #: SAC or RecurrentPPO
    evaluations: list[Evaluation]  #: the last is that of the weights


def _fingerprint(parts: Grounds) -> str:
    """Over everything that the environments read."""
    digest = hashlib.sha256()
    for part in parts:
        whole = part if isinstance(part, tuple) else (array for track in part.tracks for array in track[1:9])
        for array in map(np.ascontiguousarray, whole):
            digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def train_all(members: Sequence[Member], tell: Tell) -> list[Trained]:
    """Train every member, in order or `practice.jobs` at a time.

    A script that asks for more than one job must guard its entry with `if __name__ == "__main__"`: the processes are
    spawned.

    Raises
    ------
    ConfigError
        If a checkpoint stands in the way or does not fit, or a process was killed from outside.
    """
    for path in (member.checkpoint for member in members if not member.practice.resume):
        if path and path.exists():
            raise ConfigError(
                f"checkpoint: {path} exists; --resume goes on from it, or choose another --checkpoint-dir"
            )
    jobs = min(members[0].practice.jobs, len(members))
    return _side_by_side(members, jobs, tell) if jobs > 1 else [train_member(member, tell) for member in members]


def train_member(member: Member, tell: Tell) -> Trained:
    """Train one member; on one thread the same member ends with the same weights, however often it was interrupted."""
    from hybrid_bt.train.watch import Watch

    model, watch = _fresh(member, member.practice.tensorboard_log), Watch(member, tell)
    label = getattr(member.spec, "algo", member.kind)
    with watch.signals(), refusals(label, getattr(member.spec, "settings", {})):
        model.learn(member.steps, callback=watch, tb_log_name=f"{label}_{member.seed}")
    return Trained(model, watch.evaluations)


def _fresh(member: Member, log: Path | None = None) -> Model:
    from hybrid_bt.train.models import new_model

    of = member.kind, member.grounds, member.spec
    return new_model(*of, steps=member.steps, seed=member.seed, tensorboard_log=log)


def _side_by_side(members: Sequence[Member], jobs: int, tell: Tell) -> list[Trained]:
    # `put` returns when the event is in the pipe: before its training's result is
    events = multiprocessing.get_context("spawn").SimpleQueue()
    remedy = "use fewer jobs, and --checkpoint-dir with --resume to keep what was learned"
    with workers(jobs, "training", remedy, _begin, events) as pool:  # one that is left keeps a checkpoint
        futures = [pool.submit(_train_there, member) for member in members]
        _follow(futures, events, tell)
        found = [future.result() for future in futures]
    return [_rebuilt(member, one) for member, one in zip(members, found, strict=True)]


def _follow(futures: Sequence[Future[Trained]], events: Events, tell: Tell) -> None:
    """Pass events on until all are done or one has failed; whoever is done has said everything before."""
    pending: set[Future[Trained]] = set(futures)
    while pending and not any(future.done() and future.exception() for future in futures):
        _, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
        while not events.empty():
            tell(events.get())


def _begin(events: Events) -> None:
    """In a process of its own: one thread for torch, an ear for the parent, no life without it."""
    global _events
    _events = events
    os.environ["OMP_NUM_THREADS"] = "1"
    end_with_parent()


def _train_there(member: Member) -> Trained:
    """With bytes in place of a model, which cannot go to another process."""
    import torch

    from hybrid_bt.train.models import learned

    trained, memory = train_member(member, _events.put), io.BytesIO()
    torch.save(learned(trained.model), memory)
    return trained._replace(model=memory.getvalue())


def _rebuilt(member: Member, found: Trained) -> Trained:
    import torch

    from hybrid_bt.train.models import teach

    model = _fresh(member)
    teach(torch.load(io.BytesIO(found.model), weights_only=True), model)
    return found._replace(model=model)
