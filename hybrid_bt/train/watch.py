"""The one callback of a training: evaluate, keep a checkpoint, report.

All of it happens between a gradient step and the next rollout, and none of it draws a random number.

A checkpoint is everything that a training in progress is: `MAGIC`, the SHA-256 of the rest, and a `torch.save` of
tensors, numbers, texts, lists and dicts. It is read by `torch.load(weights_only=True)` after the hash was checked: no
pickled code runs, unlike Stable-Baselines3's own files. What remains trusted is torch's reader of tensors; the hash
finds damage, not malice.

Imports torch and Stable-Baselines3: import this module inside functions only.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from hybrid_bt.errors import ConfigError, os_errors
from hybrid_bt.files import write_whole
from hybrid_bt.files.workers import OF_A_SIGNAL
from hybrid_bt.train.models import gather, scatter
from hybrid_bt.train.validation import Evaluation, Score

if TYPE_CHECKING:
    from hybrid_bt.train.members import Member, Tell

MAGIC = b"hybrid_bt checkpoint 5\n"
HASH_BYTES = 32


class Watch(BaseCallback):
    """Of one member.

    Attributes
    ----------
    evaluations : list of Evaluation
    """

    def __init__(self, member: Member, tell: Tell) -> None:
        super().__init__()
        self.member, self.practice, self.tell = member, member.practice, tell
        self.evaluations: list[Evaluation] = []
        self._saved = self._said = 0
        self._signal: int | None = None
        self._path = member.checkpoint
        self._identity = member.identity() if self._path else {}

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While training, Ctrl-C and SIGTERM wait for the end of the rollout, so that a checkpoint can be kept."""
        if self._path is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number

    def _on_training_start(self) -> None:
        if self._path is not None and self.practice.resume and self._path.exists():
            self._restore(read_checkpoint(self._path, self._identity))
        for evaluation in self.evaluations:
            self._tell(evaluation.step, evaluation)
        self._tell(self.model.num_timesteps)

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        if self.member.validation is not None and step and self._is_due(step):
            self._evaluate(step)
        if self._path is not None and (self._signal or step - self._saved >= self.practice.checkpoint_every):
            self._save()
        if self._signal:
            self._leave(step)
        if step - self._said >= max(self.member.steps // 100, 1):
            self._said = step
            self._tell(step)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        step = self.model.num_timesteps
        if self.member.validation is not None and not (self.evaluations and self.evaluations[-1].step == step):
            self._evaluate(step)
        if self._path is not None and self._saved != step:
            self._save()
        self._tell(self.member.steps)
        if self._signal:
            self._leave(step)

    def _is_due(self, step: int) -> bool:
        last = self.evaluations[-1].step if self.evaluations else 0
        return step // self.member.valid_every > last // self.member.valid_every

    def _evaluate(self, step: int) -> None:
        assert self.member.validation is not None
        evaluation = Evaluation(step, self.member.validation.score([self.model]))
        self.evaluations.append(evaluation)
        for name, value in evaluation.score._asdict().items():
            self.logger.record(f"validation/{name}", value)
        self.logger.dump(step)
        self._tell(step, evaluation)

    def _tell(self, step: int, evaluation: Evaluation | None = None) -> None:
        self.tell(self.member.event(step, evaluation))

    def _leave(self, step: int) -> None:
        print(
            f"{self.member.name}: stopped at step {step} of {self.member.steps}; "
            f"the same command with --resume goes on from {self.practice.checkpoint_dir}",
            file=sys.stderr,
        )
        raise SystemExit(OF_A_SIGNAL + (self._signal or 0))

    def _save(self) -> None:
        assert self._path is not None
        rows = [[step, *score] for step, score in self.evaluations]
        write_checkpoint(self._path, self._identity, gather(self.model) | {"evaluations": rows})
        self._saved = self.model.num_timesteps

    def _restore(self, state: dict[str, Any]) -> None:
        self.evaluations = [Evaluation(int(step), Score(*score)) for step, *score in state["evaluations"]]
        scatter(state, self.model)
        self._saved = self._said = self.num_timesteps = self.model.num_timesteps


def write_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """The file appears whole or the one before it stays.

    Raises
    ------
    ConfigError
        If the folder cannot be written to.
    """
    memory = io.BytesIO()
    torch.save({"identity": json.dumps(identity, sort_keys=True), **state}, memory)
    body = memory.getbuffer()
    with os_errors(ConfigError, f"checkpoint: cannot write {path}", "choose another --checkpoint-dir"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, MAGIC, hashlib.sha256(body).digest(), body)


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a file, if it is whole and of the same training.

    Raises
    ------
    ConfigError
        For a file that is damaged or no checkpoint, or whose settings, bars, seed or libraries are others; the first
        difference is named.
    """
    raw = path.read_bytes()
    digest, body = raw[len(MAGIC) : len(MAGIC) + HASH_BYTES], raw[len(MAGIC) + HASH_BYTES :]
    if not raw.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        raise ConfigError(f"checkpoint: {path} is damaged or no checkpoint; remove it and train that part again")
    of = pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError
    with os_errors(ConfigError, f"checkpoint: {path} holds something else than tensors", "remove it", of=of):
        state: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True)
        found = json.loads(state["identity"])
    difference = _first_difference(found, json.loads(json.dumps(identity)))
    if difference:
        raise ConfigError(
            f"checkpoint: {path} is of another training: {difference}; repeat its flags, or choose another "
            "--checkpoint-dir"
        )
    return state


def _first_difference(found: object, wanted: object, where: str = "") -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        inside = (_first_difference(found.get(key), wanted[key], f"{where}.{key}".lstrip(".")) for key in wanted)
        return next(filter(None, inside), "")
    return "" if found == wanted else f"{where} was {found!s:.24}, now {wanted!s:.24}"
