"""How the step functions of other modules become callable from compiled code, and how a kernel is compiled and kept."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit, typeof
from numba.core.errors import NumbaError, UnsupportedBytecodeError
from numba.extending import register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from hybrid_bt import equations
from hybrid_bt.errors import Hint

Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
T = TypeVar("T")
#: of numba: objects that are called are an AssertionError, states that it has no type for a ValueError or TypeError
REFUSALS = NumbaError, UnsupportedBytecodeError, NotImplementedError, AssertionError, TypeError, ValueError


@register_jitable
def as_tuple(row: Any, count: int) -> Any:  # noqa: ANN401  numba's
    """First numbers of a row; their count is a constant. By its name a kept kernel is found again: `to_fixed_tuple` has
    another identity in each process.
    """
    made: Any = to_fixed_tuple
    return made(row, count)


def _register_package(package: ModuleType) -> int:
    """Let compiled code call every function of a package; a number that changes with its sources."""
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__) if not found.ispkg)
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    for module in modules:
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                # Divisors are checked to be positive where they come from: numpy's error model changes no value.
                register_jitable(forceinline=True, error_model="numpy")(function)
    text = "".join(inspect.getsource(module) for module in (sys.modules[__name__], *modules))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


#: numba's cache watches the file of a kernel only; free variables are part of its key, so each kernel asks for this one
SOURCES = _register_package(equations)


def as_kernel(function: Callable[..., Any], *, allocates: bool = True, kept: bool = True) -> Callable[..., Any]:
    """Compiled on first call, and kept on disk; not what holds functions of others, whose changes nobody would see.

    numba counts references, atomically, for each array of a NamedTuple at each call: most of the time of a bar. Where
    a kernel allocates nothing it need not: the Python caller holds every array until it returns.
    """
    options: dict[str, Any] = {"error_model": "numpy", "_nrt": allocates}
    try:
        compiled: Callable[..., Any] = njit(cache=kept, **options)(function)
    except RuntimeError:  # no place that a cache can be written to
        compiled = njit(**options)(function)
    return compiled


def straight(kernel: Callable[..., Any], fixed: tuple[Any, ...], *like: object) -> Callable[[], Callable[..., Any]]:
    """What compiles a kernel when asked, for arguments of the types of these: the `fixed` ones, bound, and what comes
    behind. It is to be called by such alone: it does not look at types, which takes a dispatcher 0.3 us a call.
    """
    compiling: Any = kernel
    return cache(lambda: partial(compiling.compile(tuple(map(typeof, (*fixed, *like)))), *fixed))


def jitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Somebody's function, for compiled code to call; what numba compiled already stays as it is."""
    called: Callable[..., Any] = function if hasattr(function, "py_func") else register_jitable(function)
    return called


def takes(name: str, kernel: Callable[..., Any], *given: object) -> bool:
    """Run a kernel that holds somebody else's step; whether numba could, and a hint that says why where not."""
    try:
        kernel(*given)
    except REFUSALS as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(f"{name} runs as plain Python, same numbers, only slower: numba says {why}", Hint, stacklevel=2)
        return False
    return True


def frozen(values: T) -> T:
    """A read-only view of an array, anything else as it is.

    numba compiles anew for arrays that may be written and for those that may not: inputs are all made the latter.
    """
    if not isinstance(values, np.ndarray):
        return values
    view = values.view()
    view.flags.writeable = False
    return view
