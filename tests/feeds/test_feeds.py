"""Sources give checked bars or say what is wrong; the array feed is PandasData, digit by digit, only faster."""

from __future__ import annotations

import gzip
import itertools
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.bars import Bars
from hybrid_bt.commands.data import check_path
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import ArrayFeed, load_bars, to_feeds
from hybrid_bt.feeds import sample as sample_source
from hybrid_bt.feeds.lines import date_numbers
from hybrid_bt.feeds.panel import Handling, Query
from hybrid_bt.feeds.yahoo import load_yahoo

LINES = ("datetime", "open", "high", "low", "close", "volume", "openinterest")
PRICES = ("open", "high", "low", "close")
GOOD = "date,open,high,low,close,volume\n2021-03-01,1,3,1,2,10\n2021-03-02,2,4,2,3,20\n2021-03-03,3,5,3,4,30\n"


def yahoo(download: Any, symbols: Any = ("KO",), **asked: Any) -> Bars:
    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict("os.environ", XDG_CACHE_HOME=cache),
        patch("time.sleep"),
        patch("yfinance.download", download),
    ):
        return load_yahoo(Query(symbols, **asked))


# --- embedded samples ---


def test_us20_is_whole_and_says_what_it_is_good_for() -> None:
    bars = load_bars("us20")
    assert (bars.n_bars, bars.n_symbols, bars.name) == (8313, 20, "us20")
    assert bars.close[0, bars.index_of("KO")] == 2.235
    assert bars.open is bars.close
    for caveat in ("survivorship", "next close", "rounded to 3 decimals", "not for investment"):
        assert any(caveat in note for note in bars.notes)
    assert 251 < bars.bars_per_year < 253


def test_tech6_is_scaled_to_the_adjusted_close_unless_raw() -> None:
    raw, scaled = load_bars("tech6", raw_prices=True), load_bars("tech6")
    assert (raw.close[0, 0], scaled.close[0, 0]) == (19.6082, 16.79118)
    assert scaled.open[0, 0] == pytest.approx(19.7793 * 16.79118 / 19.6082, rel=1e-15)
    assert scaled.volume[0, 0] == raw.volume[0, 0] == 560518000


def test_samples_equal_the_same_files_read_from_disk(tmp_path: Path) -> None:
    for name, sample in sample_source.SAMPLES.items():
        copy = tmp_path / sample.file
        copy.write_bytes(sample_source.sample_bytes(sample.file))
        assert load_bars(copy).sha256 == load_bars(name).sha256


