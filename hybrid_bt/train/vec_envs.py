"""What Stable-Baselines3 steps: many alike, in one call.

Imports Stable-Baselines3: import this module inside functions only.
"""

from __future__ import annotations

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
    """

    def __init__(self, env: TradingEnv, n_envs: int) -> None:
        self.env, self._lanes = env, LaneVectorEnv(env, n_envs)
        self.ends = self._lanes.lanes.ends
        super().__init__(n_envs, env.observation_space, env.action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every lane."""
        self._lanes.seed(self._seeds)
        begun = [self._lanes.begin(lane, options) for lane, options in enumerate(self._options)]
        self.reset_infos = [info for _, info in begun]
        self._reset_seeds()
        self._reset_options()
        return np.stack([observation for observation, _ in begun])

    def step_wait(self) -> Stepped:
        """Step all lanes; those whose episode ends begin another."""
        observations, rewards, ruined, cut, said = self._lanes.step(self._actions)
        dones: NDArray[np.bool_] = ruined | cut
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(one)} for one in cut]
        for lane in np.flatnonzero(dones):
            infos[lane]["terminal_observation"] = said["final_obs"][lane]
            self.reset_infos[lane] = {"symbol": said["symbol"][lane]}
        return observations, rewards.astype(np.float32), dones, infos
