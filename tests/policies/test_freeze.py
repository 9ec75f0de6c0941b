"""The freezer repeats what SB3's own `predict` answers, and says what it cannot freeze."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from hybrid_bt.errors import PolicyError
from hybrid_bt.policies.freeze import freeze
from hybrid_bt.policies.frozen import FrozenPolicy

NAMES = ("ret_1", "ret_5", "vol_ratio", "own_target")
MANIFEST: dict[str, Any] = {
    "observation": NAMES,
    "observation_clip": 10.0,
    "action_meaning": "exposure, fraction of equity",
    "train_start": "1990-01-02",
    "train_end": "2009-12-31",
    "symbols": ["KO", "PEP"],
    "data_sha256": "0" * 64,
    "costs": {"spread_bps": 2.0},
    "reward": "minus squared distance",
}


class Follow(gym.Env[Any, Any]):
    """The action should follow the first observation, and the one before it."""

    def __init__(self, low: float = -1.0, high: float = 1.0, observation: spaces.Space[Any] | None = None) -> None:
        self.observation_space = observation or spaces.Box(-10.0, 10.0, (len(NAMES),), np.float32)
        self.action_space = spaces.Box(np.float32(low), np.float32(high), (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        self.seen = self.np_random.normal(size=len(NAMES)).astype(np.float32)
        return self.seen, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = -float((action[0] - self.seen[0]) ** 2)
        self.t += 1
        self.seen = self.np_random.normal(size=len(NAMES)).astype(np.float32)
        return self.seen, reward, False, self.t >= 20, {}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sac(seed: int = 0, env: Any = None, **policy: Any) -> SAC:
    return SAC("MlpPolicy", env or Follow(), policy_kwargs={"net_arch": [8, 6], **policy}, seed=seed, device="cpu")


def recurrent_ppo(seed: int = 0, env: Any = None, **policy: Any) -> RecurrentPPO:
    kwargs = {"net_arch": [5], "lstm_hidden_size": 7, **policy}
    model = RecurrentPPO("MlpLstmPolicy", env or Follow(), policy_kwargs=kwargs, n_steps=32, seed=seed, device="cpu")
    with torch.no_grad():  # SB3 starts at actions near 0.001, which would hide a difference
        model.policy.action_net.weight.mul_(100.0)
    return model


def diverged(model: SAC) -> SAC:
    with torch.no_grad():
        model.actor.mu.weight[0, 0] = torch.nan
    return model


def observations(n: int) -> np.ndarray:
    """Other ones than the freezer's own check draws, from far outside the clip to far inside."""
    rng = np.random.default_rng(42)
    return (
        (rng.standard_normal((n, len(NAMES))) * 10.0 ** rng.uniform(-3, 0.5, (n, 1))).clip(-10, 10).astype(np.float32)
    )


def carried(model: RecurrentPPO, x: np.ndarray) -> np.ndarray:
    state, actions = None, []
    for t, row in enumerate(x):
        action, state = model.predict(row, state=state, episode_start=np.array([t == 0]), deterministic=True)
        actions.append(float(action[0]))
    return np.array(actions)


@pytest.mark.parametrize(
    ("box", "policy"),
    [
        ((-1.0, 1.0), {}),
        ((0.0, 1.0), {}),
        ((-0.3, 1.7), {"activation_fn": torch.nn.Tanh}),
        ((-1.0, 1.0), {"net_arch": []}),
        ((-1.0, 1.0), {"net_arch": [64, 64]}),
    ],
)
def test_sac_equals_predict(tmp_path: Path, box: tuple[float, float], policy: dict[str, Any]) -> None:
    model = sac(env=Follow(*box), **policy)
    frozen = freeze([model], MANIFEST, tmp_path / "sac.onnx")
    x = observations(10_000)
    np.testing.assert_allclose(frozen.act(x), model.predict(x, deterministic=True)[0][:, 0], rtol=0, atol=2e-6)
    assert (frozen.manifest.action_low, frozen.manifest.action_high) == tuple(float(np.float32(edge)) for edge in box)


def test_trained_sac_ensemble_is_the_mean_action(tmp_path: Path) -> None:
    models = [sac(seed).learn(130 + 10 * seed) for seed in range(3)]
    frozen = freeze(models, MANIFEST | {"steps": 130}, tmp_path / "sac.onnx")
    x = observations(10_000)
    mean = np.mean([model.predict(x, deterministic=True)[0][:, 0] for model in models], axis=0, dtype=np.float64)
    np.testing.assert_allclose(frozen.act(x), mean, rtol=0, atol=2e-6)
    assert frozen.manifest.members == 3 and frozen.manifest.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"n_lstm_layers": 2, "net_arch": []},
        {"shared_lstm": True, "enable_critic_lstm": False},
        {"enable_critic_lstm": False, "activation_fn": torch.nn.ReLU},
        {"lstm_kwargs": {"bias": False}, "share_features_extractor": False},
    ],
)
def test_recurrent_ppo_equals_predict_with_its_state_carried(tmp_path: Path, policy: dict[str, Any]) -> None:
    model = recurrent_ppo(**policy)
    frozen = freeze([model], MANIFEST, tmp_path / "gate.onnx")
    x = observations(300)
    expected = carried(model, x)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(frozen.run(x), expected, rtol=0, atol=2e-6)
    frozen.reset()
    np.testing.assert_allclose(frozen.run(x[:50]), expected[:50], rtol=0, atol=2e-6)
    assert frozen.manifest.kind == "gate" and not np.array_equal(frozen.run(x[:1]), expected[:1])


