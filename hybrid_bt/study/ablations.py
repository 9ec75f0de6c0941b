"""What is compared: the hybrid with parts taken out or disturbed, and accounts that know nothing of it.

Every one of them trades the same bars at the same costs. Those marked *limits* run under the hybrid's own volatility
target and limits; the others are fully invested and unlevered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.baselines import FULLY_INVESTED
from hybrid_bt.config import Config
from hybrid_bt.costs import Costs
from hybrid_bt.leg_replay import constant_weight, replay_legs
from hybrid_bt.records import AccountPath, LegPaths
from hybrid_bt.target_replay import replay

__all__ = ["ABLATIONS", "LEARNED", "Panel", "momentum"]

FloatArray = NDArray[np.float64]

SHUFFLED_BLOCK_BARS = 21  #: r is cut into months that change places, so that its own persistence stays
MOMENTUM_BARS, SKIPPED_BARS = 252, 21  #: twelve months without the last


class Panel(NamedTuple):
    """One window: what was recorded on it, and how it is traded."""

    bars: Bars
    legs: LegPaths
    warm: NDArray[np.bool_]  #: (T, N)
    momentum: FloatArray  #: (T, N) log return over 12 months but the last; NaN where there is none
    config: Config
    costs: Costs
    seed: int = 0  #: of what is shuffled


def momentum(bars: Bars) -> FloatArray:
    """log(c[t - 21] / c[t - 252]) of each symbol, (T, N): Jegadeesh and Titman (1993), J. of Finance 48(1)."""
    logs = np.log(bars.close)
    found = np.full(bars.close.shape, np.nan)
    if bars.n_bars > MOMENTUM_BARS:
        found[MOMENTUM_BARS:] = logs[MOMENTUM_BARS - SKIPPED_BARS : -SKIPPED_BARS] - logs[:-MOMENTUM_BARS]
    return found


def _mixed(panel: Panel, *, w_sac: float | None = None, regime: FloatArray | None = None) -> AccountPath:
    config = panel.config
    return replay_legs(
        panel.legs,
        panel.bars,
        fusion=config.fusion if w_sac is None else constant_weight(w_sac),
        risk=config.risk,
        regime=regime,
        cash=config.account.cash,
        costs=panel.costs,
        rules=config.order_rules,
    )


def _constant_gate(r: float) -> Callable[[Panel], AccountPath]:
    return lambda panel: _mixed(panel, regime=np.full(panel.bars.n_bars, r))


def _shuffled_gate(panel: Panel) -> AccountPath:
    r = panel.legs.regime
    blocks = [r[i : i + SHUFFLED_BLOCK_BARS] for i in range(0, len(r), SHUFFLED_BLOCK_BARS)]
    order = np.random.default_rng(panel.seed).permutation(len(blocks))
    return _mixed(panel, regime=np.concatenate([blocks[i] for i in order]))


def _delayed(panel: Panel) -> AccountPath:
    """Every decision a bar late; nothing is wanted on the first."""
    legs = panel.legs
    late = {name: np.vstack([np.zeros_like(legs.sac[:1]), getattr(legs, name)[:-1]]) for name in ("sac", "kalman")}
    r = np.concatenate([legs.regime[:1], legs.regime[:-1]])
    return _mixed(panel._replace(legs=replace(legs, sac=late["sac"], kalman=late["kalman"], regime=r)))


def _equal_weights(panel: Panel) -> FloatArray:
    weights: FloatArray = panel.warm / np.maximum(panel.warm.sum(axis=1, keepdims=True), 1)
    return weights


def _volatility_target(panel: Panel) -> AccountPath:
    return _mixed(panel._replace(legs=replace(panel.legs, sac=_equal_weights(panel))), w_sac=1.0)


def _invested(panel: Panel, weights: FloatArray) -> AccountPath:
    """Trade weights that sum to one as an unlevered, fully invested account; NaN keeps what is held."""
    config = panel.config
    return replay(
        FULLY_INVESTED * weights,
        panel.bars,
        cash=config.account.cash,
        costs=panel.costs._replace(leverage=1.0),
        rules=config.order_rules._replace(rebalance_band=0.0),
    )


def _held(panel: Panel) -> AccountPath:
    weights = np.full(panel.bars.close.shape, np.nan)
    there = panel.bars.traded[0]
    weights[0] = there / max(int(there.sum()), 1)
    return _invested(panel, weights)


def _inverse_volatility(panel: Panel) -> AccountPath:
    steady = panel.warm / np.maximum(panel.legs.volatility, 1e-8)
    return _invested(panel, _monthly(panel.bars, steady / np.maximum(steady.sum(axis=1, keepdims=True), 1e-300)))


def _rebalanced(panel: Panel) -> AccountPath:
    return _invested(panel, _monthly(panel.bars, _equal_weights(panel)))


def _momentum(panel: Panel) -> AccountPath:
    """Equal parts of the better half by 12-month momentum, looked at every month."""
    score = np.where(panel.warm & np.isfinite(panel.momentum), panel.momentum, -np.inf)
    known = np.isfinite(score)
    rank = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1, kind="stable")
    held = known & (rank < np.ceil(known.sum(axis=1, keepdims=True) / 2))
    return _invested(panel, _monthly(panel.bars, held / np.maximum(held.sum(axis=1, keepdims=True), 1)))


def _monthly(bars: Bars, weights: FloatArray) -> FloatArray:
    """The weights of each month's first bar; NaN, which keeps what is held, on the others."""
    months = bars.stamps.astype("datetime64[M]")
    new = np.concatenate(([True], months[1:] != months[:-1]))
    return np.where(new[:, None], weights, np.nan)


#: the policies were trained: these differ from seed to seed
LEARNED: dict[str, Callable[[Panel], AccountPath]] = {
    "hybrid": _mixed,
    "sac": lambda panel: _mixed(panel, w_sac=1.0),
    "gate r=-1": _constant_gate(-1.0),
    "gate r=0": _constant_gate(0.0),
    "gate r=+1": _constant_gate(1.0),
    "shuffled gate": _shuffled_gate,
    "one bar late": _delayed,
}
#: account -> how it is traded; `hybrid` first
ABLATIONS: dict[str, Callable[[Panel], AccountPath]] = LEARNED | {
    "kalman": lambda panel: _mixed(panel, w_sac=0.0),
    "equal-weight": _held,
    "rebalanced": _rebalanced,
    "vol-target": _volatility_target,
    "inverse-vol": _inverse_volatility,
    "momentum": _momentum,
}
