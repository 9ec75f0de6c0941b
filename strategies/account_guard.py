"""The guard in Backtrader's clothes: reads the account at the close of the bar, and counts what the rules do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hybrid_bt.brain.hybrid import Decision
from hybrid_bt.config import Config
from hybrid_bt.equations.guard import guard_step, initial_guard
from hybrid_bt.equations.guard_limits import RULES, GuardFacts, held_weights, is_active, rule_names
from hybrid_bt.equations.waiting import withheld
from hybrid_bt.feeds.framework import bt
from hybrid_bt.strategies.orders import TargetOrders
from hybrid_bt.strategies.thinking import Thinking

MOST_TEXTS = 20  #: a policy that fails with another number each time must not fill the memory


class AccountGuard:
    """Stands between a strategy's decision and its orders.

    Parameters
    ----------
    strategy : bt.Strategy
    thinking : Thinking
        Of the strategy.
    config : Config

    Attributes
    ----------
    triggers : dict
        Rule -> number of bars on which it changed what was wanted; rules that never did are left out.
    first : dict
        Rule -> stamp (Backtrader's number) of the first of those bars.
    failures : list of str
        What legs and gate did wrong, each text once, in order.
    """

    def __init__(self, strategy: Any, thinking: Thinking, config: Config) -> None:
        self.strategy, self._thinking = strategy, thinking
        self.params = config.guard
        self.is_active = is_active(self.params) or bool(config.guard.kill_file)
        self._kill_file = Path(config.guard.kill_file) if config.guard.kill_file else None
        self._band = config.order_rules.rebalance_band
        self._guard = initial_guard()
        self.triggers: dict[str, int] = {}
        self.first: dict[str, float] = {}
        self.failures: list[str] = []

    def look(self, orders: TargetOrders, failed: bool) -> GuardFacts | None:
        """The account at the close of this bar; None where no rule asks for it."""
        if not (failed or self.is_active):
            return None
        killed = self._kill_file is not None and self._kill_file.exists()
        equity, sizes, worth = orders.books()
        held, day = held_weights(sizes, worth, equity), int(self.strategy.datetime[0])
        return GuardFacts(day, equity, held, orders.delivered(), failed, killed)

    def settled(
        self, stamp: float, decision: Decision, look: Callable[[bool], GuardFacts | None]
    ) -> tuple[Decision, GuardFacts | None]:
        """The decision with the targets that may be sent, and what they were cut by; once on every bar that is traded.

        Parameters
        ----------
        look : callable
            Gives the facts of the bar, when told whether a part failed.
        """
        facts = look(self.passed(stamp, decision.failures))
        if facts is None:
            return decision, None
        wanted = withheld(decision.target, decision.waits)
        self._guard, targets, mask = guard_step(
            self._guard, wanted, facts, self._thinking.pairs, self.params, self._band
        )
        for name in rule_names(mask):
            self.triggers[name] = self.triggers.get(name, 0) + 1
            self.first.setdefault(name, stamp)
        waits = tuple(wait and target != target for wait, target in zip(decision.waits, targets, strict=False))
        return decision._replace(target=targets, waits=waits, wanted=decision.target, guard=mask), facts

    def passed(self, stamp: float, failures: Sequence[str]) -> bool:
        """Name each part that failed on a bar, once; whether any did. On a bar that is not traded that is all."""
        for text in failures:
            if text not in self.failures and len(self.failures) < MOST_TEXTS:
                self.failures.append(text)
                warnings.warn(f"HybridStrategy: {self.strategy.moment(stamp)} {text}", stacklevel=1)
        return bool(failures)

    def report(self) -> dict[str, Any]:
        """Plain data for `run.json`; empty where no limit is on and no policy failed."""
        if not (self.is_active or self.failures):
            return {}
        return {
            "triggers": {name: self.triggers[name] for name in RULES if name in self.triggers},
            "first": {name: bt.num2date(self.first[name]).isoformat() for name in RULES if name in self.first},
            "failures": list(self.failures),
        }
