"""A whole backtest: bars in, `RunRecord` out. The one place outside the adapters that builds a Cerebro.

The hybrid is traded by Backtrader's broker. Its own equity is re-derived from its fills (`reconcile`) and its targets
are replayed by the accounting twin, which must give the same equity. The accounts that it is compared with (each leg
alone, no gate, no learning) are replayed on the same bars under the same costs, limits and order rules.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import __version__
from hybrid_bt.accounting import OrderRules
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies, resolve_pairs, training_end
from hybrid_bt.config import Config
from hybrid_bt.costs import Costs
from hybrid_bt.errors import BarsError, InSampleError
from hybrid_bt.features import WARMUP_BARS
from hybrid_bt.kalman import KalmanParams, fit
from hybrid_bt.reconcile import reconcile
from hybrid_bt.recording import Recorder
from hybrid_bt.records import AccountPath, Decisions, LegPaths, RunRecord
from hybrid_bt.replay import replay
from hybrid_bt.replay_legs import constant_weight, replay_legs

__all__ = ["PARITY_TOLERANCE", "Request", "backtest", "first_trading_row", "fit_pairs", "trade"]

PARITY_TOLERANCE = 1e-9  #: relative difference allowed between Backtrader's equity and its replay
EQUAL_WEIGHT = "equal-weight"
BENCHMARK = "benchmark"
FULLY_INVESTED = 0.97  #: a buy-and-hold account keeps this little in cash, so that a gap does not cost it an order
_VERSIONED = ("backtrader", "numpy", "onnxruntime", "pandas", "quantstats")


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


def order_rules(config: Config) -> OrderRules:
    """When a target becomes an order."""
    return OrderRules(config.account.lot, config.account.eps_trade, config.account.rebalance_band)


def costs_of(config: Config) -> Costs:
    """Costs of every account of a run."""
    return Costs(leverage=config.account.leverage, **config.costs.model_dump())


def first_trading_row(
    bars: Bars, trained_until: date | None, start: date | None = None, allow_in_sample: bool = False
) -> int:
    """Row of the first decision.

    Parameters
    ----------
    trained_until : date or None
        Last day that a policy was trained on.
    start : date, optional
        Asked for by the user; by default the first bar behind the training span on which the features are warm.

    Raises
    ------
    InSampleError
        If the start lies in the training span, or no bar lies behind it, and `allow_in_sample` is False.
    BarsError
        If there are fewer bars than the features need, or none from `start` on.
    """
    if bars.n_bars <= WARMUP_BARS + 1:
        raise BarsError(
            f"bars: {bars.name} has {bars.n_bars} bars up to {_day(bars, -1)}; the features need {WARMUP_BARS + 1} "
            "to warm up and one more to trade; give a longer history"
        )
    warm = WARMUP_BARS  # row 252 has seen 252 returns
    free = 0
    if trained_until is not None and not allow_in_sample:
        free = int(np.searchsorted(bars.stamps, np.datetime64(trained_until) + 1))
        if free >= bars.n_bars:
            raise InSampleError(
                f"all bars of {bars.name} (to {_day(bars, -1)}) lie in the policies' training span, which ends "
                f"{trained_until}; give later bars, other policies, or --allow-in-sample, which marks every output"
            )
    row = max(free, warm) if start is None else _row_of(bars, start)
    if row < free:
        raise InSampleError(
            f"start {start} lies in the policies' training span, which ends {trained_until}; start on "
            f"{_day(bars, max(free, warm))} or later, or give --allow-in-sample, which marks every output"
        )
    if row < warm:
        raise BarsError(
            f"start {start} leaves {row} bars to warm up, {WARMUP_BARS} are needed; start on {_day(bars, warm)} "
            "or later, or give an earlier history"
        )
    if row > bars.n_bars - 2:
        raise BarsError(
            f"bars: {bars.name} has {bars.n_bars - row} bar(s) from {_day(bars, row)} on; a decision needs one more "
            "bar to fill on; give later bars or an earlier start"
        )
    return row


def _row_of(bars: Bars, start: date) -> int:
    row = int(np.searchsorted(bars.stamps, np.datetime64(start)))
    if row >= bars.n_bars:
        raise BarsError(
            f"start {start} is after the last bar of {bars.name}, {_day(bars, -1)}; choose an earlier start"
        )
    return row


def _day(bars: Bars, row: int) -> str:
    return str(bars.stamps[row].astype("datetime64[D]"))


def fit_pairs(bars: Bars, pairs: Sequence[str], start_row: int, config: Config) -> list[KalmanParams]:
    """Noise variances of each pair by maximum likelihood on the bars before `start_row`, never after.

    Raises
    ------
    BarsError
        If a pair has fewer common bars before the start than the features need.
    """
    found = []
    for name, (y, x) in zip(pairs, resolve_pairs(pairs, bars.symbols), strict=True):
        both = np.flatnonzero(bars.traded[:start_row, y] & bars.traded[:start_row, x])
        if both.size < WARMUP_BARS:
            raise BarsError(
                f"pair {name}: {both.size} common bars before the trading start, {WARMUP_BARS} are needed to fit; "
                "drop --fit-kalman or start later"
            )
        found.append(fit(np.log(bars.close[both, y]), np.log(bars.close[both, x]), config.kalman_params()))
    return found


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
    bars, config = request.bars, request.config
    resolve_pairs((*request.pairs,), bars.symbols)
    if request.benchmark != EQUAL_WEIGHT:
        bars.index_of(request.benchmark)
    trained_until = training_end(request.policies)
    row = first_trading_row(bars, trained_until, request.start, request.allow_in_sample)
    fitted = fit_pairs(bars, request.pairs, row, config) if config.kalman.fit else None
    recorder, hybrid, clipped = trade(request, row, fitted, progress)
    traded = bars.between(bars.stamps[row], None)
    decisions = recorder.decisions(row)
    accounts = {"hybrid": hybrid} | _baselines(request, traded, recorder, row)
    for name, account in accounts.items():
        _check_account(name, account, traded, config.account.cash, _costs_of_account(name, config).leverage)
    gap = _replay_gap(request, traded, decisions, hybrid)
    in_sample = _in_sample(traded, trained_until)
    benchmark = EQUAL_WEIGHT if request.benchmark == EQUAL_WEIGHT else BENCHMARK
    return RunRecord(
        bars=traded,
        accounts=accounts,
        decisions=decisions,
        pairs=recorder.pairs(row),
        entry_z=config.kalman.entry_z,
        exit_z=config.kalman.exit_z,
        benchmark=benchmark,
        start_value=config.account.cash,
        in_sample=in_sample,
        config=_resolved(request, fitted),
        facts=_facts(request, traded, row, trained_until, gap, clipped),
        notes=_notes(request, traded, in_sample, accounts),
    )


def trade(
    request: Request, row: int, fitted: list[KalmanParams] | None, progress: Callable[[int, int], None] | None
) -> tuple[Recorder, AccountPath, dict[str, int]]:
    """Run the strategy through Cerebro on all bars, trading from `row` on."""
    import backtrader as bt

    from hybrid_bt.analyzers import Ledger
    from hybrid_bt.feeds import to_feeds
    from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission

    bars, config = request.bars, request.config
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(config.account.cash)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(costs_of(config)))
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    done = 0

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
        record=True,
        on_bar=on_bar,
    )
    cerebro.addanalyzer(Ledger, start=row, _name="ledger")
    (strategy,) = cerebro.run()
    if done != bars.n_bars:
        raise BarsError(
            f"bars: Backtrader ran {done} of {bars.n_bars} bars of {bars.name}; check the calendar of the data"
        )
    parts = {"sac": strategy.brain.sac, "gate": strategy.brain.gate}
    clipped = {name: part.policy.clipped_count for name, part in parts.items() if part is not None}
    return strategy.recorder, strategy.analyzers.ledger.path(), clipped


def _baselines(request: Request, traded: Bars, recorder: Recorder, row: int) -> dict[str, AccountPath]:
    """Accounts that say what each part added, in the order of the summary."""
    config, legs = request.config, recorder.legs(row)
    fusion, risk, rules = config.fusion_params(), config.risk_params(), order_rules(config)

    def mixed(paths: LegPaths, w_sac: float) -> AccountPath:
        weights, costs = constant_weight(w_sac), costs_of(config)
        return replay_legs(paths, traded, fusion=weights, risk=risk, cash=config.account.cash, costs=costs, rules=rules)

    def held(columns: NDArray[np.intp]) -> AccountPath:
        costs = _costs_of_account(EQUAL_WEIGHT, config)
        return replay(_held(traded, columns), traded, cash=config.account.cash, costs=costs, rules=rules)

    found: dict[str, AccountPath] = {}
    if config.sac.enabled:
        found["sac"] = mixed(legs, 1.0)
    if config.kalman.enabled:
        found["kalman"] = mixed(legs, 0.0)
    both = config.sac.enabled and config.kalman.enabled
    found["gate-off"] = mixed(legs, fusion.at_neutral if both else float(config.sac.enabled))
    found[EQUAL_WEIGHT] = held(np.flatnonzero(traded.traded[0]))
    found["vol-target"] = mixed(replace(legs, sac=_equal_weights(recorder, row)), 1.0)
    if request.benchmark != EQUAL_WEIGHT:
        found[BENCHMARK] = held(np.array([traded.index_of(request.benchmark)]))
    return found


def _costs_of_account(name: str, config: Config) -> Costs:
    """Costs of an account; what is bought and held is never levered, so it pays no financing either."""
    return costs_of(config)._replace(leverage=1.0) if name in (EQUAL_WEIGHT, BENCHMARK) else costs_of(config)


def _held(traded: Bars, columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """Targets that buy some symbols on the first row, unlevered, and never trade again (NaN: keep what is held)."""
    targets = np.full(traded.close.shape, np.nan)
    targets[0] = 0.0
    targets[0, columns] = FULLY_INVESTED / max(len(columns), 1)
    return targets


def _equal_weights(recorder: Recorder, row: int) -> NDArray[np.float64]:
    """1/n in each symbol that is warm, on every bar."""
    warm = recorder.warm(row)
    weights: NDArray[np.float64] = warm / np.maximum(warm.sum(axis=1, keepdims=True), 1)
    return weights


def _check_account(name: str, account: AccountPath, traded: Bars, cash: float, leverage: float) -> None:
    if not np.isfinite(account.equity).all():
        bar = _day(traded, int(np.flatnonzero(~np.isfinite(account.equity))[0]))
        raise BarsError(f"account {name}: equity is not finite on {bar}; check the prices of that day")
    reconcile(account, traded, cash, leverage=leverage)


def _replay_gap(request: Request, traded: Bars, decisions: Decisions, hybrid: AccountPath) -> float:
    """Largest relative difference between Backtrader's equity and the twin's for the same targets."""
    config = request.config
    twin = replay(decisions.target, traded, cash=config.account.cash, costs=costs_of(config), rules=order_rules(config))
    return float(np.max(np.abs(twin.equity - hybrid.equity)) / config.account.cash)


def _in_sample(traded: Bars, trained_until: date | None) -> NDArray[np.bool_]:
    if trained_until is None:
        return np.zeros(traded.n_bars, dtype=np.bool_)
    marked: NDArray[np.bool_] = traded.stamps < np.datetime64(trained_until) + 1
    return marked


def _resolved(request: Request, fitted: list[KalmanParams] | None) -> dict[str, Any]:
    """The whole configuration as plain data."""
    return {
        "mode": request.mode,
        "data": request.bars.name,
        "symbols": list(request.bars.symbols),
        "pairs": list(request.pairs),
        "start": None if request.start is None else request.start.isoformat(),
        "benchmark": request.benchmark,
        "allow_in_sample": request.allow_in_sample,
        "seed": request.seed,
        **request.config.model_dump(mode="json"),
        "kalman_fitted": None
        if fitted is None
        else {p: q._asdict() for p, q in zip(request.pairs, fitted, strict=True)},
    }


def _facts(
    request: Request, traded: Bars, row: int, trained_until: date | None, gap: float, clipped: dict[str, int]
) -> dict[str, Any]:
    return {
        "versions": {
            "hybrid_bt": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _VERSIONED},
        },
        "data_sha256": request.bars.sha256,
        "policies": {
            name: {"file": getattr(request.config, name).file, "sha256": policy.sha256}
            for name, policy in request.policies.loaded().items()
        },
        "spans": {
            "data": [_day(request.bars, 0), _day(request.bars, -1)],
            "warm_up_bars": row,
            "trading": [_day(traded, 0), _day(traded, -1)],
            "policies_trained_until": None if trained_until is None else trained_until.isoformat(),
        },
        "bars_per_year": traded.bars_per_year,
        "replay_difference": gap,
        "clipped_observations": clipped,
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
    if request.config.kalman.enabled and not request.pairs:
        notes.append("No pairs were given, so the Kalman leg is idle; name some with --pairs Y:X.")
    if accounts["hybrid"].rejected:
        notes.append(f"{accounts['hybrid'].rejected} orders of the hybrid were rejected for want of cash.")
    return tuple(notes)
