"""Exports that are known by their signature: one line each, told in the notes of what is read.

What a column means is told by general rules (`hybrid_bt.feeds.names`, `hybrid_bt.feeds.layout`); an entry gives the
export its name, and vouches for the order of columns that have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from hybrid_bt.feeds.names import key_of


class Format(NamedTuple):
    """How an export is recognised."""

    name: str
    header: str = ""  #: expression for the keys of its names, joined by commas, the first with # over mere numbers
    shape: str = ""  #: the same, without a header, for its first row: digits as 9, numbers n, words w
    first: str = ""  #: its first name, as written


_OHLCV = "open,high,low,close,volume"
FORMATS: tuple[Format, ...] = (
    Format("MetaTrader 5", "date,(time,)?open,high,low,close,tickvol,vol,spread"),
    Format("MetaTrader 4", shape=r"9999\.99\.99,99:99,n,n,n,n,n"),
    Format("Stooq", "ticker,per,date,time,open,high,low,close,vol,openint"),
    Format("Finam", "(ticker,per,)?(date|dtyyyymmdd),time,open,high,low,close,vol"),
    Format("Binance", rf"opentime#?,{_OHLCV},closetime,.*", r"9{13,16},n,n,n,n,n,9{13,16},n,n,n,n,n"),
    Format("Kraken", shape=r"9{10},n,n,n,n,n,n"),
    Format("TradingView", "time#?,open,high,low,close(,.*)?", first="time"),
    Format("Alpaca", f"symbol,timestamp,{_OHLCV},tradecount,vwap"),
    Format("yfinance", r"date(time)?,open,high,low,close,volume,dividends,stocksplits(,capitalgains)?"),
    Format("Kibot", shape=r"99/99/9999,(99:99,)?n,n,n,n,n"),
    Format("FirstRate", shape=r"9999-99-99 99:99:99,n,n,n,n,n"),
    Format("HistData", shape=r"9{8} 9{6},n,n,n,n,n"),
    Format("Nasdaq.com", "date,closelast,volume,open,high,low"),
    Format("Quandl", rf"(ticker,)?date,{_OHLCV},(exdividend,splitratio|dividend,split),adjopen,.*adjvolume"),
    Format("FinRL", r".*\bdate\b.*\btic\b.*|.*\btic\b.*\bdate\b.*"),
    Format("Backtrader", rf"date,(time,)?{_OHLCV},openinterest"),
    Format("Investing.com", r"date,price,open,high,low,vol,change%"),
    Format("Oanda", r"(.*,)?(time|date)(,.*)?,(closemid|mido|openmid|bidc|closebid)\b.*|.*(midc|closemid),.*time"),
    Format("LEAN", shape=r"9{8} 99:99,n,n,n,n,n"),
    Format("Tiingo", r"date,close,high,low,open,volume,adjclose,.*divcash,splitfactor"),
    Format(
        "Alpha Vantage", r"timestamp,open,high,low,close(,adjustedclose)?,volume(,dividendamount,splitcoefficient)?"
    ),
    Format("Sharadar", r"ticker,date,open,high,low,close,volume,.*closeadj.*"),
    Format("Dukascopy", rf"(gmttime|timeutc),{_OHLCV}"),
    Format("Dukascopy", rf"(localtime|timeeet),{_OHLCV}"),
    Format("Barchart", r"(symbol,)?time,open,high,low,last,change,%chg,volume.*"),
    Format("CryptoDataDownload", r"(unix|unixtimestamp)#,date,symbol,open,high,low,close,.*"),
    Format("Polygon", r"ticker,volume,open,close,high,low,windowstart,transactions"),
    Format("quantmod", r"(|index|date),\w+open,\w+high,\w+low,\w+close,\w+volume,\w+adjusted"),
)


def recognise(names: Sequence[str], kinds: Sequence[str], sample: Sequence[Sequence[str]]) -> Format | None:
    """The first format whose signature a table bears."""
    if names:
        counted = bool(sample) and kinds[0] == "number" and len(sample[0][0]) > 8
        signed = ",".join([key_of(names[0]) + "#" * counted, *map(key_of, names[1:])])
        found = (one for one in FORMATS if one.header and one.first in ("", names[0]))
        return next((one for one in found if re.fullmatch(one.header, signed)), None)
    row = sample[0] if sample else ()
    signed = ",".join(_shape(cell, kind, place) for place, (cell, kind) in enumerate(zip(row, kinds, strict=False)))
    return next((one for one in FORMATS if one.shape and re.fullmatch(one.shape, signed)), None)


def _shape(cell: str, kind: str, place: int) -> str:
    if kind in ("stamp", "clock") or (cell.isdigit() and (len(cell) >= 10 or not place)):
        return re.sub(r"\d", "9", cell)
    return "n" if kind in ("number", "empty") else "w"