def test_damaged_sample_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    folder.mkdir()
    (folder / "a.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    (folder / "SHA256SUMS").write_text("0" * 64 + "  a.csv.gz\n")
    monkeypatch.setattr(sample_source, "files", lambda package: tmp_path)
    with pytest.raises(BarsError, match=r"a\.csv\.gz has sha256 .*, expected 0000.*install the checkout anew"):
        sample_source.sample_bytes("a.csv.gz")


@pytest.mark.parametrize("name", sorted(sample_source.SAMPLES))
def test_every_sample_selects_symbols_in_order_and_stops_at_end(name: str) -> None:
    first, second = load_bars(name).symbols[:2]
    bars = load_bars(name, symbols=[second, first], end="2015-12-31")
    assert bars.symbols == (second, first)
    assert bars.stamps[-1] == np.datetime64("2015-12-31")
    with pytest.raises(BarsError, match="did you mean"):
        load_bars(name, symbols=[first + "X"])


# --- files ---


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for symbol, text in texts.items():
        (folder / f"{symbol}.csv").write_text(text)
    return folder


def test_folder_symbols_align_on_the_union_calendar(tmp_path: Path) -> None:
    late = "date,open,high,low,close,volume\n2021-03-02,7,9,7,8,1\n2021-03-04,8,9,8,8,2\n"
    bars = load_bars(write(tmp_path / "own", PEP=late, KO=GOOD))
    assert (bars.symbols, bars.name, bars.n_bars) == (("KO", "PEP"), "own", 4)
    assert bars.traded.tolist() == [[True, False], [True, True], [True, False], [False, True]]
    assert bars.volume[:, 1].tolist() == [0.0, 1.0, 0.0, 2.0]
    assert bars.notes == ("own: bars missing out of 4 (not traded there): KO 1, PEP 2",)
    assert load_bars(tmp_path / "own", symbols=["PEP", "KO"]).symbols == ("PEP", "KO")


def test_unasked_symbols_of_a_folder_are_not_even_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", KO=GOOD, BAD="nonsense")
    assert load_bars(folder, symbols=["KO"]).symbols == ("KO",)


def test_long_file_keeps_the_order_of_first_appearance(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("Timestamp,Symbol,Close\n2021-03-01,PEP,8\n2021-03-01,NA,2\n2021-03-02,PEP,9\n2021-03-02,NA,3\n")
    bars = load_bars(path)
    assert bars.symbols == ("PEP", "NA")  # a ticker that pandas would take for a missing value
    assert bars.close.tolist() == [[8.0, 2.0], [9.0, 3.0]]


def test_wide_file_takes_an_empty_cell_for_a_missing_bar_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "closes.csv"
    path.write_text("Date,KO,PEP\n2021-03-01,1,\n2021-03-02,2,8\n2021-03-03,3,9\n")
    bars = load_bars(path)
    assert bars.traded[:, 1].tolist() == [False, True, True]
    assert bars.notes == ("closes: bars missing out of 3 (not traded there): PEP 1",)


#: as Yahoo, Tiingo, FMP, EODHD, Alpha Vantage, Quandl, Sharadar, FinRL and others write it
ADJUSTED = (
    *("adj", "ADJ", "adj close", "Adj_Close", "adjClose", "adjclose", "AdjClose", "Adjusted Close", "adjusted_close"),
    *("Adj. Close", "closeadj", "adjcp", "Adj Close**", "Close_adj", "5. adjusted close", "Close (adjusted)"),
    *("adj_price", "Adjusted Price", "PRICE_ADJ", "Adj Closing Price"),
)


@pytest.mark.parametrize("door", ["folder", "long file", "parquet", "long parquet", "frame", "frames", "yahoo"])
@pytest.mark.parametrize("heading", ADJUSTED)
def test_adjusted_close_scales_all_four_prices_and_not_the_volume(tmp_path: Path, heading: str, door: str) -> None:
    values = {"Open": [9, 10], "HIGH": 12, "Low": 8, "Close": 10, "Volume": 5, heading: [5, 10]}
    frame = pd.DataFrame(values, index=pd.DatetimeIndex(["2021-03-01", "2021-03-02"], name="Date"))
    long = frame.reset_index().assign(symbol="KO")
    path = tmp_path / ("KO.parquet" if "parquet" in door else "KO.csv")
    if "parquet" in door:
        (long if "long" in door else frame).to_parquet(path)
    else:
        (long if "long" in door else frame.reset_index()).to_csv(path, index=False)
    if door == "yahoo":
        headed = pd.concat({"KO": frame.rename(columns={"HIGH": "High"})}, axis=1)
        bars, raw = (yahoo(lambda *a, **k: headed, handling=Handling(raw)) for raw in (False, True))
    else:
        source = {"folder": tmp_path, "frame": long, "frames": {"KO": frame}}.get(door, path)
        bars, raw = load_bars(source), load_bars(source, raw_prices=True)
    assert [getattr(bars, field)[0, 0] for field in (*PRICES, "volume")] == [4.5, 6.0, 4.0, 5.0, 5.0]
    assert raw.close[0, 0] == 10.0
    assert not [one for one in bars.findings if one.rule == "unread"]


@pytest.mark.parametrize("heading", ["adj_factor", "Close*2", "prev close", "adjOpen", "readjusted", "disclosed"])
def test_other_names_are_no_adjusted_close_and_are_named(tmp_path: Path, heading: str) -> None:
    text = f"date,close,{heading},name\n2021-03-01,10,5,Coca-Cola\n2021-03-02,10,6,Coca-Cola\n"
    bars = load_bars(write(tmp_path / "own", KO=text, PEP=text, XOM=GOOD))
    assert bars.close[0, 0] == 10.0
    (note,) = (note for note in bars.notes if "not read" in note)
    assert note == f"own: warning: columns with numbers whose names are not known: {heading} (KO and 1 more); not read"
    frame = pd.read_csv(tmp_path / "own" / "KO.csv")
    assert f"{heading} (KO)" in " ".join(load_bars({"KO": frame}).notes)
    assert f"{heading} (KO)" in " ".join(load_bars({"KO": frame}, on_bad_data="mend").notes)
    (found,) = (one for one in check_path(tmp_path / "own") if one.rule == "unread")
    assert found.what == f"{heading} (KO and 1 more)"


def test_two_adjusted_closes_are_refused_by_name(tmp_path: Path) -> None:
    text = "date,close,adjClose,volume,Adj. Close\n2021-03-01,10,5,1,5\n2021-03-02,10,6,1,6\n"
    folder = write(tmp_path / "own", KO=text)
    for source in (folder, {"KO": pd.read_csv(folder / "KO.csv")}):
        with pytest.raises(BarsError, match=r"more than one column for 'adj': 'adjClose' and 'Adj\. Close'; keep one"):
            load_bars(source)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_values_read_back_exactly(tmp_path: Path, suffix: str) -> None:
    random = np.random.default_rng(5)
    close = np.exp(random.normal(0, 3, 500))
    stamps = np.datetime64("2019-01-14T09:30", "ns") + np.arange(500) * np.timedelta64(15, "m")
    frame = pd.DataFrame(
        {"open": close * 1.1, "high": close * 1.3, "low": close / 3, "close": close, "volume": 1.0},
        index=pd.DatetimeIndex(stamps, name="datetime"),
    )
    path = tmp_path / f"KO{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path)
    bars = load_bars(path)
    assert np.array_equal(bars.stamps, stamps)
    for field in PRICES:
        assert np.array_equal(getattr(bars, field)[:, 0], frame[field].to_numpy())


BAD_FILES = {
    "no rows": ("date,close\n", r"KO\.csv has no rows"),
    "empty": ("", r"KO\.csv is empty"),
    "no close": ("date,open,volume\n2021-03-01,1,1\n", r"KO\.csv has no close column; found date, open, volume"),
    "no date": ("day,close\nMonday,1\n", r"KO\.csv has no date column; found day, close"),
    "unknown column": ("date,remark\n2021-03-01,good\n", r"KO\.csv has no close column"),
    "two dates": ("date,datetime,close\n2021-03-01,2021-03-02,1\n", "more than one column for 'date'"),
    "two closes": ("date,close,Close\n2021-03-01,1,1\n", "more than one column for 'close'"),
    "half a range": ("date,open,close\n2021-03-01,1,1\n2021-03-02,1,1\n", "KO has only some of open, high and low"),
    "text": (GOOD.replace("2,4,2,3,20", "2,4,2,n.a.,20"), r"KO close row 2 \(2021-03-02\) is 'n\.a\.', not a number"),
    "thousands": (GOOD.replace("2,4,2,3,20", '2,4,2,3,"1,020"'), "KO volume row 2 .* is '1,020', not a number"),
    "true": ("date,close\n2021-03-01,True\n2021-03-02,True\n", "KO close row 1 .*True.*, not a number"),
    "bad date": (GOOD.replace("2021-03-02", "03/02/2021"), "KO row 2 date '03/02/2021' is written in another way"),
    "no such day": (GOOD.replace("2021-03-02", "2021-02-30"), "KO row 2 date '2021-02-30' is no date"),
    "empty date": (GOOD.replace("2021-03-02", ""), "KO row 2 date '' is no date"),
    "epoch": (GOOD.replace("2021-03-02", "1614643200"), "KO row 2 date '1614643200' is no date"),
    "zone": (
        GOOD.replace("2021-03-02", "2021-03-02T00:00:00-05:00"),
        "several time zones .*no zone.; say the exchange's with time_zone=",
    ),
    "zulu": (GOOD.replace("2021-03-02", "2021-03-02T00:00:00Z"), "several time zones"),
    "unsorted": (GOOD.replace("2021-03-03", "2021-02-26"), "KO 2021-02-26 comes after 2021-03-02; .*sort"),
    "duplicate": (GOOD.replace("2021-03-03", "2021-03-02"), "KO 2021-03-02 appears twice; keep one"),
    "nan": (GOOD.replace("2,4,2,3,20", "2,4,2,,20"), "KO 2021-03-02 close is nan; a bar has all four"),
    "whole row nan": (GOOD.replace("2,4,2,3,20", ",,,,"), "KO 2021-03-02 open is nan; .*remove the row"),
    "zero": (GOOD.replace("2,4,2,3,20", "0,4,2,3,20"), "KO 2021-03-02 open is 0.0; prices must be finite and above 0"),
    "negative": (GOOD.replace("2,4,2,3,20", "2,4,-2,3,20"), "KO 2021-03-02 low is -2.0"),
    "infinite": (GOOD.replace("2,4,2,3,20", "2,inf,2,3,20"), "KO 2021-03-02 high is inf"),
    "range": (
        GOOD.replace("2,4,2,3,20", "2,2.5,2,3,20"),
        "KO 2021-03-02 high is 2.5; high must not be below the close",
    ),
    "volume": (GOOD.replace("2,4,2,3,20", "2,4,2,3,-20"), "KO 2021-03-02 volume is -20.0"),
    "adjusted": ("date,close,adj\n2021-03-01,1,1\n2021-03-02,1,0\n", "KO 2021-03-02 adj is 0.0"),
    "long row": (GOOD.replace("2,4,2,3,20", "2,4,2,3,20,7"), "cannot be read as CSV"),
    "every row long": ("date,close\n2021-03-01,1,9\n2021-03-02,1,9\n", "cannot be read as CSV"),
    "one bar": ("date,close\n2021-03-01,1\n", r"holds 1 bar\(s\); at least 2"),
    "no symbol": ("date,symbol,close\n2021-03-01,,1\n", "row 1 has no symbol"),
    "wide twice": ("date,KO,KO\n2021-03-01,1,1\n", "more than one column for 'KO'"),
    "wide nothing": ("date,KO,PEP\n2021-03-01,1,\n2021-03-02,1,\n", "PEP has no price at all"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_refused_with_symbol_date_and_value(tmp_path: Path, case: str) -> None:
    text, message = BAD_FILES[case]
    with pytest.raises(BarsError, match=message):
        load_bars(write(tmp_path / "own", KO=text))


def test_bad_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BarsError, match="neither a source nor an existing path; did you mean 'us20'"):
        load_bars("us2")
    with pytest.raises(BarsError, match=r"holds no \.csv\.gz, \.csv, \.parquet, .* file"):
        load_bars(write(tmp_path / "none"))
    (tmp_path / "prices.doc").write_text("")
    with pytest.raises(BarsError, match="is no table"):
        load_bars(tmp_path / "prices.doc")
    for name, content in {"KO.csv": b"\xff\xfa\x00", "KO.csv.gz": b"no gzip", "KO.parquet": b"no parquet"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BarsError, match="cannot be read"):
            load_bars(tmp_path / name)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("on_bad_dta", "on_bad_data"), ("symbol", "symbols"), ("resmple", "resample"), ("trade_form", "trade_from")],
)
def test_unknown_keyword_is_refused_with_the_nearest(word: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"no {word!r}; did you mean {hint!r}"):
        load_bars("us20", **{word: None})


@pytest.mark.parametrize("word", ["on_bad_data", "align"])
def test_unknown_value_is_refused_by_every_door(word: str) -> None:
    for load in (load_bars, lambda source, **how: yahoo(None, handling=Handling(**how))):
        with pytest.raises(ConfigError, match=f"{word} is 'drop'; known: "):
            load("us20", **{word: "drop"})


def test_symbol_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", KO=GOOD, more="symbol,date,close\nKO,2021-03-01,1\nKO,2021-03-02,1\n")
    with pytest.raises(BarsError, match=r"KO comes from more\.csv and from another file"):
        load_bars(folder)


def test_zoned_days_of_a_parquet_are_dates(tmp_path: Path) -> None:
    index = pd.date_range("2021-03-01", periods=3, tz="America/New_York", name="date")
    pd.DataFrame({"close": [1.0, 2.0, 3.0]}, index=index).to_parquet(tmp_path / "KO.parquet")
    assert load_bars(tmp_path / "KO.parquet").stamps.astype("M8[D]").astype(str).tolist() == [
        *("2021-03-01", "2021-03-02", "2021-03-03"),
    ]


# --- Yahoo, with a recorded frame in place of the network ---


def recorded(symbols: list[str], *, first_level: str = "field") -> pd.DataFrame:
    index = pd.DatetimeIndex(["2021-03-01", "2021-03-02", "2021-03-03"], name="Date")
    values = {"Adj Close": 5.0, "Close": 10.0, "High": 12.0, "Low": 8.0, "Open": 9.0, "Volume": 100.0}
    pairs = [(field, symbol) for field in values for symbol in sorted(symbols)]  # Yahoo's order, not the caller's
    columns = pd.MultiIndex.from_tuples(pairs if first_level == "field" else [pair[::-1] for pair in pairs])
    return pd.DataFrame([[values[field] for field, _ in pairs]] * 3, index=index, columns=columns)


@pytest.mark.parametrize("first_level", ["field", "symbol"])
def test_yahoo_frame_becomes_adjusted_bars_in_the_order_asked(first_level: str) -> None:
    asked: dict[str, Any] = {}

    def download(symbols: list[str], **options: Any) -> pd.DataFrame:
        asked.update(options)
        return recorded(symbols, first_level=first_level)

    bars = yahoo(download, ["PEP", "KO"], end="2021-03-03")
    assert bars.symbols == ("PEP", "KO")
    assert [getattr(bars, field)[0, 0] for field in PRICES] == [4.5, 6.0, 4.0, 5.0]
    assert (asked["auto_adjust"], asked["end"]) == (False, "2021-03-04")
    assert yahoo(download, handling=Handling(raw_prices=True)).close[0, 0] == 10.0
    yahoo(download, end="2021-03")
    assert asked["end"] == "2021-04-01"


def test_yahoo_days_without_prices_are_missing_bars() -> None:
    frame = recorded(["KO", "PEP"])
    frame.loc["2021-03-02", [column for column in frame.columns if column[1] == "KO"]] = np.nan
    bars = yahoo(lambda *a, **k: frame, ["KO", "PEP"])
    assert bars.traded.tolist() == [[True, True], [False, True], [True, True]]


def offline(*args: Any, **options: Any) -> pd.DataFrame:
    raise ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("symbols", "download", "message"),
    [
        (None, None, "say which symbols"),
        (["KO"], lambda *a, **k: pd.DataFrame(), "delivered nothing for KO .*prices of your own"),
        (["KO"], lambda *a, **k: None, "delivered nothing for KO"),
        (["KO", "XYZ"], lambda *a, **k: recorded(["KO"]), "delivered no XYZ; .*prices of your own"),
        (["KO"], lambda *a, **k: recorded(["KO"]) * np.nan, "delivered no prices of KO"),
        (["KO"], lambda *a, **k: recorded(["KO"]).drop(columns="Adj Close", level=0), "no adjusted close for KO"),
        (["KO"], lambda *a, **k: recorded(["KO"]) * -1.0, "KO 2021-03-01 open is -9.0"),
        (["KO"], offline, r"could not be read \(no route to host\); .*prices of your own"),
    ],
)
def test_yahoo_without_prices_says_what_to_do(
    symbols: list[str] | None, download: Callable[..., Any] | None, message: str
) -> None:
    with pytest.raises(BarsError, match=message):
        yahoo(download, symbols)


