"""Features and rewards of one's own: one pure step, the same numbers in environments, under numba and in Backtrader."""

from __future__ import annotations

import copy
import doctest
import math
import os
import pickle
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3
from brain_cases import PAIRS, random_bars
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import NormalizeObservation, NormalizeReward
from stable_baselines3.common.vec_env import DummyVecEnv

from hybrid_bt.bars import Bars
from hybrid_bt.brain import observing
from hybrid_bt.brain.observing import FIELDS, Observer, observed
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.config import load_config
from hybrid_bt.envs import (
    SPECS,
    Candle,
    Episode,
    Feature,
    LaneVectorEnv,
    Observation,
    Outcome,
    Reward,
    TradingEnv,
    history_of,
    lanes,
    ready_env,
)
from hybrid_bt.equations import rewards
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.features import ASSET_FEATURES, CLIP, MARKET_FEATURES
from hybrid_bt.equations.rewards import REWARDS, Depth, Moments
from hybrid_bt.errors import BarsError, ConfigError, Hint
from hybrid_bt.evidence.audit import check_feature
from hybrid_bt.train.vec_envs import LaneVecEnv

ALL = pytest.mark.parametrize("name", SPECS)
CONFIG = load_config("stable")


class Ranged(NamedTuple):
    mean: float = 0.0
    bars: float = 0.0


def spread_of(state: Ranged, bar: Candle) -> tuple[Ranged, float]:
    """Mean log range, in percent."""
    mean = state.mean + (math.log(bar.high / bar.low) - state.mean) / (state.bars + 1.0)
    return Ranged(mean, min(state.bars + 1.0, 20.0)), 100.0 * mean


def gap(before: float, bar: Candle) -> tuple[float, float]:
    return bar.close, 100.0 * (bar.open / before - 1.0)


def thinly(mean: float, bar: Candle) -> tuple[float, float]:
    mean += 0.1 * (bar.volume - mean)
    return mean, bar.volume / mean - 1.0


def breadth(before: Any, bars: Candle) -> tuple[Any, float]:
    up = there = 0.0
    for now, was in zip(bars.close, before):  # noqa: B905  numba knows no strict zip
        if now == now and was == was:
            up, there = up + (now > was), there + 1.0
    return bars.close, up / max(there, 1.0)


def breadth_of(n: int) -> Feature:
    return Feature(breadth, np.full(n, math.nan), warmup_bars=2)


OWN = Feature(spread_of, Ranged(), warmup_bars=20), Feature(gap, math.inf, warmup_bars=2, name="gap")


def seen_by(n: int) -> Observation:
    asset = ("relative_21", OWN[0], "volatility_ratio", OWN[1], Feature(thinly, 1.0))
    return Observation(asset, (breadth_of(n), "calm"), ("weight",))


def world(n: int = 3, n_bars: int = 330, **how: Any) -> Bars:
    bars = random_bars(n_bars, n, **how)
    rng = np.random.default_rng(n_bars)
    return replace(bars, volume=np.where(bars.traded, rng.uniform(1.0, 9.0, bars.close.shape), 0.0))


def test_the_examples_of_their_documents_hold() -> None:
    for module in (observing, rewards):
        assert doctest.testmod(module)[0] == 0


# --- features


@pytest.mark.parametrize("seed", range(3))
def test_a_panel_is_what_is_seen_bar_by_bar_compiled_or_not(seed: int) -> None:
    bars = world(seed=seed, missing=0.1, late=40)
    history, seen = history_of(bars, PAIRS[:1], CONFIG), seen_by(3)
    plain, fast = (observed(history, seen, compiled=compiled) for compiled in (False, True))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(plain, fast, strict=True))
    observer = Observer(seen, bars.symbols)
    reader = MarketReader(3, [(0, 1)], [CONFIG.kalman_params], CONFIG.spread_params)
    for t, closes in enumerate(bars.close.tolist()):
        is_ready = observer.read(np.array([getattr(bars, field)[t] for field in FIELDS]))
        view = reader.read(closes)
        assert is_ready == plain.ready[t].all()
        if is_ready:
            assert np.array_equal(observer.see(view), [*plain.assets[t].ravel(), *plain.market[t]])


