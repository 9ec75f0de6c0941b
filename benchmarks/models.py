"""Untrained SB3 models of the shipped policies' architecture, and the frozen policies that repeat them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from hybrid_bt.equations.features import CLIP, OBSERVATIONS
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.ground import REGIME_SEES
from hybrid_bt.train.spec import GateSpec, SacSpec

__all__ = ["gate_and_frozen", "gate_model", "sac_and_frozen", "sac_model"]

MANIFEST: dict[str, Any] = {
    "observation_clip": CLIP,
    "action_meaning": "none, untrained",
    "train_start": "1990-01-02",
    "train_end": "1990-01-03",
    "symbols": ["S000"],
    "data_sha256": "0" * 64,
    "costs": {"spread_bps": 0.0},
    "reward": "none",
    "gamma": 0.9,
    "steps": 0,
}


class _Spaces(gym.Env[Any, Any]):
    """Spaces without a world: enough to build a model."""

    def __init__(self, n_features: int, low: float) -> None:
        self.observation_space = gym.spaces.Box(-CLIP, CLIP, (n_features,), np.float32)
        self.action_space = gym.spaces.Box(low, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros(self.observation_space.shape or (), np.float32), {}


def _freeze(model: Any, names: tuple[str, ...]) -> FrozenPolicy:
    from hybrid_bt.policies.freeze import freeze

    with tempfile.TemporaryDirectory() as folder:
        return freeze([model], {**MANIFEST, "observation": names}, Path(folder) / "policy.onnx")


def sac_and_frozen() -> tuple[Any, FrozenPolicy]:
    """An SB3 SAC and the same frozen."""
    model = sac_model()
    return model, _freeze(model, OBSERVATIONS["sac"])


def sac_model() -> Any:
    """An SB3 SAC."""
    import torch
    from stable_baselines3 import SAC

    torch.set_num_threads(1)
    net = list(SacSpec().net)
    env = _Spaces(len(OBSERVATIONS["sac"]), 0.0)
    return SAC("MlpPolicy", env, policy_kwargs={"net_arch": net}, buffer_size=1, seed=0, device="cpu")


def gate_and_frozen() -> tuple[Any, FrozenPolicy]:
    """An sb3-contrib RecurrentPPO and the same frozen."""
    model = gate_model()
    return model, _freeze(model, REGIME_SEES)


def gate_model() -> Any:
    """An sb3-contrib RecurrentPPO."""
    import torch
    from sb3_contrib import RecurrentPPO

    torch.set_num_threads(1)
    spec = GateSpec()
    policy = {"lstm_hidden_size": spec.lstm_hidden, "net_arch": list(spec.net)}
    env = _Spaces(len(REGIME_SEES), -1.0)
    return RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=policy, n_steps=2, batch_size=2, seed=0, device="cpu")
