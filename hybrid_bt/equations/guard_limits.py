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

from annotated_types import Ge, Lt

from hybrid_bt.equations import Numbers
from hybrid_bt.equations.bundles import ROUNDING, Layout, hold_to, layout_of, net_into

#: bit i of a mask says that rule i changed what was wanted
RULES = (
    "policy_failure",
    "kill_switch",
    "daily_loss",
    "drawdown",
    "asset_limit",
    "pair_limit",
    "gross_limit",
    "net_limit",
    "max_order_notional",
)
FAILED, KILLED, DAY, BRAKE, ASSET, PAIR, GROSS, NET, NOTIONAL = (1 << i for i in range(len(RULES)))
PAST_BAND = 1.0 + 1e-9  #: a change by this many bands is an order, whatever the last bit says


class GuardParams(NamedTuple):
    """Hard limits on the account, after everything else, as fractions of equity; 0 = off."""

    gross_limit: Annotated[float, Ge(0), "sum of |position|; 0 = off"] = 0.0
    net_limit: Annotated[float, Ge(0), "|sum of positions|; 0 = off"] = 0.0
    asset_limit: Annotated[float, Ge(0), "|position| of one asset; 0 = off"] = 0.0
    pair_limit: Annotated[float, Ge(0), "|position| of a pair's two assets together; 0 = off"] = 0.0
    max_order_notional: Annotated[float, Ge(0), "largest order that opens, currency at the close; 0 = off"] = 0.0
    daily_loss_limit: Annotated[float, Ge(0), Lt(1), "loss since yesterday's last close at which all is sold"] = 0.0
    drawdown_limit: Annotated[float, Ge(0), Lt(1), "loss from the peak at which the brake goes on; 0 = off"] = 0.0
    drawdown_scale: Annotated[float, Ge(0), Lt(1), "targets are multiplied by it while the brake is on"] = 0.5
    drawdown_release: Annotated[float, Ge(0), Lt(1), "loss from the peak at which the brake goes off"] = 0.0
    drawdown_pause_bars: Annotated[int, Ge(0), "bars after which it does anyway, and the peak is new; 0 = never"] = 0
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


def _outcome(targets: Sequence[float], facts: GuardFacts) -> list[float]:
    """What would be held: targets where an order can be sent, else what is held."""
    return [
        target if can and target == target else held
        for target, held, can in zip(targets, facts.held, facts.delivered, strict=True)
    ]


def limited(wanted: Wanted, facts: GuardFacts, pairs: Sequence[tuple[int, int]], params: GuardParams) -> int:
    """Cut what is wanted down to the limits, hedges as a whole."""
    everyone, gross, mask = range(len(wanted.targets)), params.gross_limit, 0
    if params.asset_limit > 0.0:
        mask |= ASSET if _hold(wanted, facts, [params.asset_limit] * len(everyone)) else 0
    for pair in pairs if params.pair_limit > 0.0 else ():
        mask |= PAIR if _scale_gross(wanted, facts, pair, params.pair_limit) else 0
    mask |= GROSS if gross > 0.0 and _scale_gross(wanted, facts, everyone, gross) else 0
    return mask | _scale_net(wanted, facts, params.net_limit)


def _hold(wanted: Wanted, facts: GuardFacts, bounds: Sequence[float]) -> bool:
    """Cut to |position| <= bound, (N,), where an order can be sent; whether that was needed."""
    targets, sides, layout, _ = wanted
    keeps = [can and target != target for target, can in zip(targets, facts.delivered, strict=True)]
    is_cut = False
    for i, (held, bound) in enumerate(zip(facts.held, bounds, strict=True)):
        if keeps[i] and abs(held) > bound:
            targets[i], is_cut = math.copysign(bound, held), True
    netted = [0.0] * len(targets)
    net_into(netted, sides, layout)
    free = [can and not kept for can, kept in zip(facts.delivered, keeps, strict=True)]
    most = [bound if can else math.inf for bound, can in zip(bounds, free, strict=True)]
    if not hold_to(netted, sides, layout, most, math.inf):
        return is_cut
    targets[:] = [new if can else old for new, old, can in zip(netted, targets, free, strict=True)]
    return True


