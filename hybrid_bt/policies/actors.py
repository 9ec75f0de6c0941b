"""The network that answers in a policy of Stable-Baselines3 or sb3-contrib, as plain numbers.

What SB3 computes: the actions of SAC, TQC, CrossQ and TD3 are tanh(mu), unscaled from [-1, 1] to the action box; those
of PPO, A2C and TRPO are the mean of a Gaussian, clipped to the box; ARS has either. A BatchRenorm (CrossQ) that no
longer learns is a scale and a shift, which go into the layer behind it. An LSTM is torch's, gates i, f, g, o with two
biases.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from hybrid_bt.errors import PolicyError
from hybrid_bt.policies.graph import Activation, Actor, Dense, FloatArray, Lstm

SbPolicy: TypeAlias = Any  #: of SB3: what it holds only its own classes know
Torch: TypeAlias = Any  #: a tensor or module of torch, which this file may not import to be read

LAYERS = "use Linear layers with ReLU, Tanh, LeakyReLU, Sigmoid or SiLU"


def unsupported(what: str, instead: str) -> PolicyError:
    return PolicyError(f"freeze: {what} is not supported in a frozen policy; {instead}")


def actor_of(policy: SbPolicy) -> Actor:
    """The network that answers in a policy of SB3; PolicyError if it has a part that a graph would not repeat."""
    from sb3_contrib.ars.policies import ARSPolicy
    from sb3_contrib.crossq.policies import CrossQPolicy
    from sb3_contrib.tqc.policies import TQCPolicy
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.sac.policies import SACPolicy
    from stable_baselines3.td3.policies import TD3Policy

    _check_policy(policy)
    if isinstance(policy, (SACPolicy, TQCPolicy, CrossQPolicy)):  # log_std serves exploration only
        return Actor([], dense_layers(*policy.actor.latent_pi, policy.actor.mu), "squash")
    if isinstance(policy, TD3Policy):  # the Tanh at the end of mu belongs to the head
        return Actor([], dense_layers(*list(policy.actor.mu)[:-1]), "squash")
    if isinstance(policy, ARSPolicy):
        layers = list(policy.action_net)
        if policy.squash_output:
            return Actor([], dense_layers(*layers[:-1]), "squash")
        return Actor([], dense_layers(*layers), "clip")
    if isinstance(policy, ActorCriticPolicy):
        lstms = lstm_layers(policy.lstm_actor) if hasattr(policy, "lstm_actor") else []
        return Actor(lstms, dense_layers(*policy.mlp_extractor.policy_net, policy.action_net), "clip")
    raise unsupported(f"a {type(policy).__name__}", "use an MlpPolicy or MlpLstmPolicy")


def check_spaces(policy: SbPolicy) -> None:
    """Refuse what no environment of this house shows and asks; PolicyError."""
    from gymnasium import spaces

    observation, action = policy.observation_space, policy.action_space
    if not isinstance(observation, spaces.Box) or len(observation.shape) != 1:
        raise unsupported(f"the observation space {observation}", "use a Box of shape (features,)")
    if not isinstance(action, spaces.Box) or len(action.shape) != 1 or not action.is_bounded():
        raise unsupported(f"the action space {action}", "use a bounded Box of shape (actions,)")
    if np.ptp(action.low) or np.ptp(action.high):
        raise unsupported(f"the action space {action}", "use the same two ends for all actions")


def _check_policy(policy: SbPolicy) -> None:
    from stable_baselines3.common.torch_layers import FlattenExtractor

    check_spaces(policy)
    actor: SbPolicy = getattr(policy, "actor", policy)
    if type(actor.features_extractor) is not FlattenExtractor:
        extractor = type(actor.features_extractor).__name__
        raise unsupported(f"features extractor {extractor}", "use an MlpPolicy or MlpLstmPolicy")
    if actor is not policy and getattr(actor, "use_sde", False):
        raise unsupported("use_sde=True", "train with use_sde=False")
    if hasattr(policy, "mlp_extractor") and policy.squash_output:  # with gSDE alone, the mean action stays what it is
        raise unsupported("squash_output=True", "train with squash_output=False")


def _array(tensor: Torch) -> FloatArray:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def activations() -> dict[type, Activation]:
    """What may follow a linear layer."""
    from torch import nn

    names: list[Activation] = ["relu", "tanh", "leaky_relu", "sigmoid", "silu"]
    return dict(zip((nn.ReLU, nn.Tanh, nn.LeakyReLU, nn.Sigmoid, nn.SiLU), names, strict=True))


def dense_layers(*parts: Torch) -> list[Dense]:
    """Layers of Linear and activations in a row, and of what a BatchRenorm does to the input of the next Linear."""
    from sb3_contrib.common.torch_layers import BatchRenorm
    from torch import nn

    known, scaling = activations(), None
    layers: list[Dense] = []
    for part in parts:
        if type(part) is nn.Linear:
            weight = _array(part.weight).T
            bias = np.zeros(part.out_features) if part.bias is None else _array(part.bias)
            if scaling is not None:
                weight, bias, scaling = scaling[0][:, np.newaxis] * weight, bias + scaling[1] @ weight, None
            layers.append(Dense(weight, bias, "none"))
        elif isinstance(part, BatchRenorm) and scaling is None:
            scale = _array(part.scale) / np.sqrt(_array(part.ra_var) + part.eps)
            scaling = scale, _array(part.bias) - _array(part.ra_mean) * scale
        elif type(part) in known and scaling is None and layers and layers[-1].activation == "none":
            layers[-1] = layers[-1]._replace(activation=known[type(part)])
        else:
            raise unsupported(f"layer {type(part).__name__} there", LAYERS)
    return layers


def lstm_layers(lstm: Torch) -> list[Lstm]:
    """Layers of a torch LSTM; its two biases only ever come as a sum."""
    if lstm.bidirectional or lstm.proj_size:
        raise unsupported("a bidirectional or projected LSTM", "leave these out of lstm_kwargs")
    layers = []
    for k in range(lstm.num_layers):
        weight_x, weight_h = _array(getattr(lstm, f"weight_ih_l{k}")), _array(getattr(lstm, f"weight_hh_l{k}"))
        bias = np.zeros(len(weight_x))
        if lstm.bias:
            bias = _array(getattr(lstm, f"bias_ih_l{k}")) + _array(getattr(lstm, f"bias_hh_l{k}"))
        layers.append(Lstm(weight_x.T, weight_h.T, bias))
    return layers
