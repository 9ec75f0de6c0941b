"""A study from its plan to its findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounts import Panel, learned_accounts, momentum, study_accounts
from hybrid_bt.bars import Bars
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence import (
    Condition,
    Draws,
    Interval,
    Overfitting,
    backtest_overfitting,
    bootstrap,
    conditional_rows,
    deflated_sharpe,
    interquartile_mean_interval,
    minimum_track_record,
    probabilistic_sharpe,
)
from hybrid_bt.metrics import Summary, elapsed_years, measures, simple_returns, summarise
from hybrid_bt.study.jobs import ENSEMBLE, Lessons, Result, TradeJob, VoiceJob, opinions_of
from hybrid_bt.study.schedule import Store, execute
from hybrid_bt.task import Task

if TYPE_CHECKING:
    from hybrid_bt.study.doing import Window

FloatArray = NDArray[np.float64]

#: costs a side at which the sweep trades, bps of notional
COST_LEVELS_BPS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
HURDLES = ("vol-target", "equal-weight")
SCORED = ("sharpe", "cagr", "max_drawdown")


@dataclass(frozen=True, eq=False)
class Plan:
    """What a study looks at."""

    task: Task
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

    @property
    def in_sample(self) -> bool:
        """Whether the first decision lies in the policies' training span."""
        day, until = self.bars.stamps[self.task.row].astype("datetime64[D]").item(), self.task.trained_until
        return until is not None and bool(day <= until)

    def cut(self, first: int, last: int) -> Bars:
        """The bars of these rows, both included."""
        return self.bars.between(self.bars.stamps[first], self.bars.stamps[last])


class Seed(NamedTuple):
    """One member of the ensembles, alone, over the whole span."""

    number: int
    account: str
    summary: Summary


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
    seeds: list[Seed]
    interquartile: dict[tuple[str, str], Interval]  #: (account, measure) -> over seeds and windows
    costs: dict[str, list[Summary]]  #: account -> one per `COST_LEVELS_BPS`
    break_even: dict[str, float]  #: account -> bps a side at which it no longer beats vol-target, or is worth nothing
    conditions: list[Condition]
    overfitting: Overfitting | None
    ratios: dict[str, dict[str, float]]  #: account -> psr, dsr, track record in years
    n_trials: int
    failures: dict[str, str] = field(default_factory=dict)  #: cell -> why


