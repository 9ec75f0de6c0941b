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
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import __version__
from hybrid_bt.errors import Hint, PolicyError, did_you_mean
from hybrid_bt.policies import import_compiler
from hybrid_bt.policies.freeze import SbModel, SbPolicy, activations, actor_of, answers, read_off, write
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.graph import Actor
from hybrid_bt.policies.manifest import Manifest
from hybrid_bt.policies.sb3_archive import TRUST, Archive, Statistics, damage_said, read_archive, read_statistics

MOST_NUMBERS = 256 << 20  #: in a net
TOLERANCE = 1e-5  #: largest allowed difference to SB3's predict, in units of the action box where that is wider than 1
UNBOUNDED = float(np.finfo(np.float32).max)
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

FloatArray = NDArray[np.float64]


def import_model(
    model: Path,
    names: Sequence[str],
    out: Path,
    stated: Mapping[str, Any],
    *,
    vecnormalize: Path | None = None,
    unscaled: bool = False,
    trust: bool = False,
) -> FrozenPolicy:
    """Freeze a model.

    Parameters
    ----------
    names : sequence of str
        What the model reads, in its order.
    stated : mapping
        Fields of the manifest that the zip does not say, among them the `kind` and, as `observation`, all columns that
        the running code makes for it. Without `observation_clip` observations are not clipped: nor does SB3 clip them
        to the Box of the model.
    vecnormalize : Path, optional
        What `VecNormalize.save` wrote.
    unscaled : bool
        No VecNormalize scaled observations: there was none, or it had `norm_obs=False`.
    trust : bool
        Let SB3 load the zip, which runs what is in it.

    Raises
    ------
    PolicyError
        If the model cannot be read or frozen. Nothing is written then.
    """
    _check_names(stated["kind"], names, stated["observation"])
    archive = read_archive(model)
    policy = loaded(archive) if trust else rebuilt(archive)
    actor = actor_of(policy)
    statistics = read_statistics(vecnormalize) if vecnormalize else None
    if vecnormalize is None and not unscaled:
        _check_unscaled(archive)
    _check_fit(stated["kind"], len(names), policy.observation_space.shape[0], statistics, actor)
    fields = {**_said(archive, statistics), **read_off(policy, [actor]), **stated}
    fields["observation_clip"] = float(np.float32(min(stated.get("observation_clip", UNBOUNDED), UNBOUNDED)))
    fields["observation"] = tuple(names)
    if statistics is not None:
        mean, std = statistics.mean.tolist(), statistics.std.tolist()
        fields["scaling"] = {"mean": mean, "std": std, "clip": statistics.clip}
    manifest = Manifest.checked(fields, "import: manifest field", "state it, or correct it")

    def predict(x: NDArray[np.float32]) -> FloatArray:
        if statistics is not None:  # VecNormalize's arithmetic
            scaled = (x - statistics.mean) / statistics.std
            x = np.clip(scaled, -statistics.clip, statistics.clip).astype(np.float32)
        return answers([policy], x)

    tolerance = TOLERANCE * max(1.0, manifest.action_high - manifest.action_low)
    return write([actor], manifest, out, predict, tolerance)


def _check_names(kind: str, names: Sequence[str], made: Sequence[str]) -> None:
    """Refuse columns that the running code does not make."""
    for column, name in enumerate(names):
        if name not in made:
            why = f"(column {column}) is not made for a {kind}{did_you_mean(name, made)}"
            raise PolicyError(f"import: observation {name!r} {why}")
        if name in names[:column]:
            raise PolicyError(f"import: observation {name!r} comes twice (column {column}); name each column once")


def _check_unscaled(archive: Archive) -> None:
    """Refuse a model whose inputs VecNormalize may have scaled; a hint where the zip does not say."""
    ask = "give what its save() wrote as --vecnormalize, or --unscaled if it left observations alone (norm_obs=False)"
    if archive.normalised:
        raise PolicyError(f"import: the model learned under VecNormalize; {ask}")
    if archive.normalised is None:
        said = f"import: a zip of {archive.algorithm} does not say whether it learned under VecNormalize; if so, {ask}"
        warnings.warn(said, Hint, stacklevel=3)


def _check_fit(kind: str, named: int, read: int, statistics: Statistics | None, actor: Actor) -> None:
    """Refuse a model that does not fit its names, its statistics or its kind."""
    if read != named:
        rule = f"{named} observation names for a model that reads {read} numbers"
        raise PolicyError(f"import: {rule}; name its columns, in its order")
    if actor.lstms and kind == "sac":
        rule = "a RecurrentPPO remembers one series, and the sac leg asks about many assets at once"
        raise PolicyError(f"import: {rule}; import it with --kind gate")
    if statistics is not None and len(statistics.mean) != read:
        rule = f"the VecNormalize scales {len(statistics.mean)} numbers, the model reads {read}"
        raise PolicyError(f"import: {rule}; give the statistics that were saved with this model")


