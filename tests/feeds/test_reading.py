"""Tables of no particular export: read rightly or refused, whatever their language, order, marks and dates."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_formats import FIELDS, OHLC, OHLCV, ZONE, lines, prices, read, rows_of, same

from hybrid_bt.bars.checks import RawBars
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds import load_bars
from hybrid_bt.feeds.names import symbol_of

DAILY, INTRADAY = prices(False), prices(True)
DATED = DAILY.rename_axis("date")
DAY = "%Y-%m-%d"
HEAD = "Date,Open,High,Low,Close,Volume"


def text(body: str = "{d}," + OHLCV, header: str = HEAD, table: pd.DataFrame = DAILY, **formats: Any) -> str:
    return "\n".join(lines(table, body, header, **{"d": DAY, **formats})) + "\n"


def comma(header: str, dates: str = "%d.%m.%Y", thousands: str = "") -> str:
    """With decimal commas."""
    told = [header]
    for row in rows_of(DAILY):
        cells = [
            f"{float(row[f]):,.2f}".replace(",", "T").replace(".", ",").replace("T", thousands) for f in FIELDS[:4]
        ]
        told.append(";".join((row["at"].strftime(dates), *cells, f"{int(row['volume']):,}".replace(",", thousands))))
    return "\n".join(told) + "\n"


def put(folder: Path, content: str | bytes, name: str = "KO.csv") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def zipped(**members: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.csv", content)
    return packed.getvalue()


def feather() -> bytes:
    packed = io.BytesIO()
    DATED.reset_index().to_feather(packed)
    return packed.getvalue()


#: the same daily bars of one symbol
WAYS: dict[str, str | bytes] = {
    "German": comma("Datum;Eröffnung;Hoch;Tief;Schluss;Volumen"),
    "German with thousands": comma("Datum;Eröffnung;Hoch;Tief;Schluss;Volumen", thousands="."),
    "German in Windows-1252": comma("Datum;Eröffnung;Hoch;Tief;Schluss;Volumen").encode("cp1252"),
    "German in UTF-16": comma("Datum;Eröffnung;Hoch;Tief;Schluss;Volumen").encode("utf-16"),
    "German in UTF-16 without a mark": comma("Datum;Eröffnung;Hoch;Tief;Schluss;Volumen").encode("utf-16-le"),
    "French": comma("Date;Ouverture;Plus haut;Plus bas;Clôture;Volume", "%d/%m/%Y", "\u202f"),
    "Spanish": comma("Fecha;Apertura;Máximo;Mínimo;Último;Volumen", "%d/%m/%Y"),
    "Italian, years of two digits": comma("Data;Apertura;Massimo;Minimo;Chiusura;Volume", "%d/%m/%y"),
    "Nordic": "sep=;\n" + comma("Date;Opening price;High price;Low price;Closing price;Total volume", DAY),
    "Swiss thousands": "\n".join(
        [HEAD.replace(",", ";")]
        + [
            ";".join((f"{r['at']:%Y-%m-%d}", *(f"{float(r[f]):,.2f}".replace(",", "'") for f in FIELDS)))
            for r in rows_of(DAILY)
        ]
    ),
    "Polish": text(header="Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen"),
    "Russian": text(header="Дата,Открытие,Максимум,Минимум,Закрытие,Объем", d="%d.%m.%Y").encode("cp1251"),
    "Chinese": text(header="日期,开盘,最高,最低,收盘,成交量").encode("gbk"),
    "Japanese": text(header="日付,始値,高値,安値,終値,出来高", d="%Y/%m/%d").encode("cp932"),
    "Korean": text(header="날짜,시가,고가,저가,종가,거래량", d="%Y.%m.%d"),
    "titles before, a source behind": "Coca-Cola\nsource: x, y\n\n" + text() + "Source: somebody\n",
    "titles of several cells, as Bloomberg's": "Start,01/01/2020,,,,\nEnd,31/12/2020,,,,\n,KO US Equity,,,,\n"
    + ",#N/A,#N/A,#N/A,#N/A,\n"
    + text(header="Dates,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME"),
    "titles padded by a spreadsheet": "Coca-Cola,,,,,\n,,,,,\n" + text() + "Source: somebody,,,,,\n",
    "comments": "# a comment\n# more, with commas, of 2020\n" + text(),
    "hash before the header": text(header="#" + HEAD),
    "a row of units": text().replace("\n", "\n,USD,USD,USD,USD,shares\n", 1),
    "index without a name": text(header=",Open,High,Low,Close,Volume"),
    "names that count": text(header=",0,1,2,3,4"),
    "letters": text(header="t,o,h,l,c,v"),
    "numbers before the names": text(header="date,1. open,2. high,3. low,4. close,5. volume"),
    "Bloomberg": text(header="Dates,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME", d="%m/%d/%Y"),
    "Refinitiv": text(header="Timestamp,OPEN_PRC,HIGH_1,LOW_1,TRDPRC_1,ACVOL_UNS"),
    "spaces": text().replace(",", "   "),
    "bars": text().replace(",", " | "),
    "quoted": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text().split()),
    "a comma behind each row": text(body="{d}," + OHLCV + ","),
    "carriage returns, blank lines": text().replace("\n", "\r\n\r\n"),
    "days without zeros": text(d="%-d %b %Y"),
    "weekday and month": text(body='"{d}",' + OHLCV, d="%A, %B %d, %Y"),
    "month by name, years of two digits": text(d="%d-%b-%y"),
    "month first, newest first": text(d="%m/%d/%y", newest_first=True),
    "year first of two digits": text(d="%y/%m/%d"),
    "one digit": text(d="%Y-%-m-%-d"),
    "days of a spreadsheet": "\n".join(
        [HEAD, *(f"{(r['at'] - pd.Timestamp('1899-12-30')).days},{OHLCV}".format(**r) for r in rows_of(DAILY))]
    ),
    "paste of a page": "\n".join(
        ["Date\tOpen\tHigh\tLow\tClose*\tAdj Close**\tVolume"]
        + [
            f"{r['at']:%b %d, %Y}\t" + "{open}\t{high}\t{low}\t{close}\t{close}\t{volume}".format(**r)
            for r in rows_of(DAILY)[::-1]
        ]
    ),
    "dots behind, no raw close": text(header="date,adjOpen,adjHigh,adjLow,adjClose,Volume"),
    "names with the symbol in front": text(header="Date,KO.Open,KO.High,KO.Low,KO.Close,KO.Volume"),
    "names with the symbol behind": text(header="Date,Open_KO,High_KO,Low_KO,Close_KO,Volume_KO"),
    "tuples": text(header="Date," + ",".join(f"\"('{f.title()}', 'KO')\"" for f in FIELDS)),
    "middle of quotes": text(body="{volume},{d},True," + OHLC, header="volume,time,complete,mid.o,mid.h,mid.l,mid.c"),
    "two rows, symbol first": "Ticker,KO,KO,KO,KO,KO\nPrice,Open,High,Low,Close,Volume\n" + text(header="Date,,,,,"),
    "two rows, rows counted": "Price,Date,Open,High,Low,Close,Volume\nTicker,,KO,KO,KO,KO,KO\n"
    + "\n".join(f"{n},{line}" for n, line in enumerate(lines(DAILY, "{d}," + OHLCV, d=DAY))),
    "two rows, the lower lost": text(header="Price,Open,High,Low,Close,Volume"),
    "row names of R": text(body="{volume},{d}," + OHLCV, header="date,open,high,low,close,volume"),
    "no header, newest first": text(header="", newest_first=True),
    "Dutch": text(header="Datum,Openingskoers,Hoog,Laag,Slotkoers,Volume"),
    "Swedish": text(header="Datum,Öppning,Högst,Lägst,Stängning,Volym"),
    "CRSP": text(body="10107,{d},KO," + OHLCV, header="PERMNO,date,TICKER,OPENPRC,ASKHI,BIDLO,PRC,VOL", d="%Y%m%d"),
    "Compustat": text(
        body="1690,{d},KO," + OHLCV, header="gvkey,datadate,tic,prcod,prchd,prcld,prccd,cshtrd", d="%Y%m%d"
    ),
    "Eikon": text(body="KO,{d}," + OHLCV, header="Instrument,Date,Price Open,Price High,Price Low,Price Close,Volume"),
    "settlement of futures": text(
        body="{d}," + OHLC + ",{close},{volume}", header="Date,Open,High,Low,Last,Settle,Volume"
    ),
    "volume of coins and of money": text(
        body="{d},KO," + OHLCV + ",77.5", header="date,symbol,open,high,low,close,Volume BTC,Volume USDT"
    ),
    "shares traded, turnover": text(
        body="{d}," + OHLCV + ",77.5", header="Date,Open,High,Low,Close,Number of Shares,Turnover"
    ),
    "names of a symbol, a comma behind each row": text(
        body="{d}," + OHLCV + ",", header="Date,KO.Open,KO.High,KO.Low,KO.Close,KO.Volume,"
    ),
    "dividends and splits between the bars": text().replace(
        "\n2021-02", "\n2021-02-01,0.41 Dividend,,,,\n2021-02-01,4:1 Stock Splits,,,,\n2021-02", 1
    ),
    "names of a symbol beside others": text(
        body="{d}," + OHLCV + ',{close},x,"{low}",3.5',
        header="Date,KO.Open,KO.High,KO.Low,KO.Close,KO.Volume,KO.Adjusted,Name,Prev Close,RSI",
    ),
    "names of a symbol and an adjusted close": text(
        body="{d}," + OHLCV + ",{close}", header="Date,Open_KO,High_KO,Low_KO,Close_KO,Volume_KO,Adj Close"
    ),
    "decimal commas that look like columns": "\n".join(
        ["KO.Open;KO.Volume;KO.Close;KO.Low;Time;KO.High"]
        + [
            ";".join(
                cell.replace(".", ",")
                for cell in (r["open"], r["volume"], r["close"], r["low"], f"{r['at']:%Y/%m/%d}", r["high"])
            )
            for r in rows_of(DAILY)
        ]
    ),
    "thousands parted by spaces alone": "\n".join(
        [HEAD.replace(",", ";")]
        + [
            ";".join((f"{r['at']:%Y-%m-%d}", *(r[f] for f in FIELDS[:4]), f"{int(r['volume']):,}".replace(",", " ")))
            for r in rows_of(DAILY)
        ]
    ),
    "a symbol, no header": text(body="KO,{d}," + OHLCV, header="", d="%Y%m%d"),
}
PACKED: dict[str, str | bytes] = {
    "KO.csv.gz": gzip.compress(text().encode()),
    "KO.tsv": text().replace(",", "\t"),
    "KO.txt": text(),
    "KO.zip": zipped(whatever=text()),
    "KO.feather": feather(),
    "lines/KO.json": DATED.reset_index().to_json(orient="records", lines=True, date_format="iso", double_precision=15),
    "nested/KO.json": json.dumps(
        {
            "instrument": "KO",
            "candles": [
                {
                    "complete": True,
                    "time": f"{r['at']:%Y-%m-%d}",
                    "volume": r["volume"],
                    "mid": {f[0]: r[f] for f in FIELDS[:4]},
                }
                for r in rows_of(DAILY)
            ],
        }
    ),
    "KO.json": DATED.reset_index().to_json(orient="records", date_format="iso", double_precision=15),
    "a/KO.json": DAILY.to_json(orient="split", date_format="iso", double_precision=15),
    "b/KO.json": DAILY.to_json(orient="index", date_format="iso", double_precision=15),
    "c/KO.json": DATED.to_json(orient="table", double_precision=15),
    "d/KO.json": json.dumps(
        {
            "Meta": {"1": "x"},
            "Time Series": {
                f"{r['at']:%Y-%m-%d}": {f"{n}. {f}": r[f] for n, f in enumerate(FIELDS)} for r in rows_of(DAILY)
            },
        }
    ),
}


@pytest.mark.parametrize("way", [*WAYS, *PACKED])
def test_way_of_writing_changes_no_number(way: str, tmp_path: Path) -> None:
    path = tmp_path / (way if way in PACKED else "KO.csv")
    path.parent.mkdir(exist_ok=True)
    found, _ = read(put(path.parent, {**WAYS, **PACKED}[way], path.name))
    assert list(found) == ["KO"]
    same(found["KO"]._replace(unread=()), DAILY, utc=False)


def workbook(rows: list[list[Any]]) -> bytes:
    """A workbook of one sheet, written by hand: who reads it may be missing."""

    def cell(value: Any) -> str:
        return (
            f"<c><v>{value}</v></c>" if not isinstance(value, str) else f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        )

    space, kind = "http://schemas.openxmlformats.org", "application/vnd.openxmlformats-officedocument.spreadsheetml"
    related = f'xmlns="{space}/package/2006/relationships"'
    sheet = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{space}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships {related}><Relationship Id="rId1" Type="{space}/officeDocument/2006/'
        'relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{space}/spreadsheetml/2006/main" xmlns:r="{space}/officeDocument/2006/'
        'relationships"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships {related}><Relationship Id="rId1" Type="{space}/officeDocument/'
        '2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{space}/spreadsheetml/2006/main"><sheetData>{sheet}</sheetData>'
        "</worksheet>",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize("titles", [[], [["Coca-Cola"], [""]]])
@pytest.mark.parametrize("dates", ["%Y-%m-%d", "%d.%m.%Y", ""])
def test_workbook_is_read_or_says_what_it_needs(titles: list[list[Any]], dates: str, tmp_path: Path) -> None:
    """Dates as texts, or as days of a spreadsheet without a format."""
    days = [f"{d:{dates}}" if dates else (d - pd.Timestamp("1899-12-30")).days for d in DAILY.index]
    rows = [[day, *map(float, row)] for day, row in zip(days, DAILY.itertuples(index=False), strict=True)]
    path = put(tmp_path, workbook([*titles, HEAD.split(","), *rows]), "KO.xlsx")
    if importlib.util.find_spec("openpyxl") is None:
        with pytest.raises(BarsError, match=r"KO\.xlsx needs openpyxl; pip install openpyxl, or give CSV"):
            read(path)
        return
    same(read(path)[0]["KO"], DAILY, utc=False)


def closes(**columns: Any) -> str:
    rows = zip(DAILY.index, *columns.values(), strict=True)
    body = (f"{stamp:%Y-%m-%d},{','.join(map(repr, map(float, row)))}\n" for stamp, *row in rows)
    return f"Date,{','.join(columns)}\n{''.join(body)}"


#: names -> a table that one might take for something else, and what is said about it
DOUBTS: dict[str, tuple[str, str]] = {
    "one bar without names": (text(body="{d}," + OHLC, header="Dates,AA,BB,CC,DD"), "AA and BB look like one company"),
    "bid and ask": (text(body="{d},{low},{high}", header="date,bid,ask"), "bid, ask hold no prices"),
    "a price and its volume": (text(body="{d},{close},{volume}", header="Date,Kours,Anzahl"), "Anzahl holds no prices"),
    "names of CRSP": (
        text(body="{d},{low},{high},{close},{volume},{open}", header="date,BL,AH,PR,SHRS,OP"),
        "SHRS holds no prices",
    ),
    "signals beside prices": (
        closes(KO=DAILY.close, PEP=DAILY.open * 1.001, Spread=DAILY.close - DAILY.open),
        "Spread holds no prices",
    ),
    "a mean beside a price": (
        closes(KO=DAILY.close, Mean=DAILY.close.rolling(5, 1).mean()),
        "Mean holds no prices",
    ),
    "a close that may be a ticker": (
        closes(CLOSE=DAILY.close, KO=prices(False, 2).close),
        "may hold the closes of CLOSE, KO",
    ),
    "an adjusted close among raw prices": (
        text(body="{d}," + OHLC, header="Date,Open,High,Low,Adj Close"),
        "has no close column",
    ),
    "both sides of a quote": (
        text(
            body="{d}," + OHLC + "," + OHLC,
            header="time,openBid,highBid,lowBid,closeBid,openAsk,highAsk,lowAsk,closeAsk",
        ),
        "has prices of bid, ask; keep one",
    ),
    "another order, no header": (
        text(body="{d},{open},{close},{high},{low},{volume}", header=""),
        "its first four numbers are no",
    ),
    "an adjusted close, no header": (
        text(body="{d}," + OHLC + ",{close},{volume}", header=""),
        "a fifth column of prices",
    ),
    "a close, no header": (text(body="{d},{close}", header=""), "has no header, and its columns are no open"),
    "twelve hours": (text(d="%Y-%m-%d %I:%M", table=INTRADAY), "12 hours without AM and PM"),
    "identifiers that repeat dates": (
        text(body="{d},10107,{close}", header="date,permno,close") + "\n".join(lines(DAILY, "{d},20203,{open}", d=DAY)),
        "2021-01-25 has several rows with other prices, which the column 'permno' tells apart",
    ),
    "hours in a column": (
        text(body="{d},{bare_t},{close}", header="Date,Hour,Close", table=INTRADAY, bare_t="%H%M"),
        "which the column 'Hour' tells apart",
    ),
    "two dates that differ": (
        text(body="{d},2020-01-01,{close}", header="date,timestamp,close"),
        "date and timestamp differ in row 1",
    ),
    "points of three digits in prices and volumes": (
        "\n".join(["Date;Close;Volume", *(f"2021-03-{n:02};{n}.2{n:02};41{n % 7}.20{n % 9}" for n in range(1, 28))]),
        "points may part thousands or decimals",
    ),
    "order of day and month": (
        "Date,Close\n01/02/2021,5\n02/02/2021,6\n03/02/2021,7\n",
        "2021-02-01 to 2021-02-03 .* or 2021-01-02",
    ),
    "hours as digits": (
        text(body="{d},{close}", header="time,close", d="%Y%m%d16"),
        "as digits.* or .*as seconds since 1970",
    ),
    "a count for a date": (
        "Date,Close\n" + "".join(f"{43_000 + n},{n + 5}\n" for n in range(20)),
        "days of a spreadsheet .* or a count",
    ),
    "zone by letters": (text(d="%Y-%m-%d 16:00 EST"), "zone in letters, which stand for several"),
    "two decimal marks": ('Date,Close\n2021-03-01,1.5\n2021-03-02,"2,75"\n', "two decimal marks: '1.5' and '2,75'"),
    "thousands or decimals": ('Date;Close\n2021-03-01;"1,500"\n2021-03-02;"2,750"\n', "is '1,500', not a number"),
    "points of thousands or decimals": (
        "Datum;Schluss\n2021-03-01;1.500\n2021-03-02;2.750\n",
        "points may part thousands or decimals",
    ),
    "prices of LEAN outside a zip": (
        text(body="{d},10500000,10600000,10400000,10500000,5", header="", d="%Y%m%d 00:00"),
        "prices of LEAN",
    ),
    "two alphabets": (text(body="{d},{close},{open}", header="date,KO,\u041aO"), "of two alphabets"),
    "rows parted in two ways": (text().replace(",", ";", 30), "line 2 holds a date and numbers in another way"),
    "a first row without a date": (text().replace("Volume\n", "Volume\n,1,3,1,2,10\n"), "2 rows of headers"),
    "first rows that are longer": (
        text().replace("\n2021-02", ",7\n2021-02", 1),
        "line 6 has 7 values|has a line|7 values",
    ),
    "NUL": (text(body="{d},{close}", header="date,KO\0X"), "NUL characters"),
    "NUL far down": (text() + "x" * 70_000 + "\0", "NUL characters"),
    "names and values of other counts": (
        comma("Datum;Eröffnung;Hoch;Tief;Schluss;Volumen").replace(";", ","),
        "header has 6 names, its rows 10 values",
    ),
}


def walk(n: int, sd: float, seed: int) -> Any:
    return np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, sd, n)))


#: beside a close of one company, what somebody else keeps of it; given the close, open, high and low
OF_ONE_COMPANY: dict[str, Any] = {
    "adjusted close": lambda c, o, h, lo: (c * 0.97 ** (np.arange(len(c))[::-1] // 5)).round(4),
    "adjusted close, whole digits lost": lambda c, o, h, lo: (c * np.where(np.arange(len(c)) < 5, 0.42, 0.43)).round(2),
    "adjusted for a dividend on each bar": lambda c, o, h, lo: c * 0.996 ** np.arange(len(c))[::-1],
    "market value": lambda c, o, h, lo: (c * np.where(np.arange(len(c)) < 4, 17.1e9, 16.9e9)).round(0),
    "market value in millions": lambda c, o, h, lo: (c * 4312.7).round(2),
    "price before a split": lambda c, o, h, lo: (c * 4.0).round(2),
    "open": lambda c, o, h, lo: o,
    "high": lambda c, o, h, lo: h,
    "low": lambda c, o, h, lo: lo,
    "middle": lambda c, o, h, lo: (h + lo) / 2.0,
    "the close before": lambda c, o, h, lo: np.append(c[0], c[:-1]),
    "an ask": lambda c, o, h, lo: c + 0.02,
    "mean": lambda c, o, h, lo: pd.Series(c).rolling(8, 1).mean().to_numpy(),
    "smoothed": lambda c, o, h, lo: pd.Series(c).ewm(span=12).mean().to_numpy(),
    "highest so far": lambda c, o, h, lo: np.maximum.accumulate(h),
}


FEW_SAY_NOTHING = "highest so far", "mean", "smoothed"  #: of one company, on as few rows as 14


@pytest.mark.parametrize(
    ("kind", "n"),
    [(kind, n) for n in (14, 59, 400) for kind in OF_ONE_COMPANY if n > 14 or kind not in FEW_SAY_NOTHING],
)
@pytest.mark.parametrize("names", [("KO", "XY"), ("Kours", "Anderer")])
def test_columns_of_one_company_are_no_symbols_whatever_their_names(kind: str, n: int, names: tuple[str, str]) -> None:
    rng, close = np.random.default_rng(n), (80.0 * walk(n, 0.012, n)).round(2)
    open_ = (np.append(80.0, close[:-1]) * np.exp(rng.normal(0.0, 0.002, n))).round(2)
    high, low = (np.maximum(open_, close) * 1.004).round(2), (np.minimum(open_, close) * 0.996).round(2)
    other = OF_ONE_COMPANY[kind](close, open_, high, low)
    frame = pd.DataFrame(dict(zip(names, (close, other), strict=True)), index=pd.bdate_range("2015-01-05", periods=n))
    with pytest.raises(BarsError, match=r"look like one company's|holds no prices|all \d+ bars that both have"):
        load_bars(frame)


#: two symbols that are not one company's columns, though they move together; of n rows
TWO_SYMBOLS: dict[str, Any] = {
    "funds of one index": lambda a, n: (a.round(2), (1.006 * a * np.exp(noise(n, 1e-4))).round(2)),
    "funds of one index, rebased": lambda a, n: rebased(a, 0.1 * a * np.exp(noise(n, 1e-4))),
    "classes of shares": lambda a, n: (a.round(2), (1.01 * a * walk(n, 0.0015, 7) * np.exp(noise(n, 5e-4))).round(2)),
    "rebased to 1": lambda a, n: (a / a[0], walk(n, 0.01, 4) / walk(n, 0.01, 4)[0]),
    "rebased, a bond beside a share": lambda a, n: rebased(a, walk(n, 0.002, 5)),
    "near each other by chance": lambda a, n: (a.round(2), (1.02 * a[0] * walk(n, 0.01, 9)).round(2)),
}


def noise(n: int, sd: float) -> Any:
    return np.random.default_rng(11).normal(0.0, sd, n)


def rebased(*columns: Any) -> tuple[Any, ...]:
    return tuple(100.0 * column / column[0] for column in columns)


@pytest.mark.parametrize("kind", TWO_SYMBOLS)
@pytest.mark.parametrize("n", [40, 250, 1500])
@pytest.mark.parametrize("seed", range(4))
def test_symbols_that_move_as_one_are_read(kind: str, n: int, seed: int) -> None:
    one, other = TWO_SYMBOLS[kind](250.0 * walk(n, 0.011, seed), n)
    frame = pd.DataFrame({"SPY": one, "IVV": other}, index=pd.bdate_range("2015-01-05", periods=n))
    assert load_bars(frame).symbols == ("SPY", "IVV")


@pytest.mark.parametrize("n", [30, 300, 3000])
@pytest.mark.parametrize("seed", range(5))
def test_many_symbols_that_begin_near_each_other_are_read(n: int, seed: int) -> None:
    """Of 378 pairs some come back by chance."""
    closes = {f"S{i}Q": (100.0 * walk(n, 0.01, 100 * seed + i)).round(2) for i in range(28)}
    assert load_bars(pd.DataFrame(closes, index=pd.bdate_range("2005-01-05", periods=n))).n_symbols == 28


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("mode", ["fail", "mend", "warn"])
def test_doubtful_table_is_refused_with_the_reason_in_the_data(doubt: str, mode: Any, tmp_path: Path) -> None:
    content, reason = DOUBTS[doubt]
    with pytest.raises(BarsError, match=reason):
        load_bars(put(tmp_path, content), on_bad_data=mode)


@pytest.mark.parametrize(
    "names", [("LOW", "KO"), ("OPEN", "KO"), ("ADJ", "KO"), ("VOLUME", "KO"), ("V", "C", "O", "T"), ("SPY",)]
)
def test_tickers_that_are_words_are_symbols_of_a_wide_table(names: tuple[str, ...], tmp_path: Path) -> None:
    columns = {name: prices(False, n + 1).close.to_numpy() / (2 + 5 * n) for n, name in enumerate(names)}
    bars = load_bars(put(tmp_path, closes(**columns)))
    assert bars.symbols == names
    assert np.array_equal(bars.close, np.column_stack(list(columns.values())))


def test_symbols_asked_for_are_columns_whatever_they_look_like(tmp_path: Path) -> None:
    near, other = DAILY.close.to_numpy(), DAILY.close.to_numpy() + 1.0
    path = put(tmp_path, closes(CLOSE=near, IVV=other, Spread=near - 1050.0))
    with pytest.raises(BarsError, match=r"holds? no prices"):
        load_bars(put(tmp_path, closes(AAA=near, IVV=other, Spread=near - 1050.0), "b.csv"))
    assert load_bars(path, symbols=["IVV", "CLOSE"]).symbols == ("IVV", "CLOSE")


@pytest.mark.parametrize("name", ["firm", "Name", "isin_code"])
def test_symbols_in_a_column_of_any_name_are_never_one_history(name: str, tmp_path: Path) -> None:
    tables = {"KO": DAILY, "PEP": prices(False, 2)}
    rows = [line for symbol, table in tables.items() for line in lines(table, "{d}," + OHLCV + f",{symbol}", d=DAY)]
    found, told = read(put(tmp_path, "\n".join([f"{HEAD},{name}", *rows])))
    assert list(found) == ["KO", "PEP"]
    for symbol, table in tables.items():
        same(found[symbol], table, utc=False)
    assert any(name in rule for rule in told[0].rules)


def test_order_of_day_and_month_may_be_said(tmp_path: Path) -> None:
    path = put(tmp_path, "Date,Close\n01/02/2021,5\n02/02/2021,6\n03/02/2021,7\n")
    assert str(load_bars(path, date_format="%d/%m/%Y").stamps[0])[:10] == "2021-02-01"
    assert str(load_bars(path, date_format="%m/%d/%Y").stamps[-1])[:10] == "2021-03-02"
    odd = put(tmp_path, "Date,Close\n2021w05d1,5\n2021w05d2,6\n", "b.csv")
    assert str(load_bars(odd, date_format="%Gw%Vd%u").stamps[0])[:10] == "2021-02-01"
    for wrong, reason in (("%d-%m-%Y %H:%M", "is none as"), ("%Q", "is none as|is no date format")):
        with pytest.raises(BarsError, match=reason):
            load_bars(path, date_format=wrong)


@pytest.mark.parametrize(
    ("stem", "symbol"),
    [
        ("KO", "KO"),
        ("BRK.B", "BRK.B"),
        ("NASDAQ_AAPL, 1D", "AAPL"),
        ("BINANCE_BTCUSDT, 60_a1b2c", "BTCUSDT"),
        ("EURUSD_M15_201001040000_202012312359", "EURUSD"),
        ("EURUSD_Candlestick_15_M_BID_01.01.2020-31.12.2020", "EURUSD"),
        ("AAPL Historical Data", "AAPL"),
        ("KO (1)", "KO"),
        ("SPDR S&P 500", "SPDR S&P 500"),  # none, and refused as such
    ],
)
def test_symbol_is_told_by_the_name_of_the_file(stem: str, symbol: str) -> None:
    assert symbol_of(stem) == symbol


@pytest.mark.parametrize("layout", ["{0.isoformat}", "{0:%Y-%m-%d %H:%M:%S%z}", "{0:%d.%m.%Y %H:%M:%S.000 GMT%z}"])
def test_stamps_with_a_zone_are_instants_in_utc(layout: str, tmp_path: Path) -> None:
    local = INTRADAY.index.tz_localize(ZONE)  # through the change to summer time
    days = [layout.format(stamp) if "iso" not in layout else stamp.isoformat() for stamp in local]
    rows = zip(days, INTRADAY.itertuples(index=False), strict=True)
    found, _ = read(put(tmp_path, "\n".join([HEAD, *(f"{day},{','.join(map(repr, row))}" for day, row in rows)])))
    same(found["KO"], INTRADAY, utc=True)
    named = [f"{stamp:%Y%m%d %H:%M:%S} US/Eastern" for stamp in INTRADAY.index]
    found, _ = read(
        put(
            tmp_path,
            "\n".join(
                ["date,close", *(f"{day},{row.close}" for day, row in zip(named, INTRADAY.itertuples(), strict=True))]
            ),
        )
    )
    assert found["KO"].zones == {"US/Eastern"}
    assert np.array_equal(found["KO"].stamps, local.tz_convert("UTC").tz_localize(None).to_numpy().astype("M8[ns]"))


def joined(names: Iterable[str], name: str, separator: str = "_") -> pd.DataFrame:
    """Tables of several symbols beside each other; `name` is a template of symbol (s) and field (f)."""
    tables = {symbol: prices(False, seed) for seed, symbol in enumerate(names, 1)}
    return pd.concat([t.set_axis([name.format(s=s, f=f) for f in t], axis=1) for s, t in tables.items()], axis=1)


@pytest.mark.parametrize("name", ["{s}_{f}", "{f}_{s}", "{s}.{f}", "{s} {f}", "('{f}', '{s}')", "('{s}', '{f}')"])
@pytest.mark.parametrize("names", [("KO", "HIGH"), ("OPEN", "PEP"), ("VOLUME", "CLOSE", "KO"), ("600519", "000001")])
def test_tickers_that_are_words_are_told_by_the_side_on_which_they_stand(
    name: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    bars = load_bars(put(tmp_path, joined(names, name).rename_axis("date").to_csv()))
    assert bars.symbols == names
    for seed, symbol in enumerate(names, 1):
        for field in FIELDS:
            assert np.array_equal(getattr(bars, field)[:, bars.symbols.index(symbol)], prices(False, seed)[field])


def test_names_that_may_be_read_from_both_ends_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BarsError, match="field on either side: the high of open or the open of HIGH"):
        load_bars(put(tmp_path, joined(["HIGH", "LOW"], "{s}_{f}").rename_axis("date").to_csv()))


@pytest.mark.parametrize("beside", ["RSI_14", "PE", "SMA20"])
def test_close_beside_what_is_no_price_is_one_symbol(beside: str, tmp_path: Path) -> None:
    """Only a column that behaves as a close of its own makes CLOSE a ticker in doubt."""
    own = {"PE": DAILY.close / 21.5, "SMA20": DAILY.close.rolling(20, 1).mean()}.get(beside, DAILY.volume)
    bars = load_bars(put(tmp_path, closes(CLOSE=DAILY.close, **{beside: own})))
    assert bars.symbols == ("KO",) and np.array_equal(bars.close[:, 0], DAILY.close)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_mornings_of_several_symbols_are_no_clocks_of_twelve_hours(n: int, tmp_path: Path) -> None:
    tables = {"KO": INTRADAY[:n], "PEP": prices(True, 2)[:n]}
    rows = [
        line
        for symbol, table in tables.items()
        for line in lines(table, "{d}," + OHLCV + f",{symbol}", d="%Y-%m-%d %H:%M")
    ]
    found, _ = read(put(tmp_path, "\n".join([f"{HEAD},symbol", *rows])))
    for symbol, table in tables.items():
        same(found[symbol], table, utc=False)


@pytest.mark.parametrize("empty", [1, 3, 30])
def test_rows_of_a_symbol_that_is_not_listed_yet_are_no_header(empty: int, tmp_path: Path) -> None:
    late = prices(False, 2).iloc[empty:]
    both = pd.concat({"AA": late, "KO": DAILY}, axis=1, names=["symbol", "field"], sort=True).rename_axis("date")
    bars = load_bars(put(tmp_path, both.stack(level=0, future_stack=True).to_csv()))
    assert bars.symbols == ("AA", "KO")
    assert np.array_equal(bars.close[empty:, 0], late.close) and not bars.traded[:empty, 0].any()


# --- frames ---


def frames() -> dict[str, Any]:
    one = DAILY.rename(columns=str.title).rename_axis("Date")
    two = pd.concat({"KO": one, "PEP": prices(False, 2).rename(columns=str.title)}, axis=1, names=["Ticker", "Price"])
    return {
        "ticker, price": two,
        "price, ticker": two.swaplevel(axis=1).sort_index(axis=1),
        "one symbol of two levels": two[["KO"]],
        "index reset": two.reset_index(),
        "stacked": two.stack(level=0, future_stack=True),
        "stacked, index reset": two.stack(level=0, future_stack=True).reset_index(),
        "names joined": two.set_axis(["_".join(names) for names in two.columns], axis=1),
        "flat": {"KO": one},
        "date objects": {"KO": one.set_axis([stamp.date() for stamp in one.index], axis=0)},
        "periods": {"KO": one.set_axis(one.index.to_period("D"), axis=0)},
        "texts": {"KO": one.set_axis(one.index.strftime(DAY), axis=0)},
        "newest first": {"KO": one.iloc[::-1]},
        "numbers for names": {"KO": one.reset_index().set_axis(range(6), axis=1)},
        "texts for numbers": {"KO": one.astype(str)},
    }


@pytest.mark.parametrize("form", frames())
def test_frame_of_any_form_gives_its_bars(form: str) -> None:
    bars = load_bars(frames()[form])
    assert bars.symbols[0] == "KO" and bars.n_symbols <= 2
    assert np.array_equal(bars.stamps, DAILY.index.to_numpy().astype("M8[ns]"))
    for field in FIELDS:
        assert np.array_equal(getattr(bars, field)[:, 0], DAILY[field].to_numpy()), field


def test_months_are_known_when_they_are_over() -> None:
    months = pd.PeriodIndex(["2021-01", "2021-02", "2021-03"], freq="M")
    bars = load_bars({"KO": pd.DataFrame({"close": [1.0, 2.0, 3.0]}, index=months)})
    assert [str(stamp)[:10] for stamp in bars.stamps] == ["2021-01-31", "2021-02-28", "2021-03-31"]


@pytest.mark.parametrize("frame", [pd.DataFrame(), frames()["ticker, price"].iloc[:0], DAILY.iloc[:0]])
def test_empty_frame_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(BarsError, match=r"has no (columns|rows)"):
        load_bars(frame)


# --- any permutation ---

LAYOUTS = (
    *(DAY, "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%y", "%m/%d/%y", "%y-%m-%d"),
    *("%d %b %Y", "%b %d, %Y", "%d-%B-%y", "%Y-%m-%d 00:00", "%m/%d/%Y 12:00 AM", "%Y%m%d%H%M", "%a %d %b %Y"),
    *("%Y-%m-%dT00:00:00Z", "%d.%m.%Y 00:00:00.000 GMT+0000", "%s"),
)
NAMES = (
    *(
        ("date", "open", "high", "low", "close", "volume"),
        ("Datum", "Eröffnung", "Hoch", "Tief", "Schlusskurs", "Stück"),
    ),
    *(("t", "o", "h", "l", "c", "v"), ("<DTYYYYMMDD>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>")),
    *(("Time", "KO.Open", "KO.High", "KO.Low", "KO.Close", "KO.Volume"), ()),
)


@example(
    order=[0, 4, 2, 3, 1, 5],
    layout="%d/%m/%Y",
    names=(),
    separator=",",
    marks=(".", ""),
    span=(0, 2),
    encoding="utf-8",
    around=(False, False, False),
    digits=0,
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(6)),
    layout=st.sampled_from(LAYOUTS),
    names=st.sampled_from(NAMES),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    marks=st.sampled_from([(".", ""), (",", ""), (".", ","), (",", "."), (",", " ")]),
    span=st.tuples(st.integers(0, 30), st.integers(2, 59)),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    around=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    digits=st.integers(0, 3),
)
def test_any_permutation_gives_the_same_bars_or_a_refusal(
    order: list[int],
    layout: str,
    names: tuple[str, ...],
    separator: str,
    marks: tuple[str, str],
    span: tuple[int, int],
    encoding: str,
    around: tuple[bool, bool, bool],
    digits: int,
    tmp_path: Path,
) -> None:
    table = DAILY.iloc[span[0] : span[0] + span[1]].round(digits)
    title, newest_first, quoted = around
    rows = []
    for stamp, row in zip(table.index, table.itertuples(index=False), strict=True):
        numbers = [f"{value:,.{digits}f}" for value in row[:4]] + [f"{int(row[4]):,}"]
        numbers = [n.replace(",", "T").replace(".", marks[0]).replace("T", marks[1]) for n in numbers]
        day = str(int(stamp.timestamp())) if layout == "%s" else stamp.strftime(layout)
        rows.append([[day, *numbers][place] for place in order])
    rows = ([[names[place] for place in order]] if names else []) + (rows[::-1] if newest_first else rows)
    cells = [[f'"{c}"' if quoted or separator in c else c for c in row] for row in rows]
    path = tmp_path / "KO.csv"
    path.write_bytes(("A title\n" * title + "\n".join(map(separator.join, cells)) + "\n").encode(encoding))
    try:
        found, _ = read(path)
    except BarsError:
        return
    (raw,) = found.values()
    assert np.array_equal(raw.stamps, table.index.to_numpy().astype("M8[ns]"))
    assert bool(raw.zones) == (layout == "%s" or "Z" in layout or "GMT" in layout)
    fields = FIELDS if names or order == list(range(6)) else FIELDS[:4]
    for field in (field for field in fields if field in raw.columns):
        assert np.array_equal(np.nan_to_num(raw.columns[field]), table[field].to_numpy()), field


TEXTS = {
    "ISO": text(),
    "day first": text(d="%d/%m/%Y"),
    "German": comma("Datum;Eröffnung;Hoch;Tief;Schluss;Volumen", thousands="."),
    "no header": text(header=""),
    "date and time": text("{d},{t}," + OHLCV, "Date,Time,Open,High,Low,Close,Volume", INTRADAY, t="%H:%M:%S"),
}


def rows_in(raw: RawBars, fields: Iterable[str]) -> set[tuple[object, ...]]:
    columns = [np.nan_to_num(raw.columns[field], nan=-1.0).tolist() for field in fields]
    return set(zip(raw.stamps.tolist(), *columns, strict=True))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    way=st.sampled_from(sorted(TEXTS)),
    place=st.integers(0, 6000),
    cut=st.integers(0, 2),
    put_in=st.sampled_from(["", *'0123456789.,;-/ x\t"', "1,234", "1.234", "n/a", "\n", "\na,b\n", "\n,,,,,\n"]),
)
def test_one_wrong_character_is_refused_or_changes_its_row_alone(
    way: str, place: int, cut: int, put_in: str, tmp_path: Path
) -> None:
    whole = TEXTS[way]
    place %= len(whole)
    right = read(put(tmp_path, whole))[0]["KO"]
    try:
        found, _ = read(put(tmp_path, whole[:place] + put_in + whole[place + cut :]))
    except BarsError:
        return
    assert list(found) == ["KO"]
    fields = [field for field in FIELDS[:4] if field in found["KO"].columns]  # a name may have gone
    now, before = rows_in(found["KO"], fields), rows_in(right, fields)
    assert len(now - before) <= 1 and len(before - now) <= 2
