"""Measures worked out by hand, and the accounts that have none."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from hybrid_bt.account import metrics

CURVE = np.array([100.0, 110.0, 99.0, 108.9])  # +10 %, -10 %, +10 %


def stamps(*days: str) -> np.ndarray:
    return np.array(days, dtype="datetime64[ns]")


def test_returns_are_simple():
    assert metrics.simple_returns(CURVE) == pytest.approx([0.1, -0.1, 0.1])


def test_sharpe_is_arithmetic_mean_over_sample_deviation():
    # mean 1/30; deviations 2/30, -4/30, 2/30: variance (4 + 16 + 4) / 900 / 2 = 12 / 900
    assert metrics.sharpe(CURVE, 252) == pytest.approx(math.sqrt(252) / math.sqrt(12))
    assert metrics.volatility(CURVE, 252) == pytest.approx(math.sqrt(252 * 12) / 30)


def test_sortino_spreads_the_losses_over_all_bars():
    # downside: sqrt(0.01 / 3)
    assert metrics.sortino(CURVE, 252) == pytest.approx(math.sqrt(252) * (1 / 30) / math.sqrt(0.01 / 3))


def test_drawdown_is_measured_from_the_running_peak_and_never_positive():
    assert metrics.drawdown(CURVE) == pytest.approx([0.0, 0.0, -0.1, -0.01])
    assert metrics.max_drawdown(CURVE) == pytest.approx(-0.1)
    assert metrics.max_drawdown(np.array([1.0, 2.0, 3.0])) == 0.0


def test_cagr_counts_calendar_years_not_bars():
    four_years = metrics.elapsed_years(stamps("2020-01-01", "2024-01-01"))
    assert four_years == 4.0  # 1461 days
    assert metrics.cagr(100.0, 121.0, 2.0) == pytest.approx(0.1)
    assert metrics.cagr(100.0, 16.0, four_years) == pytest.approx(16 ** (1 / 4) / 100 ** (1 / 4) - 1)


def test_turnover_is_two_way_per_mean_equity_per_year():
    # buys 100 and sells 100 of a 100 account in half a year
    assert metrics.turnover_per_year(200.0, np.array([100.0, 100.0]), 0.5) == 4.0


def test_summary_row():
    row = metrics.summarise(
        CURVE, stamps("2020-01-01", "2020-01-02", "2020-01-03", "2021-01-01"), 252, traded_notional=418.0, costs=1.5
    )
    assert row._fields == (
        *("start_date", "end_date", "start_value", "end_value", "pnl", "return_pct", "cagr", "sharpe", "sortino"),
        *("max_drawdown", "volatility", "turnover_per_year", "costs"),
    )
    assert (row.start_value, row.end_value, row.costs) == (100.0, 108.9, 1.5)
    assert row.pnl == pytest.approx(8.9)
    assert row.return_pct == pytest.approx(8.9)
    assert row.turnover_per_year == pytest.approx(418.0 / (417.9 / 4) / (366 / 365.25))
    assert row.end_date == np.datetime64("2021-01-01")


@pytest.mark.parametrize(
    "curve",
    [[100.0], [100.0, 100.0], [100.0] * 50, list(100.0 * 1.01 ** np.arange(50))],
    ids=["one bar", "two bars", "flat", "constant growth"],
)
def test_an_account_without_risk_has_no_ratio_and_no_warning(curve):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metrics.sharpe(np.array(curve), 252))
        assert math.isnan(metrics.sortino(np.array(curve), 252))
        assert metrics.max_drawdown(np.array(curve)) == 0.0


def test_a_ruined_account_is_minus_one_and_stays_there():
    ruined = np.array([100.0, 50.0, -10.0, -10.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = metrics.summarise(
            ruined,
            stamps("2020-01-01", "2020-06-01", "2020-07-01", "2021-01-01"),
            252,
            traded_notional=1.0,
            costs=0.0,
        )
    assert metrics.simple_returns(ruined) == pytest.approx([-0.5, -1.0, 0.0])
    assert row.cagr == -1.0
    assert row.max_drawdown == pytest.approx(-1.1)
    assert math.isfinite(row.sharpe)
    assert row.turnover_per_year == pytest.approx(1.0 / 75.0 / (366 / 365.25))  # of the mean while it had something


def test_rates_over_no_time_are_nan():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = metrics.summarise(np.array([100.0]), stamps("2020-01-01"), 252, traded_notional=0.0, costs=0.0)
        assert math.isnan(row.cagr) and math.isnan(row.turnover_per_year) and math.isnan(row.volatility)
        assert metrics.cagr(100.0, 200.0, 1e-6) == math.inf
