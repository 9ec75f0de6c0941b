"""A whole backtest on arrays, equal to the Cerebro run of the same targets at every bar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.accounting import OrderRules
from hybrid_bt.bars import Bars
from hybrid_bt.batch import account_driver, choose, scenario_driver
from hybrid_bt.costs import Costs
from hybrid_bt.errors import ConfigError
from hybrid_bt.records import AccountPath
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
)

__all__ = ["Scenarios", "replay", "replay_many"]

SECONDS_PER_CELL = 1e-6  # of a bar x symbol, interpreted


def replay(
    targets: ArrayLike,
    bars: Bars,
    *,
    cash: float = 1_000_000.0,
    costs: Costs = Costs(),  # noqa: B008 (an immutable tuple)
    rules: OrderRules = OrderRules(),  # noqa: B008
    compiled: bool | None = None,
) -> AccountPath:
    """Trade `targets` on `bars` as Backtrader's broker would.

    Parameters
    ----------
    targets : (T, N) array_like
        Signed fractions of equity wanted at the close of each row; NaN keeps what is held. An order fills at the
        open of its symbol's next bar. Targets of symbols without a bar on the row are not read.
    bars : Bars
        T rows, row 0 being the first decision.
    cash : float
        Start value.
    compiled : bool, optional
        Run under numba (same bits). By default where the work is worth loading it.

    Raises
    ------
    ConfigError
        For targets of another shape or infinite ones, or cash, costs or rules out of range.
    """
    wanted = _checked_targets(targets, bars)
    if wanted.ndim != 2:
        raise ConfigError(f"replay: targets must be (T, N), not {wanted.shape}; replay_many takes scenarios")
    terms = checked_terms(cash, costs, rules)
    fast = choose(compiled, wanted.size * SECONDS_PER_CELL)
    arrays = (bars.open, bars.close, days_of(bars), wanted)
    inputs = [np.ascontiguousarray(array) if fast else array.tolist() for array in arrays]
    n_bars, n_symbols = wanted.shape
    return one_path(lambda tape: account_driver(fast)(*inputs, *terms, tape), (n_bars, n_symbols))


def replay_many(
    targets: ArrayLike,
    bars: Bars | Sequence[Bars],
    *,
    cash: float | Sequence[float] = 1_000_000.0,
    costs: Costs | Sequence[Costs] = Costs(),  # noqa: B008
    rules: OrderRules | Sequence[OrderRules] = OrderRules(),  # noqa: B008
    compiled: bool | None = None,
) -> Scenarios:
    """`replay` for B scenarios, in parallel where compiled.

    Parameters
    ----------
    targets : (T, N) or (B, T, N) array_like
        Shared, or one per scenario; likewise `bars` (bootstrapped ones, of one shape), `cash`, `costs` and `rules`.

    Raises
    ------
    ConfigError
        As `replay`, and where the numbers of scenarios differ.
    """
    panels = panels_of(bars)
    opens, closes, days = stack_bars(panels)
    wanted = _checked_targets(targets, panels[0])
    wanted = wanted[np.newaxis] if wanted.ndim == 2 else wanted
    terms = Terms(cash, costs, rules)
    n = count_scenarios("replay_many", {"targets": len(wanted), "bars": len(panels), **terms.counts()})
    drive = scenario_driver(choose(compiled, n * wanted[0].size * SECONDS_PER_CELL))
    return run_scenarios(lambda *out: drive(opens, closes, days, wanted, *terms.stacked(n), *out), n, wanted.shape[1])


def _checked_targets(targets: ArrayLike, bars: Bars) -> NDArray[np.float64]:
    wanted = np.ascontiguousarray(targets, dtype=np.float64)
    if wanted.ndim not in (2, 3) or wanted.shape[-2:] != bars.close.shape or not len(wanted):
        raise ConfigError(f"replay: targets must be bars x symbols, {bars.close.shape}, not {wanted.shape}")
    if np.isinf(wanted).any():
        *_, row, column = np.argwhere(np.isinf(wanted))[0]
        where = f"{bars.symbols[column]} {bars.stamps[row]}"
        raise ConfigError(f"replay: the target of {where} is infinite; give a fraction of equity, or NaN to hold")
    return wanted