# --- the Backtrader feed ---


def panel(n_bars: int, n_symbols: int, *, step: str = "1D", gaps: bool = False) -> Bars:
    random = np.random.default_rng(n_symbols)
    close = 50.0 * np.exp(np.cumsum(random.normal(0, 0.02, (n_bars, n_symbols)), axis=0))
    open_ = close * np.exp(random.normal(0, 0.01, close.shape))
    high, low = np.maximum(open_, close) * 1.01, np.minimum(open_, close) * 0.99
    if gaps:
        for column in range(1, n_symbols):
            missing = random.random(n_bars) < 0.1
            missing[: 7 * column] = True
            for values in (open_, high, low, close):
                values[missing, column] = np.nan
    start = np.datetime64("2019-01-14T00:00" if step == "1D" else "2019-01-14T09:30", "ns")
    stamps = start + np.arange(n_bars) * pd.Timedelta(step).to_timedelta64()
    names = [f"S{i}" for i in range(n_symbols)]
    volume = np.where(np.isnan(close), 0.0, np.round(close * 1000))
    return Bars.checked("panel", names, stamps, close, open=open_, high=high, low=low, volume=volume)


def array_feed(bars: Bars, column: int, **params: Any) -> Any:
    return ArrayFeed(bars=bars, symbol=bars.symbols[column], **params)


