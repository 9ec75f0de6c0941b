"""Models that SB3 saved: the same answers when frozen, and nothing in their files runs unless it is trusted."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from gymnasium import spaces
from places import ROOT
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from hybrid_bt.commands.policy import main
from hybrid_bt.commands.run import main as run_main
from hybrid_bt.equations.features import OBSERVATIONS
from hybrid_bt.errors import PolicyError
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.sb3_archive import read_statistics
from hybrid_bt.policies.sb3_model import import_model

ASSET, MARKET = OBSERVATIONS["sac"], OBSERVATIONS["gate"]
N = 5
READ = {"sac": ASSET[:N], "gate": MARKET[:N]}
STATED = {"train_start": "1995-01-03", "train_end": "2009-12-31", "symbols": ["KO"], "costs": {}, "reward": "none"}


class World(gym.Env[Any, Any]):
    """Observations around 3 with a spread of 20 in the last column, so that scaling them matters."""

    def __init__(self, low: float = -1.0, high: float = 1.0, width: int = N, actions: Any = None) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = actions or spaces.Box(np.float32(low), np.float32(high), (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._draw(), -float(np.sum(np.square(action))), False, self.t >= 20, {}

    def _draw(self) -> Any:
        n = self.observation_space.shape[0]
        scale = np.append(np.ones(n - 1), 20.0)
        return (3.0 + scale * self.np_random.standard_normal(n)).astype(np.float32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(cls: Any, env: Any = None, options: dict[str, Any] | None = None, **policy: Any) -> Any:
    """An untrained model whose actions are as far apart as a trained one's."""
    kind = "MlpLstmPolicy" if cls is RecurrentPPO else "MlpPolicy"
    policy = {"net_arch": [9, 6], **({"lstm_hidden_size": 7} if cls is RecurrentPPO else {}), **policy}
    model = cls(kind, env or World(), policy_kwargs=policy, seed=0, device="cpu", **(options or {}))
    if cls in (PPO, A2C, RecurrentPPO):
        with torch.no_grad():
            model.policy.action_net.weight.mul_(50.0)
    return model


def frozen(model: Path, out: Path, kind: str = "sac", names: Any = None, **changes: Any) -> FrozenPolicy:
    stated = STATED | changes.pop("stated", {})
    stated = {"kind": kind, "action_meaning": "exposure", **stated}
    return import_model(model, names or READ[kind], out, stated, **changes)


def imported(model: Any, folder: Path, kind: str = "sac", **changes: Any) -> FrozenPolicy:
    model.save(folder / "model.zip")
    return frozen(folder / "model.zip", folder / "model.onnx", kind, **changes)


def seen(n: int, width: int = N) -> np.ndarray:
    rng = np.random.default_rng(42)
    return (rng.standard_normal((n, width)) * 10.0 ** rng.uniform(-2, 0.7, (n, 1))).astype(np.float32)


def whole(x: np.ndarray, names: tuple[str, ...], all_names: tuple[str, ...]) -> np.ndarray:
    """The observation that the running code makes; what the model does not read is noise."""
    rows = np.random.default_rng(3).standard_normal((len(x), len(all_names)))
    rows[:, [all_names.index(name) for name in names]] = x
    return rows


def carried(model: Any, x: np.ndarray) -> np.ndarray:
    state, actions = None, np.empty(len(x))
    for t, row in enumerate(x):
        start = np.array([t == 0])
        action, state = model.predict(row, state=state, episode_start=start, deterministic=True)
        actions[t] = action[0]
    return actions


