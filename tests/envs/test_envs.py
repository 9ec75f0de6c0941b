"""Environments are the broker with a reward: one contract for all of them, the broker's account, and a fair zero."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3
from brain_cases import PAIRS, random_bars, stand_ins, with_rows
from broker_cases import Case, Panel, run_cerebro
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode

from hybrid_bt.account.replay import replay
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.reader import MarketHistory, MarketReader, read_history
from hybrid_bt.brain.records import Recorder, record
from hybrid_bt.brain.settling import mix_of, settle_panel
from hybrid_bt.config import Config, load_config
from hybrid_bt.config.build import build
from hybrid_bt.envs import (
    NO_LIMITS,
    SPECS,
    UNLEVERED,
    Episode,
    LaneVectorEnv,
    Span,
    Task,
    Track,
    TradingEnv,
    asset_tracks,
    portfolio_track,
    ready_env,
    regime_track,
)
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.env_step import GOES_ON, RUINED, TRUNCATED, reward_of
from hybrid_bt.equations.features import ASSET_FEATURES, CLIP, MARKET_FEATURES, OBSERVATIONS
from hybrid_bt.equations.fusion import (
    RiskUnit,
    Said,
    Settled,
    exposure,
    leg_shares,
    limit_in_place,
    settle_bar,
)
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.equations.waiting import withheld
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import load_bars

CONFIG = load_config("stable")
BARS = random_bars(400)
COSTS = Costs(spread_bps=4.0, fee_bps=2.0, borrow_bps_per_year=300.0)
FREE = Costs(0.0, 0.0, 0.0)
RULES = OrderRules(lot=0.0, eps_trade=0.0, rebalance_band=0.01)
EXACT = OrderRules(lot=0.0)
ROW = 300

NUMBERS = [name for name, usual in Task._field_defaults.items() if isinstance(usual, float)]

ALL = pytest.mark.parametrize("name", SPECS)
COMPILED = pytest.mark.parametrize("compiled", [False, True])


def history_of(bars: Bars, config: Config = CONFIG) -> MarketHistory:
    columns = resolve_pairs(PAIRS, bars.symbols)
    params = [config.kalman_params] * len(columns)
    return read_history(bars, MarketReader(bars.n_symbols, columns, params, config.spread_params))


def recorded(bars: Bars, config: Config = CONFIG) -> Recorder:
    return record(build(config, bars.symbols, PAIRS, stand_ins()), bars, PAIRS)


def tracks_of(name: str, bars: Bars = BARS, config: Config = CONFIG) -> list[Track]:
    history, span = history_of(bars, config), ("2011-01-01", "2012-12-31")
    if name == "Asset":
        return asset_tracks(history, *span)
    if name == "Portfolio":
        return [portfolio_track(history, *span)]
    return [regime_track(history, recorded(bars, config).opinions(), config.lines(), *span)]


TRACKS = {name: tracks_of(name) for name in SPECS}
HOLED = random_bars(400, missing=0.1, late=30)
CLOSES = replace(BARS, open=BARS.close, high=BARS.close, low=BARS.close)
HISTORY = history_of(BARS)


def make(name: str, tracks: list[Track] | None = None, **given: Any) -> TradingEnv:
    settings = {key: given.pop(key) for key in ("episode_bars", "cash", "compiled") if key in given}
    terms = {
        "risk_aversion": 1.0,
        "base_action": 0.5 if name == "Asset" else 0.0,
        "unit": RiskUnit(0.20, 1.0, 252.0),
        "risk": UNLEVERED if name == "Portfolio" else CONFIG.risk,
        "costs": COSTS,
        "rules": RULES,
    }
    return TradingEnv(SPECS[name], tracks or TRACKS[name], Task(**(terms | given)), **({"episode_bars": 40} | settings))


def actions(env: TradingEnv, n: int, seed: int = 0) -> list[Any]:
    shape = (n, *(env.action_space.shape or ()))
    return list(np.random.default_rng(seed).uniform(-1.0, 1.0, shape).astype(np.float32))


def always(env: TradingEnv, value: float, n: int) -> list[Any]:
    return [np.full(env.action_space.shape, value, np.float32)] * n


def episode(env: TradingEnv, given: Any, **reset: Any) -> tuple[list[Any], list[float], list[float], tuple[bool, bool]]:
    """Observations, rewards, equities after each step, and how it ended."""
    observation, _ = env.reset(**reset)
    return run_on(env, given, [observation])


def run_on(env: TradingEnv, given: Any, observations: list[Any]) -> Any:
    rewards, equities, end = [], [], (False, False)
    for action in given:
        observation, reward, *end_now, _ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        equities.append(env.account.equity)
        end = (end_now[0], end_now[1])
        if any(end):
            break
    return observations, rewards, equities, end


def same(mine: Any, theirs: Any) -> bool:
    return np.array_equal(mine[0], theirs[0]) and mine[1:] == theirs[1:]


def test_the_last_day_of_a_track_is_whole_whatever_the_hour_of_its_bars() -> None:
    end = BARS.stamps[-1].astype("M8[D]")
    evening = replace(BARS, stamps=BARS.stamps + np.timedelta64(16, "h"))
    at_midnight, at_close = (
        portfolio_track(history_of(bars), BARS.stamps[0], end).span.last for bars in (BARS, evening)
    )
    assert at_close == at_midnight


# --- the contract of every environment


@ALL
@COMPILED
def test_gymnasium_and_stable_baselines_accept_it(name: str, compiled: bool) -> None:
    check_env(make(name, compiled=compiled), skip_render_check=True)
    sb3.check_env(make(name, compiled=compiled), warn=True)


@ALL
def test_it_is_made_by_name(name: str) -> None:
    env = gym.make(f"hybrid_bt/{name}-v0")
    check_env(env.unwrapped, skip_render_check=True)
    sb3.check_env(env.unwrapped, warn=True)
    assert isinstance(env.unwrapped, TradingEnv) and env.unwrapped.kind == SPECS[name]
    own = gym.make(f"hybrid_bt/{name}-v0", bars=BARS, pairs=PAIRS, episode_bars=5, risk_aversion=2.0).unwrapped
    assert isinstance(own, TradingEnv) and own.task.risk_aversion == 2.0
    assert len(episode(own, actions(own, 9), seed=0)[1]) == 5
    with pytest.raises(ConfigError, match=f"no spec '{name}s'; did you mean '{name}'"):
        ready_env(f"{name}s")
    with pytest.raises(ConfigError, match="no setting 'risk_aversoin'; did you mean 'risk_aversion'"):
        gym.make(f"hybrid_bt/{name}-v0", bars=BARS, risk_aversoin=2.0)


@ALL
def test_a_vector_by_name_is_the_environments_side_by_side(name: str) -> None:
    made, n = f"hybrid_bt/{name}-v0", 5
    given: dict[str, Any] = {"num_envs": n, "bars": BARS, "pairs": PAIRS, "episode_bars": 7}
    fast = gym.make_vec(made, **given)
    alone = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP}}
    slow = gym.make_vec(made, **given, **alone, compiled=False)
    assert isinstance(fast, LaneVectorEnv) and fast.metadata["autoreset_mode"] == slow.metadata["autoreset_mode"]
    assert fast.observation_space == slow.observation_space and fast.action_space == slow.action_space
    rng, ended, copied = np.random.default_rng(1), 0, fast
    for begin in ({"seed": 3}, {"seed": [1, 2, 3, 4, 5]}, {}, {"seed": 4, "options": {"row": ROW}}):
        mine, theirs = fast.reset(**begin), slow.reset(**begin)
        assert data_equivalence(mine, theirs)
        copied = pickle.loads(pickle.dumps(fast))
        for _ in range(20):
            action = rng.uniform(-1.0, 1.0, slow.action_space.shape or ()).astype(np.float32)
            seen, rewards, *ends, infos = fast.step(action)
            assert data_equivalence(copied.step(action), (seen, rewards, *ends, infos))
            other_seen, other_rewards, *other_ends, other_infos = slow.step(action)
            assert data_equivalence((seen, *ends, infos), (other_seen, *other_ends, other_infos))
            assert np.array_equal(rewards, other_rewards.astype(np.float32)) and rewards.dtype == np.float64
            ended += int(np.count_nonzero(ends))
    assert ended > 20
    again = gym.make_vec(pickle.loads(pickle.dumps(fast.spec)))
    assert isinstance(again, LaneVectorEnv) and again.num_envs == n


BAD_OPTIONS = {
    "unknown": ({"rows": ROW}, "no option 'rows'; did you mean 'row'"),
    "before": ({"row": 100}, "row 100 of .* is not in its span"),
    "behind": ({"row": 399}, "row 399 of .* is not in its span"),
    "negative": ({"row": -5}, "row -5 of .* is not in its span"),
    "huge": ({"row": 10**30}, "row 10{30} of .* is not in its span"),
    "track": ({"track": 9}, "there is no track 9"),
    "below": ({"track": -1}, "there is no track -1"),
    "fraction": ({"row": 300.5}, "row must be a whole number, not 300.5"),
    "text": ({"row": "300"}, "row must be a whole number, not '300'"),
    "truth": ({"track": True}, "track must be a whole number, not True"),
}


@ALL
@pytest.mark.parametrize("episode_bars", [20, None])
@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_bad_options_are_refused(name: str, episode_bars: int | None, bad: str) -> None:
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ConfigError, match=message):
        make(name, episode_bars=episode_bars).reset(seed=0, options=options)


@ALL
@pytest.mark.parametrize("episode_bars", [20, None])
def test_a_row_that_is_asked_for_is_stood_on(name: str, episode_bars: int | None) -> None:
    env = make(name, episode_bars=episode_bars)
    seen, info = env.reset(options={"row": np.int64(ROW)})
    n, track = env.tracks[0].features.shape[1], next(one for one in env.tracks if one.symbol == info["symbol"])
    assert np.array_equal(seen[:n], track.features[ROW]) and not seen[n:].any()


@ALL
def test_it_is_not_stepped_before_it_begins_nor_after_it_ends(name: str) -> None:
    env = make(name, episode_bars=3)
    action = actions(env, 1)[0]
    with pytest.raises(ResetNeeded):
        env.step(action)
    env.reset(seed=0)
    for _ in range(3):
        env.step(action)
    for ended in (env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        with pytest.raises(ResetNeeded):
            ended.step(action)
    env.reset()
    env.step(action)


@ALL
@COMPILED
def test_a_copy_goes_on_to_the_same_bits_and_leaves_the_first_alone(name: str, compiled: bool) -> None:
    env = make(name, compiled=compiled)
    env.reset(seed=3)
    given = actions(env, 80)
    run_on(env, given[:15], [])
    for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        first = env.account
        ahead = run_on(other, given[15:40], [])
        assert env.account == first != other.account
        mine = copy.deepcopy(env)
        assert same(run_on(mine, given[15:40], []), ahead) and ahead[-1] == (False, True)
        assert same(episode(mine, given[40:]), episode(other, given[40:]))  # the same draw


@ALL
def test_state_of_lanes_is_the_same_compiled_or_not(name: str) -> None:
    env = make(name)
    fast, slow = (env.lanes(2, compiled=compiled) for compiled in (True, False))
    given = np.stack([actions(env, 40, seed) for seed in (0, 1)], axis=1)
    for lanes, other in ((fast, slow), (slow, fast)):
        for lane, first in enumerate((ROW, ROW + 5)):
            lanes.begin(lane, Episode(0, first, first + 40))
        for action in given[:15]:
            lanes.step(action)
        other.restore(lanes.state())
        for lane in range(2):
            assert lanes.account(lane) == other.account(lane)
            assert np.array_equal(lanes.book(lane).size, other.book(lane).size)
        for action in given[15:]:
            assert all(np.array_equal(a, b) for a, b in zip(lanes.step(action), other.step(action), strict=True))


@ALL
def test_compiled_or_not_it_is_the_same_to_the_bit(name: str) -> None:
    fast, slow = (make(name, tracks_of(name, HOLED), compiled=compiled) for compiled in (True, False))
    for seed in range(3):
        given = [1.5 * action for action in actions(fast, 40, seed)]
        mine, theirs = episode(fast, given, seed=seed), episode(slow, given, seed=seed)
        assert same(mine, theirs) and fast.account == slow.account
        assert all(type(reward) is float for reward in (*mine[1], *theirs[1]))
        assert {type(value) for value in fast.account} == {float, int, bool}


@ALL
def test_same_seed_same_episode(name: str) -> None:
    first, again, other = (episode(make(name), actions(make(name), 40), seed=seed) for seed in (3, 3, 4))
    assert same(first, again) and not np.array_equal(first[0], other[0])


@ALL
def test_observations_stay_in_their_space_and_as_they_were(name: str) -> None:
    env = make(name)
    first, _ = env.reset(seed=1)
    kept, seen = [first.copy()], [first]
    for action in actions(env, 30):
        seen.append(env.step(action)[0])
        kept.append(seen[-1].copy())
    assert np.array_equal(seen, kept) and all(env.observation_space.contains(one) for one in seen)
    for space in (env.observation_space, env.action_space):
        assert isinstance(space, gym.spaces.Box) and space.dtype == np.float32 and space.is_bounded()


@ALL
def test_an_episode_has_the_length_asked_for_and_ends_with_the_data(name: str) -> None:
    env = make(name, episode_bars=None)
    *_, equities, end = episode(env, actions(env, 1000), options={"track": 0})
    span = env.tracks[0].span
    assert end == (False, True) and len(equities) == span.last - span.first
    env = make(name, episode_bars=7)
    for seed in range(20):
        *_, equities, end = episode(env, actions(env, 20), seed=seed)
        assert (len(equities), end) == (7, (False, True))


@ALL
def test_actions_outside_the_range_are_the_nearer_end(name: str) -> None:
    inside, outside = (episode(make(name), always(make(name), value, 10), seed=0) for value in (1.0, 9.0))
    assert same(inside, outside)


@ALL
def test_costs_are_charged(name: str) -> None:
    dear, free = (
        episode(make(name, rules=EXACT, costs=costs), actions(make(name), 40), seed=2) for costs in (COSTS, FREE)
    )
    assert dear[2][-1] < free[2][-1]
    if name != "Regime":  # its shadow pays as well
        assert sum(dear[1]) < sum(free[1])


@ALL
@COMPILED
def test_lanes_are_environments_side_by_side(name: str, compiled: bool) -> None:
    env, n = make(name, episode_bars=None), 3
    lanes = env.lanes(n, compiled=compiled, reuse=True)
    given = np.stack([actions(env, 50, seed) for seed in range(n)], axis=1)
    first = [lanes.begin(lane, Episode(0, 270 + lane, 390)) for lane in range(n)]
    steps = [tuple(part.copy() for part in lanes.step(row)) for row in given]
    for lane in range(n):
        assert np.array_equal(first[lane], env.reset(options={"track": 0, "row": 270 + lane})[0])
        for t, (seen, rewards, ended) in enumerate(steps):
            mine = env.step(given[t, lane])
            assert np.array_equal(seen[lane], mine[0]) and rewards[lane] == np.float32(mine[1])
            assert ended[lane] == GOES_ON
        assert lanes.account(lane) == env.account


def crash(name: str, at_close: bool = False) -> list[Track]:
    """A short of the first asset, sold at 10 on the second row, is ruined at the open or the close of the third."""
    n, rows = 1 if name == "Asset" else 2, 5
    closes = np.array([[10.0, 10.0]] * 2 + [[40.0, 10.0]] * 3)[:, :n]
    opens = np.array([[10.0, 10.0]] * 3 + [[40.0, 10.0]] * 2)[:, :n] if at_close else closes
    known = np.zeros((rows, 0), np.float32), np.full((rows, n), 0.01), np.zeros(rows)
    track = Track(("UP", "FLAT")[:n], *known, opens, closes, np.arange(rows), Span(0, 3))
    if name != "Regime":
        return [track]
    said, layout = np.array([[-1.0, 0.0, 0.01]] * rows), layout_of([[(0,), (1,)]])
    return [track._replace(said=said, layout=layout, waits=(np.zeros((rows, n), bool),), lines=((1.0, 1.0, 1.0),))]


@ALL
@COMPILED
@pytest.mark.parametrize("at_close", [False, True])
def test_ruin_terminates_with_a_fixed_penalty(name: str, compiled: bool, at_close: bool) -> None:
    tracks = crash(name, at_close)
    env = make(name, tracks, risk=NO_LIMITS, episode_bars=None, compiled=compiled, reward_unit=2.0)
    action = always(env, 0.0 if name == "Regime" else -1.0, 1)[0]
    _, rewards, equities, end = episode(env, [action] * 3)
    assert end == (True, False) and len(rewards) == 1 + at_close
    assert rewards[-1] == -50.0 and (equities[-1] < 0.0) == at_close  # at the next open it will be
    if name == "Asset" and at_close:  # short 0.97 of equity at 10, marked at 40
        assert equities[-1] == pytest.approx(1e6 * (1.0 - 3.0 * 0.97), rel=1e-2)


@ALL
def test_a_lane_that_has_ended_must_begin_again(name: str) -> None:
    env = make(name, crash(name), risk=NO_LIMITS, episode_bars=None)
    lanes, shape = env.lanes(2), (2, *(env.action_space.shape or ()))
    with pytest.raises(ResetNeeded, match=r"\[0, 1\] have ended or not begun"):
        lanes.step(np.zeros(shape, np.float32))
    lanes.begin(0, Episode(0, 0, 3))
    lanes.begin(1, Episode(0, 0, 2))
    short = np.full(shape, 0.0 if name == "Regime" else -0.9, np.float32)
    *_, ended = lanes.step(short)
    assert ended.tolist() == [RUINED, RUINED] and lanes.waiting == {0, 1}
    lanes.begin(0, Episode(0, 2, 3))
    lanes.begin(1, Episode(0, 1, 3))
    assert lanes.step(short)[2].tolist() == [TRUNCATED, GOES_ON] and lanes.waiting == {0}
    again = env.lanes(2)
    again.restore(lanes.state())
    assert again.waiting == {0}


@ALL
def test_settings_that_make_no_sense_are_refused(name: str) -> None:
    for options, message in (
        ({"low": 1.0, "high": -1.0}, "the lower below the upper"),
        ({"high": math.inf}, "two finite ends"),
        ({"cash": 0.0}, "account: cash: Input should be greater than"),
        ({"episode_bars": 0}, "at least 1"),
        ({"costs": Costs(-1.0)}, "spread_bps"),
        ({"rules": OrderRules(-1.0)}, "lot"),
        ({"episode_bars": 2.5}, "at least 1"),
        *(({name: bad}, f"{name}|action range") for name in NUMBERS for bad in (math.nan, "1", None, True)),
        *(({part: bad}, part) for part in ("unit", "risk", "costs") for bad in (5.0, "x", None)),
        ({"rules": 5.0}, "orders"),
        ({"reward_unit": 0.0}, "give one above 0"),
        ({"unit": Task().unit._replace(risk_unit=-1.0)}, "risk_unit"),
        ({"risk": NO_LIMITS._replace(net_limit=math.nan)}, "net_limit"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(name, **options)
    with pytest.raises(ConfigError, match="no track"):
        TradingEnv(SPECS[name], [])
    with pytest.raises(ConfigError, match="tracks differ"):
        TradingEnv(SPECS[name], [TRACKS[name][0], crash(name)[0]])


@ALL
def test_by_name_it_takes_cash_tables_of_terms_and_a_sample_s_name(name: str) -> None:
    made, tabled = f"hybrid_bt/{name}-v0", {"costs": {"fee_bps": 7.0}, "risk": {"gross_limit": 0.5}}
    env = gym.make(made, cash=5_000.0, compiled=False, **tabled).unwrapped
    assert isinstance(env, TradingEnv)
    env.reset(seed=0)
    modes = gym.make(made, compiled=False).unwrapped.task  # type: ignore[attr-defined]
    assert env.account.equity == 5_000.0
    assert env.task.costs == modes.costs._replace(fee_bps=7.0) and env.task.risk == modes.risk._replace(gross_limit=0.5)
    with pytest.raises(ConfigError, match="costs has no 'fee'; did you mean 'fee_bps'"):
        ready_env(made, costs={"fee": 1.0})
    if name != "Regime":  # whose legs read all twenty symbols
        named, loaded = (ready_env(made, bars, start="2012-01-01") for bars in ("us20", load_bars("us20")))
        assert all(map(np.array_equal, named.tracks[0].closes, loaded.tracks[0].closes))


def test_a_regime_without_legs_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixes recorded legs"):
        make("Regime", TRACKS["Portfolio"])


# --- what they see


def test_one_asset_is_drawn_of_all_and_named() -> None:
    env = make("Asset")
    assert {env.reset(seed=seed)[1]["symbol"] for seed in range(40)} == set(BARS.symbols)
    assert env.reset(options={"track": 2})[1] == {"symbol": BARS.symbols[2]}


def test_environments_see_what_the_legs_see() -> None:
    env = make("Asset")
    observation, _ = env.reset(options={"track": 1, "row": ROW})
    assert np.array_equal(observation, HISTORY.assets[ROW, 1])
    assert env.observation_space.shape == (len(OBSERVATIONS["sac"]),)
    observation, *_ = env.step(np.array([0.25], dtype=np.float32))
    assert np.array_equal(observation, HISTORY.assets[ROW + 1, 1])
    assert np.array_equal(make("Regime").reset(options={"row": ROW})[0], HISTORY.market[ROW])
    assert np.abs(HISTORY.assets).max() <= CLIP


def test_a_portfolio_sees_features_and_the_weights_that_it_holds() -> None:
    env, n_assets = make("Portfolio"), BARS.n_symbols
    seen, info = env.reset(options={"row": ROW})
    n = n_assets * len(ASSET_FEATURES) + len(MARKET_FEATURES)
    assert info["symbol"] == ", ".join(BARS.symbols)
    assert np.array_equal(seen, [*HISTORY.assets[ROW].ravel(), *HISTORY.market[ROW], *[0.0] * n_assets])
    seen, *_ = env.step(np.full(n_assets, 0.1, np.float32))
    weights = env.sizes * BARS.close[ROW + 1] / env.account.equity
    assert np.array_equal(seen[:n], [*HISTORY.assets[ROW + 1].ravel(), *HISTORY.market[ROW + 1]])
    assert np.array_equal(seen[n:], weights.astype(np.float32)) and np.abs(weights).max() > 0.05


# --- the account


@pytest.mark.parametrize("rules", [RULES, EXACT, OrderRules(lot=1.0, eps_trade=5.0, rebalance_band=0.05)])
@pytest.mark.parametrize("number", range(4))
def test_an_asset_has_the_account_of_the_replay(number: int, rules: OrderRules) -> None:
    env = make("Asset", rules=rules, episode_bars=60)
    given, track = actions(env, 60, number), TRACKS["Asset"][number]
    *_, equities, _ = episode(env, given, options={"track": number, "row": ROW})
    bars = with_rows(BARS.select([BARS.symbols[number]]), slice(ROW, ROW + 61))
    wanted = [exposure(float(a[0]), track.volatility[ROW + k, 0], env.task.unit) for k, a in enumerate(given)]
    targets = np.clip(np.array([*wanted, math.nan])[:, None], -0.97, 0.97)
    path = replay(targets, bars, cash=1e6, costs=COSTS, rules=rules)
    assert len(path.fills) > 10
    assert [1e6, *equities] == path.equity.tolist()


def regime_targets(track: Track, given: Any, first: int) -> Any:
    """Each bar mixed, limited and withheld by hand."""
    (waits,), n_sides, n = track.waits, len(track.layout.columns), len(track.symbols)
    rows = []
    for t, action in enumerate(given, first):
        out = Settled([0.0] * n, [0.0] * n_sides, [0.0] * len(track.lines))
        wishes, risks = track.said[t, :n_sides].tolist(), track.said[t, n_sides:].tolist()
        said = Said(wishes, risks, track.volatility[t].tolist(), float(track.correlation[t]))
        settle_bar(out, said, track.layout, leg_shares(float(action[0]), track.lines), CONFIG.risk, [0.0] * n)
        rows.append(withheld(list(out.targets), waits[t].tolist()))
    return np.array([*rows, [math.nan] * len(track.symbols)])


@pytest.mark.parametrize("bars", [BARS, HOLED], ids=["whole", "holed"])
def test_a_regime_has_the_account_of_the_broker(bars: Bars) -> None:
    (track,) = tracks_of("Regime", bars)
    env = make("Regime", [track], episode_bars=80)
    given = actions(env, 80, 5)
    *_, equities, _ = episode(env, given, options={"row": 270})
    cut = with_rows(bars, slice(270, 351))
    panel = Panel(cut.symbols, cut.stamps, cut.open, cut.high, cut.low, cut.close, cut.traded)
    path = run_cerebro(Case(panel, regime_targets(track, given, 270), 1e6, COSTS, RULES, {}))
    assert len(path.fills) > 20
    assert [1e6, *equities] == path.equity.tolist()


@pytest.mark.parametrize(("missing", "least_waits"), [(0.0, 0), (0.08, 50)])
def test_a_regime_has_the_account_of_the_replayed_legs(missing: float, least_waits: int) -> None:
    """Both sides of a pair trade or neither does, in the gate's world as in the backtest."""
    bars, first = random_bars(700, missing=missing, seed=3), 300
    config = load_config("stable", overrides={"kalman": {"entry_z": 0.5, "orphan_bars": 4}})
    recorder = recorded(bars, config)
    said, mix = recorder.opinions(), config.lines()
    r = said.regime.astype(np.float32)
    track = regime_track(history_of(bars, config), said, mix, "2011-01-01", "2013-12-31")._replace(
        span=Span(first, 698)
    )
    env = make("Regime", [track], episode_bars=None, rules=EXACT, risk=config.risk)
    *_, equities, _ = episode(env, [np.array([score]) for score in r[first:]])
    rows = slice(first, 699)
    cut = with_rows(bars, rows)
    settled = settle_panel(said.rows(rows), cut.traded, mix_of(r[rows].astype(float), mix), config.risk)
    theirs = replay(settled.targets, cut, costs=COSTS, rules=EXACT, sides=settled.together)
    assert np.count_nonzero(recorder.decisions(first).waits) >= least_waits and len(theirs.fills) > 100
    assert [1e6, *equities] == theirs.equity.tolist()


