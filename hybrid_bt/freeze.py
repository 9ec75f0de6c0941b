"""From SB3 models to a frozen policy (extra `train`; torch, SB3 and onnx are imported inside the functions only).

    freeze_sac([model, ...], manifest, "sac.onnx")
    freeze_recurrent_ppo([model, ...], manifest, "gate.onnx")

Only weights leave the model; the network is written anew by `policy_graph`, so no source path, no date and nothing of
the exporter's version gets into the file: the same weights and manifest give the same bytes. Before a file appears it
is read back and compared with `model.predict(deterministic=True)`.

What SB3 computes, and the file repeats: SAC's action is tanh(mu), unscaled from [-1, 1] to the action box.
RecurrentPPO's is the mean of its Gaussian, clipped to the box; its LSTM is torch's, gates i, f, g, o with two biases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hybrid_bt import __version__
from hybrid_bt.errors import PolicyError
from hybrid_bt.files import whole_file
from hybrid_bt.manifest import Manifest
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.policy_file import pack
from hybrid_bt.policy_graph import Activation, Dense, Lstm, graph_lstm, graph_mlp

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import SAC

FloatArray = NDArray[np.float64]
Predict = Callable[[NDArray[np.float32]], FloatArray]

TOLERANCE = 2e-6  #: largest allowed difference to SB3's own float32 arithmetic, in units of the action
N_COMPARED = 2_000  #: random observations compared, in one episode for a recurrent policy
SPREAD = 2.0  #: their standard deviation; scale-free observations are of order 1
LAYERS = "use Linear layers with ReLU, Tanh, LeakyReLU, Sigmoid or SiLU"
LIBRARIES = ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "onnx", "numpy")
DERIVED = ("format_version", "kind", "action_low", "action_high", "recurrent", "members", "graph_sha256", "graph_bytes")


def freeze_sac(
    models: Sequence[SAC], manifest: Mapping[str, Any], path: str | Path, *, tolerance: float = TOLERANCE
) -> FrozenPolicy:
    """Freeze one SAC, or an ensemble of them, to one file.

    Parameters
    ----------
    models : sequence of stable_baselines3.SAC
        Same spaces and architecture: MLP actor (ReLU or Tanh), flat Box observation, Box action of one number.
    manifest : mapping
        Fields of `Manifest`, without those read off the models (`DERIVED`). `gamma`, `steps`, `seeds` and `versions`
        are read off the models and the installation where they are not given.
    path : str or Path
        The file appears whole or not at all.
    tolerance : float
        Largest allowed difference to `model.predict`.

    Returns
    -------
    FrozenPolicy
        Loaded from `path`.

    Raises
    ------
    PolicyError
        If a model has a part that the freezer does not cover, the manifest is incomplete, or the file does not repeat
        the models' predictions. Nothing is written then.
    """
    from stable_baselines3 import SAC

    low, high = _check_models(models, SAC)
    for model in models:
        if model.actor.use_sde:
            raise _unsupported("use_sde=True", "train with use_sde=False")
    # log_std serves exploration only.
    members = [[*dense_layers(model.actor.latent_pi), *dense_layers(model.actor.mu)] for model in models]
    graph = graph_mlp(members, low=low, high=high, head="squash")
    sealed = _manifest("sac", models, manifest, low, high, None)
    return write(graph, sealed, Path(path), lambda x: _predict_sac(models, x), tolerance)


def freeze_recurrent_ppo(
    models: Sequence[RecurrentPPO], manifest: Mapping[str, Any], path: str | Path, *, tolerance: float = TOLERANCE
) -> FrozenPolicy:
    """Freeze one RecurrentPPO with an LSTM policy, or an ensemble of them, to one file.

    Parameters
    ----------
    models : sequence of sb3_contrib.RecurrentPPO
        Same spaces and architecture: `MlpLstmPolicy`, any number of LSTM layers, critic LSTM shared, separate or none.
    manifest, path, tolerance
        As in `freeze_sac`.

    Returns
    -------
    FrozenPolicy
        Loaded from `path`, with a memory of one row, at the start of an episode.

    Raises
    ------
    PolicyError
        As `freeze_sac`.
    """
    from sb3_contrib import RecurrentPPO

    low, high = _check_models(models, RecurrentPPO)
    lstms, members = [], []
    for model in models:
        if model.policy.use_sde or model.policy.squash_output:
            raise _unsupported("use_sde or squash_output", "train with both off")
        lstms.append(lstm_layers(model.policy.lstm_actor))
        policy_net, action_net = model.policy.mlp_extractor.policy_net, model.policy.action_net
        members.append([*dense_layers(policy_net), *dense_layers(action_net)])
    graph = graph_lstm(lstms, members, low=low, high=high, head="clip")
    shape = {"n_lstm": len(lstms[0]), "hidden": len(lstms[0][0].weight_h)}
    sealed = _manifest("gate", models, manifest, low, high, shape)
    return write(graph, sealed, Path(path), lambda x: _predict_recurrent(models, x), tolerance)


def _unsupported(what: str, instead: str) -> PolicyError:
    return PolicyError(f"freeze: {what} is not supported in a frozen policy; {instead}")


def _check_models(models: Sequence[Any], kind: Any) -> tuple[float, float]:
    """Refuse what the graph would not repeat; returns the action box."""
    from gymnasium import spaces
    from stable_baselines3.common.torch_layers import FlattenExtractor

    if not models:
        raise PolicyError("freeze: no models given; give at least one")
    for model in models:
        if not isinstance(model, kind):
            raise _unsupported(f"a {type(model).__name__}", f"give {kind.__name__} models")
        observation, action = model.observation_space, model.action_space
        if not isinstance(observation, spaces.Box) or len(observation.shape) != 1:
            raise _unsupported(f"the observation space {observation}", "use a Box of shape (features,)")
        if observation.dtype != np.float32:
            raise _unsupported(f"{observation.dtype} observations", "use a float32 Box")
        if not isinstance(action, spaces.Box) or action.shape != (1,) or not action.is_bounded():
            raise _unsupported(f"the action space {action}", "use a bounded Box of shape (1,)")
        if (observation, action) != (models[0].observation_space, models[0].action_space):
            raise PolicyError(
                "freeze: members have different spaces; an ensemble shares one observation and one action"
            )
        extractor = model.actor.features_extractor if hasattr(model, "actor") else model.policy.pi_features_extractor
        if type(extractor) is not FlattenExtractor:
            raise _unsupported(f"features extractor {type(extractor).__name__}", "use an MlpPolicy or MlpLstmPolicy")
        scaler = model.get_vec_normalize_env()
        if scaler is not None and scaler.norm_obs:
            raise _unsupported("VecNormalize of observations", "train on scale-free observations with norm_obs=False")
    return float(models[0].action_space.low[0]), float(models[0].action_space.high[0])


def _array(tensor: Any) -> FloatArray:
    value: FloatArray = tensor.detach().cpu().numpy().astype(np.float64)
    return value


def dense_layers(module: Any) -> list[Dense]:
    """Layers of a Linear, or of a Sequential of Linear and activations."""
    from torch import nn

    activations: dict[type, Activation] = {
        nn.ReLU: "relu",
        nn.Tanh: "tanh",
        nn.LeakyReLU: "leaky_relu",
        nn.Sigmoid: "sigmoid",
        nn.SiLU: "silu",
    }
    layers: list[Dense] = []
    for part in module if isinstance(module, nn.Sequential) else [module]:
        if type(part) is nn.Linear:
            bias = np.zeros(part.out_features) if part.bias is None else _array(part.bias)
            layers.append(Dense(_array(part.weight).T, bias, "none"))
        elif type(part) in activations and layers and layers[-1].activation == "none":
            layers[-1] = layers[-1]._replace(activation=activations[type(part)])
        else:
            raise _unsupported(f"layer {type(part).__name__} there", LAYERS)
    return layers


def lstm_layers(lstm: Any) -> list[Lstm]:
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


def _manifest(
    kind: Literal["sac", "gate"],
    models: Sequence[Any],
    given: Mapping[str, Any],
    low: float,
    high: float,
    recurrent: dict[str, int] | None,
) -> Manifest:
    known = sorted(set(given) & set(DERIVED))
    if known:
        raise PolicyError(f"freeze: {known[0]!r} is read off the models; leave it out of the manifest")
    derived = {"kind": kind, "action_low": low, "action_high": high, "recurrent": recurrent, "members": len(models)}
    found: dict[str, Any] = {
        "versions": {"hybrid_bt": __version__} | {name: metadata.version(name) for name in LIBRARIES}
    }
    for field, values in {
        "gamma": {model.gamma for model in models},
        "steps": {model.num_timesteps for model in models},
    }.items():
        if len(values) == 1:
            found[field] = values.pop()
    if all(model.seed is not None for model in models):
        found["seeds"] = tuple(model.seed for model in models)
    try:
        sealed = Manifest.model_validate(found | dict(given) | derived)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise PolicyError(f"freeze: manifest field {where}: {first['msg']}; correct it") from error
    features = models[0].observation_space.shape[0]
    if len(sealed.observation) != features:
        raise PolicyError(f"freeze: {len(sealed.observation)} observation names for {features} features; name each one")
    return sealed


def write(graph: bytes, manifest: Manifest, path: Path, predict: Predict, tolerance: float) -> FrozenPolicy:
    """Write beside, read back, compare with `predict` on random observations, then move into place."""
    if not path.parent.is_dir():
        raise PolicyError(f"freeze: there is no folder {path.parent}; make it first")
    with whole_file(path) as beside:
        beside.write_bytes(pack(graph, manifest)[0])
        _compare(FrozenPolicy.load(beside), predict, tolerance)
    return FrozenPolicy.load(path)


def _compare(policy: FrozenPolicy, predict: Predict, tolerance: float) -> None:
    """Refuse a file that does not repeat SB3's predictions."""
    clip = policy.manifest.observation_clip
    shape = (N_COMPARED, len(policy.observation_names))
    drawn = SPREAD * np.random.default_rng(0).standard_normal(shape)
    if policy.manifest.scaling is not None:
        drawn = drawn * np.array(policy.manifest.scaling.std) + np.array(policy.manifest.scaling.mean)
    x = np.clip(drawn, -clip, clip).astype(np.float32)
    gap = float(np.abs(policy.run(x) - predict(x)).max())
    if not gap <= tolerance:
        raise PolicyError(
            f"freeze: the frozen policy differs from model.predict by {gap:.2g} (at most {tolerance:.2g} allowed): "
            "weights so large that float32 noise shows, or a part that the freezer misreads; "
            "check the training, or raise `tolerance`"
        )


def _predict_sac(models: Sequence[Any], x: NDArray[np.float32]) -> FloatArray:
    actions = [model.predict(x, deterministic=True)[0][:, 0].astype(np.float64) for model in models]
    mean: FloatArray = np.mean(actions, axis=0)
    return mean


def _predict_recurrent(models: Sequence[Any], x: NDArray[np.float32]) -> FloatArray:
    """One episode of len(x) bars, the LSTM state carried."""
    actions = np.empty((len(models), len(x)))
    for k, model in enumerate(models):
        state = None
        for t in range(len(x)):
            start = np.array([t == 0])
            action, state = model.predict(x[t], state=state, episode_start=start, deterministic=True)
            actions[k, t] = action[0]
    mean: FloatArray = actions.mean(axis=0)
    return mean
