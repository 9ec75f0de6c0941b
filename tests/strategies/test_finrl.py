"""An agent trained in FinRL sees under Backtrader's broker what FinRL would have shown it, and trades as there."""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import random_bars

from hybrid_bt.errors import ConfigError, InSampleError, PolicyError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import FinRLStrategy
from hybrid_bt.strategies.finrl import FINRL_INDICATORS, finrl_state, finrl_trades

pytest.importorskip("stockstats")

BARS = random_bars(54, 3)
FIRST = 29  # bars before cci_30 has a value, which FinRL fills from the future
CASH, COST, HMAX = 50_000.0, 0.001, 60


class Agent:
    """Reads every number of the state, and answers with something of every kind."""

    def __init__(self, tickers: int = 3) -> None:
        self.seen: list[Any] = []
        self.tickers = tickers

    def predict(self, state: Any, deterministic: bool = False) -> tuple[Any, None]:
        assert deterministic and state.dtype == np.float32
        self.seen.append(state.copy())
        day = np.float32(len(self.seen))
        return np.sin(np.arange(1, self.tickers + 1, dtype=np.float32) * day + state[0] / 1e5), None


def run(agent: Any, bars: Any = BARS, on_close: bool = False, order: Any = (2, 0, 1), **params: Any) -> Any:
    cerebro = bt.Cerebro()
    feeds = to_feeds(bars)
    for i in order:  # in any order: FinRL's is alphabetical
        cerebro.adddata(feeds[i], name=feeds[i]._name)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(commission=COST)
    cerebro.broker.set_coc(on_close)
    cerebro.addstrategy(FinRLStrategy, agent=agent, hmax=HMAX, **{"allow_cheating": on_close, **params})
    (found,) = cerebro.run()
    return found


def processed(bars: Any) -> pd.DataFrame:
    """FinRL's own frame: one row per day and ticker, indicators by stockstats over each ticker's history."""
    from stockstats import StockDataFrame

    frames = []
    for i, ticker in enumerate(bars.symbols):
        columns = {name: getattr(bars, name)[:, i] for name in ("open", "high", "low", "close", "volume")}
        stock = StockDataFrame.retype(pd.DataFrame(columns))
        indicators = {name: stock[name].to_numpy() for name in FINRL_INDICATORS}
        frames.append(pd.DataFrame({"date": bars.stamps, "tic": ticker, **columns, **indicators}))
    frame = pd.concat(frames).sort_values(["date", "tic"], ignore_index=True)
    frame = frame[frame.date >= bars.stamps[FIRST]]
    assert frame.notna().all(axis=None)
    frame.index = frame["date"].factorize()[0]
    return frame


def test_state_is_cash_closes_holdings_then_indicator_by_indicator() -> None:
    state = finrl_state(7.0, [1.0, 2.0], [3.0, 4.0], [[10.0, 20.0], [11.0, 21.0]])
    assert state.tolist() == [7.0, 1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 11.0, 21.0]


@pytest.mark.parametrize(
    ("what", "actions", "cash", "holdings", "wanted"),
    [
        ("cut toward zero", [0.999, -0.999, 0.0], 1e6, [50, 50, 50], [(1, -9), (0, 9)]),
        ("greatest sale first, then greatest purchase", [0.3, -0.2, -0.9], 1e6, [9, 9, 9], [(2, -9), (1, -2), (0, 3)]),
        ("no more sold than held", [-1.0, -1.0, -1.0], 0.0, [4, 0, 50], [(0, -4), (2, -10)]),
        # 5 sold at 10 less 1 % are 49.5; one share costs 10.10
        ("sales pay for purchases, whole shares", [-0.5, 1.0, 0.0], 0.0, [50, 0, 0], [(0, -5), (1, 4)]),
        ("the greater purchase takes the cash", [0.5, 1.0, 0.2], 111.0, [0, 0, 0], [(1, 10)]),
        ("nothing without cash", [1.0, 1.0, 1.0], 0.0, [0, 0, 0], []),
    ],
)
def test_trades_are_those_of_finrl(what: str, actions: Any, cash: float, holdings: Any, wanted: Any) -> None:
    shares = (np.array(actions) * 10).astype(int)
    assert finrl_trades(shares, cash, [10.0, 10.0, 10.0], holdings, [0.01] * 3) == wanted, what


