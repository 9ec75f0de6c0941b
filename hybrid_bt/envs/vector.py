"""Lanes as gymnasium steps many environments: `gymnasium.make_vec("hybrid_bt/Asset-v0", num_envs=64)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hybrid_bt.envs.episodes import draw_episode, seeded
from hybrid_bt.envs.trading import TradingEnv
from hybrid_bt.equations.env_step import RUINED, TRUNCATED

Observations: TypeAlias = NDArray[np.float32]
#: observations, rewards (float64), terminations, truncations, infos
Stepped: TypeAlias = tuple[Observations, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]


class LaneVectorEnv(VectorEnv[Observations, NDArray[np.float32], NDArray[Any]]):
    """Numbers, episodes and draws of a `SyncVectorEnv` of as many `TradingEnv`, begun again in the step they end in.

    Rewards are rounded to float32.

    Parameters
    ----------
    env : TradingEnv
        Says what an episode is; it is not stepped itself.
    num_envs : int
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  gymnasium's own declaration

    def __init__(self, env: TradingEnv, num_envs: int) -> None:
        self.env, self.num_envs, self.lanes = env, num_envs, env.lanes(num_envs)
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        self.observation_space = batch_space(env.observation_space, num_envs)
        self.action_space = batch_space(env.action_space, num_envs)
        self.rngs = [seeded(None) for _ in range(num_envs)]

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Of each lane; None goes on with the randomness that it has."""
        self.rngs = [rng if seed is None else seeded(seed) for rng, seed in zip(self.rngs, seeds, strict=True)]

    def begin(self, lane: int, options: dict[str, Any]) -> tuple[Observations, dict[str, Any]]:
        """An episode in one lane: its first observation, and its info."""
        episode = draw_episode(self.rngs[lane], self.env.tracks, self.env.episode_bars, options)
        return self.lanes.begin(lane, episode), {"symbol": self.env.tracks[episode.track].symbol}

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in every lane; a number seeds the first, and the others with those behind it."""
        self.seed(
            [seed + lane for lane in range(self.num_envs)] if isinstance(seed, int) else seed or [None] * self.num_envs
        )
        seen, infos = np.empty(self.observation_space.shape or 1, np.float32), dict[str, Any]()
        for lane in range(self.num_envs):
            seen[lane], info = self.begin(lane, options or {})
            infos = self._add_info(infos, info, lane)
        return seen, infos

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """Step every lane; those that end begin another episode, and `final_obs` of the infos is what they saw last."""
        seen, rewards, ended = self.lanes.step(actions)
        infos: dict[str, Any] = {}
        for lane in sorted(self.lanes.waiting):
            infos = self._add_info(infos, {"final_obs": seen[lane].copy(), "final_info": {}}, lane)
            seen[lane], info = self.begin(lane, {})
            infos = self._add_info(infos, info, lane)
        return seen, rewards.astype(np.float64), ended == RUINED, ended == TRUNCATED, infos
