"""When a pair is held, and how much of each side.

A pair opens when z passes `entry_z`, against the spread, if what it expects to earn on the way back is some round trips
of both sides (`entry_costs`), and closes when it is back at `exit_z`, past `stop_z`, or after `max_hold_bars`; the gap
between entry and exit is what keeps costs down. After a stop or a time-out it waits until the spread has come back
inside the entry level. Both assets are sized by one decision, y against prior_beta times x in money, and the hedge
ratio is frozen while the pair is open. A pair whose assets have not both had a bar for `orphan_bars` bars is closed as
an orphan (`hybrid_bt.equations.waiting`).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt, Le

from hybrid_bt.equations import Cells, Count, Factor, Lines, Table


class PairRules(NamedTuple):
    """When a pair is held, and how much of the account all pairs together may take."""

    entry_z: Annotated[float, Gt(0), Le(1e6), "|z| at which a pair opens, standard deviations"]
    exit_z: Annotated[float, Ge(-1e6), Le(1e6), "z, towards the mean, at which it closes, standard deviations"]
    stop_z: Annotated[float, Gt(0), Le(1e6), "|z| at which it is given up, standard deviations"]
    max_hold_bars: Annotated[Count, "bars after which it is given up"]
    orphan_bars: Annotated[Count, "bars in a row that one side may miss before an open pair is closed"]
    min_hedge_ratio: Annotated[Factor, "smallest hedge ratio that opens a pair; a smaller one hedges nothing"]
    max_hedge_ratio: Annotated[Factor, "largest that does; a larger one is a filter that has not settled"]
    gross_exposure: Annotated[Factor, "sum of |target| with every pair open, before units of risk"]
    entry_costs: Annotated[float, Ge(0), Le(1e6), "round trips of both sides that a pair must expect to earn; 0 = off"]
    cost_per_side: float  #: half a spread and a fee, fraction of notional

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        if not self.exit_z < self.entry_z < self.stop_z:
            got = f"{self.exit_z} < {self.entry_z} < {self.stop_z}"
            return f"exit_z < entry_z < stop_z must hold; got {got}; mend the one that is out of order"
        if not self.min_hedge_ratio < self.max_hedge_ratio:
            return f"min_hedge_ratio {self.min_hedge_ratio} must be below max_hedge_ratio {self.max_hedge_ratio}"
        return ""


class PairBars(NamedTuple):
    """What T bars show of P pairs, (T, P) each."""

    fresh: Table
    zscores: Table
    spreads: Table
    ratios: Table  #: hedge ratios as known before each bar


class PairPosition(NamedTuple):
    """What the leg holds of one pair."""

    direction: float = 0.0  #: +1 long y and short x, -1 the reverse, 0 flat
    hedge_ratio: float = 0.0  #: as known before the bar of entry
    held_bars: float = 0.0
    barred: float = 0.0  #: 1 after a stop or time-out, until the spread is back inside the entry level
    stale_bars: float = 0.0  #: bars in a row, while open, on which the assets did not both trade


def pays(zscore: float, spread: float, hedge_ratio: float, rules: PairRules) -> bool:
    """Whether the way from z to the exit is worth the costs: of one y against its hedge, log price."""
    expected = abs(spread) * (abs(zscore) - rules.exit_z)
    return expected >= abs(zscore) * rules.entry_costs * 2.0 * rules.cost_per_side * (1.0 + hedge_ratio)


def pair_step(
    position: PairPosition, zscore: float, spread: float, hedge_ratio: float, rules: PairRules
) -> PairPosition:
    """Position after a bar on which both assets traded; `hedge_ratio` as known *before* it, the rest at its close."""
    if position.direction == 0.0:
        barred = position.barred if abs(zscore) >= rules.entry_z else 0.0
        is_wide = rules.entry_z <= abs(zscore) < rules.stop_z
        is_hedged = rules.min_hedge_ratio <= hedge_ratio <= rules.max_hedge_ratio
        if barred == 0.0 and is_wide and is_hedged and pays(zscore, spread, hedge_ratio, rules):
            return PairPosition(-1.0 if zscore > 0.0 else 1.0, hedge_ratio, 0.0, 0.0, 0.0)
        return PairPosition(0.0, 0.0, 0.0, barred, 0.0)
    held = position.held_bars + 1.0
    # `stretch` is how far the spread still is on the side on which the pair was opened
    stretch = -position.direction * zscore
    if stretch <= rules.exit_z:
        return PairPosition(0.0, 0.0, 0.0, 0.0, 0.0)
    if stretch >= rules.stop_z or held >= rules.max_hold_bars:
        return PairPosition(0.0, 0.0, 0.0, 1.0, 0.0)
    return PairPosition(position.direction, position.hedge_ratio, held, position.barred, 0.0)


def stale_step(position: PairPosition, rules: PairRules) -> PairPosition:
    """Position after a bar on which the assets did not both trade: kept, or closed as an orphan."""
    if position.direction == 0.0:
        return position
    stale = position.stale_bars + 1.0
    if stale >= rules.orphan_bars:
        return PairPosition(0.0, 0.0, 0.0, 1.0, 0.0)
    return PairPosition(position.direction, position.hedge_ratio, position.held_bars, position.barred, stale)


def amounts_of(position: PairPosition, n_pairs: int, rules: PairRules) -> tuple[float, float]:
    """What is wanted of y and of x, signed fractions of equity: equal parts of `gross_exposure` to all pairs."""
    if position.direction == 0.0:
        return 0.0, 0.0
    share = rules.gross_exposure / n_pairs
    unit = position.direction * share / (1.0 + position.hedge_ratio)
    return unit, -(unit * position.hedge_ratio)


def hold_bars(held: Cells[PairPosition], seen: PairBars, rules: PairRules, amounts: Lines) -> None:
    """Step what is held (P,) over T bars of (T, P), in place, and write amounts of y and x, pair by pair: (T, 2 P)."""
    n_pairs, (fresh, zscores, spreads, ratios) = len(held), seen
    for p in range(n_pairs):
        position = held[p]
        for t in range(len(fresh)):
            if fresh[t][p] > 0.0:
                position = pair_step(position, zscores[t][p], spreads[t][p], ratios[t][p], rules)
            else:
                position = stale_step(position, rules)
            y, x = amounts_of(position, n_pairs, rules)
            amounts[t][2 * p] = y
            amounts[t][2 * p + 1] = x
        held[p] = position
