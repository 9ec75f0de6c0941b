"""What a run leaves behind: plain records that accounts write and reports read.

Shapes: T bars from the trading start (row 0 is the bar of the first decision, on which nothing is held yet), N symbols,
P pairs. A decision made on row t may fill on row t + 1 at the earliest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars

__all__ = ["AccountPath", "Decisions", "Fill", "PairPaths", "RunRecord"]

FloatArray = NDArray[np.float64]


class Fill(NamedTuple):
    """One executed order."""

    bar: int  #: row on which it filled, at that row's open
    decided: int  #: row of the decision it came from
    symbol: int  #: column
    size: float  #: signed shares
    price: float
    commission: float  #: spread and fee, >= 0


@dataclass(frozen=True, eq=False)
class AccountPath:
    """One account, bar by bar, as marked at each close."""

    cash: FloatArray  #: (T,)
    equity: FloatArray  #: (T,)
    size: FloatArray  #: (T, N) signed shares held at the close
    borrow: FloatArray  #: (T, N) interest charged on shorts on each bar, >= 0
    fills: tuple[Fill, ...]
    rejected: int = 0  #: orders that the margin check refused


@dataclass(frozen=True, eq=False)
class Decisions:
    """What each part of the brain wanted, bar by bar; targets are signed fractions of equity."""

    legs: dict[str, FloatArray]  #: leg name -> (T, N) target
    weights: dict[str, FloatArray]  #: leg name -> (T,) fusion weight; they sum to 1
    regime: FloatArray  #: (T,) r in [-1, 1]
    fused: FloatArray  #: (T, N) convex mix of the legs' targets
    target: FloatArray  #: (T, N) after limits: what is traded
    scale: FloatArray  #: (T,) factor that the volatility target and the limits put on the fused target


@dataclass(frozen=True, eq=False)
class PairPaths:
    """Kalman state and position of each pair, bar by bar; NaN before the pair's first bar."""

    names: tuple[str, ...]  #: P names `Y:X`
    alpha: FloatArray  #: (T, P) posterior intercept, log price
    beta: FloatArray  #: (T, P) posterior hedge ratio
    beta_var: FloatArray  #: (T, P) posterior variance of beta
    innovation: FloatArray  #: (T, P) forecast error of y before the update
    innovation_var: FloatArray  #: (T, P) its variance S
    spread: FloatArray  #: (T, P) see `hybrid_bt.spread`
    zscore: FloatArray  #: (T, P) spread in its own standard deviations: what the leg trades
    position: FloatArray  #: (T, P) -1, 0 or +1 (+1 is long Y, short X)


@dataclass(frozen=True, eq=False)
class RunRecord:
    """Everything a report needs; nothing in it refers to Backtrader."""

    bars: Bars  #: the T traded bars only
    accounts: dict[str, AccountPath]  #: `hybrid` first, then the baselines
    decisions: Decisions
    pairs: PairPaths
    entry_z: float  #: |zscore| at which a pair opens
    exit_z: float  #: |zscore| at which it closes
    benchmark: str  #: key of the account that curves are drawn against
    start_value: float
    in_sample: NDArray[np.bool_]  #: (T,) True where a policy was trained on that date
    config: dict[str, Any]  #: the whole resolved configuration, as plain data
    facts: dict[str, Any] = field(default_factory=dict)  #: versions, hashes, spans, counts: goes to run.json
    notes: tuple[str, ...] = ()  #: caveats that every reader of the result must see
