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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.records import AccountPath, Decisions, PairPaths

__all__ = ["Contributions", "PriceMoves", "contributions"]

FloatArray = NDArray[np.float64]


class PriceMoves(NamedTuple):
    """Prices at which an account is marked and filled, (T, N) each, without NaN."""

    open: FloatArray  #: where a symbol has no bar, its mark before it
    mark: FloatArray  #: last close; 0 before the first


class Contributions(NamedTuple):
    """Profit of each bar, (T,), account currency; costs are negative."""

    sac_market: FloatArray
    sac_selection: FloatArray
    kalman_spread: FloatArray
    kalman_hedge_revision: FloatArray
    kalman_market: FloatArray
    execution: FloatArray
    commissions: FloatArray
    borrow: FloatArray

    @property
    def total(self) -> FloatArray:
        """The change of equity."""
        return np.asarray(np.sum(self, axis=0))


def contributions(
    account: AccountPath,
    decisions: Decisions,
    pairs: PairPaths,
    sides: list[tuple[int, int]],
    gross_exposure: float,
    prices: PriceMoves,
) -> Contributions:
    """Split the change of an account's equity, bar by bar.

    Parameters
    ----------
    account : AccountPath
        That traded `decisions.target`.
    sides : P columns (y, x)
    gross_exposure : float
        Of the Kalman leg with every pair open, see `hybrid_bt.legs.kalman.PairRules`.
    prices : PriceMoves

    Returns
    -------
    Contributions
        Their sum over parts is the change of equity on each bar, to rounding.
    """
    limits = _limits(decisions)
    shares = _per_close(account.equity, prices.mark)
    wanted = {leg: limits * decisions.weights[leg][:, None] * decisions.legs[leg] for leg in decisions.legs}
    sac = _split_market(wanted["sac"] * shares, prices)
    kalman = _pair_parts(limits * decisions.weights["kalman"][:, None], shares, pairs, sides, gross_exposure, prices)
    commissions, borrow = _costs(account)
    earned = np.diff(account.equity, prepend=account.equity[0])
    known = sum((*sac, *kalman), np.zeros(len(earned))) + commissions + borrow
    return Contributions(*sac, *kalman, earned - known, commissions, borrow)


def _limits(decisions: Decisions) -> FloatArray:
    """What the limits made of each fused target, (T, N); the common factor where nothing was wanted."""
    scale = np.broadcast_to(decisions.scale[:, None], decisions.fused.shape)
    wanted = decisions.fused != 0.0
    return np.divide(decisions.target, decisions.fused, out=scale.copy(), where=wanted)


def _per_close(equity: FloatArray, mark: FloatArray) -> FloatArray:
    """Shares that all of equity would buy, (T, N); 0 where a symbol has no price yet."""
    return np.divide(equity[:, None], mark, out=np.zeros_like(mark), where=mark > 0.0)


class _Legs(NamedTuple):
    """The two parts of a bar: what is held over each, and the moves."""

    held: tuple[FloatArray, FloatArray]  #: shares over the gap and over the session, (T, N)
    moves: tuple[FloatArray, FloatArray]  #: price changes, (T, N)
    market: tuple[FloatArray, FloatArray]  #: mean relative change, (T, 1)
    before: tuple[FloatArray, FloatArray]  #: price that each part begins at, (T, N)


def _parts(shares: FloatArray, prices: PriceMoves) -> _Legs:
    mark, opened = prices.mark, prices.open
    last = _late(mark, 1)
    moves = np.where(last > 0.0, opened - last, 0.0), np.where(opened > 0.0, mark - opened, 0.0)
    moves[0][0] = moves[1][0] = 0.0
    before = last, opened
    market = tuple(_mean_move(move, base) for move, base in zip(moves, before, strict=True))
    return _Legs((_late(shares, 2), _late(shares, 1)), moves, (market[0], market[1]), before)


def _late(values: FloatArray, bars: int) -> FloatArray:
    """Values of some bars before, zeros at the beginning."""
    out = np.zeros_like(values)
    out[bars:] = values[:-bars]
    return out


def _mean_move(move: FloatArray, before: FloatArray) -> FloatArray:
    relative = np.divide(move, before, out=np.zeros_like(move), where=before > 0.0)
    there = (before > 0.0).sum(axis=1)
    mean: FloatArray = (relative.sum(axis=1) / np.maximum(there, 1))[:, None]
    return mean


def _split_market(shares: FloatArray, prices: PriceMoves) -> tuple[FloatArray, FloatArray]:
    """Market and selection of a leg that holds these shares from the next open on."""
    parts = _parts(shares, prices)
    market, rest = np.zeros(len(shares)), np.zeros(len(shares))
    for held, move, mean, before in zip(*parts, strict=True):
        money = held * before
        market += (money * mean).sum(axis=1)
        rest += (held * move - money * mean).sum(axis=1)
    return market, rest


def _pair_parts(
    strength: FloatArray,
    shares: FloatArray,
    pairs: PairPaths,
    sides: list[tuple[int, int]],
    gross_exposure: float,
    prices: PriceMoves,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Spread move, hedge-ratio revision and market exposure of all pairs."""
    n = len(strength)
    spread, revision, market = np.zeros(n), np.zeros(n), np.zeros(n)
    for p, (y, x) in enumerate(sides):
        direction = np.nan_to_num(pairs.position[:, p])  # NaN before the pair's first bar
        entry = _entry_ratios(direction, pairs.beta[:, p])
        unit = direction * gross_exposure / len(sides) / (1.0 + entry)
        both = np.column_stack([unit * strength[:, y], unit * entry * strength[:, x]]) * shares[:, [y, x]]
        ratio = np.nan_to_num(pairs.beta[:, [p]])
        parts = _parts(np.column_stack([both, ratio]), PriceMoves(_three(prices.open, y, x), _three(prices.mark, y, x)))
        whole = _parts(np.zeros_like(prices.mark), prices)
        for k in (0, 1):
            held, before, mean = parts.held[k], parts.before[k], whole.market[k][:, 0]
            u, v = held[:, 0] * before[:, 0], held[:, 1] * before[:, 1]
            dy, dx = (_relative(parts.moves[k][:, side], before[:, side]) for side in (0, 1))
            b = held[:, 2]
            spread += u * ((dy - mean) - b * (dx - mean))
            revision += (u * b - v) * (dx - mean)
            market += (u - v) * mean
    return spread, revision, market


def _three(values: FloatArray, y: int, x: int) -> FloatArray:
    """Columns of both sides, and one that stands still beside the hedge ratio."""
    return np.column_stack([values[:, y], values[:, x], np.ones(len(values))])


def _relative(move: FloatArray, before: FloatArray) -> FloatArray:
    return np.divide(move, before, out=np.zeros_like(move), where=before > 0.0)


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


def _costs(account: AccountPath) -> tuple[FloatArray, FloatArray]:
    commissions = np.zeros(len(account.equity))
    for fill in account.fills:
        commissions[fill.bar] -= fill.commission
    return commissions, -account.borrow.sum(axis=1)