def _scale(wanted: Wanted, facts: GuardFacts, weights: Sequence[float], columns: Container[int], scale: float) -> None:
    """Multiply the positions of some columns, `weights` (N,), by one factor, and what is hedged with them."""
    targets, sides, layout, _ = wanted
    first = 0
    for end in layout.ends:
        if any(layout.columns[s] in columns for s in range(first, end)):
            sides[first:end] = [scale * side for side in sides[first:end]]
        first = end
    netted = [0.0] * len(targets)
    net_into(netted, sides, layout)
    for i, can in enumerate(facts.delivered):
        if can and targets[i] == targets[i]:
            targets[i] = netted[i]
        elif can and i in columns:
            targets[i] = scale * weights[i]


def _scale_gross(wanted: Wanted, facts: GuardFacts, columns: Sequence[int], limit: float) -> bool:
    """Scale some columns down so that their |positions| add up to `limit`; whether that was needed."""
    weights = _outcome(wanted.targets, facts)
    movable = math.fsum(abs(weights[i]) for i in columns if facts.delivered[i])
    fixed = math.fsum(abs(weights[i]) for i in columns if not facts.delivered[i])
    if fixed + movable <= limit * (1.0 + ROUNDING) or movable == 0.0:
        return False
    _scale(wanted, facts, weights, columns, max(limit - fixed, 0.0) / movable)
    return True


def _scale_net(wanted: Wanted, facts: GuardFacts, limit: float) -> int:
    """Scale everything down so that |sum of positions| is `limit`, or as near as what cannot be traded allows."""
    if not limit > 0.0:
        return 0
    weights = _outcome(wanted.targets, facts)
    movable = math.fsum(weight for weight, can in zip(weights, facts.delivered, strict=True) if can)
    fixed = math.fsum(weight for weight, can in zip(weights, facts.delivered, strict=True) if not can)
    net = fixed + movable
    if abs(net) <= limit * (1.0 + ROUNDING) or movable == 0.0:
        return 0
    scale = min(max((math.copysign(limit, net) - fixed) / movable, 0.0), 1.0)
    if scale == 1.0:
        return 0
    _scale(wanted, facts, weights, range(len(weights)), scale)
    return NET


def ordered(wanted: Wanted, facts: GuardFacts, params: GuardParams) -> int:
    """Cut orders that open more than `max_order_notional`; what closes a position may be of any size.

    A hedge is opened in pieces with both sides in step.
    """
    if not params.max_order_notional > 0.0:
        return 0
    cap, bounds = params.max_order_notional / facts.equity, []
    for target, held in zip(wanted.targets, facts.held, strict=True):
        room = cap + abs(held) if target * held > 0.0 else max(cap - abs(held), 0.0)
        opens = abs(target - held) > cap * (1.0 + ROUNDING) and (target * held <= 0.0 or abs(target) > abs(held))
        bounds.append(room if opens and target != 0.0 else math.inf if target == target else abs(held))
    return NOTIONAL if _hold(wanted, facts, bounds) else 0


def sent(wanted: Wanted, facts: GuardFacts, pairs: Sequence[tuple[int, int]], params: GuardParams, band: float) -> int:
    """Where the rebalance band would hold back a reduction and leave a limit broken, reduce by a band."""
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
    broken = limited(
        Wanted(as_held, [value if value == value else 0.0 for value in as_held], alone), facts, pairs, params
    )
    if broken:
        for i, stuck in enumerate(held_back):
            if stuck:
                rest = abs(facts.held[i]) - band * PAST_BAND
                targets[i] = math.copysign(rest, facts.held[i]) if rest > 0.0 else 0.0
    return broken
