"""An agent of one of our environments under Backtrader: what it sees, does and has is the environment's to the bit."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import random_bars
from live_rehearsal import RehearsalStore

from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.envs import Candle, Feature, Observation, Outcome, Reward, ready_env
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import ConfigError, InSampleError, PolicyError
from hybrid_bt.evidence.audit.user import audit_strategy
from hybrid_bt.feeds import load_bars, to_feeds
from hybrid_bt.strategies import AgentStrategy, SpreadFeeCommission


class Fickle:
    """Answers by what it sees and by what it remembers, and keeps both."""

    def __init__(self, n_seen: int, n_actions: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.weights = rng.normal(0.0, 1.0, (n_seen, n_actions)).astype(np.float32)
        self.seen: list[Any] = []
        self.answers: list[Any] = []

    def predict(self, observation: Any, state: Any, episode_start: Any, deterministic: bool) -> tuple[Any, Any]:
        before = np.float32(0.0) if episode_start[0] else state
        answer = np.tanh(observation @ self.weights + before).astype(np.float32)
        self.seen.append(np.array(observation))
        self.answers.append(answer)
        return answer, np.float32(0.5) * before + observation[0]


def environment_run(env: Any, agent: Any) -> list[float]:
    """Equity at each close, the first before any order."""
    seen, _ = env.reset()
    state, start, equity, over = None, np.array([True]), [env.account.equity], False
    while not over:
        action, state = agent.predict(seen, state, start, True)
        start = np.array([False])
        seen, _, ruined, cut, _ = env.step(action)
        equity.append(env.account.equity)
        over = ruined or cut
    return equity


def backtrader_run(bars: Bars, agent: Any, costs: Costs, **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(costs))
    cerebro.addstrategy(AgentStrategy, agent=agent, **params)
    cerebro.addanalyzer(Ledger, _name="ledger")
    return cerebro.run()[0]


@pytest.mark.parametrize("seed", range(8))
def test_observations_actions_and_account_are_the_environment_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asset = seed % 4 == 3
    bars = random_bars(420, 1 if asset else int(rng.integers(2, 6)), seed=seed)
    pairs = [":".join(bars.symbols[:2])] if seed % 2 and not asset else []
    costs = Costs(float(rng.choice([0.0, 6.0])), float(rng.choice([0.0, 2.0])), float(rng.choice([0.0, 400.0])))
    terms = {"rules": OrderRules(lot=float(rng.choice([0.0, 1.0])), rebalance_band=float(rng.choice([0.0, 0.02])))}
    name = "Asset" if asset else "Portfolio"
    env = ready_env(name, bars, pairs=pairs, episode_bars=None, compiled=False, costs=costs, **terms)
    shape = env.observation_space.shape[0], env.action_space.shape[0]
    there, here = Fickle(*shape, seed), Fickle(*shape, seed)
    equity = environment_run(env, there)
    called = f"hybrid_bt/{name}-v0" if seed % 2 else name
    strategy = backtrader_run(bars, here, costs, env=called, pairs=pairs, terms=terms)
    n, first = len(there.seen), env.tracks[0].span.first
    assert n > 100 and len(here.seen) >= n
    assert np.array_equal(there.seen, here.seen[:n]) and np.array_equal(there.answers, here.answers[:n])
    assert strategy.analyzers.ledger.path().equity[first : first + len(equity)].tolist() == equity
    assert len(set(equity)) > 100, "it trades"


def test_an_agent_of_stable_baselines_with_its_vecnormalize(tmp_path: Any) -> None:
    pytest.importorskip("torch")
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    bars, costs = random_bars(420, 3, seed=1), Costs(2.0, 2.0)
    env = ready_env("Portfolio", bars, episode_bars=None, costs=costs)
    scaled = VecNormalize(DummyVecEnv([lambda: env]), training=True)
    agent = PPO("MlpPolicy", scaled, n_steps=64, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(128)
    scaled.training = False
    seen, _ = env.reset()
    equity, over = [env.account.equity], False
    while not over:
        seen, _, ruined, cut, _ = env.step(agent.predict(scaled.normalize_obs(seen), deterministic=True)[0])
        equity.append(env.account.equity)
        over = ruined or cut
    strategy = backtrader_run(bars, agent, costs, vecnormalize=scaled)
    first = env.tracks[0].span.first
    assert strategy.analyzers.ledger.path().equity[first : first + len(equity)].tolist() == equity


@pytest.mark.parametrize(
    ("params", "error", "says"),
    [
        ({"env": "Portfolo"}, ConfigError, "did you mean 'Portfolio'"),
        ({"env": "Asset"}, ConfigError, "an agent of Asset takes one feed; here are 2 feeds"),
        ({"env": "Regime"}, ConfigError, r"gives r, which is no position.*HybridStrategy\(gate="),
        ({"agent": lambda seen: ["a", "b"]}, PolicyError, "one finite number each"),
        ({"env": "Regime", "terms": {"reward": "turnover"}}, ConfigError, "gives r, which is no position"),
        ({"terms": {"observation": Observation(("relative",))}}, ConfigError, "no feature 'relative'; did you mean"),
        ({"terms": {"lot": 1}}, ConfigError, "there is no setting"),
        ({"agent": 3}, ConfigError, "give a model with predict"),
        ({"agent": lambda seen: [0.1]}, PolicyError, "to 2 actions; one finite number each"),
        ({"agent": lambda seen: [math.nan] * 2}, PolicyError, "one finite number each"),
        ({"vecnormalize": 3}, ConfigError, "give SB3's VecNormalize"),
        ({"trained_until": np.datetime64("2500-01-01").astype(object)}, InSampleError, "training span"),
        ({"speed": 3}, ConfigError, "no parameter"),
    ],
)
def test_what_cannot_be_traded_is_refused_in_words(params: dict[str, Any], error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        backtrader_run(random_bars(320, 2), **{"agent": lambda seen: [0.1, 0.1], "costs": Costs(), **params})


# --- with features and a reward of its own


def swing(state: tuple[float, float], bar: Candle) -> tuple[tuple[float, float], float]:
    """Percent from open to close, over its mean size."""
    move = 100.0 * math.log(bar.close / bar.open)
    size = state[0] + (abs(move) - state[0]) / (state[1] + 1.0)
    return (size, min(state[1] + 1.0, 40.0)), move / size - 0.5 if size > 0.0 else 0.0


def leader(before: Any, bars: Candle) -> tuple[Any, float]:
    """Best return since the last bar of all symbols that had both, in percent, and what was traded of the last."""
    best = 0.0
    for now, was in zip(bars.close, before, strict=True):
        best = max(best, 100.0 * (now / was - 1.0)) if now == now and was == was else best
    return np.where(np.isnan(bars.close), before, bars.close), best + bars.volume[-1]


def cautious(state: tuple[float], outcome: Outcome) -> tuple[tuple[float], float]:
    """Growth of the account less a price on what was turned over, more where a bar follows a loss."""
    growth = 100.0 * math.log(outcome.growth)
    return (growth,), growth - outcome.turnover * (2.0 if state[0] < 0.0 else 1.0)


def terms_of(n: int) -> dict[str, Any]:
    seen = Observation(
        ("relative_5", Feature(swing, (0.0, 0.0), 10)),
        (Feature(leader, np.full(n, math.nan), 2), "correlation"),
        ("weight",),
    )
    return {"observation": seen, "reward": Reward(cautious, (0.0,))}


@pytest.mark.parametrize("seed", range(6))
def test_own_features_are_seen_as_the_environment_shows_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asset = seed % 3 == 2
    bars = random_bars(
        380, 1 if asset else int(rng.integers(2, 5)), seed=seed, missing=0.05 * (not asset), late=20 * (not asset)
    )
    bars = replace(bars, volume=np.where(bars.traded, rng.uniform(0.0, 2.0, bars.close.shape), 0.0))
    name, terms = "Asset" if asset else "Portfolio", terms_of(bars.n_symbols)
    env = ready_env(name, bars, episode_bars=None, compiled=False, costs=Costs(4.0, 1.0), **terms)
    shape = env.observation_space.shape[0], env.action_space.shape[0]
    there, here = Fickle(*shape, seed), Fickle(*shape, seed)
    equity = environment_run(env, there)
    strategy = backtrader_run(bars, here, Costs(4.0, 1.0), env=name, terms=terms)
    n, first = len(there.seen), env.tracks[0].span.first
    assert n > 80 and np.array_equal(there.seen, here.seen[:n]) and np.array_equal(there.answers, here.answers[:n])
    assert strategy.analyzers.ledger.path().equity[first : first + len(equity)].tolist() == equity
    assert len(set(equity)) > 50, "it trades"


def test_a_ppo_with_an_own_feature_and_an_own_reward_has_the_environment_s_equity() -> None:
    """Five assets of us20, 5,000 steps of training before 2010, traded behind it by Backtrader."""
    pytest.importorskip("torch")
    from stable_baselines3 import PPO

    from hybrid_bt.train.vec_envs import LaneVecEnv

    bars, terms = (
        load_bars("us20", symbols=["KO", "PEP", "JNJ", "CVX", "XOM"]).between("2003-01-01", "2011-12-31"),
        terms_of(5),
    )
    given: dict[str, Any] = {"bars": bars, "costs": Costs(2.0, 1.0), "compiled": False, **terms}
    taught = ready_env("Portfolio", end="2009-12-31", **given)
    agent = PPO("MlpPolicy", LaneVecEnv(taught, 10), n_steps=50, batch_size=250, n_epochs=2, seed=0, device="cpu")
    agent.learn(5_000)
    assert agent.num_timesteps == 5_000
    env = ready_env("Portfolio", start="2010-01-01", episode_bars=None, **given)
    seen, _ = env.reset()
    equity, over = [env.account.equity], False
    while not over:
        seen, _, ruined, cut, _ = env.step(agent.predict(seen, deterministic=True)[0])
        equity.append(env.account.equity)
        over = ruined or cut
    strategy = backtrader_run(bars, agent, Costs(2.0, 1.0), terms=terms, trained_until=date(2009, 12, 31))
    first = env.tracks[0].span.first
    assert strategy.analyzers.ledger.path().equity[first : first + len(equity)].tolist() == equity
    assert len(set(equity)) > 400


def test_an_audit_names_what_the_agent_saw_first() -> None:
    bars = random_bars(330, 2)
    clean = {"agent": Held(), "terms": terms_of(2)}
    assert audit_strategy(AgentStrategy, bars, params=clean, last_bars=0, every=25).findings == []
    found = audit_strategy(Ahead, bars, params=clean, last_bars=0, every=25).findings
    assert found and {one.quantity for one in found} & {"AA swing", "BB swing", "leader"}


class Held:
    """Without memory, and without a generator that runs on."""

    def predict(self, seen: Any, deterministic: bool) -> tuple[Any, None]:
        return np.tanh(seen[:2]).astype(np.float32), None


class Ahead(AgentStrategy):
    """Reads bars of which the next close is known."""

    def _prices(self, *fields: str) -> list[list[float]]:
        prices = super()._prices(*fields)
        for i, feed in enumerate(self.feeds):
            if len(fields) > 1 and len(feed) < feed.buflen():
                prices[fields.index("close")][i] = feed.close[1]
        return prices


def test_an_own_feature_reads_whole_bars_also_where_a_feed_replays_them() -> None:
    """A replayed week is read when the next one begins: the bars of the resampled feed, without the last."""
    bars, read = random_bars(2400, 1), []

    def noted(n: float, bar: Candle) -> tuple[float, float]:
        read.append(tuple(bar))
        return n + 1.0, bar.close / bar.open

    found = []
    for way in ("resampledata", "replaydata"):
        cerebro = bt.Cerebro(stdstats=False)
        (feed,) = to_feeds(bars)
        getattr(cerebro, way)(feed, name="AA", timeframe=bt.TimeFrame.Weeks)
        terms = {"observation": Observation((Feature(noted, 0.0),))}
        cerebro.addstrategy(AgentStrategy, agent=lambda seen: [0.3], env="Asset", terms=terms)
        read.clear()
        cerebro.run()
        found.append(list(read))
    assert len(found[0]) == 343 and found[0][:-1] == found[1]


@pytest.mark.parametrize("exactbars", [0, 1])
def test_an_own_feature_reads_the_bars_of_a_row_however_late_they_come(exactbars: int) -> None:
    bars, read = random_bars(330, 3, late=40), []

    def noted(n: float, bar: Candle) -> tuple[float, float]:
        read.append((bar.close.tolist(), bar.open.tolist(), bar.volume.tolist()))
        return n + 1.0, n

    found = []
    for feeds in (to_feeds(bars), RehearsalStore(bars, latency=3, history=100).feeds()):
        cerebro = bt.Cerebro(stdstats=False, exactbars=exactbars)
        for feed in feeds:
            cerebro.adddata(feed, name=feed._name)
        terms = {"observation": Observation((), (Feature(noted, 0.0),))}
        cerebro.addstrategy(AgentStrategy, agent=lambda seen: [0.1] * 3, terms=terms)
        read.clear()
        cerebro.run()
        found.append(repr(read))
    assert found[0] == found[1] and len(read) == 330
