"""An account is called by what runs in it: a policy of another algorithm in the leg `sac` gives that leg's account its
own name, in runs and studies, and changes nothing else."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from brain_cases import PAIRS, random_bars
from click.testing import CliRunner
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3

from hybrid_bt.account.registry import learned_accounts, study_accounts
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars.market import Market
from hybrid_bt.commands.study import main as study
from hybrid_bt.config.task import Case, prepare
from hybrid_bt.equations.features import OBSERVATIONS
from hybrid_bt.evidence.study import Plan
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.sb3_model import import_model

#: DDPG is a TD3 with other settings, and SB3 saves it as one
NAMES = {SAC: "sac", TD3: "td3", DDPG: "td3", PPO: "ppo", A2C: "a2c"}
STATED = {"train_start": "1995-01-03", "train_end": "2009-12-31", "symbols": ["KO"], "costs": {}, "reward": "none"}


class World(gym.Env[Any, Any]):
    observation_space = spaces.Box(-np.inf, np.inf, (len(OBSERVATIONS["sac"]),), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)


def imported(algorithm: Any, folder: Path) -> FrozenPolicy:
    model = algorithm("MlpPolicy", World(), policy_kwargs={"net_arch": [5]}, seed=0, device="cpu")
    model.save(folder / "model.zip")
    stated = {"kind": "sac", "observation": OBSERVATIONS["sac"], "action_meaning": "tilt", **STATED}
    return import_model(folder / "model.zip", OBSERVATIONS["sac"], folder / "own.onnx", stated, unscaled=True)


@pytest.mark.parametrize("algorithm", NAMES)
def test_a_run_calls_the_account_of_a_policy_by_its_algorithm(algorithm: Any, tmp_path: Path) -> None:
    bars, name = random_bars(430, seed=3), NAMES[algorithm]
    made = run_backtest(bars, pairs=PAIRS, policies={"sac": imported(algorithm, tmp_path)}, allow_in_sample=True)
    assert list(made.accounts)[:3] == ["hybrid", name, "kalman"] and ("sac" in made.accounts) == (name == "sac")
    assert [row[0] for row in made.table()][2] == name
    assert set(made.decisions.legs) == {"sac", "kalman"}, "legs keep the names of their places"
    assert any(f"its account is `{name}`" in note for note in made.notes) == (name != "sac")

    def same(observations: Any) -> Any:
        return policy.act(observations)

    policy = FrozenPolicy.load(tmp_path / "own.onnx")
    unnamed = run_backtest(bars, pairs=PAIRS, policies={"sac": same}, allow_in_sample=True)
    assert np.array_equal(unnamed.accounts["sac"].equity, made.accounts[name].equity)


def task_with(policy: FrozenPolicy, config: dict[str, Any] | None = None) -> Case:
    market = Market("", random_bars(430, seed=3), PAIRS)
    return prepare(market, config=config, policies={"sac": policy}, allow_in_sample=True)


@pytest.mark.parametrize("algorithm", NAMES)
def test_a_study_counts_it_among_the_learned(algorithm: Any, tmp_path: Path) -> None:
    policy, name = imported(algorithm, tmp_path), NAMES[algorithm]
    plan = Plan(task_with(policy), (), 0)
    assert plan.learned() == ("hybrid", name, *learned_accounts(())[1:])
    assert plan.learned() == study_accounts((name, "kalman"), name)[: len(plan.learned())]
    off = Plan(task_with(policy, {"sac": {"enabled": False}}), (), 0)
    assert off.leg_accounts() == {"kalman": "kalman"} and name not in off.learned()


def test_what_a_manifest_says_is_no_name_unless_it_is_an_algorithm(tmp_path: Path) -> None:
    manifest = imported(PPO, tmp_path).manifest
    for said in ("hybrid", "kalman", "", None, 3, ["PPO"], {"a": 1}, "\x1b[31m", "gate-off"):
        odd = manifest.model_copy(update={"results": {"imported_from": said}})
        assert odd.algorithm == "sac", said


def test_the_tables_and_the_page_of_a_study_say_it(tmp_path: Path) -> None:
    imported(PPO, tmp_path)
    (tmp_path / "own.toml").write_text(f'[sac]\nfile = "{tmp_path / "own.onnx"}"\n')
    words = ["--symbols", "KO,PEP,XOM,CVX", "--pairs", "KO:PEP", "--end", "2011-06-30", "--windows", "2"]
    words += [
        "--seeds",
        "1",
        "--resamples",
        "40",
        "--config",
        str(tmp_path / "own.toml"),
        "--out",
        str(tmp_path / "st"),
    ]
    answer = CliRunner().invoke(study, words)
    assert answer.exit_code == 0, answer.output
    for table in ("ablation", "windows", "seeds", "costs"):
        with open(tmp_path / "st" / f"{table}.csv", newline="") as file:
            accounts = {row["account"] for row in csv.DictReader(file)}
        assert "ppo" in accounts and "sac" not in accounts, table
    page = (tmp_path / "st" / "study.html").read_text()
    assert "PPO beats equal weight" in page and "SAC beats" not in page
