"""The guard's limits: how much an account may hold and order, whatever is wanted.

    asset, pair, gross, net     of what would be held if every order were filled at the close
    max order notional          what would open more is sent in pieces

A position that drifted past a limit is cut back, and a symbol without a bar, which cannot be traded, takes its share of
the room. Reducing a position is always allowed. Hedges are cut as a whole (`equations.bundles`).
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Le, Lt

from hybrid_bt.equations import Numbers, Pairs, Share
from hybrid_bt.equations.bundles import PASSES, ROUNDING, Layout, bundles_of, hold_to, layout_of, net_into

#: bit i of a mask says that rule i changed what was wanted
RULES = (
    *("policy_failure", "kill_switch", "daily_loss", "drawdown"),
    *("asset_limit", "pair_limit", "gross_limit", "net_limit", "max_order_notional"),
)
FAILED, KILLED, DAY, BRAKE, ASSET, PAIR, GROSS, NET, NOTIONAL = (1 << i for i in range(len(RULES)))
PAST_BAND = 1.0 + 1e-9  #: a change by this many bands is an order, whatever the last bit says


class GuardParams(NamedTuple):
    """Hard limits on the account, after everything else, as fractions of equity; 0 = off."""

    gross_limit: Annotated[Share, "sum of |position|; 0 = off"] = 0.0
    net_limit: Annotated[Share, "|sum of positions|; 0 = off"] = 0.0
    asset_limit: Annotated[Share, "|position| of one asset; 0 = off"] = 0.0
    pair_limit: Annotated[Share, "|position| of a pair's two assets together; 0 = off"] = 0.0
    max_order_notional: Annotated[float, Ge(0), Le(1e15), "largest order that opens, currency at close; 0 = off"] = 0.0
    daily_loss_limit: Annotated[float, Ge(0), Lt(1), "loss since yesterday's last close at which all is sold"] = 0.0
    drawdown_limit: Annotated[float, Ge(0), Lt(1), "loss from the peak at which the brake goes on; 0 = off"] = 0.0
    drawdown_scale: Annotated[float, Ge(0), Lt(1), "targets are multiplied by it while the brake is on"] = 0.5
    drawdown_release: Annotated[float, Ge(0), Lt(1), "loss from the peak at which the brake goes off"] = 0.0
    drawdown_pause_bars: Annotated[int, Ge(0), Le(10**8), "bars until it does anyway, from a new peak; 0 = never"] = 0
    kill_file: Annotated[str, "while this file exists, all is sold and nothing is opened; empty = off"] = ""
    on_policy_failure: Annotated[Literal["hold", "flatten"], "when a policy fails or answers out of range"] = "hold"

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        if self.drawdown_limit > 0.0 and not self.drawdown_release < self.drawdown_limit:
            return f"drawdown_release {self.drawdown_release} must be below drawdown_limit {self.drawdown_limit}"
        if self.drawdown_limit > 0.0 and self.drawdown_scale == 0.0 and self.drawdown_pause_bars == 0:
            return (
                "with drawdown_scale 0 the account is flat and never recovers, so the brake would never go off; "
                "give drawdown_pause_bars"
            )
        return ""


class GuardFacts(NamedTuple):
    """The account at the close of a bar."""

    day: int  #: date of the bar, in days since any fixed date
    equity: float
    held: Sequence[float]  #: (N,) positions as signed fractions of equity, at their last closes
    delivered: Sequence[bool]  #: (N,) whether the symbol has a bar, so that an order for it can be sent
    failed: bool = False  #: a policy failed on this bar
    killed: bool = False  #: the kill switch is on


def is_active(params: GuardParams) -> bool:
    """Whether any limit is on (a failing policy is met in any case)."""
    return any(value > 0.0 for value in params[:7])


def held_weights(sizes: Numbers, closes: Numbers, equity: float) -> list[float]:
    """Positions as signed fractions of equity, (N,); closes of symbols that are not held are not read."""
    if not equity > 0.0:
        return [0.0] * len(sizes)
    return [sizes[i] * closes[i] / equity if sizes[i] != 0.0 else 0.0 for i in range(len(sizes))]


def rule_names(mask: int) -> list[str]:
    """Names of the rules in a mask."""
    return [name for i, name in enumerate(RULES) if mask >> i & 1]


class Wanted(NamedTuple):
    """What is to be held, changed in place."""

    targets: list[float]  #: (N,) signed fractions of equity; NaN keeps what is held
    sides: list[float]  #: (S,) that they are made of
    layout: Layout
    together: Sequence[int] = ()  #: (N,) symbols of the same label are one decision; empty for nobody


def keep_limits(wanted: Wanted, facts: GuardFacts, pairs: Pairs, params: GuardParams, band: float) -> int:
    """Cut what is wanted down to the limits, and far enough to be ordered; the mask of the rules that did."""
    if not is_active(params):
        return 0
    return _limited(wanted, facts, pairs, params) | _sent(wanted, facts, pairs, params, band)


def _limited(wanted: Wanted, facts: GuardFacts, pairs: Pairs, params: GuardParams) -> int:
    """Cut what is wanted down to the limits, hedges as a whole.

    What is kept (NaN) is cut only where a limit asks for it, as what stands alone. A cut hedge may lay bare what its
    other side offset, so all limits are looked at until none is broken; if that takes more than `PASSES` rounds, one
    factor on everything ends it.
    """
    targets, sides, layout, _ = wanted
    n, own = len(targets), len(sides)
    keeps = [can and target != target for target, can in zip(targets, facts.delivered, strict=True)]
    inert = [kept or not can for kept, can in zip(keeps, facts.delivered, strict=True)]
    alone = layout_of([[columns for _, columns in bundles_of(layout)], [(i,) for i in range(n)]])
    work = [0.0 if inert[i] else side for i, side in zip(layout.columns, sides, strict=True)]
    work += [held if kept else 0.0 for held, kept in zip(facts.held, keeps, strict=True)]
    book, mask = _Book(work, alone, facts), 0
    for _ in range(PASSES):
        cut = book.hold_once(pairs, params)
        mask |= cut
        if not cut:
            break
    else:
        book.scale(range(n), min(1.0, *book.factors(pairs, params)))
    if mask:
        sides[:] = [old if inert[i] else new for i, old, new in zip(layout.columns, sides, work[:own], strict=True)]
        for i, target in enumerate(book.targets):
            if facts.delivered[i] and not (keeps[i] and work[own + i] == facts.held[i]):
                targets[i] = target
    return mask


class _Book:
    """Sides that can be cut, what they come to, and what is held of symbols that cannot be traded."""

    def __init__(self, sides: list[float], layout: Layout, facts: GuardFacts) -> None:
        self.sides, self.layout, self.facts = sides, layout, facts
        self.fixed = [0.0 if can else held for held, can in zip(facts.held, facts.delivered, strict=True)]
        self.targets = [0.0] * len(facts.held)
        net_into(self.targets, sides, layout)

    def hold_once(self, pairs: Pairs, params: GuardParams) -> int:
        """Each limit once; those that were broken."""
        mask, most, room = 0, self._most(params.asset_limit), self._room(params.max_order_notional)
        for rule, bounds in ((ASSET, most), (NOTIONAL, room)):
            mask |= rule if hold_to(self.targets, self.sides, self.layout, bounds, math.inf) else 0
        for pair in pairs if params.pair_limit > 0.0 else ():
            mask |= PAIR if self._shrink(pair, self._gross_factor(pair, params.pair_limit)) else 0
        everyone = range(len(self.targets))
        mask |= GROSS if self._shrink(everyone, self._gross_factor(everyone, params.gross_limit)) else 0
        return mask | (NET if self._shrink(everyone, self._net_factor(params.net_limit)) else 0)

    def factors(self, pairs: Pairs, params: GuardParams) -> list[float]:
        """Each of which keeps a limit, if everything is multiplied by it."""
        bounds = zip(self._most(params.asset_limit), self._room(params.max_order_notional), strict=True)
        singles = [min(two) / abs(target) for two, target in zip(bounds, self.targets, strict=True) if target != 0.0]
        both = [self._gross_factor(pair, params.pair_limit) for pair in pairs]
        everyone = self._gross_factor(range(len(self.targets)), params.gross_limit)
        return [*singles, *both, everyone, self._net_factor(params.net_limit)]

    def scale(self, columns: Container[int], factor: float) -> None:
        """Multiply the sides of all bundles that touch some columns."""
        first = 0
        for end in self.layout.ends:
            if any(self.layout.columns[s] in columns for s in range(first, end)):
                self.sides[first:end] = [factor * side for side in self.sides[first:end]]
            first = end
        net_into(self.targets, self.sides, self.layout)

    def _shrink(self, columns: Sequence[int], factor: float) -> bool:
        if factor < 1.0:
            self.scale(columns, factor)
        return factor < 1.0

    def _most(self, limit: float) -> list[float]:
        return [limit if limit > 0.0 else math.inf] * len(self.targets)

    def _room(self, notional: float) -> list[float]:
        """What each position may become by an order of this size; what closes one may be of any."""
        cap = notional / self.facts.equity if notional > 0.0 else math.inf
        held = zip(self.targets, self.facts.held, strict=True)
        return [cap + abs(was) if target * was > 0.0 else max(cap - abs(was), 0.0) for target, was in held]

    def _gross_factor(self, columns: Sequence[int], limit: float) -> float:
        movable = math.fsum(abs(self.targets[i]) for i in columns)
        fixed = math.fsum(abs(self.fixed[i]) for i in columns)
        if not limit > 0.0 or fixed + movable <= limit * (1.0 + ROUNDING) or movable == 0.0:
            return 1.0
        return max(limit - fixed, 0.0) / movable

    def _net_factor(self, limit: float) -> float:
        movable, fixed = math.fsum(self.targets), math.fsum(self.fixed)
        net = fixed + movable
        if not limit > 0.0 or abs(net) <= limit * (1.0 + ROUNDING) or movable == 0.0:
            return 1.0
        return min(max((math.copysign(limit, net) - fixed) / movable, 0.0), 1.0)


def _sent(wanted: Wanted, facts: GuardFacts, pairs: Pairs, params: GuardParams, band: float) -> int:
    """Where the rebalance band would hold back a reduction and leave a limit broken, reduce by a band.

    Symbols that are one decision are cut by one factor, the smallest that the band lets pass.
    """
    targets, labels = wanted.targets, wanted.together or range(len(wanted.targets))
    moves = {
        label
        for label, target, held in zip(labels, targets, facts.held, strict=True)
        if target == 0.0 or abs(target - held) >= band
    }
    held_back = [
        can and label not in moves and target != held and abs(target) < abs(held)
        for label, target, held, can in zip(labels, targets, facts.held, facts.delivered, strict=True)
    ]
    if not any(held_back):
        return 0
    as_held = [held if stuck else target for target, held, stuck in zip(targets, facts.held, held_back, strict=True)]
    alone = layout_of([[(i,) for i in range(len(as_held))]])
    known = [value if value == value else 0.0 for value in as_held]
    broken = _limited(Wanted(as_held, known, alone), facts, pairs, params._replace(max_order_notional=0.0))
    for stuck in {label for label, is_stuck in zip(labels, held_back, strict=True) if is_stuck} if broken else ():
        columns = [i for i, label in enumerate(labels) if label == stuck]
        rests = [(abs(facts.held[i]) - band * PAST_BAND) / abs(targets[i]) for i in columns if targets[i] != 0.0]
        factor = min(max(0.0, *rests), 1.0) if rests else 1.0
        for i in columns:
            targets[i] *= factor
        for s, column in enumerate(wanted.layout.columns):
            wanted.sides[s] *= factor if column in columns else 1.0
    return broken
