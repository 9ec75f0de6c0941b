"""Minutes: how many bars a year has, longer bars made of shorter ones, and a whole run on real 15-minute bars."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import random_bars
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from places import CASES

from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.stamps import bars_per_year, decision_rate
from hybrid_bt.commands.run import main as run
from hybrid_bt.config import load_config
from hybrid_bt.equations.costs import Costs
from hybrid_bt.errors import ConfigError
from hybrid_bt.feeds import load_bars, to_feeds
from hybrid_bt.feeds.resample import resample
from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission

KO_PEP = CASES / "data" / "ko_pep_15min_2019.csv.gz"  # pyqstrat 0.3.24, BSD: see the licence beside it


def session_stamps(days: pd.DatetimeIndex, minutes: int, first: str = "09:30", last: str = "16:00") -> np.ndarray:
    """Stamps at the end of each bar of each day."""
    step = pd.Timedelta(minutes=minutes)
    clock = pd.timedelta_range(pd.Timedelta(f"{first}:00") + step, pd.Timedelta(f"{last}:00"), freq=step)
    return np.array([day + time for day in days for time in clock], dtype="M8[ns]")


def hours(start: str, days: int) -> np.ndarray:
    return pd.date_range(start, periods=24 * days, freq="h").to_numpy().astype("M8[ns]")


@pytest.mark.parametrize(
    ("what", "stamps", "reports", "decisions"),
    [
        ("15 minutes of a stock exchange", session_stamps(pd.bdate_range("2019-01-02", periods=120), 15), 6552, 6552),
        ("one day of minutes", session_stamps(pd.bdate_range("2019-01-02", periods=1), 1), 98_280, 98_280),
        ("part of a day", session_stamps(pd.bdate_range("2019-01-02", periods=1), 1)[:252], 98_280, 98_280),
        (
            "minutes of a market that never closes",
            np.arange("2019-01-01T00:01", "2019-06-01T00:00", 60, dtype="M8[m]").astype("M8[ns]"),
            24 * 365.25,
            24 * 365.25,
        ),
        ("80 days of hours of a market that never closes", hours("2021-03-01", 80), 8766, 8766),
        ("Fridays", pd.date_range("2010-01-01", periods=500, freq="W-FRI").to_numpy().astype("M8[ns]"), 52.18, 52.18),
        ("every day", pd.date_range("2010-01-01", periods=500).to_numpy().astype("M8[ns]"), 365.25, 252),
        ("weekdays", pd.bdate_range("2010-01-01", periods=500).to_numpy().astype("M8[ns]"), 260.9, 252),
        ("one bar", np.array(["2010-01-01"], "M8[ns]"), 0.0, 252),
    ],
)
def test_bars_per_year_come_from_the_calendar(what: str, stamps: np.ndarray, reports: float, decisions: float) -> None:
    assert bars_per_year(stamps) == pytest.approx(reports, rel=2e-3), what
    assert decision_rate(stamps) == pytest.approx(decisions, rel=2e-3), what


@settings(max_examples=300, deadline=None)
@given(
    start=st.dates(min_value=date(2015, 1, 1), max_value=date(2022, 1, 1)),
    days=st.integers(10, 120),
    minutes=st.sampled_from([60, 240]),
    kind=st.sampled_from(["never closes", "currencies", "exchange"]),
)
def test_two_weekends_say_how_many_days_a_market_trades(start: date, days: int, minutes: int, kind: str) -> None:
    stamps = pd.date_range(start, periods=days * 1440 // minutes, freq=f"{minutes}min")
    day, hour = stamps.day_of_week, stamps.hour
    shut = {
        "never closes": np.zeros(len(stamps), bool),
        "currencies": (day == 5) | ((day == 6) & (hour < 20)) | ((day == 4) & (hour >= 20)),
        "exchange": (day >= 5) | (hour < 8) | (hour >= 16),
    }[kind]
    open_ = stamps[~shut].to_numpy().astype("M8[ns]")
    a_week = {"never closes": 168 * 60, "currencies": 120 * 60, "exchange": 40 * 60}[kind] / minutes
    sessions = 252.0 / 5.0 if kind == "exchange" else 365.25 / 7.0
    weekends = len(np.unique(pd.DatetimeIndex(open_)[pd.DatetimeIndex(open_).day_of_week >= 5].normalize()))
    if kind != "currencies" or weekends >= 2:  # in two weeks one short Sunday more or less moves it by a seventh
        error = 0.12 if kind != "currencies" or days > 28 else 0.18
        assert decision_rate(open_) == bars_per_year(open_) == pytest.approx(a_week * sessions, rel=error)
    if kind == "never closes":
        assert bars_per_year(open_) == pytest.approx(1440 / minutes * 365.25, rel=0.02)


def test_half_days_count_for_what_they_are() -> None:
    days = pd.bdate_range("2019-01-02", periods=100)
    stamps = session_stamps(days, 15)
    short = np.isin(stamps.astype("M8[D]"), days[10:60:10].to_numpy().astype("M8[D]"))
    kept = stamps[~short | (stamps - stamps.astype("M8[D]") <= np.timedelta64(13 * 60, "m"))]
    assert bars_per_year(kept) == pytest.approx(252 * (26 - 5 * 12 / 98))


# --- longer bars ---


def hand_made() -> Bars:
    """Two sessions; BB has no bar at 10:00 of the first, and none at all on the second."""
    stamps = np.array(
        ["2019-01-02T09:45", "2019-01-02T10:00", "2019-01-02T16:00", "2019-01-03T09:45", "2019-01-03T16:00"], "M8[ns]"
    )
    nan = np.nan
    return Bars.checked(
        "hand",
        ("AA", "BB"),
        stamps,
        np.array([[10.0, 50.0], [12.0, nan], [11.0, 51.0], [13.0, nan], [14.0, nan]]),
        open=np.array([[9.0, 49.0], [10.0, nan], [12.0, 50.0], [12.0, nan], [13.0, nan]]),
        high=np.array([[10.0, 52.0], [15.0, nan], [12.0, 51.0], [13.0, nan], [14.0, nan]]),
        low=np.array([[8.0, 48.0], [10.0, nan], [11.0, 47.0], [11.0, nan], [13.0, nan]]),
        volume=np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 7.0], [1.0, 0.0], [1.0, 0.0]]),
    )


def test_daily_bars_from_minutes_by_hand() -> None:
    made = resample(hand_made(), "1D")
    assert made.stamps.astype(str).tolist() == ["2019-01-02T16:00:00.000000000", "2019-01-03T16:00:00.000000000"]
    assert np.array_equal(made.open, [[9.0, 49.0], [12.0, np.nan]], equal_nan=True)
    assert np.array_equal(made.high, [[15.0, 52.0], [14.0, np.nan]], equal_nan=True)
    assert np.array_equal(made.low, [[8.0, 47.0], [11.0, np.nan]], equal_nan=True)
    assert np.array_equal(made.close, [[11.0, 51.0], [14.0, np.nan]], equal_nan=True)
    assert made.volume.tolist() == [[9.0, 9.0], [2.0, 0.0]]


def test_hours_are_counted_from_the_sessions_own_beginning() -> None:
    bars = load_bars(KO_PEP)
    hours = resample(bars, "60min")
    first_day = hours.stamps[hours.stamps < np.datetime64("2019-01-15")].astype("M8[m]").astype(str)
    assert [text[-5:] for text in first_day] == ["10:30", "11:30", "12:30", "13:30", "14:30", "15:30", "16:00"]
    assert hours.open[0].tolist() == bars.open[0].tolist() and hours.close[0].tolist() == bars.close[3].tolist()
    # a bar names its beginning elsewhere: the same hours
    early = Bars(bars.name, bars.symbols, bars.stamps - np.timedelta64(15, "m"), bars.open, bars.high, bars.low,
                 bars.close, bars.volume)  # fmt: skip
    assert np.array_equal(resample(early, "60min").close, hours.close)
    assert np.array_equal(resample(hours, "1D").close, resample(bars, "1D").close)


def test_sessions_may_cross_midnight() -> None:
    hours = pd.date_range("2019-01-06 18:00", "2019-01-11 17:00", freq="h")  # Sunday evening to Friday
    close = np.arange(1.0, len(hours) + 1.0)[:, None]
    bars = Bars.checked("future", ("ES",), hours.to_numpy().astype("M8[ns]"), close)
    made = resample(bars, "1D@17:00")
    assert made.stamps.astype("M8[h]").astype(str).tolist() == [f"2019-01-{day:02}T17" for day in range(7, 12)]
    assert made.n_bars == 5 and resample(bars, "1D").n_bars == 6


def test_longer_bars_do_not_depend_on_what_comes_later() -> None:
    bars = load_bars(KO_PEP)
    for step in ("60min", "1D"):
        whole = resample(bars, step)
        for n in (27, 400, 526):
            cut = Bars(bars.name, bars.symbols, bars.stamps[:n], *(getattr(bars, f)[:n] for f in
                       ("open", "high", "low", "close", "volume")))  # fmt: skip
            part = resample(cut, step)
            known = int(np.searchsorted(whole.stamps, cut.stamps[-1], "right"))
            assert np.array_equal(part.close[:known], whole.close[:known])
            assert np.array_equal(part.stamps[:known], whole.stamps[:known])


@pytest.mark.parametrize("step", ["", "D", "0min", "2D", "25h", "1H", "60", "-5min", "1D@24:00", "1D@9:00", "1W"])
def test_step_that_is_none_is_refused(step: str) -> None:
    with pytest.raises(ConfigError, match=r"^resample"):
        load_bars(KO_PEP, resample=step)


def test_longer_bars_are_refused_where_bars_are_longer_already() -> None:
    with pytest.raises(ConfigError, match="longer already"):
        load_bars("us20", resample="60min")


# --- a whole run ---


def test_run_on_15_minute_bars_counts_their_year_and_agrees_with_its_replay(tmp_path: Path) -> None:
    flags = ["--data", str(KO_PEP), "--pairs", "KO:PEP", "--no-plots", "--no-ledger", "--out", str(tmp_path / "fig")]
    result = CliRunner().invoke(run, flags)
    assert result.exit_code == 0, result.output
    assert "annualised with 6" in result.output and "Intraday bars" in result.output
    document = json.loads((tmp_path / "fig" / "run.json").read_text())
    assert document["annualisation"]["decisions"] == document["config"]["risk"]["bars_per_year"]
    for rate in document["annualisation"].values():
        assert rate == pytest.approx(6552.0, rel=0.01)
    assert document["span"]["bars_per_year"] == document["annualisation"]["reports"]
    assert document["replay_difference"] < 1e-9


def test_decisions_do_not_see_the_calendar_that_comes_later() -> None:
    bars = load_bars(KO_PEP)
    config = load_config("stable")
    assert config.auto_rate
    assert config.for_stamps(bars.stamps[:300]).risk.bars_per_year == decision_rate(bars.stamps[:300])
    given = load_config("stable", overrides={"risk": {"bars_per_year": 1000}})
    assert given.for_stamps(bars.stamps[:300]).risk.bars_per_year == 1000


def test_minutes_that_show_no_weekend_before_trading_are_told_beside_what_was_traded() -> None:
    stamps = pd.date_range("2021-03-03", periods=1440 * 9, freq="min").to_numpy().astype("M8[ns]")
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 1e-4, (len(stamps), 2)), axis=0))
    record = run_backtest(Bars.checked("coins", ("AA", "BB"), stamps, closes), pairs="AA:BB")
    taken, traded = (record.facts["annualisation"][what] for what in ("decisions", "reports"))
    assert taken == pytest.approx(98_280) and traded == pytest.approx(525_960, rel=0.01)
    (note,) = (note for note in record.notes if note.startswith("Intraday bars"))
    assert (
        "decisions take 98280 bars" in note
        and f"those traded have {traded:.0f}: say it with risk.bars_per_year" in note
    )


def test_strategy_in_a_cerebro_of_its_own_settles_the_same_rate() -> None:
    bars = load_bars(KO_PEP)
    config = load_config("stable")
    record = run_backtest(bars, config=config, pairs="KO:PEP", start=date(2019, 2, 4))
    cerebro = bt.Cerebro()
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(config.account.cash)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
    cerebro.addstrategy(HybridStrategy, pairs=["KO:PEP"], trade_from=date(2019, 2, 4))
    (strategy,) = cerebro.run()
    assert strategy.brain.reader.bars_per_year == record.facts["annualisation"]["decisions"]
    assert cerebro.broker.getvalue() == record.accounts["hybrid"].equity[-1]


def test_shorts_pay_for_nights_and_not_for_minutes() -> None:
    """Backtrader counts dates apart: 26 bars of one day owe nothing, each night one day, a weekend three."""
    from hybrid_bt.account.replay import replay

    days = pd.bdate_range("2019-01-04", periods=2)  # a Friday and a Monday
    stamps = session_stamps(days, 15)
    flat = np.full((len(stamps), 1), 100.0)
    bars = Bars.checked("flat", ("AA",), stamps, flat)
    path = replay(np.full(flat.shape, -0.5), bars, costs=Costs(borrow_bps_per_year=365.0))
    owed = path.borrow[:, 0]
    assert np.flatnonzero(owed).tolist() == [26]
    assert owed[26] == pytest.approx(-path.size[25, 0] * 100.0 * 0.0365 * 3 / 365, rel=1e-4)  # on the entry price


def test_daily_bars_of_a_random_panel_stay_as_they_are() -> None:
    bars = random_bars(50)
    made = resample(bars, "1D")
    assert made.sha256 == bars.sha256


def test_days_with_holes_are_found() -> None:
    days = pd.bdate_range("2019-01-02", periods=40)
    stamps = session_stamps(days, 15)
    kept = stamps[~np.isin(stamps, stamps[26 * 10 + 3 : 26 * 10 + 6])]
    frame = pd.DataFrame({"close": 50.0 + 0.01 * (np.arange(len(kept)) % 7)}, index=kept)
    (found,) = (one for one in load_bars({"KO": frame}).findings if one.rule == "short_session")
    assert (found.bars, found.first, found.what) == (3, "2019-01-16", "23 instead of 26")
