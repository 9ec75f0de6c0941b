"""Backtrader analyzers that work alone in any Cerebro."""

from hybrid_bt.analyzers.ledger import Ledger

__all__ = ["ANALYZERS", "Ledger"]

ANALYZERS = {"ledger": Ledger}
