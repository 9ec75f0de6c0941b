"""Profit and loss by ticker, gross, costs and net, adding up to the account's."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybrid_bt.analyzers.ledger import Ledger


class PnlByTicker(Ledger):
    """What each feed earned in a Cerebro, whatever the strategies.

    `get_analysis()` is `{symbol: {gross_pnl, costs, pnl_net, buys, sells}}`; open positions are marked at the last
    close, and the `pnl_net` add up to the account's change of value less deposits. `flows().profit` has the bars.
    """

    def get_analysis(self) -> dict[str, dict[str, Any]]:
        """Profits by symbol, account currency."""
        flows, fills = self.flows(), self.path(0).fills
        costs = (flows.commissions + flows.interest).sum(axis=0)
        net = flows.profit.sum(axis=0)
        signs = [(fill.symbol, np.sign(fill.size)) for fill in fills]
        return {
            symbol: {
                "gross_pnl": float(net[i] + costs[i]),
                "costs": float(costs[i]),
                "pnl_net": float(net[i]),
                "buys": signs.count((i, 1.0)),
                "sells": signs.count((i, -1.0)),
            }
            for i, symbol in enumerate(self.symbols)
        }
