"""Everything that a training in progress is, as one file; torch is imported inside functions.

A file is `MAGIC`, the SHA-256 of the rest, and a `torch.save` of tensors, numbers, texts, lists and dicts. It is read
by `torch.load(weights_only=True)` after the hash was checked: no pickled code runs, unlike Stable-Baselines3's own
files. What remains trusted is torch's reader of tensors; the hash finds damage, not malice.

State is taken between a gradient step and the next rollout, where nothing is half done: weights, optimisers, replay
buffer, counters, the generators of numpy, torch, Python and the action space, and each environment's generator and
running episode.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.errors import ConfigError
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import plain
from hybrid_bt.train.validation import Model

MAGIC = b"hybrid_bt checkpoint 3\n"
HASH_BYTES = 32
COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining")
LAST = ("_last_obs", "_last_episode_starts")  #: arrays of the model
RUNNING = ("episode_returns", "episode_lengths")  #: of `VecMonitor`
BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def write_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """The file appears whole or the one before it stays.

    Raises
    ------
    ConfigError
        If the folder cannot be written to.
    """
    import torch

    memory = io.BytesIO()
    torch.save({"identity": json.dumps(identity, sort_keys=True), **state}, memory)
    body = memory.getbuffer()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, MAGIC, hashlib.sha256(body).digest(), body)
    except OSError as error:
        raise ConfigError(
            f"checkpoint: cannot write {path} ({error.strerror}); choose another --checkpoint-dir"
        ) from None


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a file, if it is whole and of the same training.

    Raises
    ------
    ConfigError
        For a file that is damaged or no checkpoint, or whose settings, bars, seed or libraries are others; the first
        difference is named.
    """
    import pickle

    import torch

    raw = path.read_bytes()
    digest, body = raw[len(MAGIC) : len(MAGIC) + HASH_BYTES], raw[len(MAGIC) + HASH_BYTES :]
    if not raw.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        raise ConfigError(f"checkpoint: {path} is damaged or no checkpoint; remove it and train that part again")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True)
        found = json.loads(state["identity"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"checkpoint: {path} holds something else than tensors ({reason}); remove it") from None
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


def gather(model: Model) -> dict[str, Any]:
    """State of a SAC or RecurrentPPO model, its `VecMonitor` over lanes and all generators, between two rollouts."""
    import torch

    env, lanes, buffer = model.env, model.env.venv.state(), getattr(model, "replay_buffer", None)
    generators = {
        "numpy": plain(np.random.get_state(legacy=False)),
        "python": random.getstate(),
        "actions": model.action_space.np_random.bit_generator.state,
        "lanes": lanes["rngs"],
    }
    state = {
        "parameters": model.get_parameters(),
        "counters": {name: getattr(model, name) for name in COUNTERS},
        "last": _tensors(model, LAST),
        "episodes": [[float(info["r"]), int(info["l"]), float(info["t"])] for info in model.ep_info_buffer],
        "running": _tensors(env, RUNNING),
        "episode_count": env.episode_count,
        "lanes": [torch.from_numpy(part) for part in lanes["lanes"]],
        "torch": torch.get_rng_state(),
        "generators": json.dumps(generators),
    }
    if getattr(model, "ent_coef_optimizer", None) is not None:
        state["log_ent_coef"] = model.log_ent_coef.detach()
    if buffer is not None:
        used = buffer.buffer_size if buffer.full else buffer.pos
        state["buffer"] = {"pos": buffer.pos, "full": buffer.full, "rows": _tensors(buffer, BUFFER, used)}
    if hasattr(model, "_last_lstm_states"):
        state["lstm"] = [[part.detach() for part in pair] for pair in model._last_lstm_states]
    return state


def _tensors(owner: Model, names: Sequence[str], rows: int | None = None) -> dict[str, Any]:
    """Copies of arrays that `owner` has."""
    import torch

    return {name: torch.from_numpy(np.array(getattr(owner, name)[:rows])) for name in names}


def scatter(state: Mapping[str, Any], model: Model) -> None:
    """Give a fresh model, made with the same settings and about to learn, the state of `gather`."""
    import torch

    env, generators = model.env, json.loads(state["generators"])
    model.set_parameters(state["parameters"], exact_match=True)
    copies = {name: tensor.numpy().copy() for name, tensor in state["last"].items()}
    for name, value in (state["counters"] | copies).items():
        setattr(model, name, value)
    model._num_timesteps_at_start = model.num_timesteps
    infos = [{"r": r, "l": length, "t": t} for r, length, t in state["episodes"]]
    model.ep_info_buffer = deque(infos, maxlen=model.ep_info_buffer.maxlen)
    arrays = [(getattr(env, name), tensor) for name, tensor in state["running"].items()]
    if "log_ent_coef" in state:
        with torch.no_grad():
            model.log_ent_coef.copy_(state["log_ent_coef"])
    if "buffer" in state:
        buffer, saved = model.replay_buffer, state["buffer"]
        buffer.pos, buffer.full = saved["pos"], saved["full"]
        arrays += [(getattr(buffer, name), tensor) for name, tensor in saved["rows"].items()]
    if "lstm" in state:
        model._last_lstm_states = type(model._last_lstm_states)(*(tuple(pair) for pair in state["lstm"]))
    for array, tensor in arrays:
        array[: len(tensor)] = tensor.numpy()
    env.episode_count = state["episode_count"]
    env.venv.restore({"lanes": [part.numpy() for part in state["lanes"]], "rngs": generators["lanes"]})
    np.random.set_state(generators["numpy"])  # generators last: whatever was drawn on the way does not count
    torch.set_rng_state(state["torch"])
    version, words, gauss = generators["python"]
    random.setstate((version, tuple(words), gauss))
    model.action_space.np_random.bit_generator.state = generators["actions"]
