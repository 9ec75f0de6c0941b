"""What a brain remembers of the bars before the first one traded, beside the state: they need be read once only.

Plain JSON, never run, and never believed: it counts for these very bars, this configuration and this version alone, and
it is written only if a brain that was given it answers the last of those bars as the one that read them all.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt import __version__
from hybrid_bt.brain.foresight import Decider
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.laid import FloatArray
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import json_object

_OURS = "hybrid_bt."


def remember(path: Path, fit: Mapping[str, Any], history: FloatArray, make: Callable[[], Hybrid]) -> Decider:
    """What decides, having read `history`, (T0, N); from the file where that holds true for it, else bar by bar."""
    known = json.dumps([__version__, fit], default=str).encode()
    key = hashlib.sha256(known + history.shape[1].to_bytes(4, "big") + history.tobytes()).hexdigest()
    decider, last = Decider(make), history[-1].tolist()
    kept = json_object(path.read_bytes()) if path.exists() else None
    if kept is not None and kept.get("key") == key and kept.get("seal") == _seal(kept.get("brain")):
        _put(decider.current, kept["brain"])
        decider.current.opine(last)
        return decider
    decider.begin(None, history[:-1], False)
    again = Decider(make).current
    moved = _moved(_told(again), _told(decider.current))
    text = json.dumps({"key": key, "seal": _seal(moved), "brain": moved})
    _put(again, json.loads(text)["brain"])
    if repr(again.opine(last)) == repr(decider.current.opine(last)) and repr(_told(again)) == repr(
        _told(decider.current)
    ):
        write_whole(path, text.encode())
    return decider


def _seal(brain: object) -> int:
    return zlib.crc32(json.dumps(brain).encode())


class _NoDataError(Exception):
    """Something that cannot be told: a function, a session of onnxruntime."""


def _told(thing: object) -> object:
    """As plain data; of our objects, the attributes that are data."""
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.ndarray):
        return {"array": [thing.dtype.str, list(thing.shape), thing.ravel().tolist()]}
    if isinstance(thing, tuple):
        kind = type(thing)
        named = f"{kind.__module__}:{kind.__name__}" if hasattr(thing, "_fields") else ""
        return {"tuple": [named, [_told(one) for one in thing]]}
    if isinstance(thing, list):
        return [_told(one) for one in thing]
    if isinstance(thing, dict):
        return {"dict": [[_told(key), _told(value)] for key, value in thing.items()]}
    if not type(thing).__module__.startswith(_OURS) or not hasattr(thing, "__dict__"):
        raise _NoDataError
    found = {}
    for name, value in vars(thing).items():
        with suppress(_NoDataError):
            found[name] = _told(value)
    return {"thing": found}


def _moved(old: Any, new: Any) -> object:  # noqa: ANN401  (whatever was told)
    """Of two tellings, what differs; the rest is left."""
    if repr(old) == repr(new):
        return {"left": 0}
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys() == {"thing"}:
        before, after = old["thing"], new["thing"]
        return {"thing": {name: _moved(before.get(name), value) for name, value in after.items()}}
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys() == {"dict"}:
        before = {repr(key): value for key, value in old["dict"]}
        return {"dict": [[key, _moved(before.get(repr(key)), value)] for key, value in new["dict"]]}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_moved(*both) for both in zip(old, new, strict=True)]
    return new


def _put(thing: object, told: Any) -> Any:  # noqa: ANN401  (whatever was told)
    """What was told, in the place of what a fresh brain has there."""
    if isinstance(told, list):
        old = thing if isinstance(thing, list) and len(thing) == len(told) else [None] * len(told)
        return [_put(*both) for both in zip(old, told, strict=True)]
    if not isinstance(told, dict):
        return told
    ((kind, value),) = told.items()
    if kind == "left":
        return thing
    if kind == "array":
        array = np.array(value[2], value[0]).reshape(value[1])
        if isinstance(thing, np.ndarray) and thing.shape == array.shape and thing.flags.writeable:
            thing[...] = array  # others may look at this very memory
            return thing
        return array
    if kind == "tuple":
        parts = [_put(None, one) for one in value[1]]
        return _class(value[0])(*parts) if value[0] else tuple(parts)
    if kind == "dict":
        there = thing if isinstance(thing, dict) else {}
        return {key: _put(there.get(key), one) for key, one in ((_put(None, key), one) for key, one in value)}
    for name, one in value.items():
        if one != {"left": 0}:
            setattr(thing, name, _put(getattr(thing, name, None), one))
    return thing


def _class(name: str) -> Any:  # noqa: ANN401  (a NamedTuple of ours)
    module, _, kind = name.partition(":")
    found = getattr(sys.modules[module], kind) if module.startswith(_OURS) else None
    if not (isinstance(found, type) and issubclass(found, tuple)):
        raise TypeError(f"{name} is no tuple of ours")
    return found
