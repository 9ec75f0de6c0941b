"""From SB3 models to a frozen policy (extra `train`; torch, SB3 and onnx are imported inside the functions only).

    freeze([model, ...], manifest, "sac.onnx")

Only weights leave the model; `policies.graph` writes the network anew, so no path, date or exporter's version gets into
the file: the same weights and manifest give the same bytes. Before it appears it is compared with `model.predict`.
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
from hybrid_bt.policies.actors import SbPolicy, actor_of, check_spaces, unsupported
from hybrid_bt.policies.file import pack
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.graph import Actor, FloatArray, actor_graph
from hybrid_bt.policies.manifest import Manifest
from hybrid_bt.policies.sb3_archive import gradient_steps

Predict = Callable[[NDArray[np.float32]], FloatArray]
SbModel: TypeAlias = Any  #: of SB3: what it holds only its own class knows

TOLERANCE = 2e-6  #: largest allowed difference to SB3's own float32 arithmetic, in units of the action
N_COMPARED = 2_000  #: random observations compared, in one episode for a recurrent policy
MOST_ACTION = 10.0  #: units of risk that no account can hold
SPREAD = 2.0  #: their standard deviation; scale-free observations are of order 1
LIBRARIES = ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "onnx", "numpy")
SEALED = {"format_version", "graph_sha256", "graph_bytes"}  #: fields of a manifest that belong to the file


def freeze(
    models: Sequence[SbModel], manifest: Mapping[str, Any], path: str | Path | None, *, tolerance: float = TOLERANCE
) -> FrozenPolicy:
    """Freeze one model, or an ensemble, to one file.

    Parameters
    ----------
    models : sequence of models of one algorithm of Stable-Baselines3 or sb3-contrib
        Same spaces and architecture: flat Box observation, bounded Box of actions, an MLP actor (`actor_of`);
        RecurrentPPO with any number of LSTM layers and its critic's LSTM shared, separate or none.
    manifest : mapping
        Fields of `Manifest`, without those that are `read_off` the models. `gamma`, `steps`, `seeds` and `versions`
        are read off the models and the installation where they are not given, and `kind` off their shape: several
        actions are a portfolio's, a memory is a gate's.
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
    _check_models(models)
    policies = [model.policy for model in models]
    actors = [actor_of(policy) for policy in policies]
    sealed = _manifest(models, manifest, read_off(policies[0], actors))
    return write(actors, sealed, None if path is None else Path(path), lambda x: answers(policies, x), tolerance)


def _check_models(models: Sequence[SbModel]) -> None:
    """Look at what is not to be seen on the models' policies."""
    if not models:
        raise PolicyError("freeze: no models given; give at least one")
    for model in models:
        if type(model) is not type(models[0]):
            rule = f"a {type(model).__name__} beside a {type(models[0]).__name__}"
            raise unsupported(rule, "give models of one algorithm")
        if model.observation_space.dtype != np.float32:
            raise unsupported(f"{model.observation_space.dtype} observations", "use a float32 Box")
        if (model.observation_space, model.action_space) != (models[0].observation_space, models[0].action_space):
            raise PolicyError("freeze: members have different spaces; give an ensemble one observation and one action")
        scaler = model.get_vec_normalize_env()
        if scaler is not None and scaler.norm_obs:
            raise unsupported("VecNormalize of observations", "train on scale-free observations with norm_obs=False")


def read_off(policy: SbPolicy, actors: Sequence[Actor]) -> dict[str, Any]:
    """What a manifest says about the network: its action box, its members and its memory."""
    check_spaces(policy)
    low, high = (float(edge[0]) for edge in (policy.action_space.low, policy.action_space.high))
    if max(-low, high) > MOST_ACTION:
        raise unsupported(f"an action from {low:g} to {high:g}", f"use a Box within +-{MOST_ACTION:g}: no percent")
    lstms, (n_actions,) = [lstm for actor in actors for lstm in actor.lstms], policy.action_space.shape
    memory = {"n_lstm": len(actors[0].lstms), "hidden": len(lstms[0].weight_h)} if lstms else None
    kind = "portfolio" if n_actions > 1 else "gate" if lstms else "sac"
    shape = {"actions": n_actions, "members": max(len(actors), 1), "recurrent": memory}
    return {"kind": kind, "action_low": low, "action_high": high, **shape}


def _manifest(models: Sequence[SbModel], given: Mapping[str, Any], derived: Mapping[str, Any]) -> Manifest:
    for known in sorted(set(given) & (SEALED | set(derived) - {"kind"})):
        raise PolicyError(f"freeze: {known!r} is read off the models; leave it out of the manifest")
    found: dict[str, Any] = {"versions": {"hybrid_bt": __version__, **{n: metadata.version(n) for n in LIBRARIES}}}
    counted = zip(*((model.gamma, model.num_timesteps, gradient_steps(vars(model))) for model in models), strict=True)
    alike = zip(("gamma", "steps", "gradient_steps"), counted, strict=True)
    found |= {field: values[0] for field, values in alike if len(set(values)) == 1}
    if all(model.seed is not None for model in models):
        found["seeds"] = tuple(model.seed for model in models)
    sealed = Manifest.checked({**derived, **found, **given}, "freeze: manifest field", "correct it")
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
    actions = np.empty((len(policies), len(x), *policies[0].action_space.shape))
    for k, policy in enumerate(policies):
        if not hasattr(policy, "lstm_actor"):
            actions[k] = policy.predict(x, deterministic=True)[0]
            continue
        state = None
        for t, row in enumerate(x):
            start = np.array([t == 0])
            actions[k, t], state = policy.predict(row, state=state, episode_start=start, deterministic=True)
    mean: FloatArray = actions.mean(axis=0)
    return mean if mean.shape[1] > 1 else mean[:, 0]
