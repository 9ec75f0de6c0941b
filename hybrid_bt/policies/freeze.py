"""From SB3 models to a frozen policy (extra `train`; torch, SB3 and onnx are imported inside the functions only).

    freeze([model, ...], manifest, "sac.onnx")

Only weights leave the model; `policies.graph` writes the network anew, so no path, date or exporter's version gets into
the file: the same weights and manifest give the same bytes. Before it appears it is compared with `model.predict`.

What SB3 computes, and the file repeats: SAC's action is tanh(mu), unscaled from [-1, 1] to the action box.
RecurrentPPO's is the mean of its Gaussian, clipped to the box; its LSTM is torch's, gates i, f, g, o with two biases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import __version__
from hybrid_bt.errors import PolicyError
from hybrid_bt.files import write_whole
from hybrid_bt.policies.file import pack
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.graph import Activation, Actor, Dense, Lstm, actor_graph
from hybrid_bt.policies.manifest import FORMAT_VERSION, Manifest
from hybrid_bt.policies.sb3_archive import gradient_steps

FloatArray = NDArray[np.float64]
Predict = Callable[[NDArray[np.float32]], FloatArray]
SbModel: TypeAlias = Any  #: a model of SB3, and its policy: what they hold only their own classes know
SbPolicy: TypeAlias = Any
Torch: TypeAlias = Any  #: a tensor or module of torch, which this file may not import to be read

TOLERANCE = 2e-6  #: largest allowed difference to SB3's own float32 arithmetic, in units of the action
N_COMPARED = 2_000  #: random observations compared, in one episode for a recurrent policy
MOST_ACTION = 10.0  #: units of risk that no account can hold
SPREAD = 2.0  #: their standard deviation; scale-free observations are of order 1
LAYERS = "use Linear layers with ReLU, Tanh, LeakyReLU, Sigmoid or SiLU"
LIBRARIES = ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "onnx", "numpy")
DERIVED = ("format_version", "kind", "action_low", "action_high", "recurrent", "members", "graph_sha256", "graph_bytes")


def freeze(
    models: Sequence[SbModel], manifest: Mapping[str, Any], path: str | Path | None, *, tolerance: float = TOLERANCE
) -> FrozenPolicy:
    """Freeze one model, or an ensemble, to one file.

    Parameters
    ----------
    models : sequence of stable_baselines3.SAC, or of sb3_contrib.RecurrentPPO
        Same spaces and architecture: flat Box observation, Box action of one number; SAC (`sac`) with an MLP actor,
        RecurrentPPO (`gate`) with any number of LSTM layers and its critic's LSTM shared, separate or none.
    manifest : mapping
        Fields of `Manifest`, without those read off the models (`DERIVED`). `gamma`, `steps`, `seeds` and `versions`
        are read off the models and the installation where they are not given.
    path : str or Path, optional
        The file appears whole or not at all; None writes none.
    tolerance : float
        Largest allowed difference to `model.predict`.

    Raises
    ------
    PolicyError
        If a model has a part that the freezer does not cover, the manifest is incomplete, or the file does not repeat
        the models' predictions. Nothing is written then.
    """
    kind = _kind_of(models)
    policies = [model.policy for model in models]
    actors = [actor_of(policy) for policy in policies]
    sealed = _manifest(models, manifest, {"kind": kind} | read_off(policies[0], actors))
    return write(actors, sealed, None if path is None else Path(path), lambda x: answers(policies, x), tolerance)


def _unsupported(what: str, instead: str) -> PolicyError:
    return PolicyError(f"freeze: {what} is not supported in a frozen policy; {instead}")


def _kind_of(models: Sequence[SbModel]) -> str:
    """`sac` or `gate`, after what is not to be seen on the models' policies was looked at."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import SAC

    if not models:
        raise PolicyError("freeze: no models given; give at least one")
    algorithm, kind = (RecurrentPPO, "gate") if isinstance(models[0], RecurrentPPO) else (SAC, "sac")
    for model in models:
        if not isinstance(model, algorithm):
            raise _unsupported(f"a {type(model).__name__} there", "give models of SAC, or RecurrentPPO for the gate")
        if model.observation_space.dtype != np.float32:
            raise _unsupported(f"{model.observation_space.dtype} observations", "use a float32 Box")
        if (model.observation_space, model.action_space) != (models[0].observation_space, models[0].action_space):
            raise PolicyError("freeze: members have different spaces; give an ensemble one observation and one action")
        scaler = model.get_vec_normalize_env()
        if scaler is not None and scaler.norm_obs:
            raise _unsupported("VecNormalize of observations", "train on scale-free observations with norm_obs=False")
    return kind


