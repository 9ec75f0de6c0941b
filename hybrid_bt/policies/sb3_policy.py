"""The policy in a model that Stable-Baselines3 saved, and such a model as an object.

By default nothing in the file is run. Next to each pickle SB3 writes in words what it holds: the policy class, its
options, the spaces. From these words and the weights the installed SB3 builds the policy anew (`rebuilt`); no name in
the file is imported, it is only compared with the names that are known. A file that is trusted SB3 loads itself
(`loaded`), and what no graph can hold then answers as the object that it is (`TrustedPolicy`).
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from hybrid_bt.errors import PolicyError
from hybrid_bt.files import write_whole
from hybrid_bt.policies import import_compiler
from hybrid_bt.policies.actors import SbPolicy, activations
from hybrid_bt.policies.file import TRUST, checked_manifest, read_bytes
from hybrid_bt.policies.freeze import SbModel
from hybrid_bt.policies.graph import FloatArray
from hybrid_bt.policies.manifest import Manifest
from hybrid_bt.policies.sb3_archive import BOXES, MAX_ZIP, Archive, archive_of, damage_said, tensors

MOST_NUMBERS = 256 << 20  #: in a net
CONTRIB = ("RecurrentPPO", "TQC", "CrossQ", "ARS", "TRPO")  #: of sb3-contrib
#: algorithm -> where the layers behind its features stand among the weights; of any other, in `mlp_extractor`
LAYERS_AT = dict.fromkeys(("SAC", "TQC", "CrossQ"), "actor.latent_pi.") | {"TD3": "actor.mu.", "ARS": "action_net."}
#: policy_kwargs that do not change what the actor computes, or whose effect shows in the weights
HARMLESS = {
    *("batch_norm", "batch_norm_momentum", "clip_mean", "enable_critic_lstm", "features_extractor_kwargs", "full_std"),
    *("log_std_init", "lstm_hidden_size", "lstm_kwargs", "n_critics", "n_lstm_layers", "n_quantiles", "net_arch"),
    *("normalize_images", "optimizer_class", "optimizer_kwargs", "ortho_init", "renorm_warmup_steps"),
    *("share_features_extractor", "shared_lstm", "use_expln", "use_sde", "with_bias", ":type:", ":serialized:"),
}
#: weights that only training needs
CRITICS = ("critic.", "critic_target.", "actor_target.", "value_net.", "mlp_extractor.value_net.", "lstm_critic.")
SUPPORTED = (
    "SAC, TD3, DDPG, TQC, CrossQ, PPO, A2C, TRPO, RecurrentPPO and ARS with an MlpPolicy, LinearPolicy or "
    "MlpLstmPolicy are supported"
)
MANIFEST = "hybrid_bt.json"  #: member of a zip that is kept as an object


def _class_of(algorithm: str) -> SbModel:
    import_compiler()
    import sb3_contrib
    import stable_baselines3

    return getattr(sb3_contrib if algorithm in CONTRIB else stable_baselines3, algorithm)


def loaded(archive: Archive) -> SbModel:
    """A model that SB3 loads, running what is in the file; spaces of gym, which nobody may have, are read as words."""
    spaces = ("observation_space", "action_space")
    old = [key for key in spaces if dict(archive.data.get(key) or {}).get(":type:") == BOXES[1]]
    with damage_said(f"SB3 cannot load this {archive.algorithm}", SUPPORTED):
        known = {key: archive.box(key) for key in old}
        return _class_of(archive.algorithm).load(io.BytesIO(archive.raw), device="cpu", custom_objects=known)


class TrustedPolicy:
    """A model that Stable-Baselines3 loads, which runs what is in its file, and asks in the place of a frozen policy.

    Parameters
    ----------
    data : bytes
        A zip that `keep` wrote.
    name : str
        Of the file, for messages.

    Raises
    ------
    PolicyError
        If SB3 cannot load it, or nobody said what it was trained on.
    """

    def __init__(self, data: bytes, name: str) -> None:
        archive = archive_of(data, name)
        remedy = "make it by hybrid-bt policy import-sb3 --trust --out NAME.zip"
        with damage_said(f"{name} does not say what it was trained on", remedy), zipfile.ZipFile(io.BytesIO(data)) as z:
            self.manifest = checked_manifest(z.read(MANIFEST), name)
        self.name, self.sha256, self.clipped_count = name, hashlib.sha256(data).hexdigest(), 0
        self.is_object = f"a {archive.algorithm} that Stable-Baselines3 runs"  #: what outputs say of it
        self._model, self._memory = loaded(archive), None  # type: SbModel, tuple[FloatArray, ...] | None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that is trusted; see the class for errors."""
        return cls(read_bytes(Path(path), MAX_ZIP, "a model that import-sb3 --trust kept"), Path(path).name)

    def columns_in(self, names: Sequence[str]) -> list[int]:
        """As `Manifest.columns_in`."""
        return self.manifest.columns_in(names, self.name)

    def reset(self) -> None:
        """Forget: the next call begins an episode."""
        self._memory = None

    def act(self, observations: ArrayLike) -> FloatArray:
        """Answer one bar, (rows, features) to (rows,), or (rows, actions) where there are several."""
        actions, self._memory = self.predict(observations, self._memory)
        return actions if self.manifest.actions > 1 else actions[:, 0]

    def predict(
        self,
        observation: ArrayLike,
        state: tuple[FloatArray, ...] | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[FloatArray, tuple[FloatArray, ...] | None]:
        """As SB3's, of observations as they are before they are clipped and scaled."""
        seen, clip, scaling = np.asarray(observation, np.float64), self.manifest.observation_clip, self.manifest.scaling
        self.clipped_count += int(np.count_nonzero(np.abs(seen) > clip))
        x = np.clip(seen, -clip, clip).astype(np.float32)
        x = x if scaling is None else scaling.scaled(x)
        action, state = self._model.predict(x, state, episode_start, deterministic=deterministic)
        return np.asarray(action, np.float64), state


def keep(archive: Archive, manifest: Manifest, out: Path) -> TrustedPolicy:
    """Write a model's zip with its manifest inside, for `TrustedPolicy`; SB3 still loads it."""
    file = io.BytesIO(archive.raw)
    with zipfile.ZipFile(file, "a") as z:
        z.writestr(zipfile.ZipInfo(MANIFEST), manifest.sealed_json())
    policy = TrustedPolicy(file.getvalue(), out.name)
    write_whole(out, file.getvalue())
    return policy


def rebuilt(archive: Archive) -> SbPolicy:
    """A policy of SB3's own class, in the sizes that the weights have, and filled with them."""
    algorithm, data = archive.algorithm, archive.data
    observation, action = archive.box("observation_space"), archive.box("action_space")
    aliases = _class_of(algorithm).policy_aliases
    known = [aliases[name] for name in ("MlpPolicy", "LinearPolicy", "MlpLstmPolicy") if name in aliases]
    policy_class = _checked_class(data.get("policy_class"), known)
    if algorithm in ("SAC", "TQC", "CrossQ") and data.get("use_sde"):
        raise PolicyError(f"import: {algorithm} with use_sde=True is not supported; train with use_sde=False")
    options = _options(algorithm, data.get("policy_kwargs") or {})
    weights = {key: value for key, value in tensors(archive.weights).items() if not _is_unused(key)}
    with damage_said(f"the weights are not those of a plain {algorithm} actor", "save the model again"):
        sizes, schedule = _sizes(algorithm, weights, observation.shape[0]), [lambda _: 1e-3]
        if algorithm == "ARS":
            schedule = []  # it has no gradient
            options = {"squash_output": policy_class is known[0]} | options
            policy_class = known[0]
        policy = policy_class(observation, action, *schedule, **sizes, **options)
        # All weights of the actor, no more and no fewer.
        unused = {key: value for key, value in policy.state_dict().items() if _is_unused(key)}
        policy.load_state_dict(weights | unused)
    return policy


def _is_unused(key: str) -> bool:
    return key.startswith(CRITICS) or key == "log_std"  # which serves exploration only


def _checked_class(said: object, known: Sequence[SbPolicy]) -> SbPolicy:
    """The policy class, which must be one of SB3's own."""
    words = said if isinstance(said, dict) else {}
    made = re.match(r"<function (\w+)\.__init__ at ", str(words.get("__init__")))
    found = (words.get("__module__"), made and made[1])
    for policy_class in known:
        if found == (policy_class.__module__, policy_class.__name__):
            return policy_class
    name = ".".join(str(part) for part in found if part) or "missing"
    raise PolicyError(f"import: the policy class is {name}; {SUPPORTED}; {TRUST}")


def _options(algorithm: str, said: object) -> dict[str, Any]:
    """What was chosen of what shows in no weight, after all other options were found harmless."""
    from stable_baselines3.common.torch_layers import FlattenExtractor

    if not isinstance(said, dict) or said.get(":type:") not in (None, str(dict)):
        raise PolicyError(f"import: policy_kwargs are {said!r}, not a dict; {TRUST}")
    known = {str(kind): kind for kind in activations()}
    plain: dict[str, tuple[object, ...]] = {"features_extractor_class": (str(FlattenExtractor),)}
    plain |= {"squash_output": (False, True)} if algorithm == "ARS" else {"squash_output": (False, None)}
    for key, value in said.items():
        fits = key in HARMLESS or value in plain.get(key, ()) or (key == "batch_norm_eps" and isinstance(value, float))
        if key != "activation_fn" and not fits:
            raise PolicyError(f"import: policy_kwargs[{key!r}] = {value!r} is not supported; {TRUST}")
    passed = "squash_output" if algorithm == "ARS" else "batch_norm_eps"
    chosen: dict[str, Any] = {passed: said[passed]} if passed in said else {}
    if "activation_fn" in said:
        if (name := str(said["activation_fn"])) not in known:
            raise PolicyError(f"import: the activation is {name}; supported: {', '.join(known)}")
        chosen["activation_fn"] = known[name]
    return chosen


def _sizes(algorithm: str, weights: Mapping[str, Any], features: int) -> dict[str, Any]:
    """Options that give SB3's class the sizes of the weights; linear layers are the parts 0, 2, 4, ... of a net."""
    prefix = LAYERS_AT.get(algorithm, "mlp_extractor.policy_net.")
    part = re.compile(rf"{re.escape(prefix)}\d{{1,4}}\.weight")
    units = [len(weight) for key, weight in weights.items() if part.fullmatch(key)]
    layers_of = units[:-1] if algorithm in ("TD3", "ARS") else units  # whose last layer is among them
    options: dict[str, Any] = {"net_arch": {"pi": layers_of, "qf": [], "vf": []}}
    if algorithm in ("SAC", "TD3", "TQC", "CrossQ"):
        options["n_critics"] = 1
    if algorithm == "CrossQ":
        options["batch_norm"] = f"{prefix}0.ra_mean" in weights
    if algorithm == "ARS":
        options = {"net_arch": layers_of, "with_bias": f"{prefix}0.bias" in weights}
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
