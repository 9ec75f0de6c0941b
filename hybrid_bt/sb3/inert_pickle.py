"""Read a pickle without running it.

A pickle is a program: it names callables of any importable module and calls them. Here every name it asks for becomes
a stand-in, a class that only remembers its name, what it was called with and the state it was given; nothing is
imported and nothing of the file is called. What remains is data: numbers, strings, containers, and stand-ins to look
into. Arrays are decoded from the bytes that their stand-ins were given.

    read_pickle(b"cos\nsystem\n(S'rm -rf /'\ntR.")   ->   a StandIn named "os.system", called with ("rm -rf /",)
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import PolicyError

MALFORMED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
REBUILT = ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct")
FROM_BUFFER = ("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer")
SCALAR = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
NUMBERS = ("b1", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
MAX_LENGTH = 1 << 20  # of a shape's product: an observation has some dozen numbers


class StandIn:
    """Something that a pickle wanted to make; subclasses carry its name."""

    name = ""  #: dotted name that was asked for
    arguments: tuple[Any, ...]  #: what it was called with
    state: Any  #: what was set on it afterwards, or None
    items: list[Any]  #: what was put into it

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        made = super().__new__(cls)
        made.arguments, made.state, made.items = (*arguments, *keywords.items()), None, []
        return made

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        self.items.append(value)

    def extend(self, values: Any) -> None:
        self.items.extend(values)

    def add(self, value: Any) -> None:
        self.items.append(value)


class _Reader(pickle._Unpickler):  # the C one cannot be trusted with memory: it allocates by numbers in the file
    def find_class(self, module: str, name: str) -> Any:
        return type("StandIn", (StandIn,), {"name": f"{module}.{name}"})

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"extension code {code}")  # would look into this process's registry


def read_pickle(data: bytes, what: str) -> Any:
    """The data in a pickle, with stand-ins for everything that is not plain.

    Parameters
    ----------
    data : bytes
    what : str
        It is, for messages.

    Raises
    ------
    PolicyError
        If the bytes are no pickle.
    """
    try:
        return _Reader(io.BytesIO(data)).load()
    except MALFORMED as error:
        raise PolicyError(
            f"import: {what} is no pickle that can be read ({type(error).__name__}: {error}); save it again with SB3"
        ) from error


def name_of(value: Any) -> str | None:
    """Dotted name of a stand-in, called or not; None for plain data."""
    if isinstance(value, StandIn) or (isinstance(value, type) and issubclass(value, StandIn)):
        return value.name
    return None


def attributes(value: Any, what: str) -> dict[str, Any]:
    """State of a stand-in for an ordinary object."""
    state = value.state if isinstance(value, StandIn) else None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise PolicyError(f"import: {what} holds no attributes; save it again with SB3")
    return state


def as_array(value: Any, what: str) -> NDArray[Any]:
    """Numbers of an array or scalar that was pickled, as a one-dimensional array.

    Raises
    ------
    PolicyError
        If it is none, or of another type than real numbers.
    """
    if isinstance(value, (bool, int, float)):
        return np.array([value], dtype=np.float64)
    try:
        dtype, raw, shape = _parts(value)
        length = 1
        for n in shape:
            length *= int(n)
        if not 0 <= length <= MAX_LENGTH or len(raw) != length * dtype.itemsize:
            raise ValueError(f"{len(raw)} bytes for the shape {shape}")
        return np.frombuffer(raw, dtype)
    except MALFORMED as error:
        raise PolicyError(f"import: {what} is no array of numbers ({error}); save it again with SB3") from error


def _parts(value: Any) -> tuple[np.dtype[Any], bytes, tuple[int, ...]]:
    """Type, bytes and shape."""
    name = name_of(value)
    if name in REBUILT:
        _, shape, dtype, _, raw = value.state
    elif name in FROM_BUFFER:
        raw, dtype, shape, _ = value.arguments
    elif name in SCALAR:
        (dtype, raw), shape = value.arguments, ()
    else:
        raise TypeError(name or type(value).__name__)
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(shape, tuple):
        raise TypeError("no plain bytes and shape")
    return _dtype(dtype), bytes(raw), shape


def _dtype(value: Any) -> np.dtype[Any]:
    code = value.arguments[0] if name_of(value) == "numpy.dtype" else None
    if code not in NUMBERS:
        raise TypeError(f"numbers of type {code!r}")
    order = value.state[1] if value.state else "|"
    return np.dtype(f"{order if order in '<>' else '='}{code}")
