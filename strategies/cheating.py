"""Broker settings under which an order fills at a price that was known when it was decided."""

from __future__ import annotations

import warnings
from typing import Any

from hybrid_bt.errors import ConfigError


def cheats_of(strategy: Any) -> tuple[str, ...]:
    """Which of Backtrader's two cheats are on: `cheat_on_open`, `cheat_on_close`."""
    broker: Any = getattr(strategy.broker, "p", None)
    on_open = strategy.cerebro.p.cheat_on_open or getattr(broker, "coo", False)
    asked = {"cheat_on_open": on_open, "cheat_on_close": getattr(broker, "coc", False)}
    return tuple(name for name, is_on in asked.items() if is_on)


def refuse_cheating(strategy: Any, allowed: bool) -> tuple[str, ...]:
    """The cheats that are on: warned of where they are allowed, a ConfigError where they are not."""
    cheats = cheats_of(strategy)
    if cheats and not allowed:
        raise ConfigError(
            f"{type(strategy).__name__}: {' and '.join(cheats)} is on, so that orders fill or are checked at prices "
            "that no decision could have met; switch it off, or pass allow_cheating=True and say so beside the result"
        )
    if cheats:
        warnings.warn(
            f"{type(strategy).__name__}: {' and '.join(cheats)} is on: what this run earns could not have been earned",
            stacklevel=2,
        )
    return cheats
