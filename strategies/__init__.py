"""Backtrader-facing adapters, imported when first needed: strategies, the Kalman indicator and the commission scheme.

`framework` is the one door to Backtrader: feeds and analyzers pass it without the strategies.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid_bt.strategies.agent import AgentStrategy
    from hybrid_bt.strategies.commission import SpreadFeeCommission
    from hybrid_bt.strategies.finrl import FinRLStrategy
    from hybrid_bt.strategies.hybrid import HybridStrategy
    from hybrid_bt.strategies.kalman_hedge import KalmanHedge
    from hybrid_bt.strategies.orders import TargetOrders
    from hybrid_bt.strategies.seat import Agent

__all__ = [
    "Agent", "AgentStrategy", "FinRLStrategy", "HybridStrategy", "KalmanHedge", "SpreadFeeCommission", "TargetOrders",
]  # fmt: skip

_HOMES = {
    "Agent": "seat",
    "AgentStrategy": "agent",
    "FinRLStrategy": "finrl",
    "HybridStrategy": "hybrid",
    "KalmanHedge": "kalman_hedge",
    "SpreadFeeCommission": "commission",
    "TargetOrders": "orders",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"hybrid_bt.strategies.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def seated(legs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same legs, with an `Agent` in the place of a bare object that has `predict`."""
    found = dict(legs or {})
    for place, leg in found.items():
        if hasattr(leg, "predict") and not callable(leg):
            from hybrid_bt.strategies.seat import Agent

            found[place] = Agent(leg)
    return found
