"""What is no action: one error for every environment."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.error import ResetNeeded as ResetNeeded
from numpy import ndarray
from numpy.typing import NDArray

from hybrid_bt.errors import ConfigError

SINGLE = np.dtype(np.float32)
MAX_SAID = 100  #: letters of an action


class ActionError(ConfigError, InvalidAction):
    """No finite numbers of the action space's shape."""


def refuse(given: object, shape: tuple[int, ...], ends: tuple[float, float]) -> NoReturn:
    """Raise `ActionError`, which names the first number that is none where that is what is wrong."""
    said = " ".join(f"{given!r}".split())[:MAX_SAID]
    if isinstance(given, np.ndarray) and given.shape == shape and given.dtype == SINGLE:
        where = tuple(np.argwhere(~np.isfinite(given))[0].tolist())
        said = f"{given[where]} at {where}"
    raise ActionError(
        f"action: finite numbers of shape {shape} from {ends[0]} to {ends[1]}, not {said}; an agent that answers NaN "
        "has diverged"
    )


def as_action(given: object, shape: tuple[int, ...], ends: tuple[float, float]) -> NDArray[np.float32]:
    """Numbers of a shape, laid out as kernels read them; these look whether they are finite.

    Raises
    ------
    ActionError
    """
    if type(given) is ndarray and given.dtype is SINGLE and given.shape == shape and given.flags.carray:
        return given
    try:
        action = np.asarray(given)
    except (ValueError, TypeError, RuntimeError):  # rows of several lengths, tensors that are elsewhere
        refuse(given, shape, ends)
    if action.shape != shape or action.dtype.kind not in "fiu":
        refuse(given, shape, ends)
    with np.errstate(over="ignore"):  # to infinite, which is refused
        return action.astype(np.float32, order="C")