def pandas_feed(bars: Bars, column: int, **params: Any) -> Any:
    rows = bars.traded[:, column]
    values = {field: getattr(bars, field)[rows, column] for field in (*PRICES, "volume")}
    frame = pd.DataFrame(values, index=pd.DatetimeIndex(bars.stamps[rows]))
    return bt.feeds.PandasData(dataname=frame, name=bars.symbols[column], **params)


class Crosser(bt.Strategy):  # type: ignore[misc]
    """Trades a moving-average cross per feed and writes down all that it sees."""

    def __init__(self) -> None:
        self.crosses = [self.cross(data) for data in self.datas]
        self.seen: list[Any] = []

    def cross(self, data: Any) -> Any:
        return bt.ind.CrossOver(bt.ind.SMA(data, period=3), bt.ind.SMA(data, period=8))

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        row = [len(self), self.broker.getvalue(), self.broker.getcash(), self.datetime.datetime(0)]
        for data, cross in zip(self.datas, self.crosses, strict=True):
            row.append(len(data))
            if len(data):
                row += [float(getattr(data, line)[0]) for line in LINES]
                row += [data.datetime.datetime(0), self.getposition(data).size]
            if len(cross) and cross[0] > 0:
                self.buy(data, size=10)
            elif len(cross) and cross[0] < 0:
                self.sell(data, size=10, exectype=bt.Order.Stop, price=float(data.close[0]) * 0.999)
        self.seen.append(row)


