"""The clock of bars: in whatever zone dates are written, the same bars or a refusal; and no bar ever moves to before it
was known."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import load_bars
from hybrid_bt.feeds.clock import SEASONS

EXCHANGES = (*SEASONS.values(), "Asia/Tokyo", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Auckland", "UTC")
WRITTEN = ("own zone", "own offsets", "UTC", "Z", "+05:30", "Asia/Hong_Kong")


def prices(n: int) -> dict[str, Any]:
    close = np.round(50.0 * np.exp(np.cumsum(np.random.default_rng(n).normal(0.0, 0.005, n))), 4)
    return {"open": close, "high": close + 0.5, "low": close - 0.5, "close": close, "volume": 1000.0 + np.arange(n)}


def plain(local: pd.DatetimeIndex) -> Bars:
    """What the clock of the exchange, written without a zone, gives."""
    return load_bars({"KO": pd.DataFrame(prices(len(local)), index=local)}, stamps="end")


def written(instants: pd.DatetimeIndex, how: str, exchange: str) -> pd.DataFrame:
    """Bars at instants, as somebody writes them."""
    frame = pd.DataFrame(prices(len(instants)))
    if how in ("own zone", "UTC"):
        return frame.set_index(instants.tz_convert(exchange if how == "own zone" else "UTC"))
    zone = {"own offsets": exchange, "Z": "UTC"}.get(how, how)
    dates = [stamp.isoformat() for stamp in instants.tz_convert("UTC" if zone == "+05:30" else zone)]
    if how == "+05:30":
        dates = [(stamp + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S+0530") for stamp in instants]
    return frame.assign(date=[date.replace("+00:00", "Z") if how == "Z" else date for date in dates])


@settings(max_examples=150, deadline=None)
@given(
    exchange=st.sampled_from(EXCHANGES),
    how=st.sampled_from(WRITTEN),
    minutes=st.sampled_from([0, 5, 60, 240]),
    start=st.dates(min_value=pd.Timestamp("2015-01-01").date(), max_value=pd.Timestamp("2022-06-01").date()),
    asked=st.booleans(),
)
def test_any_zone_gives_the_bars_of_the_exchange_or_a_refusal(
    exchange: str, how: str, minutes: int, start: Any, asked: bool
) -> None:
    days = pd.bdate_range(start, periods=260 if minutes == 0 else 30)
    clock = pd.timedelta_range("10:00:00", periods=5, freq=f"{minutes}min") if minutes else [pd.Timedelta(0)]
    local = pd.DatetimeIndex([day + time for day in days for time in clock])
    instants = local.tz_localize(exchange, ambiguous=True, nonexistent="shift_forward").tz_convert("UTC")
    wanted, frame = plain(local), written(instants, how, exchange)
    try:
        bars = load_bars({"KO": frame}, time_zone=exchange if asked else None)
    except BarsError as error:
        assert "stamps='begin'" in str(error) or "time_zone=" in str(error)
        assert not asked, "nothing is in doubt where the zone is said"
        return
    if asked or how == "own zone" or (how == "own offsets" and (exchange in SEASONS.values() or minutes == 0)):
        assert bars.sha256 == wanted.sha256
    elif minutes:
        moved = bars.stamps - wanted.stamps  # another zone's clock: no bar is lost, and all keep their order
        assert np.ptp(moved.astype("m8[m]").astype(int)) <= 60 and np.array_equal(bars.close, wanted.close)
    else:  # dates are never those of the days before
        assert (bars.stamps >= wanted.stamps).all() and np.array_equal(bars.close, wanted.close)


@pytest.mark.parametrize("minutes", [1, 5, 15, 30, 60])
@pytest.mark.parametrize(
    ("zone", "change"), [("America/New_York", "2021-11-07 06:00"), ("Europe/London", "2021-10-31 01:00")]
)
@pytest.mark.parametrize("how", ["own zone", "own offsets", "Z"])
@pytest.mark.parametrize("around_hours", [1, 4, 500])
def test_hour_that_autumn_repeats_keeps_every_bar_in_its_order(
    zone: str, change: str, minutes: int, how: str, around_hours: int
) -> None:
    middle = pd.Timestamp(change, tz="UTC")
    around = pd.Timedelta(hours=around_hours)
    instants = pd.date_range(middle - around, middle + around, freq=f"{minutes}min", inclusive="left")
    frame = written(instants, how, zone)
    shuffled = frame.sample(frac=1.0, random_state=3)
    for given_frame, mode in ((frame, "fail"), (shuffled, "mend")):
        bars = load_bars({"KO": given_frame}, time_zone=zone, on_bad_data=mode)  # type: ignore[arg-type]
        assert bars.close[:, 0].tolist() == frame["close"].tolist()
        whole = instants.tz_convert(zone).tz_localize(None).to_numpy()
        late = bars.stamps - whole
        assert (late >= np.timedelta64(0, "ns")).all() and (late < np.timedelta64(1, "h")).all()
        second = np.flatnonzero(late > np.timedelta64(0, "ns"))
        assert len(second) == 60 // minutes and (instants[second] >= middle).all()


@settings(max_examples=80, deadline=None)
@given(
    hour=st.integers(14, 23),
    summer=st.booleans(),
    doors=st.sampled_from(["", "Z", "-05:00"]),
    mode=st.sampled_from(["fail", "mend", "warn"]),
    said=st.sampled_from([None, "begin"]),
    other=st.booleans(),
)
def test_daily_bars_of_the_evening_stand_on_the_date_of_their_end(
    hour: int, summer: bool, doors: str, mode: Any, said: Any, other: bool
) -> None:
    """As FX has them: from Sunday evening on, an hour earlier in summer, beside a symbol of dates or alone."""
    begins = pd.bdate_range("2014-09-01", periods=120) - pd.Timedelta(days=1) + pd.Timedelta(hours=hour)
    clock = begins - pd.to_timedelta(np.where(summer & (begins.month > 10), 1, 0), unit="h")
    frames = {"EURCHF": pd.DataFrame(prices(120)).assign(date=[f"{stamp:%Y-%m-%dT%H:%M:%S}{doors}" for stamp in clock])}
    if other:
        dates = pd.bdate_range("2014-09-01", periods=120)
        frames["SPY"] = pd.DataFrame(prices(121)).iloc[:120].set_index(dates)
    if said is None and mode == "fail":
        with pytest.raises(BarsError, match=r"EURCHF .*from Sunday to Thursday; give stamps='begin'"):
            load_bars(frames)
        return
    bars = load_bars(frames, on_bad_data=mode, stamps=said)
    assert bars.n_bars == 120 and bars.traded.all()
    assert bars.stamps.astype("M8[D]").astype(str).tolist() == [
        f"{day:%Y-%m-%d}" for day in pd.bdate_range("2014-09-01", periods=120)
    ]


@settings(max_examples=100, deadline=None)
@given(
    minutes=st.integers(0, 1439),
    days=st.sets(st.integers(0, 6), min_size=1),
    step=st.sampled_from([1, 7]),
    mode=st.sampled_from(["fail", "mend", "warn"]),
    said=st.sampled_from([None, "begin"]),
    doors=st.sampled_from(["", "Z"]),
)
def test_no_bar_that_is_stamped_by_its_beginning_moves_to_before_its_end(
    minutes: int, days: set[int], step: int, mode: Any, said: Any, doors: str
) -> None:
    stamps = pd.date_range("2020-01-06", periods=140, freq="D") + pd.Timedelta(minutes=minutes)
    stamps = stamps[[stamp.day_of_week in (days if step == 1 else {min(days)}) for stamp in stamps]]
    frame = pd.DataFrame(prices(len(stamps))).assign(date=[f"{stamp:%Y-%m-%dT%H:%M:%S}{doors}" for stamp in stamps])
    try:
        bars = load_bars({"KO": frame}, on_bad_data=mode, stamps=said)
    except BarsError as error:
        assert "stamps='begin'" in str(error) or "different lengths" in str(error)
        return
    assert bars.n_bars == len(stamps)
    dates, begins = bars.stamps == bars.stamps.astype("M8[D]"), stamps.to_numpy().astype("M8[ns]")
    known = bars.stamps + np.where(dates, np.timedelta64(1, "D"), np.timedelta64(0, "D"))
    if said == "begin" or (step == 1 and len(days) == 7 and doors and 0 < minutes < 1439):
        assert (known >= begins + np.timedelta64(1, "D")).all()
    assert (known >= begins).all()


@settings(max_examples=60, deadline=None)
@given(minutes=st.integers(0, 1439), mode=st.sampled_from(["mend", "warn"]))
def test_days_of_a_market_that_never_closes_are_known_when_they_end_whatever_their_stamp(
    minutes: int, mode: Any
) -> None:
    """Beside a symbol that has dates."""
    days = pd.date_range("2021-01-04", periods=90)
    coins = pd.DataFrame(prices(90), index=days + pd.Timedelta(minutes=minutes))
    bars = load_bars({"SPY": pd.DataFrame(prices(91)).iloc[:90].set_index(days), "BTC": coins}, on_bad_data=mode)
    known = bars.stamps[bars.traded[:, 1]].astype("M8[D]") + np.timedelta64(1, "D")
    assert (known >= coins.index.to_numpy() + np.timedelta64(1 if minutes < 1439 else 0, "D")).all()


@pytest.mark.parametrize("minutes", [1, 5, 15, 60])
def test_intraday_bars_that_are_stamped_by_their_beginning_move_by_their_length(minutes: int) -> None:
    local = pd.DatetimeIndex(
        [
            day + pd.Timedelta(hours=10, minutes=minutes * i)
            for day in pd.bdate_range("2021-03-01", periods=9)
            for i in range(6)
        ]
    )
    frame = pd.DataFrame(prices(len(local)), index=local)
    bars = load_bars({"KO": frame}, stamps="begin")
    assert (bars.stamps - local.to_numpy() == np.timedelta64(minutes, "m")).all()
    assert load_bars({"KO": frame}, stamps="end").sha256 == load_bars({"KO": frame}).sha256


@pytest.mark.parametrize(("freq", "what"), [("W-MON", "weeks on Mondays"), ("MS", "months on their first")])
def test_weeks_and_months_that_begin_are_told_and_moved_on_demand(freq: str, what: str) -> None:
    frame = pd.DataFrame(prices(40), index=pd.date_range("2015-01-01", periods=40, freq=freq))
    bars = load_bars({"KO": frame})
    assert any(what in note and "stamps='begin'" in note for note in bars.notes)
    moved = load_bars({"KO": frame}, stamps="begin").stamps - bars.stamps
    assert set(moved.astype("m8[D]").astype(int)) <= {6, 29, 30}
    assert not any(what in note for note in load_bars({"KO": frame}, stamps="end").notes)


@pytest.mark.parametrize("symbols", [1, 2])
def test_days_whose_clock_changes_with_summer_are_dates(symbols: int) -> None:
    """20:00 in summer and 21:00 in winter of UTC, without a zone; another symbol's summer may begin on another day."""
    days = pd.bdate_range("2020-01-06", periods=250)
    frames = {}
    for zone in ("America/New_York", "Europe/Berlin")[:symbols]:
        shift = [
            1 if stamp.utcoffset() == days[0].tz_localize(zone).utcoffset() else 0 for stamp in days.tz_localize(zone)
        ]
        stamps = days + pd.Timedelta(hours=20) + pd.to_timedelta(shift, unit="h")
        frames[zone[:7].replace("/", "")] = pd.DataFrame(prices(250 + len(frames))).iloc[:250].set_index(stamps)
    bars = load_bars(frames)
    assert bars.traded.all() and np.array_equal(bars.stamps, days.to_numpy().astype("M8[ns]"))


