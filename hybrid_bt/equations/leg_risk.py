"""How risky a leg is: the volatility by which its wishes are brought to units of risk.

    p_t = sum_i a_{i,t-1} (c_{i,t} / c_{i,t-1} - 1)         what the leg's wishes of the bar before earned
    v_t = v_{t-1} + g (p_t^2 - v_{t-1})                     g = 1 - 0.5^(1/120), a plain average until then
    w_t^2 = sum over hedges (u_p sd_p)^2 + (1 - rho) sum_i (a_i sigma_i)^2 + rho (sum_i a_i sigma_i)^2

The greater of sqrt(v_t) and w_t counts: what the leg has shown over half a year, and what it wants now. A hedge that is
a pair of the filter has the standard deviation of its own innovations, sd_p, for each unit u_p of y: no correlation has
to be assumed. What stands alone has the one of the universe. Nothing here looks at weights, limits or the account.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hybrid_bt.equations import Cells, Lines, Numbers, Row, Table, Written
from hybrid_bt.equations.bundles import Layout

GAIN = 1.0 - 0.5 ** (1.0 / 120.0)  #: half-life of half a year of daily bars


class LegMemory(NamedTuple):
    """What is remembered of L legs from bar to bar, changed in place."""

    variance: Cells[float]  #: (L,) of the wishes' profit per bar
    n_bars: Cells[float]  #: (L,) since the first profit
    wanted: Row[Cells[float]]  #: (L, N) netted wishes of the last bar
    closes: Cells[float]  #: (N,) last closes, 0 before the first


class Seen(NamedTuple):
    """What T bars show."""

    closes: Table  #: (T, N) NaN where a symbol has no bar
    volatility: Table  #: (T, N) per bar
    correlation: Numbers  #: (T,)
    pair_sds: Table  #: (T, P) standard deviation of each pair's innovations, log price


def new_memory(n_legs: int, n_symbols: int) -> LegMemory:
    """Nothing seen."""
    return LegMemory([0.0] * n_legs, [0.0] * n_legs, [[0.0] * n_symbols for _ in range(n_legs)], [0.0] * n_symbols)


def risk_bars(memory: LegMemory, seen: Seen, amounts: Table, layout: Layout, pair_of: Row[int], risks: Lines) -> None:
    """Volatility per bar of each leg's wishes, written to `risks` (T, L).

    Parameters
    ----------
    amounts : (T, S) wishes at these closes
    pair_of : (B,) number of the pair that a bundle is, -1 where it is none
    """
    variance, n_bars, wanted, last = memory  # `last` is 0 before a first bar, and a leg may wish for it all the same
    for t, row in enumerate(seen.closes):
        for leg in range(len(variance)):
            profit = 0.0
            for i, close in enumerate(row):
                if wanted[leg][i] != 0.0 and close == close and last[i] > 0.0:
                    profit += wanted[leg][i] * (close / last[i] - 1.0)
            if profit != 0.0 or n_bars[leg] > 0.0:
                n_bars[leg] += 1.0
                variance[leg] += max(GAIN, 1.0 / n_bars[leg]) * (profit * profit - variance[leg])
            for i in range(len(row)):
                wanted[leg][i] = 0.0
            risks[t][leg] = 0.0
        for i, close in enumerate(row):
            if close == close:
                last[i] = close
        _want(wanted, seen, t, amounts[t], layout, pair_of, risks[t])
        for leg in range(len(variance)):
            risks[t][leg] = math.sqrt(max(variance[leg], risks[t][leg]))


def _want(
    wanted: Row[Cells[float]], seen: Seen, t: int, amounts: Numbers, layout: Layout, pair_of: Row[int], risk: Written
) -> None:
    """Net the wishes of a bar into `wanted`, and write w_t^2 of each leg to `risk`."""
    volatility, rho = seen.volatility[t], seen.correlation[t]
    for leg in range(len(wanted)):
        own, together, first = 0.0, 0.0, 0
        for b, end in enumerate(layout.ends):
            if layout.legs[b] == leg:
                for s in range(first, end):
                    amount, column = amounts[s], layout.columns[s]
                    wanted[leg][column] += amount
                    if pair_of[b] < 0:
                        part = amount * volatility[column]
                        own += part * part
                        together += part
                if pair_of[b] >= 0:
                    part = amounts[first] * seen.pair_sds[t][pair_of[b]]
                    risk[leg] += part * part
            first = end
        risk[leg] += (1.0 - rho) * own + rho * together * together