class Riser(Crosser):
    """Follows the last bar instead, since indicators break down in some modes where calendars differ."""

    def cross(self, data: Any) -> Any:
        return data.close - data.open


def trace(
    feeds: list[Any],
    add: str = "adddata",
    add_options: dict[str, Any] | None = None,
    strategy: type = Crosser,
    **modes: Any,
) -> list[Any]:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcommission(0.001)
    for feed in feeds:
        getattr(cerebro, add)(feed, **(add_options or {}))
    cerebro.addstrategy(strategy)
    run = cerebro.run(**modes)[0]
    arrays = [list(line.array) for feed in feeds for line in feed.lines]
    return [told(row) for row in (*run.seen, *arrays, [feed.buflen() for feed in feeds])]


def told(row: list[Any]) -> str:
    """All digits of a row; bounded lines of PandasData hold numpy's floats, which print differently."""
    return repr([float(value) if isinstance(value, float) else value for value in row])


def same(
    bars: Bars,
    *,
    change: Callable[[Any], object] | None = None,
    add: str = "adddata",
    add_options: dict[str, Any] | None = None,
    modes: dict[str, Any] | None = None,
    **params: Any,
) -> int:
    """Both feeds see, trade and leave behind the same; the number of things compared."""
    traces = []
    for kind in (array_feed, pandas_feed):
        feeds = [kind(bars, column, **params) for column in range(bars.n_symbols)]
        for feed in feeds:
            if change:
                change(feed)
        traces.append(trace(feeds, add, add_options, **(modes or {})))
    assert traces[0] == traces[1]
    return len(traces[0])


