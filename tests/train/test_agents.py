"""Agents of the registered environments: every algorithm, from bars to Backtrader, and settings that are sought."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
import torch
from brain_cases import random_bars
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.account.metrics import Summary, summarise
from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.commands.runs import main as runs
from hybrid_bt.commands.train import main
from hybrid_bt.config import load_config
from hybrid_bt.envs import SPECS, Span, ready_env
from hybrid_bt.equations.costs import Costs
from hybrid_bt.errors import BarsError, ConfigError, InSampleError, PolicyError
from hybrid_bt.evidence.trials import read_trials
from hybrid_bt.feeds import load_bars, to_feeds
from hybrid_bt.strategies import AgentStrategy, SpreadFeeCommission
from hybrid_bt.train.agents import AgentValidation, _spans, world_of
from hybrid_bt.train.kept import dealing, learn_agent, load_agent
from hybrid_bt.train.members import Event, Practice, Trained, train_all, train_member
from hybrid_bt.train.pipeline import Lesson, grounds_of, members_of
from hybrid_bt.train.spec import ALGOS, AgentSpec, algorithm, settable
from hybrid_bt.train.tune import SPACE, Range, best, search, space_of

END = date(1996, 12, 31)
SMALL = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "n_delta": 2, "n_top": 2, "buffer_size": 1000}


@pytest.fixture(scope="module")
def bars() -> Bars:
    return load_bars("us20", symbols=["KO", "PEP", "JNJ"], end="1997-12-31").between("1994-06-01")


def small(algo: str, env: str = "Portfolio", **more: Any) -> AgentSpec:
    settings = {name: value for name, value in SMALL.items() if name in settable(algo)}
    if "learning_starts" in settable(algo):
        settings = {**settings, "learning_starts": 16, "n_steps": 1}
    return AgentSpec(env, algo, n_envs=2, episode_bars=20, settings=settings)._replace(**more)


def lesson(bars: Bars, spec: AgentSpec, **more: Any) -> Lesson:
    given: dict[str, Any] = {"agent": spec, "steps": 64, "seeds": (3,), **more}
    seeds = given.pop("seeds")
    market = Market("", bars, "KO:PEP")
    return Lesson((market,), load_config("stable"), date(1996, 1, 2), END, seeds, 0, 0, **given)


def silent(event: Event) -> None:
    """Listen to nothing."""


def weights(trained: Trained) -> list[np.ndarray[Any, Any]]:
    return [tensor.numpy().copy() for tensor in trained.model.policy.state_dict().values()]


def alike(one: Trained, other: Trained) -> bool:
    a, b = (trained.model.get_vec_normalize_env() for trained in (one, other))
    moments = all(np.array_equal(getattr(a.obs_rms, name), getattr(b.obs_rms, name)) for name in ("mean", "var"))
    return moments and all(map(np.array_equal, weights(one), weights(other)))


def environment_equity(env: Any, agent: Any) -> list[float]:
    seen, _ = env.reset()
    state, start, equity, over = None, np.array([True]), [env.account.equity], False
    while not over:
        action, state = agent.predict(seen, state=state, episode_start=start, deterministic=True)
        start = np.array([False])
        seen, _, ruined, cut, _ = env.step(action)
        equity.append(env.account.equity)
        over = ruined or cut
    return equity


def backtrader_equity(bars: Bars, costs: Costs, **params: Any) -> np.ndarray[Any, Any]:
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(costs))
    cerebro.addstrategy(AgentStrategy, **params)
    cerebro.addanalyzer(Ledger, _name="ledger")
    return np.asarray(cerebro.run()[0].analyzers.ledger.path().equity)


@pytest.mark.parametrize("algo", ALGOS)
def test_what_every_algorithm_learned_trades_in_backtrader_as_in_its_environment(
    algo: str, bars: Bars, tmp_path: Path
) -> None:
    terms = {"costs": {"spread_bps": 6.0}, "low": -0.5}
    said = learn_agent(lesson(bars, small(algo, terms=terms), seeds=(3, 4)), tmp_path / "agent")
    costs = load_config("stable").costs._replace(spread_bps=6.0)
    assert said["costs"] == costs._asdict() and min(said["steps"]) >= 64
    loaded = load_agent(tmp_path / "agent")
    assert loaded["trained_until"] == END and loaded["pairs"] == ("KO:PEP",)
    start, words = "1997-01-01", {"pairs": ["KO:PEP"], "episode_bars": None, "costs": costs, "low": -0.5}
    env = ready_env("Portfolio", bars, start=start, **words)  # type: ignore[arg-type]
    assert env.observation_space.shape == (len(said["observation"]),)
    wanted = environment_equity(env, loaded["agent"])
    found = backtrader_equity(bars.select(["JNJ", "PEP", "KO"]), costs, **loaded)[env.tracks[0].span.first :]
    assert found[: len(wanted)].tolist() == wanted and len(set(wanted)) > 100, "it trades, in the order of its training"


@pytest.mark.parametrize("algo", [algo for algo in ALGOS if algo != "ars"])
def test_an_agent_that_was_killed_and_resumed_ends_with_the_same_weights(algo: str, bars: Bars, tmp_path: Path) -> None:
    class KilledError(Exception):
        """Stands for the end of a process."""

    def kill(event: Event) -> None:
        if 96 <= event.step < event.steps:
            raise KilledError

    def member(practice: Practice) -> Any:
        return members_of("agent", lesson(bars, small(algo), steps=192, practice=practice))[0]

    kept = Practice(checkpoint_dir=tmp_path, checkpoint_every=32)
    with pytest.raises(KilledError):
        train_member(member(kept), kill)
    torch.rand(3), np.random.rand(3)  # another process would have other generators
    resumed = train_member(member(kept._replace(resume=True)), silent)
    assert alike(resumed, train_member(member(Practice()), silent))


def test_ars_keeps_no_checkpoints_and_says_so(bars: Bars, tmp_path: Path) -> None:
    given = lesson(bars, small("ars"), practice=Practice(checkpoint_dir=tmp_path))
    with pytest.raises(ConfigError, match="drop --checkpoint-dir"):
        learn_agent(given, tmp_path / "agent")


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_jobs_give_the_agents_of_one_by_one(algo: str, bars: Bars) -> None:
    one, two = (
        train_all(members_of("agent", lesson(bars, small(algo), seeds=(3, 4), practice=Practice(jobs=jobs))), silent)
        for jobs in (1, 2)
    )
    assert all(map(alike, one, two)) and not alike(one[0], one[1])


@pytest.mark.parametrize("env", SPECS)
def test_nothing_behind_the_span_is_learned_from(env: str, bars: Bars) -> None:
    close, after = bars.close.copy(), bars.stamps > np.datetime64(END)
    close[after] = close[after][::-1] * 3.0
    close[~after] = bars.close[~after]
    other = Bars.checked(bars.name, bars.symbols, bars.stamps, close)
    plain = Bars.checked(bars.name, bars.symbols, bars.stamps, bars.close)
    one, two = (train_all(members_of("agent", lesson(b, small("ppo", env))), silent)[0] for b in (plain, other))
    assert alike(one, two)


# --- markets, one left out


@given(st.lists(st.booleans(), min_size=5, max_size=40), st.data())
def test_spans_that_teach_hold_every_bar_that_a_step_reads(teaches: list[bool], data: Any) -> None:
    """A step from row t reads t to t + 2 of those that may be read: brute force over all of them."""
    first = data.draw(st.integers(0, len(teaches) - 4))
    last = data.draw(st.integers(first + 1, len(teaches) - 3))
    found = {t for span in _spans(Span(first, last), np.array(teaches)) for t in range(span.first, span.last)}
    assert found == {t for t in range(first, last) if all(teaches[t : t + 3])}


def three_markets() -> tuple[Market, ...]:
    starts = {"one": "2001-01-01", "two": "2003-01-01", "three": "2005-06-01"}
    sizes = {"one": 5, "two": 3, "three": 4}
    return tuple(
        Market(name, random_bars(420, sizes[name], seed=k, start=start))
        for k, (name, start) in enumerate(starts.items())
    )


def of_markets(spec: AgentSpec, **more: Any) -> Lesson:
    given = Lesson(three_markets(), load_config("stable"), None, date(2009, 12, 31), (3,), 0, 0, agent=spec, steps=64)
    return given._replace(**more)


@pytest.mark.parametrize("env", SPECS)
def test_an_agent_of_several_markets_is_judged_on_each_by_the_others(env: str, tmp_path: Path) -> None:
    said = learn_agent(of_markets(small("ppo", env)), tmp_path / "agent")
    found = said["results"]["left_out"]
    assert set(found) == {"one", "two", "three", "gain", "standard_error", "strength_justified"}
    gains = [np.nan_to_num(found[name]["sharpe"]) - found[name]["sharpe_held"] for name in ("one", "two", "three")]
    assert found["gain"] == pytest.approx(np.mean(gains))
    assert said["n_assets"] == (3 if env == "Portfolio" else 0) and not said["in_order"] and said["pairs"] == []


def test_an_agent_of_several_markets_trades_any_as_many_symbols_as_its_environment_does(tmp_path: Path) -> None:
    learn_agent(of_markets(small("recurrent-ppo")), tmp_path / "agent")
    loaded, fresh = load_agent(tmp_path / "agent"), random_bars(420, 3, seed=9, start="2011-01-03")
    env = ready_env("Portfolio", fresh, episode_bars=None)
    wanted = environment_equity(env, loaded["agent"])
    loaded = load_agent(tmp_path / "agent")  # that remembers nothing
    found = backtrader_equity(fresh, load_config("stable").costs, **loaded)[env.tracks[0].span.first :]
    assert found[: len(wanted)].tolist() == wanted and len(set(wanted)) > 100


def test_what_shares_days_with_the_market_left_out_teaches_nothing() -> None:
    given = of_markets(small("ppo"))
    given = given._replace(agent=dealing(given), left_out=given.markets[0].bars)
    one, two, three = given.markets
    assert len(grounds_of(given._replace(markets=(two, three)), "agent")) == 2
    assert all(
        track.symbols[0] in two.bars.symbols for track in grounds_of(given._replace(markets=(two,)), "agent")[0].tracks
    )
    with pytest.raises(BarsError, match="teach nothing about the one left out"):
        grounds_of(given._replace(markets=(one,)), "agent")


def test_a_market_is_dealt_into_portfolios_that_know_their_own_symbols_alone() -> None:
    market = Market("m", random_bars(420, 5, seed=5), "AA:BB")
    world = world_of(small("ppo", n_assets=2), market)
    assert world is not None
    hands = [track.symbols for track in world.env.tracks]
    assert [len(hand) for hand in hands] == [2, 2] and len({symbol for hand in hands for symbol in hand}) == 4
    alone = ready_env("Portfolio", market.bars.select(hands[1]))
    assert np.array_equal(alone.tracks[0].features, world.env.tracks[1].features)


def test_the_reference_is_the_account_that_holds_all_alike(bars: Bars) -> None:
    validation = AgentValidation.on(Market("", bars, "KO:PEP"), load_config("stable"), small("ppo"), END)
    env = ready_env("Portfolio", bars, pairs=["KO:PEP"], start="1997-01-01", episode_bars=None)

    class Held:
        def predict(self, seen: Any, **_: Any) -> Any:
            return np.full(3, 1 / 3, np.float32), None

    equity = environment_equity(env, Held())
    assert validation.reference().net_pnl == pytest.approx(equity[-1] - equity[0], rel=1e-12)


def test_a_model_of_assets_has_the_mean_of_their_accounts(bars: Bars) -> None:
    validation = AgentValidation.on(Market("", bars), load_config("stable"), small("ppo", "Asset"), END)
    ends = []
    for symbol in bars.symbols:
        env = ready_env("Asset", bars.select([symbol]), start="1997-01-01", episode_bars=None)
        env.tracks[0] = validation.world.env.tracks[bars.symbols.index(symbol)]  # which knows the whole market
        fresh = type(env)(env.kind, env.tracks, env.task, episode_bars=None)

        class Held:
            def predict(self, seen: Any, **_: Any) -> Any:
                return np.ones(1, np.float32), None

        ends.append(environment_equity(fresh, Held())[-1])
    assert validation.reference().net_pnl == pytest.approx(np.mean(ends) - 1_000_000.0, rel=1e-9)


# --- what is kept


def test_a_file_that_is_missing_or_another_is_refused(bars: Bars, tmp_path: Path) -> None:
    learn_agent(lesson(bars, small("ppo"), seeds=(3, 4)), tmp_path / "agent")
    learn_agent(lesson(bars, small("ppo")), tmp_path / "agent")
    files = {"manifest.json", "seed3.zip", "seed3.vecnormalize.pkl"}
    assert {path.name for path in (tmp_path / "agent").iterdir()} == files, "nothing of the agent before is left"
    with pytest.raises(InSampleError, match="training span"):
        backtrader_equity(bars.between(None, "1996-06-28"), Costs(), **load_agent(tmp_path / "agent"))
    path = tmp_path / "agent" / "seed3.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    with pytest.raises(PolicyError, match="damaged or another file"):
        load_agent(tmp_path / "agent")
    path.unlink()
    with pytest.raises(PolicyError, match="cannot read"):
        load_agent(tmp_path / "agent")
    path.write_bytes(whole)
    with pytest.raises(PolicyError, match="learned with"):
        load_agent(tmp_path / "agent", reward=len)
    (tmp_path / "agent" / "manifest.json").write_text('{"format": 0}')
    with pytest.raises(PolicyError, match="of another version"):
        load_agent(tmp_path / "agent")


def test_stable_baselines_reads_its_own_files(bars: Bars, tmp_path: Path) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    learn_agent(lesson(bars, small("td3", "Asset")), tmp_path / "agent")
    model = algorithm("td3").load(tmp_path / "agent" / "seed3.zip")
    env: Any = DummyVecEnv([lambda: ready_env("Asset", bars)])
    scaled = VecNormalize.load(str(tmp_path / "agent" / "seed3.vecnormalize.pkl"), env)
    agent = load_agent(tmp_path / "agent")["agent"]
    seen = np.random.default_rng(0).normal(size=(9, model.observation_space.shape[0])).astype(np.float32)
    answer = model.predict(scaled.normalize_obs(seen), deterministic=True)[0]
    assert np.array_equal(answer, agent.predict(seen)[0])


# --- the command


def command(folder: Path, *words: str, **sections: str) -> Result:
    toml = "\n".join(f"[{name}]\n{text}" for name, text in sections.items())
    (folder / "given.toml").write_text(toml)
    span = ("--symbols", "KO,PEP,JNJ", "--train-start", "1996-01-02", "--train-end", "1996-12-31", "--seeds", "0")
    config = ("--config", str(folder / "given.toml")) if sections else ()
    return CliRunner().invoke(main, [*span, *config, *words, "--out", str(folder / "agent")])


PPO = "n_steps = 16\nbatch_size = 16\nn_epochs = 1"


def test_the_command_takes_settings_from_a_file_and_writes_for_tensorboard(tmp_path: Path) -> None:
    words = (
        "--env",
        "hybrid_bt/Portfolio-v0",
        "--algo",
        "ppo",
        "--steps",
        "64",
        "--tensorboard-log",
        str(tmp_path / "log"),
    )
    env = "n_envs = 2\nepisode_bars = 30\nrisk_aversion = 2.0\ncosts = { fee_bps = 3.0 }"
    algo = f'{PPO}\ngamma = 0.25\npolicy_kwargs = {{ net_arch = [8], activation_fn = "ELU" }}'
    result = command(tmp_path, *words, algo=algo, env=env)
    assert result.exit_code == 0, result.output
    loaded = load_agent(tmp_path / "agent")
    (model, _), *others = loaded["agent"].members
    assert not others and (model.n_steps, model.gamma, model.num_timesteps) == (16, 0.25, 64)
    layer, activation = model.policy.mlp_extractor.policy_net
    assert layer.out_features == 8 and type(activation) is torch.nn.ELU
    assert loaded["terms"] == {"risk_aversion": 2.0, "costs": load_config("stable").costs._replace(fee_bps=3.0)}
    assert "judged on nothing that it did not learn from" in result.output
    assert len(list((tmp_path / "log" / "ppo_0_1").iterdir())) == 1


def test_the_command_validates_behind_its_training(tmp_path: Path) -> None:
    words = ("--env", "Portfolio-v0", "--steps", "64", "--valid-end", "1997-06-30", "--rehearse-to", "1996-06-28")
    result = command(tmp_path, *words, algo=PPO)
    assert result.exit_code == 0 and "judged on nothing" not in result.output, result.output
    said = json.loads((tmp_path / "agent" / "manifest.json").read_text())
    assert set(said["results"]) == {"rehearsal", "validation"}
    assert load_agent(tmp_path / "agent")["trained_until"] == date(1997, 6, 30)
    assert (tmp_path / "agent.validation.csv").read_text().startswith("seed,step,net_pnl")


@pytest.mark.parametrize(
    ("words", "sections", "told"),
    [
        ((), {}, "name sac, gate, shipped or controls, or an environment"),
        (("sac", "--env", "Portfolio-v0"), {}, "or an environment"),
        (("sac", "--algo", "ppo"), {}, "--algo belongs to an agent"),
        (("gate", "--tune", "3"), {}, "--tune belongs to an agent"),
        (("--env", "Portfolo-v0"), {}, "did you mean 'Portfolio'"),
        (("--env", "Portfolio-v0"), {"env": "costs = 3.0"}, "costs: 3.0 is no Costs"),
        (("--env", "Portfolio-v0"), {"env": "reward_unit = 0.0"}, "give one above 0"),
        (("--env", "Portfolio-v0"), {"env": 'risk_aversion = "1"'}, "give a finite number"),
        (("--env", "Portfolio-v0"), {"env": "observation = {}"}, "there is nothing to be seen"),
        (("--env", "Portfolio-v0"), {"algo": "policy_kwargs = { net_arch = [-3] }"}, "negative dimension"),
        (("--env", "Portfolio-v0", "--algo", "pp0"), {}, "'pp0' is not one of"),
        (("--env", "Portfolio-v0"), {"algo": "learning_rat = 1e-3"}, "did you mean 'learning_rate'"),
        (("--env", "Portfolio-v0"), {"algo": "seed = 3"}, "ppo has no setting 'seed'"),
        (("--env", "Portfolio-v0"), {"algo": 'n_steps = "many"'}, "n_steps = 'many'"),
        (("--env", "Portfolio-v0"), {"algo": "learning_rate = -1.0"}, "Invalid learning rate"),
        (("--env", "Portfolio-v0"), {"algo": "policy_kwargs = { net_arc = [8] }"}, "did you mean 'net_arch'"),
        (("--env", "Portfolio-v0"), {"algo": 'policy_kwargs = { activation_fn = "Relu" }'}, "did you mean 'ReLU'"),
        (("--env", "Portfolio-v0"), {"env": "n_env = 3"}, "did you mean 'n_envs'"),
        (("--env", "Portfolio-v0"), {"env": "n_envs = 0"}, "n_envs"),
        (("--env", "Portfolio-v0"), {"env": "risk_aversio = 3"}, "did you mean 'risk_aversion'"),
        (("--env", "Portfolio-v0"), {"env": "costs = { fee = 3 }"}, "did you mean 'fee_bps'"),
        (("--env", "Portfolio-v0"), {"env": "costs = { fee_bps = -3 }"}, "fee_bps"),
        (("--env", "Portfolio-v0"), {"env": 'mode = "aggressive"'}, "is said by flags"),
        (("--env", "Portfolio-v0"), {"env": "n_assets = 4"}, "a market has 3 symbols"),
        (("--env", "Asset-v0"), {"env": "n_assets = 1"}, "it is of Portfolio-v0"),
        (("--env", "Portfolio-v0"), {"algos": ""}, "did you mean 'algo'"),
        (("--env", "Portfolio-v0"), {"tune": "gamma = [0.1]"}, "give --tune TRIALS"),
        (("--env", "Portfolio-v0", "--algo", "sac", "--steps", "100"), {}, "give 101 or more"),
        (("--env", "Portfolio-v0", "--tune", "2"), {}, "name two or more with --markets"),
        (("--env", "Portfolio-v0", "--tune", "2"), {"tune": "gama = [0.1]"}, "did you mean 'gamma'"),
        (("--env", "Portfolio-v0", "--tune", "2"), {"tune": "gamma = 0.1"}, "give a list of choices"),
        (("--env", "Portfolio-v0", "--tune", "2"), {"tune": "gamma = { low = 2.0, high = 1.0 }"}, "must be below high"),
        (("--env", "Portfolio-v0"), {"costs": "fee_bps = 3.0"}, "[costs] is not an agent's"),
        (("sac",), {"algos": ""}, "did you mean 'algo'"),
        (("--env", "Portfolio-v0", "--tune", "2"), {"tune": 'n_steps = [16, "x"]'}, "n_steps = 'x'"),
        (("sac",), {"algo": "temprature = 0.1"}, "did you mean 'temperature'"),
        (("gate",), {"algo": "entropi = 0.1"}, "did you mean 'entropy'"),
        (("sac",), {"env": "n_envs = 2"}, "[env] belongs to an agent"),
        (("shipped",), {"algo": "temperature = 0.1"}, "drop [algo]"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_learned(
    words: tuple[str, ...], sections: dict[str, str], told: str, tmp_path: Path
) -> None:
    result = command(tmp_path, *words, **sections)
    assert result.exit_code == 2, result.output
    assert told in result.stderr and "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"given.toml"}


def test_an_agent_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "agent").touch()
    result = command(tmp_path, "--env", "Portfolio-v0")
    assert result.exit_code == 2 and "is a file; an agent is kept in a folder" in result.stderr


def test_a_training_that_diverges_is_told_in_one_line(tmp_path: Path) -> None:
    result = command(tmp_path, "--env", "Portfolio-v0", "--steps", "256", algo=f"{PPO}\nlearning_rate = 1e30")
    assert result.exit_code == 2 and "[algo]: ppo with" in result.stderr, result.output
    assert not (tmp_path / "agent").exists()


def test_a_section_of_the_file_is_the_settings_of_sac_and_gate_too(tmp_path: Path) -> None:
    from hybrid_bt.policies.frozen import FrozenPolicy

    algo = "learning_starts = 32\nbatch_size = 32\nn_groups = 2\nn_symbols = 3\ntemperature = 0.5"
    result = command(tmp_path, "sac", "--sac-steps", "100", algo=algo)
    assert result.exit_code == 0, result.output
    reward = FrozenPolicy.load(tmp_path / "agent").manifest.reward
    assert (reward["temperature"], reward["learning_rate"]) == (0.5, 5e-4)


# --- tuning


def account(rate: float) -> Summary:
    stamps = np.arange("2001-01-01", "2001-03-01", dtype="M8[D]").astype("M8[ns]")
    equity = 1e6 * np.exp(rate * np.arange(len(stamps)))
    return summarise(equity, stamps, 252.0, traded_notional=np.nan, costs=np.nan)


def test_the_search_finds_what_gains_prunes_what_does_not_and_passes_over_what_fails() -> None:
    pytest.importorskip("optuna")
    asked: list[int] = []
    market = three_markets()[0]

    def judged(number: int, settings: dict[str, Any]) -> Iterator[tuple[Market, Summary, float]]:
        if settings["kind"] == "bad":
            raise ConfigError("diverged")
        for _ in range(3):
            asked.append(number)
            yield market, account(0.0), -abs(settings["x"] - 3.0)

    space = {"x": Range(0.0, 10.0), "n": Range(2, 5), "kind": ["good", "bad"]}
    trials = list(search(space, 40, 0, judged))
    ended = [trial.ended for trial in trials]
    assert set(ended) == {"complete", "pruned", "diverged"} and [trial.number for trial in trials] == list(range(40))
    assert all(asked.count(trial.number) == len(trial.judged) for trial in trials)
    assert all(len(trial.judged) == 3 for trial in trials if trial.ended == "complete")
    assert any(len(trial.judged) == 1 for trial in trials if trial.ended == "pruned")
    assert abs(best(trials).settings["x"] - 3.0) < 0.5 and best(trials).settings["kind"] == "good"
    assert all(isinstance(trial.settings["n"], int) and 2 <= trial.settings["n"] <= 5 for trial in trials)
    again = list(search(space, 40, 0, judged))
    assert [trial.settings for trial in again] == [trial.settings for trial in trials]


def test_a_search_in_which_nothing_is_completed_says_why() -> None:
    pytest.importorskip("optuna")

    def judged(number: int, settings: dict[str, Any]) -> Iterator[tuple[Market, Summary, float]]:
        yield three_markets()[0], account(0.0), 1.0
        raise ConfigError("too few steps")

    trials = list(search({"x": [1, 2]}, 3, 0, judged))
    assert [len(trial.judged) for trial in trials] == [1, 1, 1], "what was looked at is counted"
    with pytest.raises(ConfigError, match="none of 3 trials was completed; the last: too few steps"):
        best(trials)


@pytest.mark.parametrize("algo", ALGOS)
def test_every_algorithm_has_something_to_seek_where_nothing_is_asked_for(algo: str) -> None:
    given = of_markets(small(algo))
    space = space_of({}, given)
    assert "learning_rate" in space and set(space) <= set(settable(algo)) - set(given.agent.settings)
    with pytest.raises(ConfigError, match="say there what is to be sought"):
        space_of({}, given._replace(agent=small(algo, settings=dict.fromkeys(SPACE, 0))))


def test_trials_are_lines_of_the_ledger_and_the_best_is_trained(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    for market in three_markets()[:2]:
        frame = market.bars.to_frame()
        frame.to_csv(tmp_path / f"{market.name}.csv", index=False)
    markets = ",".join(str(tmp_path / f"{name}.csv") for name in ("one", "two"))
    (tmp_path / "given.toml").write_text(f"[algo]\n{PPO}\n[env]\nn_envs = 2\n[tune]\ngamma = [0.0, 0.5, 0.9]\n")
    words = ["--env", "Portfolio-v0", "--steps", "32", "--tune", "3", "--markets", markets, "--seeds", "1"]
    words += ["--config", str(tmp_path / "given.toml"), "--out", str(tmp_path / "agent")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    trials = read_trials(tmp_path / "runs.jsonl").trials
    assert [(one["trial"], one["data"]) for one in trials] == [(k, name) for k in range(3) for name in ("one", "two")]
    assert all(one["command"] == "train" and one["left_out"] and one["span"][1] < "2010" for one in trials)
    said = json.loads((tmp_path / "agent" / "manifest.json").read_text())
    gains = [np.mean([one["gain"] for one in trials if one["trial"] == k]) for k in range(3)]
    chosen = said["results"]["tuning"]
    assert chosen == {"trials": 3, "best": int(np.argmax(gains)), "gain": pytest.approx(max(gains))}
    assert said["settings"]["gamma"] == trials[2 * chosen["best"]]["config"]["settings"]["gamma"]
    assert said["results"]["left_out"]["gain"] == pytest.approx(max(gains)), "the same training, judged again"
    listed = CliRunner().invoke(runs, ["--ledger", str(tmp_path / "runs.jsonl")])
    assert listed.exit_code == 0 and "different configurations were tried on one" in listed.output, listed.output
    (tmp_path / "runs.jsonl").unlink()
    assert CliRunner().invoke(main, [*words, "--no-ledger"]).exit_code == 0 and not (tmp_path / "runs.jsonl").exists()
