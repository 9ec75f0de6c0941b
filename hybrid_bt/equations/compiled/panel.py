"""Loops over the bars of a whole panel: reading it, what legs want, how risky they are, the mix, an account."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.equations import Pairs, features, fusion, pair
from hybrid_bt.equations.accounting import Terms, run_account
from hybrid_bt.equations.book import Account, Tape, book_of
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.equations.compiled.compiling import SOURCES, Floats, Ints, as_kernel, as_tuple, frozen, jitable, takes
from hybrid_bt.equations.fusion import RiskParams, Rows
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.leg_risk import LegMemory, Seen, risk_bars
from hybrid_bt.equations.pair import SpreadRates
from hybrid_bt.equations.pair_rules import PairBars, PairPosition, PairRules, hold_bars
from hybrid_bt.equations.tilt import TiltParams, lean_rows, tilt_bars

Flags: TypeAlias = NDArray[np.bool_]
Out: TypeAlias = tuple[NDArray[Any], ...]
Said: TypeAlias = tuple[Floats, Floats, Floats, Floats]  #: amounts, risks, volatility, correlation

N_NOISE, N_POSITION = len(KalmanParams._fields), len(PairPosition._fields)


def _kernels() -> tuple[Callable[..., Any], ...]:
    sources = SOURCES

    def read(
        closes: Floats, traded: Flags, sides: Ints, noise: Floats, rates: SpreadRates, logs: Floats, out: Out
    ) -> None:
        assert sources >= 0
        out_warm, out_features, out_market, out_market_warm, out_volatility, out_correlation, out_pairs = out
        params = [KalmanParams(*as_tuple(k, N_NOISE)) for k in noise]
        pairs = [pair.first_pair(sides[p, 0], sides[p, 1], params[p]) for p in range(len(params))]
        assets = [features.initial_asset() for _ in range(closes.shape[1])]
        mean = features.initial_market()
        for t in range(len(closes)):
            for i, close in enumerate(closes[t]):
                logs[i] = math.log(close) if traded[t, i] else math.nan
            mean = features.absorb_bar(logs, traded[t], assets, mean)
            pair.absorb_bar(pairs, logs, params, rates)
            stretch = pair.pair_stretch(pairs)
            for i, asset in enumerate(assets):
                for k, value in enumerate(features.asset_features(asset, mean)):
                    out_features[t, i, k] = value
                out_volatility[t, i] = features.volatility(asset)
                out_warm[t, i] = features.is_warm(asset)
            for k, value in enumerate(features.market_features(mean, stretch)):
                out_market[t, k] = value
            out_correlation[t] = features.correlation(mean)
            out_market_warm[t] = features.is_warm(mean.mean)
            for p, one in enumerate(pairs):
                for k, value in enumerate(pair.pair_view(one)):
                    out_pairs[t, p, k] = value

    def hold(positions: Floats, seen: PairBars, rules: PairRules, amounts: Floats) -> None:
        assert sources >= 0
        held = [PairPosition(*as_tuple(row, N_POSITION)) for row in positions]
        hold_bars(held, seen, rules, amounts)
        for p, position in enumerate(held):
            for k, value in enumerate(position):
                positions[p, k] = value

    def trade(rows: tuple[Floats, Floats, Ints, Floats, Ints], terms: Terms, tape: Tape, state: Out) -> Account:
        assert sources >= 0
        return run_account(*rows, terms, book_of(*state), tape)

    def tilt(
        shares: Floats, scores: Floats, actions: Floats, volatility: Floats, warm: Flags, params: TiltParams
    ) -> None:
        assert sources >= 0
        tilt_bars(shares, scores, actions, volatility, warm, params)

    def weigh(memory: LegMemory, seen: Seen, amounts: Floats, layout: Layout, pair_of: Ints, risks: Floats) -> None:
        assert sources >= 0
        risk_bars(memory, seen, amounts, layout, pair_of, risks)

    def settle(out: Rows, said: Said, layout: Layout, shares: Floats, limits: RiskParams, bounds: Floats) -> None:
        assert sources >= 0
        fusion.settle_rows(out, said, layout, shares, limits, bounds)

    def lean(leaned: Floats, amounts: Floats, volatility: Floats, layout: Layout, shares: Floats) -> None:
        assert sources >= 0
        lean_rows(leaned, amounts, volatility, layout, shares)

    in_place: tuple[Callable[..., Any], ...] = (trade, tilt, weigh, settle, lean)
    return as_kernel(read), as_kernel(hold), *(as_kernel(kernel, allocates=False) for kernel in in_place)


_read, _hold, _trade, _tilt, _weigh, _settle, _lean = _kernels()


def read_all(
    closes: Floats, traded: Flags, sides: Pairs, noise: Sequence[KalmanParams], rates: SpreadRates, out: Out
) -> None:
    """Read all bars of a panel.

    Parameters
    ----------
    closes, traded : (T, N)
    sides : (P,) columns (y, x) of each pair
    noise : (P,) KalmanParams
    out
        Columns `warm` to `pairs` of a blank `legs.base.View`, which are written.
    """
    columns = np.array(sides, dtype=np.int64).reshape(-1, 2)
    numbers = np.array(noise, dtype=np.float64).reshape(-1, N_NOISE)
    given = frozen(np.ascontiguousarray(closes)), frozen(traded), frozen(columns), frozen(numbers)
    _read(*given, SpreadRates._make(map(float, rates)), np.empty(closes.shape[1]), out)


@cache
def _driven(loop: Callable[..., Any], step: Callable[..., Any]) -> Callable[..., Any]:
    drive, one = jitable(loop), jitable(step)
    return as_kernel(lambda state, bars, values: drive(one, state, bars, values), kept=False)


def observe_all(loop: Callable[..., Any], step: Callable[..., Any], who: str, *given: Any) -> bool:  # noqa: ANN401
    """Run a loop over bars (state, bars, values) on a step of somebody else's; whether numba takes it."""
    return takes(who, _driven(loop, step), *given)


