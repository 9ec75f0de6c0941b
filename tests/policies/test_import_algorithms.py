"""Every algorithm of Stable-Baselines3 and sb3-contrib that has a Box of actions: trained for a few steps on our own
environments, saved, imported, and asked: the same answers. And what no graph can hold, which runs as an object.
"""

from __future__ import annotations

import base64
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch
from click.testing import CliRunner, Result
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import hybrid_bt.envs
from hybrid_bt.commands.policy import main
from hybrid_bt.commands.run import main as run_main
from hybrid_bt.equations.features import OBSERVATIONS
from hybrid_bt.errors import PolicyError
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.sb3_model import import_model
from hybrid_bt.policies.sb3_policy import TrustedPolicy

SYMBOLS = list(hybrid_bt.envs.SAMPLE)
STATED = {"train_start": "2000-01-03", "train_end": "2009-12-31", "symbols": SYMBOLS, "costs": {}, "reward": "growth"}
NO_BOX = {"DQN", "QRDQN", "MaskablePPO"}  #: whose actions are choices
#: all that is offered
ALGORITHMS: dict[str, Any] = {
    name: found
    for package in (stable_baselines3, sb3_contrib)
    for name, found in vars(package).items()
    if isinstance(found, type) and issubclass(found, BaseAlgorithm) and name not in NO_BOX
}
KINDS = {"sac": "Asset", "gate": "Regime", "portfolio": "Portfolio"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def environment(kind: str, bars: int = 30) -> Any:
    return gym.make(f"hybrid_bt/{KINDS[kind]}-v0", episode_bars=bars)


def learned(name: str, env: Any, policy: str = "", steps: int = 32, **options: Any) -> Any:
    """A model that learned for a few steps."""
    own: dict[str, Any] = {"n_delta": 1} if name == "ARS" else {"n_steps": 16}
    if hasattr(ALGORITHMS[name], "_store_transition"):
        own = {"learning_starts": 20, "buffer_size": 100, "batch_size": 16}
    net = {"net_arch": [32, 16], **({"lstm_hidden_size": 12} if name == "RecurrentPPO" else {})}
    options = {"policy_kwargs": net} | options
    policy = policy or ("MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ALGORITHMS[name](policy, env, seed=0, device="cpu", **own, **options).learn(steps)


def seen(env: Any, n: int) -> np.ndarray:
    """Observations of an episode."""
    rows = [env.reset(seed=1)[0]]
    env.action_space.seed(1)
    while len(rows) < n:
        rows.append(env.step(env.action_space.sample())[0])
    return np.array(rows)


def answers(model: Any, x: np.ndarray) -> np.ndarray:
    """Of SB3, a memory carried from row to row."""
    if not hasattr(model.policy, "lstm_actor"):
        return np.asarray(model.predict(x, deterministic=True)[0])
    state, found = None, []
    for t, row in enumerate(x):
        action, state = model.predict(row, state=state, episode_start=np.array([t == 0]), deterministic=True)
        found.append(action)
    return np.array(found)


def test_the_registry_is_that_of_both_libraries() -> None:
    assert {"SAC", "TD3", "DDPG", "PPO", "A2C", "TQC", "CrossQ", "ARS", "TRPO", "RecurrentPPO"} <= set(ALGORITHMS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "portfolio") for name in ALGORITHMS),
        *((name, "sac") for name in ALGORITHMS if name != "RecurrentPPO"),
        *(("RecurrentPPO", "gate"), ("CrossQ", "gate")),
    ],
)
def test_an_import_answers_as_the_model_does(name: str, kind: str, tmp_path: Path) -> None:
    model = learned(name, environment(kind))
    model.save(tmp_path / "model.zip")
    x = seen(environment(kind, 160), 150)
    expected = answers(model, x)
    assert np.ptp(expected) > 1e-4
    found = []
    for trust in (False, True):
        policy: Any = import_model(tmp_path / "model.zip", None, tmp_path / "own.onnx", STATED, trust=trust)
        np.testing.assert_allclose(policy.run(x).reshape(expected.shape), expected, rtol=0, atol=1e-6)
        assert policy.manifest.kind == kind and policy.manifest.actions == expected.shape[1]
        found.append(policy.sha256)
    assert found[0] == found[1], "one freezer, whoever reads the file"
    state, action = None, None
    for t, row in enumerate(x[:5]):
        action, state = policy.predict(row, state, np.array([t == 0]), True)
        np.testing.assert_allclose(action, expected[t], rtol=0, atol=1e-6)
    assert FrozenPolicy.load(str(tmp_path / "own.onnx")).sha256 == policy.sha256


