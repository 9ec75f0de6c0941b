"""`Lanes` as a Stable-Baselines3 `VecEnv`: the numbers, episodes and draws of `DummyVecEnv([AssetEnv] * n)`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from hybrid_bt.batch import have_numba
from hybrid_bt.batch_env import Lanes
from hybrid_bt.envs import AssetEnv, draw_episode, seeded
from hybrid_bt.errors import ConfigError
from hybrid_bt.lanes import GOES_ON, TRUNCATED


class LaneVecEnv(VecEnv):
    """Episodes of one kind of `AssetEnv` side by side.

    Parameters
    ----------
    env : AssetEnv
        Says what an episode is; it is not stepped itself.
    n_envs : int
    compiled : bool, optional
        Under numba (same bits); by default where it is installed.
    """

    def __init__(self, env: AssetEnv, n_envs: int, *, compiled: bool | None = None) -> None:
        self.env = env
        fast = have_numba() if compiled is None else compiled and have_numba()
        self._lanes = Lanes(env.tracks, env.task, env.action_range, n_envs, compiled=fast)
        self._rngs: list[np.random.Generator | None] = [None] * n_envs
        self._actions = np.zeros((n_envs, 1), np.float32)
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
        rng = self._rngs[lane]
        if rng is None:
            rng = self._rngs[lane] = seeded(None)
        episode = draw_episode(rng, self.env.tracks, self.env.episode_bars, options)
        self.reset_infos[lane] = {"symbol": self.env.tracks[episode.track].symbol}
        return self._lanes.begin(lane, episode)

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the actions, (n, 1)."""
        self._actions = np.ascontiguousarray(actions, np.float32).reshape(self.num_envs, 1)

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all lanes; those whose episode ends begin another."""
        observations, rewards, ended = self._lanes.step(self._actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        dones: NDArray[np.bool_] = ended != GOES_ON
        for lane in sorted(self._lanes.waiting):
            infos[lane] = {
                "TimeLimit.truncated": bool(ended[lane] == TRUNCATED),
                "terminal_observation": observations[lane].copy(),
            }
            observations[lane] = self._begin(lane, {})
        return observations, rewards, dones, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the environment, once per lane."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Lanes share their settings."""
        raise ConfigError(f"LaneVecEnv: {attr_name} is one setting of all lanes; make another LaneVecEnv to change it")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Lanes are no objects."""
        raise ConfigError(f"LaneVecEnv: a lane has no method {method_name}; use DummyVecEnv to call one")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * len(list(self._get_indices(indices)))
