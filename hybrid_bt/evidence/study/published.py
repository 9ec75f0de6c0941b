"""The literature's own table, and what costs and a bar leave of it.

Online portfolio selection is told in total wealth: what 1 becomes if each day's weights are had at the close that they
were computed from, at no cost. `replay` trades the weights of the package universal-portfolios so, then net of costs,
then at the next close: the only one that somebody who computes them from closes can have. Beside it stands the hybrid
on the same bars, its returns scaled to the volatility of that last account.

Source of `PRINTED`: Li, B. and Hoi, S. (2014), Online Portfolio Selection: A Survey, ACM Computing Surveys 46(3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hybrid_bt.account.metrics import FloatArray, StampArray, simple_returns
from hybrid_bt.account.registry import Panel, mixed
from hybrid_bt.account.replay import replay
from hybrid_bt.bars import Bars
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.config.task import Task
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.evidence.study.jobs import Arrays, key_of
from hybrid_bt.feeds.olps import online_weights, read_set

SETS = ("nyse_o", "nyse_n", "tse", "sp500", "msci", "djia")
#: algorithm of the package -> total wealth printed for each of `SETS`; None where another variant was printed
PRINTED: dict[str, tuple[float | None, ...]] = {
    "BAH": (14.50, 18.06, 1.61, 1.34, 0.91, 0.76),
    "CRP": (27.08, 31.55, 1.60, 1.65, 0.93, 0.81),
    "PAMR": (5.14e15, 1.25e6, 264.9, 5.09, 15.23, 0.68),
    "OLMAR": (None, None, None, 15.94, None, None),
}
FREE = Costs(spread_bps=0.0, fee_bps=0.0, leverage=2.0)  #: room for a gap: no order is lost, and debt costs nothing
CASH = 100.0  #: small, so that wealth times 1e8 is still counted in shares on the broker's grid


@dataclass(frozen=True, eq=False)
class PublishedJob:
    """All algorithms on one set."""

    name: str
    task: Task  #: of the hybrid

    @cached_property
    def key(self) -> str:
        """Of everything that the table depends on."""
        task = self.task
        decided_by = task.config.numbers(), task.policies.sha256s()
        return key_of("published", task.market.bars.sha256, task.market.pairs, task.row, *decided_by)

    def run(self) -> Arrays:
        """Of each algorithm: wealth as printed, net, and net a bar late; that from the hybrid's first row on, and the
        hybrid's at the same volatility: (5,)."""
        task, bars, found = self.task, self.task.market.bars, {}
        brain = task.brain()
        said = opinions(brain, read_panel(bars.close, brain.reader)).rows(slice(task.row, None))
        hybrid = simple_returns(mixed(Panel(task.traded, said, task.config.terms())).equity)
        closes = np.column_stack(list(read_set(self.name).values()))
        costs = FREE._replace(spread_bps=task.config.costs.spread_bps, fee_bps=task.config.costs.fee_bps)
        for algorithm in PRINTED:
            free, net, late = (path / path[0] for path in wealth(algorithm, closes, bars.stamps, costs))
            returns = simple_returns(late[task.row + 1 :])  # row 0 is the price of 1 before the first day
            scaled = np.prod(1.0 + hybrid * returns.std() / hybrid.std())
            found[algorithm] = np.array([free[-1], net[-1], late[-1], late[-1] / late[task.row + 1], scaled])
        return found


def wealth(algorithm: str, growth: FloatArray, stamps: StampArray, costs: Costs) -> Iterator[FloatArray]:
    """Equity, (T + 1,), as the literature has it, net of costs, and net with fills a close later.

    Parameters
    ----------
    growth : (T, N)
        Since the day before the first, which is row 0 of the accounts.
    """
    days, symbols = np.append(stamps[:1] - np.timedelta64(1, "D"), stamps), [f"S{i}" for i in range(growth.shape[1])]
    closes = np.vstack([np.ones(len(symbols)), growth])
    held = online_weights(algorithm, closes)
    targets = np.vstack([held[1:], np.full(len(symbols), np.nan)])
    late = Bars.checked("published", symbols, days, closes)
    opens = np.vstack([closes[:1], closes[:-1]])
    sides = {"open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes)}
    at_once = replace(late, **sides)
    for panel, charged in ((at_once, FREE), (at_once, costs), (late, costs)):
        yield replay(targets, panel, cash=CASH, costs=charged, rules=OrderRules(lot=0.0)).equity


def published_table(
    jobs: Sequence[PublishedJob], results: Mapping[str, Arrays]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows: algorithm by set."""
    head = ("algorithm", "set", "printed", "replayed", "net", "a bar late", "from", "late since", "hybrid since")
    rows: list[tuple[str, ...]] = []
    for algorithm, printed in PRINTED.items():
        for job in jobs:
            if job.name in results:
                free, net, late, part, hybrid = (_wealth(value) for value in results[job.name][algorithm].tolist())
                known = printed[SETS.index(job.name)] if job.name in SETS else None
                day = str(job.task.traded.stamps[0])[:10]
                rows.append((algorithm, job.name, _wealth(known), free, net, late, day, part, hybrid))
    return head, rows


def _wealth(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 1e4 else f"{value:.2e}"
