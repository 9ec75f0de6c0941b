"""What the ledger's rows come to: profit by ticker, turnover and its costs, exposure, returns, drawdowns, parts by leg.

Backtrader's own PyFolio analyzer names positions by feed but keeps only the last feed's transactions of a bar.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.attribution import Contributions, contributions
from hybrid_bt.account.flows import by_symbol, exposures
from hybrid_bt.account.metrics import drawdown, elapsed_years, growth_of, turnover_per_year
from hybrid_bt.analyzers.ledger import Ledger
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


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
    sold once; without the warm-up; NaN over no time), `commissions`, `interest`, `costs`, `costs_bps_of_traded`,
    `fills`, `rejected`, `ruined_on`.
    """

    def get_analysis(self) -> dict[str, Any]:
        """Sums over the run, account currency."""
        flows, path = self.flows(), self.path(0)
        traded, commissions = float(flows.traded.sum()), float(flows.commissions.sum())
        interest, live = float(flows.interest.sum()), slice(max(self.first_row_at_risk() - 1, 0), None)
        return {
            "traded": traded,
            "turnover_per_year": turnover_per_year(traded, path.equity[live], elapsed_years(self.stamps[live])),
            "commissions": commissions,
            "interest": interest,
            "costs": commissions + interest,
            "costs_bps_of_traded": 1e4 * commissions / traded if traded else 0.0,
            "fills": len(path.fills),
            "rejected": path.rejected,
            "ruined_on": self.ruined_on,
        }


class Exposure(Ledger):
    """Positions as fractions of equity at each close.

    `get_analysis()`: `gross` and `net` (T,) arrays; over the bars from the first that could earn something on,
    `mean_gross`, `max_gross`, `mean_net`, `bars_invested` (fraction with a position); `ruined_on`, from where they are
    fractions of the last positive equity.
    """

    def get_analysis(self) -> dict[str, Any]:
        """Exposures of each bar and their summary."""
        held = self.flows().exposure
        gross, net = exposures(held, self.path(0).equity)
        some, live = len(gross) > 0, slice(self.first_row_at_risk(), None)
        return {
            "gross": gross,
            "net": net,
            "mean_gross": float(gross[live].mean()) if some else 0.0,
            "max_gross": float(gross[live].max()) if some else 0.0,
            "mean_net": float(net[live].mean()) if some else 0.0,
            "bars_invested": float((held[live] != 0.0).any(axis=1).mean()) if some else 0.0,
            "ruined_on": self.ruined_on,
        }


class PyfolioFrames(NamedTuple):
    """Arguments of `pyfolio.create_full_tear_sheet`, by name; all indexed in UTC."""

    returns: pd.Series  #: one per day, noncumulative
    positions: pd.DataFrame  #: money in each symbol at the day's last close, and `cash`; their sum is equity
    transactions: pd.DataFrame  #: one row per fill: amount (signed), price, symbol, commission


class PortfolioReturns(Ledger):
    """Time-weighted returns of the account, net of costs; deposits and withdrawals are no returns.

    `get_analysis()` is `{stamp: return}` of each bar. `series()` goes to quantstats, `frames()` to pyfolio: both begin
    with the first bar that could earn something, or years of warm-up would count as returns of 0.
    Money that comes buys its part of the account at the value before the bar, as in Backtrader's fund mode.
    """

    def simple(self) -> NDArray[np.float64]:
        """(T,) return of each bar, never below -1; 0 where there was nothing before it."""
        return growth_of(self.path(0).equity, self._base()) - 1.0

    def get_analysis(self) -> dict[Any, float]:
        """Return of each bar by its stamp."""
        return dict(zip(self.stamps.tolist(), self.simple().tolist(), strict=True))

    def series(self, name: str = "returns") -> pd.Series:
        """Daily returns for quantstats: without time zone, one per day, bars of a day compounded."""
        import pandas as pd

        bars = pd.Series(1.0 + self.simple(), index=pd.DatetimeIndex(self.stamps), name=name)
        live = bars[self.first_row_at_risk() :]
        return live.groupby(live.index.normalize()).prod() - 1.0

    def frames(self) -> PyfolioFrames:
        """Returns, positions and transactions for pyfolio-reloaded."""
        import pandas as pd

        path, stamps = self.path(0), pd.DatetimeIndex(self.stamps)
        money = pd.DataFrame(self.flows().exposure, index=stamps, columns=list(self.symbols))
        money["cash"] = path.equity - money.sum(axis=1)
        returns = self.series().tz_localize("UTC")
        days = money.groupby(stamps.normalize()).last().tz_localize("UTC")[returns.index[0] :]
        rows = [(fill.size, fill.price, self.symbols[fill.symbol], fill.commission) for fill in path.fills]
        when = stamps[path.fills.bar].tz_localize("UTC")
        transactions = pd.DataFrame(rows, index=when, columns=["amount", "price", "symbol", "commission"])
        return PyfolioFrames(returns, days, transactions)


