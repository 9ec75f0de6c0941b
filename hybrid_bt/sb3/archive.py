"""What SB3 saves, read as data: the zip of a model and the pickle of a VecNormalize.

    model.zip
      data           JSON; what JSON cannot hold is there as a pickle in base64, read by `inert_pickle`
      policy.pth     weights, read by torch.load(weights_only=True), which makes tensors and nothing else
      ...            optimisers and the like: not opened

Sizes are looked at before anything is unpacked, and unpacking stops at them whatever the headers say.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import PolicyError
from hybrid_bt.sb3.inert_pickle import as_array, attributes, name_of, read_pickle

MAX_ZIP = 1 << 30  #: bytes of a model.zip; a replay buffer is not in it
MAX_MEMBERS = 1_000
MAX_DATA = 32 << 20  #: bytes of `data`
MAX_WEIGHTS = 256 << 20  #: bytes of `policy.pth`, critics included, packed or not
MAX_STATISTICS = 32 << 20
MAX_VERSION = 64
SERIALIZED = ":serialized:"
AGAIN = "save the model again with model.save()"
#: what zipfile and zlib raise on damaged input; RuntimeError is an encrypted member, or one of an unknown packing
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


class Archive(NamedTuple):
    """A saved model, nothing of it run."""

    sha256: str  #: of the zip
    version: str  #: of the SB3 that saved it
    data: dict[str, Any]  #: attributes that were asked for, as plain data and stand-ins
    weights: dict[str, Any]  #: torch tensors by name


class Statistics(NamedTuple):
    """What a VecNormalize does to observations: clip((x - mean) / sqrt(var + epsilon), -clip, clip)."""

    sha256: str
    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    epsilon: float
    clip: float


def read_archive(path: Path, wanted: tuple[str, ...]) -> Archive:
    """Read a model that SB3 saved.

    Parameters
    ----------
    path : Path
    wanted : tuple of str
        Attributes of the model; those that the file lacks are left out.

    Raises
    ------
    PolicyError
        If the file is no zip of SB3, is damaged, or is larger than any policy of this house.
    """
    raw = _bytes(path, MAX_ZIP, "a model that SB3 saved")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = _check_members(archive, path.name)
            text = _member(archive, "data", MAX_DATA, path.name)
            weights = _member(archive, "policy.pth", MAX_WEIGHTS, path.name)
            version = "unknown"
            if "_stable_baselines3_version" in names:
                version = _member(archive, "_stable_baselines3_version", MAX_VERSION, path.name).decode().strip()
    except BROKEN_ZIP as error:
        if isinstance(error, PolicyError):
            raise
        raise PolicyError(f"import: {path.name} is no zip, or a damaged one ({error}); {AGAIN}") from error
    return Archive(hashlib.sha256(raw).hexdigest(), version, _data(text, wanted, path.name), _tensors(weights))


def read_statistics(path: Path) -> Statistics | None:
    """Read what `VecNormalize.save` wrote; None if it leaves observations alone.

    Raises
    ------
    PolicyError
        If the file is something else, or damaged.
    """
    raw = _bytes(path, MAX_STATISTICS, "what VecNormalize.save() wrote")
    saved = read_pickle(raw, path.name)
    if name_of(saved) != "stable_baselines3.common.vec_env.vec_normalize.VecNormalize":
        raise PolicyError(
            f"import: {path.name} holds {name_of(saved) or type(saved).__name__}, not a VecNormalize of SB3; "
            "give the file that VecNormalize.save() wrote"
        )
    found = attributes(saved, path.name)
    if found.get("norm_obs") is False:
        return None
    moments = attributes(found.get("obs_rms"), f"obs_rms in {path.name}")
    mean, var = (as_array(moments.get(key), f"obs_rms.{key} in {path.name}").astype(float) for key in ("mean", "var"))
    epsilon, clip = (_number(found.get(key), f"{key} in {path.name}") for key in ("epsilon", "clip_obs"))
    numbers = (*mean, *var, epsilon, clip)
    if len(mean) != len(var) or not all(map(math.isfinite, numbers)) or (var + epsilon <= 0).any() or clip <= 0:
        raise PolicyError(f"import: {path.name} cannot scale observations: mean {mean}, var {var}; train it longer")
    return Statistics(hashlib.sha256(raw).hexdigest(), mean, var, epsilon, clip)


def _number(value: Any, what: str) -> float:
    numbers = as_array(value, what)
    if len(numbers) != 1:
        raise PolicyError(f"import: {what} is {len(numbers)} numbers, not one; save it again with SB3")
    return float(numbers[0])


def _bytes(path: Path, limit: int, wanted: str) -> bytes:
    if not path.is_file():
        raise PolicyError(f"import: no file {path}; give the path of {wanted}")
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise PolicyError(f"import: {path} cannot be read ({error.strerror}); check its permissions") from error
    if len(raw) > limit:
        raise PolicyError(f"import: {path.name} is larger than {limit} bytes; give {wanted}")
    return raw


def _check_members(archive: zipfile.ZipFile, name: str) -> set[str]:
    names = archive.namelist()
    if len(names) > MAX_MEMBERS or len(set(names)) != len(names):
        raise PolicyError(f"import: {name} has {len(names)} members, or two of one name; SB3 saves no such zip")
    for member in ("data", "policy.pth"):
        if member not in names:
            raise PolicyError(
                f"import: {name} has no member {member!r}, so SB3 did not save it, or it is cut off; {AGAIN}"
            )
    return set(names)


def _member(archive: zipfile.ZipFile, member: str, limit: int, name: str) -> bytes:
    declared = archive.getinfo(member).file_size
    if declared <= limit:
        with archive.open(member) as file:
            raw = file.read(limit + 1)
        if len(raw) <= limit:
            return raw
    raise PolicyError(
        f"import: {member!r} in {name} unpacks to {declared} bytes, at most {limit} are read; no policy is that large"
    )


def _data(text: bytes, wanted: tuple[str, ...], name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"import: 'data' in {name} is not JSON ({error}); {AGAIN}") from error
    if not isinstance(found, dict):
        raise PolicyError(f"import: 'data' in {name} is a {type(found).__name__}, not an object; {AGAIN}")
    return {key: _plain(found[key], f"{key} in {name}") for key in wanted if key in found}


def _plain(value: Any, what: str) -> Any:
    if not isinstance(value, dict) or SERIALIZED not in value:
        return value
    try:
        raw = base64.b64decode(value[SERIALIZED], validate=False)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"import: {what} is not base64 ({error}); {AGAIN}") from error
    return read_pickle(raw, what)


def _tensors(raw: bytes) -> dict[str, Any]:
    """Tensors of `policy.pth`, which is a zip itself."""
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as inner:
            unpacked = sum(info.file_size for info in inner.infolist())
        if unpacked > MAX_WEIGHTS:
            raise PolicyError(f"import: policy.pth unpacks to {unpacked} bytes, at most {MAX_WEIGHTS} are read")
        found = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except (*BROKEN_ZIP, pickle.UnpicklingError, AttributeError, LookupError, TypeError, MemoryError) as error:
        if isinstance(error, PolicyError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise PolicyError(f"import: policy.pth is damaged, or holds more than weights ({first}); {AGAIN}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise PolicyError(f"import: policy.pth holds a {type(found).__name__}, not weights by name; {AGAIN}")
    for key, tensor in found.items():
        # Strides of 0 make a small file a huge tensor.
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.nbytes > unpacked:
            raise PolicyError(f"import: {key!r} in policy.pth is no ordinary tensor; {AGAIN}")
    return found
