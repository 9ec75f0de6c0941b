"""How much was traded, and what it cost."""

from __future__ import annotations

from hybrid_bt.account.metrics import elapsed_years, turnover_per_year
from hybrid_bt.analyzers.ledger import Ledger


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