class Drawdown(PortfolioReturns):
    """How far the account was below its peak, a fraction <= 0, in terms of its time-weighted growth.

    `get_analysis()`: `drawdown` (T,) array, `max_drawdown`, `peak` and `trough` (stamps of the deepest one),
    `longest_bars`, the longest time below a peak, and `ruined_on`, from where it is of money, below -1 with
    debt. Backtrader's own DrawDown counts a withdrawal as a loss.
    """

    def get_analysis(self) -> dict[str, Any]:
        """Drawdowns of each bar and their summary."""
        growth = np.concatenate(([1.0], np.cumprod(1.0 + self.simple())))  # the value before the first bar leads
        row, base = self._ruin_row() if len(growth) > 1 else None, self._base()
        if row is not None and base[row] > 0.0:
            since = self.path(0).equity[row:] - np.append(0.0, self.deposits[row + 1 :].cumsum())
            growth[row + 1 :] = growth[row] * since / base[row]
        below = drawdown(growth)[1:]
        if not len(below):
            nothing = dict.fromkeys(("peak", "trough", "ruined_on"))
            return {"drawdown": below, "max_drawdown": 0.0, "longest_bars": 0, **nothing}
        trough = int(np.argmin(below))
        peak = int(np.argmax(growth[: trough + 2]))
        return {
            "drawdown": below,
            "max_drawdown": float(below.min()),
            "peak": self.stamps[max(peak - 1, 0)],
            "trough": self.stamps[trough],
            "longest_bars": max((len(list(run)) for under, run in groupby(below < 0.0) if under), default=0),
            "ruined_on": self.ruined_on,
        }


class LegAttribution(Ledger):
    """Profit of a `HybridStrategy` split by leg; the parts sum to the change of equity less deposits
    (`account.attribution`).

    For a strategy that runs alone with `record=True` and trades all feeds of its Cerebro. `get_analysis()` is
    `{part: sum over bars}`, account currency, costs negative; `contributions()` has the bars.
    """

    def start(self) -> None:
        super().start()
        if getattr(self.strategy, "recorder", None) is None:
            what = f"{type(self.strategy).__name__} keeps no decisions"
            raise ConfigError(f"LegAttribution: {what}; it explains a HybridStrategy with record=True")
        if len(self.strategy.feeds) != len(self.strategy.datas) or len(self.strategy.cerebro.runningstrats) > 1:
            raise ConfigError("LegAttribution: explains one strategy that trades every feed of its Cerebro alone")
        if self.strategy.p.equity_share != 1.0:
            raise ConfigError("LegAttribution: explains a strategy that trades the whole of the equity")
        self._opens: list[list[float]] = []
        self._lengths = [0] * len(self._feeds)

    def next(self) -> None:
        super().next()
        lengths = [len(feed) for feed in self._feeds]
        came = zip(self._feeds, lengths, self._lengths, strict=True)
        self._opens.append([feed.open[0] if now > before else np.nan for feed, now, before in came])
        self._lengths = lengths

    def stop(self) -> None:
        strategy = self.strategy
        sides = resolve_pairs(strategy.pair_names, strategy.symbols)
        self._first = first = strategy.first_traded_row or 0
        decisions, pairs = strategy.recorder.decisions(first), strategy.recorder.pairs(first)
        self._decisions = decisions, pairs, sides
        super().stop()

    def contributions(self) -> Contributions:
        """Profit of each bar from the first traded one on, by part, (T,) each; deposits are none."""
        decisions, pairs, sides = self._decisions
        marks = np.nan_to_num(self.marks)
        opens = np.array(self._opens).reshape(marks.shape)
        opens, marks = opens[self._first :], marks[self._first :]
        found = contributions(self.path(self._first), decisions, pairs, sides, opens, marks)
        return found | {"execution": found["execution"] - np.append(0.0, self.deposits[self._first + 1 :])}

    def get_analysis(self) -> dict[str, Any]:
        """Profit of the run by part; their sum is the account's."""
        return {name: float(part.sum()) for name, part in self.contributions().items()}
