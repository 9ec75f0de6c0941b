"""The risk manager: what is known from documents may take exposure away from what is proposed, and never add any.

    r' = (1 - lambda c) r + lambda c r_llm                  regime score, lambda <= 0.3, confidence c in [0, 1]
    m  = clip(1 - k (risk - 3) / 2, m_min, 1)               per symbol, risk 1..5
    final = m * proposed

`proposed` is the mix at r' after the limits, its gross exposure capped at that of the mix at r. Both sides of a pair
that is held take the lower m, so the hedge ratio survives. Since 0 <= m <= 1 a final target has the proposed one's sign
and at most its size: no exit is blocked, no position is turned. Under `no_new_risk` (a veto, or a scorer that failed)
m is such that no target lies beyond the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from annotated_types import Ge, Le

from hybrid_bt.equations.bundles import Bundle

NEUTRAL_RISK = 3.0
HALF_RANGE = 2.0  #: from neutral to the highest risk, 5


class ManagerParams(NamedTuple):
    """How far documents reach; read only where a run asks for them (`--risk`)."""

    strength: Annotated[float, Ge(0), Le(1), "k: what the highest risk takes away, fraction of the target"]
    min_multiplier: Annotated[float, Ge(0), Le(1), "m_min: least factor on a target, whatever the risk"]
    regime_weight: Annotated[float, Ge(0), Le(0.3), "lambda: weight in the regime score, by confidence"]


class Advice(NamedTuple):
    """What documents say at the close of one bar."""

    risk: Sequence[float]  #: (N,) 1..5, 3 is neutral
    sentiment: Sequence[float]  #: (N,) [-1, 1]
    regime: float = 0.0  #: r_llm in [-1, 1]
    confidence: float = 0.0  #: c in [0, 1]; 0 leaves r as it is
    no_new_risk: bool = False  #: no target beyond the last one on this bar
    reasons: Sequence[str] = ()  #: (N,) or empty
    documents: Sequence[str] = ()  #: (N,) ids with blanks between, or empty


class Managed(NamedTuple):
    """What the risk manager made of a decision."""

    advice: Advice
    regime: float  #: r'
    proposed: list[float]  #: (N,) targets before m
    multipliers: list[float]  #: (N,) m
    sources: list[int]  #: (N,) the symbol whose m that is: its own, or one that it is paired with


def blend(regime: float, advice: Advice, params: ManagerParams) -> float:
    """r'; r itself, to the bit, where the advice has no confidence."""
    weight = params.regime_weight * advice.confidence
    if weight == 0.0:
        return regime
    return (1.0 - weight) * regime + weight * advice.regime


def multipliers(
    proposed: Sequence[float], held: Sequence[float], hedges: Sequence[Bundle], advice: Advice, params: ManagerParams
) -> tuple[list[float], list[int]]:
    """m per symbol, (N,), and the symbols they come from.

    Parameters
    ----------
    proposed : (N,) signed fractions of equity
    held : (N,)
        The last final targets, which `no_new_risk` may not go beyond.
    hedges : columns of what is held together
    """
    found = [_multiplier(risk, params) for risk in advice.risk]
    if advice.no_new_risk:
        found = [min(m, _within(held[i], target, m)) for i, (m, target) in enumerate(zip(found, proposed, strict=True))]
    sources = list(range(len(found)))
    changed = True
    while changed:  # hedges may share a symbol, so the lowest m of a chain reaches all of it
        changed = False
        for columns in hedges:
            low = min(columns, key=found.__getitem__)
            for high in columns:
                if found[low] < found[high]:
                    found[high], sources[high] = found[low], sources[low]
                    changed = True
    return found, sources


def _multiplier(risk: float, params: ManagerParams) -> float:
    m = 1.0 - params.strength * (risk - NEUTRAL_RISK) / HALF_RANGE
    return min(max(m, params.min_multiplier), 1.0)


def _within(held: float, target: float, m: float) -> float:
    """The m at which a target does not lie beyond what is held, on either side of zero."""
    if target == 0.0 or (abs(target) * m <= abs(held) and (target > 0.0) == (held > 0.0)):
        return m
    if (target > 0.0) != (held > 0.0):
        return 0.0  # a position on the other side is new risk; what is held is still closed
    return abs(held) / abs(target)


def reduce(proposed: Sequence[float], factors: Sequence[float]) -> list[float]:
    """final = m * proposed; a target that is left alone is left alone to the bit."""
    return [target if m == 1.0 else m * target + 0.0 for target, m in zip(proposed, factors, strict=True)]
