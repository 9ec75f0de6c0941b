"""Profit and loss by ticker, gross, costs and net, adding up to the account's."""

from __future__ import annotations

from typing import Any

from hybrid_bt.account.flows import by_symbol
from hybrid_bt.analyzers.ledger import Ledger


class PnlByTicker(Ledger):
    """What each feed earned in a Cerebro, whatever the strategies.

    `get_analysis()` is `{symbol: {gross_pnl, costs, pnl_net, buys, sells, trades}}`; open positions are marked at the
    last close, and the `pnl_net` add up to the account's change of value less deposits. `flows().profit` has the bars.
    """

    def get_analysis(self) -> dict[str, dict[str, Any]]:
        """Profits by symbol, account currency; `trades` are positions opened."""
        columns = by_symbol(self.path(0), self.flows())
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return {symbol: dict(zip(columns, row, strict=True)) for symbol, row in zip(self.symbols, rows, strict=True)}
