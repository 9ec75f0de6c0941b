"""Parts that cannot bring a run down: what a policy does wrong is noted, and the bar goes on without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.legs import KalmanLeg, SacLeg
from hybrid_bt.safe_leg import SafeLeg

__all__ = ["SafePolicy", "make_safe", "policies_of", "take_failures"]

FloatArray = NDArray[np.float64]

FEW_ROWS = 16  #: up to here a loop is quicker than two of numpy's reductions


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
        actions, problem = self._tried(self.policy.act, observations)
        if not problem:
            return actions
        self.failure = f"{self.name}: {problem}"
        if before is not None:
            self.policy.restore(before)
        return self._instead(observations)

    def tried(self, ask: Callable[[Any], FloatArray], observations: Any) -> FloatArray | None:
        """What another method of the policy answers, one action a row; None, and nothing noted, where it fails."""
        actions, problem = self._tried(ask, observations)
        return None if problem else actions

    def _tried(self, ask: Callable[[Any], FloatArray], observations: Any) -> tuple[FloatArray, str]:
        try:
            actions = np.asarray(ask(observations), dtype=np.float64)
        except Exception as error:  # anything may go wrong in somebody's own policy; it is named, counted and reported
            return np.empty(0), f"{type(error).__name__}: {error}"
        return actions, self._problem(actions, len(observations))

    def _problem(self, actions: FloatArray, rows: int) -> str:
        if actions.shape != (rows,):
            return f"{rows} rows gave actions of shape {actions.shape}"
        if rows > FEW_ROWS and actions.min() >= self._low and actions.max() <= self._high:
            return ""
        for action in actions.tolist():
            if not self._low <= action <= self._high:  # NaN fails this too
                return f"action {action!r} is outside [{self._low:g}, {self._high:g}]"
        return ""


def make_safe(brain: Any) -> Any:
    """Put the policies of a brain, and legs that are not this package's own, into safe ones; the brain.

    A failing SAC policy leaves each action as it was (the last column of its observation), a failing gate says r = 0, a
    failing leg wants nothing.
    """
    for name, policy in policies_of(brain).items():
        getattr(brain, name).policy = SafePolicy(policy, name, _INSTEAD[name])
    for name in ("sac", "kalman"):
        leg = getattr(brain, name)
        if leg is not None and type(leg) not in (SacLeg, KalmanLeg):
            setattr(brain, name, SafeLeg(leg, name))
    return brain


def take_failures(brain: Any) -> list[str]:
    """What the parts of a brain did wrong since this was last asked for."""
    parts = [*policies_of(brain).values(), brain.sac, brain.kalman]  # somebody may have put in others than safe ones
    failing = [part for part in parts if isinstance(part, SafePolicy | SafeLeg) and part.failure]
    texts = [part.failure for part in failing]
    for part in failing:
        part.failure = ""
    return texts


def policies_of(brain: Any) -> dict[str, Any]:
    """Policies of a brain by name; a part that is off, or a leg of the user's own, may have none."""
    found = {name: getattr(getattr(brain, name), "policy", None) for name in _INSTEAD}
    return {name: policy for name, policy in found.items() if policy is not None}


def _previous_actions(observations: FloatArray) -> FloatArray:
    return np.nan_to_num(observations[:, -1], posinf=0.0, neginf=0.0)


def _neutral(observations: FloatArray) -> FloatArray:
    return np.zeros(len(observations))


_INSTEAD = {"sac": _previous_actions, "gate": _neutral}