def test_values_are_those_worked_out_by_hand_at_the_places_that_the_names_say() -> None:
    bars = world()
    history, seen = history_of(bars, (), CONFIG), seen_by(3)
    env = ready_env("Portfolio", bars, observation=seen, episode_bars=None, compiled=False)
    row, names = 300, seen.names(bars.symbols)
    first, _ = env.reset(options={"row": row})
    at = dict(zip(names, first, strict=True))
    assert env.observation_space.shape == (len(names),) == (3 * 5 + 2 + 3,)
    for i, symbol in enumerate(bars.symbols):
        for name in ("relative_21", "volatility_ratio"):
            assert at[f"{symbol} {name}"] == history.assets[row, i, ASSET_FEATURES.index(name)]
        wanted = 100.0 * (bars.open[row, i] / bars.close[row - 1, i] - 1.0)
        assert at[f"{symbol} gap"] == pytest.approx(np.clip(wanted, -CLIP, CLIP), rel=1e-6)
        assert at[f"{symbol} weight"] == 0.0
    assert at["calm"] == history.market[row, MARKET_FEATURES.index("calm")]
    assert at["breadth"] == np.float32(np.mean(bars.close[row] > bars.close[row - 1]))


@ALL
def test_an_environment_sees_from_where_all_features_are_ready(name: str) -> None:
    bars, late = world(n_bars=400), Feature(gap, math.inf, warmup_bars=310)
    before, after = (
        ready_env(name, bars, observation=Observation((*ASSET_FEATURES, one), MARKET_FEATURES), compiled=False)
        for one in (OWN[1], late)
    )
    assert before.tracks[0].span.first < 309 == after.tracks[0].span.first


def test_what_is_never_named_is_refused_with_the_nearest() -> None:
    for seen, says in (
        (Observation(("relative_20",)), "asset has no feature 'relative_20'; did you mean 'relative_2"),
        (Observation((), ("calmn",)), "market has no feature 'calmn'; did you mean 'calm'"),
        (Observation(account=("weights",)), "account has no feature 'weights'; did you mean 'weight'"),
        (Observation(account=(OWN[1],)), "account has no feature"),  # type: ignore[arg-type]
        (Observation(("relative_1", "relative_1")), "names a feature twice: relative_1, relative_1"),
    ):
        with pytest.raises(ConfigError, match=says):
            ready_env("Portfolio", world(), observation=seen)


def test_a_number_that_is_none_is_refused_where_it_would_be_seen() -> None:
    ill = Feature(lambda before, bar: (bar.close, math.log(before / bar.close)), math.nan)
    with pytest.raises(BarsError, match=r"of AA is nan on 2011-01-03.*ready after 0 bars; give .* more warmup_bars"):
        ready_env("Portfolio", world(), observation=Observation((ill,)))
    ready_env("Portfolio", world(), observation=Observation((ill._replace(warmup_bars=2),)))


def test_what_numba_does_not_take_or_rounds_otherwise_runs_as_python() -> None:
    text = Feature(lambda state, bar: (state, float(f"{bar.close:.3f}") / 100.0), name="text")
    power = Feature(lambda state, bar: (state, (bar.close / 60.0) ** 3.1 * math.sin(bar.close) ** 5), name="power")
    history = history_of(world(), (), CONFIG)
    with pytest.warns(Hint, match="feature text runs as plain Python"):
        assert observed(history, Observation((text,)), compiled=True).assets.any()
    for one in (text, power):
        plain, fast = (observed(history, Observation((one,)), compiled=compiled).assets for compiled in (False, True))
        assert np.array_equal(plain, fast)


@pytest.mark.parametrize("block", ["asset", "market"])
@pytest.mark.parametrize(
    "step",
    [
        lambda state, bar: None,
        lambda state, bar: 1.0,
        lambda state, bar: (state, 1.0, 1.0),
        lambda state, bar: (state, "one"),
        lambda state, bar: (state, np.ones(3)),
        lambda state: (state, 1.0),
    ],
)
def test_a_step_that_is_none_is_named_by_every_way_that_it_is_run(step: Any, block: str) -> None:
    one, history = Feature(step, name="mine"), history_of(world(2), (), CONFIG)
    seen = Observation(**{block: (one,)})
    ways: list[Any] = [
        *(lambda compiled=compiled: observed(history, seen, compiled=compiled) for compiled in (False, True)),
        lambda: Observer(seen, ["AA"]).read(np.full((5, 1), 2.0)),
        lambda: check_feature(one, of_market=block == "market"),
    ]
    for way in ways:
        with pytest.warns(Hint) if way is ways[1] else nullcontext(), pytest.raises(ConfigError, match="feature mine"):
            way()


