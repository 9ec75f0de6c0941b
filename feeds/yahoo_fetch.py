"""One polite call to Yahoo through yfinance: retried with back-off, without its noise, its errors said plainly."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hybrid_bt.errors import BarsError

REMEDY = "check the connection and the symbols, or give prices of your own"
PAUSES = (1.0, 4.0, 16.0)  #: seconds before each further attempt
RATE_MARKS = ("too many requests", "rate limit", "429")


class NoAnswerError(BarsError):
    """Yahoo could not be read at all."""


def fetch(
    symbols: Sequence[str],
    start: str,
    stop: str,
    download: Callable[..., Any] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """Yahoo's frame, unadjusted and with the adjusted close beside it, whatever the installed version's defaults.

    Parameters
    ----------
    start, stop : str
        First day, and the day behind the last.
    download : callable, optional
        Stands in for `yfinance.download`.
    sleep : callable
        Called with the seconds to wait before another attempt.

    Raises
    ------
    NoAnswerError
        When every attempt failed or came back empty; says so if Yahoo limits the rate.
    """
    failures: tuple[type[Exception], ...] = (OSError, ValueError)  # curl's and requests' errors are OSErrors
    if download is None:
        import yfinance

        download = yfinance.download
        failures = (*failures, yfinance.exceptions.YFException)
    reasons: list[str] = []
    cause: Exception | None = None
    for pause in (*PAUSES, None):
        said: list[str] = []
        try:
            with _quiet(said):
                frame = download(
                    list(symbols),
                    start=start,
                    end=stop,
                    auto_adjust=False,
                    actions=False,
                    progress=False,
                    threads=False,
                )
            if frame is not None and len(frame):
                return frame
            reasons = said
        except failures as error:
            reasons, cause = [*said, str(error) or type(error).__name__], error
        if pause is None or not reasons:  # an empty answer without a word does not change by asking again
            break
        sleep(pause)
    raise NoAnswerError(_say(symbols, start, stop, reasons)) from cause


def _say(symbols: Sequence[str], start: str, stop: str, reasons: Sequence[str]) -> str:
    told = " ".join(" ".join(reasons).split())[:200]
    if any(mark in told.lower() for mark in RATE_MARKS):
        return "bars: yahoo limits the rate of requests from here; wait some minutes, or give your own prices"
    if reasons:
        return f"bars: yahoo could not be read ({told}); {REMEDY}"
    return f"bars: yahoo delivered nothing for {', '.join(symbols)} from {start} to before {stop}; {REMEDY}"


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


@contextlib.contextmanager
def _quiet(said: list[str]) -> Iterator[None]:
    """What yfinance prints is dropped; the errors that it logs are collected."""
    logger = logging.getLogger("yfinance")
    listener, propagates, handlers = _Listener(said), logger.propagate, logger.handlers[:]
    logger.handlers, logger.propagate = [listener], False
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagates
