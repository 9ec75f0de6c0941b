"""From a model that SB3 saved to a frozen policy.

By default nothing in the file is run. Next to each pickle SB3 writes in words what it holds: the policy class, its
options, the spaces. From these words and the weights the installed SB3 builds the policy anew (`rebuilt`); no name in
the file is imported, it is only compared with the names that are known. With `--trust` SB3 loads the file itself
(`loaded`). Either way the answer is that of `model.predict(deterministic=True)`.

The model may read the columns that the running code makes in any order, and need not read all: the weights of the
first layer are put in the code's order, and columns that the model does not know get the weight 0.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import __version__
from hybrid_bt.config.build import OBSERVATIONS
from hybrid_bt.errors import PolicyError, did_you_mean
from hybrid_bt.policies.freeze import activations, actor_of, answers, read_off, write
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.graph import Actor
from hybrid_bt.policies.manifest import Manifest
from hybrid_bt.policies.sb3.archive import (
    AGAIN,
    MAX_WEIGHTS,
    Archive,
    Statistics,
    damage_said,
    read_archive,
    read_statistics,
)

MEANINGS = {"sac": "exposure to one asset in units of risk", "gate": "regime score r: -1 mean reversion, +1 trend"}
TOLERANCE = 1e-5  #: largest allowed difference to SB3's predict, in units of the action box where that is wider than 1
UNBOUNDED = float(np.finfo(np.float32).max)
OFF_POLICY = ("SAC", "TD3")
#: attributes that only models of one algorithm have; A2C has none
SIGNS = {"target_entropy": "SAC", "target_policy_noise": "TD3", "clip_range": "PPO"}
BOXES = ("<class 'gymnasium.spaces.box.Box'>", "<class 'gym.spaces.box.Box'>")
#: policy_kwargs that do not change what the actor computes, or whose effect shows in the weights
HARMLESS = {
    *("clip_mean", "enable_critic_lstm", "features_extractor_kwargs", "full_std", "log_std_init", "lstm_hidden_size"),
    *("lstm_kwargs", "n_critics", "n_lstm_layers", "net_arch", "normalize_images", "optimizer_class"),
    *("optimizer_kwargs", "ortho_init", "share_features_extractor", "shared_lstm", "use_expln", "use_sde"),
    *(":type:", ":serialized:"),
}
#: weights that only training needs
CRITICS = ("critic.", "critic_target.", "actor_target.", "value_net.", "mlp_extractor.value_net.", "lstm_critic.")
SUPPORTED = "SAC, TD3, DDPG, PPO, A2C and RecurrentPPO with an MlpPolicy or MlpLstmPolicy are supported"
TRUST = "if you know who made the file, --trust lets SB3 load it"

FloatArray = NDArray[np.float64]


def import_model(
    model: Path,
    kind: str,
    names: Sequence[str],
    out: Path,
    stated: Mapping[str, Any],
    *,
    vecnormalize: Path | None = None,
    observation_clip: float | None = None,
    trust: bool = False,
) -> FrozenPolicy:
    """Freeze a model.

    Parameters
    ----------
    model : Path
        The zip.
    kind : {'sac', 'gate'}
    names : sequence of str
        What the model reads, in its order.
    out : Path
    stated : mapping
        Fields of the manifest that the zip does not say.
    vecnormalize : Path, optional
        What `VecNormalize.save` wrote.
    observation_clip : float, optional
        Default is the largest bound of the model's observation space.
    trust : bool
        Let SB3 load the zip, which runs what is in it.

    Raises
    ------
    PolicyError
        If the model cannot be read or frozen. Nothing is written then.
    """
    columns, archive = _columns(kind, names), read_archive(model)
    policy = loaded(archive) if trust else rebuilt(archive)
    actor, box = actor_of(policy), policy.observation_space
    if box.shape != (len(columns),):
        raise PolicyError(
            f"import: {len(columns)} observation names for a model that reads {box.shape[0]} numbers; "
            "name its columns, in its order"
        )
    if actor.lstms and kind == "sac":
        raise PolicyError(
            "import: a RecurrentPPO remembers one series, and the sac leg asks about many assets at once; "
            "import it with --kind gate"
        )
    statistics = read_statistics(vecnormalize) if vecnormalize else None
    if statistics is not None and len(statistics.mean) != len(columns):
        raise PolicyError(
            f"import: the VecNormalize scales {len(statistics.mean)} numbers, the model reads {len(columns)}; "
            "give the statistics that were saved with this model"
        )
    bound = float(np.abs([box.low, box.high]).max())
    clip = observation_clip or (bound if bound > 0.0 else UNBOUNDED)
    fields = {
        "kind": kind,
        "observation": OBSERVATIONS[kind],
        "observation_clip": float(np.float32(min(clip, UNBOUNDED))),
        "action_meaning": MEANINGS[kind],
        "scaling": _scaling(statistics, columns, len(OBSERVATIONS[kind])),
    }
    fields |= _said(archive, statistics, names) | read_off(policy, [actor])
    manifest = Manifest.checked({**fields, **stated}, "import: manifest field", "state it, or correct it")

    def predict(x: NDArray[np.float32]) -> FloatArray:
        seen: NDArray[Any] = x[:, columns]
        if statistics is not None:  # VecNormalize's arithmetic
            scaled = (seen - statistics.mean) / statistics.std
            seen = np.clip(scaled, -statistics.clip, statistics.clip).astype(np.float32)
        return answers([policy], seen)

    tolerance = TOLERANCE * max(1.0, manifest.action_high - manifest.action_low)
    return write([_widened(actor, columns, len(manifest.observation))], manifest, out, predict, tolerance)


def _columns(kind: str, names: Sequence[str]) -> list[int]:
    """Where the model's columns stand among those that the running code makes."""
    made = OBSERVATIONS[kind]
    for column, name in enumerate(names):
        if name not in made:
            raise PolicyError(
                f"import: observation {name!r} (column {column}) is not made for a {kind}{did_you_mean(name, made)}"
            )
        if name in names[:column]:
            raise PolicyError(f"import: observation {name!r} comes twice (column {column}); name each column once")
    return [made.index(name) for name in names]


