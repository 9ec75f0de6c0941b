"""ArrayFeed in the place of a user's PandasData: same parameters, same names, same prices, unless told otherwise."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any, ClassVar

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import random_bars
from click.testing import CliRunner

from hybrid_bt.commands.run import main as run
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import ArrayFeed, load_bars, to_feeds

BARS = random_bars(60, 1)
LINES = ("open", "high", "low", "close", "volume")


def frame() -> pd.DataFrame:
    """A user's frame: an adjusted close that is not the close, open interest, and columns of his own."""
    table = pd.DataFrame({line: getattr(BARS, line)[:, 0] for line in LINES}, index=pd.DatetimeIndex(BARS.stamps))
    table["volume"] = np.arange(1.0, 61.0)
    table.iloc[7, table.columns.get_loc("volume")] = np.nan
    table["openinterest"] = np.arange(60) * 3
    table["Adj Close"] = table["close"] * np.linspace(0.5, 1.0, 60)
    table["pe"] = np.linspace(10.0, 20.0, 60)
    table["signal"] = table["close"] > table["open"]
    return table


def told(**names: str) -> pd.DataFrame:
    """The frame with columns under names that nobody would guess."""
    return frame().rename(columns=names)


def dated(column: str) -> pd.DataFrame:
    table = frame()
    table.insert(0, column, table.index)
    return table.reset_index(drop=True)


def seen(feed: Any, add: str = "adddata", **modes: Any) -> Any:
    """All values of all lines as a strategy reads them, and what it knows the feed by."""

    class Reader(bt.Strategy):
        def __init__(self) -> None:
            self.rows: list[Any] = []

        def next(self) -> None:
            data = self.data
            self.rows.append([data.datetime.datetime(0), *(float(line[0]) for line in data.lines)])

    cerebro = bt.Cerebro(stdstats=False, **modes)
    getattr(cerebro, add)(feed)
    cerebro.addstrategy(Reader)
    (strategy,) = cerebro.run()
    return repr(strategy.rows), feed._name, feed._timeframe, feed._compression, sorted(cerebro.datasbyname)


def mondays_out(data: Any) -> bool:
    if data.datetime.date().weekday():
        return False
    data.backwards()
    return True


#: parameter of PandasData -> frames and values of it
CASES: dict[str, list[tuple[Any, Any]]] = {
    "dataname": [(frame, {})],
    "name": [(frame, {"name": "BTC"}), (frame, {"name": "a name of any kind, with: marks"}), (frame, {})],
    "nocase": [
        (lambda: frame().rename(columns=str.upper), {}),
        (frame, {"nocase": False}),
        (lambda: told(volume="Volume"), {"nocase": False}),
    ],
    "datetime": [
        (frame, {"datetime": None}),
        (frame, {"datetime": -1}),
        (lambda: dated("datetime"), {"datetime": -1}),
        (lambda: dated("When"), {"datetime": "when", "volume": 5}),
        (lambda: dated("When"), {"datetime": 0}),
        (lambda: frame().assign(date="not a date"), {}),
    ],
    **{
        line: [
            (frame, {line: -1}),
            (lambda line=line: told(**{line: "X 1"}), {line: "X 1"}),
            (lambda line=line: told(**{line: "X 1"}), {line: "x 1"}),
            (lambda line=line: told(**{line: "X 1"}), {line: frame().columns.get_loc(line)}),
        ]
        for line in LINES
    },
    "openinterest": [
        (frame, {"openinterest": -1}),
        (frame, {"openinterest": None}),
        (lambda: told(openinterest="oi"), {"openinterest": "oi"}),
        (lambda: told(openinterest="oi"), {"openinterest": 5}),
        (lambda: told(openinterest="oi"), {}),
    ],
    "fromdate": [(frame, {"fromdate": date(2011, 1, 20)}), (frame, {"fromdate": datetime(2011, 1, 20, 12)})],
    "todate": [(frame, {"todate": date(2011, 2, 1)})],
    "timeframe": [(frame, {"timeframe": bt.TimeFrame.Minutes})],
    "compression": [(frame, {"compression": 5})],
    "sessionstart": [(frame, {"sessionstart": time(9, 30)})],
    "sessionend": [(frame, {"sessionend": time(16, 0)})],
    "filters": [(frame, {"filters": [mondays_out]})],
    "tz": [(frame, {"tz": "US/Eastern"})],
    "tzinput": [(frame, {"tzinput": "US/Eastern"})],
    "qcheck": [(frame, {"qcheck": 1.0})],
    "calendar": [(frame, {"calendar": None})],
}
CASES["volume"] += [(frame, {"volume": None}), (lambda: frame().drop(columns="volume"), {})]


