"""The environments are the broker with a reward: same account to the last bit, same costs, and a fair zero."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3
from brain_cases import PAIRS, random_bars, stand_ins, with_rows
from broker_cases import Case, Panel, run_cerebro
from gymnasium.utils.env_checker import check_env

from hybrid_bt.accounting import OrderRules
from hybrid_bt.bars import Bars
from hybrid_bt.build import build, resolve_pairs
from hybrid_bt.config import load_config
from hybrid_bt.costs import Costs
from hybrid_bt.envs import AssetEnv, AssetTrack, PaperAccount, RegimeEnv, RegimeTrack, Reward, Span, asset_tracks
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.features import CLIP
from hybrid_bt.fusion import fuse, sac_weight
from hybrid_bt.history import MarketHistory, read_history
from hybrid_bt.hybrid import MarketReader
from hybrid_bt.legs.sac import OBSERVATION, RiskUnit, exposure
from hybrid_bt.recording import record
from hybrid_bt.risk import limit
from hybrid_bt.target_replay import replay

CONFIG = load_config("stable")
BARS = random_bars(400)
UNIT = RiskUnit(0.20, 1.0, 252.0)
COSTS = Costs(spread_bps=4.0, fee_bps=2.0, borrow_bps_per_year=300.0)
FREE = Costs(0.0, 0.0, 0.0)
RULES = OrderRules(lot=0.0, eps_trade=0.0, rebalance_band=0.01)
EXACT = OrderRules(lot=0.0)


def history_of(bars: Bars) -> MarketHistory:
    columns = resolve_pairs(PAIRS, bars.symbols)
    params = [CONFIG.kalman_params] * len(columns)
    return read_history(bars, MarketReader(bars.n_symbols, columns, params, CONFIG.spread_params))


HISTORY = history_of(BARS)
TRACKS = asset_tracks(HISTORY, "2011-01-01", "2012-12-31")


def regime_track(bars: Bars = BARS, history: MarketHistory = HISTORY) -> RegimeTrack:
    legs = record(build(CONFIG, bars.symbols, PAIRS, stand_ins()), bars, PAIRS).decisions().legs
    return RegimeTrack(
        history.market,
        legs["sac"].tolist(),
        legs["kalman"].tolist(),
        history.volatility.tolist(),
        history.correlation.tolist(),
        bars.open.tolist(),
        bars.close.tolist(),
        bars.stamps.astype("datetime64[D]").astype(np.int64).tolist(),
        Span(260, bars.n_bars - 1),
    )


TRACK = regime_track()


def asset_env(tracks: Any = None, **options: Any) -> AssetEnv:
    given: dict[str, Any] = {
        "action_range": (-1.0, 1.0),
        "unit": UNIT,
        "reward": Reward(1.0),
        "costs": COSTS,
        "rules": RULES,
        "episode_bars": 40,
    }
    return AssetEnv(tracks or TRACKS, **(given | options))


def regime_env(track: RegimeTrack = TRACK, **options: Any) -> RegimeEnv:
    given: dict[str, Any] = {
        "fusion": CONFIG.fusion,
        "risk": CONFIG.risk,
        "reward": Reward(1.0),
        "costs": COSTS,
        "rules": RULES,
        "episode_bars": 40,
    }
    return RegimeEnv(track, **(given | options))


def actions(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, n).astype(np.float32).astype(float).tolist()


def episode(env: Any, given: Any, **reset: Any) -> tuple[list[Any], list[float], list[float], tuple[bool, bool]]:
    """Observations, rewards, equities after each step, and how it ended."""
    observation, _ = env.reset(**reset)
    observations, rewards, equities, end = [observation], [], [], (False, False)
    for action in given:
        observation, reward, *end_now, _ = env.step(np.array([action], dtype=np.float32))
        observations.append(observation)
        rewards.append(reward)
        equities.append(env.paper.account.equity)
        end = (end_now[0], end_now[1])
        if any(end):
            break
    return observations, rewards, equities, end


# --- the interfaces ---


@pytest.mark.parametrize("make", [asset_env, regime_env])
def test_gymnasium_and_stable_baselines_accept_the_environment(make: Any) -> None:
    check_env(make(), skip_render_check=True)
    sb3.check_env(make(), warn=True)


@pytest.mark.parametrize("make", [asset_env, regime_env])
def test_same_seed_same_episode(make: Any) -> None:
    given = actions(40)
    first, again, other = (episode(make(), given, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0]) and first[1:] == again[1:]
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("make", [asset_env, regime_env])
def test_rewards_are_floats_and_observations_stay_in_their_space(make: Any) -> None:
    env = make()
    observations, rewards, _, _ = episode(env, actions(40), seed=1)
    assert all(type(reward) is float for reward in rewards)
    assert all(env.observation_space.contains(observation) for observation in observations)


@pytest.mark.parametrize("make", [asset_env, regime_env])
def test_end_of_the_data_truncates(make: Any) -> None:
    env = make(episode_bars=None)
    *_, equities, end = episode(env, [0.1] * 1000, seed=0)
    span = env.track.span if isinstance(env, AssetEnv) else TRACK.span
    assert end == (False, True) and len(equities) == span.last - span.first


@pytest.mark.parametrize("make", [asset_env, regime_env])
def test_episode_has_the_length_asked_for(make: Any) -> None:
    for seed in range(20):
        *_, equities, end = episode(make(episode_bars=7), [0.1] * 20, seed=seed)
        assert (len(equities), end) == (7, (False, True))


def test_asset_environment_draws_every_asset_and_says_which() -> None:
    env = asset_env()
    drawn = {env.reset(seed=seed)[1]["symbol"] for seed in range(40)}
    assert drawn == set(BARS.symbols)
    assert env.reset(options={"track": 2})[1] == {"symbol": BARS.symbols[2]}


def test_environments_see_what_the_legs_see() -> None:
    env = asset_env()
    observation, _ = env.reset(options={"track": 1, "row": 300})
    assert np.array_equal(observation[:-1], HISTORY.assets[300, 1]) and observation[-1] == 0.0
    assert env.observation_space.shape == (len(OBSERVATION),)
    observation, *_ = env.step(np.array([0.25], dtype=np.float32))
    assert np.array_equal(observation[:-1], HISTORY.assets[301, 1]) and observation[-1] == 0.25
    assert np.array_equal(regime_env().reset(options={"row": 300})[0], HISTORY.market[300])
    assert np.abs(HISTORY.assets).max() <= CLIP


# --- the account ---


def asset_targets(track: AssetTrack, given: list[float], first: int) -> Any:
    wanted = [exposure(a, track.volatility[first + k], UNIT) for k, a in enumerate(given)]
    return np.clip(np.array([*wanted, math.nan])[:, None], -0.97, 0.97)


@pytest.mark.parametrize("rules", [RULES, EXACT, OrderRules(lot=1.0, eps_trade=5.0, rebalance_band=0.05)])
@pytest.mark.parametrize("number", range(4))
def test_asset_environment_keeps_the_account_of_the_replay(number: int, rules: OrderRules) -> None:
    first, given = 280, actions(60, number)
    env = asset_env(rules=rules, episode_bars=60)
    *_, equities, _ = episode(env, given, options={"track": number, "row": first})
    bars = with_rows(BARS.select([BARS.symbols[number]]), slice(first, first + 61))
    path = replay(asset_targets(TRACKS[number], given, first), bars, cash=1e6, costs=COSTS, rules=rules)
    assert len(path.fills) > 10
    assert [1e6, *equities] == path.equity.tolist()


def regime_targets(track: RegimeTrack, given: list[float], first: int) -> Any:
    rows = range(first, first + len(given))
    return [
        limit(
            fuse(track.sac[t], track.kalman[t], sac_weight(r, CONFIG.fusion)),
            track.volatility[t],
            track.correlation[t],
            CONFIG.risk,
        )[0]
        for t, r in zip(rows, given, strict=True)
    ]


@pytest.mark.parametrize("bars", [BARS, random_bars(400, missing=0.1, late=30)], ids=["whole", "holed"])
def test_regime_environment_keeps_the_account_of_the_replay(bars: Bars) -> None:
    first, given = 270, actions(80)
    track = regime_track(bars, history_of(bars))
    *_, equities, _ = episode(regime_env(track, episode_bars=80), given, options={"row": first})
    targets = np.array([*regime_targets(track, given, first), [math.nan] * 4])
    path = replay(targets, with_rows(bars, slice(first, first + 81)), cash=1e6, costs=COSTS, rules=RULES)
    assert len(path.fills) > 20
    assert [1e6, *equities] == path.equity.tolist()


@pytest.mark.parametrize("bars", [BARS, random_bars(400, missing=0.1, late=30)], ids=["whole", "holed"])
def test_regime_environment_keeps_the_account_of_the_broker(bars: Bars) -> None:
    first, given = 270, actions(80, 5)
    track = regime_track(bars, history_of(bars))
    *_, equities, _ = episode(regime_env(track, episode_bars=80), given, options={"row": first})
    cut = with_rows(bars, slice(first, first + 81))
    panel = Panel(cut.symbols, cut.stamps, cut.open, cut.high, cut.low, cut.close, cut.traded)
    targets = np.array([*regime_targets(track, given, first), [math.nan] * 4])
    path = run_cerebro(Case(panel, targets, 1e6, COSTS, RULES, {}))
    assert len(path.fills) > 20
    assert [1e6, *equities] == path.equity.tolist()


def test_paper_account_by_hand() -> None:
    # 10 bps a side; bought at 20, not at the close of 10 it was decided on
    opens, closes = [[10.0], [20.0], [25.0]], [[10.0], [25.0], [30.0]]
    paper = PaperAccount(opens, closes, [0, 1, 2], Costs(0.0, 10.0, 0.0), EXACT, cash=1000.0)
    # 0.4 of 1000 at 10 is 40 shares: cash 1000 - 800 - 0.8, worth 199.2 + 40 * 25
    assert paper.trade([0.4]) == pytest.approx(1.1992, rel=1e-12)
    # all sold at the open of 25: cash 199.2 + 1000 - 1
    assert paper.trade([0.0]) == pytest.approx(1198.2 / 1199.2, rel=1e-12)


@pytest.mark.parametrize("make", [asset_env, regime_env])
def test_costs_are_charged(make: Any) -> None:
    given = actions(40)
    _, dear_rewards, dear, _ = episode(make(rules=EXACT), given, seed=2)
    _, free_rewards, free, _ = episode(make(rules=EXACT, costs=FREE), given, seed=2)
    assert dear[-1] < free[-1]
    if make is asset_env:
        assert sum(dear_rewards) < sum(free_rewards)


def test_doing_nothing_costs_nothing() -> None:
    _, rewards, equities, _ = episode(asset_env(base_action=0.0), [0.0] * 40, seed=0)
    assert rewards == [0.0] * 40 and equities == [1e6] * 40


# --- rewards ---


def test_reward_is_net_log_growth_less_a_variance_penalty() -> None:
    assert Reward(0.0).of(math.e) == 100.0
    assert Reward(2.0).of(math.exp(0.1)) == pytest.approx(100.0 * (0.1 - 0.01), rel=1e-12)
    assert Reward(2.0).of(1.0) == 0.0


@pytest.mark.parametrize("base", [-1.0, 0.0, 0.5, 1.0])
def test_regime_environment_pays_nothing_for_the_base_regime(base: float) -> None:
    _, rewards, equities, _ = episode(regime_env(base_regime=base), [base] * 40, seed=0)
    assert rewards == [0.0] * 40
    assert equities[-1] != 1e6


def test_regime_rewards_are_the_lead_over_the_base() -> None:
    given = actions(40)
    _, rewards, mine, _ = episode(regime_env(reward=Reward(0.0)), given, seed=0)
    _, _, base, _ = episode(regime_env(reward=Reward(0.0)), [0.0] * 40, seed=0)
    assert sum(rewards) == pytest.approx(100.0 * math.log(mine[-1] / base[-1]), rel=1e-9)
    assert abs(sum(rewards)) > 1e-3


def test_asset_rewards_are_the_lead_over_holding_the_base_action() -> None:
    _, rewards, equities, _ = episode(asset_env(reward=Reward(0.0)), [0.0] * 40, options={"track": 0, "row": 300})
    track = TRACKS[0]
    wanted = [
        -100.0
        * math.log(1.0 + exposure(0.5, track.volatility[t], UNIT) * (track.closes[t + 1][0] / track.closes[t][0] - 1.0))
        for t in range(300, 340)
    ]
    assert rewards == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert equities[-1] == 1e6


def test_actions_outside_the_range_are_the_nearer_end() -> None:
    inside, outside = (episode(asset_env(), [value] * 10, seed=0) for value in (1.0, 9.0))
    assert inside[1] == outside[1]
    long_only = asset_env(action_range=(0.0, 1.0))
    assert episode(long_only, [-1.0] * 10, seed=0)[2] == [1e6] * 10
    assert long_only.observation_space.low[-1] == 0.0


# --- ruin ---


def test_ruin_terminates_with_a_fixed_penalty() -> None:
    closes = [[10.0], [10.0], [30.0], [30.0]]
    track = AssetTrack("UP", np.zeros((4, len(OBSERVATION) - 1), np.float32), [0.01] * 4, closes, closes,
                       [0, 1, 2, 3], Span(0, 3))  # fmt: skip
    env = asset_env([track], episode_bars=None, base_action=0.0)
    # short 0.97 of equity at 10, marked at 30: worth -0.94
    _, rewards, equities, end = episode(env, [-1.0] * 3)
    assert end == (True, False)
    assert len(rewards) == 2 and rewards[-1] == -100.0
    assert equities[-1] == pytest.approx(1e6 * (1.0 - 2.0 * 0.97), rel=1e-2)


def test_ruin_of_the_whole_portfolio_terminates() -> None:
    n = 4
    closes = [[10.0, 10.0]] * 2 + [[40.0, 10.0]] * 2
    track = RegimeTrack(np.zeros((n, 10), np.float32), [[-1.0, 0.0]] * n, [[-1.0, 0.0]] * n, [[0.01, 0.01]] * n,
                        [0.0] * n, closes, closes, list(range(n)), Span(0, 3))  # fmt: skip
    wide = CONFIG.risk._replace(volatility_target=9.0, scale_limit=1.0, asset_limit=2.0, net_limit=2.0)
    env = regime_env(track, risk=wide, episode_bars=None)
    _, rewards, equities, end = episode(env, [0.0] * 3)
    assert end == (True, False) and rewards[-1] == -100.0 and equities[-1] < 0.0


# --- tracks ---


def test_tracks_hold_warm_bars_between_two_dates_only() -> None:
    bars = random_bars(400, missing=0.05, late=30)
    tracks = asset_tracks(history_of(bars), "2011-10-20", "2011-12-31")
    assert [track.symbol for track in tracks] == list(bars.symbols)
    for i, track in enumerate(tracks):
        own = np.flatnonzero(bars.traded[:, i])
        assert len(track.closes) == len(own) == len(track.observations)
        stamps = bars.stamps[own]
        assert stamps[track.span.first] >= np.datetime64("2011-10-20") and track.span.first >= 252
        assert stamps[track.span.last] == stamps[stamps <= np.datetime64("2011-12-31")][-1]


def test_coarse_prices_are_left_out() -> None:
    least, dearer = np.sort(BARS.close[252:, 0])[:2]
    row = 252 + int(np.argmin(BARS.close[252:, 0]))
    tracks = asset_tracks(HISTORY, "2011-01-01", "2012-12-31", least_close=float(dearer))
    first = {track.symbol: track.span.first for track in tracks}
    assert 252 < row < 390 and least < dearer
    assert first[BARS.symbols[0]] == row + 1


def test_span_without_warm_bars_is_refused() -> None:
    with pytest.raises(BarsError, match="no symbol has warm bars between 2011-01-01 and 2011-02-01"):
        asset_tracks(HISTORY, "2011-01-01", "2011-02-01")


def test_action_range_upside_down_is_refused() -> None:
    with pytest.raises(ConfigError, match="lower end must be below"):
        asset_env(action_range=(1.0, -1.0))


def test_spaces_are_bounded_float32() -> None:
    for env in (asset_env(), regime_env()):
        for space in (env.observation_space, env.action_space):
            assert isinstance(space, gym.spaces.Box) and space.dtype == np.float32 and space.is_bounded()
