"""Loops over the bars of a whole panel: reading it, what legs want, how risky they are, the mix, an account."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.equations import features, fusion, pair
from hybrid_bt.equations.accounting import Terms, run_account
from hybrid_bt.equations.book import Account, Tape, book_of
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.equations.compiled.compiling import SOURCES, Floats, Ints, as_kernel, as_tuple, frozen, jitable, takes
from hybrid_bt.equations.features import AssetState, MarketState
from hybrid_bt.equations.fusion import RiskParams, Rows
from hybrid_bt.equations.history import History
from hybrid_bt.equations.kalman import KalmanParams, KalmanState
from hybrid_bt.equations.leg_risk import LegMemory, Seen, risk_bars
from hybrid_bt.equations.pair import PairState, SpreadRates, SpreadState
from hybrid_bt.equations.pair_rules import PairBars, PairPosition, PairRules, hold_bars
from hybrid_bt.equations.tilt import TiltParams, lean_rows, tilt_bars

Flags: TypeAlias = NDArray[np.bool_]
Out: TypeAlias = tuple[NDArray[Any], ...]
Memory: TypeAlias = tuple[Floats, Floats, Floats]  #: numbers of the assets, of the market, of the pairs
Memories: TypeAlias = tuple[list[AssetState], MarketState, list[PairState]]
Said: TypeAlias = tuple[Floats, Floats, Floats, Floats]  #: amounts, risks, volatility, correlation

N_NOISE, N_POSITION, N_ASSET = len(KalmanParams._fields), len(PairPosition._fields), len(AssetState._fields)
N_HISTORY, N_KALMAN, N_SPREAD = len(History._fields), len(KalmanState._fields), len(SpreadState._fields)


def _kernels() -> tuple[Callable[..., Any], ...]:
    sources = SOURCES

    def read(
        closes: Floats, traded: Flags, sides: Ints, noise: Floats, rates: SpreadRates, memory: Memory, out: Out
    ) -> None:
        assert sources >= 0
        out_warm, out_features, out_market, out_market_warm, out_volatility, out_correlation, out_pairs = out
        of_assets, of_market, of_pairs = memory
        params, logs = [KalmanParams(*as_tuple(k, N_NOISE)) for k in noise], np.empty(closes.shape[1])
        pairs = [
            PairState(
                sides[p, 0],
                sides[p, 1],
                KalmanState(*as_tuple(row, N_KALMAN)),
                SpreadState(*as_tuple(row[N_KALMAN:], N_SPREAD)),
                row[-4] > 0.0,
                row[-3] > 0.0,
                row[-2],
                row[-1],
            )
            for p, row in enumerate(of_pairs)
        ]
        assets = [AssetState(*as_tuple(row, N_ASSET)) for row in of_assets]
        recent = as_tuple(of_market[N_ASSET:], 4)
        mean = MarketState(
            AssetState(*as_tuple(of_market, N_ASSET)),
            recent[0],
            recent[1],
            recent[2],
            recent[3],
            History(*as_tuple(of_market[N_ASSET + 4 :], N_HISTORY)),
            History(*as_tuple(of_market[N_ASSET + 4 + N_HISTORY :], N_HISTORY)),
        )
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
        for i, asset in enumerate(assets):
            for k, value in enumerate(asset):
                of_assets[i, k] = value
        later = mean.mean_shock_sq, mean.shock_sq, mean.n_assets, mean.trend_sq
        for k, value in enumerate(mean.mean):
            of_market[k] = value
        for k in range(4):
            of_market[N_ASSET + k] = later[k]
        for k in range(N_HISTORY):
            of_market[N_ASSET + 4 + k] = mean.risk[k]
            of_market[N_ASSET + 4 + N_HISTORY + k] = mean.spread[k]
        for p, one in enumerate(pairs):
            for k, value in enumerate(one.kalman):
                of_pairs[p, k] = value
            for k, value in enumerate(one.spread):
                of_pairs[p, N_KALMAN + k] = value
            of_pairs[p, -4], of_pairs[p, -3] = one.fresh, one.started
            of_pairs[p, -2], of_pairs[p, -1] = one.log_y, one.log_x

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
    closes: Floats, traded: Flags, noise: Sequence[KalmanParams], rates: SpreadRates, seen: Memories, out: Out
) -> Memories:
    """Read bars, (T, N); what is remembered behind them, from what was `seen` before.

    Columns `warm` to `pairs` of a blank `legs.base.View` are written to `out`; `noise` is (P,).
    """
    assets, market, pairs = seen
    columns = np.array([one[:2] for one in pairs], dtype=np.int64).reshape(-1, 2)
    numbers = np.array(noise, dtype=np.float64).reshape(-1, N_NOISE)
    rows = np.array([(*one.kalman, *one.spread, *one[4:]) for one in pairs], dtype=np.float64)
    memory = (
        np.array(assets, dtype=np.float64).reshape(-1, N_ASSET),
        np.array([*market.mean, *market[1:5], *market.risk, *market.spread], dtype=np.float64),
        rows.reshape(-1, N_KALMAN + N_SPREAD + 4),
    )
    given = frozen(np.ascontiguousarray(closes)), frozen(traded), frozen(columns), frozen(numbers)
    _read(*given, SpreadRates._make(map(float, rates)), memory, out)
    own, of_market, of_pairs = (numbers.tolist() for numbers in memory)
    risk, spread = (History(*of_market[-k:][:N_HISTORY]) for k in (2 * N_HISTORY, N_HISTORY))
    a, b, c, d = of_market[N_ASSET : N_ASSET + 4]
    after = MarketState(AssetState(*of_market[:N_ASSET]), a, b, c, d, risk, spread)
    return [AssetState(*row) for row in own], after, list(map(_pair_of, pairs, of_pairs))


def _pair_of(before: PairState, row: list[float]) -> PairState:
    state, spread = KalmanState(*row[:N_KALMAN]), SpreadState(*row[N_KALMAN : N_KALMAN + N_SPREAD])
    return PairState(before.y, before.x, state, spread, row[-4] > 0.0, row[-3] > 0.0, *row[-2:])


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
