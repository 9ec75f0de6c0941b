"""Alpaca, by its own library `alpaca-py` (extra `alpaca`): paper money, unless live is said twice.

order   its id is Alpaca's client_order_id, which is unique there for ever: the same order again is refused, and
        looked up
open    `opg`, of the opening auction, for whole shares from 19:00 to 9:28 New York; else `day`, which waits for the
        open as well: fractions know no other, and HYBRID_BT_ALPACA_OPEN=day takes it for all
bars    of all exchanges (SIP), adjusted for splits: a split moves no signal, and dividends are cash of the account
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from time import monotonic

from hybrid_bt.bars import Bars
from hybrid_bt.bars.checks import RawBars, inspect_rows
from hybrid_bt.bars.findings import Finding
from hybrid_bt.feeds.panel import align
from hybrid_bt.feeds.symbol import SymbolBars, symbol_bars
from hybrid_bt.trade.brokers import Place
from hybrid_bt.trade.brokers.alpaca_rest import (
    NEW_YORK,
    NOT_FOUND,
    NOT_TAKEN,
    SIDES,
    Connection,
    Raw,
    RefusedError,
    answer_of,
    moment_of,
    part,
    rows_of,
)
from hybrid_bt.trade.brokers.base import Abilities, Answer, BrokerError, Clock, Holdings, Order, Status

OPEN = "HYBRID_BT_ALPACA_OPEN"
START = date(2016, 1, 1)  #: the first year that Alpaca has
DELAY = timedelta(minutes=16)  #: without a subscription all exchanges are told 15 minutes late
HOLIDAYS = timedelta(days=10)  #: more than any that follow one another
AUCTION = (time(19), time(9, 28))  #: from, and to before; `opg` is refused at other times
DECIMALS = 9  #: of a quantity
CLOCK_SECONDS = 60.0  #: for which the orders of one bar take the clock as read
MOST = 500  #: orders on a page
OVER_NIGHT = 2.0  #: most value of positions by equity; a `multiplier` of 4 is of the day alone
BLOCKS = ("account_blocked", "trading_blocked", "trade_suspended_by_user")


class Alpaca:
    """One account at Alpaca.

    Parameters
    ----------
    live : bool
        Trade real money; refused unless HYBRID_BT_LIVE=yes says it as well.
    start : date
        First day of the bars; the same in every process that goes on from the same state.

    Raises
    ------
    BrokerError
        Without keys, if they are refused, or if the account may not trade.
    """

    def __init__(self, *, live: bool = False, start: date = START) -> None:
        self._connection = Connection(live)
        self._ask, self._trading, self._start = self._connection.ask, self._connection.trading, start
        self._clock: Clock | None = None
        self._read_at = -math.inf
        account = self._object("the account", self._trading.get_account)
        if blocked := [name for name in BLOCKS if account.get(name)]:
            raise BrokerError(f"alpaca: the account may not trade ({', '.join(blocked)}); ask Alpaca to lift it")
        self.name = f"alpaca-{'live' if live else 'paper'}-{str(account.get('account_number')).lower()}"

    def clock(self) -> Clock:
        def read() -> Clock:
            raw = self._trading.get_clock()
            return Clock(moment_of(raw["timestamp"]), bool(raw["is_open"]), moment_of(raw["next_open"]))

        self._clock, self._read_at = self._ask("the clock", read), monotonic()
        return self._clock

    def bars(self, symbols: Sequence[str]) -> Bars:
        """Daily bars, from `start` to the last session that closed 16 minutes ago."""
        end = self._last_close()
        asked = part("alpaca.data.requests").StockBarsRequest(
            symbol_or_symbols=list(symbols),
            timeframe=part("alpaca.data.timeframe").TimeFrame.Day,
            start=datetime.combine(self._start, time(), NEW_YORK),
            end=end,
            adjustment="split",
            feed="sip",
        )

        def read() -> dict[str, RawBars]:
            found = self._connection.data.get_stock_bars(asked)
            return {symbol: rows_of(found.get(symbol, [])) for symbol in symbols}

        series: dict[str, SymbolBars] = {}
        findings: list[Finding] = []
        for symbol, rows in self._ask("bars", read).items():
            if not len(rows.stamps):
                raise BrokerError(f"alpaca: {symbol} has no bar from {self._start} to {end.date()}; leave it out")
            sound, found = inspect_rows(symbol, rows, "mend")
            findings += found
            series[symbol] = symbol_bars(symbol, sound, raw_prices=True)
        return align("alpaca", series, findings=findings)

    def _last_close(self) -> datetime:
        now = self.clock().now
        today = now.astimezone(NEW_YORK).date()
        asked = part("alpaca.trading.requests").GetCalendarRequest(start=today - HOLIDAYS, end=today)

        def read() -> datetime:
            days = [f"{day['date']}T{day['close']}" for day in self._trading.get_calendar(asked)]
            closes = [datetime.fromisoformat(day).replace(tzinfo=NEW_YORK) for day in days]
            return max(close for close in closes if close + DELAY <= now)

        return self._ask("the calendar", read)

    def abilities(self, symbols: Sequence[str]) -> Mapping[str, Abilities]:
        """Shorts are of whole shares and borrowed easily; no order crosses from long to short or back."""
        account = self._object("the account", self._trading.get_account)
        most = self._ask("the account", lambda: min(float(account["multiplier"]), OVER_NIGHT))
        may_short = account.get("shorting_enabled")
        found = {}
        for symbol in symbols:
            asset = self._object(symbol, partial(self._trading.get_asset, symbol))
            if not asset.get("tradable"):
                raise BrokerError(f"alpaca: {symbol} is not traded there ({asset.get('status')}); leave it out")
            shorts = bool(may_short and asset.get("shortable") and asset.get("easy_to_borrow"))
            fractions = bool(asset.get("fractionable"))
            found[symbol] = Abilities(fractions, shorts, crosses=False, fractional_shorts=False, leverage=most)
        return found

    def account(self) -> Holdings:
        def read() -> Holdings:
            money, held = self._trading.get_account(), self._trading.get_all_positions()
            sizes = {one["symbol"]: math.copysign(float(one["qty"]), SIDES[one["side"]]) for one in held}
            return Holdings(float(money["cash"]), float(money["equity"]), sizes)

        return self._ask("the account", read)

    def orders(self, ids: Collection[str]) -> Mapping[str, Answer]:
        return {id: known[1] for id in ids if (known := self._known(id))}

    def waiting(self) -> Sequence[Answer]:
        request = part("alpaca.trading.requests").GetOrdersRequest
        found: dict[str, Answer] = {}
        until: datetime | None = None

        def read() -> list[tuple[str, Answer, datetime]]:
            page = self._trading.get_orders(request(status="open", limit=MOST, until=until))
            return [(raw["id"], answer_of(raw), moment_of(raw["submitted_at"])) for raw in page]

        while True:  # newest first
            page = self._ask("open orders", read)
            new = {key: answer for key, answer, _ in page if key not in found}
            found |= new
            if not new or len(page) < MOST:
                return list(found.values())[::-1]
            until = page[-1][2] + timedelta(microseconds=1)  # than which `moment_of` knows no less

    def submit(self, order: Order) -> Answer:
        """Send it for the next open; BrokerError, to be asked again after the close, while the market is open."""
        clock = self._clock if self._clock and monotonic() - self._read_at < CLOCK_SECONDS else self.clock()
        if clock.is_open:
            if known := self._known(order.id, order):
                return known[1]
            why = "the market is open, so that it would be filled now and not at an open; ask again after the close"
            raise BrokerError(f"alpaca: the order {order.id}: {why}", again=True)
        quantity = round(float(abs(order.size)), DECIMALS)
        if not 0.0 < quantity < math.inf:
            return Answer(
                order, Status.REJECTED, (), f"{order.size!r} shares are no order, or less than Alpaca's least"
            )
        asked = part("alpaca.trading.requests").MarketOrderRequest(
            symbol=order.symbol,
            qty=quantity,
            side="buy" if order.size > 0 else "sell",
            time_in_force=_time_in_force(quantity, clock.now),
            client_order_id=order.id,
        )
        try:
            raw = self._object(f"the order {order.id}", partial(self._trading.submit_order, asked))
        except RefusedError as refusal:
            if not refusal.of_an_order:
                raise
            known = self._known(order.id, order)  # whatever is said: the first may have reserved the second one's money
            return known[1] if known else Answer(order, Status.REJECTED, (), refusal.words)
        return self._said(raw, order)

    def cancel(self, id: str) -> None:
        known = self._known(id)
        if known is None or known[1].status is not Status.OPEN:
            return
        try:
            self._ask(f"cancelling {id}", partial(self._trading.cancel_order_by_id, known[0]))
        except RefusedError as refusal:
            if refusal.status not in (NOT_FOUND, NOT_TAKEN):
                raise

    def close(self) -> None:
        self._connection.close()

    def _known(self, id: str, order: Order | None = None) -> tuple[str, Answer] | None:
        """Alpaca's own id of an order that it has, and what it says of it."""
        try:
            raw = self._object(f"the order {id}", partial(self._trading.get_order_by_client_id, id))
        except RefusedError as refusal:
            if refusal.status != NOT_FOUND:
                raise
            return None
        return str(raw.get("id")), self._said(raw, order)

    def _said(self, raw: Raw, order: Order | None) -> Answer:
        """Of an order; the price that it was decided on is known to who submits it alone."""
        answer = self._ask(f"the order {raw.get('client_order_id')}", partial(answer_of, raw))
        if order is None:
            return answer
        return answer._replace(order=answer.order._replace(close=order.close, checked=order.checked))

    def _object(self, what: str, call: Callable[[], Raw]) -> Raw:
        return self._ask(what, lambda: dict(call()))


def open_alpaca(place: Place) -> Alpaca:
    """The account whose keys are in the environment; it knows its market and its money."""
    return Alpaca(live=place.live)


def _time_in_force(quantity: float, now: datetime) -> str:
    here, (first, end) = now.astimezone(NEW_YORK).time(), AUCTION
    in_time = here >= first or here < end
    return "opg" if in_time and quantity.is_integer() and os.environ.get(OPEN) != "day" else "day"
