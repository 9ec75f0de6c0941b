"""Models that have not learned yet, and all their state while they learn.

State is taken between a gradient step and the next rollout, where nothing is half done: weights, optimisers, replay
buffer, counters, the generators of numpy, torch, Python and the action space, and each environment's generator and
running episode.

Imports torch and Stable-Baselines3: import this module inside functions only.
"""

from __future__ import annotations

import json
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

from hybrid_bt.envs import TradingEnv
from hybrid_bt.files.texts import plain
from hybrid_bt.policies import import_compiler
from hybrid_bt.train.bandits import GroupVecEnv, RegimeVecEnv
from hybrid_bt.train.ground import Ground, RegimeGround
from hybrid_bt.train.spec import AgentSpec, GateSpec, SacSpec, Spec, algo_settings, algorithm, check_steps, refusals
from hybrid_bt.train.validation import Model
from hybrid_bt.train.vec_envs import LaneVecEnv

if TYPE_CHECKING:
    from hybrid_bt.train.members import Grounds

COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining")
LAST = ("_last_obs", "_last_episode_starts")  #: arrays of the model
ORIGINAL = "_last_original_obs"  #: one more of an off-policy model under `VecNormalize`
RUNNING = ("episode_returns", "episode_lengths")  #: of `VecMonitor`
SCALES = ("obs_rms", "ret_rms")  #: of `VecNormalize`
BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Recipe(NamedTuple):
    """What a model is made of."""

    flag: str  #: that says its steps
    env: VecEnv
    algo: str
    settings: dict[str, Any]
    scaled: bool = False  #: learns under `VecNormalize`


def _sac(grounds: Sequence[Ground], spec: SacSpec, steps: int) -> Recipe:
    env = GroupVecEnv(grounds, spec)
    batches = env.num_envs * spec.replays / spec.batch_size  # that a step of all lanes is worth
    settings = {
        "buffer_size": max(steps, spec.batch_size),
        "learning_starts": spec.learning_starts,
        "ent_coef": spec.temperature,
        "train_freq": max(round(1.0 / batches), 1),
        "gradient_steps": max(round(batches), 1),
        "policy_kwargs": {"net_arch": list(spec.net)},
        **_bandit(spec),
    }
    return Recipe("--sac-steps", env, "sac", settings)


def _gate(grounds: Sequence[RegimeGround], spec: GateSpec, steps: int) -> Recipe:
    net, sd = list(spec.net), math.log(spec.first_sd)
    settings = {
        "n_steps": spec.n_steps,
        "n_epochs": spec.n_epochs,
        "ent_coef": spec.entropy,
        "policy_kwargs": {"lstm_hidden_size": spec.lstm_hidden, "net_arch": net, "log_std_init": sd},
        **_bandit(spec),
    }
    return Recipe("--ppo-steps", RegimeVecEnv(grounds, spec), "recurrent-ppo", settings)


def _bandit(spec: SacSpec | GateSpec) -> dict[str, Any]:
    return {"gamma": 0.0, "learning_rate": spec.learning_rate, "batch_size": spec.batch_size}


def _agent(grounds: Sequence[TradingEnv], spec: AgentSpec, steps: int) -> Recipe:
    env = LaneVecEnv(grounds[0], spec.n_envs, *grounds[1:])
    return Recipe("--steps", env, spec.algo, algo_settings(spec, len(env.action_space.sample())), spec.normalize)


#: kind -> what its model is made of, by what is learned from, its numbers and its steps
RECIPES: dict[str, Callable[[Any, Any, int], Recipe]] = {"sac": _sac, "gate": _gate, "agent": _agent}


def new_model(
    kind: str, grounds: Grounds, spec: Spec, *, steps: int, seed: int, tensorboard_log: Path | None = None
) -> Model:
    """A model that learns on bars of the training span; the same seed learns the same weights on one thread.

    Parameters
    ----------
    steps : int
        Environment steps in all, over all episodes side by side.

    Raises
    ------
    ConfigError
        If these are over before learning begins, or Stable-Baselines3 refuses a setting.
    """
    import_compiler()
    torch.set_num_threads(1)
    flag, env, algo, settings, scaled = RECIPES[kind](grounds, spec, steps)
    cls, layers = algorithm(algo), VecMonitor(env)
    known = {name: parameter.default for name, parameter in signature(cls).parameters.items()} | settings
    check_steps(flag, steps, known.get("learning_starts", 0))
    policy, log = next(iter(cls.policy_aliases)), None if tensorboard_log is None else str(tensorboard_log)
    with refusals(algo, settings):
        top = VecNormalize(layers, gamma=known.get("gamma", 1.0)) if scaled else layers
        model = cls(policy, top, seed=seed, device="cpu", tensorboard_log=log, **settings)
    if log is None:  # a logger of our own: SB3's makes a folder for it, and leaves it
        model.set_logger(Logger(None, []))
    return model