def test_states_equal_an_account_kept_by_hand() -> None:
    agent = Agent()
    run(agent, on_close=True)
    frame = processed(BARS)
    cash, held, closes = CASH, np.zeros(3), BARS.close[FIRST:]
    assert len(agent.seen) == BARS.n_bars - FIRST
    for day, seen in enumerate(agent.seen):
        rows = frame.loc[day]
        wanted = [cash, *rows["close"], *held, *(value for name in FINRL_INDICATORS for value in rows[name])]
        assert seen == pytest.approx(np.array(wanted, dtype=np.float32), rel=2e-6, abs=1e-6)
        action = np.sin(np.arange(1, 4, dtype=np.float32) * np.float32(day + 1) + seen[0] / 1e5)
        shares = np.trunc(action * HMAX)
        for i in sorted(range(3), key=lambda i: shares[i]):
            if shares[i] < 0:
                sold = min(-shares[i], held[i])
                cash, held[i] = cash + sold * closes[day, i] * (1 - COST), held[i] - sold
        for i in sorted(range(3), key=lambda i: -shares[i]):
            if shares[i] > 0:
                bought = min(cash // (closes[day, i] * (1 + COST)), shares[i])
                cash, held[i] = cash - bought * closes[day, i] * (1 + COST), held[i] + bought
    assert held.any()


class Kept:
    """An agent of SB3's behind a face that keeps what it was asked."""

    def __init__(self, model: Any) -> None:
        self.model, self.asked = model, []

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        answer, state = self.model.predict(observation, state, episode_start, deterministic)
        self.asked.append((observation.copy(), answer.copy(), bool(episode_start[0])))
        return answer, state


class Delegating(Kept):
    def predict(self, observation: Any, **how: Any) -> tuple[Any, Any]:
        return super().predict(observation, **how)


def agent_of_sb3(recurrent: bool) -> Any:
    """Untrained, on numbers of FinRL's size, its answers far apart."""
    sb3, contrib = pytest.importorskip("stable_baselines3"), pytest.importorskip("sb3_contrib")
    import gymnasium as gym
    import torch

    n = 1 + 3 * (2 + len(FINRL_INDICATORS))

    class Space(gym.Env[Any, Any]):
        observation_space, action_space = gym.spaces.Box(-np.inf, np.inf, (n,)), gym.spaces.Box(-1.0, 1.0, (3,))

    torch.manual_seed(1)
    kind, policy = (contrib.RecurrentPPO, "MlpLstmPolicy") if recurrent else (sb3.PPO, "MlpPolicy")
    model = kind(policy, Space(), seed=0, n_steps=8, batch_size=8, device="cpu")
    first = model.policy.lstm_actor.weight_ih_l0 if recurrent else model.policy.mlp_extractor.policy_net[0].weight
    with torch.no_grad():
        first.mul_(torch.tensor([1e-5, *[0.01] * 3, *[0.001] * (n - 4)]))
        model.policy.action_net.weight.mul_(100.0)
    return model


@pytest.mark.parametrize("face", [Kept, Delegating])
@pytest.mark.parametrize("recurrent", [True, False])
def test_what_an_agent_remembers_is_carried_as_in_its_own_roll_out(face: Any, recurrent: bool) -> None:
    model = agent_of_sb3(recurrent)
    agents = [face(model), face(model)]
    for agent in agents:  # a second run begins anew
        run(agent)
        state, start, forgetful = None, np.array([True]), []
        for observation, answer, said in agent.asked:
            assert said == start[0]
            expected, state = model.predict(observation, state, start, deterministic=True)
            assert np.array_equal(answer, expected)
            forgetful.append(np.array_equal(answer, model.predict(observation, deterministic=True)[0]))
            start = np.array([False])
        assert len(agent.asked) > 20 and all(forgetful[1:]) != recurrent
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(agents[0].asked, agents[1].asked, strict=True))


def test_an_agent_that_remembers_but_takes_no_state_is_refused() -> None:
    class Forgetful:
        def predict(self, state: Any, deterministic: bool = False) -> tuple[Any, Any]:
            return np.zeros(3), (np.zeros(1), np.zeros(1))

    with pytest.raises(PolicyError, match="remembers, but its predict takes no state"):
        run(Forgetful())


