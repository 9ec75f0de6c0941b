"""Models that have not learned yet, the `VecEnv` that they learn in, and all their state while they learn.

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from hybrid_bt.envs import TradingEnv
from hybrid_bt.envs.episodes import draw_episode, seeded
from hybrid_bt.equations.env_step import GOES_ON, TRUNCATED
from hybrid_bt.errors import ConfigError
from hybrid_bt.files.texts import plain
from hybrid_bt.train.spec import GateSpec, SacSpec
from hybrid_bt.train.validation import Model

COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining")
LAST = ("_last_obs", "_last_episode_starts")  #: arrays of the model
RUNNING = ("episode_returns", "episode_lengths")  #: of `VecMonitor`
BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def new_sac(env: TradingEnv, spec: SacSpec, *, steps: int, seed: int, tensorboard_log: Path | None = None) -> SAC:
    """A SAC model of bars of the training span; the same seed learns the same weights on one thread.

    Parameters
    ----------
    steps : int
        Environment steps in all, over all environments.
    """
    return SAC(
        "MlpPolicy",
        buffer_size=max(steps, spec.batch_size),
        learning_starts=spec.learning_starts,
        ent_coef=f"auto_{spec.first_entropy_coefficient}",
        train_freq=1,
        gradient_steps=spec.gradient_steps,
        policy_kwargs={"net_arch": list(spec.net)},
        **_common(env, spec, seed, tensorboard_log),
    )


def new_gate(
    env: TradingEnv, spec: GateSpec, *, steps: int, seed: int, tensorboard_log: Path | None = None
) -> RecurrentPPO:
    """A RecurrentPPO model of the fused account; parameters as in `new_sac`."""
    net, sd = list(spec.net), math.log(spec.first_sd)
    return RecurrentPPO(
        "MlpLstmPolicy",
        n_steps=spec.n_steps,
        n_epochs=spec.n_epochs,
        gae_lambda=spec.gae_lambda,
        ent_coef=spec.entropy,
        policy_kwargs={"lstm_hidden_size": spec.lstm_hidden, "net_arch": net, "log_std_init": sd},
        **_common(env, spec, seed, tensorboard_log),
    )


def _common(env: TradingEnv, spec: SacSpec | GateSpec, seed: int, log: Path | None) -> dict[str, Any]:
    torch.set_num_threads(1)
    return {
        "env": VecMonitor(LaneVecEnv(env, spec.n_envs)),
        "learning_rate": spec.learning_rate,
        "batch_size": spec.batch_size,
        "gamma": spec.gamma,
        "seed": seed,
        "device": "cpu",
        "tensorboard_log": str(log) if log else None,
    }


#: kind -> how its model is made
NEW_MODEL: dict[str, Any] = {"sac": new_sac, "gate": new_gate}


class LaneVecEnv(VecEnv):
    """`Lanes` as a `VecEnv`: numbers, episodes and draws of a `DummyVecEnv` of as many `TradingEnv`.

    Parameters
    ----------
    env : TradingEnv
        Says what an episode is; it is not stepped itself.
    n_envs : int
    """

    def __init__(self, env: TradingEnv, n_envs: int) -> None:
        self.env = env
        self._lanes = env.lanes(n_envs)
        self._rngs = [seeded(None) for _ in range(n_envs)]
        self._actions = np.zeros((n_envs, *(env.action_space.shape or ())), np.float32)
        super().__init__(n_envs, env.observation_space, env.action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every lane."""
        for lane, seed in enumerate(self._seeds):
            if seed is not None:
                self._rngs[lane] = seeded(seed)
        observations = np.stack([self._begin(lane, self._options[lane]) for lane in range(self.num_envs)])
        self._reset_seeds()
        self._reset_options()
        return observations

    def _begin(self, lane: int, options: dict[str, Any]) -> NDArray[np.float32]:
        episode = draw_episode(self._rngs[lane], self.env.tracks, self.env.episode_bars, options)
        self.reset_infos[lane] = {"symbol": self.env.tracks[episode.track].symbol}
        return self._lanes.begin(lane, episode)

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the actions, (n, 1) or (n, N)."""
        self._actions = np.asarray(actions, np.float32).reshape(self._actions.shape)

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all lanes; those whose episode ends begin another."""
        observations, rewards, ended = self._lanes.step(self._actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        dones: NDArray[np.bool_] = ended != GOES_ON
        for lane in sorted(self._lanes.waiting):
            cut, last = bool(ended[lane] == TRUNCATED), observations[lane].copy()
            infos[lane] = {"TimeLimit.truncated": cut, "terminal_observation": last}
            observations[lane] = self._begin(lane, {})
        return observations, rewards, dones, infos

    def state(self) -> dict[str, Any]:
        """The running episodes and the generators, for `restore`."""
        return {"lanes": self._lanes.state(), "rngs": [rng.bit_generator.state for rng in self._rngs]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._lanes.restore(state["lanes"])
        for rng, saved in zip(self._rngs, state["rngs"], strict=True):
            rng.bit_generator.state = dict(saved)

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the environment, once per lane."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Lanes share their settings."""
        raise ConfigError(f"LaneVecEnv: {attr_name} is one setting of all lanes; make another LaneVecEnv to change it")

    def env_method(self, method_name: str, *args: object, indices: VecEnvIndices = None, **kwargs: object) -> list[Any]:
        """Lanes are no objects."""
        raise ConfigError(f"LaneVecEnv: a lane has no method {method_name}; use DummyVecEnv to call one")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Never."""
        return [False] * len(list(self._get_indices(indices)))


def gather(model: Model) -> dict[str, Any]:
    """State of a SAC or RecurrentPPO model, its `VecMonitor` over lanes and all generators, between two rollouts."""
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
    return {name: torch.from_numpy(np.array(getattr(owner, name)[:rows])) for name in names}


def scatter(state: Mapping[str, Any], model: Model) -> None:
    """Give a fresh model, made with the same settings and about to learn, the state of `gather`."""
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
