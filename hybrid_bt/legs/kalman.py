"""The Kalman leg: mean reversion of hedged pairs.

A pair opens when the z-score of its spread passes `entry_z`, against the spread, and closes when it is back at
`exit_z`, past `stop_z`, or after `max_hold_bars`; the gap between entry and exit is what keeps costs down. After a stop
or a time-out it waits until the spread has come back inside the entry level. Both assets of a pair are sized by one
decision, y against prior_beta times x in money, and the hedge ratio is frozen while the pair is open. Several pairs
may share an asset: their targets add up. A pair whose assets have not both had a bar for `orphan_bars` bars is closed
as an orphan; see `hybrid_bt.waiting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Gt

from hybrid_bt.legs.base import View
from hybrid_bt.waiting import waiting_sides

__all__ = ["KalmanLeg", "PairPosition", "PairRules", "hold_pairs", "pair_step", "stale_step"]


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


def hold_pairs(positions: Any, pairs: Any, rules: PairRules, targets: Any) -> None:
    """Step the positions of all pairs, in place, and add up what they ask of each asset.

    Parameters
    ----------
    positions : (P,) list of PairPosition
        A pair whose assets did not both trade keeps its position, up to `orphan_bars`.
    pairs : (P,) list of PairView
    targets : (N,) zeros, written
        Signed fractions of equity.
    """
    for number, pair in enumerate(pairs):
        position = positions[number]
        if pair.fresh:
            position = pair_step(position, pair.spread.zscore, pair.kalman.prior_beta, rules)
        else:
            position = stale_step(position, rules)
        positions[number] = position
        if position.direction != 0.0:
            share = rules.gross_exposure / len(positions)
            unit = position.direction * share / (1.0 + position.hedge_ratio)
            targets[pair.y] += unit
            targets[pair.x] -= unit * position.hedge_ratio


class KalmanLeg:
    """Targets of all pairs, netted per asset.

    Attributes
    ----------
    waits : (N,) sequence of bool
        Symbols that may not be ordered on the last bar, because the other side of a pair had none; empty for none.
    """

    def __init__(self, n_symbols: int, n_pairs: int, rules: PairRules) -> None:
        self.rules = rules
        self.positions = [PairPosition()] * n_pairs
        self.waits: Sequence[bool] = ()
        self._n_symbols = n_symbols

    def targets(self, view: View) -> list[float]:
        """(N,) signed fractions of equity; a pair whose assets did not both trade keeps its position."""
        targets = [0.0] * self._n_symbols
        before = [] if all(view.traded) else [position.direction for position in self.positions]
        hold_pairs(self.positions, view.pairs, self.rules, targets)
        self.waits = self._waiting(view, before) if before else ()
        return targets

    def _waiting(self, view: View, before: Sequence[float]) -> list[bool]:
        sides = [(pair.y, pair.x) for pair in view.pairs]
        return waiting_sides(view.traded, sides, before, [position.direction for position in self.positions])

    def state(self) -> dict[str, Any]:
        """What is held of each pair, for `restore`."""
        held = np.array(self.positions, dtype=np.float64)
        return {"positions": held.reshape(len(self.positions), len(PairPosition._fields))}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave."""
        self.positions = [PairPosition(*row) for row in state["positions"].tolist()]
