"""The guard's limits: how much an account may hold and order, whatever is wanted.

    asset, pair, gross, net     of what would be held if every order were filled at the close
    max order notional          what would open more is sent in pieces

A position that drifted past a limit is cut back, and a symbol without a bar, which cannot be traded, takes its share of
the room. Reducing a position is always allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Lt

from hybrid_bt.equations import Numbers

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
ROUNDING = 1e-12  #: a sum that was scaled to a limit meets it only so nearly


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


def _outcome(targets: Sequence[float], facts: GuardFacts) -> list[float]:
    """What would be held: targets where an order can be sent, else what is held."""
    return [
        target if can and target == target else held
        for target, held, can in zip(targets, facts.held, facts.delivered, strict=True)
    ]


def limited(targets: list[float], facts: GuardFacts, pairs: Sequence[tuple[int, int]], params: GuardParams) -> int:
    """Cut `targets` down to the limits, in place."""
    everyone = range(len(targets))
    mask = _cap_assets(targets, facts, params.asset_limit)
    for pair in pairs if params.pair_limit > 0.0 else ():
        mask |= PAIR if _scale_gross(targets, facts, pair, params.pair_limit) else 0
    mask |= GROSS if params.gross_limit > 0.0 and _scale_gross(targets, facts, everyone, params.gross_limit) else 0
    return mask | _scale_net(targets, facts, params.net_limit)


def _cap_assets(targets: list[float], facts: GuardFacts, limit: float) -> int:
    mask = 0
    for i, weight in enumerate(_outcome(targets, facts)):
        if 0.0 < limit < abs(weight) and facts.delivered[i]:
            targets[i], mask = math.copysign(limit, weight), ASSET
    return mask


def _scale_gross(targets: list[float], facts: GuardFacts, columns: Iterable[int], limit: float) -> bool:
    """Scale some columns down so that their |positions| add up to `limit`; whether that was needed."""
    weights = _outcome(targets, facts)
    movable = math.fsum(abs(weights[i]) for i in columns if facts.delivered[i])
    fixed = math.fsum(abs(weights[i]) for i in columns if not facts.delivered[i])
    if fixed + movable <= limit * (1.0 + ROUNDING) or movable == 0.0:
        return False
    scale = max(limit - fixed, 0.0) / movable
    for i in columns:
        if facts.delivered[i]:
            targets[i] = weights[i] * scale
    return True


def _scale_net(targets: list[float], facts: GuardFacts, limit: float) -> int:
    """Scale everything down so that |sum of positions| is `limit`, or as near as what cannot be traded allows."""
    if not limit > 0.0:
        return 0
    weights = _outcome(targets, facts)
    movable = math.fsum(weight for weight, can in zip(weights, facts.delivered, strict=True) if can)
    fixed = math.fsum(weight for weight, can in zip(weights, facts.delivered, strict=True) if not can)
    net = fixed + movable
    if abs(net) <= limit * (1.0 + ROUNDING) or movable == 0.0:
        return 0
    scale = min(max((math.copysign(limit, net) - fixed) / movable, 0.0), 1.0)
    if scale == 1.0:
        return 0
    for i, can in enumerate(facts.delivered):
        if can:
            targets[i] = weights[i] * scale
    return NET


def ordered(targets: list[float], facts: GuardFacts, params: GuardParams) -> int:
    """Cut orders that open more than `max_order_notional`, in place; what closes a position may be of any size."""
    if not params.max_order_notional > 0.0:
        return 0
    cap, mask = params.max_order_notional / facts.equity, 0
    for i, (target, held, can) in enumerate(zip(targets, facts.held, facts.delivered, strict=True)):
        if not can or not abs(target - held) > cap * (1.0 + ROUNDING):  # also: a NaN target
            continue
        if target * held > 0.0 and abs(target) > abs(held):
            targets[i] = held + math.copysign(cap, held)
        elif target * held <= 0.0 and target != 0.0:
            targets[i] = math.copysign(cap - abs(held), target) if cap > abs(held) else 0.0
        else:
            continue
        mask = NOTIONAL
    # a hedge that is only partly opened may leave the rest unbalanced
    return mask | (_scale_net(targets, facts, params.net_limit) if mask else 0)


def sent(
    targets: list[float], facts: GuardFacts, pairs: Sequence[tuple[int, int]], params: GuardParams, band: float
) -> int:
    """Where the rebalance band would hold back a reduction and leave a limit broken, reduce by a band, in place."""
    held_back = [
        can and 0.0 != target != held and abs(target) < abs(held) and abs(target - held) < band
        for target, held, can in zip(targets, facts.held, facts.delivered, strict=True)
    ]
    if not any(held_back):
        return 0
    as_held = [held if stuck else target for target, held, stuck in zip(targets, facts.held, held_back, strict=True)]
    broken = limited(as_held, facts, pairs, params)
    if broken:
        for i, stuck in enumerate(held_back):
            if stuck:
                rest = abs(facts.held[i]) - band * PAST_BAND
                targets[i] = math.copysign(rest, facts.held[i]) if rest > 0.0 else 0.0
    return broken
