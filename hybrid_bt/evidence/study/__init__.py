"""A study from its plan to its findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hybrid_bt.account.conditional import Condition, conditional_rows
from hybrid_bt.account.metrics import FloatArray, Summary, elapsed_years, measures, simple_returns
from hybrid_bt.account.registry import learned_accounts
from hybrid_bt.bars import Bars
from hybrid_bt.config.task import Case
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence import Draws, Interval, bootstrap, interquartile_mean_interval
from hybrid_bt.evidence import ratios as ratio
from hybrid_bt.evidence.study.jobs import ENSEMBLE, Arrays, Lessons, Window
from hybrid_bt.evidence.study.schedule import COST_LEVELS_BPS, HURDLES, Runner, joined, trade_jobs, voice_jobs

Traded = dict[tuple[str, int], Arrays]  #: (window, `whole` or cost level; member) -> what its accounts did

SCORED = ("sharpe", "cagr", "max_drawdown")


@dataclass(frozen=True, eq=False)
class Plan:
    """What a study looks at."""

    task: Case
    windows: tuple[Window, ...]
    n_seeds: int
    n_resamples: int = 1000
    seed: int = 0  #: of shuffles and resamples
    lessons: tuple[Lessons, ...] = ()  #: one per window: train anew for each
    n_trials_before: int = 0  #: other configurations tried on these bars, from the ledger

    @property
    def bars(self) -> Bars:
        """All of them, those that warm up first."""
        return self.task.market.bars

    def leg_accounts(self) -> dict[str, str]:
        """As of the task; what is trained anew is a SAC."""
        return {leg: leg if self.lessons else name for leg, name in self.task.leg_accounts().items()}

    def learned(self) -> tuple[str, ...]:
        """The accounts that policies have a part in."""
        names = self.leg_accounts()
        return learned_accounts(list(names.values()), names.get("sac", "sac"))

    @property
    def in_sample(self) -> bool:
        """Whether the first decision lies in the policies' training span."""
        day, until = self.bars.stamps[self.task.row].astype("datetime64[D]").item(), self.task.trained_until
        return until is not None and bool(day <= until)

    def cut(self, first: int, last: int) -> Bars:
        """The bars of these rows, both included."""
        return self.bars.between(self.bars.stamps[first], self.bars.stamps[last])


@dataclass(frozen=True, eq=False)
class Findings:
    """What came of it; returns are on the whole span, from the first decision on."""

    plan: Plan
    bars: Bars  #: of the whole span
    regime: FloatArray  #: (T,) of the ensemble
    equity: dict[str, FloatArray]  #: account -> (T,), the ensemble's
    summaries: dict[str, Summary]
    draws: Draws
    windows: list[tuple[Window, dict[str, Summary]]]
    seeds: dict[tuple[int, str], Summary]  #: (member, account) -> that member alone over the whole span
    interquartile: dict[tuple[str, str], Interval]  #: (account, measure) -> over seeds and windows
    costs: dict[str, list[Summary]]  #: account -> one per `COST_LEVELS_BPS`
    break_even: dict[str, float]  #: account -> bps a side at which it no longer beats vol-target, or is worth nothing
    conditions: list[Condition]
    overfitting: float | None  #: probability of backtest overfitting
    ratios: dict[str, dict[str, float]]  #: account -> psr, dsr, the same against the hurdle, track record in years
    n_trials: int
    failures: dict[str, str] = field(default_factory=dict)  #: cell -> why


def study(plan: Plan, runner: Runner) -> Findings:
    """Record, trade and weigh; the cells of an earlier study are found in the runner's folder, and kept there.

    Raises
    ------
    ConfigError
        If the whole span itself failed, so that there is nothing to weigh.
    """
    heard, failures = runner.run(voice_jobs(plan))
    traded, more = runner.run(trade_jobs(plan, heard))
    failures |= more
    if ("whole", ENSEMBLE) not in traded:
        raise ConfigError(f"study: the whole span failed: {'; '.join(failures.values())}")
    return _weigh(plan, heard, traded, failures)


def _summaries(bars: Bars, arrays: Arrays) -> dict[str, Summary]:
    ends = bars.stamps[0], bars.stamps[-1]
    return {name: Summary(*ends, *arrays[f"summary:{name}"].tolist()) for name in _equities(arrays)}


def _equities(arrays: Arrays) -> dict[str, FloatArray]:
    """Account -> (T,), in the order in which they were asked for."""
    marked = "equity:"
    return {name.removeprefix(marked): path for name, path in arrays.items() if name.startswith(marked)}


