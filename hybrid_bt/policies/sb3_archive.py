"""What SB3 saves, read as data: the zip of a model and the pickle of a VecNormalize.

    model.zip
      data           JSON; what JSON cannot hold is there as a pickle, which is not opened, and in words beside it
      policy.pth     weights, read by torch.load(weights_only=True), which makes tensors and nothing else
      ...            optimisers and the like: not opened

A pickle is a program: it names callables of any importable module and calls them. In that of a VecNormalize every name
becomes a stand-in, a class that only remembers its name, what it was called with and the state it was given; nothing is
imported, and nothing of the file is called.

Sizes are looked at before anything is unpacked, and unpacking stops at them whatever the headers say.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import PolicyError, os_errors
from hybrid_bt.policies.file import TRUST, read_bytes
from hybrid_bt.policies.manifest import Scaling

if TYPE_CHECKING:
    from gymnasium.spaces import Box

MAX_ZIP = 1 << 30  #: bytes of a model.zip; a replay buffer is not in it
MAX_MEMBERS = 1_000
MAX_DATA = 32 << 20  #: bytes of `data`
MAX_WEIGHTS = 256 << 20  #: bytes of `policy.pth`, critics included, packed or not
MAX_STATISTICS = 32 << 20
MAX_VERSION = 64
VERSION = "_stable_baselines3_version"
VECNORMALIZE = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"
#: attribute -> algorithm: the first that a model has says what it is; A2C has none
SIGNS = {
    **{"top_quantiles_to_drop_per_net": "TQC", "n_delta": "ARS", "cg_max_steps": "TRPO", "target_policy_noise": "TD3"},
    **{"policy_delay": "CrossQ", "target_entropy": "SAC", "exploration_fraction": "DQN", "clip_range": "PPO"},
}
ON_POLICY = ("PPO", "A2C", "TRPO", "RecurrentPPO")  #: whose zips tell whether VecNormalize scaled observations
BOXES = ("<class 'gymnasium.spaces.box.Box'>", "<class 'gym.spaces.box.Box'>")
AGAIN = "save the model again with model.save()"
#: what zipfile, zlib, pickle and torch raise on damaged input
BROKEN = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error),
)


class Archive(NamedTuple):
    """A saved model, nothing of it run."""

    raw: bytes  #: of the zip
    version: str  #: of the SB3 that saved it
    data: dict[str, Any]  #: attributes as JSON
    weights: bytes  #: `policy.pth`

    @property
    def algorithm(self) -> str:
        """A value of `SIGNS`, RecurrentPPO or A2C; DDPG is a TD3."""
        if b"lstm_actor." in self.weights:  # their names are not packed
            return "RecurrentPPO"
        return next((algorithm for sign, algorithm in SIGNS.items() if sign in self.data), "A2C")

    @property
    def normalised(self) -> bool | None:
        """Whether it learned under VecNormalize; None where nobody can know: SAC and its like look alike both ways."""
        if self.algorithm not in ON_POLICY or not self.data.get("num_timesteps"):
            return None
        return self.data.get("_last_original_obs") is not None

    @property
    def learned(self) -> int | None:
        """Gradient steps."""
        with damage_said("its counters are no numbers", AGAIN):
            return gradient_steps(self.data)

    def box(self, key: str) -> Box:
        """A flat box, from numbers in the words of numpy: to 8 decimals, which float32 seldom needs."""
        from gymnasium.spaces import Box

        said = self.data.get(key)
        kind = said.get(":type:") if isinstance(said, dict) else said
        if not isinstance(said, dict) or kind not in BOXES:
            raise PolicyError(f"import: {key} is {kind!r}; use a Box, or, {TRUST}")
        with damage_said(f"{key} is no flat Box, of shape (n,)", f"use one, or, {TRUST}"):
            low, high = (np.array(said[edge].strip("[]").split(), np.float32) for edge in ("low", "high"))
            return Box(low, high, dtype=np.float32)


def gradient_steps(said: Mapping[str, Any]) -> int | None:
    """By a model's attributes: SB3 counts the steps of most algorithms, and the epochs of PPO's."""
    done: int | None = said.get("_n_updates")
    if done is None or "n_epochs" not in said:
        return done
    epoch: int = -(-said["n_steps"] * said["n_envs"] // said["batch_size"])
    return done * epoch


def damage_said(words: str, remedy: str) -> AbstractContextManager[None]:
    """Whatever a library raises inside becomes one clear error."""
    return os_errors(PolicyError, f"import: {words}", remedy, of=BROKEN)


def archive_of(raw: bytes, name: str) -> Archive:
    """Read the bytes of a model that SB3 saved.

    Raises
    ------
    PolicyError
        If it is no zip of SB3, or damaged.
    """
    with damage_said(f"{name} is no zip, or a damaged one", AGAIN), zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = archive.namelist()
        _check_members(names, name)
        text = _member(archive, "data", MAX_DATA, name)
        weights = _member(archive, "policy.pth", MAX_WEIGHTS, name)
        version = _member(archive, VERSION, MAX_VERSION, name).decode().strip() if VERSION in names else "unknown"
    with damage_said(f"'data' in {name} is not JSON", AGAIN):
        data = json.loads(text)
    if not isinstance(data, dict):
        raise PolicyError(f"import: 'data' in {name} is a {type(data).__name__}, not an object; {AGAIN}")
    return Archive(raw, version, data, weights)


def _check_members(names: list[str], name: str) -> None:
    if len(names) > MAX_MEMBERS or len(set(names)) != len(names):
        raise PolicyError(f"import: {name} has {len(names)} members, or two of one name; SB3 saves no such zip")
    for member in ("data", "policy.pth"):
        if member not in names:
            raise PolicyError(f"import: {name} has no member {member!r}, or is cut off; {AGAIN}")


def _member(archive: zipfile.ZipFile, member: str, limit: int, name: str) -> bytes:
    declared = archive.getinfo(member).file_size
    if declared <= limit:
        with archive.open(member) as file:
            raw = file.read(limit + 1)
        if len(raw) <= limit:
            return raw
    raise PolicyError(f"import: {member!r} in {name} unpacks to {declared} bytes, at most {limit} are read; {AGAIN}")


def tensors(raw: bytes) -> dict[str, Any]:
    """Torch tensors by name of `policy.pth`, which is a zip itself."""
    import torch

    with damage_said("policy.pth is damaged, or holds more than weights", AGAIN):
        with zipfile.ZipFile(io.BytesIO(raw)) as inner:
            unpacked = sum(info.file_size for info in inner.infolist())
        if unpacked > MAX_WEIGHTS:
            raise PolicyError(f"import: policy.pth unpacks to {unpacked} bytes, at most {MAX_WEIGHTS} are read")
        found = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise PolicyError(f"import: policy.pth holds a {type(found).__name__}, not weights by name; {AGAIN}")
    for key, tensor in found.items():
        # Strides of 0 make a small file a huge tensor.
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.nbytes > unpacked:
            raise PolicyError(f"import: {key!r} in policy.pth is no ordinary tensor; {AGAIN}")
    return found


class StandIn:
    """Something that a pickle wanted to make; subclasses carry its name."""

    name = ""  #: dotted name that was asked for
    arguments: tuple[Any, ...]  #: what it was called with
    state: Any  #: what was set on it afterwards, or None

    def __new__(cls, *arguments: object, **keywords: object) -> Self:
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Reader(pickle._Unpickler):  # the C one cannot be trusted with memory: it allocates by numbers in the file
    def find_class(self, module: str, name: str) -> type[StandIn]:
        return type("StandIn", (StandIn,), {"name": f"{module}.{name}"})

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"extension code {code}")  # would look into this process's registry


def read_statistics(path: Path) -> Scaling | None:
    """What a VecNormalize does to observations, from what its `save` wrote; None if it leaves them alone.

    Raises
    ------
    PolicyError
        If the file is something else, or damaged.
    """
    raw = read_bytes(path, MAX_STATISTICS, "what VecNormalize.save() wrote")
    with damage_said(f"{path.name} is no pickle that can be read", "save it again with VecNormalize.save()"):
        saved = _Reader(io.BytesIO(raw)).load()
        kind = getattr(saved, "name", type(saved).__name__)
        if kind != VECNORMALIZE:
            raise PolicyError(f"import: {path.name} holds {kind}, not a VecNormalize of SB3; give what it saved")
        found = saved.state
        if found["norm_obs"] is False:
            return None
        mean, var = (_floats(found["obs_rms"].state[key]) for key in ("mean", "var"))
        std, clip = np.sqrt(var + float(found["epsilon"])), float(found["clip_obs"])
    if len(mean) != len(std) or not np.isfinite([*mean, *std, clip]).all() or not (std > 0).all() or clip <= 0:
        raise PolicyError(f"import: {path.name} cannot scale observations: mean {mean}, var {var}; train it longer")
    return Scaling(mean=mean.tolist(), std=std.tolist(), clip=clip)


def _floats(array: StandIn) -> NDArray[np.float64]:
    """Numbers of a pickled float64 array, out of the bytes that its stand-in was given."""
    if array.name.endswith("multiarray._reconstruct"):
        _, _, dtype, _, raw = array.state
    else:  # numeric._frombuffer, of pickle's protocol 5
        raw, dtype, _, _ = array.arguments
    if dtype.arguments[0] != "f8" or not isinstance(raw, (bytes, bytearray)):
        raise TypeError(f"numbers of type {dtype.arguments[0]!r}")
    return np.frombuffer(raw, f"{dtype.state[1] if dtype.state else '='}f8").astype(np.float64)
