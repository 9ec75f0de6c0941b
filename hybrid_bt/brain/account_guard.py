"""The guard of one account: asks for its books where a rule needs them, and counts what the rules do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hybrid_bt.brain.journal import moment_of
from hybrid_bt.brain.legs.base import Decision
from hybrid_bt.equations.guard import guard_step, initial_guard
from hybrid_bt.equations.guard_limits import RULES, GuardFacts, GuardParams, held_weights, is_active, rule_names
from hybrid_bt.equations.waiting import withheld

MOST_TEXTS = 20  #: a policy that fails with another number each time must not fill the memory


class Books(NamedTuple):
    """An account at the close of a bar."""

    equity: float
    sizes: Sequence[float]  #: (N,) signed shares held
    worth: Sequence[float]  #: (N,) of one share at its last close; not looked at where none is held
    delivered: Sequence[bool]  #: (N,) whether the symbol has a bar, so that an order for it can be sent


class AccountGuard:
    """Stands between decisions and orders, and counts what the rules do.

    Attributes
    ----------
    triggers : dict
        Rule -> number of bars on which it changed what was wanted; rules that never did are left out.
    first : dict
        Rule -> stamp of the first of those bars.
    failures : list of str
        What legs and gate did wrong, each text once, in order.
    """

    def __init__(self, params: GuardParams, band: float, moment: Callable[[float], datetime]) -> None:
        self.params, self._band, self._moment = params, band, moment
        self.is_active = is_active(params) or bool(params.kill_file)
        self._kill_file = Path(params.kill_file) if params.kill_file else None
        self._state = initial_guard()
        self.triggers: dict[str, int] = {}
        self.first: dict[str, float] = {}
        self.failures: list[str] = []

    def facts(self, stamp: float, books: Books, failed: bool) -> GuardFacts:
        """The account as the rules see it."""
        killed = self._kill_file is not None and self._kill_file.exists()
        equity, sizes, worth, delivered = books
        return GuardFacts(int(stamp), equity, held_weights(sizes, worth, equity), delivered, failed, killed)

    def settled(
        self, stamp: float, decision: Decision, facts: GuardFacts, pairs: Sequence[tuple[int, int]]
    ) -> Decision:
        """The decision with the targets that may be sent, and what they were cut by; once on every bar traded."""
        wanted = withheld(decision.target, decision.waits)
        self._state, targets, mask = guard_step(self._state, wanted, facts, pairs, self.params, self._band)
        for name in rule_names(mask):
            self.triggers[name] = self.triggers.get(name, 0) + 1
            self.first.setdefault(name, stamp)
        waits = tuple(wait and target != target for wait, target in zip(decision.waits, targets, strict=False))
        return decision._replace(target=targets, waits=waits, wanted=decision.target, guard=mask)

    def told(self, stamp: float, failures: Sequence[str]) -> None:
        """Name each part that failed on a bar, once."""
        for text in failures:
            if text not in self.failures and len(self.failures) < MOST_TEXTS:
                self.failures.append(text)
                warnings.warn(f"HybridStrategy: {self._moment(stamp)} {text}", stacklevel=1)

    def report(self) -> dict[str, object]:
        """Plain data for `run.json`; empty where no limit is on and no policy failed."""
        if not (self.is_active or self.failures):
            return {}
        return {
            "triggers": {name: self.triggers[name] for name in RULES if name in self.triggers},
            "first": {name: moment_of(self.first[name]).isoformat() for name in RULES if name in self.first},
            "failures": list(self.failures),
        }