@pytest.mark.parametrize("risk", [UNLEVERED, CONFIG.risk])
def test_a_portfolio_has_the_account_of_the_limited_targets(risk: Any) -> None:
    env, n = make("Portfolio", risk=risk, episode_bars=60), BARS.n_symbols
    given = actions(env, 60)
    *_, equities, _ = episode(env, given, options={"row": ROW})
    targets = [action.astype(float).tolist() for action in given]
    for t, row in enumerate(targets, ROW):
        limit_in_place(row, HISTORY.volatility[t].tolist(), HISTORY.correlation[t], risk)
    bars = with_rows(BARS, slice(ROW, ROW + 61))
    path = replay([*targets, [math.nan] * n], bars, cash=1e6, costs=COSTS, rules=RULES)
    assert len(path.fills) > 100 and [1e6, *equities] == path.equity.tolist()
    assert max(sum(map(abs, row)) for row in targets) <= risk.gross_limit * (1.0 + 1e-12)


def test_fills_by_hand() -> None:
    # 10 bps a side; bought at 20, not at the close of 10 it was decided on
    prices = [np.array([[value] for value in row]) for row in ([10.0, 20.0, 25.0, 99.0], [10.0, 25.0, 30.0, 99.0])]
    known = np.zeros((4, 0), np.float32), np.full((4, 1), 0.01), np.zeros(4)
    track = Track(("A",), *known, *prices, np.arange(4), Span(0, 2))
    env = make("Portfolio", [track], cash=1000.0, costs=Costs(0.0, 10.0, 0.0), rules=EXACT, episode_bars=None)
    # 0.5 of 1000 at 10 is 50 shares: cash 1000 - 1000 - 1 would be short; 0.25 is 25: cash 1000 - 500 - 0.5
    _, rewards, equities, _ = episode(env, [[0.25], [0.0]])
    # worth 499.5 + 25 * 25; all sold at the open of 25: cash 499.5 + 625 - 0.625
    assert equities == pytest.approx([1124.5, 1123.875], rel=1e-12)
    # from the open of 20 to that of 25, and what selling there costs
    growth = [math.log(1124.5 / 1000.0), math.log(1123.875 / 1124.5)]
    assert rewards == pytest.approx([100.0 * (g - 0.5 * g * g) for g in growth], rel=1e-9)