MODES = [
    {"runonce": runonce, "preload": preload, "exactbars": exactbars}
    for runonce, preload, exactbars in itertools.product((True, False), (True, False), (False, 1, -1, -2))
]


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_array_feed_equals_pandas_feed_in_every_run_mode(modes: dict[str, Any]) -> None:
    assert same(panel(60, 2), modes=modes) > 60
    assert same(panel(60, 1, step="15min"), modes=modes, timeframe=bt.TimeFrame.Minutes, compression=15) > 60


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_gaps_and_late_starts_are_seen_alike(modes: dict[str, Any]) -> None:
    bars = panel(80, 3, gaps=True)
    if modes["exactbars"] == 1:  # Backtrader's bounded lines break where calendars differ, whatever the feed
        assert until_it_breaks(array_feed, bars, modes) == until_it_breaks(pandas_feed, bars, modes)
        return
    same(bars, modes={**modes, "strategy": Riser})
    if not modes["runonce"]:
        same(bars, modes=modes)


def until_it_breaks(kind: Callable[..., Any], bars: Bars, modes: dict[str, Any]) -> list[str]:
    """All that a strategy saw until Backtrader raised, which it must."""
    watched: list[Any] = []

    class Watched(Riser):
        def next(self) -> None:
            super().next()
            watched.append(told(self.seen[-1]))

    with pytest.raises(IndexError, match="deque index out of range"):
        trace([kind(bars, column) for column in range(bars.n_symbols)], strategy=Watched, **modes)
    assert len(watched) > 50
    return watched