def actor_of(policy: SbPolicy) -> Actor:
    """The network that answers in a policy of SB3; PolicyError if it has a part that a graph would not repeat."""
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.sac.policies import SACPolicy
    from stable_baselines3.td3.policies import TD3Policy

    _check_policy(policy)
    if isinstance(policy, SACPolicy):  # log_std serves exploration only
        return Actor([], [*dense_layers(policy.actor.latent_pi), *dense_layers(policy.actor.mu)], "squash")
    if isinstance(policy, TD3Policy):  # the Tanh at the end of mu belongs to the head
        return Actor([], dense_layers(policy.actor.mu[:-1]), "squash")
    if isinstance(policy, ActorCriticPolicy):
        lstms = lstm_layers(policy.lstm_actor) if hasattr(policy, "lstm_actor") else []
        return Actor(lstms, [*dense_layers(policy.mlp_extractor.policy_net), *dense_layers(policy.action_net)], "clip")
    raise _unsupported(f"a {type(policy).__name__}", "use an MlpPolicy or MlpLstmPolicy")


def _check_policy(policy: SbPolicy) -> None:
    from gymnasium import spaces
    from stable_baselines3.common.torch_layers import FlattenExtractor

    actor: SbPolicy = getattr(policy, "actor", policy)
    observation, action = policy.observation_space, policy.action_space
    if not isinstance(observation, spaces.Box) or len(observation.shape) != 1:
        raise _unsupported(f"the observation space {observation}", "use a Box of shape (features,)")
    if not isinstance(action, spaces.Box) or action.shape != (1,) or not action.is_bounded():
        raise _unsupported(f"the action space {action}", "use a bounded Box of shape (1,)")
    if type(actor.features_extractor) is not FlattenExtractor:
        extractor = type(actor.features_extractor).__name__
        raise _unsupported(f"features extractor {extractor}", "use an MlpPolicy or MlpLstmPolicy")
    if actor is not policy and getattr(actor, "use_sde", False):
        raise _unsupported("use_sde=True", "train with use_sde=False")
    if actor is policy and policy.squash_output:  # with gSDE alone, the mean action stays what it is
        raise _unsupported("squash_output=True", "train with squash_output=False")


def read_off(policy: SbPolicy, actors: Sequence[Actor]) -> dict[str, Any]:
    """What a manifest says about the network: its action box, its members and its memory."""
    low, high = (float(edge[0]) for edge in (policy.action_space.low, policy.action_space.high))
    if max(-low, high) > MOST_ACTION:
        raise _unsupported(f"an action from {low:g} to {high:g}", f"use a Box within +-{MOST_ACTION:g}: no percent")
    lstms = actors[0].lstms
    memory = {"n_lstm": len(lstms), "hidden": len(lstms[0].weight_h)} if lstms else None
    return {"action_low": low, "action_high": high, "members": len(actors), "recurrent": memory}


def _array(tensor: Torch) -> FloatArray:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def activations() -> dict[type, Activation]:
    """What may follow a linear layer."""
    from torch import nn

    names: list[Activation] = ["relu", "tanh", "leaky_relu", "sigmoid", "silu"]
    return dict(zip((nn.ReLU, nn.Tanh, nn.LeakyReLU, nn.Sigmoid, nn.SiLU), names, strict=True))


def dense_layers(module: Torch) -> list[Dense]:
    """Layers of a Linear, or of a Sequential of Linear and activations."""
    from torch import nn

    known = activations()
    layers: list[Dense] = []
    for part in module if isinstance(module, nn.Sequential) else [module]:
        if type(part) is nn.Linear:
            bias = np.zeros(part.out_features) if part.bias is None else _array(part.bias)
            layers.append(Dense(_array(part.weight).T, bias, "none"))
        elif type(part) in known and layers and layers[-1].activation == "none":
            layers[-1] = layers[-1]._replace(activation=known[type(part)])
        else:
            raise _unsupported(f"layer {type(part).__name__} there", LAYERS)
    return layers