# --- rewards


def test_reward_is_net_log_growth_less_a_variance_penalty() -> None:
    assert reward_of(math.e, 0.0) == 100.0
    assert reward_of(math.exp(0.1), 2.0) == pytest.approx(100.0 * (0.1 - 0.01), rel=1e-12)
    assert reward_of(1.0, 2.0) == 0.0


@ALL
def test_rewards_are_in_their_unit(name: str) -> None:
    plain, scaled = (episode(make(name, reward_unit=unit), actions(make(name), 20), seed=0) for unit in (1.0, 4.0))
    assert scaled[1] == [reward / 4.0 for reward in plain[1]] and plain[2] == scaled[2]


@pytest.mark.parametrize("name", ["Asset", "Portfolio"])
def test_doing_nothing_costs_nothing(name: str) -> None:
    env = make(name, base_action=0.0)
    _, rewards, equities, _ = episode(env, always(env, 0.0, 40), seed=0)
    assert rewards == [0.0] * 40 and equities == [1e6] * 40


@pytest.mark.parametrize("base", [-1.0, 0.0, 0.5, 1.0])
def test_a_regime_pays_nothing_for_the_base_action(base: float) -> None:
    env = make("Regime", base_action=base)
    _, rewards, equities, _ = episode(env, always(env, base, 40), seed=0)
    assert rewards == [0.0] * 40
    assert equities[-1] != 1e6


