"""Gross and net exposure, bar by bar."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.analyzers.ledger import Ledger


class Exposure(Ledger):
    """Positions as fractions of equity at each close.

    `get_analysis()`: `gross` and `net` (T,) arrays, `mean_gross`, `max_gross`, `mean_net`, `bars_invested` (fraction of
    bars with a position). NaN where equity is not positive.
    """

    def weights(self) -> NDArray[np.float64]:
        """(T, N) signed fractions of equity."""
        equity = self.path(0).equity[:, None]
        exposure = self.flows().exposure
        return np.divide(exposure, equity, out=np.full_like(exposure, np.nan), where=equity > 0.0)

    def get_analysis(self) -> dict[str, Any]:
        """Exposures of each bar and their summary."""
        weights = self.weights()
        gross, net = np.abs(weights).sum(axis=1), weights.sum(axis=1)
        some = len(gross) > 0
        return {
            "gross": gross,
            "net": net,
            "mean_gross": float(gross.mean()) if some else 0.0,
            "max_gross": float(gross.max()) if some else 0.0,
            "mean_net": float(net.mean()) if some else 0.0,
            "bars_invested": float((weights != 0.0).any(axis=1).mean()) if some else 0.0,
        }
