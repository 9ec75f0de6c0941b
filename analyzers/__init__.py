"""Backtrader analyzers that work alone in any Cerebro: each one class and one line in `ANALYZERS`."""

from hybrid_bt.analyzers.flows import Drawdown, Exposure, LegAttribution, PnlByTicker, PortfolioReturns, TurnoverCosts
from hybrid_bt.analyzers.ledger import Ledger

__all__ = [
    "ANALYZERS", "Drawdown", "Exposure", "Ledger", "LegAttribution", "PnlByTicker", "PortfolioReturns", "TurnoverCosts",
]  # fmt: skip

ANALYZERS = {
    "ledger": Ledger,
    "pnl": PnlByTicker,
    "turnover": TurnoverCosts,
    "exposure": Exposure,
    "drawdown": Drawdown,
    "returns": PortfolioReturns,
    "leg_attribution": LegAttribution,
}
