"""An agent of an environment as a leg of the hybrid: alone it trades as `AgentStrategy` does, to the last bit."""

from __future__ import annotations

import itertools
import json
from datetime import date
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import random_bars
from click.testing import CliRunner

from hybrid_bt.analyzers import Ledger
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.config import load_config
from hybrid_bt.config.task import prepare
from hybrid_bt.envs import ready_env
from hybrid_bt.equations.costs import Costs
from hybrid_bt.errors import ConfigError, InSampleError, LegError
from hybrid_bt.feeds import load_bars, to_feeds
from hybrid_bt.report.style import sample_stamp
from hybrid_bt.strategies import Agent, AgentStrategy, HybridStrategy, SpreadFeeCommission

ALONE = {"use_kalman": False, "use_ppo_lstm": False}
COSTS = Costs(4.0, 2.0, 100.0)


class Fickle:
    """Answers by what it sees and by what it remembers, and keeps both; the memory is the caller's."""

    def __init__(self, n_seen: int, n_actions: int, seed: int) -> None:
        self.weights = np.random.default_rng(seed).normal(0.0, 1.0, (n_seen, n_actions)).astype(np.float32)
        self.seen: list[Any] = []

    def predict(self, observation: Any, state: Any, episode_start: Any, deterministic: bool) -> tuple[Any, Any]:
        before = np.float32(0.0) if episode_start[0] else state
        self.seen.append(np.array(observation))
        answer = np.tanh(observation @ self.weights + before).astype(np.float32)
        return answer, np.float32(0.5) * before + observation[0]


def traded(bars: Bars, strategy: Any, **params: Any) -> tuple[Any, list[float]]:
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(COSTS))
    cerebro.addstrategy(strategy, **params)
    cerebro.addanalyzer(Ledger, _name="ledger")
    (made,) = cerebro.run()
    return made, made.analyzers.ledger.path().equity.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_alone_it_trades_as_agent_strategy_does(seed: int) -> None:
    n = 2 + seed % 4
    bars = random_bars(420, n, seed=seed)
    pairs = [":".join(bars.symbols[:2])] if seed % 2 else []
    there, here = (Fickle(8 * n + 12, n, seed) for _ in range(2))
    params = {"pairs": pairs, "mode": ("stable", "aggressive")[seed % 2]}
    _, equity = traded(bars, AgentStrategy, agent=there, **params)
    made, account = traded(bars, HybridStrategy, legs={"sac": here}, **ALONE, **params)
    assert np.array_equal(there.seen, here.seen) and len(here.seen) > 100
    assert account == equity and len(set(equity)) > 100
    assert np.abs(np.array(here.seen)[:, -n:]).max() > 0.01, "it sees what it holds"
    assert not made.guard.failures


def test_an_asset_agent_trades_one_symbol() -> None:
    bars = random_bars(420, 1, seed=5)
    there, here = (Fickle(7, 1, 5) for _ in range(2))
    _, equity = traded(bars, AgentStrategy, agent=there, env="Asset")
    free = {"scale_limit": 1.0, "asset_limit": 5.0, "net_limit": 0.99, "gross_limit": 5.0, "volatility_target": 9.0}
    legs = {"sac": Agent(here, env="Asset")}
    _, account = traded(bars, HybridStrategy, legs=legs, overrides={"risk": free}, **ALONE)
    assert np.array_equal(there.seen, here.seen) and account == equity and len(set(equity)) > 100


def test_beside_pairs_it_sees_what_the_account_holds() -> None:
    bars, n = random_bars(420, 3, seed=2), 3
    agent = Fickle(8 * n + 12, n, 2)
    made, equity = traded(bars, HybridStrategy, legs={"sac": agent}, pairs=["AA:BB"], use_ppo_lstm=False)
    path = made.analyzers.ledger.path()
    first = len(path.equity) - len(agent.seen)
    held = path.size[first:] * bars.close[first:] / path.equity[first:, None]
    np.testing.assert_allclose(np.array(agent.seen)[:, -n:], held, rtol=0, atol=1e-6)
    assert len(set(equity)) > 100


