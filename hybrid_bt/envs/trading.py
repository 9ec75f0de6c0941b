"""The gymnasium environment: the fast backtester with a reward, for one asset, a regime or a whole portfolio; and many
in one call, `gymnasium.make_vec("hybrid_bt/Asset-v0", num_envs=64)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hybrid_bt.envs.episodes import Episode, Track, checked_tracks, draw_episode, seeded
from hybrid_bt.envs.lanes import Lanes, TrackRows
from hybrid_bt.envs.shown import Shot, frame, shot, told
from hybrid_bt.envs.specs import Spec, as_action, checked_task, refuse
from hybrid_bt.equations.book import Account, Capital
from hybrid_bt.equations.env_step import BARRED, GOES_ON, RUINED, TRUNCATED, Task
from hybrid_bt.equations.features import CLIP
from hybrid_bt.errors import ConfigError

Singles: TypeAlias = NDArray[np.float32]
#: observations, rewards (float64), terminations, truncations, infos
Stepped: TypeAlias = tuple[Singles, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]

MODES = ["rgb_array"]


class TradingEnv(gym.Env[Singles, Singles]):
    """Accounts as Backtrader's broker keeps them, to the bit, on a track and from a bar that are drawn at each reset.

    The action of a close fills at the next open, pays spread, fee and interest, and is marked at the next close. The
    reward is 100 (g - aversion / 2 g^2) of the net log return g from that open to the one after, which is what this
    action earned, less that of a baseline, in units of `reward_unit`; ruin is -100. So a reward looks one bar further
    than the observation beside it. The end of the data is truncation, ruin is termination.

    ASSET
        Action (1,): exposure in units of risk (`equations.fusion.exposure`). Observation: the asset's
        features. Baseline: `base_action` held without costs.
    REGIME
        Action (1,): r, which mixes two recorded legs. Observation: the market's features. Baseline: an account that
        keeps r = `base_action` throughout.
    PORTFOLIO
        Action (N,): signed fractions of equity, limited by `risk`. Observation: all features, the weights held. No
        baseline.

    Parameters
    ----------
    kind : Spec
        ASSET, REGIME or PORTFOLIO.
    tracks : sequence of Track
        With the same number of assets and features. See `asset_tracks`, `regime_track`, `portfolio_track`.
    task : Task
        Ends of the action space, reward, limits, costs, order rules.
    episode_bars : int
        Length of an episode, cut at the end of the span; None runs from the first bar of the span to its last.
    cash : float
        Start value; whole lots make it matter.
    compiled : bool, optional
        Step under numba (same bits); by default where it is installed, see `Lanes`.
    info : bool
        Each step tells bar, account, weights, turnover and costs, see `told`; without, its info is empty, and sooner.

    Raises
    ------
    ConfigError
        For ranges, costs, rules, cash, lengths or tracks that make no sense.
    """

    metadata = {"render_modes": MODES, "render_fps": 25}  # noqa: RUF012  gymnasium's own declaration

    def __init__(
        self,
        kind: Spec,
        tracks: Sequence[Track],
        task: Task = Task(),  # noqa: B008  an immutable tuple
        *,
        episode_bars: int | None = 252,
        cash: float = Capital().cash,
        compiled: bool | None = None,
        render_mode: str | None = None,
        info: bool = False,
    ) -> None:
        if render_mode not in (None, *MODES):
            raise ConfigError(f"environment: render_mode is {render_mode!r}; give 'rgb_array', or leave it out")
        if episode_bars is not None and not (type(episode_bars) is int and episode_bars >= 1):
            raise ConfigError(f"episode_bars must be at least 1, or None for the whole span; not {episode_bars!r}")
        self.kind, self.tracks, self.episode_bars = kind, checked_tracks(tracks, kind.mixes), episode_bars
        self._cash, self.task = checked_task(cash, task)
        self.render_mode, self.tells, self._film = render_mode, info, list[Shot]()
        self.compiled = compiled
        self._market = TrackRows.of(self.tracks)
        self._lane = self.lanes(1)
        self._asked, self._seen = self._lane.shape[1:], np.zeros(self._lane.n_seen, np.float32)
        self.action_space = gym.spaces.Box(*self._lane.ends, self._asked, np.float32)
        self.observation_space = gym.spaces.Box(-CLIP, CLIP, self._seen.shape, np.float32)

    def lanes(self, n_lanes: int, *, compiled: bool | None = None, reuse: bool = False) -> Lanes:
        """The same environment many times over, stepped in one call."""
        fast = self.compiled if compiled is None else compiled
        return Lanes(self.kind, self._market, self.task, n_lanes, cash=self._cash, compiled=fast, reuse=reuse)

    @property
    def account(self) -> Account:
        """As marked at the last close."""
        return self._lane.account()

    @property
    def sizes(self) -> NDArray[np.float64]:
        """(N,) signed shares held."""
        return np.asarray(self._lane.book().size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Singles, dict[str, Any]]:
        """Start in cash on a track and a bar that are drawn, or on `options["track"]` and `options["row"]` of it."""
        super().reset(seed=seed)
        return self.begin(self._lane, 0, self.np_random, options or {}, self._film)

    def begin(
        self, lanes: Lanes, lane: int, rng: np.random.Generator, options: dict[str, Any], film: list[Shot]
    ) -> tuple[Singles, dict[str, Any]]:
        """An episode in one of some lanes: its first observation, and its info; its film is begun."""
        episode = draw_episode(rng, self.tracks, self.episode_bars, options)
        seen, info = lanes.begin(lane, episode), {"symbol": self.tracks[episode.track].symbol}
        film.clear()
        return seen, info | self.filmed(lanes, lane, film)

    def filmed(self, lanes: Lanes, lane: int, film: list[Shot]) -> dict[str, Any]:
        """The info of a step, which is noted for it and for pictures where these are asked for."""
        if self.tells or self.render_mode:
            film.append(shot(lanes, lane))
        return told(film, self._market) if self.tells else {}

    def render(self) -> NDArray[np.uint8] | None:
        """The episode so far as a picture, see `frame`; None without a `render_mode`."""
        return frame(self._film) if self.render_mode and self._film else None

    def step(self, action: NDArray[np.float32] | Sequence[float]) -> tuple[Singles, float, bool, bool, dict[str, Any]]:
        """Trade what the action asks for, and go to the next close.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before `reset`, and after the end of an episode.
        ActionError
            For an action that is none of the action space; the environment stands where it was.
        """
        seen, lane = self._seen, self._lane
        reward, end = lane.one(as_action(action, self._asked, lane.ends), seen)
        if end == GOES_ON and not self._film:
            return seen.copy(), reward, False, False, {}
        if end == BARRED:
            if lane.waiting:
                raise ResetNeeded("the environment has not begun, or its episode has ended; call reset() before step()")
            refuse(action, self._asked, lane.ends)
        if end != GOES_ON:
            lane.waiting.add(0)
        return seen.copy(), reward, end == RUINED, end == TRUNCATED, self.filmed(lane, 0, self._film)


class LaneVectorEnv(VectorEnv[Singles, Singles, NDArray[Any]]):
    """Numbers, episodes and draws of a `SyncVectorEnv` of as many `TradingEnv`. Rewards are rounded to float32.

    Parameters
    ----------
    env : TradingEnv
        Says what an episode is; it is not stepped itself.
    num_envs : int
    autoreset_mode : AutoresetMode or str
        When those that end begin again: in that step ("SameStep"), or in the next ("NextStep", as gymnasium's wrappers
        that scale observations ask for), whose action they pass over.
    """

    metadata = {**TradingEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  gymnasium's own declaration

    def __init__(
        self, env: TradingEnv, num_envs: int, autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"environment: num_envs is {num_envs}; give 1 or more")
        self.metadata = {**type(self).metadata, "autoreset_mode": AutoresetMode(autoreset_mode)}
        self._waits, self._over = self.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP, list[int]()
        if not self._waits and self.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
            raise ConfigError(f"environment: autoreset_mode is {autoreset_mode!r}; give SameStep or NextStep")
        self.env, self.num_envs, self.lanes, self.render_mode = env, num_envs, env.lanes(num_envs), env.render_mode
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        self.observation_space = batch_space(env.observation_space, num_envs)
        self.action_space = batch_space(env.action_space, num_envs)
        self.rngs, self._films = [seeded(None) for _ in range(num_envs)], [list[Shot]() for _ in range(num_envs)]
        self.said = list[dict[str, Any]]()  #: infos of the last step, as a `TradingEnv` gives them, where it tells

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Of each lane; None goes on with the randomness that it has."""
        self.rngs = [rng if seed is None else seeded(seed) for rng, seed in zip(self.rngs, seeds, strict=True)]

    def begin(self, lane: int, options: dict[str, Any]) -> tuple[Singles, dict[str, Any]]:
        """An episode in one lane: its first observation, and its info."""
        return self.env.begin(self.lanes, lane, self.rngs[lane], options, self._films[lane])

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture of each lane; None without a `render_mode`."""
        return tuple(map(frame, self._films)) if self.render_mode and all(self._films) else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Singles, dict[str, Any]]:
        """Begin an episode in every lane; a number seeds the first, and the others with those behind it."""
        self._over = []
        lanes = range(self.num_envs)
        self.seed([seed + lane for lane in lanes] if isinstance(seed, int) else seed or [None for _ in lanes])
        seen, infos = np.empty(self.observation_space.shape or 1, np.float32), dict[str, Any]()
        for lane in lanes:
            seen[lane], info = self.begin(lane, options or {})
            infos = self._add_info(infos, info, lane)
        return seen, infos

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """Step every lane; those that end begin another episode, and `final_obs` of the infos is what they saw last."""
        again, self._over = self._over, []
        if again:  # these are stepped like the others, and begin behind it
            actions = np.array(as_action(actions, self.action_space.shape or (), self.lanes.ends))
            actions[again] = 0.0
            for lane in again:
                self.lanes.begin(lane, Episode(0, *self.env.tracks[0].span))
        seen, rewards, ended = self.lanes.step(actions)
        infos, over = dict[str, Any](), self.lanes.waiting
        films = enumerate(self._films if self.env.tells or self.render_mode else ())
        self.said = [self.env.filmed(self.lanes, lane, film) for lane, film in films]
        for lane in range(self.num_envs) if self.env.tells else sorted(over.union(again)):
            info = self.said[lane] if self.said else {}
            if lane in again:
                seen[lane], info = self.begin(lane, {})
                rewards[lane], ended[lane] = 0.0, GOES_ON
            elif lane in over and self._waits:
                self._over.append(lane)
            elif lane in over:
                infos = self._add_info(infos, {"final_obs": seen[lane].copy(), "final_info": info}, lane)
                seen[lane], info = self.begin(lane, {})
            infos = self._add_info(infos, info, lane)
        return seen, rewards.astype(np.float64), ended == RUINED, ended == TRUNCATED, infos
