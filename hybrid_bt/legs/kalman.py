"""The Kalman leg: mean reversion of hedged pairs.

A pair opens when the z-score of its spread passes `entry_z`, against the spread, and closes when it is back at
`exit_z`, past `stop_z`, or after `max_hold_bars`; the gap between entry and exit is what keeps costs down. After a stop
or a time-out it waits until the spread has come back inside the entry level. Both assets of a pair are sized by one
decision, y against prior_beta times x in money, and the hedge ratio is frozen while the pair is open. Several pairs
may share an asset: their targets add up.
"""

from __future__ import annotations

from typing import NamedTuple

from hybrid_bt.legs.base import PairView, View

__all__ = ["KalmanLeg", "PairPosition", "PairRules", "pair_step"]


class PairRules(NamedTuple):
    """When a pair is held, and how much of the account all pairs together may take."""

    entry_z: float
    exit_z: float
    stop_z: float
    max_hold_bars: float
    min_hedge_ratio: float  #: a smaller ratio hedges nothing
    max_hedge_ratio: float  #: a larger one is a filter that has not settled
    gross_exposure: float  #: sum of |target| when every pair is open, before netting


class PairPosition(NamedTuple):
    """What the leg holds of one pair."""

    direction: float = 0.0  #: +1 long y and short x, -1 the reverse, 0 flat
    hedge_ratio: float = 0.0  #: as known before the bar of entry
    held_bars: float = 0.0
    barred: float = 0.0  #: 1 after a stop or time-out, until the spread is back inside the entry level


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
            return PairPosition(-1.0 if zscore > 0.0 else 1.0, hedge_ratio)
        return PairPosition(barred=barred)
    held = position.held_bars + 1.0
    # `stretch` is how far the spread still is on the side on which the pair was opened
    stretch = -position.direction * zscore
    if stretch <= rules.exit_z:
        return PairPosition()
    if stretch >= rules.stop_z or held >= rules.max_hold_bars:
        return PairPosition(barred=1.0)
    return position._replace(held_bars=held)


class KalmanLeg:
    """Targets of all pairs, netted per asset."""

    def __init__(self, n_symbols: int, n_pairs: int, rules: PairRules) -> None:
        self.rules = rules
        self.positions = [PairPosition()] * n_pairs
        self._n_symbols = n_symbols

    def targets(self, view: View) -> list[float]:
        """(N,) signed fractions of equity; a pair whose assets did not both trade keeps its position."""
        self.positions = [
            pair_step(position, pair.spread.zscore, pair.kalman.prior_beta, self.rules) if pair.fresh else position
            for position, pair in zip(self.positions, view.pairs, strict=True)
        ]
        targets = [0.0] * self._n_symbols
        for position, pair in zip(self.positions, view.pairs, strict=True):
            self._add(targets, position, pair)
        return targets

    def _add(self, targets: list[float], position: PairPosition, pair: PairView) -> None:
        if position.direction == 0.0:
            return
        share = self.rules.gross_exposure / len(self.positions)
        unit = position.direction * share / (1.0 + position.hedge_ratio)
        targets[pair.y] += unit
        targets[pair.x] -= unit * position.hedge_ratio