def _weigh(plan: Plan, heard: dict[tuple[int, int], Arrays], traded: Traded, failures: dict[str, str]) -> Findings:
    bars = plan.task.traded
    whole = traded["whole", ENSEMBLE]
    equity, learned = _equities(whole), plan.learned()
    returns = {name: simple_returns(path) for name, path in equity.items()}
    wanted = measures(bars.bars_per_year, elapsed_years(bars.stamps))
    regime = joined(plan, heard)[ENSEMBLE]["regime"][plan.task.row :]
    there = [cut for cut in plan.windows if (cut.name, ENSEMBLE) in traded]
    windows = [(cut, _summaries(plan.cut(cut.first, cut.last), traded[cut.name, ENSEMBLE])) for cut in there]
    costs = _cost_sweep(bars, traded)
    n_trials = plan.n_trials_before + len(learned)
    table = np.column_stack(list(returns.values()))
    return Findings(
        plan=plan,
        bars=bars,
        regime=regime,
        equity=equity,
        summaries=_summaries(bars, whole),
        draws=bootstrap(returns, wanted, n_resamples=plan.n_resamples, seed=plan.seed),
        windows=windows,
        seeds={
            (member, name): summary
            for (cell, member), arrays in traded.items()
            if cell == "whole" and member != ENSEMBLE
            for name, summary in _summaries(bars, arrays).items()
        },
        interquartile=_over_seeds(plan, traded),
        costs=costs,
        break_even=_break_even(costs),
        conditions=conditional_rows(bars, regime, equity),
        overfitting=ratio.backtest_overfitting(table) if len(table) >= 64 else None,
        ratios=_ratios(returns, learned, bars.bars_per_year, n_trials),
        n_trials=n_trials,
        failures=failures,
    )


def _over_seeds(plan: Plan, traded: Traded) -> dict[tuple[str, str], Interval]:
    """Interquartile means over members and windows; windows are the strata."""
    members, cuts = range(plan.n_seeds), {w.name: plan.cut(w.first, w.last) for w in plan.windows}
    if plan.lessons or not plan.n_seeds or not {(name, member) for name in cuts for member in members} <= traded.keys():
        return {}
    rows = [[_summaries(bars, traded[name, member]) for name, bars in cuts.items()] for member in members]
    found: dict[tuple[str, str], Interval] = {}
    for name in plan.learned():
        for measure in SCORED:
            table = np.array([[getattr(summaries[name], measure) for summaries in row] for row in rows])
            if np.isfinite(table).all():
                found[name, measure] = interquartile_mean_interval(table, seed=plan.seed)
    return found


def _cost_sweep(bars: Bars, traded: Traded) -> dict[str, list[Summary]]:
    levels = [(f"cost {bps:g}", ENSEMBLE) for bps in COST_LEVELS_BPS]
    if not set(levels) <= traded.keys():
        return {}
    tables = [_summaries(bars, traded[level]) for level in levels]
    return {name: [table[name] for table in tables] for name in tables[0]}


def _break_even(costs: dict[str, list[Summary]]) -> dict[str, float]:
    """Costs a side, bps, at which growth falls to vol-target's (the hybrid, sac) or to nothing (kalman)."""
    growth = {name: np.array([summary.cagr for summary in summaries]) for name, summaries in costs.items()}
    excess = {name: curve - (0.0 if name == "kalman" else growth["vol-target"]) for name, curve in growth.items()}
    return {name: _crossing(curve) for name, curve in excess.items() if name not in HURDLES}


def _crossing(excess: FloatArray) -> float:
    """Where a falling line first meets zero, linear between levels; 0 if it begins below, infinite if it never does."""
    levels = np.array(COST_LEVELS_BPS)
    below = np.flatnonzero(excess <= 0.0)
    if not len(below):
        return float("inf")
    k = int(below[0])
    if k == 0:
        return 0.0
    share = excess[k - 1] / (excess[k - 1] - excess[k])
    return float(levels[k - 1] + share * (levels[k] - levels[k - 1]))


def _ratios(
    returns: dict[str, FloatArray], learned: Sequence[str], bars_per_year: float, n_trials: int
) -> dict[str, dict[str, float]]:
    """Probabilistic and deflated Sharpe ratio, and the record that would be needed, years."""
    moving = {name: ratio.moments_of(series) for name, series in returns.items()}
    moving = {name: moments for name, moments in moving.items() if np.isfinite(moments.sharpe)}
    n_returns, hurdle = len(next(iter(returns.values()))), moving.get(ratio.HURDLE, ratio.Moments(0.0, 0)).sharpe
    spread = ratio.spread_of_trials((moving[name].sharpe for name in learned if name in moving), n_returns)
    return {
        name: {
            "psr": ratio.probabilistic_sharpe(moments),
            "dsr": ratio.deflated_sharpe(moments, n_trials, spread),
            "passed": ratio.deflated_sharpe(moments, n_trials, spread, hurdle),
            "track_record_years": ratio.minimum_track_record(moments) / bars_per_year,
        }
        for name, moments in moving.items()
    }