def learned(model: Model) -> dict[str, Any]:
    """What a model has learned, and the counts of it."""
    state = {"parameters": model.get_parameters(), "counters": {name: getattr(model, name) for name in COUNTERS}}
    if getattr(model, "ent_coef_optimizer", None) is not None:
        state["log_ent_coef"] = model.log_ent_coef.detach()
    if scaling := model.get_vec_normalize_env():
        moments = {name: getattr(scaling, name) for name in SCALES}
        state["scaling"] = {k: [*map(torch.as_tensor, (m.mean, m.var)), float(m.count)] for k, m in moments.items()}
    return state


def teach(state: Mapping[str, Any], model: Model) -> None:
    """Give a fresh model, made with the same settings, what another has `learned`."""
    model.set_parameters(state["parameters"], exact_match=True)
    for name, value in state["counters"].items():
        setattr(model, name, value)
    if "log_ent_coef" in state:
        with torch.no_grad():
            model.log_ent_coef.copy_(state["log_ent_coef"])
    for name, (mean, var, count) in state.get("scaling", {}).items():
        moments = getattr(model.get_vec_normalize_env(), name)
        moments.mean, moments.var, moments.count = mean.numpy().copy(), var.numpy().copy(), count


def _layers(model: Model) -> tuple[Model, Model]:
    """The `VecMonitor` over lanes, and the `VecNormalize` over it, if there is one."""
    scaling = model.get_vec_normalize_env()
    return (scaling.venv if scaling else model.env), scaling


def gather(model: Model) -> dict[str, Any]:
    """All state of a model, its environment's layers and all generators, between two rollouts."""
    env, scaling = _layers(model)
    lanes, buffer = env.venv.state(), getattr(model, "replay_buffer", None)
    generators = {
        "numpy": plain(np.random.get_state(legacy=False)),
        "python": random.getstate(),
        "actions": model.action_space.np_random.bit_generator.state,
        "lanes": lanes["rngs"],
    }
    state = learned(model) | {
        "last": _tensors(model, LAST if getattr(model, ORIGINAL, None) is None else (*LAST, ORIGINAL)),
        "episodes": [[float(info["r"]), int(info["l"]), float(info["t"])] for info in model.ep_info_buffer],
        "running": _tensors(env, RUNNING),
        "episode_count": env.episode_count,
        "lanes": [torch.from_numpy(part) for part in lanes["lanes"]],
        "torch": torch.get_rng_state(),
        "generators": json.dumps(generators),
    }
    if scaling:
        state["returns"] = torch.from_numpy(scaling.returns.copy())
    if buffer is not None:
        used = buffer.buffer_size if buffer.full else buffer.pos
        state["buffer"] = {"pos": buffer.pos, "full": buffer.full, "rows": _tensors(buffer, BUFFER, used)}
    if hasattr(model, "_last_lstm_states"):
        state["lstm"] = [[part.detach() for part in pair] for pair in model._last_lstm_states]
    return state


def _tensors(owner: Model, names: Sequence[str], rows: int | None = None) -> dict[str, Any]:
    """Copies of arrays that `owner` has."""
    return {name: torch.from_numpy(np.array(getattr(owner, name)[:rows])) for name in names}


def scatter(state: Mapping[str, Any], model: Model) -> None:
    """Give a fresh model, made with the same settings and about to learn, the state of `gather`."""
    (env, scaling), generators = _layers(model), json.loads(state["generators"])
    teach(state, model)
    for name, tensor in state["last"].items():
        setattr(model, name, tensor.numpy().copy())
    model._num_timesteps_at_start = model.num_timesteps
    infos = [{"r": r, "l": length, "t": t} for r, length, t in state["episodes"]]
    model.ep_info_buffer = deque(infos, maxlen=model.ep_info_buffer.maxlen)
    arrays = [(getattr(env, name), tensor) for name, tensor in state["running"].items()]
    if scaling:
        scaling.returns = state["returns"].numpy().copy()
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
