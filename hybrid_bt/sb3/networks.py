"""SB3's own policy classes, filled with the weights of a saved model.

The actor is built by the installed SB3 (`SACPolicy`, `TD3Policy`, `ActorCriticPolicy`, `RecurrentActorCriticPolicy`) in
the sizes that the weights have, and so answers as `model.predict(deterministic=True)` of the saved model does. Nothing
that the file names is imported: its names are looked up in the tables below.

    algorithm          action
    SAC, TD3, DDPG     tanh, unscaled from [-1, 1] to the action box
    PPO, A2C           mean of the Gaussian, clipped to the action box
    RecurrentPPO       as PPO, behind an LSTM
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import PolicyError
from hybrid_bt.sb3.archive import MAX_WEIGHTS, Archive
from hybrid_bt.sb3.inert_pickle import as_array, attributes, name_of

#: attributes of a saved model that are read
ATTRIBUTES = (
    "policy_class",
    "policy_kwargs",
    "observation_space",
    "action_space",
    "use_sde",
    "gamma",
    "seed",
    "num_timesteps",
    "clip_range",
)

Algorithm = Literal["SAC", "TD3", "PPO", "A2C", "RecurrentPPO"]
POLICIES: dict[str, Algorithm] = {
    "stable_baselines3.sac.policies.SACPolicy": "SAC",
    "stable_baselines3.td3.policies.TD3Policy": "TD3",
    "stable_baselines3.common.policies.ActorCriticPolicy": "PPO",
    "sb3_contrib.common.recurrent.policies.RecurrentActorCriticPolicy": "RecurrentPPO",
}
ACTIVATIONS = ("ReLU", "Tanh", "LeakyReLU", "Sigmoid", "SiLU")
FLATTEN = "stable_baselines3.common.torch_layers.FlattenExtractor"
#: policy_kwargs that do not change what the actor computes, or whose effect shows in the weights
HARMLESS = frozenset(
    {
        "clip_mean",
        "enable_critic_lstm",
        "features_extractor_kwargs",
        "full_std",
        "log_std_init",
        "lstm_hidden_size",
        "lstm_kwargs",
        "n_critics",
        "n_lstm_layers",
        "net_arch",
        "normalize_images",
        "optimizer_class",
        "optimizer_kwargs",
        "ortho_init",
        "share_features_extractor",
        "shared_lstm",
        "use_expln",
    }
)
#: weights that only training needs
CRITICS = ("critic.", "critic_target.", "actor_target.", "value_net.", "mlp_extractor.value_net.", "lstm_critic.")
SUPPORTED = "SAC, TD3, DDPG, PPO, A2C and RecurrentPPO with an MlpPolicy or MlpLstmPolicy are"


class Spaces(NamedTuple):
    """What goes in and comes out."""

    features: int
    bound: float  #: largest magnitude in the observation space; infinite if it has none
    low: float  #: least action
    high: float  #: greatest action


class Network(NamedTuple):
    """A rebuilt actor."""

    algorithm: Algorithm
    trunk: Any  #: torch LSTM, or None
    layers: list[Any]  #: torch modules behind it, ending in one linear unit
    predict: Callable[..., Any]  #: SB3's policy.predict


def network(archive: Archive, spaces: Spaces) -> Network:
    """Rebuild the actor of a saved model.

    Raises
    ------
    PolicyError
        If the model has a part that a frozen policy cannot hold, or weights that do not fit together.
    """
    algorithm = _algorithm(archive.data)
    activation = _activation(archive.data, "ReLU" if algorithm in ("SAC", "TD3") else "Tanh")
    weights = {key: value for key, value in archive.weights.items() if not key.startswith(CRITICS)}
    build = {"SAC": _sac, "TD3": _td3, "PPO": _ppo, "A2C": _ppo, "RecurrentPPO": _recurrent}[algorithm]
    try:
        policy, trunk, layers = build(weights, spaces, activation)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, PolicyError):
            raise
        said = " ".join(str(error).split())[:300]
        raise PolicyError(f"import: the weights are not those of a plain {algorithm} actor ({said})") from error
    return Network(algorithm, trunk, layers, policy.predict)


def spaces_of(data: dict[str, Any]) -> Spaces:
    """Observation and action space of a saved model.

    Raises
    ------
    PolicyError
        If they are not a flat float Box and a bounded Box of one number.
    """
    low, high = _box(data, "observation_space")
    edges = _box(data, "action_space")
    if len(edges[0]) != 1 or not np.isfinite(edges).all() or not edges[0] < edges[1]:
        raise PolicyError(
            f"import: the action space goes from {edges[0]} to {edges[1]}; one action with finite bounds is supported"
        )
    return Spaces(len(low), float(np.abs([low, high]).max()), float(edges[0][0]), float(edges[1][0]))


def _box(data: dict[str, Any], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    value = data.get(key)
    if name_of(value) not in ("gymnasium.spaces.box.Box", "gym.spaces.box.Box"):
        raise PolicyError(f"import: {key} is {name_of(value) or value!r}; use a Box")
    found = attributes(value, key)
    if not isinstance(found.get("_shape"), tuple) or len(found["_shape"]) != 1:
        raise PolicyError(f"import: {key} has the shape {found.get('_shape')}; use a flat Box, of shape (n,)")
    low, high = (as_array(found.get(edge), f"{key}.{edge}").astype(np.float64) for edge in ("low", "high"))
    if not len(low) == len(high) == found["_shape"][0] or not len(low):
        raise PolicyError(f"import: {key} has {len(low)} lower and {len(high)} upper bounds; save the model again")
    return low, high


def _algorithm(data: dict[str, Any]) -> Algorithm:
    name = name_of(data.get("policy_class"))
    if name not in POLICIES:
        raise PolicyError(f"import: the policy class is {name or 'missing'}; {SUPPORTED} supported")
    found = POLICIES[name]
    if found in ("SAC", "TD3") and data.get("use_sde"):
        raise PolicyError(f"import: {found} with use_sde=True is not supported; train with use_sde=False")
    return "A2C" if found == "PPO" and "clip_range" not in data else found


def _activation(data: dict[str, Any], default: str) -> Any:
    """The activation class, after all other options were found harmless."""
    from torch import nn

    options = data.get("policy_kwargs") or {}
    if not isinstance(options, dict):
        raise PolicyError(
            f"import: policy_kwargs are {name_of(options) or options!r}, not a dict; save the model again"
        )
    for key, value in options.items():
        refused = {
            "activation_fn": False,
            "features_extractor_class": name_of(value) != FLATTEN,
            "squash_output": bool(value),
            "use_sde": False,
        }.get(key, key not in HARMLESS)
        if refused:
            raise PolicyError(f"import: policy_kwargs[{key!r}] = {name_of(value) or value!r} is not supported")
    name = name_of(options["activation_fn"]) if "activation_fn" in options else f"torch.nn.modules.activation.{default}"
    known = {f"torch.nn.modules.activation.{activation}": activation for activation in ACTIVATIONS}
    if name not in known:
        raise PolicyError(f"import: the activation is {name}; {', '.join(ACTIVATIONS)} are supported")
    return getattr(nn, known[name])


def _sizes(weights: dict[str, Any], prefix: str) -> list[int]:
    """Outputs of the linear layers of a Sequential: its parts 0, 2, 4, ..."""
    part = re.compile(rf"{re.escape(prefix)}(\d{{1,4}})\.weight")
    found = {int(match[1]): len(weight) for key, weight in weights.items() if (match := part.fullmatch(key))}
    sizes = [found[index] for index in sorted(found)]
    if sum(a * b for a, b in pairwise(sizes)) > MAX_WEIGHTS:  # SB3 would make room for it
        raise PolicyError(f"import: the weights claim layers of {sizes} units; no policy is that large")
    return sizes


def _gym_spaces(spaces: Spaces) -> dict[str, Any]:
    from gymnasium.spaces import Box

    return {
        "observation_space": Box(-np.inf, np.inf, (spaces.features,), np.float32),
        "action_space": Box(np.float32(spaces.low), np.float32(spaces.high), (1,), np.float32),
        "lr_schedule": lambda _: 1e-3,
    }


def _actor(weights: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("actor."): value for key, value in weights.items()}


def _sac(weights: dict[str, Any], spaces: Spaces, activation: Any) -> tuple[Any, Any, list[Any]]:
    from stable_baselines3.sac.policies import SACPolicy

    sizes = {"pi": _sizes(weights, "actor.latent_pi."), "qf": []}
    policy = SACPolicy(**_gym_spaces(spaces), net_arch=sizes, activation_fn=activation, n_critics=1)
    policy.actor.load_state_dict(_actor(weights))
    return policy, None, [policy.actor.latent_pi, policy.actor.mu]


def _td3(weights: dict[str, Any], spaces: Spaces, activation: Any) -> tuple[Any, Any, list[Any]]:
    from stable_baselines3.td3.policies import TD3Policy

    sizes = {"pi": _sizes(weights, "actor.mu.")[:-1], "qf": []}
    policy = TD3Policy(**_gym_spaces(spaces), net_arch=sizes, activation_fn=activation, n_critics=1)
    policy.actor.load_state_dict(_actor(weights))
    return policy, None, [policy.actor.mu[:-1]]  # the Tanh at its end belongs to the head


def _ppo(weights: dict[str, Any], spaces: Spaces, activation: Any) -> tuple[Any, Any, list[Any]]:
    from stable_baselines3.common.policies import ActorCriticPolicy

    sizes = {"pi": _sizes(weights, "mlp_extractor.policy_net."), "vf": []}
    policy = ActorCriticPolicy(**_gym_spaces(spaces), net_arch=sizes, activation_fn=activation)
    _load(policy, weights)
    return policy, None, [policy.mlp_extractor.policy_net, policy.action_net]


def _recurrent(weights: dict[str, Any], spaces: Spaces, activation: Any) -> tuple[Any, Any, list[Any]]:
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

    policy = RecurrentActorCriticPolicy(
        **_gym_spaces(spaces),
        net_arch={"pi": _sizes(weights, "mlp_extractor.policy_net."), "vf": []},
        activation_fn=activation,
        lstm_hidden_size=weights["lstm_actor.weight_hh_l0"].shape[1],
        n_lstm_layers=sum(key.startswith("lstm_actor.weight_hh_l") for key in weights),
        enable_critic_lstm=False,
        lstm_kwargs={"bias": "lstm_actor.bias_hh_l0" in weights},
    )
    _load(policy, weights)
    return policy, policy.lstm_actor, [policy.mlp_extractor.policy_net, policy.action_net]


def _load(policy: Any, weights: dict[str, Any]) -> None:
    """All weights of the actor, no more and no fewer; log_std serves exploration only."""
    own = policy.state_dict()
    kept = {key: value for key, value in own.items() if key.startswith(CRITICS) or key == "log_std"}
    policy.load_state_dict({key: value for key, value in weights.items() if key != "log_std"} | kept)