@pytest.mark.parametrize(
    ("name", "policy", "options"),
    [
        ("ARS", "LinearPolicy", {}),
        ("ARS", "LinearPolicy", {"with_bias": True, "squash_output": True}),
        ("ARS", "MlpPolicy", {"squash_output": False, "activation_fn": torch.nn.Tanh}),
        ("CrossQ", "MlpPolicy", {"net_arch": [24, 16], "batch_norm_eps": 0.5}),
        ("CrossQ", "MlpPolicy", {"batch_norm": False}),
        ("TQC", "MlpPolicy", {"n_quantiles": 5, "net_arch": {"pi": [12], "qf": [9]}}),
        ("TRPO", "MlpPolicy", {"net_arch": {"pi": [], "vf": [4]}}),
        ("RecurrentPPO", "MlpLstmPolicy", {"n_lstm_layers": 2, "lstm_hidden_size": 6}),
    ],
)
def test_options_of_a_policy_are_read_off_its_zip(
    name: str, policy: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = learned(name, environment("portfolio"), policy, policy_kwargs=options)
    model.save(tmp_path / "model.zip")
    x = seen(environment("portfolio", 110), 100)
    inert, trusted = (
        import_model(tmp_path / "model.zip", None, tmp_path / "own.onnx", STATED, trust=trust)
        for trust in (False, True)
    )
    np.testing.assert_allclose(inert.run(x), answers(model, x), rtol=0, atol=1e-6)  # type: ignore[union-attr]
    assert inert.sha256 == trusted.sha256


def test_what_a_model_reads_is_that_of_the_environment_with_its_shape(tmp_path: Path) -> None:
    out = tmp_path / "own.onnx"
    learned("PPO", environment("portfolio")).save(tmp_path / "model.zip")
    names = import_model(tmp_path / "model.zip", None, out, STATED).manifest.observation
    features, market = OBSERVATIONS["sac"], OBSERVATIONS["gate"]
    assert names[: len(features)] == tuple(f"KO {name}" for name in features)
    assert names[-len(market) - 3 :] == (*market, "KO weight", "PEP weight", "JNJ weight")
    out.unlink()
    for stated, given, says in (
        ({"symbols": ["KO", "PEP"]}, None, r"answers 3, as no environment for 2 symbol.*portfolio 28 and 2"),
        ({"kind": "sac"}, None, "7 observation names for a model that reads"),
        ({}, ["KO weight"], "reads all that its environment shows, in order"),
        ({}, list(reversed(names)), "reads all that its environment shows, in order"),
        ({}, ["KO wait"], "did you mean 'KO weight'"),
    ):
        with pytest.raises(PolicyError, match=says):
            import_model(tmp_path / "model.zip", given, out, STATED | stated)
    assert not out.exists()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_missing_vecnormalize_is_said(name: str, tmp_path: Path) -> None:
    scaled = VecNormalize(DummyVecEnv([lambda: environment("portfolio")]))
    model = learned(name, scaled)
    model.save(tmp_path / "model.zip")
    scaled.save(str(tmp_path / "stats.pkl"))
    tells = name in ("PPO", "A2C", "TRPO", "RecurrentPPO")
    for trust in ([], ["--trust"]):
        done = command(tmp_path / "model.zip", tmp_path / "own.onnx", *trust)
        said = "the model learned under VecNormalize" if tells else "does not say whether it learned under VecNormalize"
        assert said in done.output and "--vecnormalize" in done.output
        assert (done.exit_code == 2) == tells
    x = seen(environment("portfolio", 60), 50)
    done = command(tmp_path / "model.zip", tmp_path / "own.onnx", "--vecnormalize", str(tmp_path / "stats.pkl"))
    assert done.exit_code == 0 and "VecNormalize" not in done.output, done.output
    policy = FrozenPolicy.load(str(tmp_path / "own.onnx"))
    np.testing.assert_allclose(policy.run(x), answers(model, scaled.normalize_obs(x)), rtol=0, atol=1e-6)


def command(model: Path, out: Path, *flags: str) -> Result:
    words = [str(model), "--out", str(out), "--train-start", "2000-01-03", "--train-end", "2009-12-31"]
    return CliRunner().invoke(main, ["import-sb3", *words, "--symbols", ",".join(SYMBOLS), *flags])


def test_spaces_of_gym_are_read_as_words_where_sb3_is_trusted(tmp_path: Path) -> None:
    """A zip of an old version: its spaces are pickles of a package that nobody has any more."""
    model = learned("PPO", environment("portfolio"))
    model.save(tmp_path / "new.zip")
    gone = base64.b64encode(b"cgym.spaces.box\nBox\n.").decode()
    with zipfile.ZipFile(tmp_path / "new.zip") as new, zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
        for member in new.namelist():
            text = new.read(member)
            if member == "data":
                data = json.loads(text)
                for key in ("observation_space", "action_space"):
                    data[key] |= {":type:": "<class 'gym.spaces.box.Box'>", ":serialized:": gone}
                text = json.dumps(data).encode()
            old.writestr(member, text)
    with pytest.raises(Exception), warnings.catch_warnings():  # noqa: B017  whatever SB3 says
        warnings.simplefilter("ignore")
        stable_baselines3.PPO.load(tmp_path / "old.zip", device="cpu")
    files = [
        import_model(tmp_path / name, None, tmp_path / "own.onnx", STATED, trust=trust)
        for name, trust in (("old.zip", False), ("old.zip", True))
    ]
    x = seen(environment("portfolio", 60), 50)
    for policy in files:
        np.testing.assert_allclose(policy.act(x), answers(model, x), rtol=0, atol=1e-6)


class Doubled(BaseFeaturesExtractor):
    """No graph is made of it."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, observation_space.shape[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model that cannot be frozen, and where it lies with its statistics."""
    folder = tmp_path_factory.mktemp("odd")
    scaled = VecNormalize(DummyVecEnv([lambda: environment("sac")]), clip_obs=2.0)
    model = learned("SAC", scaled, policy_kwargs={"features_extractor_class": Doubled})
    model.save(folder / "model.zip")
    scaled.save(str(folder / "stats.pkl"))
    return folder, (model, scaled)


def test_what_cannot_be_frozen_is_kept_as_an_object_where_it_is_trusted(odd: Any, tmp_path: Path) -> None:
    folder, (model, scaled) = odd
    known = "--vecnormalize", str(folder / "stats.pkl")
    for out, flags, says in (
        ("own.onnx", (), "--trust lets SB3 load it"),
        ("own.onnx", ("--trust",), "features extractor Doubled .*keep it as an object, --out NAME.zip"),
        ("own.zip", (), "would be an object, which SB3 loads and runs; give --trust"),
    ):
        done = command(folder / "model.zip", tmp_path / out, *known, *flags)
        assert done.exit_code == 2 and not list(tmp_path.iterdir())
        assert re.search(says, done.output), done.output
    done = command(folder / "model.zip", tmp_path / "own.zip", *known, "--trust")
    assert done.exit_code == 0, done.output
    policy, x = TrustedPolicy.load(tmp_path / "own.zip"), seen(environment("sac", 60), 50)
    expected = answers(model, scaled.normalize_obs(x))
    np.testing.assert_array_equal(policy.act(x), expected[:, 0])
    np.testing.assert_array_equal(policy.predict(x[0])[0], expected[0])
    with pytest.raises(PolicyError, match="does not say what it was trained on"):
        TrustedPolicy.load(folder / "model.zip")


def test_a_run_of_an_object_is_trusted_and_marked(odd: Any, tmp_path: Path) -> None:
    folder, _ = odd
    known = "--vecnormalize", str(folder / "stats.pkl")
    assert command(folder / "model.zip", tmp_path / "own.zip", *known, "--trust").exit_code == 0
    flags = ["--sac", str(tmp_path / "own.zip"), "--symbols", "KO,PEP", "--end", "2010-06-30", "--no-ppo-lstm"]
    flags += ["--no-plots", "--out", str(tmp_path / "fig")]
    done = CliRunner().invoke(run_main, flags)
    assert done.exit_code == 2 and "--trust lets SB3 load it" in done.output
    done = CliRunner().invoke(run_main, [*flags, "--trust"])
    assert done.exit_code == 0, done.output
    assert "SAC AS AN OBJECT" in done.output and "OBJECT: sac is no frozen file" in done.output
    assert "sac object" in done.output, "the account that it trades alone"
    facts = json.loads((tmp_path / "fig" / "run.json").read_text())
    policy = TrustedPolicy.load(tmp_path / "own.zip")
    assert facts["policies"]["sac"]["object"] == "a SAC that Stable-Baselines3 runs"
    assert facts["policies"]["sac"]["sha256"] == policy.sha256
    assert any("OBJECT" in note for note in facts["notes"]) and "sac object" in facts["accounts"]
    assert (tmp_path / "fig" / "fills.csv").read_text().count("\n") > 1
    done = CliRunner().invoke(run_main, ["--start", "2009-06-01", *flags, "--trust"])
    assert done.exit_code == 2, "the stated training span guards an object too"


def test_an_object_of_a_portfolio_is_a_leg(tmp_path: Path) -> None:
    net = {"features_extractor_class": Doubled, "lstm_hidden_size": 6}
    learned("RecurrentPPO", environment("portfolio"), policy_kwargs=net).save(tmp_path / "model.zip")
    done = command(tmp_path / "model.zip", tmp_path / "own.zip", "--trust", "--unscaled")
    assert done.exit_code == 0 and "portfolio from RecurrentPPO" in done.output
    flags = ["--sac", str(tmp_path / "own.zip"), "--symbols", ",".join(SYMBOLS), "--end", "2010-03-31", "--trust"]
    done = CliRunner().invoke(run_main, [*flags, "--no-kalman", "--no-plots", "--out", str(tmp_path / "fig")])
    assert done.exit_code == 0 and "SAC AS AN OBJECT" in done.output, done.output
    facts = json.loads((tmp_path / "fig" / "run.json").read_text())
    assert facts["legs"]["sac"]["object"] == "a RecurrentPPO that Stable-Baselines3 runs"
    assert facts["accounts"]["recurrentppo object"]["fills"] and facts["legs"]["sac"]["env"] == "Portfolio"
