"""Backtrader analyzers that work alone in any Cerebro: each one file and one line in `ANALYZERS`."""

from hybrid_bt.analyzers.drawdown import Drawdown
from hybrid_bt.analyzers.exposure import Exposure
from hybrid_bt.analyzers.ledger import Ledger
from hybrid_bt.analyzers.leg_attribution import LegAttribution
from hybrid_bt.analyzers.pnl import PnlByTicker
from hybrid_bt.analyzers.returns import PortfolioReturns
from hybrid_bt.analyzers.turnover import TurnoverCosts

__all__ = [
    "ANALYZERS",
    "Drawdown",
    "Exposure",
    "Ledger",
    "LegAttribution",
    "PnlByTicker",
    "PortfolioReturns",
    "TurnoverCosts",
]

ANALYZERS = {
    "ledger": Ledger,
    "pnl": PnlByTicker,
    "turnover": TurnoverCosts,
    "exposure": Exposure,
    "drawdown": Drawdown,
    "returns": PortfolioReturns,
    "leg_attribution": LegAttribution,
}