def lstm_layers(lstm: Torch) -> list[Lstm]:
    """Layers of a torch LSTM; its two biases only ever come as a sum."""
    if lstm.bidirectional or lstm.proj_size:
        raise _unsupported("a bidirectional or projected LSTM", "leave these out of lstm_kwargs")
    layers = []
    for k in range(lstm.num_layers):
        weight_x, weight_h = _array(getattr(lstm, f"weight_ih_l{k}")), _array(getattr(lstm, f"weight_hh_l{k}"))
        bias = np.zeros(len(weight_x))
        if lstm.bias:
            bias = _array(getattr(lstm, f"bias_ih_l{k}")) + _array(getattr(lstm, f"bias_hh_l{k}"))
        layers.append(Lstm(weight_x.T, weight_h.T, bias))
    return layers


def _manifest(models: Sequence[SbModel], given: Mapping[str, Any], derived: Mapping[str, Any]) -> Manifest:
    for known in sorted(set(given) & set(DERIVED)):
        raise PolicyError(f"freeze: {known!r} is read off the models; leave it out of the manifest")
    found: dict[str, Any] = {"versions": {"hybrid_bt": __version__, **{n: metadata.version(n) for n in LIBRARIES}}}
    counted = zip(*((model.gamma, model.num_timesteps, gradient_steps(vars(model))) for model in models), strict=True)
    alike = zip(("gamma", "steps", "gradient_steps"), counted, strict=True)
    found |= {field: values[0] for field, values in alike if len(set(values)) == 1}
    if all(model.seed is not None for model in models):
        found["seeds"] = tuple(model.seed for model in models)
    found["format_version"] = FORMAT_VERSION if given.get("markets") else 1
    sealed = Manifest.checked({**found, **given, **derived}, "freeze: manifest field", "correct it")
    features = models[0].observation_space.shape[0]
    if len(sealed.observation) != features:
        raise PolicyError(f"freeze: {len(sealed.observation)} observation names for {features} features; name each one")
    return sealed


def write(
    actors: Sequence[Actor], manifest: Manifest, path: Path | None, predict: Predict, tolerance: float
) -> FrozenPolicy:
    """Compare with `predict` on random observations, then write, where there is a path."""
    if path is not None and not path.parent.is_dir():
        raise PolicyError(f"freeze: there is no folder {path.parent}; make it first")
    graph = actor_graph(actors, low=manifest.action_low, high=manifest.action_high, scaling=manifest.scaling)
    data, name = pack(graph, manifest)[0], path.name if path else f"{manifest.kind}.onnx"
    _compare(FrozenPolicy(data, name), predict, tolerance)
    if path is not None:
        write_whole(path, data)
    return FrozenPolicy(data, name)


def _compare(policy: FrozenPolicy, predict: Predict, tolerance: float) -> None:
    """Refuse a file that does not repeat SB3's predictions."""
    clip = policy.manifest.observation_clip
    drawn = SPREAD * np.random.default_rng(0).standard_normal((N_COMPARED, len(policy.manifest.observation)))
    if policy.manifest.scaling is not None:
        drawn = drawn * np.array(policy.manifest.scaling.std) + np.array(policy.manifest.scaling.mean)
    x = np.clip(drawn, -clip, clip).astype(np.float32)
    gap = float(np.abs(policy.run(x) - predict(x)).max())
    if not gap <= tolerance:
        raise PolicyError(
            f"freeze: the frozen policy differs from model.predict by {gap:.2g} (at most {tolerance:.2g} allowed): "
            "weights so large that float32 noise shows, or a part is misread; check the training, or raise `tolerance`"
        )


def answers(policies: Sequence[SbPolicy], x: NDArray[np.float32]) -> FloatArray:
    """What SB3 itself answers: the mean of the policies' deterministic actions, a memory carried from row to row."""
    actions = np.empty((len(policies), len(x)))
    for k, policy in enumerate(policies):
        if not hasattr(policy, "lstm_actor"):
            actions[k] = policy.predict(x, deterministic=True)[0][:, 0]
            continue
        state = None
        for t, row in enumerate(x):
            start = np.array([t == 0])
            action, state = policy.predict(row, state=state, episode_start=start, deterministic=True)
            actions[k, t] = action[0]
    mean: FloatArray = actions.mean(axis=0)
    return mean
