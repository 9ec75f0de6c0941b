"""The way to Alpaca: which server, which keys, how long to wait, and one kind of error for all that goes wrong."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from hybrid_bt.errors import library
from hybrid_bt.trade.brokers.base import BrokerError

KEYS = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
LIVE, URL = "HYBRID_BT_LIVE", "HYBRID_BT_ALPACA_URL"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TIMEOUT_SECONDS = 10.0  #: to connect, and between two pieces of an answer
RETRIES, RETRY_SECONDS = 2, 1  #: of 429 and 504, by alpaca-py; more is left to whoever asks
NOT_FOUND, NOT_TAKEN, BUSY, BROKEN = 404, 422, 429, 500
ORDER_CODES = "4031"  #: first digits of Alpaca's codes for an order that the account cannot carry
MOST_QUOTED = 200  #: characters of an answer that is no JSON

T = TypeVar("T")
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