def test_what_goes_wrong_inside_a_step_is_its_own() -> None:
    with pytest.raises(ValueError, match="no number: x"):
        check_feature(Feature(lambda state, bar: (state, _raises())))


def _raises() -> float:
    raise ValueError("no number: x")


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Observation(), "nothing to be seen"),
        ({"market": "calm"}, "market is 'calm'; give a tuple"),
        (["calm"], r"observation is \['calm'\]; give an Observation"),
        (Observation((Feature(3),)), "give a function"),  # type: ignore[arg-type]
        (Observation((Feature(gap, warmup_bars=-1),)), "a whole number of warmup_bars"),
        (Observation((Feature(gap, warmup_bars=2.5),)), "a whole number of warmup_bars"),  # type: ignore[arg-type]
    ],
)
def test_an_observation_that_is_none_is_refused(seen: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ready_env("Portfolio", world(), observation=seen)


def test_a_function_is_a_feature_as_it_is_a_reward() -> None:
    def ranged(state: tuple[()], bar: Candle) -> tuple[tuple[()], float]:
        return state, 100.0 * math.log(bar.high / bar.low)

    plain, whole = (
        ready_env("Portfolio", world(), observation=Observation(("relative_5", one)), compiled=False)
        for one in (ranged, Feature(ranged))
    )
    assert np.array_equal(plain.reset(seed=1)[0], whole.reset(seed=1)[0])
    assert plain.kind.observation.names(["KO"]) == ["KO relative_5", "KO ranged"]


class Called:
    """A feature and a reward that are no functions."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, state: Any, bar: Any) -> tuple[Any, float]:
        return state, self.scale * (bar.close / bar.open - 1.0) if isinstance(bar, Candle) else self.scale * bar.growth


@pytest.mark.parametrize("own", [Called(2.0), Called(2.0).__call__, partial(lambda k, s, bar: Called(k)(s, bar), 2.0)])
def test_whatever_can_be_called_is_taken_with_a_hint_where_numba_is_asked(own: Any) -> None:
    history, seen = history_of(world(), (), CONFIG), Observation((Feature(own),))
    check_feature(Feature(own))
    with pytest.warns(Hint, match="runs as plain Python"):
        fast = observed(history, seen, compiled=True)
    assert np.array_equal(fast.assets, observed(history, seen, compiled=False).assets)
    with pytest.warns(Hint, match="runs as plain Python"):
        env = made("Portfolio", own, compiled=True)
    env.reset(seed=0)
    plain = made("Portfolio", own)
    plain.reset(seed=0)
    assert steps(env, 5) == steps(plain, 5)


TABLE, SEEN = np.arange(1000.0), [0.0]
ROWS = tuple(range(1, 1001))
prices = ModuleType("prices")
prices.TABLE = TABLE  # type: ignore[attr-defined]


def helper(t: float) -> float:
    return float(TABLE[int(t) + 1])


class Holding:
    def __init__(self) -> None:
        self.rows = TABLE

    def ahead(self, t: float, bar: Candle) -> tuple[float, float]:
        return t + 1.0, bar.close / self.rows[int(t) + 1]

    __call__ = ahead


def ahead_in_state(state: tuple[float, Any], bar: Candle) -> tuple[tuple[float, Any], float]:
    return (state[0] + 1.0, state[1]), bar.close / state[1][int(state[0]) + 1]


@pytest.mark.parametrize(
    ("own", "reads"),
    [
        (Feature(lambda t, bar, rows=TABLE: (t + 1.0, bar.close / rows[int(t) + 1]), 0.0), "a default"),
        (Feature(partial(lambda rows, t, bar: (t + 1.0, bar.close / rows[int(t) + 1]), TABLE), 0.0), "an argument"),
        (Feature(lambda t, bar: (t + 1.0, bar.close / helper(t)), 0.0), "TABLE"),
        (Feature(lambda t, bar: (t + 1.0, bar.close / prices.TABLE[int(t) + 1]), 0.0), "TABLE"),
        (Feature(lambda t, bar: (t + 1.0, bar.close / ROWS[int(t) + 1]), 0.0), "ROWS, a tuple"),
        (Feature(Holding(), 0.0), "rows"),
        (Feature(Holding().ahead, 0.0), "rows"),
        (Feature(ahead_in_state, (0.0, TABLE + 1.0)), "its start"),
        (Feature(ahead_in_state, (0.0, ROWS)), "its start"),
    ],
)
def test_a_table_of_prices_is_found_wherever_a_feature_hides_it(own: Feature, reads: str) -> None:
    with pytest.raises(ConfigError, match=f"reads {reads}.*nobody can tell what it was made of"):
        check_feature(own._replace(name="own"))


def test_windows_constants_and_helpers_are_no_tables() -> None:
    weights = 0.5, 0.3, 0.2

    def log(x: float) -> float:
        return math.log(x)

    def window(rows: Any, bar: Candle) -> tuple[Any, float]:
        return np.append(rows[1:], bar.close), 100.0 * log(bar.close / rows.mean())

    def weighed(rows: Any, bar: Candle) -> tuple[Any, float]:
        return (*rows[1:], bar.close), sum(k * row for k, row in zip(weights, rows, strict=True)) / bar.close

    check_feature(Feature(window, np.ones(252), warmup_bars=253))
    check_feature(Feature(weighed, (1.0, 1.0, 1.0), warmup_bars=4))
    check_feature(Feature(lambda state, bars: (state, float(np.nanmean(bars.close)) / 100.0)), of_market=True)


def from_a_table(t: float, bar: Candle) -> tuple[float, float]:
    return t + 1.0, bar.close - TABLE[int(t)]


def by_the_clock(t: float, bar: Candle) -> tuple[float, float]:
    return t + 1.0, math.sin(t)


class Peeking:
    """Remembers what it saw in the run before."""

    def __init__(self) -> None:
        self.closes: list[float] = []
        self.before: list[float] = []

    def __call__(self, t: float, bar: Candle) -> tuple[float, float]:
        if t == 0.0:
            self.before, self.closes = self.closes, []
        self.closes.append(bar.close)
        return t + 1.0, self.before[int(t) + 1] if int(t) + 1 < len(self.before) else bar.close


def test_the_audit_of_a_feature_names_the_first_number_that_moves() -> None:
    for one in (*OWN, Feature(thinly, 1.0)):
        check_feature(one)
    check_feature(breadth_of(4), of_market=True)
    with pytest.raises(ConfigError, match="reads TABLE, a ndarray, which is none of its bars"):
        check_feature(Feature(from_a_table, 0.0))
    with pytest.raises(
        ConfigError, match="by_the_clock: the value is the same whatever the prices: what else it was made of"
    ):
        check_feature(Feature(by_the_clock, 0.0))
    with pytest.raises(ConfigError, match=r"on bar \d+ differs from run to run.*\(\S+, then \S+\)"):
        check_feature(Feature(Peeking(), 0.0))


# --- rewards


def test_named_rewards_are_their_formulas() -> None:
    rng = np.random.default_rng(0)
    growths = np.exp(rng.normal(0.0, 0.02, 300))
    moments, depth = Moments(), Depth()
    mean = square = fell = 0.0
    for t, growth in enumerate(growths.tolist()):
        outcome = Outcome(growth, 1.0, 0.25)
        assert REWARDS["log_growth"].step((), outcome)[1] == 100.0 * math.log(growth)
        assert REWARDS["turnover"].step((), outcome)[1] == -25.0
        moments, moved = REWARDS["differential_sharpe"].step(moments, outcome)
        if t > 1:  # the derivative of A / sqrt(B - A^2) by the gain at 0
            g, tiny = math.log(growth), 1e-7
            sharpe = [
                (mean + e * (g - mean)) / math.sqrt(square + e * (g * g - square) - (mean + e * (g - mean)) ** 2)
                for e in (-tiny, tiny)
            ]
            assert moved == pytest.approx((sharpe[1] - sharpe[0]) / (2.0 * tiny), rel=1e-4, abs=1e-6)
        mean, square = moments.mean, moments.square
        depth, deeper = REWARDS["drawdown"].step(depth, outcome)
        assert deeper <= 0.0
        fell += deeper
    path = np.cumprod([1.0, *growths])
    assert fell == pytest.approx(100.0 * np.min(path / np.maximum.accumulate(path) - 1.0), rel=1e-9)


class Kept(NamedTuple):
    steps: float
    peak: float


def own(state: Kept, outcome: Outcome) -> tuple[Kept, float]:
    peak = max(state.peak, outcome.equity)
    return Kept(state.steps + 1.0, peak), 100.0 * (outcome.equity / peak - 1.0) - state.steps


SUM = {
    "log_growth": 1.0,
    "differential_sharpe": 0.5,
    "drawdown": 2.0,
    "turnover": 0.1,
    Reward(own, Kept(0.0, 1e6)): 0.3,
}
COSTS = Costs(spread_bps=8.0, fee_bps=2.0, borrow_bps_per_year=0.0)


def made(name: str, reward: Any, compiled: bool | None = False, **terms: Any) -> TradingEnv:
    return ready_env(name, world(), reward=reward, compiled=compiled, episode_bars=40, costs=COSTS, **terms)


def steps(env: TradingEnv, n: int = 40, seed: int = 1) -> list[float]:
    rng = np.random.default_rng(seed)
    shape = env.action_space.shape
    return [env.step(rng.uniform(-1.0, 1.0, shape).astype(np.float32))[1] for _ in range(n)]


@ALL
def test_turnover_is_what_the_fees_were_paid_on_and_growth_adds_up_to_the_account(name: str) -> None:
    traded, grown = made(name, "turnover"), made(name, "log_growth")
    traded.reset(seed=0)
    paid = worth = 0.0
    for action in np.random.default_rng(1).uniform(-1.0, 1.0, (40, *(traded.action_space.shape or ()))):
        before = traded.account.commission
        worth = traded._lane.state()[2][0, 12]  # at the open that it fills at
        reward = traded.step(action.astype(np.float32))[1]
        paid += traded.account.commission - before
        assert -reward / 100.0 * worth * 6e-4 == pytest.approx(traded.account.commission - before, rel=1e-9, abs=1e-9)
    assert paid > 0.0
    grown.reset(seed=0)
    gained = steps(grown)
    worth = grown._lane.state()[2][0, 12]
    assert sum(gained) == pytest.approx(100.0 * math.log(worth / 1e6), rel=1e-9)


def test_a_sum_is_its_weighted_terms_compiled_or_not_alone_or_in_lanes() -> None:
    each = []
    for reward, weight in SUM.items():
        env = made("Portfolio", reward)
        env.reset(seed=0)
        each.append(weight * np.array(steps(env)))
    plain, fast = (made("Portfolio", SUM, compiled) for compiled in (False, True))
    for env in (plain, fast):
        env.reset(seed=0)
    paid = steps(plain)
    assert np.allclose(paid, np.sum(each, axis=0), rtol=1e-12) and paid == steps(fast)
    many = fast.lanes(2)
    first = fast.tracks[0].span.first
    for _ in range(2):  # the memory of an episode ends with it
        for lane in range(2):
            many.begin(lane, Episode(0, first + 5 * lane, first + 5 * lane + 20))
        plain.reset(options={"row": first + 5})
        for t in range(20):
            action = np.full((2, 3), 0.3 * (-1) ** t, np.float32)
            assert many.step(action)[1][1] == np.float32(plain.step(action[1])[1])


@ALL
def test_what_a_reward_remembers_is_copied_pickled_and_begins_anew(name: str) -> None:
    env = made(name, SUM)
    env.reset(seed=3)
    whole = steps(env)
    env.reset(seed=3)
    begun = steps(env, 15)
    others = copy.deepcopy(env), pickle.loads(pickle.dumps(env))
    rng = np.random.default_rng(1)
    shape = (40, *(env.action_space.shape or ()))
    rest = rng.uniform(-1.0, 1.0, shape).astype(np.float32)[15:]
    ahead = [[other.step(action)[1] for action in rest] for other in (*others, env)]
    assert begun == whole[:15] and ahead == [whole[15:]] * 3


@ALL
def test_growth_by_name_is_the_reward_that_there_is_without_a_baseline(name: str) -> None:
    usual, named = made(name, None), made(name, "log_growth")
    usual.reset(seed=0)
    named.reset(seed=0)
    assert name == "Regime" or steps(usual) == steps(named)
    assert named.kind.accounts == 1 and usual._lane.state()[2].shape[1] == 13


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ("log_grow", "no reward 'log_grow'; did you mean 'log_growth'"),
        ({"sharpe": 1.0}, "no reward 'sharpe'"),
        ({}, "has no term"),
        ({"turnover": math.nan}, "finite weights"),
        (Reward(own, [1.0]), "a tuple of numbers"),  # type: ignore[arg-type]
        (Reward(own, ("a",)), "a tuple of numbers"),  # type: ignore[arg-type]
        (3, "give a name, a function"),
        (lambda state, outcome: None, "makes None"),
        (lambda state, outcome: outcome.growth, "makes 1.01"),
        (lambda state, outcome: (state, outcome.growth, 1.0), "gives .state, value."),
        (lambda state, outcome: (state, "a"), "one finite number"),
        (lambda state, outcome: (state, np.array([1.0])), "one finite number"),
        (lambda state, outcome: (state, math.nan), "one finite number"),
        (Reward(lambda state, outcome: ((), 1.0), (0.0,)), "1 numbers as it starts with"),
        (Reward(lambda state, outcome: ((1.0, 2.0), 1.0), (0.0,)), "1 numbers as it starts with"),
    ],
)
def test_a_reward_that_is_none_is_refused(reward: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made("Portfolio", reward)
    with pytest.raises(ConfigError, match="belong to the default reward"):
        made("Portfolio", "log_growth", risk_aversion=1.0)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_that_pays_no_number_is_refused(compiled: bool) -> None:
    ill = Reward(lambda state, outcome: ((state[0] + 1.0,), 1.0 if state[0] < 3.0 else math.inf), (0.0,))
    env = made("Portfolio", ill, compiled=compiled)
    env.reset(seed=0)
    assert steps(env, 3) == [1.0] * 3
    with pytest.raises(ConfigError, match="no finite number"):
        steps(env, 1)
    many = LaneVectorEnv(env, 2)
    many.reset(seed=0)
    with pytest.raises(ConfigError, match="no finite number"):
        for _ in range(4):
            many.step(np.zeros((2, 3), np.float32))


def test_an_own_reward_is_interpreted_until_it_is_worth_compiling_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = made("Portfolio", SUM)
    plain.reset(seed=0)
    monkeypatch.setattr(lanes, "LEAST_STEPS", 25)
    env = made("Portfolio", SUM, compiled=None)
    env.reset(seed=0)
    first = steps(env, 24)
    assert isinstance(env._lane._state[2], list)
    copied = pickle.loads(pickle.dumps(env))
    rng = np.random.default_rng(2)
    rest = rng.uniform(-1.0, 1.0, (16, 3)).astype(np.float32)
    assert first == steps(plain, 24)
    paid = [[one.step(action)[1] for action in rest] for one in (env, copied, plain)]
    assert paid[0] == paid[1] == paid[2] and isinstance(env._lane._state[2], np.ndarray)


KEPT = """
import numpy as np
from hybrid_bt.envs import ready_env
from hybrid_bt.equations.compiled import envs
env = ready_env("Portfolio", reward={"differential_sharpe": %s, "turnover": 0.1}, compiled=True, episode_bars=9)
env.reset(seed=0)
env.step(np.full(3, 0.3, np.float32))
(kernels,) = [envs._step_kernels(*(env.kind.act, env.kind.see, tuple((term, 1.0) for term, _ in env.kind.reward)))]
print(sum(kernels[1].stats.cache_hits.values()))
"""


def test_what_has_a_name_is_compiled_once_for_all_processes_and_weights(tmp_path: Path) -> None:
    told = []
    for weight in ("1.0", "0.5"):
        how = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", KEPT % weight], capture_output=True, text=True, env=how, check=True
        )
        told.append(done.stdout.strip())
    assert told == ["0", "1"]


def test_a_reward_that_numba_does_not_take_is_paid_by_python() -> None:
    def worded(state: tuple[()], outcome: Outcome) -> tuple[tuple[()], float]:
        return state, float(f"{outcome.growth:.6f}")

    with pytest.warns(Hint, match="worded runs as plain Python"):
        env = made("Asset", worded, compiled=True)
    env.reset(seed=0)
    assert all(reward == round(reward, 6) for reward in steps(env, 5))


# --- gymnasium


@ALL
def test_with_features_and_rewards_of_ones_own_it_is_an_environment_by_name_that_pickles_and_draws(name: str) -> None:
    seen = Observation(("relative_5", *OWN), ("calm",), ("weight",))
    given: dict[str, Any] = {
        "bars": world(),
        "observation": seen,
        "reward": {"log_growth": 1.0, Reward(own, Kept(0.0, 1e6)): 0.1},
    }
    made = gym.make(f"hybrid_bt/{name}-v0", **given, episode_bars=9, render_mode="rgb_array", compiled=False)
    check_env(made.unwrapped)
    sb3.check_env(made.unwrapped, warn=True)
    spec = pickle.loads(pickle.dumps(made.spec))
    again = gym.make(spec)
    for env in (made, again):
        env.reset(seed=5)
    blank = made.render()
    frames = []
    for seed in range(9):
        action = np.random.default_rng(seed).uniform(-1.0, 1.0, made.action_space.shape or ()).astype(np.float32)
        mine, theirs = made.step(action), again.step(action)
        assert np.array_equal(mine[0], theirs[0]) and mine[1:] == theirs[1:]
        frames.append((made.render(), again.render()))
    assert all(a.shape == (320, 480, 3) and a.dtype == np.uint8 and np.array_equal(a, b) for a, b in frames)
    assert len({a.tobytes() for a, _ in [(blank, blank), *frames]}) > 5
    many = gym.make_vec(f"hybrid_bt/{name}-v0", num_envs=2, **given, render_mode="rgb_array", compiled=False)
    many.reset(seed=5)
    assert [picture.shape for picture in many.render() or ()] == [(320, 480, 3)] * 2
    assert gym.make(f"hybrid_bt/{name}-v0", bars=world()).render_mode is None
    with pytest.raises(ConfigError, match="give 'rgb_array'"):
        ready_env(name, world(), render_mode="ansi")


@ALL
@pytest.mark.parametrize("compiled", [False, True])
def test_an_info_tells_the_account_where_it_is_asked_for_and_nothing_where_not(name: str, compiled: bool) -> None:
    env = ready_env(name, world(), compiled=compiled, episode_bars=30, costs=COSTS, info=True)
    quiet = ready_env(name, world(), compiled=compiled, episode_bars=30, costs=COSTS)
    _, info = env.reset(seed=1)
    assert quiet.reset(seed=1)[1] == {"symbol": info["symbol"]}
    bars, track = world(), env.tracks[0]
    columns = [bars.symbols.index(symbol) for symbol in info["symbol"].split(", ")]
    assert (info["equity"], info["growth"], info["fills"], info["row"]) == (1e6, 1.0, 0, info["row"])
    sizes, row, turned_over, paid = np.zeros(len(columns)), info["row"], 0.0, 0.0
    for action in np.random.default_rng(1).uniform(-1.0, 1.0, (30, *(env.action_space.shape or ()))):
        before, at_open = env.account.commission, env._lane.stands()[1]
        *stepped, info = env.step(action.astype(np.float32))
        *same, nothing = quiet.step(action.astype(np.float32))
        assert nothing == {} and all(map(np.array_equal, stepped, same))
        row += 1
        account, closes = env.account, bars.close[row, columns]
        assert info["row"] == row and info["date"] == str(bars.stamps[row])[:10]
        assert (info["equity"], info["cash"]) == (account.equity, account.cash)
        assert info["growth"] == account.equity / 1e6
        assert np.array_equal(info["weights"], env.sizes * closes / account.equity)
        value = float(np.abs(env.sizes - sizes) @ bars.open[row, columns])
        assert info["turnover"] == pytest.approx(value / at_open, rel=1e-12)
        assert info["commission"] - before == pytest.approx(value * 6e-4, rel=1e-9, abs=1e-9)
        assert (info["commission"], info["interest"], info["fills"], info["rejected"]) == account[8:] + account[7:5:-1]
        sizes, turned_over, paid = env.sizes, turned_over + info["turnover"], account.commission
    assert stepped[-1] and turned_over > 0.1 and paid > 0.0 and len(track.symbols) == len(columns)


def test_gymnasium_scales_lanes_that_begin_in_the_next_step() -> None:
    env = gym.make_vec("hybrid_bt/Portfolio-v0", num_envs=2, autoreset_mode="NextStep", episode_bars=3, compiled=False)
    scaled = NormalizeReward(NormalizeObservation(env))
    scaled.reset(seed=0)
    assert all(np.isfinite(scaled.step(env.action_space.sample())[0]).all() for _ in range(9))
    with pytest.raises(ResetNeeded):
        LaneVectorEnv(made("Asset", None), 2, "NextStep").step(np.zeros((2, 1), np.float32))
    for bad in ({"num_envs": 0}, {"num_envs": 2, "autoreset_mode": "Disabled"}):
        with pytest.raises(ConfigError, match=r"num_envs is 0|give SameStep or NextStep"):
            gym.make_vec("hybrid_bt/Asset-v0", compiled=False, **bad)


@ALL
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_lanes_tell_and_draw_as_environments_side_by_side_do(name: str, mode: AutoresetMode) -> None:
    given: dict[str, Any] = {"bars": world(), "compiled": False, "episode_bars": 4, "info": True}
    given["render_mode"] = "rgb_array"
    alone = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    ours = {"autoreset_mode": mode.value}
    fast, slow = (gym.make_vec(f"hybrid_bt/{name}-v0", num_envs=3, **given, **how) for how in (ours, alone))
    assert fast.metadata["autoreset_mode"] is mode
    lane_env = LaneVecEnv(ready_env(name, **given), 3)
    dummy = DummyVecEnv([lambda: ready_env(name, **given)] * 3)
    for env in (lane_env, dummy):
        env.seed(7)
    assert data_equivalence(fast.reset(seed=7), slow.reset(seed=7))
    assert np.array_equal(lane_env.reset(), dummy.reset()) and data_equivalence(lane_env.reset_infos, dummy.reset_infos)
    rng = np.random.default_rng(0)
    for _ in range(9):
        action = rng.uniform(-1.0, 1.0, fast.action_space.shape or ()).astype(np.float32)
        mine, theirs = fast.step(action), slow.step(action)
        assert data_equivalence((mine[0], *mine[2:]), (theirs[0], *theirs[2:]))
        assert np.array_equal(mine[1], theirs[1].astype(np.float32))
        infos, others = lane_env.step(action)[3], dummy.step(action)[3]
        assert data_equivalence(
            [dict(sorted(one.items())) for one in infos], [dict(sorted(one.items())) for one in others]
        )
        assert all(map(np.array_equal, fast.render() or (), slow.render() or ()))
        drawn = lane_env.render()
        assert drawn is not None and np.array_equal(drawn, dummy.render())
    assert LaneVecEnv(ready_env(name, world(), compiled=False), 2).render_mode is None


def test_a_picture_shows_account_and_positions() -> None:
    env = ready_env("Portfolio", world(2), render_mode="rgb_array", compiled=False, costs=Costs(0.0, 0.0))
    env.reset(seed=0)
    for _ in range(30):
        env.step(np.array([0.5, -0.4], np.float32))
    picture = env.render()
    assert picture is not None
    long, short = (np.argwhere((picture == colour).all(axis=2)) for colour in ((0, 114, 178), (213, 94, 0)))
    assert long[:, 0].max() < 260 < short[:, 0].min() and long[:, 1].max() < short[:, 1].min()
    weights = env.sizes * env.tracks[0].closes[env._lane._state[2][0][10].__int__()] / env.account.equity
    tall = np.ptp(long[:, 0]) + 1, np.ptp(short[:, 0]) + 1
    assert tall == pytest.approx(52 * np.abs(weights), abs=1.0)
    line = np.argwhere((picture[:200] == 0).all(axis=2))
    assert line[:, 1].min() == 0 and line[:, 1].max() == 479