def test_every_parameter_of_pandas_data_is_a_case_and_has_its_default() -> None:
    theirs = dict(bt.feeds.PandasData.params._getitems())
    assert set(CASES) == set(theirs)
    assert theirs.items() <= dict(ArrayFeed.params._getitems()).items()
    assert set(bt.feeds.PandasData.datafields) == set(ArrayFeed.datafields)


@pytest.mark.parametrize("modes", [{}, {"preload": False}, {"exactbars": 1}], ids=str)
@pytest.mark.parametrize("parameter", CASES)
def test_parameter_means_what_it_means_to_pandas_data(parameter: str, modes: Any) -> None:
    for make, params in CASES[parameter]:
        ours, theirs = (seen(kind(dataname=make(), **params), **modes) for kind in (ArrayFeed, bt.feeds.PandasData))
        assert ours == theirs, params


class OursPE(ArrayFeed):  # type: ignore[misc]
    lines = ("pe", "signal", "missing", "adj")
    params = (("pe", -1), ("signal", 8), ("missing", -1), ("adj", "Adj Close"))
    datafields: ClassVar = [*ArrayFeed.datafields, "pe", "signal", "missing", "adj"]


class TheirsPE(bt.feeds.PandasData):  # type: ignore[misc]
    lines = ("pe", "signal", "missing", "adj")
    params = (("pe", -1), ("signal", 8), ("missing", -1), ("adj", "Adj Close"))
    datafields: ClassVar = [*bt.feeds.PandasData.datafields, "pe", "signal", "missing", "adj"]


MODES: tuple[Any, ...] = (
    {},
    {"runonce": False},
    {"preload": False},
    {"exactbars": 1},
    {"exactbars": -1},
    {"oldsync": True},
)


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_further_columns_become_lines(modes: Any) -> None:
    for params in ({}, {"pe": "PE"}, {"pe": None}, {"signal": "signal", "fromdate": date(2011, 1, 20)}):
        assert seen(OursPE(dataname=frame(), **params), **modes) == seen(TheirsPE(dataname=frame(), **params), **modes)


def test_further_columns_resampled_are_those_of_pandas_data() -> None:
    def weekly(kind: Any) -> Any:
        feed = kind(dataname=frame())
        feed.resample(timeframe=bt.TimeFrame.Weeks)
        return seen(feed)

    assert weekly(OursPE) == weekly(TheirsPE)


def test_columns_that_become_no_line_are_named() -> None:
    assert ArrayFeed(dataname=frame()).unread == ("Adj Close", "pe", "signal")
    assert ArrayFeed(dataname=frame(), adjusted=True, volume=None).unread == ("volume", "pe", "signal")
    assert OursPE(dataname=frame()).unread == ()
    assert ArrayFeed(dataname=dated("date")).unread == ("Adj Close", "pe", "signal")


class Once(bt.Strategy):
    """Buys 100 of one name on the third bar."""

    def next(self) -> None:
        if len(self) == 3:
            self.buy(self.getdatabyname("BTC"), size=100)


@pytest.mark.parametrize("make", [frame, lambda: BARS], ids=["frame", "bars"])
def test_name_is_the_users_and_its_commission_is_charged(make: Any) -> None:
    def value(kind: Any, given: Any) -> float:
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.adddata(kind(dataname=given, name="BTC"))
        cerebro.broker.setcommission(commission=0.01, name="BTC")
        cerebro.addstrategy(Once)
        cerebro.run()
        return float(cerebro.broker.getvalue())

    assert value(ArrayFeed, make()) == value(bt.feeds.PandasData, frame())
    assert [feed._name for feed in to_feeds(BARS, name="X")] == ["X"]
    assert ArrayFeed(bars=BARS)._name == BARS.symbols[0]


def test_adjusted_prices_are_traded_when_asked_for() -> None:
    feed = ArrayFeed(dataname=frame(), adjusted=True)
    bars = load_bars({"S": frame().drop(columns=["pe", "signal", "openinterest"])})
    bt_cerebro = bt.Cerebro(stdstats=False)
    bt_cerebro.adddata(feed)
    bt_cerebro.run()
    for line in ("open", "high", "low", "close"):
        assert list(getattr(feed.lines, line).array) == getattr(bars, line)[:, 0].tolist()
    assert bars.close[0, 0] == frame()["Adj Close"].iloc[0] != frame()["close"].iloc[0]


