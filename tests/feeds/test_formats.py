"""Every export of the registry, daily and intraday, reads as the plain table of the same prices, digit by digit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from hybrid_bt.bars.checks import RawBars
from hybrid_bt.commands.data import main as check
from hybrid_bt.feeds import load_bars
from hybrid_bt.feeds.files import rows_of_path
from hybrid_bt.feeds.names import FORMATS
from hybrid_bt.feeds.reading import Told

FIELDS = ("open", "high", "low", "close", "volume")
ZONE = "America/New_York"


def prices(intraday: bool, seed: int = 1) -> pd.DataFrame:
    """Bars around the change to summer time, with a holiday, and a volume that is missing on one of them."""
    if intraday:
        days = ["2021-03-11", "2021-03-12", "2021-03-15", "2021-03-16"]
        index = pd.DatetimeIndex(
            [pd.Timestamp(f"{day} 09:30") + k * pd.Timedelta("15min") for day in days for k in range(26)]
        )
    else:
        index = pd.bdate_range("2021-01-25", periods=60).drop("2021-02-15")
    rng = np.random.default_rng(seed)
    close = np.round(1050.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, len(index)))), 2)
    open_ = np.round(np.append(1050.0, close[:-1]) * np.exp(rng.normal(0.0, 0.003, len(index))), 2)
    high = np.round(np.maximum(open_, close) * 1.002, 2)
    low = np.round(np.minimum(open_, close) * 0.998, 2)
    volume = np.round(rng.uniform(900_000, 1_900_000, len(index)))
    volume[7] = 0.0
    return pd.DataFrame(dict(zip(FIELDS, (open_, high, low, close, volume), strict=True)), index=index)


class Written(NamedTuple):
    """A file, and what it holds."""

    path: Path
    symbol: str = "KO"
    utc: bool = False  #: stamps carry a zone
    scale: float = 1.0


Rows = list[dict[str, Any]]


def rows_of(table: pd.DataFrame) -> Rows:
    """Each bar with its numbers as people write them."""
    found = []
    for stamp, row in zip(table.index, table.itertuples(index=False), strict=True):
        cells = {field: repr(getattr(row, field)) for field in FIELDS}
        utc = stamp.tz_localize(ZONE).tz_convert("UTC")
        found.append({**cells, "volume": str(int(row.volume)), "at": stamp, "utc": utc, "epoch": int(utc.timestamp())})
    return found


def put(place: Path, lines: list[str], end: str = "\n") -> Path:
    place.parent.mkdir(exist_ok=True, parents=True)
    place.write_text(end.join(lines) + end, encoding="utf-8")
    return place


def lines(
    table: pd.DataFrame, template: str, header: str = "", *, newest_first: bool = False, **formats: str
) -> list[str]:
    """Lines by a template; `{d}`, `{t}` and the like are formats of the stamp."""
    told = []
    for row in rows_of(table):
        stamps = {name: row["at"].strftime(how) for name, how in formats.items()}
        stamps |= {name: str(int(stamp)) if name.startswith("bare") else stamp for name, stamp in stamps.items()}
        told.append(template.format(**{**row, **stamps}))
    told = told[::-1] if newest_first else told
    return [header, *told] if header else told


Writer = Callable[[pd.DataFrame, bool, Path], Written]
OHLC, OHLCV = "{open},{high},{low},{close}", "{open},{high},{low},{close},{volume}"
ISO = "%Y-%m-%d %H:%M:%S"


def metatrader_5(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "<DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL> <VOL> <SPREAD>".replace("<TIME> ", "<TIME> " * intraday)
    body = "{d}," + "{t}," * intraday + OHLC + ",{volume},0,12"
    told = lines(table, body.replace(",", "\t"), head.replace(" ", "\t"), d="%Y.%m.%d", t="%H:%M:%S")
    return Written(put(to / "EURUSD_M15_201001040000_202012312359.csv", told, "\r\n"), "EURUSD")


def metatrader_4(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    return Written(put(to / "KO.csv", lines(table, "{d},{t}," + OHLCV, d="%Y.%m.%d", t="%H:%M")))


def stooq(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
    body = f"KO.US,{'15' if intraday else 'D'},{{d}},{{t}},{OHLCV},0"
    return Written(put(to / "ko.us.txt", lines(table, body, head, d="%Y%m%d", t="%H%M%S"), "\r\n"), "KO.US")


def finam(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>"
    body = f"KO;{'15' if intraday else 'D'};{{d}};{{t}};{OHLCV}".replace(",", ";")
    return Written(put(to / "KO_100104_201231.csv", lines(table, body, head, d="%Y%m%d", t="%H%M%S")))


def binance(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    half = len(table) // 2  # seconds in thousandths, and since 2025 in millionths
    told = lines(table[:half], "{epoch}000," + OHLCV + ",{epoch}999,2434.19,308,1756.8,28.4,0")
    told += lines(table[half:], "{epoch}000000," + OHLCV + ",{epoch}999999,2434.19,308,1756.8,28.4,0")
    return Written(put(to / "KO.csv", told), utc=True)


def kraken(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    return Written(put(to / "KO.csv", lines(table, "{epoch}," + OHLCV + ",31")), utc=True)


def tradingview(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    name, head = "NYSE_KO, 15.csv" if intraday else "NYSE_KO, 1D.csv", "time,open,high,low,close,Volume"
    return Written(put(to / name, lines(table, "{epoch}," + OHLCV, head)), utc=True)


def alpaca(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "symbol,timestamp,open,high,low,close,volume,trade_count,vwap"
    return Written(put(to / "bars.csv", lines(table, "KO,{utc}," + OHLCV + ",812,10.5", head)), utc=True)


def yfinance(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = ["Price,Close,High,Low,Open,Volume", "Ticker,KO,KO,KO,KO,KO", "Datetime,,,,," if intraday else "Date,,,,,"]
    stamp = "{utc}" if intraday else "{d}"
    told = lines(table, stamp + ",{close},{high},{low},{open},{volume}", d="%Y-%m-%d")
    return Written(put(to / "download.csv", [*head, *told]), utc=intraday)


def kibot(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    return Written(put(to / "KO.txt", lines(table, "{d}," + "{t}," * intraday + OHLCV, d="%m/%d/%Y", t="%H:%M")))


def firstrate(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    return Written(put(to / "KO.txt", lines(table, "{d}," + OHLCV, d=ISO)))


def histdata(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    return Written(put(to / "KO.csv", lines(table, ("{d}," + OHLCV).replace(",", ";"), d="%Y%m%d %H%M%S")))


def nasdaq(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "Date,Close/Last,Volume,Open,High,Low"
    body = "{d},${close},{volume},${open},${high},${low}"
    return Written(put(to / "KO.csv", lines(table, body, head, newest_first=True, d="%m/%d/%Y")))


def quandl(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "Date,Open,High,Low,Close,Volume,Dividend,Split,Adj_Open,Adj_High,Adj_Low,Adj_Close,Adj_Volume"
    return Written(
        put(to / "KO.csv", lines(table, f"{{d}},{OHLCV},0.0,1.0,{OHLCV}", head, newest_first=True, d="%Y-%m-%d"))
    )


def finrl(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    told = [f"{n}{line}" for n, line in enumerate(lines(table, ",{d}," + OHLCV + ",KO,3", d=ISO))]
    return Written(put(to / "data.csv", [",date,open,high,low,close,volume,tic,day", *told]))


def backtrader(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "Date,Time,Open,High,Low,Close,Volume,OpenInterest".replace("Time,", "Time," * intraday)
    return Written(
        put(to / "KO.txt", lines(table, "{d}," + "{t}," * intraday + OHLCV + ",0", head, d="%Y-%m-%d", t="%H:%M:%S"))
    )


def investing(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    told = ['"Date","Price","Open","High","Low","Vol.","Change %"']
    for row in rows_of(table)[::-1]:
        cells = [f"{float(row[field]):,.2f}" for field in ("close", "open", "high", "low")]
        volume = f"{int(row['volume']) / 1e6:.6f}M" if int(row["volume"]) else "-"
        told.append(",".join(f'"{cell}"' for cell in (row["at"].strftime("%b %d, %Y"), *cells, volume, "-0.54%")))
    return Written(put(to / "Coca-Cola Stock Price History.csv", told), "Coca-Cola")


def oanda(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    told = lines(
        table, "{utc},{open},{high},{low},{close},{volume},True", "time,openMid,highMid,lowMid,closeMid,volume,complete"
    )
    return Written(put(to / "KO.csv", told), utc=True)


def lean(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    told = []
    for row in rows_of(table):
        scaled = [str(round(float(row[field]) * 10_000)) for field in FIELDS[:4]]
        told.append(",".join((row["at"].strftime("%Y%m%d %H:%M"), *scaled, row["volume"])))
    with zipfile.ZipFile(to / "ko.zip", "w") as archive:
        archive.writestr("ko.csv", "\n".join(told))
    return Written(to / "ko.zip", "ko")


def lean_minutes(table: pd.DataFrame, to: Path) -> None:
    """A zip for each day, whose rows count milliseconds."""
    for day, own in table.groupby(table.index.normalize()):
        told = []
        for row in rows_of(own):
            since = (row["at"] - row["at"].normalize()) // pd.Timedelta("1ms")
            told.append(
                ",".join(map(str, (since, *(round(float(row[f]) * 10_000) for f in FIELDS[:4]), row["volume"])))
            )
        with zipfile.ZipFile(to / f"{day:%Y%m%d}_trade.zip", "w") as archive:
            archive.writestr(f"{day:%Y%m%d}_ko_minute_trade.csv", "\n".join(told))


def tiingo(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor"
    body = "{d}T00:00:00.000Z,{close},{high},{low},{open},{volume},{close},{high},{low},{open},{volume},0.0,1.0"
    return Written(put(to / "KO.csv", lines(table, body, head, d="%Y-%m-%d")), utc=True)


def alpha_vantage(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
    body = "{d},{open},{high},{low},{close},{close},{volume},0.0000,1.0"
    if intraday:
        head, body = "timestamp,open,high,low,close,volume", "{d}," + OHLCV
    told = lines(table, body, head, newest_first=True, d=ISO if intraday else "%Y-%m-%d")
    return Written(put(to / "daily_adjusted_KO.csv", told, "\r\n"), "daily_adjusted_KO")


def sharadar(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "ticker,date,open,high,low,close,volume,closeadj,closeunadj,lastupdated"
    return Written(
        put(to / "SEP.csv", lines(table, "KO,{d}," + OHLCV + ",{close},{close},2021-04-29", head, d="%Y-%m-%d"))
    )


def dukascopy(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    told = ["Gmt time,Open,High,Low,Close,Volume"]
    for row in rows_of(table):
        cells = [row[field] for field in FIELDS]
        told.append(",".join((row["utc"].strftime("%d.%m.%Y %H:%M:%S.000"), *cells)))
    name = "EURUSD_Candlestick_15_M_BID_01.01.2020-31.12.2020.csv"
    return Written(put(to / name, told), "EURUSD", utc=True)


def barchart(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head, how = "Time,Open,High,Low,Last,Change,%Chg,Volume", "%m/%d/%Y %H:%M" if intraday else "%m/%d/%Y"
    told = lines(table, "{d}," + OHLC + ',-0.5,"-0.4%",{volume}', head, newest_first=True, d=how)
    return Written(put(to / "KO.csv", [*told, '"Downloaded from Barchart.com as of 03-15-2024 03:45pm CDT"']))


def cryptodatadownload(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    told = ["https://www.CryptoDataDownload.com", "unix,date,symbol,open,high,low,close,volume"]
    for row in rows_of(table)[::-1]:
        cells = [row[field] for field in FIELDS]
        told.append(",".join((f"{row['epoch']}000", row["utc"].strftime(ISO), "KO", *cells)))
    return Written(put(to / "Binance_KOUSDT_1h.csv", told), utc=True)


def polygon(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = "ticker,volume,open,close,high,low,window_start,transactions"
    return Written(
        put(to / "day.csv", lines(table, "KO,{volume},{open},{close},{high},{low},{epoch}000000000,77", head)), utc=True
    )


def quantmod(table: pd.DataFrame, intraday: bool, to: Path) -> Written:
    head = '"","KO.Open","KO.High","KO.Low","KO.Close","KO.Volume","KO.Adjusted"'
    return Written(
        put(to / "getSymbols.csv", lines(table, '"{d}",' + OHLCV + ",{close}", head, d=ISO if intraday else "%Y-%m-%d"))
    )


#: name of a format -> who writes it, and whether it has bars within a day
WRITERS: dict[str, tuple[Writer, bool]] = {
    "MetaTrader 5": (metatrader_5, True),
    "MetaTrader 4": (metatrader_4, True),
    "Stooq": (stooq, True),
    "Finam": (finam, True),
    "Binance": (binance, True),
    "Kraken": (kraken, True),
    "TradingView": (tradingview, True),
    "Alpaca": (alpaca, True),
    "yfinance": (yfinance, True),
    "Kibot": (kibot, True),
    "FirstRate": (firstrate, True),
    "HistData": (histdata, True),
    "Nasdaq.com": (nasdaq, False),
    "Quandl": (quandl, False),
    "FinRL": (finrl, True),
    "Backtrader": (backtrader, True),
    "Investing.com": (investing, False),
    "Oanda": (oanda, True),
    "LEAN": (lean, True),
    "Tiingo": (tiingo, False),
    "Alpha Vantage": (alpha_vantage, True),
    "Sharadar": (sharadar, False),
    "Dukascopy": (dukascopy, True),
    "Barchart": (barchart, True),
    "CryptoDataDownload": (cryptodatadownload, True),
    "Polygon": (polygon, True),
    "quantmod": (quantmod, True),
}
#: whose stamps are in UTC, so that their bars are those of another clock
ZONED = (
    *("Binance", "Kraken", "TradingView", "Alpaca", "yfinance", "Oanda", "Tiingo", "Dukascopy"),
    *("CryptoDataDownload", "Polygon"),
)
CASES = [(name, intraday) for name, (_, both) in WRITERS.items() for intraday in ((False, True) if both else (False,))]


def read(path: Path, **asked: Any) -> tuple[dict[str, RawBars], Told]:
    told = Told()
    return dict(rows_of_path(path, None, told=told, **asked)), told  # type: ignore[arg-type]


def same(raw: RawBars, table: pd.DataFrame, utc: bool) -> None:
    stamps = table.index.tz_localize(ZONE).tz_convert("UTC").tz_localize(None) if utc else table.index
    assert np.array_equal(raw.stamps, stamps.to_numpy().astype("M8[ns]"))
    assert bool(raw.zones) == utc
    for field in FIELDS:
        assert np.array_equal(np.nan_to_num(raw.columns[field]), table[field].to_numpy()), field
    assert raw.unread == ()


def test_every_format_of_the_registry_has_a_writer() -> None:
    assert {one.name for one in FORMATS} == set(WRITERS)


@pytest.mark.parametrize(("name", "intraday"), CASES)
def test_export_reads_as_the_plain_table_of_the_same_prices(name: str, intraday: bool, tmp_path: Path) -> None:
    table = prices(intraday)
    written = WRITERS[name][0](table, intraday, tmp_path)
    if name == "Tiingo":  # midnight in UTC
        table.index = table.index.tz_localize("UTC").tz_convert(ZONE).tz_localize(None)
    found, told = read(written.path)
    assert list(found) == [written.symbol]
    same(found[written.symbol], table, written.utc)
    assert [one.format for one in told] == [name]
    assert list(told.notes("own")) == [f"own: read as {name} export"]


@pytest.mark.parametrize(("name", "intraday"), CASES)
def test_check_tells_how_each_export_is_understood(name: str, intraday: bool, tmp_path: Path) -> None:
    written = WRITERS[name][0](prices(intraday), intraday, tmp_path)
    wide = CliRunner(env={"COLUMNS": "400"})
    plain, explained = (wide.invoke(check, ["check", str(written.path), *more]) for more in ([], ["--explain"]))
    for said in (f"{name} export of {written.symbol}", "columns: date = ", "first:", "last:", "zone:", " a year"):
        assert said in plain.output, plain.output
    assert "because" not in plain.output and "because" in explained.output
    document = json.loads(CliRunner().invoke(check, ["check", str(written.path), "--json"]).output)
    assert document["read"][0]["format"] == name and document["read"][0]["rules"]


@pytest.mark.parametrize(("name", "intraday"), [case for case in CASES if case[0] not in ZONED])
def test_export_trades_as_the_plain_table(name: str, intraday: bool, tmp_path: Path) -> None:
    table = prices(intraday)
    written = WRITERS[name][0](table, intraday, tmp_path)
    bars, plain = load_bars(written.path), load_bars({written.symbol: table})
    assert bars.sha256 == plain.sha256


@pytest.mark.parametrize("price", [0.9, 12.0, 70.0, 400.0, 1050.0, 30_000.0])
@pytest.mark.parametrize("shares", [5.0, 900.0, 2_000_000.0])
def test_prices_of_lean_are_of_any_size_and_so_are_volumes(price: float, shares: float, tmp_path: Path) -> None:
    """Six digits behind a date are no time of day, and a volume that is as large as a price is none."""
    table = prices(False)
    table = (table * (price / 1050.0)).round(4).assign(volume=(table.volume * shares / 1.4e6).round())
    found, _ = read(lean(table, False, tmp_path).path)
    same(found["ko"], table, utc=False)


def test_days_of_minutes_of_lean_are_one_history(tmp_path: Path) -> None:
    table = prices(True)
    lean_minutes(table, tmp_path)
    bars, plain = load_bars(tmp_path), load_bars({"ko": table})
    assert bars.sha256 == plain.sha256
    assert f"read as LEAN export ({table.index.normalize().nunique()} files)" in bars.notes[0]


def test_check_takes_every_source_that_run_takes() -> None:
    result = CliRunner().invoke(check, ["check", "tech6"])
    assert result.exit_code == 0 and "6 symbols" in result.output
    assert "did you mean 'us20'" in CliRunner().invoke(check, ["check", "us2"]).output
