"""The way to Alpaca: its servers, keys, how long to wait, one kind of error for all that goes wrong; and its JSON."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import numpy as np

from hybrid_bt.bars.checks import RawBars
from hybrid_bt.errors import library
from hybrid_bt.trade.brokers.base import Answer, BrokerError, Fill, Order, Status

KEYS = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
LIVE, URL = "HYBRID_BT_LIVE", "HYBRID_BT_ALPACA_URL"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TIMEOUT_SECONDS = 10.0  #: to connect, and between two pieces of an answer
RETRIES, RETRY_SECONDS = 2, 1  #: of 429 and 504, by alpaca-py; more is left to whoever asks
NOT_FOUND, NOT_TAKEN, BUSY, BROKEN = 404, 422, 429, 500
ORDER_CODES = "4031"  #: first digits of Alpaca's codes for an order that the account cannot carry
MOST_QUOTED = 200  #: characters of an answer that is no JSON

NEW_YORK = ZoneInfo("America/New_York")
SIDES = {"buy": 1.0, "long": 1.0, "sell": -1.0, "short": -1.0}
CLOSED = {
    "filled": Status.FILLED,
    "rejected": Status.REJECTED,
    **dict.fromkeys(("canceled", "expired", "replaced"), Status.CANCELLED),
}

T = TypeVar("T")
Raw = dict[str, Any]  #: JSON as it came
part = partial(library, extra="alpaca", what="the broker alpaca")  #: a module of alpaca-py


class RefusedError(BrokerError):
    """An HTTP status that is no success."""

    def __init__(self, what: str, status: int, body: str) -> None:
        try:
            said = json.loads(body)
            words, code = str(said["message"]), str(said.get("code", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            words, code = " ".join(body.split())[:MOST_QUOTED], ""
        super().__init__(f"alpaca: {what}: {words} ({status})", again=status == BUSY or status >= BROKEN)
        self.status, self.words = status, words
        self.of_an_order = status == NOT_TAKEN or code.startswith(ORDER_CODES)


class Connection:
    """alpaca-py's two clients, which answer with JSON as it came.

    Raises
    ------
    BrokerError
        Without keys, or if `live` is said once only.
    """

    def __init__(self, live: bool) -> None:
        self._api_error = part("alpaca.common.exceptions").APIError
        self._request_error = part("requests").RequestException
        trading, data = part("alpaca.trading.client"), part("alpaca.data.historical.stock")
        url = _server(live)
        keys = [_key(name) for name in KEYS]  # last, so that no error of the above has them in its frames
        hidden = re.compile("|".join(re.escape(key) for key in keys))
        self._without_keys: Callable[[str], str] = lambda words: hidden.sub("***", words)  # `vars` shows no key
        given = {"raw_data": True, "url_override": url}
        self.trading: Any = trading.TradingClient(*keys, paper=not live, **given)
        self.data: Any = data.StockHistoricalDataClient(*keys, **given)
        for client in (self.trading, self.data):  # neither a time-out nor retries can be given to their constructors
            client._retry, client._retry_wait = RETRIES, RETRY_SECONDS
            session = client._session
            session.trust_env = url is None  # a stand-in is not asked through a proxy
            session.request = partial(session.request, timeout=TIMEOUT_SECONDS)

    def ask(self, what: str, call: Callable[[], T]) -> T:
        """What a call gives; BrokerError for all that it raises.

        Raised behind the handler: the library's errors hold the request, and with it the keys.
        """
        try:
            return call()
        except self._api_error as error:
            failure: BrokerError = RefusedError(what, error.status_code, self._without_keys(f"{error}"))
        except self._request_error as error:
            failure = BrokerError(f"alpaca: {what}: no answer ({type(error).__name__})", again=True)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            failure = BrokerError(f"alpaca: {what}: the answer cannot be read ({type(error).__name__})")
        raise failure

    def close(self) -> None:
        for client in (self.trading, self.data):
            client._session.close()


def _server(live: bool) -> str | None:
    """Address of a stand-in; None for Alpaca's own, of paper or live as alpaca-py has them."""
    url = os.environ.get(URL)
    if live and os.environ.get(LIVE) != "yes":
        raise BrokerError(
            f"alpaca: live trades real money and is said twice; set {LIVE}=yes in the environment as well, or leave "
            "live out to trade on paper"
        )
    if url and (live or urlsplit(url).hostname not in LOOPBACK):
        raise BrokerError(f"alpaca: {URL} names a stand-in on this machine, for tests without live; remove it")
    return url or None


def _key(name: str) -> str:
    if re.fullmatch(r"[!-~]+", os.environ.get(name, "").strip()):
        return os.environ[name].strip()
    raise BrokerError(f"alpaca: needs {' and '.join(KEYS)} in the environment, and {name} holds no key; set it")


def answer_of(raw: Raw) -> Answer:
    """Alpaca tells sums: one fill, with the average price; fees are booked apart, at the end of the day."""
    sign = SIDES[raw["side"]]
    size = sign * float(raw["qty"] or math.nan)  # null where it was asked for by money, by other hands
    order = Order(raw["client_order_id"], raw["symbol"], size, math.nan)
    status = CLOSED.get(raw["status"], Status.OPEN)
    reason = f"refused by the exchange or by Alpaca ({raw['failed_at']})" if status is Status.REJECTED else ""
    if not (filled := sign * float(raw["filled_qty"] or 0.0)):
        return Answer(order, status, (), reason)
    moment = moment_of(raw["filled_at"] or raw["updated_at"])
    fill = Fill(order.id, order.symbol, filled, float(raw["filled_avg_price"]), math.nan, moment)
    return Answer(order, status, (fill,), reason)


def rows_of(bars: Sequence[Raw]) -> RawBars:
    """A symbol's bars; Alpaca stamps a day by its midnight in New York."""
    days = [moment_of(bar["t"]).astimezone(NEW_YORK).date() for bar in bars]
    fields = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    columns = {field: np.array([float(bar[key]) for bar in bars]) for field, key in fields.items()}
    return RawBars(np.array(days, "M8[ns]"), columns)


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
