"""Leave one market out: what opinions are worth on markets that had no part in making them, before 2010.

Each market is traded from row `WINDOW_BARS` on with the pairs that were alike before it. Beside the hybrid stand, as
tilts of the same base through the same low-pass, rules of one line and a ridge regression on the policy's own features,
fitted on the other markets: what they gain, no learning was needed for. The pairs a year late are the control of the
pairs, and of r its own mean and its path a year late, which goes round. What is judged is the Sharpe ratio less a
hurdle's, market by market and pooled: markets are drawn with replacement, and within each drawn one blocks of bars
(`hybrid_bt.evidence`), so an interval knows that there are few markets.

Beside that, the literature's own table, and what costs and a bar leave of it. Online portfolio selection is told in
total wealth: what 1 becomes if each day's weights are had at the close that they were computed from, at no cost.
`replay` trades the weights of the package universal-portfolios so, then net of costs, then at the next close: the only
one that somebody who computes them from closes can have. Beside it stands the hybrid on the same bars, its returns
scaled to the volatility of that last account.

Source of `PRINTED`: Li, B. and Hoi, S. (2014), Online Portfolio Selection: A Survey, ACM Computing Surveys 46(3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hybrid_bt.account import registry
from hybrid_bt.account.metrics import FloatArray, StampArray, simple_returns
from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.registry import HURDLES, Panel, account, late, mixed, momentum, moves, relative, standard_scores
from hybrid_bt.account.replay import replay
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market, may_teach
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.pair_selection import WINDOW_BARS
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.brain.records import Opinions
from hybrid_bt.brain.settling import alone, mix_of
from hybrid_bt.config import Config, overridden
from hybrid_bt.config.build import Policies, build
from hybrid_bt.config.task import Case, prepare
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.features import ASSET_FEATURES
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.evidence.study.jobs import Arrays, Job
from hybrid_bt.feeds.sample import online_weights, read_set

BARS_PER_YEAR = 252.0  #: of rebuilt calendars too, which know no holidays
LABEL_BARS, FILL_BARS = 5, 1  #: ridge learns the relative return of a week, from the fill on
RIDGE, MOST = 0.01, 10.0  #: penalty per row, of features of unit size; features count within +-10
YEAR_BARS = 252
LEAST_BARS = 126  #: of what is traded
COST_FACTORS, DELAYS = (2.0, 5.0), (1, 2, 4)
SETTINGS = ("1x", *(f"{factor:g}x" for factor in COST_FACTORS), *(f"{bars} late" for bars in DELAYS))
RULES = ("5-bar reversal", "10-bar reversal", "12-1 momentum", "reversal and momentum", "ridge")
GATES = ("gate-off", "r at its mean", "r a year late")  #: what r must be worth more than
ACCOUNTS = ("hybrid", *GATES, "sac", "pairs", *RULES, "rule and pairs", "pairs a year late", *HURDLES)

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
class MarketJob(Job):
    """Trade one market in all accounts under all settings."""

    task: Case  #: from row `WINDOW_BARS` on
    others: tuple[Market, ...]  #: that may teach ridge

    def depends_on(self) -> tuple[object, ...]:
        """As `Job.depends_on`."""
        task, others = self.task, [(m.bars.sha256, m.pairs) for m in self.others]
        decided_by = task.config.numbers(), task.policies.sha256s()
        return "market", task.market.bars.sha256, task.market.pairs, *decided_by, others

    def run(self) -> Arrays:
        """Returns, (T - 1,), and turnover a year, (), of each account under each setting: `SETTING:ACCOUNT`."""
        found: Arrays = {"days": self.task.traded.stamps[1:].astype("M8[D]").astype(np.int64)}
        beta = _ridge(self.others, self.task.market.bars, self.task.config)
        for factor, delays in ((1.0, (0, *DELAYS)), *((factor, (0,)) for factor in COST_FACTORS)):
            costs = self.task.config.costs
            dearer = {"spread_bps": factor * costs.spread_bps, "fee_bps": factor * costs.fee_bps}
            task = self.task._replace(config=overridden(self.task.config, {"costs": dearer}))
            said, scores = _said(task, beta)
            for bars in delays:
                setting = f"{bars} late" if bars else f"{factor:g}x"
                for name, path in _accounts(task, said, scores, bars):
                    found[f"{setting}:{name}"] = simple_returns(path.equity)
                    years = len(path.equity) / BARS_PER_YEAR
                    found[f"turnover {setting}:{name}"] = path.fills.notional.sum() / path.equity.mean() / years
        return found


def task_on(market: Market, mode: str, config: Config, policies: Policies, row: int = WINDOW_BARS) -> Case:
    """A market traded from a row on, at the rate of a real calendar."""
    bars, rate = market.bars, {"risk": {"bars_per_year": BARS_PER_YEAR}}
    if bars.n_bars < row + LEAST_BARS:
        raise BarsError(f"study: {market.name} has {bars.n_bars} bars, {row + LEAST_BARS} are the least")
    if policies.sac is None or not config.sac.enabled:
        raise ConfigError("study: without SAC there is nothing to tilt; leave [sac] on to judge markets")
    start, asked = bars.stamps[row].astype("M8[D]").item(), overridden(config, rate)
    return prepare(market, mode, config=asked, policies=policies, start=start, allow_in_sample=True)


def _said(task: Case, beta: FloatArray) -> tuple[Opinions, dict[str, FloatArray]]:
    """What the brain said from the first row on, and the scores (T, N) of the rules."""
    brain, rows, bars = task.brain(), slice(task.row, None), task.market.bars
    panel = read_panel(bars.close, brain.reader)
    week, fortnight, year = (values[rows] for values in (moves(bars, 5), moves(bars, 10), momentum(bars)))
    sd = panel.volatility[rows]  # in units of risk one rule can be added to another
    both = standard_scores(-week / sd) + 0.5 * standard_scores(year / sd)
    fitted: FloatArray = np.clip(panel.features[rows], -MOST, MOST) @ beta
    known = map(np.nan_to_num, (-week, -fortnight, year, both, fitted))  # without a bar so long ago nothing is said
    return opinions(brain, panel).rows(rows), dict(zip(RULES, known, strict=True))


def _accounts(
    task: Case, said: Opinions, scores: dict[str, FloatArray], bars: int
) -> Iterator[tuple[str, AccountPath]]:
    """Accounts with every decision some bars late; hurdles always act at once."""
    config, base, flat = task.config, said.names[0], np.zeros(said.volatility.shape)
    plain = registry.tilted_base(said, flat, config.tilt_params)
    rules = {name: registry.tilted_base(said, score, config.tilt_params) for name, score in scores.items()}
    both = {"pairs": plain, "rule and pairs": rules["reversal and momentum"]}
    both["pairs a year late"] = late(plain, YEAR_BARS, slice(1, None))
    panel = Panel(task.traded, late(said, bars), config.terms())
    r = panel.opinions.regime
    paths = dict(zip(GATES, (np.zeros(len(r)), np.full(len(r), r.mean()), np.roll(r, YEAR_BARS)), strict=True))
    off = mix_of(paths["gate-off"], panel.terms.lines)
    for name in ACCOUNTS:
        if name in HURDLES:
            yield name, account(panel, name)
        elif name == "hybrid" or name in paths:
            yield name, mixed(panel, mix_of(paths.get(name, r), panel.terms.lines))
        elif name in both:
            yield name, mixed(panel, off, late(both[name], bars))
        else:
            yield name, mixed(panel, alone(said, base), late(rules.get(name, said), bars))


def _ridge(others: Sequence[Market], left_out: Bars, config: Config) -> FloatArray:
    """Slopes (features,) of the next week's relative return, in units of risk, fitted on rows of other markets."""
    n = len(ASSET_FEATURES)
    squares, products, n_rows = np.zeros((n, n)), np.zeros(n), 1
    for market in others:
        reader = build(config, market.bars.symbols, market.pairs, Policies(None, None)).reader
        panel = read_panel(market.bars.close, reader)
        behind = FILL_BARS + LABEL_BARS
        rows = may_teach(market.bars, left_out, behind)[:-behind] & panel.warm.all(axis=1)[:-behind]
        coming = moves(market.bars, LABEL_BARS)[behind:][rows] / panel.volatility[:-behind][rows]
        x, y = map(relative, (np.clip(panel.features[:-behind][rows], -MOST, MOST), coming))
        wide, aim = x.reshape(-1, n), y.ravel()
        squares, products, n_rows = squares + wide.T @ wide, products + wide.T @ aim, n_rows + len(aim)
    return np.asarray(np.linalg.solve(squares + RIDGE * n_rows * np.eye(n), products))


@dataclass(frozen=True, eq=False)
class PublishedJob(Job):
    """All algorithms on one set."""

    task: Case  #: of the hybrid

    def depends_on(self) -> tuple[object, ...]:
        """As `Job.depends_on`."""
        task = self.task
        decided_by = task.config.numbers(), task.policies.sha256s()
        return "published", task.market.bars.sha256, task.market.pairs, task.row, *decided_by

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
