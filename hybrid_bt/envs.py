"""Gymnasium environments: the fast backtester with a reward.

Both environments trade through `hybrid_bt.accounting`, the twin of Backtrader's broker: the action of bar t fills at
the open of bar t + 1, pays spread, fee and interest, and is marked at the close of t + 1. The end of the data is
truncation, ruin is termination.

- `AssetEnv`: one asset, the SAC leg's world. Action: exposure in units of risk.
- `RegimeEnv`: a whole portfolio, the gate's world. Action: r, which mixes two recorded legs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounting import NO_TAPE, Account, Book, OrderRules, broker_day, new_book, open_account
from hybrid_bt.batch import have_numba
from hybrid_bt.batch_env import Lanes
from hybrid_bt.costs import Costs
from hybrid_bt.errors import ConfigError
from hybrid_bt.features import CLIP
from hybrid_bt.fusion import FusionParams, leg_weights, mix_into
from hybrid_bt.lanes import GOES_ON, RUINED, TRUNCATED
from hybrid_bt.legs.sac import OBSERVATION as ASSET_OBSERVATION
from hybrid_bt.legs.sac import RiskUnit
from hybrid_bt.paper import REWARD_SCALE, START_CASH, AssetTask, asset_bar, reward_of, trade_row
from hybrid_bt.regime import OBSERVATION as MARKET_OBSERVATION
from hybrid_bt.risk import RiskParams, limit
from hybrid_bt.tracks import AssetTrack, Episode, Span, asset_tracks, draw_episode

__all__ = [
    "AssetEnv",
    "AssetTrack",
    "Episode",
    "PaperAccount",
    "RegimeEnv",
    "RegimeTrack",
    "Reward",
    "Span",
    "asset_tracks",
    "draw_episode",
    "seeded",
]


class Reward(NamedTuple):
    """Net log return g of a bar, in percent, less a variance penalty: 100 (g - aversion / 2 g^2)."""

    risk_aversion: float

    def of(self, growth: float) -> float:
        """Reward of a bar on which equity grew by the factor `growth`."""
        return reward_of(growth, self.risk_aversion)


class PaperAccount:
    """An account that trades targets against rows of opens and closes, as Backtrader's broker would."""

    def __init__(
        self,
        opens: Sequence[Sequence[float]],
        closes: Sequence[Sequence[float]],
        days: Sequence[int],
        costs: Costs,
        rules: OrderRules,
        cash: float = START_CASH,
    ) -> None:
        self._opens, self._closes, self._days = opens, closes, days
        self._costs, self._rules, self._cash = costs, rules, cash
        self.reset(0)

    def reset(self, row: int) -> None:
        """Start anew, in cash, at the close of a row."""
        self.book = new_book(len(self._closes[row]))
        self.first = self.row = row
        prices = self._opens[row], self._closes[row]
        self.account = broker_day(
            open_account(self._cash), self.book, 0, self._days[row], *prices, self._costs, NO_TAPE
        )

    def trade(self, targets: Sequence[float]) -> float:
        """Send the orders of this close, go to the next, and return the growth of equity (0 when ruined)."""
        before, market = self.account, (self._opens, self._closes, self._days)
        self.account = trade_row(
            before, self.book, self.first, self.row, targets, *market, self._costs, self._rules, NO_TAPE
        )
        self.row += 1
        return max(self.account.equity / before.equity, 0.0)

    def memory(self) -> dict[str, Any]:
        """Where the account stands, as JSON data."""
        return {"first": self.first, "row": self.row, "account": list(self.account), "book": list(self.book)}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Stand where `memory` says."""
        self.first, self.row = memory["first"], memory["row"]
        self.account, self.book = Account(*memory["account"]), Book(*memory["book"])


class AssetEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One asset of several, drawn at each reset, from a random bar on.

    Observation: float32 (features + 1,), `hybrid_bt.legs.sac.OBSERVATION`. Action: float32 (1,), exposure in units of
    risk (`hybrid_bt.legs.sac.exposure`). Reward: `Reward.of` the bar, less that of holding `base_action` for nothing,
    which no action can change and which takes the market's noise out of the value function.

    Parameters
    ----------
    tracks : sequence of AssetTrack
    action_range : (low, high)
    episode_bars : int
        Length of an episode, cut at the end of the span; None runs from the first bar of the span to its last.
    base_action : float
        See above.
    compiled : bool, optional
        Step under numba (same bits); by default where it is installed.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  gymnasium's own declaration

    def __init__(
        self,
        tracks: Sequence[AssetTrack],
        *,
        action_range: tuple[float, float],
        unit: RiskUnit,
        reward: Reward,
        costs: Costs,
        rules: OrderRules,
        episode_bars: int | None = 252,
        base_action: float = 0.5,
        compiled: bool | None = None,
    ) -> None:
        if not action_range[0] < action_range[1]:
            raise ConfigError(f"action range {action_range}: the lower end must be below the upper one")
        self.tracks = list(tracks)
        self.task = AssetTask(unit, reward.risk_aversion, base_action, costs, rules)
        self.episode_bars = episode_bars
        self.action_range = _as_float32(action_range[0]), _as_float32(action_range[1])
        self.action_space = gym.spaces.Box(*self.action_range, (1,), np.float32)
        low, high = np.full(len(ASSET_OBSERVATION), -CLIP), np.full(len(ASSET_OBSERVATION), CLIP)
        low[-1], high[-1] = min(action_range[0], 0.0), max(action_range[1], 0.0)
        self.observation_space = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        self._wanted, self._compiled = [0.0], compiled
        self._asked, self._seen = np.zeros(1, np.float32), np.zeros(len(ASSET_OBSERVATION), np.float32)

    @cached_property
    def _lane(self) -> Lanes | None:
        """Where the compiled account lies; None if the environment runs interpreted."""
        if self._compiled is False or not have_numba():
            return None
        return Lanes(self.tracks, self.task, self.action_range, 1, compiled=True)

    @property
    def paper(self) -> PaperAccount:
        """The account and its book; a copy, where they lie in compiled code."""
        if self._lane is not None:
            lane, offset = self._lane, self._lane.offset(self._number)
            book = Book(*(part.tolist() for part in lane.book()))
            self._paper.account, self._paper.book = lane.account(), book
            self._paper.first, self._paper.row, _ = (row - offset for row in lane.rows())
        return self._paper

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draw an asset and a start, or take `options["track"]` and `options["row"]`."""
        super().reset(seed=seed)
        episode = draw_episode(self.np_random, self.tracks, self.episode_bars, options or {})
        self._sit(episode.track, episode.last)
        if self._lane is None:
            self._paper.reset(episode.first)
        else:
            self._lane.begin(0, episode)
        return self._observation(episode.first, 0.0), {"symbol": self.track.symbol}

    def _sit(self, number: int, last: int) -> None:
        """Before a track."""
        self._number, self._last = number, last
        track = self.track = self.tracks[number]
        self._paper = PaperAccount(track.opens, track.closes, track.days, self.task.costs, self.task.rules)
        lane = self._lane
        self._one = partial(lane.step_one, self._asked, self._seen) if lane is not None else self._interpreted

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold the exposure that the action asks for until the next close."""
        self._asked[0] = action[0]
        reward, end = self._one()
        return self._seen.copy(), reward, end == RUINED, end == TRUNCATED, {}

    def _interpreted(self) -> tuple[float, int]:
        """`lanes.step_lane` on lists, which CPython reads faster than arrays."""
        low, high = self.action_range
        asked = float(self._asked[0])
        held = low if asked < low else high if asked > high else asked
        paper, track = self._paper, self.track
        row = paper.row
        market = track.volatility, track.opens, track.closes, track.days
        paper.account, reward, ruined = asset_bar(
            paper.account, paper.book, paper.first, row, held, self._wanted, *market, self.task, NO_TAPE
        )
        paper.row = row = row + 1
        self._seen[:] = track.observations[row]
        self._seen[-1] = held
        return reward, RUINED if ruined else TRUNCATED if row >= self._last else GOES_ON

    def _observation(self, row: int, action: float) -> NDArray[np.float32]:
        observation: NDArray[np.float32] = self.track.observations[row].copy()
        observation[-1] = action
        return observation

    def memory(self) -> dict[str, Any]:
        """The running episode and the generator, as JSON data: what a checkpoint keeps."""
        return {
            "track": self._number,
            "last": self._last,
            "paper": self.paper.memory(),
            "rng": self.np_random.bit_generator.state,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on where `memory` was taken; the environment has been reset before."""
        self._sit(memory["track"], memory["last"])
        paper = self._paper
        paper.recall(memory["paper"])
        if self._lane is not None:
            offset = self._lane.offset(self._number)
            rows = offset + paper.first, offset + paper.row, offset + self._last
            self._lane.place(*rows, paper.account, paper.book)
        self.np_random.bit_generator.state = dict(memory["rng"])


