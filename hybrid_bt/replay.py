"""A whole backtest on arrays, equal to the Cerebro run of the same targets at every bar."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.accounting import Account, OrderRules, Tape, checked_rules
from hybrid_bt.bars import Bars
from hybrid_bt.batch import account_driver, have_numba, scenario_driver
from hybrid_bt.costs import Costs, checked_costs
from hybrid_bt.errors import ConfigError
from hybrid_bt.records import AccountPath, Fill

__all__ = ["Scenarios", "replay", "replay_many"]

FloatArray = NDArray[np.float64]

# Interpreted, a cell (bar x symbol) takes about a microsecond; loading numba and its cached code about a second.
CELLS_WORTH_COMPILING = 1_000_000
FIRST_FILLS = 1_000_000  # room for fills on the first attempt


@dataclass(frozen=True, eq=False)
class Scenarios:
    """B accounts, bar by bar, with their totals."""

    cash: FloatArray  #: (B, T)
    equity: FloatArray  #: (B, T), as marked at each close
    commission: FloatArray  #: (B,) paid in all
    interest: FloatArray  #: (B,) paid in all
    fills: NDArray[np.int64]  #: (B,)
    rejected: NDArray[np.int64]  #: (B,)
    ruined: NDArray[np.bool_]  #: (B,) equity was <= 0 at some close


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
        Run under numba (same bits). By default where numba is loaded already, or the work is worth loading it.

    Raises
    ------
    ConfigError
        For targets of another shape or infinite ones, or cash, costs or rules out of range.
    """
    wanted = _checked_targets(targets, bars)
    if wanted.ndim != 2:
        raise ConfigError(f"replay: targets must be (T, N), not {wanted.shape}; replay_many takes scenarios")
    money, charged, ruled = _checked_cash(cash), checked_costs(costs), checked_rules(rules)
    fast = _choose(compiled, wanted.size)
    arrays = (bars.open, bars.close, _days(bars), wanted)
    inputs = [np.ascontiguousarray(array) if fast else array.tolist() for array in arrays]
    room = min(wanted.size, FIRST_FILLS)
    while True:
        tape = _blank_tape(wanted.shape, room)
        end = account_driver(fast)(*inputs, money, charged, ruled, tape)
        if end.fills <= room:
            return _as_path(end, tape)
        room = end.fills


def replay_many(
    targets: ArrayLike,
    bars: Bars,
    *,
    cash: float | Sequence[float] = 1_000_000.0,
    costs: Costs | Sequence[Costs] = Costs(),  # noqa: B008
    rules: OrderRules | Sequence[OrderRules] = OrderRules(),  # noqa: B008
    compiled: bool | None = None,
) -> Scenarios:
    """`replay` for B scenarios on the same bars, in parallel where compiled.

    Parameters
    ----------
    targets : (T, N) or (B, T, N) array_like
        Shared, or one per scenario; likewise `cash`, `costs` and `rules`.

    Raises
    ------
    ConfigError
        As `replay`, and where the numbers of scenarios differ.
    """
    wanted = _checked_targets(targets, bars)
    wanted = wanted[np.newaxis] if wanted.ndim == 2 else wanted
    given = {
        "targets": len(wanted),
        "cash": np.size(cash),
        "costs": 1 if isinstance(costs, Costs) else len(costs),
        "rules": 1 if isinstance(rules, OrderRules) else len(rules),
    }
    n = max(given.values())
    if any(count not in (1, n) for count in given.values()):
        raise ConfigError(f"replay_many: one scenario or the same number of each, not {given}")
    moneys = np.array([_checked_cash(value) for value in np.broadcast_to(cash, n).tolist()])
    charges = _per_scenario([checked_costs(c) for c in ([costs] if isinstance(costs, Costs) else costs)], n)
    ruled = _per_scenario([checked_rules(r) for r in ([rules] if isinstance(rules, OrderRules) else rules)], n)
    out_cash, out_equity = np.empty((n, wanted.shape[1])), np.empty((n, wanted.shape[1]))
    totals = np.zeros((n, 5))
    prices = np.ascontiguousarray(bars.open), np.ascontiguousarray(bars.close)
    drive = scenario_driver(_choose(compiled, n * wanted[0].size))
    drive(*prices, _days(bars), wanted, moneys, charges, ruled, out_cash, out_equity, totals)
    counts = totals[:, :2].astype(np.int64)
    return Scenarios(
        cash=out_cash,
        equity=out_equity,
        commission=totals[:, 2],
        interest=totals[:, 3],
        fills=counts[:, 1],
        rejected=counts[:, 0],
        ruined=totals[:, 4] > 0.0,
    )


def _per_scenario(settings: Sequence[Sequence[float]], n: int) -> FloatArray:
    """(n, fields) array of NamedTuples, one repeated if it is shared."""
    table = np.array(settings, dtype=np.float64)
    return np.ascontiguousarray(np.broadcast_to(table, (n, table.shape[1])))


def _checked_targets(targets: ArrayLike, bars: Bars) -> FloatArray:
    wanted = np.ascontiguousarray(targets, dtype=np.float64)
    if wanted.ndim not in (2, 3) or wanted.shape[-2:] != bars.close.shape or not len(wanted):
        raise ConfigError(f"replay: targets must be bars x symbols, {bars.close.shape}, not {wanted.shape}")
    if np.isinf(wanted).any():
        *_, row, column = np.argwhere(np.isinf(wanted))[0]
        where = f"{bars.symbols[column]} {bars.stamps[row]}"
        raise ConfigError(f"replay: the target of {where} is infinite; give a fraction of equity, or NaN to hold")
    return wanted


def _checked_cash(cash: float) -> float:
    if not (math.isfinite(cash) and cash > 0.0):
        raise ConfigError(f"replay: cash must be positive and finite, not {cash!r}")
    return float(cash)


def _choose(compiled: bool | None, cells: int) -> bool:
    """Whether to run compiled."""
    if compiled is None:
        worth = "numba" in sys.modules or cells >= CELLS_WORTH_COMPILING
        return worth and have_numba()
    return compiled and have_numba()


def _days(bars: Bars) -> NDArray[np.int64]:
    """(T,) date of each row, days since 1970."""
    return bars.stamps.astype("datetime64[D]").astype(np.int64)


def _blank_tape(shape: tuple[int, ...], room: int) -> Tape:
    ints = (np.empty(room, np.int64) for _ in range(3))
    floats = (np.empty(room) for _ in range(3))
    return Tape(np.empty(shape[0]), np.empty(shape[0]), np.zeros(shape), *ints, *floats)


def _as_path(end: Account, tape: Tape) -> AccountPath:
    columns: list[Any] = [column[: end.fills] for column in tape[3:]]
    bar, _, symbol, size, _, _ = columns
    traded = np.zeros(tape.borrow.shape)
    traded[bar, symbol] = size  # a symbol fills at most once a bar
    return AccountPath(
        cash=tape.cash,
        equity=tape.equity,
        size=np.cumsum(traded, axis=0),
        borrow=tape.borrow,
        fills=tuple(map(Fill._make, zip(*(column.tolist() for column in columns), strict=True))),
        rejected=end.rejected,
    )
