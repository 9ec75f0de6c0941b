"""What Stable-Baselines3 steps: many alike, in one call.

Imports Stable-Baselines3: import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from hybrid_bt.envs import LaneVectorEnv, TradingEnv
from hybrid_bt.envs.specs import as_action
from hybrid_bt.errors import ConfigError

#: observations, rewards, whether episodes ended, infos
Stepped: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]


class AlikeVecEnv(VecEnv):
    """Lanes that share everything but where they stand."""

    render_mode: str | None = None
    ends = -1.0, 1.0  #: of the action space
    _actions: NDArray[np.float32]

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the actions, (n, 1) or (n, N); ActionError for others, and from `step_wait` for NaN or one outside."""
        self._actions = as_action(actions, (self.num_envs, *(self.action_space.shape or ())), self.ends)

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute, once per lane."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Lanes share their settings."""
        raise ConfigError(f"{attr_name} is one setting of all lanes; make another environment to change it")

    def env_method(self, method_name: str, *args: object, indices: VecEnvIndices = None, **kwargs: object) -> list[Any]:
        """Lanes are no objects."""
        raise ConfigError(f"a lane has no method {method_name}; use DummyVecEnv to call one")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Never."""
        return [False] * len(list(self._get_indices(indices)))


class LaneVecEnv(AlikeVecEnv):
    """`Lanes` as a `VecEnv`: numbers, episodes and draws of a `DummyVecEnv` of as many `TradingEnv`.

    Parameters
    ----------
    env : TradingEnv
        Says what an episode is; it is not stepped itself.
    n_envs : int
    *more : TradingEnv
        Others with the same spaces, which the lanes are dealt to as evenly as can be, one each at least.
    """

    def __init__(self, env: TradingEnv, n_envs: int, *more: TradingEnv) -> None:
        envs, n_envs = (env, *more), max(n_envs, 1 + len(more))
        shares = np.array_split(np.arange(n_envs), len(envs))
        self.env, self._parts = env, [LaneVectorEnv(one, len(part)) for one, part in zip(envs, shares, strict=True)]
        self._edges = [int(part[0]) for part in shares[1:]]
        self.ends, self.render_mode = self._parts[0].lanes.ends, env.render_mode
        super().__init__(n_envs, env.observation_space, env.action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every lane."""
        for part, first in zip(self._parts, (0, *self._edges), strict=True):
            part.seed(self._seeds[first : first + part.num_envs])
        places = [(part, lane) for part in self._parts for lane in range(part.num_envs)]
        begun = [part.begin(lane, options) for (part, lane), options in zip(places, self._options, strict=True)]
        self.reset_infos = [info for _, info in begun]
        self._reset_seeds()
        self._reset_options()
        return np.stack([observation for observation, _ in begun])

    def step_wait(self) -> Stepped:
        """Step all lanes; those whose episode ends begin another."""
        stepped = [
            part.step(asked) for part, asked in zip(self._parts, np.split(self._actions, self._edges), strict=True)
        ]
        observations, rewards, ruined, cut = (np.concatenate([one[k] for one in stepped]) for k in range(4))
        dones: NDArray[np.bool_] = ruined | cut
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(one)} for one in cut]
        for first, part, (*_, said) in zip((0, *self._edges), self._parts, stepped, strict=True):
            for number, info in enumerate(part.said, first):
                infos[number] |= info
            for lane in np.flatnonzero(said.get("_final_obs", ())).tolist():
                infos[first + lane]["terminal_observation"] = said["final_obs"][lane]
                begun = {name: said[name][lane] for name in said if not name.startswith(("_", "final_"))}
                self.reset_infos[first + lane] = begun
        return observations, rewards.astype(np.float32), dones, infos

    def get_images(self) -> list[NDArray[np.uint8] | None]:
        """A picture of each lane, where `env` has `render_mode="rgb_array"`."""
        return [picture for part in self._parts for picture in part.render() or ()]

    def state(self) -> dict[str, Any]:
        """The running episodes and the generators, for `restore`."""
        lanes = [array for part in self._parts for array in part.lanes.state()]
        return {"lanes": lanes, "rngs": [rng.bit_generator.state for part in self._parts for rng in part.rngs]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        lanes, states = iter(state["lanes"]), iter(state["rngs"])
        for part in self._parts:
            part.lanes.restore([next(lanes) for _ in part.lanes.state()])
            for rng in part.rngs:
                rng.bit_generator.state = next(states)