def test_symbols_of_several_zones_share_a_calendar_only_where_one_is_said() -> None:
    days = pd.bdate_range("2021-01-04", periods=30)
    frames = {
        "KO": pd.DataFrame(prices(30), index=days.tz_localize("America/New_York")),
        "SONY": pd.DataFrame(prices(31)).iloc[:30].set_index(days.tz_localize("Asia/Tokyo")),
    }
    for mode in ("fail", "mend", "warn"):
        with pytest.raises(BarsError, match=r"several time zones.*America/New_York, Asia/Tokyo; say .*time_zone="):
            load_bars(frames, on_bad_data=mode)  # type: ignore[arg-type]
    bars = load_bars(frames, time_zone="America/New_York")
    assert bars.traded.all() and np.array_equal(bars.stamps, days.to_numpy().astype("M8[ns]")), "each its own date"


def test_calendar_says_the_zone() -> None:
    pytest.importorskip("exchange_calendars")
    local = pd.DatetimeIndex(
        [
            day + pd.Timedelta(hours=10) + pd.Timedelta(minutes=5 * i)
            for day in pd.bdate_range("2021-03-01", periods=20)
            for i in range(6)
        ]
    )
    frame = pd.DataFrame(prices(len(local)), index=local.tz_localize("America/New_York").tz_convert("UTC"))
    assert load_bars({"KO": frame}, calendar="XNYS").sha256 == plain(local).sha256


