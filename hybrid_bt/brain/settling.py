"""From what legs said to what is to be held: mixed, limited, and kept where a bundle waits. A panel at once.

A leg knows nothing of cash, weights or limits, so what it said once stays what it would say, and nothing in the mix or
the limits looks at the account: any account of recorded legs is `settle_panel`, then `target_replay.replay`. Row by row
it is what `Hybrid.settle` does, by the same functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.brain.records import Opinions
from hybrid_bt.equations.compiled.choice import choose
from hybrid_bt.equations.fusion import MixParams, RiskParams, leg_weights, legs_traded, settle_row
from hybrid_bt.equations.waiting import waiting_rows
from hybrid_bt.errors import ConfigError

FloatArray = NDArray[np.float64]

SECONDS_PER_CELL = 1e-6  # of a bar x symbol, interpreted


class Mix(NamedTuple):
    """How much of each leg, bar by bar."""

    weights: FloatArray  #: (T, L)
    traded: tuple[bool, ...]  #: (L,) whether a leg has a part in it at all


def mix_of(regime: ArrayLike, params: MixParams) -> Mix:
    """The weights of all legs along a path of r, (T,)."""
    path = np.asarray(regime, dtype=np.float64).tolist()
    return Mix(np.array([leg_weights(r, params) for r in path]), legs_traded(params))


def alone(opinions: Opinions, name: str) -> Mix:
    """All of one leg and nothing of the others."""
    parts = tuple(leg == name for leg in opinions.legs)
    return Mix(np.tile(np.array(parts, dtype=np.float64), (len(opinions.regime), 1)), parts)


def settle_panel(
    opinions: Opinions, traded: NDArray[np.bool_], mix: Mix, risk: RiskParams, *, compiled: bool | None = None
) -> FloatArray:
    """Targets (T, N) of recorded legs, signed fractions of equity; NaN keeps what is held.

    Parameters
    ----------
    traded : (T, N)
        Whether the symbol has a bar.
    mix : Mix
        `mix_of` a path of r, or one leg `alone`.
    compiled : bool, optional
        Run under numba (same bits). By default where the work is worth loading it.

    Raises
    ------
    ConfigError
        For arrays of another shape or with values that are not finite.
    """
    n_bars, n_symbols = traded.shape
    targets = np.array([_checked(name, leg, traded.shape) for name, leg in opinions.legs.items()])
    volatility = _checked("volatility", opinions.volatility, traded.shape)
    correlation = _checked("correlation", opinions.correlation, (n_bars,))
    weights = _checked("the mix", mix.weights, (n_bars, len(targets)))
    settled = np.empty(traded.shape)
    given = targets, weights, volatility, correlation, risk
    if choose(compiled, traded.size * SECONDS_PER_CELL):
        from hybrid_bt.equations.compiled.accounts import settle_all

        settle_all(*given, settled)
    else:
        rows = [column.tolist() for column in (targets.transpose(1, 0, 2), weights, volatility, correlation)]
        blank = [0.0] * n_symbols
        for t, (wanted, parts, volatilities, rho) in enumerate(zip(*rows, strict=True)):
            settle_row(blank, wanted, parts, volatilities, rho, risk)
            settled[t] = blank
    settled[waiting_rows(traded, opinions.ties, mix.traded)] = np.nan
    return settled


def _checked(name: str, values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.shape != shape or not len(array):
        raise ConfigError(f"replay: {name} must be of shape {shape}, not {array.shape}; record it on these bars")
    if not np.isfinite(array).all():
        row = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ConfigError(f"replay: {name} is not finite at {row}; a leg answers with a number on every bar")
    return array
