"""What the ledger's cash flows come to: profit by ticker, turnover and its costs, exposure."""

from __future__ import annotations

from typing import Any

from hybrid_bt.account.flows import by_symbol, exposures
from hybrid_bt.account.metrics import elapsed_years, turnover_per_year
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


class TurnoverCosts(Ledger):
    """Turnover and costs of the account.

    `get_analysis()`: `traded` (sum of |size| * price), `turnover_per_year` (two-way: 2 is the whole account bought and
    sold once; NaN over no time), `commissions`, `interest`, `costs`, `costs_bps_of_traded`, `fills`, `rejected`.
    """

    def get_analysis(self) -> dict[str, float]:
        """Sums over the run, account currency."""
        flows, path = self.flows(), self.path(0)
        traded, commissions = float(flows.traded.sum()), float(flows.commissions.sum())
        interest = float(flows.interest.sum())
        return {
            "traded": traded,
            "turnover_per_year": turnover_per_year(traded, path.equity, elapsed_years(self.stamps)),
            "commissions": commissions,
            "interest": interest,
            "costs": commissions + interest,
            "costs_bps_of_traded": 1e4 * commissions / traded if traded else 0.0,
            "fills": len(path.fills),
            "rejected": path.rejected,
        }


class Exposure(Ledger):
    """Positions as fractions of equity at each close.

    `get_analysis()`: `gross` and `net` (T,) arrays, `mean_gross`, `max_gross`, `mean_net`, `bars_invested` (fraction of
    bars with a position). NaN where equity is not positive.
    """

    def get_analysis(self) -> dict[str, Any]:
        """Exposures of each bar and their summary."""
        held = self.flows().exposure
        gross, net = exposures(held, self.path(0).equity)
        some = len(gross) > 0
        return {
            "gross": gross,
            "net": net,
            "mean_gross": float(gross.mean()) if some else 0.0,
            "max_gross": float(gross.max()) if some else 0.0,
            "mean_net": float(net.mean()) if some else 0.0,
            "bars_invested": float((held != 0.0).any(axis=1).mean()) if some else 0.0,
        }
