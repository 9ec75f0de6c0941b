"""Daily bars from Yahoo Finance through yfinance, with a snapshot of each history on disk.

A span that a snapshot covers is read from it, so that the same command gives the same prices; a span beyond is fetched
whole, and where the new history differs from the old one, a note says where and both stay on disk.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.bars import Bars, Moment, RawBars, instant
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.cells import dated, single
from hybrid_bt.feeds.names import field_of
from hybrid_bt.feeds.panel import Query, build_panel, pick
from hybrid_bt.feeds.snapshots import Snapshot, cache_folder, difference, read_latest, store

if TYPE_CHECKING:
    import pandas as pd

FIRST_DAY = "1990-01-01"
DAY = np.timedelta64(1, "D")
WARM_UP = 730 * DAY  #: two years, twice the 252 bars that the features need: their averages have settled by then
REVISED = "yahoo: downloaded; Yahoo revises its history, so another day may give other prices"
REMEDY = "check the connection and the symbols, or give prices of your own"
PLAINLY = dict.fromkeys(("auto_adjust", "actions", "progress", "threads"), False)
PAUSES = (1.0, 4.0, 16.0)  #: seconds before each further attempt
RATE_MARKS = ("too many requests", "rate limit", "429")


class NoAnswerError(BarsError):
    """Yahoo could not be read at all."""


def warm_up_start(trade_from: Moment | None) -> str:
    """First day to fetch so that everything is warm on `trade_from`; all history where nothing is asked for."""
    if trade_from is None:
        return FIRST_DAY
    return str(max(instant(trade_from).astype("M8[D]") - WARM_UP, np.datetime64(FIRST_DAY)))


def load_yahoo(query: Query) -> Bars:
    """Daily bars of the named symbols, in the order asked, from the warm-up before `trade_from` on.

    Parameters
    ----------
    query : Query
        Symbols are Yahoo's own names: KO, BRK-B, ^GSPC. `end` is yesterday by default, because today's bar is
        unfinished until the close. Raw prices are unadjusted for dividends; Yahoo always adjusts for splits.

    Raises
    ------
    BarsError
        No symbols, no connection and no snapshot, nothing delivered, a symbol missing, or prices that cannot be
        traded on.
    """
    symbols, handling, start = query.symbols, query.handling, warm_up_start(query.trade_from)
    if not symbols:
        raise BarsError("bars: yahoo has no list of its own; say which symbols, as in KO,PEP")
    pick("yahoo", symbols, symbols)
    today = np.datetime64(datetime.date.today(), "D")
    last = today - DAY if query.end is None else instant(query.end, whole=True).astype("M8[D]")
    stop = str(last + DAY)
    # yesterday's bar is whole today; one that was asked for before its day had ended would not be
    whole = min(stop, str(today))
    cache = cache_folder()
    held = {symbol: read_latest(cache, symbol) for symbol in symbols}
    wanted = [s for s, kept in held.items() if kept is None or not kept.covers(start, whole)]
    fresh: dict[str, RawBars] = {}
    notes = [REVISED]
    if wanted and not query.offline:
        there = [kept for symbol in wanted if (kept := held[symbol]) is not None]  # a new one reaches as far as these
        first, until = min([start, *(kept.start for kept in there)]), max([stop, *(kept.stop for kept in there)])
        fresh, refusal = fetch(wanted, first, until)
        notes += _stored(cache, fresh, held, first, min(until, str(today)))
        if refusal is not None:
            if any(held[symbol] is None for symbol in wanted if symbol not in fresh):
                raise refusal
            notes.append(f"yahoo: {refusal}; went on with the snapshots on disk")
    rows = []
    for symbol in symbols:
        own = fresh.get(symbol) or _kept(symbol, held[symbol], start, whole, notes)
        if "adj" not in own.columns and not handling.raw_prices:
            raise BarsError(f"bars: yahoo delivered no adjusted close for {symbol}; ask for raw_prices=True")
        rows.append((symbol, _span(own, start, stop, symbol)))
    return build_panel("yahoo", rows, handling, notes)


def _stored(
    cache: Path, fresh: dict[str, RawBars], held: dict[str, Snapshot | None], start: str, stop: str
) -> Iterator[str]:
    """Keep new histories; what differs from the ones before."""
    for symbol, rows in fresh.items():
        kept = held[symbol]
        told = "" if kept is None else difference(kept.rows, rows)
        if kept is not None and told:
            yield f"yahoo: {symbol} differs from the snapshot of {kept.fetched_at}: {told}; both are kept"
        store(cache, symbol, rows, start, stop)


def _kept(symbol: str, kept: Snapshot | None, start: str, whole: str, notes: list[str]) -> RawBars:
    """A snapshot's rows, with a note where it reaches less far than was asked."""
    if kept is None:
        raise BarsError(f"bars: yahoo has no snapshot of {symbol} on disk; read it once without offline=True")
    if not kept.covers(start, whole):
        span = f"{kept.start} to before {kept.stop}"
        notes.append(f"yahoo: the snapshot of {symbol} of {kept.fetched_at} reaches from {span} only")
    return kept.rows


