"""Loops over the bars of a whole panel: reading it, the positions of pairs, legs mixed and limited, an account."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from hybrid_bt.equations import features, fusion, kalman, pair
from hybrid_bt.equations.accounting import run_account
from hybrid_bt.equations.book import Account, Tape, book_of
from hybrid_bt.equations.compiled.compiling import SOURCES, Floats, Ints, as_tuple, borrowed, compile_kernel, frozen
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.fusion import RiskParams
from hybrid_bt.equations.pair import PairPosition, PairRules, SpreadRates
from hybrid_bt.equations.sizing import OrderRules

N_NOISE, N_POSITION = len(kalman.KalmanParams._fields), len(PairPosition._fields)


def _reading() -> Callable[..., None]:
    sources = SOURCES

    def read(
        closes: Any,
        traded: Any,
        sides: Any,
        noise: Any,
        rates: SpreadRates,
        n_pairs_of: Any,
        logs: Any,
        zscores: Any,
        out_warm: Any,
        out_features: Any,
        out_market: Any,
        out_market_warm: Any,
        out_volatility: Any,
        out_correlation: Any,
        out_pairs: Any,
    ) -> None:
        assert sources >= 0
        params = [kalman.KalmanParams(*as_tuple(k, N_NOISE)) for k in noise]
        pairs = [pair.first_pair(sides[p, 0], sides[p, 1], params[p]) for p in range(len(params))]
        assets = [features.initial_asset() for _ in range(closes.shape[1])]
        mean = features.initial_market()
        for t in range(len(closes)):
            for i, close in enumerate(closes[t]):
                logs[i] = math.log(close) if traded[t, i] else math.nan
                zscores[i] = 0.0
            mean = features.absorb_bar(borrowed(logs), borrowed(traded[t]), assets, mean)
            pair.absorb_bar(pairs, borrowed(logs), params, rates)
            stretch = pair.pair_zscores(pairs, borrowed(n_pairs_of), borrowed(zscores))
            for i, asset in enumerate(assets):
                for k, value in enumerate(features.asset_features(asset, mean, zscores[i])):
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

    return compile_kernel(read, parallel=False)


def _holding() -> Callable[..., None]:
    sources = SOURCES

    def hold(positions: Any, fresh: Any, zscores: Any, ratios: Any, rules: PairRules, out_amounts: Any) -> None:
        assert sources >= 0
        held = [PairPosition(*as_tuple(row, N_POSITION)) for row in positions]
        pair.hold_bars(held, fresh, zscores, ratios, rules, out_amounts)
        for p, position in enumerate(held):
            for k, value in enumerate(position):
                positions[p, k] = value

    return compile_kernel(hold, parallel=False)


_read = _reading()
_hold = _holding()


def read_all(closes: Any, traded: Any, pairs: Any, noise: Any, rates: SpreadRates, n_pairs_of: Any, *out: Any) -> None:
    """Read all bars of a panel.

    Parameters
    ----------
    closes, traded : (T, N)
    pairs : (P, 2)
        Columns (y, x).
    noise : (P, fields)
        `KalmanParams` of each pair.
    n_pairs_of : (N,)
        Pairs that each symbol is a side of.
    out
        Columns `warm` to `pairs` of a blank `legs.base.View`, which are written.
    """
    n = closes.shape[1]
    inputs = (
        np.ascontiguousarray(closes),
        traded,
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
        np.array(noise, dtype=np.float64).reshape(-1, N_NOISE),
        SpreadRates._make(map(float, rates)),
        np.array(n_pairs_of, dtype=np.int64),
    )
    _read(*map(frozen, inputs), np.empty(n), np.empty(n), *out)


def hold_all(
    positions: list[PairPosition], fresh: Any, zscores: Any, ratios: Any, rules: PairRules, amounts: Any
) -> list[PairPosition]:
    """The positions after T bars; the rest as in `pair.hold_bars`."""
    numbers = np.array(positions, dtype=np.float64).reshape(-1, N_POSITION)
    given = (np.ascontiguousarray(values) for values in (fresh, zscores, ratios))
    _hold(numbers, *map(frozen, given), PairRules._make(map(float, rules)), amounts)
    return [PairPosition(*row) for row in numbers.tolist()]


@register_jitable
def _tape(t: Tape) -> Tape:
    """The tape on borrowed arrays."""
    ints = borrowed(t.bar), borrowed(t.decided), borrowed(t.symbol)
    floats = borrowed(t.size), borrowed(t.price), borrowed(t.fee)
    rows = borrowed(t.cash), borrowed(t.equity), borrowed(t.borrow)
    return Tape(rows[0], rows[1], rows[2], ints[0], ints[1], ints[2], floats[0], floats[1], floats[2])


def _trading() -> Callable[..., Account]:
    sources = SOURCES

    def trade(
        opens: Floats,
        closes: Floats,
        days: Ints,
        targets: Floats,
        cash: float,
        costs: Costs,
        rules: OrderRules,
        tape: Tape,
        floats: Floats,
        ints: Ints,
    ) -> Account:
        assert sources >= 0
        rows, terms = (borrowed(opens), borrowed(closes), borrowed(days), borrowed(targets)), (cash, costs, rules)
        return run_account(*rows, terms, book_of(borrowed(floats), borrowed(ints)), _tape(tape))

    return compile_kernel(trade, parallel=False)


def _settling() -> Callable[..., None]:
    sources = SOURCES

    def settle(
        targets: Floats, weights: Floats, volatility: Floats, correlation: Floats, limits: RiskParams, settled: Floats
    ) -> None:
        assert sources >= 0
        for t in range(len(settled)):
            fusion.settle_row(
                borrowed(settled[t]),
                borrowed(targets[:, t]),
                borrowed(weights[t]),
                borrowed(volatility[t]),
                correlation[t],
                limits,
            )

    return compile_kernel(settle, parallel=False)


_trade, _settle = _trading(), _settling()


def one_account(terms: tuple[float, Costs, OrderRules], tape: Tape, *rows: NDArray[Any]) -> Account:
    """`accounting.run_account` of C-contiguous opens, closes, days and targets, with a book of its own."""
    n = rows[1].shape[1]
    account: Account = _trade(*map(frozen, rows), *terms, tape, np.zeros((6, n)), np.zeros((4, n), np.int64))
    return account


def settle_all(
    targets: Floats, weights: Floats, volatility: Floats, correlation: Floats, limits: RiskParams, settled: Floats
) -> None:
    """Mix and limit the targets (L, T, N) of all legs, row by row, into `settled`, (T, N)."""
    given = map(frozen, (targets, weights, volatility, correlation))
    _settle(*given, RiskParams(*map(float, limits)), settled)