CASES: dict[str, Callable[[], Any]] = {
    "SAC": lambda: made(SAC),
    "SAC in a box": lambda: made(SAC, World(-0.3, 1.7), activation_fn=nn.Tanh, net_arch={"pi": [4], "qf": [64, 3]}),
    "SAC linear": lambda: made(SAC, net_arch=[]),
    "SAC SiLU": lambda: made(SAC, activation_fn=nn.SiLU),
    "TD3": lambda: made(TD3, World(0.0, 2.0)),
    "TD3 LeakyReLU": lambda: made(TD3, activation_fn=nn.LeakyReLU, net_arch=[]),
    "DDPG": lambda: made(DDPG, activation_fn=nn.Sigmoid, net_arch=[5]),
    "PPO": lambda: made(PPO, World(-0.2, 0.5)),
    "PPO ReLU": lambda: made(PPO, activation_fn=nn.ReLU, net_arch={"pi": [3], "vf": [8, 8]}, ortho_init=False),
    "PPO gSDE": lambda: made(PPO, options={"use_sde": True}, net_arch=[]),
    "A2C": lambda: made(A2C, optimizer_kwargs={"eps": 1e-5}),
}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_equals_predict(tmp_path: Path, case: str, trust: bool) -> None:
    model = CASES[case]()
    policy = imported(model, tmp_path, trust=trust)
    x = seen(10_000)
    expected = model.predict(x, deterministic=True)[0][:, 0]
    assert np.ptp(expected) > 0.05
    answers = policy.act(x)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-5)
    assert [policy.act(x[i : i + 3])[0] for i in range(20)] == answers[:20].tolist(), "rows do not touch each other"
    found = str(policy.manifest.results["imported_from"])
    assert found == {"DDPG": "TD3"}.get(case.split()[0], case.split()[0])


LSTMS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers, no net": {"n_lstm_layers": 2, "net_arch": []},
    "shared": {"shared_lstm": True, "enable_critic_lstm": False, "activation_fn": nn.ReLU},
    "no critic LSTM, no bias": {"enable_critic_lstm": False, "lstm_kwargs": {"bias": False}},
}


@pytest.mark.parametrize("case", LSTMS)
def test_recurrent_equals_predict_with_its_state_carried(tmp_path: Path, case: str) -> None:
    check_recurrent(tmp_path, LSTMS[case], 500)
    inert, trusted = (frozen(tmp_path / "model.zip", tmp_path / "2.onnx", "gate", trust=trust) for trust in (0, 1))
    assert inert.sha256 == trusted.sha256


@pytest.mark.slow
@pytest.mark.parametrize("case", LSTMS)
def test_recurrent_equals_predict_for_10_000_steps(tmp_path: Path, case: str) -> None:
    check_recurrent(tmp_path, LSTMS[case], 10_000)


