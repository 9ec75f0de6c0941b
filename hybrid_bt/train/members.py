"""Members of an ensemble, trained one after another or side by side in processes of their own; same weights."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from queue import Empty
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.errors import ConfigError
from hybrid_bt.train.gate import new_gate
from hybrid_bt.train.practice import Event, Member
from hybrid_bt.train.sac import new_sac
from hybrid_bt.train.validation import Evaluation

Tell = Callable[[Event], None]

POLL_SECONDS = 0.2


class Trained(NamedTuple):
    """A member that has learned."""

    model: Any  #: SAC or RecurrentPPO, with the weights to keep
    evaluations: list[Evaluation]
    kept: Evaluation | None  #: that of the weights; None without validation


class _Weights(NamedTuple):
    """A trained member on its way between two processes of ours."""

    policy: dict[str, Any]  #: arrays
    num_timesteps: int
    evaluations: list[Evaluation]
    kept: Evaluation | None


def train_all(members: Sequence[Member], tell: Tell) -> list[Trained]:
    """Train every member, in order or `practice.jobs` at a time.

    A script that asks for more than one job must guard its entry with `if __name__ == "__main__"`: the processes are
    spawned.

    Raises
    ------
    ConfigError
        If a checkpoint stands in the way or does not fit, or a process was killed from outside.
    """
    check_checkpoints(members)
    jobs = min(members[0].practice.jobs, len(members))
    if jobs > 1:
        return _side_by_side(members, jobs, tell)
    return [train_member(member, tell) for member in members]


def check_checkpoints(members: Sequence[Member]) -> None:
    """Refuse to write over the checkpoints of an earlier training."""
    for member in members:
        folder = member.practice.checkpoint_dir
        if folder and not member.practice.resume and (folder / f"{member.name}.ckpt").exists():
            raise ConfigError(
                f"checkpoint: {folder / member.name}.ckpt exists; --resume goes on from it, or choose another "
                "--checkpoint-dir"
            )


def train_member(member: Member, tell: Tell) -> Trained:
    """Train one member; on one thread the same member ends with the same weights, however often it was interrupted."""
    from hybrid_bt.train.watch import Watch

    model = _fresh(member)
    watch = Watch(member, tell)
    with watch.signals():
        model.learn(member.steps, callback=watch, tb_log_name=f"{member.kind}_{member.seed}")
    watch.apply_choice()
    return Trained(model, watch.evaluations, watch.kept)


def _fresh(member: Member) -> Any:
    log = member.practice.tensorboard_log
    if member.kind == "sac":
        return new_sac(
            member.tracks, member.config, member.spec, steps=member.steps, seed=member.seed, tensorboard_log=log
        )
    return new_gate(
        member.tracks,
        member.config,
        member.spec,
        seed=member.seed,
        base_regime=member.base_regime,
        reward_unit=member.reward_unit,
        tensorboard_log=log,
    )


def _side_by_side(members: Sequence[Member], jobs: int, tell: Tell) -> list[Trained]:
    spawn = multiprocessing.get_context("spawn")
    events = spawn.Queue()
    before = set(multiprocessing.active_children())
    handler = _exit_on_sigterm()
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin, initargs=(events,))
    try:
        futures = [pool.submit(_train_there, member) for member in members]
        _follow(futures, events, tell)
        weights = [future.result() for future in futures]
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()  # each keeps a checkpoint at the end of its rollout
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise ConfigError(
                "training: a process of --jobs was killed from outside (memory?); use fewer jobs, and "
                "--checkpoint-dir with --resume to keep what was learned"
            ) from None
        raise
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
    pool.shutdown()
    return [_rebuilt(member, one) for member, one in zip(members, weights, strict=True)]


def _exit_on_sigterm() -> Any:
    """SIGTERM as an exception here, so that the processes are told too; returns the handler before."""
    if threading.current_thread() is not threading.main_thread():
        return None

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    return signal.signal(signal.SIGTERM, leave)


def _follow(futures: Sequence[Future[_Weights]], events: Any, tell: Tell) -> None:
    """Pass events on until all are done or one has failed."""
    pending: set[Future[_Weights]] = set(futures)
    while pending and not any(future.done() and future.exception() for future in futures):
        _, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
        try:
            while True:
                tell(events.get_nowait())
        except Empty:
            pass


_events: Any = None


def _begin(events: Any) -> None:
    """In a process of its own: one thread for torch, an ear for the parent, no life without it."""
    global _events
    _events = events
    os.environ["OMP_NUM_THREADS"] = "1"
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _train_there(member: Member) -> _Weights:
    trained = train_member(member, _events.put)
    policy = {name: tensor.detach().numpy() for name, tensor in trained.model.policy.state_dict().items()}
    return _Weights(policy, trained.model.num_timesteps, trained.evaluations, trained.kept)


def _rebuilt(member: Member, weights: _Weights) -> Trained:
    import torch

    model = _fresh(member._replace(practice=member.practice._replace(tensorboard_log=None)))
    model.policy.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.policy.items()})
    model.num_timesteps = weights.num_timesteps
    return Trained(model, weights.evaluations, weights.kept)