def _scaling(statistics: Statistics | None, columns: list[int], width: int) -> dict[str, Any] | None:
    if statistics is None:
        return None
    mean, std = np.zeros(width), np.ones(width)
    mean[columns], std[columns] = statistics.mean, statistics.std
    return {"mean": mean.tolist(), "std": std.tolist(), "clip": statistics.clip}


def _said(archive: Archive, statistics: Statistics | None, names: Sequence[str]) -> dict[str, Any]:
    """What the files say about the training."""
    data = archive.data
    return {
        "format_version": 2,
        "data_sha256": None,
        "seeds": [data.get("seed")],
        "gamma": data.get("gamma"),
        "steps": data.get("num_timesteps"),
        "versions": {"stable-baselines3": archive.version, "hybrid_bt": __version__, "onnx": metadata.version("onnx")},
        "results": {
            "imported_from": algorithm_of(archive),
            "zip_sha256": hashlib.sha256(archive.raw).hexdigest(),
            "vecnormalize_sha256": statistics.sha256 if statistics else None,
            "observation_read": list(names),
        },
    }


def _widened(actor: Actor, columns: list[int], width: int) -> Actor:
    """The same actor on all columns that the code makes; those it does not read have the weight 0."""

    def spread(weight: FloatArray) -> FloatArray:
        whole = np.zeros((width, weight.shape[1]))
        whole[columns] = weight
        return whole

    if actor.lstms:
        first, *others = actor.lstms
        return actor._replace(lstms=[first._replace(weight_x=spread(first.weight_x)), *others])
    dense, *rest = actor.layers
    return actor._replace(layers=[dense._replace(weight=spread(dense.weight)), *rest])


def algorithm_of(archive: Archive) -> str:
    """SAC, TD3 (which DDPG is too), PPO, A2C or RecurrentPPO."""
    if any(key.startswith("lstm_actor.") for key in archive.weights):
        return "RecurrentPPO"
    return next((algorithm for sign, algorithm in SIGNS.items() if sign in archive.data), "A2C")


def _class_of(algorithm: str) -> Any:
    import sb3_contrib
    import stable_baselines3

    return getattr(sb3_contrib if algorithm == "RecurrentPPO" else stable_baselines3, algorithm)


def loaded(archive: Archive) -> Any:
    """The policy of a model that SB3 loads, running what is in the file."""
    with damage_said(f"SB3 cannot load this {algorithm_of(archive)}", SUPPORTED):
        return _class_of(algorithm_of(archive)).load(io.BytesIO(archive.raw), device="cpu").policy


