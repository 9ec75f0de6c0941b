"""A policy that cannot bring a run down: what it does wrong is noted, and the bar goes on without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SafePolicy", "make_safe"]

FloatArray = NDArray[np.float64]


class SafePolicy:
    """Answers as the policy that it holds; where that fails, with `instead`, and says why.

    A failure is an exception, another shape than one action per row, a NaN or infinite action, or one outside the
    policy's range (-1 to 1 where it names none). The policy's memory is then put back to what it was before the call.

    Parameters
    ----------
    policy : object with `act`
    name : str
        For messages.
    instead : callable
        Observations (rows, features) -> actions (rows,).

    Attributes
    ----------
    failure : str
        What went wrong since `failure` was last cleared; empty if nothing did.
    """

    def __init__(self, policy: Any, name: str, instead: Callable[[FloatArray], FloatArray]) -> None:
        self.policy, self.name, self.failure = policy, name, ""
        manifest = getattr(policy, "manifest", None)
        self._low = float(getattr(manifest, "action_low", -1.0))
        self._high = float(getattr(manifest, "action_high", 1.0))
        self._instead = instead
        has_memory = getattr(policy, "is_recurrent", hasattr(policy, "restore"))
        self._remembers = bool(has_memory) and hasattr(policy, "state") and hasattr(policy, "restore")

    def __getattr__(self, name: str) -> Any:
        if name == "policy":  # while it is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.policy, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "clipped_count":
            self.policy.clipped_count = value
        else:
            super().__setattr__(name, value)

    def act(self, observations: FloatArray) -> FloatArray:
        """Actions (rows,); never raises for what the policy does."""
        before = self.policy.state() if self._remembers else None
        try:
            actions = np.asarray(self.policy.act(observations), dtype=np.float64)
            problem = self._problem(actions, len(observations))
        except Exception as error:  # anything may go wrong in somebody's own policy; it is named, counted and reported
            problem = f"{type(error).__name__}: {error}"
        if not problem:
            return actions
        self.failure = f"{self.name}: {problem}"
        if before is not None:
            self.policy.restore(before)
        return self._instead(observations)

    def _problem(self, actions: FloatArray, rows: int) -> str:
        if actions.shape != (rows,):
            return f"{rows} rows gave actions of shape {actions.shape}"
        if rows and not (actions.min() >= self._low and actions.max() <= self._high):  # NaN fails this too
            worst = next(a for a in actions.tolist() if not self._low <= a <= self._high)
            return f"action {worst!r} is outside [{self._low:g}, {self._high:g}]"
        return ""


def make_safe(brain: Any) -> list[SafePolicy]:
    """Put the policies of a brain into safe ones; those.

    A failing SAC policy leaves each action as it was (the last column of its observation), a failing gate says r = 0.
    """
    found = []
    for name, instead in (("sac", _previous_actions), ("gate", _neutral)):
        part = getattr(brain, name)
        if getattr(part, "policy", None) is not None:  # a leg of the user's own may ask none
            part.policy = SafePolicy(part.policy, name, instead)
            found.append(part.policy)
    return found


def _previous_actions(observations: FloatArray) -> FloatArray:
    return np.nan_to_num(observations[:, -1], posinf=0.0, neginf=0.0)


def _neutral(observations: FloatArray) -> FloatArray:
    return np.zeros(len(observations))