@pytest.mark.parametrize("bars", [BARS, CLOSES, HOLED], ids=["opens", "closes", "holed"])
@pytest.mark.parametrize("name", ["Asset", "Portfolio"])
def test_rewards_add_up_to_the_account_at_the_next_open(name: str, bars: Bars) -> None:
    """Shares at that open, where there is none at the last close."""
    track, first, n = tracks_of(name, bars)[0], ROW + 10, 40
    env = make(name, [track], costs=COSTS._replace(borrow_bps_per_year=0.0), risk_aversion=0.0, base_action=0.0)
    _, rewards, equities, _ = episode(env, actions(env, n), options={"row": first})
    closes = [column[np.isfinite(column)][-1] for column in track.closes[: first + n + 1].T]
    opens = track.opens[first + n + 1]
    ahead = equities[-1] + float(env.sizes @ np.where(np.isfinite(opens), opens - closes, 0.0))
    assert sum(rewards) == pytest.approx(100.0 * math.log(ahead / 1e6), rel=1e-9) and abs(sum(rewards)) > 1e-3


@pytest.mark.parametrize("bars", [BARS, CLOSES], ids=["opens", "closes"])
@COMPILED
@ALL
def test_what_two_actions_differ_by_lies_in_their_own_reward(name: str, compiled: bool, bars: Bars) -> None:
    """On closes alone an order fills at the close at which the step is marked: its action was paid a step late."""
    env = make(name, tracks_of(name, bars), costs=FREE, rules=EXACT, risk_aversion=0.0, compiled=compiled)
    least = -1.0 if name == "Regime" else 0.0
    gaps = []
    for row in range(ROW, ROW + 60):
        paid = [
            episode(env, [*always(env, first, 1), *always(env, least, 3)], options={"track": 0, "row": row})[1]
            for first in (least, 0.5)
        ]
        gaps.append(np.subtract(*paid))
    first, *later = np.std(gaps, axis=0)
    assert first > 0.01 and max(later) < 0.02 * first