def rebuilt(archive: Archive) -> Any:
    """A policy of SB3's own class, in the sizes that the weights have, and filled with them.

    Raises
    ------
    PolicyError
        If the model is not one of SB3's plain ones, or its weights do not fit together.
    """
    algorithm, data = algorithm_of(archive), archive.data
    observation, action = _box(data, "observation_space"), _box(data, "action_space")
    policy_class, *_ = _class_of(algorithm).policy_aliases.values()
    _check_class(data.get("policy_class"), policy_class)
    if algorithm in OFF_POLICY and data.get("use_sde"):
        raise PolicyError(f"import: {algorithm} with use_sde=True is not supported; train with use_sde=False")
    options = _options(data.get("policy_kwargs") or {})
    weights = {key: value for key, value in archive.weights.items() if not key.startswith(CRITICS) and key != "log_std"}
    with damage_said(f"the weights are not those of a plain {algorithm} actor", AGAIN):
        sizes = _sizes(algorithm, weights, observation.shape[0])
        policy = policy_class(observation, action, lambda _: 1e-3, **sizes, **options)
        # All weights of the actor, no more and no fewer; log_std serves exploration only.
        unused = {k: v for k, v in policy.state_dict().items() if k.startswith(CRITICS) or k == "log_std"}
        policy.load_state_dict(weights | unused)
    return policy


def _box(data: Mapping[str, Any], key: str) -> Any:
    """A flat box, from numbers in the words of numpy: to 8 decimals, which float32 seldom needs."""
    from gymnasium.spaces import Box

    said = data.get(key)
    kind = said.get(":type:") if isinstance(said, dict) else said
    if not isinstance(said, dict) or kind not in BOXES:
        raise PolicyError(f"import: {key} is {kind!r}; use a Box, or, {TRUST}")
    with damage_said(f"{key} is no flat Box, of shape (n,)", f"use one, or, {TRUST}"):
        low, high = (np.array(said[edge].strip("[]").split(), np.float32) for edge in ("low", "high"))
        return Box(low, high, dtype=np.float32)


def _check_class(said: Any, policy_class: type) -> None:
    """Refuse a policy class that is not SB3's own."""
    words = said if isinstance(said, dict) else {}
    made = re.match(r"<function (\w+)\.__init__ at ", str(words.get("__init__")))
    found = (words.get("__module__"), made and made[1])
    if found != (policy_class.__module__, policy_class.__name__):
        name = ".".join(str(part) for part in found if part) or "missing"
        raise PolicyError(f"import: the policy class is {name}; {SUPPORTED}; {TRUST}")


def _options(said: Any) -> dict[str, Any]:
    """The activation class, if one was chosen, after all other options were found harmless."""
    from stable_baselines3.common.torch_layers import FlattenExtractor

    if not isinstance(said, dict) or said.get(":type:") not in (None, str(dict)):
        raise PolicyError(f"import: policy_kwargs are {said!r}, not a dict; {TRUST}")
    known = {str(kind): kind for kind in activations()}
    for key, value in said.items():
        if key == "activation_fn":
            if str(value) not in known:
                raise PolicyError(f"import: the activation is {value}; supported: {', '.join(known)}")
        elif {
            "features_extractor_class": value != str(FlattenExtractor),
            "squash_output": bool(value),
        }.get(key, key not in HARMLESS):
            raise PolicyError(f"import: policy_kwargs[{key!r}] = {value!r} is not supported; {TRUST}")
    return {"activation_fn": known[said["activation_fn"]]} if "activation_fn" in said else {}


def _sizes(algorithm: str, weights: Mapping[str, Any], features: int) -> dict[str, Any]:
    """Options that give SB3's class the sizes of the weights; linear layers are the parts 0, 2, 4, ... of a net."""
    prefix = {"SAC": "actor.latent_pi.", "TD3": "actor.mu."}.get(algorithm, "mlp_extractor.policy_net.")
    part = re.compile(rf"{re.escape(prefix)}(\d{{1,4}})\.weight")
    found = {int(match[1]): len(weight) for key, weight in weights.items() if (match := part.fullmatch(key))}
    units = [found[index] for index in sorted(found)]
    options: dict[str, Any] = {"net_arch": {"pi": units[:-1] if algorithm == "TD3" else units, "qf": [], "vf": []}}
    if algorithm in OFF_POLICY:
        options["n_critics"] = 1
    room = sum(a * b for a, b in pairwise([features, *units]))
    if algorithm == "RecurrentPPO":
        hidden = weights["lstm_actor.weight_hh_l0"].shape[1]
        layers = sum(key.startswith("lstm_actor.weight_hh_l") for key in weights)
        options |= {"lstm_hidden_size": hidden, "n_lstm_layers": layers, "enable_critic_lstm": False}
        options["lstm_kwargs"] = {"bias": "lstm_actor.bias_hh_l0" in weights}
        room += 4 * layers * hidden * (hidden + features)
    if room > MAX_WEIGHTS:  # SB3 would make it
        raise PolicyError(f"import: the weights claim a net of {room} numbers; no policy is that large")
    return options
