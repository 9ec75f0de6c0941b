"""A whole backtest: a market in, a `Run` out.

The hybrid is traded by Backtrader's broker, or another engine (`backtest.engines`). Its own equity is re-derived from
its fills (`reconcile`) and its targets are replayed by the accounting twin, which must give the same equity. The
accounts that it is compared with (each leg alone, no gate, no learning) are replayed on the same bars under the same
costs, limits and order rules.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

import numpy as np

from hybrid_bt.account import CELLS_TO_COLLECT, collector_paused, give_back, registry
from hybrid_bt.account.conditional import read_regime
from hybrid_bt.account.reconcile import reconcile
from hybrid_bt.account.records import AccountPath, gap_counts
from hybrid_bt.account.registry import BENCHMARK, EQUAL_WEIGHT, RISK_OFF
from hybrid_bt.backtest.engines import ENGINES, Progress, Reader, Words
from hybrid_bt.bars import Bars, Moment, say_stamp
from hybrid_bt.bars.stamps import Stamps
from hybrid_bt.brain.laid import let_go
from hybrid_bt.brain.limits import Limits
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies
from hybrid_bt.config.facts import Trading, facts_of, in_sample_rows, notes_of, resolved, wall_clock
from hybrid_bt.config.task import Case, Configured, LegGiven, PolicyGiven, prepare
from hybrid_bt.errors import BarsError, check_names
from hybrid_bt.report import Run
from hybrid_bt.report.notebook import shown_progress

if TYPE_CHECKING:
    from hybrid_bt.feeds import Prices


class Stage(Reader, Protocol):
    """Documents read along the bars, such as `hybrid_bt.news.desk.RiskStage`."""

    def facts(self) -> dict[str, Any]: ...
    def notes(self) -> Sequence[str]: ...


class Documents(Protocol):
    """Documents and their scorer, such as `hybrid_bt.news.desk.Desk`."""

    def stage(self, stamps: Stamps, row: int) -> Stage: ...
    def trial(self, config: Config) -> Mapping[str, Any]: ...


class More(TypedDict, total=False):
    """Further words of `run_backtest`."""

    legs: Mapping[str, LegGiven] | None
    policies: Policies | Mapping[str, PolicyGiven] | None
    benchmark: str
    allow_in_sample: bool
    seed: int
    news: Documents | None
    state: Path | None
    engine: str


@collector_paused()
def run_backtest(
    market: Prices = "us20",
    *,
    mode: str = "stable",
    pairs: str | Sequence[str] | None = None,
    config: Configured = None,
    start: Moment | None = None,
    progress: Progress | None = None,
    **more: Unpack[More],
) -> Run:
    """Trade the hybrid through Backtrader's broker and put its baselines beside it: what `hybrid-bt run` does.

    Parameters
    ----------
    market : str, Path, Bars, Market or DataFrame
        A sample ("us20", "tech6"), "yahoo", a folder or file of prices, or prices at hand (`load_bars`).
    mode : "stable" or "aggressive"
        Where every number comes from that nothing else gives.
    pairs : sequence of str, or text "Y:X,..."
        Of the Kalman leg; by default the sample's own, or the market's.
    config : Config, path of a TOML file, or {section: {key: value}}
        The whole configuration, or what is laid over the mode.
    start : date, or text "YYYY-MM-DD"
        First day traded; earlier bars warm up. By default the first one out of sample.
    progress : callable
        Called as `progress(bars_done, bars_in_all)`; by default a notebook draws a bar.
    legs : mapping
        Place ("sac", "kalman", or a leg of the configuration) -> a leg of your own, as `HybridStrategy` takes it.
    policies : mapping
        "sac" or "gate" -> a frozen policy, its file, or a function of observations.
    benchmark : str
        Buy and hold of "equal-weight" parts (default), or of a symbol.
    allow_in_sample : bool
        Trade bars that the policies were trained on; the result is marked.
    seed : int
        Recorded; a run draws no random numbers.
    news : hybrid_bt.news.desk.Desk
        Documents and their scorer; without, there is no risk manager.
    state : Path
        File that the strategy's state is kept in, and gone on from if it is there.
    engine : "backtrader", "replay" or "both"
        Whose account: that at Backtrader's broker; its twin on arrays, the same to the byte and sooner; or Backtrader's
        after a comparison of the two, bar by bar.

    Raises
    ------
    HybridError
        For bars, pairs, policies or spans that cannot be traded; `ReconciliationError` if an account does not add up.

    Examples
    --------
    >>> run = run_backtest("us20", start="2021-01-04")
    >>> print(f"{run.accounts['hybrid'].equity[-1]:,.2f}")
    1,234,235.88
    """
    began = time.perf_counter()
    check_names(more, {*More.__annotations__, *(run_backtest.__kwdefaults__ or {})}, "run_backtest: there is no")
    from hybrid_bt.feeds import as_market

    engine = more.get("engine", "backtrader")
    check_names([engine], ENGINES, "engine: there is no")
    chosen, benchmark = as_market(market, pairs, trade_from=start), more.get("benchmark", EQUAL_WEIGHT)
    if benchmark != EQUAL_WEIGHT:
        check_names([benchmark], chosen.bars.symbols, "benchmark: not among the symbols traded:")
    from hybrid_bt.strategies import seated

    own: dict[str, Any] = {"policies": more.get("policies"), "legs": seated(more.get("legs"))}
    task = prepare(chosen, mode, config=config, start=start, allow_in_sample=more.get("allow_in_sample", False), **own)
    desk = more.get("news")
    stage = None if desk is None else desk.stage(chosen.bars.stamps, task.row)
    with shown_progress(f"{chosen.name}, {mode}", progress) as told:
        trading = ENGINES[engine](task, Words(told, stage, more.get("state")))
    is_large = chosen.bars.close.size > CELLS_TO_COLLECT
    if is_large:  # a Cerebro that is over is all cycles
        give_back()
    said = resolved(task, benchmark, more.get("seed", 0), None if desk is None else desk.trial(task.config))
    run = _run(task, trading, benchmark, stage, said, engine)
    run.facts["wall_clock"] = wall_clock(time.perf_counter() - began, trading.resumed_after)
    del trading  # opinions are as much as what was made of them
    if is_large:
        give_back()
    return run


def _run(
    task: Case, trading: Trading, benchmark: str, stage: Stage | None, resolved: dict[str, Any], engine: str
) -> Run:
    """Everything that stands beside the hybrid's account, and what is to be said of it."""
    traded, config, hybrid = task.traded, task.config, trading.account
    decisions, pairs = trading.decisions, trading.pairs
    accounts = _accounts(task, trading, benchmark, traded, managed=stage is not None)
    gap = 0.0 if engine == "replay" else registry.replay_gap(config.terms(), decisions, traded, hybrid)
    in_sample = in_sample_rows(task, traded)
    gaps = gap_counts(traded, decisions, pairs, task.market.columns, hybrid)
    is_gated = task.policies.gate is not None
    regime = decisions.managed.regime if decisions.managed else decisions.regime
    return Run(
        bars=traded,
        accounts=accounts,
        decisions=decisions,
        limits=Limits(trading.opinions, config.lines(), config.risk, regime),
        pairs=pairs,
        entry_z=config.pair_rules.entry_z,
        exit_z=config.pair_rules.exit_z,
        benchmark=EQUAL_WEIGHT if benchmark == EQUAL_WEIGHT else BENCHMARK,
        start_value=config.account.cash,
        in_sample=in_sample,
        config=resolved,
        facts={
            **facts_of(task, trading),
            "engine": engine,
            "seed": resolved["seed"],
            "replay_difference": gap,
            "gaps": gaps,
            "regime": read_regime(decisions.regime, decisions.market)._asdict() if is_gated else None,
            **(stage.facts() if stage else {}),
        },
        notes=(*notes_of(task, trading, in_sample, gaps), *(stage.notes() if stage else ())),
    )


def _accounts(task: Case, trading: Trading, benchmark: str, traded: Bars, *, managed: bool) -> dict[str, AccountPath]:
    """The hybrid's, and those beside it; each is derived again from its own fills."""
    terms, names = task.config.terms(), task.leg_accounts()
    said = trading.opinions.called(names)
    panel = registry.Panel(traded, said, terms, benchmark=benchmark)
    beside = [*registry.run_accounts(list(names.values()), benchmark), *([RISK_OFF] if managed else [])]
    accounts = {"hybrid": trading.account} | {name: registry.account(panel, name) for name in beside}
    for name, path in accounts.items():
        if not np.isfinite(path.equity).all():
            bar = say_stamp(traded.stamps[int(np.flatnonzero(~np.isfinite(path.equity))[0])])
            raise BarsError(f"account {name}: equity is not finite on {bar}; check the prices of that day")
        reconcile(path, traded, terms.cash)
    let_go()
    return accounts
