"""What all replays share: checks, the stacking of scenarios, and the records that come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounting import Account, Capital, OrderRules, Tape
from hybrid_bt.bars import Bars
from hybrid_bt.costs import Costs
from hybrid_bt.errors import ConfigError
from hybrid_bt.parameters import validated
from hybrid_bt.records import AccountPath, Fills

FloatArray = NDArray[np.float64]

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


class Terms:
    """Cash, costs and order rules of scenarios, checked; one of each, or one per scenario."""

    def __init__(
        self, cash: float | Sequence[float], costs: Costs | Sequence[Costs], rules: OrderRules | Sequence[OrderRules]
    ) -> None:
        each = np.atleast_1d(np.asarray(cash, dtype=np.float64)).tolist()
        self.cash = [validated(Capital, [one], "account").cash for one in each]
        self.costs = [validated(Costs, c, "costs") for c in ([costs] if isinstance(costs, Costs) else costs)]
        self.rules = [validated(OrderRules, r, "orders") for r in ([rules] if isinstance(rules, OrderRules) else rules)]

    def counts(self) -> dict[str, int]:
        """How many scenarios each of them is given for."""
        return {"cash": len(self.cash), "costs": len(self.costs), "rules": len(self.rules)}

    def stacked(self, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n,), (n, fields of `Costs`) and (n, fields of `OrderRules`)."""
        cash = np.ascontiguousarray(np.broadcast_to(np.array(self.cash), n))
        return cash, stack_tuples(self.costs, n), stack_tuples(self.rules, n)


def checked_terms(cash: float, costs: Costs, rules: OrderRules) -> tuple[float, Costs, OrderRules]:
    """Those of one account; ConfigError where they make no sense."""
    start = validated(Capital, [cash], "account")
    return start.cash, validated(Costs, costs, "costs"), validated(OrderRules, rules, "orders")


def count_scenarios(name: str, given: Mapping[str, int]) -> int:
    """B, where everything is given once or B times; ConfigError otherwise."""
    n = max(given.values())
    if any(count not in (1, n) for count in given.values()):
        raise ConfigError(f"{name}: one scenario or the same number of each, not {dict(given)}")
    return n


def stack_tuples(settings: Sequence[Sequence[float]], n: int) -> FloatArray:
    """(n, fields) array of NamedTuples, one repeated if it is shared."""
    table = np.array(settings, dtype=np.float64)
    return np.ascontiguousarray(np.broadcast_to(table, (n, table.shape[1])))


def panels_of(bars: Bars | Sequence[Bars]) -> list[Bars]:
    """The panels of all scenarios."""
    return list(bars) if isinstance(bars, Sequence) and not hasattr(bars, "close") else [cast(Bars, bars)]


def days_of(bars: Bars) -> NDArray[np.int64]:
    """(T,) date of each row, days since 1970."""
    return bars.stamps.astype("datetime64[D]").astype(np.int64)


def stack_bars(panels: Sequence[Bars]) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Opens, closes, (1 or B, T, N), and days, (1 or B, T); a single panel is not copied.

    Raises
    ------
    ConfigError
        If the panels differ in their number of bars or symbols.
    """
    shapes = {panel.close.shape for panel in panels}
    if len(shapes) != 1:
        raise ConfigError(f"replay: the panels of all scenarios must be of one shape, not {sorted(shapes)}")
    if len(panels) == 1:
        opens, closes = (np.ascontiguousarray(values)[np.newaxis] for values in (panels[0].open, panels[0].close))
        return opens, closes, days_of(panels[0])[np.newaxis]
    opens, closes = np.stack([panel.open for panel in panels]), np.stack([panel.close for panel in panels])
    return opens, closes, np.stack([days_of(panel) for panel in panels])


def one_path(drive: Callable[[Tape], Account], shape: tuple[int, int]) -> AccountPath:
    """Run one account on a tape of (T, N), and once more with more room if its fills did not fit."""
    room = min(shape[0] * shape[1], FIRST_FILLS)
    while True:
        tape = _blank_tape(shape, room)
        end = drive(tape)
        if end.fills <= room:
            return _as_path(end, tape)
        room = end.fills


def _blank_tape(shape: tuple[int, int], room: int) -> Tape:
    ints = (np.empty(room, np.int64) for _ in range(3))
    floats = (np.empty(room) for _ in range(3))
    return Tape(np.empty(shape[0]), np.empty(shape[0]), np.zeros(shape), *ints, *floats)


def _as_path(end: Account, tape: Tape) -> AccountPath:
    columns: list[Any] = [column[: end.fills].copy() for column in tape[3:]]
    bar, _, symbol, size, _, _ = columns
    held = np.zeros(tape.borrow.shape)
    held[bar, symbol] = size  # a symbol fills at most once a bar
    np.cumsum(held, axis=0, out=held)
    return AccountPath(
        cash=tape.cash, equity=tape.equity, size=held, borrow=tape.borrow, fills=Fills(columns), rejected=end.rejected
    )


def run_scenarios(drive: Callable[..., None], n: int, n_bars: int) -> Scenarios:
    """Run B accounts: `drive(out_cash, out_equity, totals)` writes (B, T), (B, T) and (B, 5)."""
    cash, equity, totals = np.empty((n, n_bars)), np.empty((n, n_bars)), np.zeros((n, 5))
    drive(cash, equity, totals)
    counts = totals[:, :2].astype(np.int64)
    return Scenarios(
        cash=cash,
        equity=equity,
        commission=totals[:, 2],
        interest=totals[:, 3],
        fills=counts[:, 1],
        rejected=counts[:, 0],
        ruined=totals[:, 4] > 0.0,
    )