def test_regime_rewards_are_the_lead_over_the_base() -> None:
    env, track, first, n = make("Regime", risk_aversion=0.0, costs=FREE), TRACKS["Regime"][0], ROW + 30, 40
    _, rewards, mine, _ = episode(env, actions(env, n), options={"row": first})
    moves, sizes = track.opens[first + n + 1] - track.closes[first + n], env.sizes
    _, _, base, _ = episode(env, always(env, 0.0, n), options={"row": first})
    lead = math.log((mine[-1] + sizes @ moves) / (base[-1] + env.sizes @ moves))
    assert sum(rewards) == pytest.approx(100.0 * lead, rel=1e-9) and abs(sum(rewards)) > 1e-3


def test_asset_rewards_are_the_lead_over_holding_the_base_action() -> None:
    env = make("Asset", risk_aversion=0.0)
    _, rewards, equities, _ = episode(env, always(env, 0.0, 40), options={"track": 0, "row": ROW})
    track = TRACKS["Asset"][0]
    moves = track.opens[1:, 0] / track.opens[:-1, 0] - 1.0  # decided at close t, held from open t + 1 to open t + 2
    wanted = [
        -100.0 * math.log(1.0 + exposure(0.5, track.volatility[t, 0], env.task.unit) * moves[t + 1])
        for t in range(ROW, ROW + 40)
    ]
    assert rewards == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert equities[-1] == 1e6


