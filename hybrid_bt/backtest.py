"""A whole backtest: bars in, `RunRecord` out. The one place outside the adapters that builds a Cerebro.

The hybrid is traded by Backtrader's broker. Its own equity is re-derived from its fills (`reconcile`) and its targets
are replayed by the accounting twin, which must give the same equity. The accounts that it is compared with (each leg
alone, no gate, no learning) are replayed on the same bars under the same costs, limits and order rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounts import BENCHMARK, EQUAL_WEIGHT, RISK_OFF, Panel, account, leverage_of, run_accounts
from hybrid_bt.bar_rate import is_intraday
from hybrid_bt.bars import Bars, instant, say_stamp
from hybrid_bt.build import Policies, resolve_pairs, training_end
from hybrid_bt.collector import collector_paused
from hybrid_bt.config import Config
from hybrid_bt.errors import BarsError, ReconciliationError
from hybrid_bt.evidence.conditional import read_regime
from hybrid_bt.findings import counters
from hybrid_bt.guard import guard_notes
from hybrid_bt.kalman import KalmanParams
from hybrid_bt.reconcile import reconcile
from hybrid_bt.recording import Recorder
from hybrid_bt.records import AccountPath, Decisions, RunRecord
from hybrid_bt.target_replay import replay
from hybrid_bt.trading_start import first_trading_row, fit_pairs
from hybrid_bt.waiting import gap_counts, gap_notes

if TYPE_CHECKING:
    from hybrid_bt.news.desk import Desk
    from hybrid_bt.news.stage import RiskStage

PARITY_TOLERANCE = 1e-9  #: relative difference allowed between Backtrader's equity and its replay
_VERSIONED = ("pandas", "quantstats")  #: beside those that the report names itself


class Request(NamedTuple):
    """What is to be backtested."""

    bars: Bars  #: warm-up and trading bars
    config: Config
    policies: Policies
    pairs: tuple[str, ...] = ()
    start: date | None = None  #: first bar traded; None takes the first that may be
    benchmark: str = EQUAL_WEIGHT  #: or a symbol
    allow_in_sample: bool = False
    seed: int = 0
    mode: str = "stable"
    news: Desk | None = None  #: documents and their scorer; None leaves the risk manager out
    state: Path | None = None  #: file that the strategy's state is kept in, and gone on from if it is there


class Task(NamedTuple):
    """A request and what its bars say of it."""

    request: Request  #: its configuration knows the bars per year
    row: int  #: of the first decision
    trained_until: date | None  #: last day that a policy was trained on
    fitted: list[KalmanParams] | None = None  #: of each pair, if they are to be fitted


class Trading(NamedTuple):
    """What comes out of a Cerebro."""

    recorder: Recorder
    row: int  #: in the recorder, of the first bar traded
    account: AccountPath
    clipped: dict[str, int]  #: policy -> observation values out of range
    guard: dict[str, Any]  #: triggers, their first bars, failures; empty if nothing stood in the way
    resumed_after: str  #: stamp of the last bar that came from the state; empty if none did


def prepare(request: Request) -> Task:
    """Where trading may begin, and what is calibrated before it.

    Raises
    ------
    HybridError
        For bars, pairs or spans that cannot be traded.
    """
    bars = request.bars
    resolve_pairs(request.pairs, bars.symbols)
    if request.benchmark != EQUAL_WEIGHT:
        bars.index_of(request.benchmark)
    trained_until = training_end(request.policies)
    row = first_trading_row(bars, trained_until, request.start, request.allow_in_sample)
    config = request.config.for_stamps(bars.stamps[:row])
    fitted = fit_pairs(bars, request.pairs, row, config) if config.kalman.fit else None
    return Task(request._replace(config=config), row, trained_until, fitted)


@collector_paused()
def backtest(request: Request, progress: Callable[[int, int], None] | None = None) -> RunRecord:
    """Trade the hybrid through Backtrader's broker and put its baselines beside it.

    Parameters
    ----------
    progress : callable, optional
        Called as `progress(bars_done, bars_in_all)`.

    Raises
    ------
    HybridError
        For bars, pairs or spans that cannot be traded; `ReconciliationError` if an account does not add up.
    """
    began = time.perf_counter()
    task = prepare(request)
    request, row, trained_until, _ = task
    bars, config = request.bars, request.config
    stage = None if request.news is None else request.news.stage(bars.stamps, row)
    traded_through = trade(task, progress, stage)
    recorder, hybrid = traded_through.recorder, traded_through.account
    traded = bars.between(bars.stamps[row], None)
    decisions = recorder.decisions(traded_through.row)
    panel = Panel(traded, recorder.opinions(traded_through.row), config, config.costs, benchmark=request.benchmark)
    beside = [*run_accounts(config, request.benchmark), *([] if stage is None else [RISK_OFF])]
    accounts = {"hybrid": hybrid} | {name: account(panel, name) for name in beside}
    for name, path in accounts.items():
        _check_account(name, path, traded, config.account.cash, leverage_of(name, config))
    gap = _replay_gap(request, traded, decisions, hybrid)
    pairs = recorder.pairs(traded_through.row)
    gaps = gap_counts(traded, decisions, pairs, resolve_pairs(request.pairs, bars.symbols), hybrid)
    in_sample = _in_sample(traded, trained_until)
    reading = read_regime(decisions.regime, bars, row)._asdict() if request.policies.gate else None
    benchmark = EQUAL_WEIGHT if request.benchmark == EQUAL_WEIGHT else BENCHMARK
    facts = {
        **_facts(task, gap, traded_through, time.perf_counter() - began),
        "gaps": gaps,
        **(stage.facts() if stage else {}),
        "regime": reading,
        "annualisation": {"reports": traded.bars_per_year, "decisions": config.risk.bars_per_year},
    }
    return RunRecord(
        bars=traded,
        accounts=accounts,
        decisions=decisions,
        pairs=pairs,
        entry_z=config.pair_rules.entry_z,
        exit_z=config.pair_rules.exit_z,
        benchmark=benchmark,
        start_value=config.account.cash,
        in_sample=in_sample,
        config=_resolved(task),
        facts=facts,
        notes=(
            *_notes(request, traded, in_sample, accounts),
            *gap_notes(gaps),
            *guard_notes(config.guard, traded_through.guard),
            *(stage.notes() if stage else ()),
        ),
    )


def trade(task: Task, progress: Callable[[int, int], None] | None = None, stage: RiskStage | None = None) -> Trading:
    """Run the strategy through Cerebro, trading from the task's row on.

    Where every symbol has a bar on that row, earlier bars reach the strategy as an array: its recursions read them,
    and there was nothing in them for a broker to do. A state keeps all of its bars, so it needs them as bars.
    """
    from hybrid_bt.analyzers import Ledger
    from hybrid_bt.feeds import to_feeds
    from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission
    from hybrid_bt.strategies.framework import bt

    request, row, _, fitted = task
    bars, config = request.bars, request.config
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(config.account.cash)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
    skipped = row if request.state is None and bars.traded[row].all() else 0
    for feed in to_feeds(bars.between(bars.stamps[skipped], None)):
        cerebro.adddata(feed, name=feed._name)
    done = skipped

    def on_bar() -> None:
        nonlocal done
        done += 1
        if progress is not None and done % 64 == 0:
            progress(done, bars.n_bars)

    cerebro.addstrategy(
        HybridStrategy,
        config=config,
        pairs=request.pairs,
        policies=request.policies,
        kalman_params=fitted,
        trade_from=bars.stamps[row].astype("datetime64[us]").item(),
        allow_in_sample=request.allow_in_sample,
        history=bars.close[:skipped] if skipped else None,
        news=stage,
        record=True,
        state=request.state,
        on_bar=on_bar,
    )
    cerebro.addanalyzer(Ledger, start=row - skipped, _name="ledger")
    with collector_paused():
        (strategy,) = cerebro.run()
    if done != bars.n_bars:
        raise BarsError(
            f"bars: Backtrader ran {done} of {bars.n_bars} bars of {bars.name}; check the calendar of the data"
        )
    return Trading(
        strategy.recorder,
        row - skipped,
        strategy.analyzers.ledger.path(),
        strategy.clipped_observations,
        strategy.guard.report(),
        strategy.resumed_after,
    )


def _check_account(name: str, account: AccountPath, traded: Bars, cash: float, leverage: float) -> None:
    if not np.isfinite(account.equity).all():
        bar = say_stamp(traded.stamps[int(np.flatnonzero(~np.isfinite(account.equity))[0])])
        raise BarsError(f"account {name}: equity is not finite on {bar}; check the prices of that day")
    reconcile(account, traded, cash, leverage=leverage)


def _replay_gap(request: Request, traded: Bars, decisions: Decisions, hybrid: AccountPath) -> float:
    """Largest difference between Backtrader's equity and the twin's for the same targets, relative to the start."""
    config = request.config
    cash, costs, rules = config.account.cash, config.costs, config.order_rules
    twin = replay(decisions.sent, traded, cash=cash, costs=costs, rules=rules)
    gaps = np.abs(twin.equity - hybrid.equity) / cash
    row = int(np.argmax(gaps))
    if gaps[row] > PARITY_TOLERANCE:
        raise ReconciliationError(
            f"parity: on {say_stamp(traded.stamps[row])} Backtrader's equity is {hybrid.equity[row]!r}, its replay's "
            f"{twin.equity[row]!r}; please report this with the data and `hybrid-bt parity`"
        )
    return float(gaps[row])


def _in_sample(traded: Bars, trained_until: date | None) -> NDArray[np.bool_]:
    if trained_until is None:
        return np.zeros(traded.n_bars, dtype=np.bool_)
    return np.asarray(traded.stamps <= instant(trained_until, whole=True))


def _resolved(task: Task) -> dict[str, Any]:
    """The whole configuration as plain data."""
    request, fitted = task.request, task.fitted
    variances = None if fitted is None else {p: q._asdict() for p, q in zip(request.pairs, fitted, strict=True)}
    return {
        "mode": request.mode,
        "data": request.bars.name,
        "symbols": list(request.bars.symbols),
        "pairs": list(request.pairs),
        "start": None if request.start is None else request.start.isoformat(),
        "benchmark": request.benchmark,
        "allow_in_sample": request.allow_in_sample,
        "seed": request.seed,
        **request.config.numbers(),
        **({"news": request.news.trial(request.config)} if request.news else {}),
        "kalman_fitted": variances,
    }


def _facts(task: Task, gap: float, trading: Trading, seconds: float) -> dict[str, Any]:
    """What `run.json` says beside the configuration and the result."""
    request, row, trained_until, _ = task
    bars = request.bars
    return {
        "seed": request.seed,
        "versions": {name: metadata.version(name) for name in _VERSIONED},
        "data": {
            "sha256": bars.sha256,
            "start": say_stamp(bars.stamps[0]),
            "end": say_stamp(bars.stamps[-1]),
            "findings": counters(bars.findings),
        },
        "policies": {
            name: {"file": getattr(request.config, name).file, "sha256": policy.sha256}
            for name, policy in request.policies.loaded().items()
        },
        "span": {
            "warm_up_bars": row,
            "policies_trained_until": None if trained_until is None else trained_until.isoformat(),
        },
        "replay_difference": gap,
        "clipped_observations": trading.clipped,
        **({"guard": trading.guard} if trading.guard else {}),
        "wall_clock": {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "backtest_seconds": seconds,
            **({"resumed_after": trading.resumed_after} if trading.resumed_after else {}),
        },
    }


def _notes(
    request: Request, traded: Bars, in_sample: NDArray[np.bool_], accounts: dict[str, AccountPath]
) -> tuple[str, ...]:
    notes = list(request.bars.notes)
    if in_sample.any():
        notes.append(
            f"IN-SAMPLE: {int(in_sample.sum())} of {traded.n_bars} bars lie in the policies' training span; "
            "this is no out-of-sample result."
        )
    if is_intraday(traded.stamps):
        notes.append(
            f"Intraday bars: decisions take {request.config.risk.bars_per_year:.0f} bars a year, as counted before "
            "trading. Memories and pair rules count in bars; the shipped modes and policies were made for daily ones."
        )
    if request.config.kalman.enabled and not request.pairs:
        notes.append("No pairs were given, so the Kalman leg is idle; name some with --pairs Y:X.")
    if accounts["hybrid"].rejected:
        notes.append(f"{accounts['hybrid'].rejected} orders of the hybrid were rejected for want of cash.")
    return tuple(notes)