def test_trained_recurrent_ensemble_clips_each_member(tmp_path: Path) -> None:
    # A narrow box, left often, so that the mean of clipped actions differs from the clipped mean.
    models = [recurrent_ppo(seed, Follow(-0.2, 0.5)).learn(64) for seed in range(2)]
    frozen = freeze(models, MANIFEST, tmp_path / "gate.onnx")
    x = observations(300)
    each = np.array([carried(model, x) for model in models])
    np.testing.assert_allclose(frozen.run(x), each.mean(axis=0), rtol=0, atol=2e-6)
    at_edge = np.isclose(each, -0.2) | np.isclose(each, 0.5)
    assert (at_edge.sum(axis=0) == 1).any(), "the case that tells the two means apart occurs"


def test_same_model_same_bytes_and_nothing_of_this_machine(tmp_path: Path) -> None:
    model = sac()
    for name in ("a.onnx", "b.onnx"):
        freeze([model], MANIFEST, tmp_path / name)
    freeze([sac()], MANIFEST, tmp_path / "c.onnx")
    first = (tmp_path / "a.onnx").read_bytes()
    assert first == (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()
    assert not any(word in first for word in (b".py", b"site-packages", str(tmp_path).encode(), b"/home"))


def test_what_the_models_know_is_in_the_manifest(tmp_path: Path) -> None:
    manifest = freeze([sac(seed=7).learn(20)], MANIFEST, tmp_path / "sac.onnx").manifest
    assert (manifest.gamma, manifest.steps, manifest.seeds) == (0.99, 20, (7,))
    assert {"torch", "stable-baselines3", "onnx", "hybrid_bt"} <= set(manifest.versions)
    assert manifest.graph_bytes is not None and manifest.graph_sha256 is not None


class Doubled(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, len(NAMES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x


class Uneven(Follow):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(np.float32([-1.0, -0.5]), np.float32(1.0), dtype=np.float32)


class Choice(Follow):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SAC("MlpPolicy", Follow(), use_sde=True, device="cpu"), "use_sde"),
        (lambda: sac(activation_fn=torch.nn.ELU), "layer ELU"),
        (lambda: sac(features_extractor_class=Doubled), "features extractor Doubled"),
        (lambda: sac(env=Uneven()), "action space .* the same two ends for all actions"),
        (lambda: sac(env=Follow(observation=spaces.Box(-1.0, 1.0, (2, 2), np.float32))), "observation space"),
        (lambda: sac(env=VecNormalize(DummyVecEnv([Follow]))), "VecNormalize"),
        (lambda: DQN("MlpPolicy", Choice(), device="cpu", buffer_size=10), "action space Discrete"),
        (lambda: diverged(sac()), "NaN or infinite"),
    ],
)
def test_what_is_not_covered_is_named(tmp_path: Path, make: Any, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        freeze([make()], MANIFEST | {"seeds": [0]}, tmp_path / "sac.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: recurrent_ppo(lstm_kwargs={"proj_size": 3}), "projected LSTM"),
        (lambda: recurrent_ppo(features_extractor_class=Doubled), "features extractor Doubled"),
    ],
)
def test_what_is_not_covered_is_named_for_the_gate(tmp_path: Path, make: Any, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        freeze([make()], MANIFEST, tmp_path / "gate.onnx")


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (lambda: [], "no models"),
        (lambda: [sac(), sac(net_arch=[9, 6])], "differ in shape"),
        (lambda: [sac(), sac(net_arch=[8])], "the same layers"),
        (lambda: [sac(), sac(activation_fn=torch.nn.Tanh)], "activation"),
        (lambda: [sac(), sac(env=Follow(0.0, 1.0))], "different spaces"),
        (lambda: [sac(), recurrent_ppo()], "a RecurrentPPO beside a SAC"),
        (lambda: [recurrent_ppo(), sac()], "a SAC beside a RecurrentPPO"),
    ],
)
def test_members_must_be_of_a_kind(tmp_path: Path, models: Any, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        freeze(models(), MANIFEST | {"seeds": [0, 1]}, tmp_path / "sac.onnx")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"members": 1}, "'members' is read off the models"),
        ({"observation": NAMES[:3]}, "3 observation names for 4 features"),
        ({"created": "today"}, "manifest field created"),
        ({"data_sha256": "?"}, "manifest field data_sha256"),
        ({"seeds": [1, 2]}, "one seed per member"),
    ],
)
def test_wrong_manifest_writes_nothing(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        freeze([sac()], MANIFEST | changes, tmp_path / "sac.onnx")
    assert not list(tmp_path.iterdir())


def test_a_difference_to_predict_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "sac.onnx"
    freeze([sac()], MANIFEST, path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(PolicyError, match=r"differs from model\.predict"):
        freeze([sac(seed=1)], MANIFEST, path, tolerance=1e-12)
    assert [file.name for file in tmp_path.iterdir()] == ["sac.onnx"]
    assert FrozenPolicy.load(path).sha256 == before
    with pytest.raises(PolicyError, match="no folder"):
        freeze([sac()], MANIFEST, tmp_path / "none" / "sac.onnx")
