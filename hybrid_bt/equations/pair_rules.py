"""When a pair is held, and what of each side.

A pair opens when the z-score of its spread passes `entry_z`, against the spread, and closes when it is back at
`exit_z`, past `stop_z`, or after `max_hold_bars`; the gap between entry and exit is what keeps costs down. After a stop
or a time-out it waits until the spread has come back inside the entry level. Both assets of a pair are sized by one
decision, y against prior_beta times x in money, and the hedge ratio is frozen while the pair is open. A pair whose
assets have not both had a bar for `orphan_bars` bars is closed as an orphan; see `hybrid_bt.equations.waiting`.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt


class PairRules(NamedTuple):
    """When a pair is held, and how much of the account all pairs together may take."""

    entry_z: Annotated[float, Gt(0), "|z| at which a pair opens, standard deviations"]
    exit_z: Annotated[float, "z, towards the mean, at which it closes, standard deviations"]
    stop_z: Annotated[float, Gt(0), "|z| at which it is given up, standard deviations"]
    max_hold_bars: Annotated[int, Ge(1), "bars after which it is given up"]
    orphan_bars: Annotated[int, Ge(1), "bars in a row that one side may miss before an open pair is closed"]
    min_hedge_ratio: Annotated[float, Gt(0), "smallest hedge ratio that opens a pair; a smaller one hedges nothing"]
    max_hedge_ratio: Annotated[float, Gt(0), "largest that does; a larger one is a filter that has not settled"]
    gross_exposure: Annotated[float, Gt(0), "sum of |target| with every pair open, before netting, fraction of equity"]

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        if not self.exit_z < self.entry_z < self.stop_z:
            got = f"{self.exit_z} < {self.entry_z} < {self.stop_z}"
            return f"exit_z < entry_z < stop_z must hold; got {got}; mend the one that is out of order"
        if not self.min_hedge_ratio < self.max_hedge_ratio:
            return f"min_hedge_ratio {self.min_hedge_ratio} must be below max_hedge_ratio {self.max_hedge_ratio}"
        return ""


class PairPosition(NamedTuple):
    """What the leg holds of one pair."""

    direction: float = 0.0  #: +1 long y and short x, -1 the reverse, 0 flat
    hedge_ratio: float = 0.0  #: as known before the bar of entry
    held_bars: float = 0.0
    barred: float = 0.0  #: 1 after a stop or time-out, until the spread is back inside the entry level
    stale_bars: float = 0.0  #: bars in a row, while open, on which the assets did not both trade


def _wants_entry(zscore: float, hedge_ratio: float, rules: PairRules) -> bool:
    return rules.entry_z <= abs(zscore) < rules.stop_z and rules.min_hedge_ratio <= hedge_ratio <= rules.max_hedge_ratio


def pair_step(position: PairPosition, zscore: float, hedge_ratio: float, rules: PairRules) -> PairPosition:
    """Position after a bar on which both assets traded.

    Parameters
    ----------
    zscore : float
        Of the pair's spread at this close, positive where y is dear.
    hedge_ratio : float
        As known *before* this bar.
    """
    if position.direction == 0.0:
        barred = position.barred if abs(zscore) >= rules.entry_z else 0.0
        if barred == 0.0 and _wants_entry(zscore, hedge_ratio, rules):
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


def bar_step(position: PairPosition, fresh: bool, zscore: float, hedge_ratio: float, rules: PairRules) -> PairPosition:
    """Position after a bar, whether or not both assets traded; the rest as in `pair_step`."""
    return pair_step(position, zscore, hedge_ratio, rules) if fresh else stale_step(position, rules)


def amounts_of(position: PairPosition, n_pairs: int, rules: PairRules) -> tuple[float, float]:
    """What is wanted of y and of x, signed fractions of equity: equal parts of `gross_exposure` to all pairs."""
    if position.direction == 0.0:
        return 0.0, 0.0
    share = rules.gross_exposure / n_pairs
    unit = position.direction * share / (1.0 + position.hedge_ratio)
    return unit, -(unit * position.hedge_ratio)


def hold_bars(positions: Any, fresh: Any, zscores: Any, ratios: Any, rules: PairRules, amounts: Any) -> None:
    """Step the positions of all pairs over T bars, in place, and write what is wanted of their sides.

    Parameters
    ----------
    positions : (P,) list of PairPosition
    fresh, zscores, ratios : (T, P)
        As in `legs.base.PairView`, `ratios` being `prior_beta`.
    amounts : (T, 2 P), written
        Of y and x, pair by pair.
    """
    n_pairs = len(positions)
    for p in range(n_pairs):
        position = positions[p]
        for t in range(len(fresh)):
            position = bar_step(position, fresh[t][p] > 0.0, zscores[t][p], ratios[t][p], rules)
            y, x = amounts_of(position, n_pairs, rules)
            amounts[t][2 * p] = y
            amounts[t][2 * p + 1] = x
        positions[p] = position