def test_a_state_is_gone_on_from_with_what_the_agent_remembered(tmp_path: Path) -> None:
    bars = random_bars(420, 2, seed=4)
    whole, again = (Fickle(28, 2, 4) for _ in range(2))
    _, equity = traded(bars, HybridStrategy, legs={"sac": whole}, **ALONE)
    early = bars.between(None, bars.stamps[350])
    traded(early, HybridStrategy, legs={"sac": Fickle(28, 2, 4)}, state=tmp_path / "state", **ALONE)
    made, account = traded(bars, HybridStrategy, legs={"sac": again}, state=tmp_path / "state", **ALONE)
    assert account == equity and np.array_equal(whole.seen, again.seen) and made.resumed_after


@pytest.mark.parametrize(
    ("legs", "error", "says"),
    [
        ({"sac": Agent(3)}, ConfigError, "give a model with predict"),
        ({"sac": Agent(lambda seen: [0.1, 0.1], env="Regime")}, ConfigError, "gives r, which is no position"),
        ({"sac": Agent(lambda seen: [0.1], env="Asset")}, ConfigError, "takes one feed; here are 2 feeds"),
        ({"sac": Agent(lambda seen: [0.1, 0.1], terms={"lot": 1})}, ConfigError, "there is no setting"),
        ({"sac": Agent(lambda seen: [0.1, 0.1], vecnormalize=3)}, ConfigError, "give SB3's VecNormalize"),
        ({"sac": Agent(lambda seen: [0.1, 0.1], trained_until=date(2500, 1, 1))}, InSampleError, "training span"),
        ({"sac": 3}, ConfigError, "give a class or function"),
    ],
)
def test_what_cannot_be_traded_is_refused_in_words(legs: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        traded(random_bars(320, 2), HybridStrategy, legs=legs, **ALONE)


def test_bars_alone_do_not_say_what_it_wants() -> None:
    bars = random_bars(320, 2)
    brain = prepare(Market("random", bars, ()), legs={"sac": Agent(Fickle(28, 2, 1))}).brain()
    with pytest.raises(LegError, match="sac looks at the account, and here is none"):
        opinions(brain, read_panel(bars.close, brain.reader))


def test_a_model_that_reads_other_numbers_is_refused_at_once() -> None:
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    model = stable_baselines3.PPO("MlpPolicy", ready_env("Portfolio", random_bars(320, 3)), device="cpu")
    for strategy, params in ((HybridStrategy, {"legs": {"sac": model}, **ALONE}), (AgentStrategy, {"agent": model})):
        with pytest.raises(ConfigError, match=r"Portfolio shows 28 numbers for 2 feeds, and the agent reads \(36,\)"):
            traded(random_bars(320, 2), strategy, **params)


def test_a_recurrent_agent_of_stable_baselines_with_its_vecnormalize_is_a_leg() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    bars = random_bars(400, 3, seed=6)
    scaled = VecNormalize(DummyVecEnv([lambda: ready_env("Portfolio", bars, episode_bars=40)]))
    net = {"net_arch": [8], "lstm_hidden_size": 6}
    agent = contrib.RecurrentPPO("MlpLstmPolicy", scaled, n_steps=32, policy_kwargs=net, seed=0, device="cpu").learn(64)
    scaled.training = False
    _, equity = traded(bars, AgentStrategy, agent=agent, vecnormalize=scaled)
    _, account = traded(bars, HybridStrategy, legs={"sac": Agent(agent, vecnormalize=scaled)}, **ALONE)
    _, other = traded(bars, HybridStrategy, legs={"sac": agent}, **ALONE)
    assert account == equity != other and len(set(equity)) > 50


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TQC of `Portfolio-v0` under VecNormalize, frozen."""
    contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from hybrid_bt.policies.sb3_model import import_model

    folder = tmp_path_factory.mktemp("frozen")
    scaled = VecNormalize(DummyVecEnv([lambda: ready_env("Portfolio")]))
    contrib.TQC("MlpPolicy", scaled, policy_kwargs={"net_arch": [16]}, learning_starts=20, seed=0, device="cpu").learn(
        64
    ).save(folder / "m.zip")
    scaled.save(str(folder / "stats.pkl"))
    stated = {"train_start": date(2000, 1, 3), "train_end": date(2009, 12, 31), "costs": {}, "reward": "growth"}
    import_model(
        folder / "m.zip",
        None,
        folder / "own.onnx",
        stated | {"symbols": ["KO", "PEP", "JNJ"]},
        vecnormalize=folder / "stats.pkl",
    )
    return folder / "own.onnx"


def test_a_frozen_portfolio_is_an_agent_that_knows_its_training(frozen: Path, tmp_path: Path) -> None:
    from hybrid_bt.policies.frozen import FrozenPolicy

    policy = FrozenPolicy.load(str(frozen))
    bars = load_bars("us20", symbols=("KO", "PEP", "JNJ")).between("2008-06-02", "2010-06-30")
    strategy, equity = traded(bars, AgentStrategy, agent=policy)
    _, account = traded(bars, HybridStrategy, legs={"sac": policy}, **ALONE)
    assert account == equity and strategy.trained_until == date(2009, 12, 31)
    moved = [str(day)[:10] for day, (a, b) in zip(bars.stamps[1:], itertools.pairwise(equity), strict=True) if a != b]
    assert moved[0] > "2009-12-31", "it trades nothing that it learned from"
    with pytest.raises(ConfigError, match="the agent learned KO, PEP, JNJ, in this order"):
        traded(load_bars("us20", symbols=("PEP", "KO", "JNJ")), AgentStrategy, agent=policy)
    with pytest.raises(ConfigError, match=r"is a portfolio, not a sac; it is a leg: hybrid-bt run --sac, or legs="):
        traded(bars, HybridStrategy, sac=str(frozen), **ALONE)
    config = {"kalman": {"enabled": False}, "gate": {"enabled": False}}
    run = run_backtest(bars, legs={"sac": policy}, config=config)
    assert list(run.accounts)[:2] == ["hybrid", "tqc"] and "OBJECT" not in str(run)
    assert run.facts["legs"] == {"sac": {"env": "Portfolio", "learner": "tqc", "sha256": policy.sha256}}


def test_a_run_by_the_command_trades_a_frozen_portfolio_as_a_leg(frozen: Path, tmp_path: Path) -> None:
    from hybrid_bt.commands.run import main

    flags = ["--sac", frozen, "--symbols", "KO,PEP,JNJ", "--pairs", "KO:PEP", "--end", "2010-06-30", "--no-plots"]
    done = CliRunner().invoke(main, [str(word) for word in (*flags, "--out", tmp_path / "fig")])
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "fig" / "run.json").read_text())
    assert facts["legs"]["sac"]["learner"] == "tqc" and "tqc" in facts["accounts"] and facts["accounts"]["tqc"]["fills"]
    assert "gate" in facts["policies"] and "sac" not in facts["policies"]
    line = json.loads((tmp_path / "runs.jsonl").read_text())
    assert facts["legs"]["sac"]["sha256"] in json.dumps(line)


def test_an_object_at_hand_is_marked_in_every_output(tmp_path: Path) -> None:
    bars = random_bars(420, 2, seed=3)
    config = load_config("stable", overrides={"gate": {"enabled": False}})
    run = run_backtest(bars, legs={"sac": Fickle(28, 2, 3)}, config=config)
    assert "SAC AS AN OBJECT" in run.title and sample_stamp(run) == "SAC AS AN OBJECT"
    assert "fickle object" in run.accounts
    assert any(note.startswith("OBJECT: sac is no frozen file but Fickle, as it was given") for note in run.notes)
    run.write(tmp_path / "fig", plots=False)
    facts = json.loads((tmp_path / "fig" / "run.json").read_text())
    assert facts["legs"]["sac"]["object"] == "Fickle, as it was given" and "fickle object" in facts["accounts"]