def finrl_environment() -> Any:
    """FinRL's module, loaded by its path: importing the package asks for brokers' libraries."""
    found = importlib.util.find_spec("finrl")
    if found is None or found.origin is None:
        pytest.skip("finrl is not installed (pip install --no-deps finrl)")
    file = Path(found.origin).parent / "meta/env_stock_trading/env_stocktrading.py"
    spec = importlib.util.spec_from_file_location("finrl_env", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.StockTradingEnv


def test_states_equal_finrls_own_environment() -> None:
    frame, agent, theirs = processed(BARS), Agent(), Agent()
    n = len(BARS.symbols)
    env = finrl_environment()(
        frame, n, HMAX, CASH, [0] * n, [COST] * n, [COST] * n, 1.0,
        1 + n * (2 + len(FINRL_INDICATORS)), n, list(FINRL_INDICATORS), print_verbosity=1000,
    )  # fmt: skip
    state, _ = env.reset()
    for _ in range(BARS.n_bars - FIRST - 1):
        state = env.step(theirs.predict(np.array(state, dtype=np.float32), deterministic=True)[0])[0]
    run(agent, on_close=True)
    assert len(theirs.seen) == len(agent.seen) - 1 == BARS.n_bars - FIRST - 1
    assert np.array(agent.seen[:-1]) == pytest.approx(np.array(theirs.seen), rel=1e-6, abs=1e-6)


def test_orders_fill_at_the_next_open_and_the_account_never_borrows() -> None:
    class Watching(FinRLStrategy):
        def next(self) -> None:
            super().next()
            assert self.broker.getcash() >= 0.0 and all(self.getposition(feed).size >= 0 for feed in self.datas)

        def notify_order(self, order: Any) -> None:
            if order.status == order.Completed:
                fills.append((order.executed.price, order.data.open[0], order.created.dt, order.data.datetime[0]))

    fills: list[Any] = []
    cerebro = bt.Cerebro()
    for feed in to_feeds(BARS):
        cerebro.adddata(feed, name=feed._name)
    cerebro.addstrategy(Watching, agent=Agent(), hmax=HMAX, indicators=("macd",))
    cerebro.run()
    assert len(fills) > 50
    assert all(
        price == pytest.approx(opened, rel=1e-14) and filled == made + 1.0 for price, opened, made, filled in fills
    )


def test_indicators_come_from_lines_of_the_feed_where_it_has_them() -> None:
    class Extended(bt.feeds.PandasData):
        lines = ("macd",)
        params = (("macd", -1),)

    frame = processed(BARS)
    cerebro, agent = bt.Cerebro(), Agent(1)
    mine = frame[frame.tic == "AA"].set_index("date")
    mine["macd"] = range(100, 100 + len(mine))
    cerebro.adddata(Extended(dataname=mine), name="AA")
    cerebro.addstrategy(FinRLStrategy, agent=agent, indicators=("macd",))
    cerebro.run()
    assert [state[-1] for state in agent.seen] == list(range(100, 100 + len(mine)))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"agent": 3}, ConfigError, "give a model with predict"),
        ({"agent": lambda state: [0.1]}, PolicyError, "to 3 actions; one finite number each"),
        ({"agent": lambda state: [float("nan")] * 3}, PolicyError, "one finite number each"),
        ({"indicators": ("no_such_thing",)}, ConfigError, "stockstats has no indicator"),
        ({"hmaxx": 1}, ConfigError, "did you mean 'hmax'"),
        ({"trained_until": date(2030, 1, 1), "trade_from": date(2011, 2, 1)}, InSampleError, "training span"),
    ],
)
def test_misuse_is_named(params: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        run(params.pop("agent", Agent()), **{"indicators": ("macd",), **params})


def test_agent_sells_only_what_it_bought_itself() -> None:
    class Holder(bt.Strategy):
        def next(self) -> None:
            if len(self) == 1:
                self.buy(self.data0, size=500)

    def selling(state: Any) -> Any:
        return [0.5, 0.0, 0.0] if len(strategy_rows) < 20 else [-1.0, 0.0, 0.0]

    strategy_rows: list[Any] = []
    cerebro = bt.Cerebro()
    for feed in to_feeds(BARS):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1e6)
    cerebro.addstrategy(Holder)
    agent = lambda state: (strategy_rows.append(state.copy()), selling(state))[1]  # noqa: E731
    cerebro.addstrategy(FinRLStrategy, agent=agent, indicators=("macd",), hmax=10)
    cerebro.run()
    held = [state[4] for state in strategy_rows]
    assert held[:3] == [0.0, 5.0, 10.0] and max(held) == 95.0 and held[-1] == 0.0
    assert cerebro.broker.getposition(cerebro.datas[0]).size == 500


def test_model_of_stable_baselines_is_an_agent() -> None:
    sb3, spaces = pytest.importorskip("stable_baselines3"), pytest.importorskip("gymnasium.spaces")

    class Spaces(pytest.importorskip("gymnasium").Env):  # type: ignore[misc]
        observation_space = spaces.Box(-np.inf, np.inf, (1 + 3 * 3,))
        action_space = spaces.Box(-1.0, 1.0, (3,))

    model = sb3.PPO("MlpPolicy", Spaces(), n_steps=8, batch_size=8, seed=0, device="cpu")
    strategy = run(model, indicators=("close_5_sma",))
    assert strategy.state.shape == (10,) and strategy.state.dtype == np.float32


def test_cheating_on_close_must_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="cheat_on_close is on"):
        run(Agent(), on_close=True, allow_cheating=False)