@pytest.mark.parametrize(
    "modes",
    [
        {},
        {"runonce": False},
        {"preload": False},
        {"oldsync": True},
        {"lookahead": 3},
        {"lookahead": 2, "preload": False},
        {"oldsync": True, "runonce": False},
        {"cheat_on_open": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "params",
    [
        {"fromdate": pd.Timestamp("2019-01-20").to_pydatetime(), "todate": pd.Timestamp("2019-03-01").to_pydatetime()},
        {"fromdate": pd.Timestamp("2019-01-20").date(), "todate": pd.Timestamp("2019-03-01").date()},
        {"tz": "America/New_York"},
        {"tzinput": "Asia/Tokyo"},
        {"tzinput": "Asia/Tokyo", "tz": "America/New_York", "fromdate": pd.Timestamp("2019-01-20").to_pydatetime()},
    ],
    ids=lambda p: "+".join(p),
)
def test_feed_parameters_and_odd_modes_act_alike(params: dict[str, Any], modes: dict[str, Any]) -> None:
    same(panel(60, 2), modes=modes, **params)


def no_mondays(data: Any) -> bool:
    return bool(data.datetime.date(0).weekday() == 0)


class DaySplit(bt.with_metaclass(bt.MetaParams, object)):  # type: ignore[misc]
    """A filter that pushes a second bar onto the stack, as Backtrader's DaySplitter does."""

    def __init__(self, data: Any) -> None:
        self.flip = False

    def __call__(self, data: Any) -> bool:
        self.flip = not self.flip
        if self.flip:
            data._add2stack([line[0] for line in data.lines])
        return False


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"preload": False}, {"exactbars": 1}], ids=str)
def test_filters_and_resampling_act_alike(modes: dict[str, Any]) -> None:
    daily, intraday = panel(60, 2), panel(200, 1, step="15min")
    same(daily, change=lambda feed: feed.addfilter_simple(no_mondays), modes=modes)
    same(daily, change=lambda feed: feed.addfilter(bt.filters.HeikinAshi), modes=modes)
    same(daily, change=lambda feed: feed.addfilter(DaySplit), modes=modes)
    same(daily, change=lambda feed: feed.resample(timeframe=bt.TimeFrame.Weeks), modes=modes)
    weeks = {"timeframe": bt.TimeFrame.Weeks}
    same(daily, add="resampledata", add_options=weeks, modes=modes)
    same(daily, add="replaydata", add_options=weeks, modes=modes)
    minutes = {"timeframe": bt.TimeFrame.Minutes, "compression": 15}
    hours = {"timeframe": bt.TimeFrame.Minutes, "compression": 60}
    same(intraday, add="resampledata", add_options=hours, modes=modes, **minutes)
    same(intraday, add="replaydata", add_options=hours, modes=modes, **minutes)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"preload": False}], ids=str)
def test_daily_feed_beside_its_own_weekly_clone_acts_alike(modes: dict[str, Any]) -> None:
    traces = []
    for kind in (array_feed, pandas_feed):
        cerebro = bt.Cerebro(stdstats=False)
        feed = kind(panel(90, 1), 0)
        cerebro.adddata(feed)
        cerebro.resampledata(feed, timeframe=bt.TimeFrame.Weeks)
        cerebro.addstrategy(Crosser)
        traces.append([told(row) for row in cerebro.run(**modes)[0].seen])
    assert traces[0] == traces[1]


def test_one_feed_runs_again_in_any_mode_as_if_new() -> None:
    bars = panel(60, 2)
    feeds = to_feeds(bars)
    fresh = [pandas_feed(bars, column) for column in range(2)]
    for modes in ({}, {"preload": False}, {"oldsync": True}, {}, {"runonce": False}):
        assert trace(feeds, **modes) == trace(fresh, **modes)


def test_optimisation_in_other_processes_acts_alike() -> None:
    equities = []
    for kind in (array_feed, pandas_feed):
        cerebro = bt.Cerebro(stdstats=False, maxcpus=2)
        cerebro.adddata(kind(panel(80, 1), 0))
        cerebro.optstrategy(bt.strategies.MA_CrossOver, fast=[3, 5], slow=[9])
        cerebro.addanalyzer(bt.analyzers.TimeReturn, _name="returns")
        equities.append([list(run[0].analyzers.returns.get_analysis().items()) for run in cerebro.run()])
    assert equities[0] == equities[1]