def test_a_long_only_asset_is_never_short() -> None:
    env = make("Asset", low=0.0)
    assert episode(env, always(env, -1.0, 10), seed=0)[2] == [1e6] * 10


# --- tracks


def test_asset_tracks_hold_warm_bars_between_two_dates_only() -> None:
    bars = random_bars(400, missing=0.05, late=30)
    tracks = asset_tracks(history_of(bars), "2011-10-20", "2011-12-31")
    assert [track.symbol for track in tracks] == list(bars.symbols)
    for i, track in enumerate(tracks):
        own = np.flatnonzero(bars.traded[:, i])
        assert np.array_equal(track.closes[:, 0], bars.close[own, i]) and len(own) == len(track.features)
        stamps = bars.stamps[own]
        assert stamps[track.span.first] >= np.datetime64("2011-10-20") and track.span.first >= 252
        assert stamps[track.span.last] == stamps[stamps <= np.datetime64("2011-12-31")][-2]  # and the open behind it


def test_coarse_prices_are_left_out() -> None:
    least, dearer = np.sort(BARS.close[252:, 0])[:2]
    row = 252 + int(np.argmin(BARS.close[252:, 0]))
    tracks = asset_tracks(HISTORY, "2011-01-01", "2012-12-31", least_close=float(dearer))
    first = {track.symbol: track.span.first for track in tracks}
    assert 252 < row < 390 and least < dearer
    assert first[BARS.symbols[0]] == row + 1


def test_a_span_without_warm_bars_is_refused() -> None:
    span = "2011-01-01", "2011-02-01"
    with pytest.raises(BarsError, match="no symbol has warm bars between 2011-01-01 and 2011-02-01"):
        asset_tracks(HISTORY, *span)
    with pytest.raises(BarsError, match="are warm on 0 bars between 2011-01-01 and 2011-02-01"):
        portfolio_track(HISTORY, *span)
    with pytest.raises(BarsError, match="the market is warm on 0 bars between 2011-01-01 and 2011-02-01"):
        regime_track(HISTORY, recorded(BARS).opinions(), CONFIG.lines(), *span)