def seeded(seed: int | None) -> np.random.Generator:
    """Randomness as an environment that was reset with this seed has it."""
    return gym.utils.seeding.np_random(seed)[0]


def _as_float32(value: float) -> float:
    """The float32 nearest to a number: what an action space can say."""
    return float(np.float32(value))


class RegimeTrack(NamedTuple):
    """A market with the recorded targets of two legs."""

    observations: NDArray[np.float32]  #: (T, features)
    sac: list[list[float]]  #: (T, N)
    kalman: list[list[float]]  #: (T, N)
    volatility: list[list[float]]  #: (T, N) per bar
    correlation: list[float]  #: (T,)
    opens: list[list[float]]  #: (T, N)
    closes: list[list[float]]  #: (T, N)
    days: list[int]  #: (T,)
    span: Span


class RegimeEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The fused portfolio under a regime score.

    Observation: float32 (features,), `hybrid_bt.regime.OBSERVATION`. Action: float32 (1,), r in [-1, 1]. Reward: net
    log return of the fused account less a variance penalty (`Reward`), less the same of a shadow account that keeps
    `base_regime` throughout: doing nothing scores zero. In units of `reward_unit`.

    Parameters
    ----------
    track : RegimeTrack
    episode_bars : int
        Length of an episode, cut at the end of the span; None runs from the first bar of the span to its last.
    base_regime : float
        The constant gate to beat; choose the best one on the training span.
    reward_unit : float
        Rewards are divided by it: a bar's difference between two gates is a small fraction of a percent.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  gymnasium's own declaration

    def __init__(
        self,
        track: RegimeTrack,
        *,
        fusion: FusionParams,
        risk: RiskParams,
        reward: Reward,
        costs: Costs,
        rules: OrderRules,
        episode_bars: int | None = 504,
        base_regime: float = 0.0,
        reward_unit: float = 1.0,
    ) -> None:
        self._reward_unit = reward_unit
        self._track, self._fusion, self._risk, self._reward = track, fusion, risk, reward
        self._episode_bars, self._base_regime = episode_bars, base_regime
        self.paper = PaperAccount(track.opens, track.closes, track.days, costs, rules)
        self._shadow = PaperAccount(track.opens, track.closes, track.days, costs, rules)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-CLIP, CLIP, (len(MARKET_OBSERVATION),), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draw a start, or take `options["row"]`."""
        super().reset(seed=seed)
        span = self._track.span
        if self._episode_bars is None:
            first, self._last = span.first, span.last
        else:
            latest = max(span.last - self._episode_bars, span.first)
            first = int((options or {}).get("row", self.np_random.integers(span.first, latest + 1)))
            self._last = min(span.last, first + self._episode_bars)
        self.paper.reset(first)
        self._shadow.reset(first)
        return self._track.observations[first].copy(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade the mix at score r until the next close."""
        growth = self.paper.trade(self._targets(float(action[0]), self.paper.row))
        base = self._shadow.trade(self._targets(self._base_regime, self._shadow.row))
        ruined = growth <= 0.0
        reward = -REWARD_SCALE if ruined else self._reward.of(growth) - (self._reward.of(base) if base > 0.0 else 0.0)
        truncated = not ruined and self.paper.row >= self._last
        return self._track.observations[self.paper.row].copy(), reward / self._reward_unit, ruined, truncated, {}

    def memory(self) -> dict[str, Any]:
        """The running episode and the generator, as JSON data: what a checkpoint keeps."""
        return {
            "last": self._last,
            "paper": self.paper.memory(),
            "shadow": self._shadow.memory(),
            "rng": self.np_random.bit_generator.state,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on where `memory` was taken."""
        self._last = memory["last"]
        self.paper.recall(memory["paper"])
        self._shadow.recall(memory["shadow"])
        self.np_random.bit_generator.state = dict(memory["rng"])

    def _targets(self, r: float, row: int) -> list[float]:
        track = self._track
        fused = [0.0] * len(track.sac[row])
        mix_into(fused, (track.sac[row], track.kalman[row]), leg_weights(r, self._fusion))
        return limit(fused, track.volatility[row], track.correlation[row], self._risk)[0]