def hold_all(
    positions: Sequence[PairPosition], seen: PairBars, rules: PairRules, amounts: Floats
) -> list[PairPosition]:
    """The positions after T bars; the rest as in `hold_bars`."""
    numbers = np.array(positions, dtype=np.float64).reshape(-1, N_POSITION)
    given = PairBars(*(frozen(np.ascontiguousarray(values)) for values in seen))
    _hold(numbers, given, PairRules._make(map(float, rules)), amounts)
    return [PairPosition(*row) for row in numbers.tolist()]


def tilt_all(
    shares: Floats, scores: Sequence[float], actions: Floats, volatility: Floats, warm: Flags, params: TiltParams
) -> list[float]:
    """`tilt.tilt_bars` of arrays; the scores after them."""
    after = np.array(scores, dtype=np.float64)
    given = (np.ascontiguousarray(values) for values in (actions, volatility, warm))
    _tilt(shares, after, *map(frozen, given), TiltParams(*map(float, params)))
    return after.tolist()  # type: ignore[no-any-return]


def weigh_all(
    memory: LegMemory, seen: Seen, amounts: Floats, layout: Layout, pair_of: Sequence[int], risks: Floats
) -> None:
    """`leg_risk.risk_bars` of arrays; `memory` is of lists, changed in place."""
    held: tuple[Any, ...] = memory
    arrays = [np.array(values, dtype=np.float64) for values in held]
    given = Seen(*map(np.ascontiguousarray, seen)), amounts, Layout(*map(_ints, layout)), _ints(pair_of), risks
    _weigh(LegMemory(*arrays), *given)
    for values, after in zip(held, arrays, strict=True):
        values[:] = after.tolist()


def _ints(values: object) -> Ints:
    return np.array(values, dtype=np.int64)


def one_account(terms: Terms, tape: Tape, *rows: NDArray[Any]) -> Account:
    """`accounting.run_account` of C-contiguous opens, closes, days, targets and sides, with a book of its own."""
    n = rows[1].shape[1]
    account: Account = _trade(tuple(map(frozen, rows)), terms, tape, (np.zeros((6, n)), np.zeros((4, n), np.int64)))
    return account


def settle_all(out: Rows, said: Sequence[Floats], layout: Layout, shares: Floats, risk: RiskParams) -> None:
    """`fusion.settle_rows` of C-contiguous arrays."""
    limits, arrays = RiskParams(*map(float, risk)), Layout(*map(_ints, layout))
    _settle(out, tuple(map(frozen, said)), arrays, frozen(shares), limits, np.empty(said[2].shape[1]))


def lean_all(leaned: Floats, amounts: Floats, volatility: Floats, layout: Layout, shares: Floats) -> None:
    """`tilt.lean_rows` of arrays."""
    given = (frozen(np.ascontiguousarray(values)) for values in (amounts, volatility))
    _lean(leaned, *given, Layout(*map(_ints, layout)), frozen(shares))
