"""Gross and net exposure, bar by bar."""

from __future__ import annotations

from typing import Any

from hybrid_bt.account.flows import exposures
from hybrid_bt.analyzers.ledger import Ledger


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
