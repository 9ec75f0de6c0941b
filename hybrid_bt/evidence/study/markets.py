"""Leave one market out: what opinions are worth on markets that had no part in making them, before 2010.

Each market is traded from row `WINDOW_BARS` on with the pairs that were alike before it. Beside the hybrid stand, as
tilts of the same base through the same low-pass, rules of one line and a ridge regression on the policy's own features,
fitted on the other markets: what they gain, no learning was needed for. The pairs a year late are the control of the
pairs. What is judged is the Sharpe ratio less a hurdle's, market by market and pooled: markets are drawn with
replacement, and within each drawn one blocks of bars (`hybrid_bt.evidence`), so an interval knows that there are few
markets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hybrid_bt.account.flows import marked_close
from hybrid_bt.account.metrics import FloatArray, simple_returns
from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.registry import HURDLES, Panel, account, late, mixed, tilted_base
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market, may_teach
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.pair_selection import WINDOW_BARS
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.brain.records import Opinions
from hybrid_bt.brain.settling import alone, mix_of
from hybrid_bt.config import Config, overridden
from hybrid_bt.config.build import Policies, build
from hybrid_bt.config.task import Task, prepare
from hybrid_bt.equations.features import ASSET_FEATURES
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.evidence.study.jobs import Arrays, key_of

BARS_PER_YEAR = 252.0  #: of rebuilt calendars too, which know no holidays
LABEL_BARS, FILL_BARS = 5, 1  #: ridge learns the relative return of a week, from the fill on
RIDGE, MOST = 0.01, 10.0  #: penalty per row, of features of unit size; features count within +-10
YEAR_BARS = 252
LEAST_BARS = 126  #: of what is traded
COST_FACTORS, DELAYS = (2.0, 5.0), (1, 2, 4)
SETTINGS = ("1x", *(f"{factor:g}x" for factor in COST_FACTORS), *(f"{bars} late" for bars in DELAYS))
RULES = ("5-bar reversal", "10-bar reversal", "12-1 momentum", "reversal and momentum", "ridge")
ACCOUNTS = (
    *("hybrid", "gate-off", "sac", "pairs"),
    *(*RULES, "rule and pairs", "pairs a year late"),
    *HURDLES,
)


@dataclass(frozen=True, eq=False)
class MarketJob:
    """Trade one market in all accounts under all settings."""

    name: str
    task: Task  #: from row `WINDOW_BARS` on
    others: tuple[Market, ...]  #: that may teach ridge

    @cached_property
    def key(self) -> str:
        """Of everything that the accounts depend on."""
        task, others = self.task, [(m.bars.sha256, m.pairs) for m in self.others]
        decided_by = task.config.numbers(), task.policies.sha256s()
        return key_of("market", task.market.bars.sha256, task.market.pairs, *decided_by, others)

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


def task_on(market: Market, mode: str, config: Config, policies: Policies, row: int = WINDOW_BARS) -> Task:
    """A market traded from a row on, at the rate of a real calendar."""
    bars, rate = market.bars, {"risk": {"bars_per_year": BARS_PER_YEAR}}
    if bars.n_bars < row + LEAST_BARS:
        raise BarsError(f"study: {market.name} has {bars.n_bars} bars, {row + LEAST_BARS} are the least")
    if policies.sac is None or not config.sac.enabled:
        raise ConfigError("study: without SAC there is nothing to tilt; leave [sac] on to judge markets")
    start, asked = bars.stamps[row].astype("M8[D]").item(), overridden(config, rate)
    return prepare(market, mode, config=asked, policies=policies, start=start, allow_in_sample=True)


def _said(task: Task, beta: FloatArray) -> tuple[Opinions, dict[str, FloatArray]]:
    """What the brain said from the first row on, and the scores (T, N) of the rules."""
    brain, rows = task.brain(), slice(task.row, None)
    panel = read_panel(task.market.bars.close, brain.reader)
    logs = _logs(task.market.bars)

    def less(bars: int, before: int) -> FloatArray:
        moved: FloatArray = logs[task.row - bars : len(logs) - bars] - logs[task.row - before : len(logs) - before]
        return moved

    # in units of risk, so that one rule can be added to another
    sd = panel.volatility[rows]
    week, year = -less(0, 5) / (sd * math.sqrt(5)), less(21, 252) / (sd * math.sqrt(231))
    fitted: FloatArray = np.clip(panel.features[rows], -MOST, MOST) @ beta
    scores = (-less(0, 5), -less(0, 10), less(21, 252), _unit(week) + 0.5 * _unit(year), fitted)
    known = map(np.nan_to_num, scores)  # of a symbol that has no bar so long ago a rule says nothing
    return opinions(brain, panel).rows(rows), dict(zip(RULES, known, strict=True))


def _logs(bars: Bars) -> FloatArray:
    """Last known log closes, (T, N); NaN before a symbol's first."""
    closes = marked_close(bars.close)
    logs: FloatArray = np.log(np.where(closes > 0.0, closes, np.nan))
    return logs


def _unit(scores: FloatArray) -> FloatArray:
    centred = _relative(scores)
    spread: FloatArray = centred.std(axis=1, keepdims=True)
    return np.clip(centred / np.maximum(spread, 1e-12), -2.0, 2.0)


def _accounts(
    task: Task, said: Opinions, scores: dict[str, FloatArray], bars: int
) -> Iterator[tuple[str, AccountPath]]:
    """Accounts with every decision some bars late; hurdles always act at once."""
    config, base, flat = task.config, said.names[0], np.zeros(said.volatility.shape)
    plain = tilted_base(said, flat, config.tilt_params)
    rules = {name: tilted_base(said, score, config.tilt_params) for name, score in scores.items()}
    both = {"pairs": plain, "rule and pairs": rules["reversal and momentum"]}
    both["pairs a year late"] = late(plain, YEAR_BARS, slice(1, None))
    panel = Panel(task.traded, late(said, bars), config.terms())
    off = mix_of(np.zeros(len(flat)), panel.terms.lines)
    for name in ACCOUNTS:
        if name in HURDLES:
            yield name, account(panel, name)
        elif name in ("hybrid", "gate-off"):
            yield name, mixed(panel, off if name == "gate-off" else None)
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
        panel, logs = read_panel(market.bars.close, reader), _logs(market.bars)
        behind = FILL_BARS + LABEL_BARS
        rows = may_teach(market.bars, left_out, behind)[:-behind] & panel.warm.all(axis=1)[:-behind]
        coming = (logs[behind:] - logs[FILL_BARS:-LABEL_BARS])[rows] / panel.volatility[:-behind][rows]
        x, y = _relative(np.clip(panel.features[:-behind][rows], -MOST, MOST)), _relative(coming)
        wide, aim = x.reshape(-1, n), y.ravel()
        squares, products, n_rows = squares + wide.T @ wide, products + wide.T @ aim, n_rows + len(aim)
    slopes: FloatArray = np.linalg.solve(squares + RIDGE * n_rows * np.eye(n), products).astype(np.float64)
    return slopes


def _relative(values: FloatArray) -> FloatArray:
    """Less the mean over the assets of each bar, axis 1."""
    found: FloatArray = values - values.mean(axis=1, keepdims=True)
    return found