def _span(rows: RawBars, start: str, stop: str, symbol: str) -> RawBars:
    inside = (rows.stamps >= instant(start)) & (rows.stamps < instant(stop))
    if not inside.any():
        raise BarsError(f"bars: yahoo has no bar of {symbol} from {start} to before {stop}; {REMEDY}")
    return rows.take(inside)


def _one(frame: pd.DataFrame, symbol: str, symbols: Sequence[str]) -> RawBars:
    """One symbol's columns; days on which Yahoo has nothing for it are left out.

    Headers are (field, symbol), (symbol, field), or the field alone where one symbol was asked for.
    """
    levels = [n for n in range(frame.columns.nlevels) if symbol in frame.columns.get_level_values(n)]
    if frame.columns.nlevels > 1 and levels:
        frame = frame.xs(symbol, axis=1, level=levels[-1])
    if not any(field_of(name) == "close" for name in frame.columns) or (not levels and len(symbols) > 1):
        raise BarsError(f"bars: yahoo delivered no {symbol}; {REMEDY}")
    if frame.index.tz is not None:
        frame = frame.tz_localize(None)  # daily stamps are the exchange's own midnight
    rows = single(dated(frame), symbol)
    prices = np.array([values for field, values in rows.columns.items() if field != "volume"])
    present = ~np.isnan(prices).all(axis=0)
    if not present.any():
        raise BarsError(f"bars: yahoo delivered no prices of {symbol}; {REMEDY}")
    return rows.take(present)


def fetch(symbols: Sequence[str], start: str, stop: str) -> tuple[dict[str, RawBars], NoAnswerError | None]:
    """Histories, unadjusted and with the adjusted close beside them, whatever the installed version's defaults; and why
    some are lacking, when every attempt failed or came back empty: it says so if Yahoo limits the rate.

    Raises
    ------
    BarsError
        For a symbol that an answer lacks, though the rate was not limited.
    """
    import yfinance

    failures = OSError, ValueError, yfinance.exceptions.YFException  # curl's and requests' errors are OSErrors
    got: dict[str, RawBars] = {}
    for pause in (*PAUSES, None):
        frame, cause, asked = None, None, [symbol for symbol in symbols if symbol not in got]
        with _quiet() as said:
            try:
                frame = yfinance.download(asked, start=start, end=stop, **PLAINLY)
            except failures as error:
                cause = error
        told = " ".join(f"{said.getvalue()} {(str(cause) or type(cause).__name__) if cause else ''}".split())[:200]
        for symbol in asked if frame is not None and len(frame) else ():
            try:
                got[symbol] = _one(frame, symbol, asked)
            except BarsError:
                if not _limits(told):
                    raise
        if len(got) == len(symbols):
            return got, None
        if pause is None or not told:  # an empty answer without a word does not change by asking again
            break
        time.sleep(pause)
    refusal = NoAnswerError(_say([symbol for symbol in symbols if symbol not in got], start, stop, told))
    refusal.__cause__ = cause
    return got, refusal


def _limits(told: str) -> bool:
    return any(mark in told.lower() for mark in RATE_MARKS)


def _say(symbols: Sequence[str], start: str, stop: str, told: str) -> str:
    if _limits(told):
        named = ", ".join(symbols)
        return f"bars: yahoo limits the rate of requests from here: {named}; wait some minutes, or give your own prices"
    if told:
        return f"bars: yahoo could not be read ({told}); {REMEDY}"
    return f"bars: yahoo delivered nothing for {', '.join(symbols)} from {start} to before {stop}; {REMEDY}"


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """What yfinance prints is dropped; the errors that it logs are collected."""
    said, logger = io.StringIO(), logging.getLogger("yfinance")
    listener, propagates, handlers = logging.StreamHandler(said), logger.propagate, logger.handlers[:]
    listener.setLevel(logging.ERROR)
    logger.handlers, logger.propagate = [listener], False
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield said
    finally:
        logger.handlers, logger.propagate = handlers, propagates