def test_subclass_that_loads_its_own_way_is_left_to_it() -> None:
    class Doubled(ArrayFeed):  # type: ignore[misc]
        lines = ("twice",)

        def _load(self) -> bool:
            loaded = super()._load()
            if loaded:
                self.lines.twice[0] = 2.0 * self.lines.close[0]
            return loaded

    bars = panel(30, 1)
    cerebro = bt.Cerebro(stdstats=False)
    feed = Doubled(bars=bars)
    cerebro.adddata(feed)
    cerebro.run()
    assert list(feed.lines.twice.array) == (2.0 * bars.close[:, 0]).tolist()


@given(
    st.datetimes(
        min_value=pd.Timestamp("1700-01-01").to_pydatetime(), max_value=pd.Timestamp("2260-01-01").to_pydatetime()
    )
)
def test_date_numbers_are_backtraders_own(moment: Any) -> None:
    assert date_numbers(np.array([moment], dtype="M8[ns]")).tolist() == [bt.date2num(moment)]


def test_date_numbers_of_every_minute_and_odd_second_are_backtraders_own() -> None:
    stamps = np.datetime64("2017-01-03", "ns") + np.arange(20_000) * np.timedelta64(61_000_007, "us")
    moments = stamps.astype("M8[us]").astype(object)
    assert date_numbers(stamps).tolist() == [bt.date2num(moment) for moment in moments]


def test_feeds_carry_their_symbols_and_skip_missing_bars() -> None:
    bars = panel(50, 3, gaps=True)
    feeds = to_feeds(bars, timeframe=bt.TimeFrame.Minutes)
    assert [feed._name for feed in feeds] == list(bars.symbols)
    assert feeds[0]._timeframe == bt.TimeFrame.Minutes
    trace(feeds, preload=False)
    assert [feed.buflen() for feed in feeds] == bars.traded.sum(axis=0).tolist()
    assert not any(math.isnan(price) for feed in feeds for price in feed.lines.close.array)


def test_feed_takes_a_frame_where_pandas_data_takes_one() -> None:
    bars = panel(40, 1)
    frame = pandas_feed(bars, 0).p.dataname
    feed = ArrayFeed(dataname=frame.rename(columns=str.title), name="S0")
    assert trace([feed]) == trace([pandas_feed(bars, 0)])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "got NoneType; give bars=Bars"),
        ({"bars": panel(9, 2)}, "holds 2 symbols; say which one"),
        ({"bars": panel(9, 2), "symbol": "S3"}, "no symbol 'S3'"),
    ],
)
def test_feed_without_a_clear_symbol_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(BarsError, match=message):
        ArrayFeed(**params)


@pytest.mark.parametrize(
    ("modes", "change", "light"),
    [
        ({}, None, True),
        ({"runonce": False}, None, True),
        ({"preload": False}, None, True),
        ({"lookahead": 2}, None, True),
        ({"exactbars": 1}, None, False),
        ({"lookahead": 2, "preload": False}, None, False),
        ({}, lambda feed: feed.addfilter_simple(no_mondays), False),
        ({}, lambda feed: feed.resample(timeframe=bt.TimeFrame.Weeks), False),
        ({}, lambda feed: feed.replay(timeframe=bt.TimeFrame.Weeks), False),
        ({}, lambda feed: feed.lines.close.addbinding(feed.lines.openinterest), False),
    ],
)
def test_light_path_is_taken_only_where_bars_pass_whole(
    modes: dict[str, Any], change: Callable[[Any], object] | None, light: bool
) -> None:
    (feed,) = to_feeds(panel(40, 1))
    if change:
        change(feed)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.run(**modes)
    assert feed._light is light


@pytest.mark.parametrize(("n_symbols", "n_bars"), [(2, 1500), (30, 300)])
def test_array_feed_is_much_faster_than_pandas_feed(n_symbols: int, n_bars: int) -> None:
    bars = panel(n_bars, n_symbols)

    def seconds(kind: Callable[..., Any]) -> float:
        cerebro = bt.Cerebro(stdstats=False)
        for column in range(n_symbols):
            cerebro.adddata(kind(bars, column))
        started = time.process_time()
        cerebro.run()
        return time.process_time() - started

    fast, slow = (min(seconds(kind) for _ in range(2)) for kind in (array_feed, pandas_feed))
    print(
        f"{n_symbols} feeds: array {fast / n_bars * 1e6:.1f} us, pandas {slow / n_bars * 1e6:.1f} us a step, "
        f"{slow / fast:.1f}x"
    )
    assert slow > 5.0 * fast
