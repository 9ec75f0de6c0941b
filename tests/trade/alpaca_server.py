"""A stand-in that speaks Alpaca's REST over HTTP on loopback: it keeps an account, fills at opens, and misbehaves.

    with Server(bars) as server:          # evening of the first bar; `server.environment` is what the broker reads
        server.faults = ["drop-after"]    # of the next requests, one each; "" is none
        server.advance()                  # over the next open, to the evening of its day

Faults: a status ("429", "500", "504") or "drop" in place of an answer; the same with "-after", when the request has
been carried out; "slow" carries it out when the client has gone, "slow-after" before; "twice" carries it out twice, and
gives the second answer; "garbage" answers with no JSON. `rules` hold what becomes of a symbol's orders at an open: a
fraction that is filled, or "reject".

Other processes reach it by `python alpaca_server.py SYMBOLS START END`, which prints its address, and by
`POST /stand-in/advance` and the like, with arguments as JSON.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from hybrid_bt.bars import Bars

KEY, SECRET = "PKTESTKEY0123456789", "s3cr3t/of+the-account=="
NEW_YORK = ZoneInfo("America/New_York")
EVENING, OPENED = clock_time(21), clock_time(9, 30, 1)
LATE = timedelta(minutes=15)
FAULTS = ("429", "500", "504", "500-after", "504-after", "drop", "drop-after", "slow", "slow-after", "twice", "garbage")
CONTROLS = ("advance", "open", "misbehave", "all_orders")

Json = dict[str, Any]


class RefusalError(Exception):
    """Status, code and words of an answer."""


class Server:
    """One account, a market of daily bars, and HTTP in front of them."""

    def __init__(self, bars: Bars, row: int = 0, cash: float = 100_000.0) -> None:
        self.bars, self.row, self.cash = bars, row, cash
        self.now = self._at(row, EVENING)
        self.positions: dict[str, float] = {}
        self.orders: dict[str, Json] = {}  #: by Alpaca's id, in order of submission
        self.fractionable, self.shortable = set(bars.symbols), set(bars.symbols)
        self.closes: dict[str, str] = {}  #: of half days
        self.rules: dict[str, float | str] = {}
        self.splits: dict[
            str, tuple[int, float]
        ] = {}  #: symbol -> row from which on prices are raw, new shares per old
        self.faults: list[str] = []
        self.draw: Callable[[], str] = lambda: ""  #: a fault when `faults` is empty
        self.patience_seconds = 1.0  #: of a slow answer; more than the client's
        self.page_bars = 10_000
        self.blocked = self.is_open = False
        self.multiplier = "2"
        self.log: list[tuple[str, str, Json]] = []
        self._lock = threading.RLock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # one write an answer

            def do_GET(self) -> None:
                server._serve(self)

            do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.environment = {"HYBRID_BT_ALPACA_URL": self.url, "APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET}

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    # the market

    def advance(self, bars: int = 1) -> None:
        """Over the next opens, to the evening of the last of them."""
        with self._lock:
            for _ in range(bars):
                if not self.is_open:
                    self.open()
                self.is_open, self.now = False, self._at(self.row, EVENING)

    def open(self) -> None:
        """To the next open, where all that waits is filled; the day's bar is not complete."""
        with self._lock:
            self.row += 1
            self.is_open, self.now = True, self._at(self.row, OPENED)
            for symbol, (row, ratio) in self.splits.items():
                if row == self.row and symbol in self.positions:
                    self.positions[symbol] *= ratio
            for order in self.orders.values():
                if order["status"] in ("accepted", "new"):
                    self._fill(order)

    def misbehave(self, faults: list[str]) -> None:
        self.faults = list(faults)

    def all_orders(self) -> list[Json]:
        return list(self.orders.values())

    def _fill(self, order: Json) -> None:
        symbol, at = order["symbol"], _stamp(self.now)
        rule, price = self.rules.get(symbol, 1.0), float(self.bars.open[self.row, self.bars.index_of(symbol)])
        order["updated_at"] = at
        if rule == "reject":
            order.update(status="rejected", failed_at=at)
            return
        quantity = 0.0 if math.isnan(price) else float(order["qty"]) * float(rule)
        if quantity:
            sold = order["side"] == "sell"
            self.cash += quantity * price * (1.0 if sold else -1.0)
            held = self.positions.pop(symbol, 0.0) + (-quantity if sold else quantity)
            if held:
                self.positions[symbol] = held
            order.update(filled_qty=str(quantity), filled_avg_price=str(price), filled_at=at)
        whole = quantity == float(order["qty"])
        order.update(status="filled") if whole else order.update(status="expired", expired_at=at, filled_at=None)

    def _at(self, row: int, when: clock_time) -> datetime:
        return datetime.combine(self.bars.stamps[row].astype("M8[D]").item(), when, NEW_YORK)

    def close_of(self, symbol: str) -> float:
        closes = self.bars.close[: self.row + 1, self.bars.index_of(symbol)]
        return float(closes[~np.isnan(closes)][-1])

    # HTTP

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        parts = urlsplit(handler.path)
        asked = json.loads(body) if body else dict(parse_qsl(parts.query))
        if parts.path.startswith("/stand-in/"):
            name = parts.path.rpartition("/")[2]
            done = getattr(self, name)(**asked) if name in CONTROLS else None
            return _send(handler, 200, json.dumps(done))
        with self._lock:
            self.log.append((handler.command, parts.path, asked))
            fault = self.faults.pop(0) if self.faults else self.draw()
        kind, _, after = fault.partition("-")
        if kind == "slow" and not after:
            time.sleep(self.patience_seconds)
        status, answer = 0, ""
        if after or kind in ("", "slow", "twice", "garbage"):
            for _ in range(2 if kind == "twice" else 1):
                with self._lock:
                    status, answer = self._answer(handler, parts.path, asked)
        if kind == "slow" and after:
            time.sleep(self.patience_seconds)
        if kind == "drop":
            handler.close_connection = True
            return handler.connection.close()
        if kind.isdigit():
            status, answer = int(kind), json.dumps({"message": f"fault {kind}"})
        try:
            _send(handler, 200 if kind == "garbage" else status, "<html>" if kind == "garbage" else answer)
        except OSError:
            return None  # the client did not wait

    def _answer(self, handler: BaseHTTPRequestHandler, path: str, asked: Json) -> tuple[int, str]:
        try:
            if (handler.headers["APCA-API-KEY-ID"], handler.headers["APCA-API-SECRET-KEY"]) != (KEY, SECRET):
                raise RefusalError(
                    401, 40110000, f"request of {handler.headers['APCA-API-SECRET-KEY']} is not authorized"
                )
            found = self._route(handler.command, path.removeprefix("/v2/"), asked)
            return (204, "") if found is None else (200, json.dumps(found))
        except RefusalError as refusal:
            status, code, words = refusal.args
            return status, json.dumps({"code": code, "message": words})

    def _route(self, method: str, path: str, asked: Json) -> Any:
        first, _, rest = path.partition("/")
        if method == "POST" and path == "orders":
            return self._submit(asked)
        if first == "orders" and rest:
            order = self.orders.get(rest)
            if order is None:
                raise RefusalError(404, 40410000, f"order not found for {rest}")
            return self._cancel(order) if method == "DELETE" else order
        if path == "orders":
            return self._listed(asked)
        if path == "orders:by_client_order_id":
            if order := self._by_client_id(asked["client_order_id"]):
                return order
            raise RefusalError(404, 40410000, "order not found for " + asked["client_order_id"])
        if first == "assets":
            return self._asset(rest)
        plain = {"account": self._account, "positions": self._positions, "clock": self._clock}
        if path in plain:
            return plain[path]()
        if path == "calendar":
            days = [str(day) for day in self.bars.stamps.astype("M8[D]") if asked["start"] <= str(day) <= asked["end"]]
            return [{"date": day, "open": "09:30", "close": self.closes.get(day, "16:00")} for day in days]
        if path == "stocks/bars":
            return self._history(asked)
        raise RefusalError(404, 40410000, f"endpoint not found: {path}")

    def _account(self) -> Json:
        equity = self.cash + sum(size * self.close_of(symbol) for symbol, size in self.positions.items())
        money = {"cash": str(self.cash), "equity": str(equity), "buying_power": str(2 * equity)}
        money["multiplier"] = self.multiplier
        flags = {"shorting_enabled": True, "account_blocked": False, "trading_blocked": self.blocked}
        return {"account_number": "PA3STANDIN", "status": "ACTIVE", **money, **flags}

    def _positions(self) -> list[Json]:
        return [
            {"symbol": symbol, "qty": str(size), "side": "short" if size < 0 else "long", "avg_entry_price": "0"}
            for symbol, size in self.positions.items()
        ]

    def _clock(self) -> Json:
        following = min(self.row + 1, self.bars.n_bars - 1)
        times = {"next_open": self._at(following, clock_time(9, 30)), "timestamp": self.now}
        return {"is_open": self.is_open, **{name: moment.isoformat() for name, moment in times.items()}}

    def _asset(self, symbol: str) -> Json:
        if symbol not in self.bars.symbols:
            raise RefusalError(404, 40410000, f"asset not found for {symbol}")
        short = symbol in self.shortable
        flags = {"tradable": True, "shortable": short, "easy_to_borrow": short}
        return {"symbol": symbol, "status": "active", **flags, "fractionable": symbol in self.fractionable}

    def _history(self, asked: Json) -> Json:
        start, end = (datetime.fromisoformat(asked[name].replace("Z", "+00:00")) for name in ("start", "end"))
        if asked["feed"] == "sip" and end > self.now - LATE:
            raise RefusalError(403, None, "subscription does not permit querying recent SIP data")
        assert (asked["timeframe"], asked["adjustment"]) == ("1Day", "split")
        flat = [
            (symbol, self._bar(row, symbol))
            for symbol in sorted(asked["symbols"].split(","))
            for row in range(self.row + 1)
            if symbol in self.bars.symbols and start <= self._at(row, clock_time(0)) <= end
        ]
        first = int(asked.get("page_token") or 0)
        last = first + min(int(asked["limit"]), self.page_bars)
        found: dict[str, list[Json]] = {}
        for symbol, bar in flat[first:last]:
            if bar is not None:
                found.setdefault(symbol, []).append(bar)
        return {"bars": found, "next_page_token": str(last) if last < len(flat) else None}

    def _bar(self, row: int, symbol: str) -> Json | None:
        column, (split, ratio) = self.bars.index_of(symbol), self.splits.get(symbol, (0, 1.0))
        scale = ratio if row < split <= self.row else 1.0
        prices = [float(field[row, column]) / scale for field in (self.bars.open, self.bars.high, self.bars.low)]
        close = prices[0] if self.is_open and row == self.row else float(self.bars.close[row, column]) / scale
        if math.isnan(close):
            return None
        midnight = self._at(row, clock_time(0)).astimezone(UTC)
        values = zip("ohlcv", [*prices, close, float(self.bars.volume[row, column]) * scale], strict=True)
        return {"t": f"{midnight:%Y-%m-%dT%H:%M:%SZ}", "n": 1, "vw": close, **dict(values)}

    # orders

    def _by_client_id(self, id: str) -> Json | None:
        return next((order for order in self.orders.values() if order["client_order_id"] == id), None)

    def _listed(self, asked: Json) -> list[Json]:
        newest = [order for order in reversed(self.orders.values()) if not order["canceled_at"]]
        waits = [order for order in newest if order["status"] in ("accepted", "new")]
        until = asked.get("until")
        assert asked["status"] == "open"
        return [
            order
            for order in waits
            if not until or datetime.fromisoformat(order["submitted_at"]) <= datetime.fromisoformat(until)
        ][: min(int(asked.get("limit", 50)), 500)]

    def _cancel(self, order: Json) -> None:
        if order["status"] not in ("accepted", "new"):
            raise RefusalError(422, 42210000, f'order is already in "{order["status"]}" state')
        order.update(status="canceled", canceled_at=_stamp(self.now))

    def _submit(self, asked: Json) -> Json:
        symbol, quantity, sold = asked["symbol"], float(asked["qty"]), asked["side"] == "sell"
        if symbol not in self.bars.symbols:
            raise RefusalError(422, 42210000, f"asset {symbol} not found")
        self._check_time(asked["time_in_force"], quantity, symbol)
        held, same = self.positions.get(symbol, 0.0), asked["side"]
        waiting = sum(
            float(order["qty"])
            for order in self.orders.values()
            if order["status"] == "accepted" and (order["symbol"], order["side"]) == (symbol, same)
        )
        closes = held > 0 if sold else held < 0
        if closes and quantity > abs(held) - waiting:
            told = f"(requested: {quantity:g}, available: {abs(held) - waiting:g})"
            raise RefusalError(403, 40310000, f"insufficient qty available for order {told}")
        if sold and not closes:
            if symbol not in self.shortable:
                raise RefusalError(403, 40310000, f"asset {symbol} cannot be sold short")
            if not quantity.is_integer():
                raise RefusalError(422, 42210000, "fractional orders cannot be sold short")
        if not closes and quantity * self.close_of(symbol) > self._power():
            raise RefusalError(403, 40310000, "insufficient buying power")
        if self._by_client_id(asked["client_order_id"]):  # last: the first one may have taken the money
            raise RefusalError(422, 40010001, "client_order_id must be unique")
        return self.put(**asked)

    def put(self, **asked: Any) -> Json:
        """An order that nobody looks at."""
        number = len(self.orders)
        at, key = _stamp(self.now + timedelta(microseconds=number)), str(UUID(int=number + 1))
        empty = dict.fromkeys(("filled_at", "expired_at", "canceled_at", "failed_at", "filled_avg_price", "notional"))
        order = {"id": key, **asked, "qty": str(asked["qty"]), "filled_qty": "0", "status": "accepted", **empty}
        self.orders[key] = order | dict.fromkeys(("created_at", "updated_at", "submitted_at"), at)
        return self.orders[key]

    def _check_time(self, in_force: str, quantity: float, symbol: str) -> None:
        if not quantity.is_integer() and (symbol not in self.fractionable or in_force != "day"):
            raise RefusalError(422, 42210000, f"{symbol}: fractional orders must be DAY orders of fractionable assets")
        if in_force == "opg" and clock_time(9, 28) <= self.now.time() < clock_time(19):
            raise RefusalError(422, 42210000, "opg orders must be submitted after 7:00pm and before 9:28am")

    def _power(self) -> float:
        """What may be opened yet: twice the equity, without what is held or waits."""
        equity = float(self._account()["equity"])
        held = sum(abs(size) * self.close_of(symbol) for symbol, size in self.positions.items())
        waits = [order for order in self.orders.values() if order["status"] == "accepted"]
        return 2 * equity - held - sum(float(order["qty"]) * self.close_of(order["symbol"]) for order in waits)


def _stamp(moment: datetime) -> str:
    """As Alpaca writes it, with nanoseconds."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}123Z"


def _send(handler: BaseHTTPRequestHandler, status: int, answer: str) -> None:
    content = answer.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
    handler.wfile.flush()


if __name__ == "__main__":
    from hybrid_bt import load_bars

    with Server(load_bars("us20").select(sys.argv[1].split(",")).between(*sys.argv[2:4])) as running:
        print(running.url, flush=True)
        threading.Event().wait()