def check_recurrent(folder: Path, options: dict[str, Any], n: int) -> None:
    model = made(RecurrentPPO, **options)
    policy, x = imported(model, folder, "gate"), seen(n)
    expected = carried(model, x)
    assert np.ptp(expected) > 0.1 and policy.manifest.recurrent is not None
    np.testing.assert_allclose(policy.run(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cls", [SAC, PPO, RecurrentPPO])
def test_vecnormalize_is_part_of_the_file(tmp_path: Path, cls: Any) -> None:
    env = VecNormalize(DummyVecEnv([World]), clip_obs=1.5, epsilon=0.3)
    options = {"learning_starts": 10} if cls is SAC else {"n_steps": 32}
    model = made(cls, env, options).learn(64)
    env.save(str(tmp_path / "stats.pkl"))
    kind = "gate" if cls is RecurrentPPO else "sac"
    policy = imported(model, tmp_path, kind, vecnormalize=tmp_path / "stats.pkl")
    x = (3.0 + 20.0 * seen(2_000)).astype(np.float32)
    scaled = env.normalize_obs(x)
    assert 0.1 < (np.abs(scaled) == np.float32(1.5)).mean() < 0.99, "the clip bites, not everywhere"
    expected = carried(model, scaled) if kind == "gate" else model.predict(scaled, deterministic=True)[0][:, 0]
    answers = policy.run(x)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-5)
    scaling = policy.manifest.scaling
    assert scaling is not None and scaling.clip == 1.5 and scaling.mean[:N] == tuple(env.obs_rms.mean)
    assert policy.manifest.format_version == 2


def test_vecnormalize_of_rewards_only_changes_nothing(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([World]), norm_obs=False)
    env.save(str(tmp_path / "stats.pkl"))
    policy = imported(made(SAC, env), tmp_path, vecnormalize=tmp_path / "stats.pkl")
    assert policy.manifest.scaling is None


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    names = (ASSET[5], ASSET[0], ASSET[-1], ASSET[3], ASSET[2])
    model = made(SAC)
    policy, x = imported(model, tmp_path, names=names), seen(100)
    rows = whole(x, names, ASSET)[:, policy.columns_in(ASSET)]  # as a leg picks them
    expected = model.predict(x, deterministic=True)[0][:, 0]
    np.testing.assert_allclose(policy.act(rows), expected, rtol=0, atol=1e-5)
    assert policy.manifest.observation == names


@pytest.mark.parametrize("cls", [SAC, TD3, PPO, A2C])
def test_observations_are_clipped_as_sb3_clips_them_which_it_does_not(tmp_path: Path, cls: Any) -> None:
    env = World()
    env.observation_space = spaces.Box(-0.5, 0.5, (N,), np.float32)
    model = made(cls, env)
    policy, x = imported(model, tmp_path), seen(2_000)
    expected = model.predict(x, deterministic=True)[0][:, 0]
    inside = model.predict(x.clip(-0.5, 0.5), deterministic=True)[0][:, 0]
    assert np.abs(expected - inside).max() > 0.01, "it matters outside the Box"
    np.testing.assert_allclose(policy.act(x), expected, rtol=0, atol=1e-5)
    assert policy.manifest.observation_clip == float(np.finfo(np.float32).max)
    assert imported(model, tmp_path, stated={"observation_clip": 7.5}).manifest.observation_clip == 7.5


OLD = sorted(
    (ROOT / "tests" / "cases" / "data" / "sb3").glob("*.zip")
)  # saved by 2.3.2 and 2.6.0, schedules as lambdas


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_zips_of_older_versions_with_functions_for_schedules_are_read(tmp_path: Path, path: Path) -> None:
    recurrent = path.name.startswith("Recurrent")
    kind, cls = ("gate", RecurrentPPO) if recurrent else ("sac", PPO)
    said = data_of(path)
    assert ":serialized:" in said["clip_range"] and ":serialized:" in said["lr_schedule"]
    model, x = cls.load(path, device="cpu"), seen(300)
    expected = carried(model, x) if recurrent else model.predict(x, deterministic=True)[0][:, 0]
    assert np.ptp(expected) > 0.05
    for trust in (False, True):
        policy = frozen(path, tmp_path / "old.onnx", kind, trust=trust)
        np.testing.assert_allclose(policy.run(x), expected, rtol=0, atol=1e-5)
        assert policy.manifest.versions["stable-baselines3"] == path.stem.split("-")[1]
        assert policy.manifest.gradient_steps == model._n_updates * 1 == 10  # 32 steps, batches of 64 and more


@pytest.mark.parametrize("cls", [PPO, A2C, RecurrentPPO])
@pytest.mark.parametrize("norm_obs", [True, False])
def test_a_model_that_learned_under_vecnormalize_is_not_taken_without_it(
    tmp_path: Path, cls: Any, norm_obs: bool
) -> None:
    env = VecNormalize(DummyVecEnv([World]), norm_obs=norm_obs)
    made(cls, env, {"n_steps": 32}).learn(32).save(tmp_path / "model.zip")
    env.save(str(tmp_path / "stats.pkl"))
    out, kind = tmp_path / "model.onnx", "gate" if cls is RecurrentPPO else "sac"
    for trust in (False, True):
        with pytest.raises(PolicyError, match="learned under VecNormalize; give what its save"):
            frozen(tmp_path / "model.zip", out, kind, trust=trust)
    assert not out.exists()
    with_it = frozen(tmp_path / "model.zip", out, kind, vecnormalize=tmp_path / "stats.pkl")
    assert (with_it.manifest.scaling is not None) == norm_obs
    assert frozen(tmp_path / "model.zip", out, kind, unscaled=True).manifest.scaling is None


@pytest.mark.parametrize("cls", [SAC, TD3, PPO, A2C])
def test_where_a_zip_does_not_say_whether_it_was_scaled_the_command_does(tmp_path: Path, cls: Any) -> None:
    knows = cls in (PPO, A2C)
    made(cls, options={"n_steps": 32} if knows else {"learning_starts": 4}).learn(32).save(tmp_path / "model.zip")
    for flags, said in (((), not knows), (("--unscaled",), False)):
        result = command(tmp_path / "model.zip", tmp_path / "out.onnx", *flags)
        assert result.exit_code == 0, result.output
        assert result.output.count(f"zip of {cls.__name__} does not say whether it learned under VecNormalize") == said


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("cls", [SAC, TD3, PPO, A2C, RecurrentPPO])
@pytest.mark.parametrize(("low", "high"), [(-100.0, 100.0), (-1.0, 10.5), (-50.0, 0.0)])
def test_actions_that_are_no_exposures_are_refused(
    tmp_path: Path, cls: Any, low: float, high: float, trust: bool
) -> None:
    kind = "gate" if cls is RecurrentPPO else "sac"
    with pytest.raises(PolicyError, match=f"an action from {low:g} to {high:g} .* Box within .*10: no percent"):
        imported(made(cls, World(low, high)), tmp_path, kind, trust=trust)
    imported(made(cls, World(-10.0, 10.0)), tmp_path, kind, trust=trust)


@pytest.mark.parametrize("cls", [SAC, TD3, PPO, A2C, RecurrentPPO])
def test_the_manifest_holds_the_steps_that_the_optimiser_took(tmp_path: Path, cls: Any) -> None:
    options = {
        SAC: {"learning_starts": 10, "gradient_steps": 3},
        TD3: {"learning_starts": 10, "gradient_steps": 2},
        PPO: {"n_steps": 40, "batch_size": 16, "n_epochs": 3},
        RecurrentPPO: {"n_steps": 40, "batch_size": 16, "n_epochs": 3},
        A2C: {"n_steps": 7},
    }[cls]
    model = made(cls, options=options).learn(80)
    part = model.critic if cls in (SAC, TD3) else model.policy
    (taken,) = {int(state["step"]) for state in part.optimizer.state.values()}
    kind = "gate" if cls is RecurrentPPO else "sac"
    assert imported(model, tmp_path, kind).manifest.gradient_steps == taken > 10
    for broken in ({"_n_updates": "x"}, {"_n_updates": -1}):
        bad = with_data(tmp_path / "model.zip", tmp_path / "bad.zip", **broken)
        with pytest.raises(PolicyError, match=r"gradient_steps|counters"):
            frozen(bad, tmp_path / "bad.onnx", kind)
    unsaid = with_data(tmp_path / "model.zip", tmp_path / "unsaid.zip", _n_updates=None)
    shown = frozen(unsaid, tmp_path / "unsaid.onnx", kind).manifest
    assert shown.gradient_steps is None and "gradient_steps" not in shown.sealed_json()


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", World(), policy_kwargs={"net_arch": [4]}, device="cpu", gamma=0.9, learning_starts=5)
    manifest = imported(model.learn(8), tmp_path).manifest
    assert (manifest.seeds, manifest.data_sha256, manifest.steps, manifest.gamma) == ((None,), None, 8, 0.9)


# ---- harm ----


class Harm:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def repacked(source: Path, out: Path, changes: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> Path:
    """The zip with other members; None leaves one out."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(out, "w", compression) as other:
        members = {name: archive.read(name) for name in archive.namelist()} | changes
        for name, content in members.items():
            if content is not None:
                other.writestr(name, content)
    return out


def data_of(source: Path) -> dict[str, Any]:
    with zipfile.ZipFile(source) as archive:
        return dict(json.loads(archive.read("data")))


def with_data(source: Path, out: Path, **changes: Any) -> Path:
    return repacked(source, out, {"data": json.dumps(data_of(source) | changes).encode()})


def serialized(value: Any) -> dict[str, str]:
    return {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(value)).decode()}


def torch_bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good SAC.zip, not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "sac.zip"
    made(SAC).save(path)
    return path


def command(model: Path, out: Path, *flags: object) -> Result:
    given = ("--kind", "sac", "--observation", ",".join(ASSET[:N]), "--symbols", "KO", "--out", out)
    span = ("--train-start", "1995-01-03", "--train-end", "2009-12-31")
    return CliRunner().invoke(main, [str(word) for word in ("import-sb3", model, *given, *span, *flags)])


@pytest.mark.parametrize("entry", ["policy_class", "action_space", "policy_kwargs", "lr_schedule", "observation_space"])
def test_a_harmful_zip_never_runs(saved: Path, tmp_path: Path, entry: str) -> None:
    marker, out = tmp_path / "marker", tmp_path / "out.onnx"
    bad = with_data(saved, tmp_path / "bad.zip", **{entry: serialized(Harm(marker))})
    with pytest.raises(Exception):  # noqa: B017 - SB3 fails in its own ways, but only after the harm is done
        SAC.load(bad)
        raise RuntimeError
    assert marker.is_dir(), "the zip is harmful indeed: SB3 runs it"
    marker.rmdir()
    if entry == "lr_schedule":  # nobody asks for it
        frozen(bad, out)
        out.unlink()
    else:
        with pytest.raises(PolicyError, match=entry.replace("_", "[_ ]")):
            frozen(bad, out)
        assert command(bad, out).exit_code == 2 and not out.exists()
    assert not marker.exists()
    command(bad, out, "--trust")
    assert marker.is_dir(), "what --trust means"


def test_a_description_that_hides_harm_never_runs(saved: Path, tmp_path: Path) -> None:
    marker, hidden = tmp_path / "marker", serialized(Harm(tmp_path / "marker"))
    data = {key: value | hidden for key, value in data_of(saved).items() if ":serialized:" in str(value)}
    types = {key: {":type:": data_of(saved)[key][":type:"]} for key in data}
    bad = with_data(saved, tmp_path / "bad.zip", **{key: data[key] | types[key] for key in data})
    assert frozen(bad, tmp_path / "out.onnx").manifest.steps == 0 and not marker.exists()


def test_harm_among_the_weights_or_the_statistics_never_runs(saved: Path, tmp_path: Path) -> None:
    marker, out = tmp_path / "marker", tmp_path / "out.onnx"
    bad = repacked(saved, tmp_path / "bad.zip", {"policy.pth": torch_bytes({"actor.mu.weight": Harm(marker)})})
    with pytest.raises(PolicyError, match="holds more than weights"):
        frozen(bad, out)
    (tmp_path / "stats.pkl").write_bytes(pickle.dumps(Harm(marker)))
    with pytest.raises(PolicyError, match=r"mkdir, not a VecNormalize"):
        frozen(saved, out, vecnormalize=tmp_path / "stats.pkl")
    assert not marker.exists() and not out.exists()


class OwnSACPolicy(SACPolicy):
    """SB3's in all but its name."""


def test_what_sb3_has_to_load_needs_trust(tmp_path: Path) -> None:
    model = SAC(OwnSACPolicy, World(), policy_kwargs={"net_arch": [4]}, seed=0, device="cpu")
    with pytest.raises(PolicyError, match=r"policy class is .*test_import_sb3.* --trust lets SB3 load it"):
        imported(model, tmp_path)
    policy, x = imported(model, tmp_path, trust=True), seen(100)
    expected = model.predict(x, deterministic=True)[0][:, 0]
    np.testing.assert_allclose(policy.act(x), expected, rtol=0, atol=1e-5)


def test_a_class_that_calls_itself_sb3s_is_not_imported(saved: Path, tmp_path: Path) -> None:
    words = {"__module__": "os", "__init__": "<function SACPolicy.__init__ at 0x0>"}
    with pytest.raises(PolicyError, match=r"policy class is os\.SACPolicy"):
        frozen(with_data(saved, tmp_path / "x.zip", policy_class=words), tmp_path / "out.onnx")


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("dtype", [np.float64, ">f8"])
def test_statistics_are_read_from_their_bytes(tmp_path: Path, protocol: int, dtype: Any) -> None:
    env = VecNormalize(DummyVecEnv([World]), clip_obs=3.0, epsilon=0.25)
    env.obs_rms.mean, env.obs_rms.var = np.arange(N, dtype=dtype), np.arange(N, dtype=dtype) ** 2
    (tmp_path / "stats.pkl").write_bytes(pickle.dumps(env, protocol))
    found = read_statistics(tmp_path / "stats.pkl")
    assert found is not None and found.clip == 3.0
    np.testing.assert_array_equal(found.mean, np.arange(N))
    np.testing.assert_array_equal(found.std, np.sqrt(np.arange(N) ** 2 + 0.25))


@pytest.mark.parametrize(
    "harm",
    [
        b"cos\nsystem\n(S'touch marker'\ntR.",
        b"cbuiltins\ngetattr\n(cos\nS'system'\nS'x'\ntR(S'touch marker'\ntR.",
        b"\x80\x02K\x01r\xff\xff\xff\xff" + b"h\x00.",  # a memo of 4 billion places
    ],
)
def test_a_pickle_becomes_stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stats.pkl").write_bytes(harm)
    with pytest.raises(PolicyError, match=r"not a VecNormalize|no pickle"):
        read_statistics(Path("stats.pkl"))
    assert not Path("marker").exists()


# ---- damage, and what is not covered ----


def weights_of(saved: Path) -> dict[str, Any]:
    with zipfile.ZipFile(saved) as archive:
        return dict(torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True))


def with_weights(saved: Path, folder: Path, **changes: Any) -> Path:
    changed = weights_of(saved) | {key.replace("__", "."): value for key, value in changes.items()}
    kept = {key: value for key, value in changed.items() if value is not None}
    return repacked(saved, folder / "x.zip", {"policy.pth": torch_bytes(kept)})


def cut(saved: Path, folder: Path) -> Path:
    (folder / "x.zip").write_bytes(saved.read_bytes()[:-500])
    return folder / "x.zip"


def flipped(saved: Path, folder: Path) -> Path:
    raw = bytearray(saved.read_bytes())
    raw[5_000] ^= 0xFF  # inside `data`
    (folder / "x.zip").write_bytes(raw)
    return folder / "x.zip"


def text(saved: Path, folder: Path) -> Path:
    (folder / "x.zip").write_text("not a zip")
    return folder / "x.zip"


def bomb(member: str, size: int) -> Callable[[Path, Path], Path]:
    return lambda saved, folder: repacked(saved, folder / "x.zip", {member: bytes(size)}, zipfile.ZIP_DEFLATED)


def inner_bomb(saved: Path, folder: Path) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(17):
            archive.writestr(f"archive/data/{i}", bytes(16 << 20))
    return repacked(saved, folder / "x.zip", {"policy.pth": inner.getvalue()})


def twice(saved: Path, folder: Path) -> Path:
    path = repacked(saved, folder / "x.zip", {})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("data", "{}")
    return path


DAMAGE: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "missing": (lambda s, f: f / "none.zip", "no file"),
    "a folder": (lambda s, f: f, "no file"),
    "text": (text, "no zip"),
    "truncated": (cut, "cut off"),
    "altered": (flipped, "no zip, or a damaged one"),
    "another zip": (lambda s, f: repacked(s, f / "x.zip", {"data": None}), "no member 'data'"),
    "no weights": (lambda s, f: repacked(s, f / "x.zip", {"policy.pth": None}), r"no member 'policy\.pth'"),
    "two members of one name": (twice, "two of one name"),
    "data bomb": (bomb("data", 33 << 20), r"'data' .* unpacks to"),
    "weights bomb": (bomb("policy.pth", 257 << 20), "unpacks to"),
    "bomb in the weights": (inner_bomb, r"policy\.pth unpacks to"),
    "data is no JSON": (lambda s, f: repacked(s, f / "x.zip", {"data": b"\xff{"}), "not JSON"),
    "data nested too deep": (lambda s, f: repacked(s, f / "x.zip", {"data": b"[" * 200_000}), "not JSON"),
    "data is a list": (lambda s, f: repacked(s, f / "x.zip", {"data": b"[]"}), "a list, not an object"),
    "no space": (lambda s, f: with_data(s, f / "x.zip", action_space={":serialized:": "é"}), "action_space is None"),
    "no numbers": (
        lambda s, f: with_data(s, f / "x.zip", action_space=data_of(s)["action_space"] | {"low": "[-1. ... 1.]"}),
        "action_space is no flat Box",
    ),
    "no class": (lambda s, f: with_data(s, f / "x.zip", policy_class=None), "policy class is missing"),
    "weights are no tensors": (lambda s, f: with_weights(s, f, actor__mu__weight=[1.0]), "no ordinary tensor"),
    "weights are no dict": (lambda s, f: repacked(s, f / "x.zip", {"policy.pth": torch_bytes([1])}), "not weights by"),
    "weights are no zip": (lambda s, f: repacked(s, f / "x.zip", {"policy.pth": b"PK"}), r"policy\.pth is damaged"),
    "a weight is missing": (lambda s, f: with_weights(s, f, actor__mu__weight=None), "plain SAC actor"),
    "a layer too many": (lambda s, f: with_weights(s, f, actor__norm__weight=torch.ones(3)), "plain SAC actor"),
    "another shape": (lambda s, f: with_weights(s, f, actor__mu__weight=torch.ones(2, 6)), "plain SAC actor"),
    "NaN": (lambda s, f: with_weights(s, f, actor__mu__weight=torch.full((1, 6), torch.nan)), "NaN"),
    "huge": (
        lambda s, f: with_weights(s, f, actor__mu__weight=torch.ones(1).expand(10**6, 10**6)),
        "no ordinary tensor",
    ),
    "wide": (
        lambda s, f: with_weights(
            s, f, actor__latent_pi__0__weight=torch.ones(10**5, 1), actor__latent_pi__2__weight=torch.ones(10**5, 1)
        ),
        "no policy is that large",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_clear_error(saved: Path, tmp_path: Path, case: str) -> None:
    make, says = DAMAGE[case]
    with pytest.raises(PolicyError, match=says):
        frozen(make(saved, tmp_path), tmp_path / "out.onnx")
    assert not list(tmp_path.glob("*.onnx*")) and not list(tmp_path.glob(".*"))


def test_a_memory_that_the_weights_claim_is_not_made(tmp_path: Path) -> None:
    made(RecurrentPPO).save(tmp_path / "gate.zip")
    bad = with_weights(tmp_path / "gate.zip", tmp_path, lstm_actor__weight_hh_l0=torch.ones(1, 10**5))
    with pytest.raises(PolicyError, match="no policy is that large"):
        frozen(bad, tmp_path / "out.onnx", "gate")


class Doubled(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, N)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x


@pytest.mark.parametrize(
    ("make", "changes", "says"),
    [
        (lambda: made(DQN, World(actions=spaces.Discrete(3))), {}, "action_space is .*Discrete"),
        (lambda: made(PPO, World(actions=spaces.Discrete(3))), {}, "action_space is .*Discrete"),
        (lambda: made(SAC, World(actions=spaces.Box(-1, 1, (2,), np.float32))), {}, "any other policy one"),
        (lambda: made(SAC, activation_fn=nn.ELU), {}, "activation is .*ELU"),
        (lambda: made(SAC, features_extractor_class=Doubled), {}, "features_extractor_class"),
        (lambda: made(SAC, options={"use_sde": True}), {}, "use_sde"),
        (lambda: made(PPO, options={"use_sde": True}, squash_output=True), {}, "squash_output"),
        (lambda: made(RecurrentPPO), {}, "--kind gate"),
        (lambda: made(RecurrentPPO, lstm_kwargs={"proj_size": 3}), {"kind": "gate"}, "plain RecurrentPPO actor"),
        (lambda: made(SAC), {"names": [*ASSET[: N - 1], "relative_2l"]}, r"did you mean 'relative_21'"),
        (lambda: made(SAC), {"names": [*ASSET[: N - 1], ASSET[0]]}, "comes twice"),
        (lambda: made(SAC), {"names": ["market_return_1", *ASSET[1:N]]}, "not made for a sac"),
        (lambda: made(SAC), {"names": ASSET[:3]}, "3 observation names for a model that reads 5"),
        (lambda: made(SAC), {"stated": {"train_end": "1990-01-01"}}, "manifest field"),
        (lambda: made(SAC), {"stated": {"data_sha256": "?"}}, "manifest field data_sha256"),
    ],
)
def test_what_is_not_covered_is_named(tmp_path: Path, make: Any, changes: dict[str, Any], says: str) -> None:
    if "kind" in changes:
        changes = {"names": READ[changes["kind"]], **changes}
    with pytest.raises(PolicyError, match=says):
        imported(make(), tmp_path, **changes)
    assert not (tmp_path / "model.onnx").exists()


def test_wrong_statistics_are_named(saved: Path, tmp_path: Path) -> None:
    stats, out = tmp_path / "stats.pkl", tmp_path / "out.onnx"
    for content, says in (
        (pickle.dumps({"mean": 1}), "holds dict, not a VecNormalize"),
        (b"", "no pickle"),
        (pickle.dumps(VecNormalize(DummyVecEnv([World])))[:-200], "no pickle"),
        (pickle.dumps(VecNormalize(DummyVecEnv([lambda: World(width=3)]))), "scales 3 numbers, the model reads 5"),
        (pickle.dumps(VecNormalize(DummyVecEnv([World]), clip_obs=-1.0)), "cannot scale"),
    ):
        stats.write_bytes(content)
        with pytest.raises(PolicyError, match=says):
            frozen(saved, out, vecnormalize=stats)
    assert not out.exists()


# ---- the command ----


@pytest.fixture(scope="module")
def by_command(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Imported in a fresh interpreter, in a folder that is not to be looked into."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "names.txt").write_text("\n".join(ASSET[:N]) + "\n")
    words = ["import-sb3", str(saved), "--kind", "sac", "--observation", "names.txt", "--out", "own.onnx"]
    words += ["--train-start", "1995-01-03", "--train-end", "2009-12-31", "--symbols", "KO,PEP", "--fee-bps", "1"]
    code = "import sys; from hybrid_bt.commands.policy import main; main(sys.argv[1:])"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "sac from SAC" in done.stdout
    return folder / "own.onnx"


def test_the_command_says_what_it_was_told(by_command: Path, saved: Path) -> None:
    policy, x = FrozenPolicy.load(by_command), seen(200)
    expected = SAC.load(saved).predict(x, deterministic=True)[0][:, 0]
    np.testing.assert_allclose(policy.act(x), expected, rtol=0, atol=1e-5)
    assert policy.manifest.costs == {"fee_bps": 1.0} and policy.manifest.symbols == ("KO", "PEP")


def test_a_run_trades_the_imported_policy(by_command: Path, tmp_path: Path) -> None:
    flags = ["--symbols", "KO,PEP", "--end", "2010-06-30", "--no-ppo-lstm", "--no-plots", "--out", tmp_path / "fig"]
    result = CliRunner().invoke(run_main, [str(word) for word in ("--sac", by_command, *flags)])
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "fig" / "run.json").read_text())
    assert FrozenPolicy.load(by_command).sha256 in json.dumps(facts)
    assert (tmp_path / "fig" / "fills.csv").read_text().count("\n") > 1
    flags = ["--start", "2009-06-01", *flags]
    result = CliRunner().invoke(run_main, [str(word) for word in ("--sac", by_command, *flags)])
    assert result.exit_code == 2, "the stated training span guards this policy too"


def test_errors_of_the_command_are_one_line(saved: Path, tmp_path: Path) -> None:
    for make, says in (
        (lambda: text(saved, tmp_path), "no zip"),
        (lambda: with_weights(saved, tmp_path, **{"actor__\x1b[2J" + "long" * 1_000: torch.ones(3)}), "\\x1b[2J"),
    ):
        result = command(make(), tmp_path / "out.onnx")
        assert result.exit_code == 2 and says in result.stderr and len(result.stderr.splitlines()) == 1
        assert len(result.stderr) < 1_200
