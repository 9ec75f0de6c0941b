"""The portfolio environment: gymnasium's rules, its limits, its lanes. Its parity with the broker is in test_parity."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3
from brain_cases import random_bars
from gymnasium.utils.env_checker import check_env

from hybrid_bt.accounting import OrderRules
from hybrid_bt.config import load_config
from hybrid_bt.costs import Costs
from hybrid_bt.envs import Reward
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.features import ASSET_FEATURES, MARKET_FEATURES
from hybrid_bt.history import read_history
from hybrid_bt.lanes import GOES_ON, RUINED
from hybrid_bt.portfolio import NO_LIMITS
from hybrid_bt.portfolio_env import PortfolioEnv
from hybrid_bt.reader import MarketReader
from hybrid_bt.risk import limit
from hybrid_bt.target_replay import replay
from hybrid_bt.tracks import Episode, PortfolioTrack, Span, portfolio_track

CONFIG = load_config("stable")
BARS = random_bars(400, missing=0.05)
HISTORY = read_history(BARS, MarketReader(BARS.n_symbols, [], [], CONFIG.spread_params))
TRACK = portfolio_track(HISTORY, "2011-01-01", "2012-12-31")
N = BARS.n_symbols
COMPILED = pytest.mark.parametrize("compiled", [False, True])


def environment(track: PortfolioTrack = TRACK, **options: Any) -> PortfolioEnv:
    given: dict[str, Any] = {
        "reward": Reward(1.0),
        "costs": Costs(4.0, 2.0, 300.0),
        "rules": OrderRules(lot=0.0),
        "episode_bars": 60,
    }
    return PortfolioEnv(track, **(given | options))


def actions(n_steps: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (n_steps, N)).astype(np.float32)


@COMPILED
def test_gymnasium_and_stable_baselines_accept_the_environment(compiled: bool) -> None:
    check_env(environment(compiled=compiled), skip_render_check=True)
    sb3.check_env(environment(compiled=compiled), warn=True)
    space = environment().action_space
    assert isinstance(space, gym.spaces.Box) and space.dtype == np.float32 and space.is_bounded()


def test_compiled_or_not_it_is_the_same_to_the_bit() -> None:
    fast, slow = environment(compiled=True), environment(compiled=False)
    for seed in range(3):
        assert np.array_equal(fast.reset(seed=seed)[0], slow.reset(seed=seed)[0])
        for action in actions(60, seed):
            mine, theirs = fast.step(action), slow.step(action)
            assert np.array_equal(mine[0], theirs[0]) and mine[1:] == theirs[1:]
            assert type(mine[1]) is float and type(mine[2]) is bool and type(mine[3]) is bool
        assert fast.account == slow.account and np.array_equal(fast.sizes, slow.sizes)


@pytest.mark.parametrize("risk", [NO_LIMITS._replace(gross_limit=0.97), CONFIG.risk])
def test_it_keeps_the_account_of_the_limited_targets(risk: Any) -> None:
    env, given = environment(risk=risk), actions(60)
    env.reset(options={"row": 280})
    equities = [env.account.equity]
    for action in given:
        env.step(action)
        equities.append(env.account.equity)
    rows = slice(280, 341)
    targets = [
        limit(action.astype(float).tolist(), HISTORY.volatility[t].tolist(), HISTORY.correlation[t], risk)[0]
        for t, action in enumerate(given, 280)
    ]
    bars = BARS.between(BARS.stamps[rows][0], BARS.stamps[rows][-1])
    path = replay([*targets, [math.nan] * N], bars, cash=1e6, costs=env.task.costs, rules=env.task.rules)
    assert len(path.fills) > 100 and equities == path.equity.tolist()
    assert max(sum(map(abs, row)) for row in targets) <= risk.gross_limit * (1.0 + 1e-12)


def test_it_sees_features_and_the_weights_that_it_holds() -> None:
    env = environment()
    seen, info = env.reset(options={"row": 300})
    n = N * len(ASSET_FEATURES) + len(MARKET_FEATURES)
    assert info["symbol"] == ", ".join(BARS.symbols)
    assert np.array_equal(seen, [*HISTORY.assets[300].ravel(), *HISTORY.market[300], *[0.0] * N])
    seen, *_ = env.step(np.full(N, 0.1, np.float32))
    weights = env.sizes * np.array(env._lane.book().close) / env.account.equity
    assert np.array_equal(seen[:n], [*HISTORY.assets[301].ravel(), *HISTORY.market[301]])
    assert np.array_equal(seen[n:], weights.astype(np.float32)) and np.abs(weights).max() > 0.05


def test_what_a_step_returned_stays_as_it_was() -> None:
    env = environment()
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second = env.step(actions(1)[0])[0]
    also = second.copy()
    env.step(actions(1, 5)[0])
    assert np.array_equal(first, kept) and np.array_equal(second, also)


def crash() -> PortfolioTrack:
    closes = np.array([[10.0, 10.0]] * 2 + [[40.0, 10.0]] * 2)
    nothing = np.zeros((4, 0), np.float32), np.full((4, 2), 0.01), np.zeros(4)
    return PortfolioTrack(("UP", "FLAT"), *nothing, closes, closes, np.arange(4), Span(0, 3))


@COMPILED
def test_ruin_terminates_with_a_fixed_penalty(compiled: bool) -> None:
    env = environment(crash(), episode_bars=None, compiled=compiled)
    env.reset()
    assert env.step([-0.9, 0.0])[2:4] == (False, False)
    seen, reward, over, cut, _ = env.step([-0.9, 0.0])
    assert (reward, over, cut) == (-100.0, True, False) and env.account.equity < 0.0
    assert np.array_equal(seen, [0.0, 0.0])  # of nothing, everything is nothing


@COMPILED
def test_lanes_are_environments_side_by_side(compiled: bool) -> None:
    env, n = environment(episode_bars=None), 3
    lanes = env.lanes(n, compiled=compiled, reuse=True)
    given = np.stack([actions(50, seed) for seed in range(n)], axis=1)
    first = [lanes.begin(lane, Episode(0, 270 + lane, 330)) for lane in range(n)]
    steps = [tuple(part.copy() for part in lanes.step(row)) for row in given]
    for lane in range(n):
        assert np.array_equal(first[lane], env.reset(options={"row": 270 + lane})[0])
        for t, (seen, rewards, ended) in enumerate(steps):
            mine = env.step(given[t, lane])
            assert np.array_equal(seen[lane], mine[0]) and rewards[lane] == np.float32(mine[1])
            assert ended[lane] == GOES_ON
        assert lanes.account(lane) == env.account


def test_a_lane_that_has_ended_must_begin_again() -> None:
    lanes = environment(crash(), episode_bars=None).lanes(2, compiled=True)
    with pytest.raises(ConfigError, match=r"\[0, 1\] have ended or not begun"):
        lanes.step(np.zeros((2, 2), np.float32))
    for lane in range(2):
        lanes.begin(lane, Episode(0, 0, 3))
    lanes.step(np.array([[-0.9, 0.0], [0.0, 0.0]]))
    *_, ended = lanes.step(np.array([[-0.9, 0.0], [0.0, 0.0]]))
    assert ended.tolist() == [RUINED, GOES_ON] and lanes.waiting == {0}
    with pytest.raises(ConfigError, match=r"lanes x assets, \(2, 2\), not \(2, 1\)"):
        lanes.begin(0, Episode(0, 0, 3))
        lanes.step(np.zeros((2, 1), np.float32))


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="one weight per asset, 4, not 1"):
        env = environment()
        env.reset()
        env.step(np.zeros(1, np.float32))
    for options, message in (
        ({"action_range": (1.0, -1.0)}, "the lower below the upper"),
        ({"action_range": (0.0, math.inf)}, "two finite ends"),
        ({"cash": 0.0}, "cash: Input should be greater than 0"),
        ({"episode_bars": 0}, "at least 1"),
        ({"costs": Costs(-1.0)}, "spread_bps"),
    ):
        with pytest.raises(ConfigError, match=message):
            environment(**options)
    with pytest.raises(BarsError, match="are warm on 0 bars between 2011-01-01 and 2011-02-01"):
        portfolio_track(HISTORY, "2011-01-01", "2011-02-01")
    with pytest.raises(ConfigError, match="row 3 of"):
        environment().reset(options={"row": 3})