def test_an_adjusted_close_that_is_not_traded_may_be_bad() -> None:
    table = frame()
    table.iloc[5, table.columns.get_loc("Adj Close")] = np.nan
    assert seen(ArrayFeed(dataname=table)) == seen(bt.feeds.PandasData(dataname=table))


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_stamps_with_a_zone_stay_on_its_clock(zone: str) -> None:
    """Where PandasData turns them into UTC, and a day of Tokyo into the one before."""
    zoned = frame().tz_localize(zone, nonexistent="shift_forward")
    plain = zoned.tz_localize(None)
    assert seen(ArrayFeed(dataname=zoned)) == seen(ArrayFeed(dataname=plain))


@pytest.mark.parametrize("absent", [("open",), ("high", "low"), ("open", "high", "low"), ("low",)])
def test_price_that_is_absent_stands_at_the_close(absent: Any) -> None:
    """PandasData leaves it empty, and the broker would fill at it."""
    feed = ArrayFeed(dataname=frame(), **dict.fromkeys(absent))
    seen(feed)
    got = {line: np.array(getattr(feed.lines, line).array) for line in LINES[:4]}
    open_, close = (BARS.close if "open" in absent else BARS.open)[:, 0], BARS.close[:, 0]
    flat = len(absent) == 3
    assert np.array_equal(got["close"], close) and np.array_equal(got["open"], open_)
    if "low" in absent:
        assert np.array_equal(got["low"], close if flat else np.minimum(open_, close))
    if "high" in absent:
        assert np.array_equal(got["high"], close if flat else np.maximum(open_, close))


@pytest.mark.parametrize(
    ("make", "params", "message"),
    [
        (frame, {"close": "price"}, "close='price' is no column.*found open, high, low, close"),
        (frame, {"close": "clsoe"}, "close='clsoe' is no column; did you mean 'close'"),
        (frame, {"volume": 99}, "volume=99 is no column.*count from 0"),
        (frame, {"close": None}, "BTC has no close column.*name it with close='COLUMN'"),
        (lambda: frame().assign(Close=1.0), {}, "more than one column for 'close'.*keep one, or give a number"),
        (lambda: frame().drop(columns="high"), {}, "only some of open, high and low"),
        (lambda: frame().reset_index(drop=True), {}, "dates neither as index nor as a column.*datetime='COLUMN'"),
        (lambda: frame().drop(columns="Adj Close"), {"adjusted": True}, "adjusted=True needs one column.*not 0"),
        (lambda: frame().assign(openinterest="much"), {}, "BTC openinterest row 1 .* is 'much', not a number"),
        (lambda: pd.concat({"K": frame(), "P": frame()}, axis=1), {}, "several rows of headers; keep one"),
        (lambda: BARS, {"adjusted": True}, "adjusted=True is about a DataFrame, and Bars are given"),
        (lambda: BARS, {"close": "price"}, "close='price' is about a DataFrame"),
    ],
)
def test_mistake_is_told_in_the_feeds_words(make: Any, params: Any, message: str) -> None:
    with pytest.raises(BarsError, match=message) as told:
        ArrayFeed(dataname=make(), name="BTC", **params)
    assert "--" not in str(told.value)
    with pytest.raises(ConfigError, match="on_bad_data is 'mned'; did you mean 'mend'"):
        ArrayFeed(dataname=frame(), on_bad_data="mned")


def bad_frame() -> pd.DataFrame:
    table = frame()
    table = pd.concat([table.iloc[:20], table.iloc[18:]])  # two dates twice
    table.iloc[30, :4] = np.nan
    return table.iloc[::-1]


def test_bad_rows_are_mended_where_asked_for_and_further_lines_stay_beside_their_prices() -> None:
    with pytest.raises(BarsError, match="on_bad_data='mend'"):
        OursPE(dataname=bad_frame())
    feed = OursPE(dataname=bad_frame(), on_bad_data="mend")
    rows = seen(feed)[0]
    kept = frame().drop(index=frame().index[28])
    assert rows == seen(TheirsPE(dataname=kept))[0]


def test_each_door_names_its_own_switch(tmp_path: Any) -> None:
    """A class and a function have a parameter, a command a flag."""
    table = frame().rename_axis("date")
    table.iloc[3, :4] = -1.0
    file = tmp_path / "KO.csv"
    table[list(LINES)].to_csv(file)
    for door in (lambda: ArrayFeed(dataname=table), lambda: load_bars(file)):
        with pytest.raises(BarsError, match="on_bad_data='mend'") as told:
            door()
        assert "--" not in str(told.value)
    answer = CliRunner().invoke(run, ["--data", str(file), "--out", str(tmp_path / "fig")])
    assert (
        answer.exit_code == 2 and "or give --on-bad-data mend" in answer.stderr and "on_bad_data" not in answer.stderr
    )
