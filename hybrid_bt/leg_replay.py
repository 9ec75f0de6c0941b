"""A whole backtest of recorded legs on arrays: any mix of them, under any limits and costs, without asking them again.

A leg knows nothing of cash, weights or limits, so what it said once stays what it would say. Fusion, limits and the
account run in one loop (`hybrid_bt.fused_account`), equal to the Cerebro run of the same settings at every bar.
A leg alone is the mix that gives it all the weight (`alone`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.accounting import OrderRules
from hybrid_bt.bars import Bars
from hybrid_bt.batch import choose, fused_driver, fused_scenario_driver
from hybrid_bt.costs import Costs
from hybrid_bt.errors import ConfigError
from hybrid_bt.fusion import FusionParams
from hybrid_bt.records import AccountPath, LegPaths
from hybrid_bt.risk import RiskParams
from hybrid_bt.scenarios import (
    Scenarios,
    Terms,
    checked_terms,
    count_scenarios,
    days_of,
    one_path,
    panels_of,
    run_scenarios,
    stack_bars,
    stack_tuples,
)

__all__ = ["constant_weight", "replay_legs", "replay_legs_many"]

FloatArray = NDArray[np.float64]

SECONDS_PER_CELL = 2e-6  # of a bar x symbol, interpreted


def constant_weight(w_sac: float) -> FusionParams:
    """Fusion that does not listen to r: 1 is the SAC leg alone, 0 the Kalman leg alone."""
    return FusionParams(w_sac, w_sac, w_sac)


def replay_legs(
    legs: LegPaths,
    bars: Bars,
    *,
    fusion: FusionParams,
    risk: RiskParams,
    regime: ArrayLike | None = None,
    cash: float = 1_000_000.0,
    costs: Costs = Costs(),  # noqa: B008 (an immutable tuple)
    rules: OrderRules = OrderRules(),  # noqa: B008
    compiled: bool | None = None,
) -> AccountPath:
    """Mix, limit and trade recorded legs as the strategy and Backtrader's broker would.

    Parameters
    ----------
    legs : LegPaths
        T rows, as recorded (`Recorder.legs`).
    bars : Bars
        The same T rows, row 0 being the first decision.
    fusion, risk
        Weights and limits.
    regime : (T,) array_like, optional
        Another path of r than the recorded one.
    cash, costs, rules, compiled
        As in `hybrid_bt.target_replay.replay`.

    Raises
    ------
    ConfigError
        For arrays of another shape or with values that are not finite, or cash, costs or rules out of range.
    """
    arrays = _checked_legs(legs, bars, waiting=bool(legs.waits.any()))
    r = arrays[2] if regime is None else _checked_regime(regime, bars)[0]
    terms = checked_terms(cash, costs, rules)
    fast = choose(compiled, bars.close.size * SECONDS_PER_CELL)
    given = (bars.open, bars.close, days_of(bars), *arrays[:2], r, *arrays[3:])
    inputs = [np.ascontiguousarray(array) if fast else array.tolist() for array in given]
    settings = FusionParams(*map(float, fusion)), RiskParams(*map(float, risk))
    n_bars, n_symbols = bars.close.shape
    return one_path(lambda tape: fused_driver(fast)(*inputs, *settings, *terms, tape), (n_bars, n_symbols))


def replay_legs_many(
    legs: LegPaths | Sequence[LegPaths],
    bars: Bars | Sequence[Bars],
    *,
    fusion: FusionParams | Sequence[FusionParams],
    risk: RiskParams | Sequence[RiskParams],
    regime: ArrayLike | None = None,
    cash: float | Sequence[float] = 1_000_000.0,
    costs: Costs | Sequence[Costs] = Costs(),  # noqa: B008
    rules: OrderRules | Sequence[OrderRules] = OrderRules(),  # noqa: B008
    compiled: bool | None = None,
) -> Scenarios:
    """`replay_legs` for B scenarios, in parallel where compiled.

    Parameters
    ----------
    legs, bars, fusion, risk, cash, costs, rules
        One for all, or one per scenario; panels and legs of one shape.
    regime : (T,) or (B, T) array_like, optional
        Other paths of r than the recorded ones.

    Raises
    ------
    ConfigError
        As `replay_legs`, and where the numbers of scenarios differ.
    """
    panels = panels_of(bars)
    recorded = [legs] if isinstance(legs, LegPaths) else list(legs)
    mixes = [fusion] if isinstance(fusion, FusionParams) else list(fusion)
    limits = [risk] if isinstance(risk, RiskParams) else list(risk)
    prices = stack_bars(panels)
    waiting = any(bool(one.waits.any()) for one in recorded)
    columns = zip(*(_checked_legs(one, panels[0], waiting=waiting) for one in recorded), strict=True)
    arrays = [column[0][np.newaxis] if len(column) == 1 else np.stack(column) for column in columns]
    if regime is not None:
        arrays[2] = _checked_regime(regime, panels[0])
    terms = Terms(cash, costs, rules)
    counts = {"legs": len(recorded), "bars": len(panels), "fusion": len(mixes), "risk": len(limits)}
    n = count_scenarios("replay_legs_many", counts | {"regime": len(arrays[2])} | terms.counts())
    settings = stack_tuples(mixes, n), stack_tuples(limits, n)
    drive = fused_scenario_driver(choose(compiled, n * panels[0].close.size * SECONDS_PER_CELL))
    return run_scenarios(
        lambda *out: drive(*prices, *arrays, *settings, *terms.stacked(n), *out), n, len(panels[0].close)
    )


def _checked_legs(legs: LegPaths, bars: Bars, *, waiting: bool) -> tuple[FloatArray, ...]:
    """sac, kalman, regime, volatility, correlation, waits, C-contiguous; waits of no row where nobody ever waits."""
    shape = bars.close.shape
    return (
        _checked("the SAC leg's targets", legs.sac, shape),
        _checked("the Kalman leg's targets", legs.kalman, shape),
        _checked("regime", legs.regime, shape[:1]),
        _checked("volatility", legs.volatility, shape),
        _checked("correlation", legs.correlation, shape[:1]),
        _checked("waits", legs.waits, shape) if waiting else np.zeros((0, shape[1])),
    )


def _checked_regime(regime: ArrayLike, bars: Bars) -> FloatArray:
    """(1 or B, T)."""
    paths = np.atleast_2d(np.asarray(regime, dtype=np.float64))
    return _checked("regime", paths, (len(paths), len(bars.close)))


def _checked(name: str, values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.shape != shape or not len(array):
        raise ConfigError(f"replay_legs: {name} must be of shape {shape}, not {array.shape}; record it on these bars")
    if not np.isfinite(array).all():
        row = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ConfigError(f"replay_legs: {name} is not finite at {row}; a leg answers with a number on every bar")
    return array
