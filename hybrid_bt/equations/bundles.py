"""What belongs together is cut together: wishes side by side, netted by symbol, held to limits.

A *side* is what a bundle wants of one of its symbols; a bundle of one side stands alone, one of several is a hedge. A
symbol's target is the sum of its sides. Where that breaks a limit, its sides of the same sign are cut, in this order:

1. those that stand alone, all by one factor: nothing else moves,
2. if that is not enough, whole hedges, all by one factor, *the other sides with them*.

So a hedge keeps its ratio whatever is cut. Cutting it may lay bare what its other side offset, so all symbols are
looked at again; a limit that is still broken after `PASSES` rounds is kept by one factor on everything.

The functions run on lists in CPython and on arrays in compiled code, with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hybrid_bt.equations import Numbers, Row, Written

ROUNDING = 1e-12  #: relative; what was scaled to a limit meets it only so nearly
PASSES = 8

Bundle = tuple[int, ...]  #: columns of what belongs together


class Layout(NamedTuple):
    """Which side is whose: S sides of B bundles, one behind the other."""

    columns: Row[int]  #: (S,) symbol of each side
    ends: Row[int]  #: (B,) one past the last side of each bundle
    legs: Row[int]  #: (B,) number of the leg that wishes it


def layout_of(bundles: Iterable[Sequence[Bundle]]) -> Layout:
    """The layout of each leg's bundles, (L,), one leg behind the other."""
    columns: list[int] = []
    ends: list[int] = []
    legs: list[int] = []
    for leg, of_leg in enumerate(bundles):
        for bundle in of_leg:
            columns.extend(bundle)
            ends.append(len(columns))
            legs.append(leg)
    return Layout(columns, ends, legs)


def bundles_of(layout: Layout) -> list[tuple[int, Bundle]]:
    """Leg and columns of each bundle, (B,)."""
    found, first = [], 0
    for end, leg in zip(layout.ends, layout.legs, strict=True):
        found.append((int(leg), tuple(int(layout.columns[s]) for s in range(first, end))))
        first = int(end)
    return found


def net_into(targets: Written, sides: Numbers, layout: Layout) -> None:
    """Write what the sides come to for each symbol, (N,)."""
    columns = layout.columns
    for i in range(len(targets)):
        targets[i] = 0.0
    for s, side in enumerate(sides):
        targets[columns[s]] += side


def scale_sides(sides: Written, layout: Layout, hedges: bool, factor: float) -> None:
    """Multiply all that stand alone, or all hedges."""
    first = 0
    for end in layout.ends:
        if (end - first > 1) == hedges:
            for s in range(first, end):
                sides[s] *= factor
        first = end


def gross_of(sides: Numbers, layout: Layout, hedges: bool) -> float:
    """Sum of |side| of all that stand alone, or of all hedges."""
    gross, first = 0.0, 0
    for end in layout.ends:
        if (end - first > 1) == hedges:
            for s in range(first, end):
                gross += abs(sides[s])
        first = end
    return gross


def _part(sides: Numbers, columns: Row[int], first: int, end: int, column: int) -> float:
    """What a bundle has of one symbol, or of all (-1)."""
    total = 0.0
    for s in range(first, end):
        if column < 0 or columns[s] == column:
            total += sides[s]
    return total


def _cut(sides: Written, layout: Layout, column: int, sign: float, excess: float) -> None:
    """Take `excess` off the sum of one symbol's sides, or of all (-1), where they have this sign."""
    columns, ends, _ = layout
    for hedges in (False, True):
        there, first = 0.0, 0
        for end in ends:
            if (end - first > 1) == hedges:
                there += max(_part(sides, columns, first, end, column) * sign, 0.0)
            first = end
        factor = 0.0 if there <= excess else 1.0 - excess / there
        first = 0
        for end in ends:
            if (end - first > 1) == hedges and _part(sides, columns, first, end, column) * sign > 0.0:
                for s in range(first, end):
                    sides[s] *= factor
            first = end
        excess -= there
        if excess <= 0.0:
            return


def hold_to(targets: Written, sides: Written, layout: Layout, bounds: Numbers, net_limit: float) -> bool:
    """Cut sides until |target| <= bound, (N,), and |sum of targets| <= `net_limit`; whether anything was cut.

    `targets` are what the sides come to, before and after.
    """
    is_cut = False
    for _ in range(PASSES):
        worst, net = 1.0, 0.0
        for i, bound in enumerate(bounds):
            target = targets[i]
            if abs(target) > bound * (1.0 + ROUNDING):
                _cut(sides, layout, i, math.copysign(1.0, target), abs(target) - bound)
                net_into(targets, sides, layout)
                is_cut, worst = True, 0.0
        for target in targets:
            net += target
        if abs(net) > net_limit * (1.0 + ROUNDING):
            _cut(sides, layout, -1, math.copysign(1.0, net), abs(net) - net_limit)
            net_into(targets, sides, layout)
            is_cut, worst = True, 0.0
        if worst > 0.0:
            return is_cut
    factor, net = 1.0, 0.0
    for i, bound in enumerate(bounds):
        net += targets[i]
        if abs(targets[i]) * factor > bound:
            factor = bound / abs(targets[i])
    if abs(net) * factor > net_limit:
        factor = net_limit / abs(net)
    for s in range(len(sides)):
        sides[s] *= factor
    net_into(targets, sides, layout)
    return True


def joined(n_symbols: int, bundles: Iterable[Bundle]) -> list[int]:
    """The smallest column that each symbol is connected to through bundles, its own where it is in none, (N,)."""
    labels = list(range(n_symbols))
    for bundle in bundles:
        whole = {labels[i] for i in bundle}
        if len(whole) > 1:
            least = min(whole)
            labels = [least if label in whole else label for label in labels]
    return labels