def study(
    plan: Plan,
    store: Store,
    *,
    backend: str = "joblib",
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Record, trade and weigh.

    Parameters
    ----------
    backend, n_jobs
        As in `hybrid_bt.study.schedule.execute`.
    progress : callable, optional
        Called as `progress(cells_done, cells_in_all)`, first while recording, then anew while trading.

    Raises
    ------
    ConfigError
        If the whole span itself failed, so that there is nothing to weigh.
    """
    go = partial(execute, store=store, backend=backend, n_jobs=n_jobs, progress=progress)
    voices = _voice_jobs(plan)
    heard = dict(zip(voices, go(list(voices.values())), strict=True))
    failures = {voices[key].name: result.failure for key, result in heard.items() if result.failure}
    trades = _trade_jobs(plan, heard)
    traded = dict(zip(trades, go(list(trades.values())), strict=True))
    failures |= {trades[key].name: result.failure for key, result in traded.items() if result.failure}
    whole = traded.get(("whole", ENSEMBLE))
    if whole is None or whole.failure:
        raise ConfigError(f"study: the whole span failed: {'; '.join(failures.values())}")
    return _weigh(plan, heard, traded, failures)


def _voice_jobs(plan: Plan) -> dict[tuple[int, int], VoiceJob]:
    """(window or -1 for the shipped policies, member) -> job."""
    if not plan.lessons:
        members = (ENSEMBLE, *range(plan.n_seeds))
        return {(-1, m): VoiceJob(f"record, {_member(m)}", plan.task, m) for m in members}
    return {
        (w, ENSEMBLE): VoiceJob(f"train and record, {plan.windows[w].name}", plan.task, ENSEMBLE, lessons)
        for w, lessons in enumerate(plan.lessons)
    }


def _member(number: int) -> str:
    return "ensemble" if number == ENSEMBLE else f"seed {number}"


def _trade_jobs(plan: Plan, heard: dict[tuple[int, int], Result]) -> dict[tuple[str, int], TradeJob]:
    """(window's name, `whole` or cost level; member) -> job."""
    terms, legs = plan.task.config.terms(), plan.task.config.legs_on()
    moves, names = momentum(plan.bars), study_accounts(legs)
    learned, swept = learned_accounts(legs), ("hybrid", *legs, *HURDLES)
    jobs: dict[tuple[str, int], TradeJob] = {}

    def panel(arrays: dict[str, Any], first: int, last: int, member: int) -> Panel:
        rows = slice(first, last + 1)
        said, seed = opinions_of(arrays, rows), plan.seed + max(member, 0)
        return Panel(plan.cut(first, last), said, terms, momentum=moves[rows], seed=seed)

    for (window, member), result in heard.items():
        if result.failure:
            continue
        asked = names if member == ENSEMBLE else learned
        for w, cut in enumerate(plan.windows):
            if window in (-1, w):
                name = f"{cut.name}, {_member(member)}"
                jobs[cut.name, member] = TradeJob(name, panel(result.arrays, cut.first, cut.last, member), asked)
    spoken = _joined(plan, heard)
    for member, arrays in spoken.items():
        whole = panel(arrays, plan.task.row, plan.bars.n_bars - 1, member)
        asked = names if member == ENSEMBLE else learned
        jobs["whole", member] = TradeJob(f"whole span, {_member(member)}", whole, asked)
        if member == ENSEMBLE:
            for bps in COST_LEVELS_BPS:
                costs = terms.costs._replace(spread_bps=0.0, fee_bps=bps)
                charged = whole._replace(terms=terms._replace(costs=costs))
                jobs[f"cost {bps:g}", member] = TradeJob(f"{bps:g} bps a side", charged, swept)
    return jobs


def _joined(plan: Plan, heard: dict[tuple[int, int], Result]) -> dict[int, dict[str, Any]]:
    """Member -> arrays on all bars; where each window has policies of its own, those of each window in its rows."""
    if not plan.lessons:
        return {member: result.arrays for (_, member), result in heard.items() if not result.failure}
    if any(result.failure for result in heard.values()):
        return {}
    joined = {name: array.copy() for name, array in heard[0, ENSEMBLE].arrays.items()}
    for (w, _), result in heard.items():
        rows = slice(plan.windows[w].first, plan.windows[w].last + 1)
        for name, array in result.arrays.items():
            joined[name][rows] = array[rows]
    return {ENSEMBLE: joined}


def _summaries(bars: Bars, result: Result) -> dict[str, Summary]:
    found = {}
    for name, equity in _equities(result).items():
        notional, paid, _ = result.arrays[f"totals:{name}"]
        found[name] = summarise(
            equity, bars.stamps, bars.bars_per_year, traded_notional=float(notional), costs=float(paid)
        )
    return found


def _equities(result: Result) -> dict[str, FloatArray]:
    """Account -> (T,), in the order in which they were asked for."""
    marked = "equity:"
    return {name.removeprefix(marked): path for name, path in result.arrays.items() if name.startswith(marked)}


def _weigh(
    plan: Plan, heard: dict[tuple[int, int], Result], traded: dict[tuple[str, int], Result], failures: dict[str, str]
) -> Findings:
    bars = plan.task.traded
    whole = traded["whole", ENSEMBLE]
    equity, learned = _equities(whole), learned_accounts(plan.task.config.legs_on())
    returns = {name: simple_returns(path) for name, path in equity.items()}
    wanted = measures(bars.bars_per_year, elapsed_years(bars.stamps))
    regime = _joined(plan, heard)[ENSEMBLE]["regime"][plan.task.row :]
    windows = [
        (cut, _summaries(plan.cut(cut.first, cut.last), result))
        for cut in plan.windows
        if (result := traded.get((cut.name, ENSEMBLE))) is not None and not result.failure
    ]
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
        seeds=[
            Seed(member, name, summary)
            for (cell, member), result in traded.items()
            if cell == "whole" and member != ENSEMBLE and not result.failure
            for name, summary in _summaries(bars, result).items()
        ],
        interquartile=_over_seeds(plan, traded),
        costs=costs,
        break_even=_break_even(costs),
        conditions=conditional_rows(bars, regime, equity),
        overfitting=backtest_overfitting(table) if len(table) >= 64 else None,
        ratios=_ratios(returns, learned, bars.bars_per_year, n_trials),
        n_trials=n_trials,
        failures=failures,
    )


def _over_seeds(plan: Plan, traded: dict[tuple[str, int], Result]) -> dict[tuple[str, str], Interval]:
    """Interquartile means over members and windows; windows are the strata."""
    if plan.lessons or not plan.n_seeds:
        return {}
    rows: list[list[dict[str, Summary]]] = []  # member x window
    for member in range(plan.n_seeds):
        cells = [(plan.cut(w.first, w.last), traded.get((w.name, member))) for w in plan.windows]
        if any(result is None or result.failure for _, result in cells):
            return {}
        rows.append([_summaries(bars, result) for bars, result in cells if result is not None])
    found: dict[tuple[str, str], Interval] = {}
    for name in learned_accounts(plan.task.config.legs_on()):
        for measure in SCORED:
            table = np.array([[getattr(summaries[name], measure) for summaries in row] for row in rows])
            if np.isfinite(table).all():
                found[name, measure] = interquartile_mean_interval(table, seed=plan.seed)
    return found


def _cost_sweep(bars: Bars, traded: dict[tuple[str, int], Result]) -> dict[str, list[Summary]]:
    levels = [traded.get((f"cost {bps:g}", ENSEMBLE)) for bps in COST_LEVELS_BPS]
    if any(level is None or level.failure for level in levels):
        return {}
    tables = [_summaries(bars, level) for level in levels if level is not None]
    return {name: [table[name] for table in tables] for name in tables[0]}


def _break_even(costs: dict[str, list[Summary]]) -> dict[str, float]:
    """Costs a side, bps, at which growth falls to vol-target's (the hybrid, sac) or to nothing (kalman)."""
    if not costs:
        return {}
    hurdle = np.array([summary.cagr for summary in costs["vol-target"]])
    return {
        name: _crossing(np.array([summary.cagr for summary in costs[name]]) - (0.0 if name == "kalman" else hurdle))
        for name in costs
        if name not in HURDLES
    }


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
    moving = {name: series for name, series in returns.items() if series.std() > 0.0}
    spread = float(
        np.std([moving[name].mean() / moving[name].std(ddof=1) for name in learned if name in moving], ddof=1)
    )
    return {
        name: {
            "psr": probabilistic_sharpe(series),
            "dsr": deflated_sharpe(series, n_trials, spread),
            "track_record_years": minimum_track_record(series) / bars_per_year,
        }
        for name, series in moving.items()
    }