def _said(archive: Archive, statistics: Statistics | None) -> dict[str, Any]:
    """What the files say about the training."""
    return {
        "gradient_steps": archive.learned,
        "format_version": 2,
        "data_sha256": None,
        "seeds": [archive.data.get("seed")],
        "gamma": archive.data.get("gamma"),
        "steps": archive.data.get("num_timesteps"),
        "versions": {"stable-baselines3": archive.version, "hybrid_bt": __version__, "onnx": metadata.version("onnx")},
        "results": {
            "imported_from": archive.algorithm,
            "zip_sha256": hashlib.sha256(archive.raw).hexdigest(),
            "vecnormalize_sha256": statistics.sha256 if statistics else None,
        },
    }


def _class_of(algorithm: str) -> SbModel:
    import_compiler()
    import sb3_contrib
    import stable_baselines3

    return getattr(sb3_contrib if algorithm == "RecurrentPPO" else stable_baselines3, algorithm)


def loaded(archive: Archive) -> SbPolicy:
    """The policy of a model that SB3 loads, running what is in the file."""
    with damage_said(f"SB3 cannot load this {archive.algorithm}", SUPPORTED):
        return _class_of(archive.algorithm).load(io.BytesIO(archive.raw), device="cpu").policy


def rebuilt(archive: Archive) -> SbPolicy:
    """A policy of SB3's own class, in the sizes that the weights have, and filled with them."""
    algorithm, data = archive.algorithm, archive.data
    observation, action = archive.box("observation_space"), archive.box("action_space")
    policy_class, *_ = _class_of(algorithm).policy_aliases.values()
    _check_class(data.get("policy_class"), policy_class)
    if algorithm == "SAC" and data.get("use_sde"):
        raise PolicyError("import: SAC with use_sde=True is not supported; train with use_sde=False")
    options = _options(data.get("policy_kwargs") or {})
    weights = {key: value for key, value in archive.weights.items() if not key.startswith(CRITICS) and key != "log_std"}
    with damage_said(f"the weights are not those of a plain {algorithm} actor", "save the model again"):
        sizes = _sizes(algorithm, weights, observation.shape[0])
        policy = policy_class(observation, action, lambda _: 1e-3, **sizes, **options)
        # All weights of the actor, no more and no fewer; log_std serves exploration only.
        unused = {k: v for k, v in policy.state_dict().items() if k.startswith(CRITICS) or k == "log_std"}
        policy.load_state_dict(weights | unused)
    return policy


def _check_class(said: object, policy_class: type) -> None:
    """Refuse a policy class that is not SB3's own."""
    words = said if isinstance(said, dict) else {}
    made = re.match(r"<function (\w+)\.__init__ at ", str(words.get("__init__")))
    found = (words.get("__module__"), made and made[1])
    if found != (policy_class.__module__, policy_class.__name__):
        name = ".".join(str(part) for part in found if part) or "missing"
        raise PolicyError(f"import: the policy class is {name}; {SUPPORTED}; {TRUST}")


def _options(said: object) -> dict[str, Any]:
    """The activation class, if one was chosen, after all other options were found harmless."""
    from stable_baselines3.common.torch_layers import FlattenExtractor

    if not isinstance(said, dict) or said.get(":type:") not in (None, str(dict)):
        raise PolicyError(f"import: policy_kwargs are {said!r}, not a dict; {TRUST}")
    known = {str(kind): kind for kind in activations()}
    plain = {"features_extractor_class": (str(FlattenExtractor),), "squash_output": (False, None)}
    for key, value in said.items():
        if key != "activation_fn" and not (key in HARMLESS or value in plain.get(key, ())):
            raise PolicyError(f"import: policy_kwargs[{key!r}] = {value!r} is not supported; {TRUST}")
    chosen = said.get("activation_fn")
    if "activation_fn" in said and str(chosen) not in known:
        raise PolicyError(f"import: the activation is {chosen}; supported: {', '.join(known)}")
    return {"activation_fn": known[str(chosen)]} if "activation_fn" in said else {}


def _sizes(algorithm: str, weights: Mapping[str, Any], features: int) -> dict[str, Any]:
    """Options that give SB3's class the sizes of the weights; linear layers are the parts 0, 2, 4, ... of a net."""
    prefix = {"SAC": "actor.latent_pi.", "TD3": "actor.mu."}.get(algorithm, "mlp_extractor.policy_net.")
    part = re.compile(rf"{re.escape(prefix)}\d{{1,4}}\.weight")
    units = [len(weight) for key, weight in weights.items() if part.fullmatch(key)]
    options: dict[str, Any] = {"net_arch": {"pi": units[:-1] if algorithm == "TD3" else units, "qf": [], "vf": []}}
    options |= {"n_critics": 1} if algorithm in ("SAC", "TD3") else {}
    room = sum(a * b for a, b in pairwise([features, *units]))
    if algorithm == "RecurrentPPO":
        hidden = weights["lstm_actor.weight_hh_l0"].shape[1]
        layers = sum(key.startswith("lstm_actor.weight_hh_l") for key in weights)
        options |= {"lstm_hidden_size": hidden, "n_lstm_layers": layers, "enable_critic_lstm": False}
        options["lstm_kwargs"] = {"bias": "lstm_actor.bias_hh_l0" in weights}
        room += 4 * layers * hidden * (hidden + features)
    if room > MOST_NUMBERS:  # SB3 would make it
        raise PolicyError(f"import: the weights claim a net of {room} numbers; no policy is that large")
    return options