def test_zone_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="time_zone: 'America/New_Yrok' is no zone; did you mean 'America/New_York'"):
        load_bars(
            {"KO": pd.DataFrame(prices(3), index=pd.bdate_range("2021-03-01", periods=3))}, time_zone="America/New_Yrok"
        )
    with pytest.raises(ConfigError, match="stamps is 'start'"):
        load_bars("us20", stamps="start")  # type: ignore[arg-type]


def test_flags_say_the_same(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from hybrid_bt.commands.data import main

    days = pd.bdate_range("2014-09-01", periods=60) - pd.Timedelta(hours=2)
    pd.DataFrame(prices(60)).assign(date=[f"{day:%Y-%m-%dT%H:%M:%S}Z" for day in days]).to_csv(
        tmp_path / "EURCHF.csv", index=False
    )
    told = CliRunner().invoke(main, ["check", str(tmp_path)])
    assert told.exit_code == 1 and "22:00 from Sunday to Thursday" in told.output
    out = tmp_path / "out"
    assert CliRunner().invoke(main, ["check", str(tmp_path), "--stamps", "begin"]).exit_code == 0
    CliRunner().invoke(main, ["check", str(tmp_path), "--stamps", "begin", "--mend", "--out", str(out)])
    assert str(load_bars(out).stamps[0])[:10] == "2014-09-01"
