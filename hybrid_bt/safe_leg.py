"""A leg of the user's own that cannot bring a run down: what it does wrong is noted, and the bar goes on without it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hybrid_bt.legs.base import View

__all__ = ["SafeLeg"]

_OWN = ("leg", "name", "failure")


class SafeLeg:
    """Answers as the leg that it holds; where that fails it wants nothing, and says why.

    A failure is an exception, another number of targets than symbols, or one that is no finite number. The account is
    not sold for it: the guard moves it to its safe rule, hold or flatten. What the leg remembers stays as its own call
    left it. In everything else this is the leg: its attributes are read and set, and `isinstance` sees its class.

    Attributes
    ----------
    failure : str
        What went wrong since `failure` was last cleared; empty if nothing did.
    """

    def __init__(self, leg: Any, name: str) -> None:
        self.leg, self.name, self.failure = leg, name, ""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """Of the leg: a subclass of `KalmanLeg` still holds pairs."""
        return type(self.leg)

    def __getattr__(self, name: str) -> Any:
        if name == "leg":  # while it is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.leg, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            super().__setattr__(name, value)
        else:
            setattr(self.leg, name, value)

    def targets(self, view: View) -> list[float]:
        """(N,) targets; never raises for what the leg does."""
        n = len(view.traded)
        try:
            targets = [float(target) for target in self.leg.targets(view)]
        except Exception as error:  # anything may go wrong in somebody's own leg; it is named, counted and reported
            return self._failed(f"{type(error).__name__}: {error}{_place(error)}", n)
        if len(targets) != n:
            return self._failed(f"{len(targets)} targets for {n} symbols", n)
        if not all(map(math.isfinite, targets)):
            column = next(i for i, target in enumerate(targets) if not math.isfinite(target))
            return self._failed(f"target {targets[column]!r} for symbol number {column}", n)
        return targets

    def _failed(self, problem: str, n: int) -> list[float]:
        self.failure = f"leg in the place of {self.name}: {problem}"
        return [0.0] * n


def _place(error: Exception) -> str:
    """Where it was raised, for whoever mends it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
