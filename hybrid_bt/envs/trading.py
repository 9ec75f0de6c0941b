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

from hybrid_bt.envs.episodes import Track, checked_tracks, draw_episode, seeded
from hybrid_bt.envs.lanes import Lanes, TrackRows
from hybrid_bt.envs.specs import Spec, as_action, checked_task, refuse
from hybrid_bt.equations.book import Account, Capital
from hybrid_bt.equations.env_step import BARRED, GOES_ON, RUINED, TRUNCATED, Task
from hybrid_bt.equations.features import CLIP
from hybrid_bt.errors import ConfigError

Singles: TypeAlias = NDArray[np.float32]
#: observations, rewards (float64), terminations, truncations, infos
Stepped: TypeAlias = tuple[Singles, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]


MODES = ["rgb_array"]
WIDTH, ABOVE, BELOW, MARGIN = 480, 200, 120, 8  #: of a picture, the account above the positions, in pixels
GREY, LINE, LONG, SHORT = (190, 190, 190), (0, 0, 0), (0, 114, 178), (213, 94, 0)
Shot: TypeAlias = tuple[float, NDArray[np.float64]]  #: equity at a close, and the value held of each asset, (N,) signed


def shot(lanes: Lanes, lane: int = 0) -> Shot:
    """What a lane has."""
    book = lanes.book(lane)
    return lanes.account(lane).equity, np.asarray(book.size) * np.asarray(book.close)


def frame(film: Sequence[Shot]) -> NDArray[np.uint8]:
    """Account and positions of an episode, (320, 480, 3): above, equity at each close between its lowest and highest,
    with a grey line where it began; below, what is held of each asset now, blue and upward what is long, orange and
    downward what is short, as a fraction of equity that is cut at 1.
    """
    picture = np.full((ABOVE + BELOW, WIDTH, 3), 255, np.uint8)
    equity, (now, held) = np.array([one for one, _ in film]), film[-1]
    share = (equity - equity.min()) / max(np.ptp(equity), 1e-9 * abs(now))
    heights = np.round(ABOVE - MARGIN - (ABOVE - 2 * MARGIN) * share)
    middle, room = ABOVE + BELOW // 2, BELOW // 2 - MARGIN
    picture[[int(heights[0]), middle]] = GREY
    across = np.interp(np.arange(WIDTH), np.linspace(0, WIDTH - 1, len(film)), heights).astype(int)
    for x, (y, before) in enumerate(zip(across, [across[0], *across], strict=False)):
        picture[min(y, before) : max(y, before) + 2, x] = LINE
    edges = np.linspace(MARGIN, WIDTH - MARGIN, len(held) + 1).astype(int)
    for left, right, worth in zip(edges, edges[1:], held, strict=False):
        size = round(room * min(abs(worth) / max(now, 1e-9), 1.0))
        rows = slice(middle - size, middle) if worth > 0.0 else slice(middle + 1, middle + 1 + size)
        picture[rows, left : right - 1] = LONG if worth > 0.0 else SHORT
    return picture


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
    ) -> None:
        if render_mode not in (None, *MODES):
            raise ConfigError(f"environment: render_mode is {render_mode!r}; give 'rgb_array', or leave it out")
        if episode_bars is not None and not (type(episode_bars) is int and episode_bars >= 1):
            raise ConfigError(f"episode_bars must be at least 1, or None for the whole span; not {episode_bars!r}")
        self.kind, self.tracks, self.episode_bars = kind, checked_tracks(tracks, kind.mixes), episode_bars
        self._cash, self.task = checked_task(cash, task)
        self.render_mode, self._film = render_mode, list[Shot]()
        self.compiled = compiled
        n, low, high = len(self.tracks[0].symbols), self.task.low, self.task.high
        n_seen = self.tracks[0].features.shape[1] + kind.sees * n
        self.action_space = gym.spaces.Box(low, high, (n if kind.per_asset else 1,), np.float32)
        self.observation_space = gym.spaces.Box(-CLIP, CLIP, (n_seen,), np.float32)
        self._market = TrackRows.of(self.tracks)
        self._lane = self.lanes(1)
        self._asked, self._seen = (n if kind.per_asset else 1,), np.zeros(n_seen, np.float32)

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
        seen, info = self.begin(self._lane, 0, self.np_random, options or {})
        self._film = [shot(self._lane)] if self.render_mode else []
        return seen, info

    def begin(
        self, lanes: Lanes, lane: int, rng: np.random.Generator, options: dict[str, Any]
    ) -> tuple[Singles, dict[str, Any]]:
        """An episode in one of some lanes: its first observation, and its info."""
        episode = draw_episode(rng, self.tracks, self.episode_bars, options)
        return lanes.begin(lane, episode), {"symbol": self.tracks[episode.track].symbol}

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
        if self.render_mode and end != BARRED:
            self._film.append(shot(lane))
        if end == GOES_ON:
            return seen.copy(), reward, False, False, {}
        if end == BARRED:
            if lane.waiting:
                raise ResetNeeded("the environment has not begun, or its episode has ended; call reset() before step()")
            refuse(action, self._asked, lane.ends)
        lane.waiting.add(0)
        return seen.copy(), reward, end == RUINED, end != RUINED, {}


class LaneVectorEnv(VectorEnv[Singles, Singles, NDArray[Any]]):
    """Numbers, episodes and draws of a `SyncVectorEnv` of as many `TradingEnv`, begun again in the step they end in.

    Rewards are rounded to float32.

    Parameters
    ----------
    env : TradingEnv
        Says what an episode is; it is not stepped itself.
    num_envs : int
    """

    metadata = {**TradingEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  gymnasium's own declaration

    def __init__(self, env: TradingEnv, num_envs: int) -> None:
        self.env, self.num_envs, self.lanes, self.render_mode = env, num_envs, env.lanes(num_envs), env.render_mode
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        self.observation_space = batch_space(env.observation_space, num_envs)
        self.action_space = batch_space(env.action_space, num_envs)
        self.rngs, self._films = [seeded(None) for _ in range(num_envs)], [list[Shot]() for _ in range(num_envs)]

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Of each lane; None goes on with the randomness that it has."""
        self.rngs = [rng if seed is None else seeded(seed) for rng, seed in zip(self.rngs, seeds, strict=True)]

    def begin(self, lane: int, options: dict[str, Any]) -> tuple[Singles, dict[str, Any]]:
        """An episode in one lane: its first observation, and its info."""
        seen, info = self.env.begin(self.lanes, lane, self.rngs[lane], options)
        self._films[lane] = [shot(self.lanes, lane)] if self.render_mode else []
        return seen, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture of each lane; None without a `render_mode`."""
        return tuple(map(frame, self._films)) if self.render_mode and all(self._films) else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Singles, dict[str, Any]]:
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
        for lane, film in enumerate(self._films if self.render_mode else ()):
            film.append(shot(self.lanes, lane))
        for lane in sorted(self.lanes.waiting):
            infos = self._add_info(infos, {"final_obs": seen[lane].copy(), "final_info": {}}, lane)
            seen[lane], info = self.begin(lane, {})
            infos = self._add_info(infos, info, lane)
        return seen, rewards.astype(np.float64), ended == RUINED, ended == TRUNCATED, infos
