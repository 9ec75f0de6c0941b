"""Where the hybrid's profit came from: each leg's bets, taken apart, and the costs. The parts sum to the whole.

At the close of t the final target holds the fraction T[l, t, i] of equity in symbol i for leg l: what of the leg's
wishes the mix and the limits left. That is n[l, t, i] = T E[t] / c[t, i] shares, held from the next open. Over the bar
t the leg earns

    n[l, t - 2, i] (open[t, i] - c[t - 1, i]) + n[l, t - 1, i] (c[t, i] - open[t, i])

and so its exposures in money, times the move of prices. With m the mean move of all symbols that traded, the same
over both parts of the bar, the profit of a leg of assets is that of its net exposure (times m, *market*) and the rest
(*selection*). A pair that holds U of Y against -V of X, moves y and x, and the filter's hedge ratio b at the decision,
earns U y - V x, which is exactly

    U ((y - m) - b (x - m))      spread move
    (U b - V) (x - m)            hedge-ratio revision: the position keeps the ratio of its entry, the filter moves on
    (U - V) m                    market exposure

What the account earned beyond its legs' wishes is *execution*: the band inside which nothing is traded, whole lots and
refused orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.account.records import AccountPath, FloatArray
from hybrid_bt.brain.laid import netted
from hybrid_bt.brain.records import Decisions, PairPaths
from hybrid_bt.equations import Pairs
from hybrid_bt.equations.bundles import bundles_of

PAIRS_LEG = "kalman"  #: whose wishes are pairs, if it has any
LATEST = 2  #: bars ago that what is held on a bar was decided, at most
OF_ASSETS = ("market", "selection")
OF_PAIRS = ("spread", "hedge_revision", "market")


#: part -> profit of each bar, (T,), account currency; costs are negative. Of a leg that holds pairs `_spread`,
#: `_hedge_revision` and `_market`, of any other `_market` and `_selection`; then `execution`, `commissions`, `borrow`
Contributions = dict[str, FloatArray]


def contributions(
    account: AccountPath,
    decisions: Decisions,
    pairs: PairPaths,
    sides: Pairs,
    opens: FloatArray,
    marks: FloatArray,
    rows: slice = slice(None),
) -> Contributions:
    """Split the change of an account's equity, bar by bar.

    Parameters
    ----------
    account : AccountPath
        That traded `decisions.target`.
    sides : P columns (y, x)
    opens : (T, N)
        Where orders fill; NaN where a symbol has no bar.
    marks : (T, N)
        Last closes; 0 before the first.
    rows : slice, optional
        Bars in a row that are asked for.

    Returns
    -------
    Contributions
        Their sum over parts is the change of equity on each bar, to rounding.
    """
    begin, end, _ = rows.indices(len(account.equity))
    first = max(begin - LATEST, 0)
    known = slice(first, end)
    equity, opens, marks = account.equity[known], opens[known], marks[known]
    decisions, pairs = decisions.rows(known), pairs.rows(known)
    #: shares that all of equity would buy, (T, N); 0 where a symbol has no price yet
    per_target = np.divide(equity[:, None], marks, out=np.zeros_like(marks), where=marks > 0.0)
    stages, bundles = _stages(opens, marks), bundles_of(decisions.layout)
    found: Contributions = {}
    parts = netted(decisions.legs, decisions.sides, decisions.layout, decisions.target.shape)
    for leg, (name, wanted) in enumerate(parts.items()):
        own = [columns for number, columns in bundles if number == leg]
        if set(own) <= set(sides) and (own or name == PAIRS_LEG):
            profits = zip(OF_PAIRS, _pair_parts(leg, decisions, pairs, sides, per_target, stages), strict=True)
        else:
            profits = zip(OF_ASSETS, _split_market(wanted * per_target, stages), strict=True)
        found |= {f"{name}_{part}": profit for part, profit in profits}
    commissions, borrow = np.zeros(len(equity)), -account.interest(known)
    fills = account.fills[slice(*np.searchsorted(account.fills.bar, (first, end)))]
    np.subtract.at(commissions, fills.bar - first, fills.commission)
    explained = sum(found.values(), np.zeros(len(equity))) + commissions + borrow
    execution = np.diff(equity, prepend=equity[:1]) - explained
    found |= {"execution": execution, "commissions": commissions, "borrow": borrow}
    return {name: part[begin - first :] for name, part in found.items()}


class _Stage(NamedTuple):
    """One part of each bar: from the last close to the open, or from the open to the close."""

    decided: int  #: bars ago that what is held over it was decided
    before: FloatArray  #: price that it begins at, (T, N); 0 where there is none yet
    move: FloatArray  #: relative, (T, N)
    market: FloatArray  #: mean of the moves, (T,)


def _stages(opens: FloatArray, marks: FloatArray) -> tuple[_Stage, _Stage]:
    last = _late(marks, 1)
    opened = np.where(np.isnan(opens), last, opens)  # without a bar the mark stands
    return _stage(2, last, opened), _stage(1, np.where(last > 0.0, opened, 0.0), marks)


def _stage(decided: int, before: FloatArray, after: FloatArray) -> _Stage:
    there = before > 0.0
    move = np.divide(after, before, out=np.ones_like(before), where=there) - 1.0
    return _Stage(decided, before, move, move.sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def _late(values: FloatArray, bars: int) -> FloatArray:
    """Values of some bars before, zeros at the beginning."""
    out = np.zeros_like(values)
    out[bars:] = values[:-bars]
    return out


def _split_market(shares: FloatArray, stages: Sequence[_Stage]) -> tuple[FloatArray, FloatArray]:
    """Market and selection of a leg that wants these shares, (T, N), from the next open on."""
    market, selection = np.zeros(len(shares)), np.zeros(len(shares))
    for stage in stages:
        money = _late(shares, stage.decided) * stage.before
        market += money.sum(axis=1) * stage.market
        selection += (money * (stage.move - stage.market[:, None])).sum(axis=1)
    return market, selection


def _pair_parts(
    leg: int, decisions: Decisions, pairs: PairPaths, sides: Pairs, per_target: FloatArray, stages: Sequence[_Stage]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Spread move, hedge-ratio revision and market exposure of all pairs of a leg."""
    spread, revision, market = (np.zeros(len(per_target)) for _ in range(3))
    first = 0
    for number, columns in bundles_of(decisions.layout):
        if number == leg:
            (y, x), amounts = columns, decisions.sides[:, first : first + 2]
            long, short = amounts[:, 0] * per_target[:, y], -amounts[:, 1] * per_target[:, x]
            beta = np.nan_to_num(pairs.beta[:, sides.index((y, x))])  # NaN before the pair's first bar
            for stage in stages:
                u, v = _late(long, stage.decided) * stage.before[:, y], _late(short, stage.decided) * stage.before[:, x]
                b, m = _late(beta, stage.decided), stage.market
                dy, dx = stage.move[:, y] - m, stage.move[:, x] - m
                spread += u * (dy - b * dx)
                revision += (u * b - v) * dx
                market += (u - v) * m
        first += len(columns)
    return spread, revision, market
