"""The base of the account: inverse volatility, tilted by what a policy says of each asset.

    z_i = (x_i - mean x) / sd x, within +-2;     y_i <- keep y_i + (1 - keep) z_i
    a_i = exp(k y_i) / sigma_i,                  in shares of their sum

x_i is the policy's action on asset i, so only what it says of one asset beside the others counts; its level and timing
are the volatility target's business. The low-pass is what keeps turnover down: its half-life follows from what a trade
costs, 1 bar at 3 bps a side, 3 from 6 to 10, 6 from 15 up.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from annotated_types import Ge, Le

from hybrid_bt.equations import Lines, Numbers, Row, Table, Written
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.equations.costs import Costs

CLIP = 2.0  #: standard scores count within +-2
FLOOR = 0.1  #: of the mean volatility: an asset whose price hardly moves would be the whole account
LEAST_SD = 1e-9  #: actions that differ by rounding say nothing
HALF_LIVES = ((3.0, 1.0), (6.0, 3.0), (10.0, 3.0), (15.0, 6.0))  #: bps a side, bars; linear between them


class TiltParams(NamedTuple):
    """How far the policy moves the base."""

    tilt: Annotated[float, Ge(0), Le(100), "k: an asset one standard score above the others has exp(k) times its share"]
    half_life_bars: float  #: of the low-pass (`smoothing_bars`)


def smoothing_bars(costs: Costs) -> float:
    """Half-life of the low-pass under these costs, bars."""
    bps = 0.5 * costs.spread_bps + costs.fee_bps
    (low, bars), *rest = HALF_LIVES
    for high, more in rest:
        if bps < high:
            return bars + (more - bars) * max(bps - low, 0.0) / (high - low)
        low, bars = high, more
    return bars


def keep_of(half_life_bars: float) -> float:
    """What the low-pass keeps of the score before."""
    return 0.5 ** (1.0 / half_life_bars) if half_life_bars > 0.0 else 0.0


def score_bar(scores: Written, actions: Numbers, warm: Row[bool], keep: float) -> None:
    """Low-pass the standard scores of a bar's actions, (N,), in place; assets that are not warm have score 0."""
    n, mean, squares = 0, 0.0, 0.0
    for i, action in enumerate(actions):
        if warm[i]:
            n += 1
            mean += action
    count = max(n, 1)
    mean /= count
    for i, action in enumerate(actions):
        if warm[i]:
            squares += (action - mean) * (action - mean)
    sd = math.sqrt(squares / count)
    for i, action in enumerate(actions):
        z = (action - mean) / sd if warm[i] and sd > LEAST_SD else 0.0
        scores[i] = keep * scores[i] + (1.0 - keep) * min(max(z, -CLIP), CLIP)


def tilt_bars(
    shares: Lines, scores: Written, actions: Table, volatility: Table, warm: Row[Row[bool]], params: TiltParams
) -> None:
    """Shares (T, N) that sum to one, 0 for assets that are not warm, from actions (T, N).

    Parameters
    ----------
    scores : (N,)
        Low-passed, of the bar before; written over.
    """
    keep = keep_of(params.half_life_bars)
    for t in range(len(actions)):
        score_bar(scores, actions[t], warm[t], keep)
        n, sigma, whole = 0, 0.0, 0.0
        for i, is_warm in enumerate(warm[t]):
            if is_warm:
                n += 1
                sigma += volatility[t][i]
        floor = FLOOR * sigma / max(n, 1)
        for i, is_warm in enumerate(warm[t]):
            share = math.exp(params.tilt * scores[i]) / max(volatility[t][i], floor) if is_warm else 0.0
            shares[t][i] = share
            whole += share
        for i in range(len(actions[t])):
            shares[t][i] = shares[t][i] / whole if whole > 0.0 else 0.0


def lean(sides: Written, amounts: Numbers, volatility: Numbers, layout: Layout, share: float) -> None:
    """Write the sides of the base, its departures from equal risk to the power `share`; 1 keeps it, 0 switches off.

    Parameters
    ----------
    sides, amounts : (S,)
        Sides of other legs stay as they are.
    """
    (columns, ends, legs), first, gross, leaned, is_whole = layout, 0, 0.0, 0.0, share == 1.0
    for b, end in enumerate(ends):
        if legs[b] == 0:
            risk, factor = 0.0, 1.0
            if not is_whole:
                for s in range(first, end):
                    risk += abs(amounts[s]) * volatility[columns[s]]
            if risk > 0.0:
                factor = math.exp((share - 1.0) * math.log(risk))
            for s in range(first, end):
                sides[s] = amounts[s] * factor
                gross += abs(amounts[s])
                leaned += abs(sides[s])
        first = end
    if not is_whole and leaned > 0.0:
        by, first = gross / leaned if share > 0.0 else 0.0, 0
        for b, end in enumerate(ends):
            if legs[b] == 0:
                for s in range(first, end):
                    sides[s] *= by
            first = end


def lean_rows(leaned: Lines, amounts: Table, volatility: Table, layout: Layout, shares: Numbers) -> None:
    """`lean` of T closes."""
    for t in range(len(leaned)):
        lean(leaned[t], amounts[t], volatility[t], layout, shares[t])
