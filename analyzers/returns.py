"""Returns of the account and its drawdowns; positions and transactions as quantstats and pyfolio read them.

Backtrader's own PyFolio analyzer names positions by feed but keeps only the last feed's transactions of a bar.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import drawdown
from hybrid_bt.analyzers.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd


class PyfolioFrames(NamedTuple):
    """Arguments of `pyfolio.create_full_tear_sheet`, by name; all indexed in UTC."""

    returns: pd.Series  #: one per day, noncumulative
    positions: pd.DataFrame  #: money in each symbol at the day's last close, and `cash`; their sum is equity
    transactions: pd.DataFrame  #: one row per fill: amount (signed), price, symbol, commission


class PortfolioReturns(Ledger):
    """Time-weighted returns of the account, net of costs; deposits and withdrawals are no returns.

    `get_analysis()` is `{stamp: return}` of each bar. `series()` goes to quantstats, `frames()` to pyfolio.
    Money that comes in on a bar is there from the bar's end, as the broker books it.
    """

    def simple(self) -> NDArray[np.float64]:
        """(T,) return of each bar; 0 after equity <= 0."""
        equity = self.path(0).equity
        before = np.concatenate(([self.start_value], equity[:-1]))
        earned = equity - self.deposits
        return np.divide(earned, before, out=np.ones_like(earned), where=before > 0.0) - 1.0

    def get_analysis(self) -> dict[Any, float]:
        """Return of each bar by its stamp."""
        return dict(zip(self.stamps.tolist(), self.simple().tolist(), strict=True))

    def series(self, name: str = "returns") -> pd.Series:
        """Daily returns for quantstats: without time zone, one per day, bars of a day compounded."""
        import pandas as pd

        bars = pd.Series(1.0 + self.simple(), index=pd.DatetimeIndex(self.stamps), name=name)
        return bars.groupby(bars.index.normalize()).prod() - 1.0

    def frames(self) -> PyfolioFrames:
        """Returns, positions and transactions for pyfolio-reloaded."""
        import pandas as pd

        path, stamps = self.path(0), pd.DatetimeIndex(self.stamps)
        money = pd.DataFrame(self.flows().exposure, index=stamps, columns=list(self.symbols))
        money["cash"] = path.equity - money.sum(axis=1)
        days = money.groupby(stamps.normalize()).last().tz_localize("UTC")
        rows = [(fill.size, fill.price, self.symbols[fill.symbol], fill.commission) for fill in path.fills]
        when = stamps[[fill.bar for fill in path.fills]].tz_localize("UTC")
        transactions = pd.DataFrame(rows, index=when, columns=["amount", "price", "symbol", "commission"])
        return PyfolioFrames(self.series().tz_localize("UTC"), days, transactions)


class Drawdown(PortfolioReturns):
    """How far the account was below its peak, a fraction <= 0, in terms of its time-weighted growth.

    `get_analysis()`: `drawdown` (T,) array, `max_drawdown`, `peak` and `trough` (stamps of the deepest one), and
    `longest_bars`, the longest time below a peak. Backtrader's own DrawDown counts a withdrawal as a loss.
    """

    def get_analysis(self) -> dict[str, Any]:
        """Drawdowns of each bar and their summary."""
        growth = np.concatenate(([1.0], np.cumprod(1.0 + self.simple())))  # the value before the first bar leads
        below = drawdown(growth)[1:]
        if not len(below):
            return {"drawdown": below, "max_drawdown": 0.0, "peak": None, "trough": None, "longest_bars": 0}
        trough = int(np.argmin(below))
        peak = int(np.argmax(growth[: trough + 2]))
        return {
            "drawdown": below,
            "max_drawdown": float(below.min()),
            "peak": self.stamps[max(peak - 1, 0)],
            "trough": self.stamps[trough],
            "longest_bars": max((len(list(run)) for under, run in groupby(below < 0.0) if under), default=0),
        }
