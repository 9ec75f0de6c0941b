"""Features are causal, scale-free, and what their names say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from brain_cases import altered_from, random_bars, with_rows

from hybrid_bt.bars import Bars
from hybrid_bt.brain.reader import MarketReader, read_history
from hybrid_bt.equations import features
from hybrid_bt.equations.features import (
    ASSET_FEATURES,
    MARKET_FEATURES,
    AssetState,
    asset_features,
    asset_step,
    correlation,
    initial_asset,
    initial_market,
    market_features,
    market_step,
)
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import SpreadParams

SPANS = {"d_5": 5, "d_21": 21, "d_63": 63, "d_252": 252}
KALMAN, SPREAD = KalmanParams(1.9e-4, 1.1e-5, 2e-6), SpreadParams(10.0, 60.0, 126.0)


def walk(n: int, seed: int = 0, sd: float = 0.01) -> Any:
    return 3.0 + np.cumsum(np.random.default_rng(seed).normal(0.0, sd, n))


def asset_after(logs: Any) -> AssetState:
    state = initial_asset()
    for log_close in np.asarray(logs).tolist():
        state = asset_step(state, log_close)
    return state


def reader(n: int) -> MarketReader:
    return MarketReader(n, [(0, 1)], [KALMAN], SPREAD)


def table(bars: Bars) -> Any:
    """(T, everything) features of all assets and of the market, unrounded."""
    market = reader(bars.n_symbols)
    rows = []
    for closes in bars.close.tolist():
        view = market.read(closes)
        own = [asset_features(asset, market.market) for asset in market.assets]
        assert own == view.features
        rows.append([*sum(own, ()), *market_features(market.market, 0.5), *view.volatility])
    return np.array(rows)


@pytest.mark.parametrize("name", SPANS)
def test_decaying_sum_is_log_close_minus_its_exponential_average(name: str) -> None:
    logs = walk(600)
    gain = 2.0 / (SPANS[name] + 1.0)
    average = logs[0]
    for t, log_close in enumerate(logs):
        average += gain * (log_close - average)
        if t % 37 == 0:
            assert getattr(asset_after(logs[: t + 1]), name) == pytest.approx(log_close - average, abs=1e-13)


def test_first_returns_by_hand() -> None:
    state = asset_after([1.0, 1.5, 1.25])
    assert (state.n_returns, state.log_close, state.last_return) == (2.0, 1.25, -0.25)
    assert state.var == (0.25 + 0.0625) / 2
    assert state.shock == -0.25 / 0.5  # in units of the volatility known before
    assert state.d_5 == pytest.approx((2 / 3) * ((2 / 3) * 0.5 - 0.25), rel=1e-15)


def test_shock_leaves_its_own_bar_out_of_the_volatility() -> None:
    logs = walk(300)
    calm, wild = asset_after([*logs, logs[-1] + 0.01]), asset_after([*logs, logs[-1] + 1.0])
    assert wild.shock == pytest.approx(100.0 * calm.shock, rel=1e-9)


def test_volatility_is_the_root_mean_square_of_the_first_window() -> None:
    returns = np.diff(walk(32))
    assert asset_after(walk(32)).var == pytest.approx(np.mean(returns**2), rel=1e-12)


def test_features_do_not_depend_on_the_unit_of_the_price() -> None:
    bars = random_bars(320)
    scaled = Bars(bars.name, bars.symbols, bars.stamps, *([bars.close * 1000.0] * 4), volume=bars.volume)
    assert table(scaled) == pytest.approx(table(bars), rel=1e-6, abs=1e-8)


def test_features_do_not_depend_on_the_size_of_returns() -> None:
    bars = random_bars(320)
    tripled = np.exp(3.0 * np.log(bars.close))
    wild = Bars(bars.name, bars.symbols, bars.stamps, *([tripled] * 4), volume=bars.volume)
    assert table(wild)[:, :-4] == pytest.approx(table(bars)[:, :-4], rel=1e-6, abs=1e-8)
    assert table(wild)[50:, -4:] == pytest.approx(3.0 * table(bars)[50:, -4:], rel=1e-9)  # volatilities


def test_trend_of_white_noise_has_unit_variance() -> None:
    trend, n = [], 12_000
    state, market = initial_asset(), initial_market()
    for t, log_close in enumerate(walk(n).tolist()):
        state = asset_step(state, log_close)
        if t > 500:
            trend.append(asset_features(state, market)[1:4])
    assert np.std(trend, axis=0) == pytest.approx(1.0, abs=0.15)


def test_trend_has_the_sign_of_the_drift() -> None:
    market = initial_market()
    rising = asset_features(asset_after(walk(300, sd=0.001) + 0.01 * np.arange(300)), market)
    falling = asset_features(asset_after(walk(300, sd=0.001) - 0.01 * np.arange(300)), market)
    assert min(rising[1:5]) > 1.0 and max(falling[1:5]) < -1.0


def equicorrelated(rho: float, n: int, n_bars: int = 3000) -> list[float]:
    rng = np.random.default_rng(5)
    returns = 0.01 * (math.sqrt(rho) * rng.normal(size=(n_bars, 1)) + math.sqrt(1 - rho) * rng.normal(size=(n_bars, n)))
    assets, market, seen = [initial_asset()] * n, initial_market(), []
    for row in np.cumsum(returns, axis=0).tolist():
        assets = [asset_step(asset, value) for asset, value in zip(assets, row, strict=True)]
        market = market_step(market, assets, [True] * n)
        seen.append(correlation(market))
    return seen[200:]


@pytest.mark.parametrize("rho", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("n", [2, 8])
def test_correlation_is_that_of_equicorrelated_returns(rho: float, n: int) -> None:
    assert np.mean(equicorrelated(rho, n)) == pytest.approx(rho, abs=0.06)


def test_correlation_of_a_single_asset_is_zero() -> None:
    assert equicorrelated(0.0, 1) == [0.0] * 2800


def test_correlation_stays_below_one_when_all_assets_are_the_same() -> None:
    assert equicorrelated(1.0, 5)[-1] == 0.99


def test_market_is_the_equal_weight_mean_of_what_traded() -> None:
    market = reader(3)
    for closes in ([8.0, 20.0, 5.0], [8.0, 20.0, 5.0], [4.0, 20.0, 5.0]):
        market.read(closes)
    assert market.market.mean.last_return == pytest.approx(-math.log(2.0) / 3, rel=1e-14)
    market.read([16.0, 10.0, math.nan])  # up fourfold, down by half, absent
    assert market.market.mean.last_return == pytest.approx(math.log(2.0) / 2, rel=1e-14)
    assert market.market.mean.n_returns == 2.0


def test_variance_ratio_tells_trends_from_reversion() -> None:
    rng = np.random.default_rng(3)
    found = {}
    for name, phi in (("trend", 0.5), ("reversion", -0.5)):
        returns = np.zeros((1500, 4))
        for t in range(1, 1500):
            returns[t] = phi * returns[t - 1] + rng.normal(0.0, 0.01, 4)
        assets, market, seen = [initial_asset()] * 4, initial_market(), []
        for row in np.cumsum(returns, axis=0).tolist():
            assets = [asset_step(a, value) for a, value in zip(assets, row, strict=True)]
            market = market_step(market, assets, [True] * 4)
            seen.append(market_features(market, 0.0)[MARKET_FEATURES.index("variance_ratio")])
        found[name] = np.mean(seen[300:])
    assert found["trend"] > 0.5 and found["reversion"] < -0.5


def test_later_bars_leave_earlier_rows_alone() -> None:
    bars = random_bars(300, missing=0.1)
    full = table(bars)
    assert np.array_equal(table(with_rows(bars, slice(0, 290))), full[:290])
    changed = table(altered_from(bars, 299))
    assert np.array_equal(changed[:299], full[:299])
    assert not np.array_equal(changed[299], full[299])


def test_missing_bar_leaves_the_asset_as_it_was() -> None:
    bars = random_bars(300)
    market = reader(4)
    view = None
    for closes in bars.close.tolist():
        view = market.read(closes)
    assert view is not None
    assets = market.assets.copy()
    after = market.read([*bars.close[-1, :3].tolist(), math.nan])
    assert market.assets[3] == assets[3] and after.volatility[3] == view.volatility[3]
    assert after.traded == [True, True, True, False]
    assert market.assets[0] != assets[0]


def test_bar_without_the_whole_market_changes_nothing() -> None:
    market = reader(2)
    market.read([10.0, 20.0])
    before = market.read([11.0, 19.0])
    after = market.read([math.nan, math.nan])
    assert (after.features, after.market, after.volatility) == (before.features, before.market, before.volatility)
    assert [pair._replace(fresh=1.0) for pair in after.pairs] == before.pairs and not after.pairs[0].fresh


def test_return_over_a_gap_spans_the_gap() -> None:
    market = reader(2)
    market.read([10.0, 20.0])
    market.read([11.0, math.nan])
    market.read([12.0, 30.0])
    assert market.assets[1].last_return == pytest.approx(math.log(1.5), rel=1e-14)


def test_constant_prices_give_zeros() -> None:
    flat = np.full((300, 4), 50.0)
    bars = random_bars(300)
    rows = table(Bars("flat", bars.symbols, bars.stamps, flat, flat, flat, flat, bars.volume))
    names = [*ASSET_FEATURES * 4, *MARKET_FEATURES]
    free = [i for i, name in enumerate(names) if name not in ("variance_ratio", "pair_stretch")]
    assert np.array_equal(rows[:, free], np.zeros((300, len(free))))
    assert np.isfinite(rows).all()


def test_features_are_named_once_and_in_order() -> None:
    state, market = asset_after(walk(300)), initial_market()
    row = dict(zip(ASSET_FEATURES, asset_features(state, market), strict=True))
    assert len(row) == len(ASSET_FEATURES)
    sd = math.sqrt(state.var)
    assert row["relative_1"] == pytest.approx(state.last_return / sd, rel=1e-14)
    assert row["relative_21"] == pytest.approx(state.d_21 / (features.SD_21 * sd), rel=1e-14)
    with_market = dict(zip(ASSET_FEATURES, asset_features(state, market._replace(mean=state)), strict=True))
    assert [value for name, value in with_market.items() if name.startswith("relative")] == [0.0] * 5
    assert with_market["market_volatility_ratio"] == with_market["volatility_ratio"] == row["volatility_ratio"] != 0.0
    assert dict(zip(MARKET_FEATURES, market_features(market, 0.25), strict=True))["pair_stretch"] == 0.25


def with_jump(bars: Bars) -> Bars:
    """The same bars, twice as dear from row 280 on."""
    jumped = bars.close * np.where(np.arange(bars.n_bars) < 280, 1.0, 2.0)[:, None]
    return Bars(bars.name, bars.symbols, bars.stamps, *([jumped] * 4), volume=bars.volume)


def test_history_is_the_reader_clipped_and_rounded() -> None:
    bars = with_jump(random_bars(300, missing=0.05, late=20))
    history = read_history(bars, reader(4))
    wanted = table(bars)[:, : 4 * len(ASSET_FEATURES)].reshape(300, 4, -1)
    assert np.array_equal(history.assets, np.clip(wanted, -5.0, 5.0).astype(np.float32))
    assert np.array_equal(history.volatility, table(bars)[:, -4:])
    assert np.abs(wanted).max() > 5.0
    # 252 returns take 253 bars
    assert np.array_equal(history.warm, np.cumsum(bars.traded, axis=0) >= 253)


def test_calm_and_dispersion_are_standard_scores_among_their_own_three_years() -> None:
    """By hand: exponential averages of the log volatility and of the assets' spread, plain ones at first."""
    rng, n = np.random.default_rng(5), 6
    size = np.where(np.arange(900) < 700, 1.0, 2.5)[:, None]
    closes = 50.0 * np.exp(np.cumsum(0.01 * size * rng.normal(size=(900, n)), axis=0))
    driven = reader(n)
    scores, whole, common = [], 0.0, 0.0
    histories = {"calm": [0.0, 0.0, 0.0], "dispersion": [0.0, 0.0, 0.0]}
    for row in closes.tolist():
        view = driven.read(row)
        scores.append([view.market[MARKET_FEATURES.index(name)] for name in histories])
        assets, mean = driven.assets, driven.market.mean
        if mean.n_returns < 1:
            continue
        shocks = np.array([asset.shock for asset in assets])
        gain = max(2.0 / 64.0, 1.0 / mean.n_returns)
        whole, common = (1 - gain) * whole + gain * np.mean(shocks**2), (1 - gain) * common + gain * shocks.mean() ** 2
        if mean.n_returns > 63:
            values = {"calm": 0.5 * math.log(mean.var), "dispersion": 0.5 * math.log(whole - common)}
            for name, value in values.items():
                count, middle, spread = histories[name]
                gain = max(2.0 / 757.0, 1.0 / (count + 1))
                moved = middle + gain * (value - middle)
                spread = (1 - gain) * (spread + gain * (value - middle) ** 2)
                histories[name] = [count + 1, moved, spread]
                sign = -1.0 if name == "calm" else 1.0
                found = scores[-1][list(histories).index(name)]
                assert found == pytest.approx(sign * (value - moved) / math.sqrt(spread) if spread > 1e-12 else 0.0)
    calm, dispersion = np.array(scores).T
    assert calm[760] < -2.0 and dispersion[705:725].max() > 2.0 and abs(calm[600]) < 3.0
