"""Where the hybrid's profit came from: each leg's bets, taken apart, and the costs. The parts sum to the whole.

At the close of t a leg l wants the fraction T[l, t, i] = k[t, i] w[l, t] a[l, t, i] of equity in symbol i, where k is
what the limits made of the mix (final target over fused target). That is n[l, t, i] = T E[t] / c[t, i] shares, held
from the next open. Over the bar t the leg earns

    n[l, t - 2, i] (open[t, i] - c[t - 1, i]) + n[l, t - 1, i] (c[t, i] - open[t, i])

and so its exposures in money, times the move of prices. With m the mean move of all symbols that traded, the same
over both parts of the bar, the SAC leg's profit is that of its net exposure (times m, *market*) and the rest
(*selection*). A pair that holds U of Y against -V of X, moves y and x, and the filter's hedge ratio b at the decision,
earns U y - V x, which is exactly

    U ((y - m) - b (x - m))      spread move
    (U b - V) (x - m)            hedge-ratio revision: the position keeps the ratio of its entry, the filter moves on
    (U - V) m                    market exposure

What the account earned beyond its legs' wishes is *execution*: the band inside which nothing is traded, whole lots,
refused orders, and pairs that were open before the trading start, whose entry is not on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.account.flows import fill_arrays
from hybrid_bt.account.records import AccountPath, FloatArray
from hybrid_bt.brain.records import Decisions, PairPaths

PAIRS_LEG = "kalman"  #: whose wishes are pairs, held at the hedge ratio of their entry, if it holds any
OF_ASSETS = ("market", "selection")
OF_PAIRS = ("spread", "hedge_revision", "market")


#: part -> profit of each bar, (T,), account currency; costs are negative. Of a leg that holds pairs `_spread`,
#: `_hedge_revision` and `_market`, of any other `_market` and `_selection`; then `execution`, `commissions`, `borrow`
Contributions = dict[str, FloatArray]


def contributions(
    account: AccountPath,
    decisions: Decisions,
    pairs: PairPaths,
    sides: Sequence[tuple[int, int]],
    gross_exposure: float,
    opens: FloatArray,
    marks: FloatArray,
) -> Contributions:
    """Split the change of an account's equity, bar by bar.

    Parameters
    ----------
    account : AccountPath
        That traded `decisions.target`.
    sides : P columns (y, x)
    gross_exposure : float
        Of the Kalman leg with every pair open, see `hybrid_bt.equations.pair.PairRules`.
    opens : (T, N)
        Where orders fill; NaN where a symbol has no bar.
    marks : (T, N)
        Last closes; 0 before the first.

    Returns
    -------
    Contributions
        Their sum over parts is the change of equity on each bar, to rounding.
    """
    limits = _limits(decisions)
    shares = _per_close(account.equity, marks)
    stages = _stages(opens, marks)
    found: Contributions = {}
    for name, targets in decisions.legs.items():
        weight = decisions.weights[name][:, None]
        if name == PAIRS_LEG and (np.nan_to_num(pairs.position).any() or not targets.any()):
            unit = limits * weight * shares * gross_exposure / max(len(sides), 1)
            parts = zip(OF_PAIRS, _pair_parts(unit, pairs, sides, stages), strict=True)
        else:
            parts = zip(OF_ASSETS, _split_market(limits * weight * targets * shares, stages), strict=True)
        found |= {f"{name}_{part}": profit for part, profit in parts}
    commissions, borrow = np.zeros(len(account.equity)), -account.borrow.sum(axis=1)
    fills = fill_arrays(account)
    np.subtract.at(commissions, fills.bar, fills.commission)
    earned = np.diff(account.equity, prepend=account.equity[0])
    known = sum(found.values(), np.zeros(len(earned))) + commissions + borrow
    return found | {"execution": earned - known, "commissions": commissions, "borrow": borrow}


def _limits(decisions: Decisions) -> FloatArray:
    """What the limits made of each fused target, (T, N); the common factor where nothing was wanted."""
    scale = np.broadcast_to(decisions.scale[:, None], decisions.fused.shape)
    wanted = decisions.fused != 0.0
    return np.divide(decisions.standing_target, decisions.fused, out=scale.copy(), where=wanted)


def _per_close(equity: FloatArray, mark: FloatArray) -> FloatArray:
    """Shares that all of equity would buy, (T, N); 0 where a symbol has no price yet."""
    return np.divide(equity[:, None], mark, out=np.zeros_like(mark), where=mark > 0.0)


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
    unit: FloatArray, pairs: PairPaths, sides: Sequence[tuple[int, int]], stages: Sequence[_Stage]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Spread move, hedge-ratio revision and market exposure of all pairs; `unit` is a pair's whole gross, shares."""
    spread, revision, market = (np.zeros(len(unit)) for _ in range(3))
    for p, (y, x) in enumerate(sides):
        direction = np.nan_to_num(pairs.position[:, p])  # NaN before the pair's first bar
        entry = _entry_ratios(direction, pairs.beta[:, p])
        long, short = (direction / (1.0 + entry) * part for part in (unit[:, y], entry * unit[:, x]))
        for stage in stages:
            u, v = _late(long, stage.decided) * stage.before[:, y], _late(short, stage.decided) * stage.before[:, x]
            b, m = _late(np.nan_to_num(pairs.beta[:, p]), stage.decided), stage.market
            dy, dx = stage.move[:, y] - m, stage.move[:, x] - m
            spread += u * (dy - b * dx)
            revision += (u * b - v) * dx
            market += (u - v) * m
    return spread, revision, market


def _entry_ratios(position: FloatArray, beta: FloatArray) -> FloatArray:
    """The hedge ratio that each bar's position was opened with, (T,): the filter's before the bar of entry.

    A pair that is open on row 0 was opened before; it is given the ratio of that row.
    """
    known = np.nan_to_num(beta)
    ratios, ratio = np.zeros_like(position), 0.0
    for t in range(len(position)):
        if position[t] != 0.0 and (t == 0 or position[t - 1] == 0.0):
            ratio = known[max(t - 1, 0)]
        ratios[t] = ratio if position[t] != 0.0 else 0.0
    return ratios
