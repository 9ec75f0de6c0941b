"""Daily bars from Yahoo Finance through yfinance."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hybrid_bt.bars import Bars, Moment, instant
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.align import SymbolBars, align, symbol_bars

__all__ = ["load_yahoo"]

FIELDS = {"Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume", "Adj Close": "adj"}
FIRST_DAY = "1990-01-01"
REMEDY = "check the connection and the symbols, or give prices of your own with --data PATH"


def load_yahoo(
    symbols: Sequence[str] | None,
    *,
    start: str = FIRST_DAY,
    end: Moment | None = None,
    raw_prices: bool = False,
    download: Callable[..., Any] | None = None,
) -> Bars:
    """Daily bars of the named symbols, in the order asked.

    Parameters
    ----------
    symbols : sequence of str
        Yahoo's own names: KO, BRK-B, ^GSPC.
    start : str
        First day asked for.
    end : str, date or datetime64, optional
        Last day, included. By default yesterday, because today's bar is unfinished until the close.
    raw_prices : bool
        Leave prices unadjusted for dividends (Yahoo always adjusts for splits).
    download : callable, optional
        Stands in for `yfinance.download`.

    Raises
    ------
    BarsError
        No symbols, no connection, nothing delivered, a symbol missing, or prices that cannot be traded on.
    """
    if not symbols:
        raise BarsError("bars: yahoo has no list of its own; say which symbols, as in --symbols KO,PEP")
    today = np.datetime64(datetime.date.today(), "D")
    last = today - 1 if end is None else instant(end, whole=True).astype("M8[D]")
    frame = _fetch(download, list(symbols), start, str(last + 1))
    if frame is None or not len(frame):
        raise BarsError(f"bars: yahoo delivered nothing for {', '.join(symbols)} from {start} to {last}; {REMEDY}")
    stamps = _stamps(frame)
    series = {symbol: _one(frame, stamps, symbol, symbols, raw_prices) for symbol in symbols}
    return align(
        "yahoo", series, ("yahoo: downloaded; Yahoo revises its history, so another day may give other prices",)
    )


def _fetch(download: Callable[..., Any] | None, symbols: list[str], start: str, stop: str) -> Any:
    """Yahoo's frame, unadjusted and with the adjusted close beside it, whatever the installed version's defaults."""
    failures: tuple[type[Exception], ...] = (OSError,)
    if download is None:
        import yfinance

        download = yfinance.download
        failures = (OSError, yfinance.exceptions.YFException)
    try:
        return download(symbols, start=start, end=stop, auto_adjust=False, actions=False, progress=False, threads=False)
    except failures as error:
        raise BarsError(f"bars: yahoo could not be read ({error}); {REMEDY}") from error


def _stamps(frame: Any) -> Any:
    index = frame.index
    if index.tz is not None:
        index = index.tz_localize(None)  # daily stamps are the exchange's own midnight
    return index.to_numpy().astype("M8[ns]")


def _one(frame: Any, stamps: Any, symbol: str, symbols: Sequence[str], raw_prices: bool) -> SymbolBars:
    """One symbol's columns; days on which Yahoo has nothing for it are left out."""
    columns = {
        ours: values
        for theirs, ours in FIELDS.items()
        if (values := _column(frame, theirs, symbol, symbols)) is not None
    }
    if "close" not in columns:
        raise BarsError(f"bars: yahoo delivered no {symbol}; {REMEDY}")
    if "adj" not in columns and not raw_prices:
        raise BarsError(f"bars: yahoo delivered no adjusted close for {symbol}; ask for --raw-prices")
    prices = np.array([values for field, values in columns.items() if field != "volume"])
    present = ~np.isnan(prices).all(axis=0)
    if not present.any():
        raise BarsError(f"bars: yahoo delivered no prices of {symbol}; {REMEDY}")
    own = {field: values[present] for field, values in columns.items()}
    return symbol_bars(symbol, stamps[present], own, raw_prices=raw_prices)


def _column(frame: Any, field: str, symbol: str, symbols: Sequence[str]) -> Any:
    """A column from (field, symbol) or (symbol, field) headers, or from plain ones where one symbol was asked for."""
    plain = field if len(symbols) == 1 else None
    for key in ((field, symbol), (symbol, field), plain):
        if key in frame.columns:
            return frame[key].to_numpy(dtype=np.float64)
    return None
