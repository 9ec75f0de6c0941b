"""Alpaca: what it can and cannot, all that a server does wrong, keys, and the way to real money."""

from __future__ import annotations

import logging
import multiprocessing
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from datetime import time as clock_time
from itertools import pairwise

import numpy as np
import pytest
import requests
from alpaca_server import FAULTS, KEY, SECRET, Server

from hybrid_bt import HybridError, load_bars
from hybrid_bt.trade.brokers import BrokerError, Order, Status, alpaca_rest
from hybrid_bt.trade.brokers.alpaca import Alpaca

BARS = load_bars("us20").select(["KO", "PEP", "XOM"]).between("2015-01-02", "2015-12-31")
FIRST = BARS.stamps[0].astype("M8[D]").item()
KILLS = FAILURES = 200

METHODS: dict[str, Callable[[Alpaca], object]] = {
    "clock": lambda broker: broker.clock(),
    "bars": lambda broker: broker.bars(["KO"]),
    "abilities": lambda broker: broker.abilities(["KO"]),
    "account": lambda broker: broker.account(),
    "orders": lambda broker: broker.orders(["test-one"]),
    "waiting": lambda broker: broker.waiting(),
    "submit": lambda broker: broker.submit(order("two")),
    "cancel": lambda broker: broker.cancel("test-one"),
}


def order(name: str = "one", symbol: str = "KO", size: float = 10.0) -> Order:
    return Order(f"test-{name}", symbol, size, 40.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(alpaca_rest, "RETRY_SECONDS", 0)
    with Server(BARS, row=1) as running:
        running.patience_seconds = 0.5
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def broker(server: Server) -> Alpaca:
    return Alpaca(start=FIRST)


@contextmanager
def impatience() -> Iterator[None]:
    """Connections that are made inside wait less than a slow answer takes; on a busy machine that may be any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alpaca_rest, "TIMEOUT_SECONDS", 0.2)
        yield


def connected(fault: str) -> Alpaca:
    """One that gives up waiting, where the fault is to be slow."""
    while fault.startswith("slow"):
        with impatience(), suppress(BrokerError):
            return Alpaca(start=FIRST)
    return Alpaca(start=FIRST)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "twice"])
def test_every_failure_is_one_error_that_may_be_asked_again(server: Server, broker: Alpaca, method: str, fault: str):
    broker.submit(order())
    broker = connected(fault)
    server.faults = [fault] * (1 + alpaca_rest.RETRIES)
    began, asked = datetime.now(), len(server.log)
    with pytest.raises(BrokerError) as caught:
        METHODS[method](broker)
    assert caught.value.again and str(caught.value).startswith("alpaca: ")
    assert datetime.now() - began < timedelta(seconds=5) and len(server.log) - asked <= 1 + alpaca_rest.RETRIES


@pytest.mark.parametrize("fault", FAULTS)
def test_an_order_whose_answer_was_lost_is_found_by_its_id_and_sent_once(server: Server, broker: Alpaca, fault: str):
    asker = connected(fault)
    server.faults = ["", fault]  # the clock, the order
    answers = []
    while not answers:
        try:
            answers.append(asker.submit(order()))
        except BrokerError as error:
            assert error.again
            if fault.endswith("-after"):
                assert broker.orders(["test-one"])["test-one"].status is Status.OPEN
    assert answers[0] == broker.submit(order()) and answers[0].order == order()
    server.advance()
    assert len(server.orders) == 1 and broker.account().positions == {"KO": 10.0}


def test_once_busy_is_no_failure(server: Server, broker: Alpaca):
    server.faults = ["429", "504"]
    assert broker.account().cash == 100_000.0


def insist(name: str, size: float) -> None:
    """What a process does that is started until it is through: connect, submit, whatever comes."""
    while True:
        try:
            broker = Alpaca(start=FIRST)
            for symbol in BARS.symbols:
                broker.submit(order(f"{name}-{symbol.lower()}", symbol, size))
            return
        except BrokerError as error:
            assert error.again, error


def everything_once(server: Server, evenings: dict[str, float]) -> None:
    wanted = [f"test-{name}-{symbol.lower()}" for name in evenings for symbol in BARS.symbols]
    assert [one["client_order_id"] for one in server.all_orders()] == wanted
    held = sum(evenings.values())
    assert server.positions == ({symbol: held for symbol in BARS.symbols} if held else {})


def test_no_order_is_lost_or_doubled_in_200_random_faults(server: Server):
    chance, drawn, evenings = random.Random(7), [0], {}

    def draw() -> str:
        fault = chance.choice(FAULTS) if chance.random() < 0.5 else ""
        drawn[0] += bool(fault)
        return fault

    server.draw = draw
    while drawn[0] < FAILURES:
        name, size = f"{server.row}", -30.0 if len(evenings) % 4 == 3 else 10.0
        with impatience():
            insist(name, size)
        evenings[name] = size
        server.draw = lambda: ""
        server.advance()
        server.draw = draw
    server.draw = lambda: ""
    everything_once(server, evenings)
    assert Alpaca(start=FIRST).account().positions == server.positions


def test_no_order_is_lost_or_doubled_in_200_kills(server: Server):
    processes, chance = multiprocessing.get_context("forkserver"), random.Random(11)
    processes.set_forkserver_preload(["test_alpaca"])
    kills, evenings = 0, {}
    while kills < KILLS:
        name, size = f"{server.row}", -30.0 if len(evenings) % 4 == 3 else 10.0
        for _ in range(10):
            process = processes.Process(target=insist, args=(name, size))
            process.start()
            process.join(chance.uniform(0.0, 0.06))
            kills += process.exitcode is None
            process.kill()
            process.join()
        insist(name, size)
        evenings[name] = size
        server.advance()
    everything_once(server, evenings)


def test_whole_shares_go_to_the_auction_fractions_and_other_hours_to_the_day(server: Server, monkeypatch):
    def sent(size: float, hour: clock_time) -> str:
        server.now = datetime.combine(server.now.date(), hour, server.now.tzinfo)
        Alpaca(start=FIRST).submit(order(f"{len(server.orders)}", size=size))
        return str(server.all_orders()[-1]["time_in_force"])

    assert sent(10.0, clock_time(21)) == sent(10.0, clock_time(19)) == sent(10.0, clock_time(9, 27, 59)) == "opg"
    assert sent(10.0, clock_time(16, 30)) == sent(10.0, clock_time(9, 28)) == sent(0.5, clock_time(21)) == "day"
    monkeypatch.setenv("HYBRID_BT_ALPACA_OPEN", "day")
    assert sent(10.0, clock_time(21)) == "day"


def test_nothing_is_sent_while_the_market_is_open_but_known_orders_are_answered(server: Server, broker: Alpaca):
    broker.submit(order())
    server.open()
    broker.clock()
    assert broker.submit(order()).status is Status.FILLED
    with pytest.raises(BrokerError, match="after the close") as caught:
        broker.submit(order("two"))
    assert caught.value.again and len(server.orders) == 1
    server.advance()
    broker.clock()
    assert broker.submit(order("two")).status is Status.OPEN


def test_part_of_an_order_is_filled_and_the_rest_expires(server: Server, broker: Alpaca):
    server.rules = {"KO": 0.4, "PEP": "reject", "XOM": 0.0}
    for symbol in BARS.symbols:
        broker.submit(order(symbol.lower(), symbol))
    server.advance()
    part, refused, none = broker.orders(["test-ko", "test-pep", "test-xom"]).values()
    assert (part.status, [fill.size for fill in part.fills]) == (Status.CANCELLED, [4.0])
    assert (refused.status, refused.fills) == (Status.REJECTED, ()) and len(refused.reason) > 10
    assert (none.status, none.fills) == (Status.CANCELLED, ())
    assert broker.account().positions == {"KO": 4.0}


def test_no_order_goes_through_zero_and_abilities_say_so_before(server: Server, broker: Alpaca):
    broker.submit(order())
    server.advance()
    assert not broker.abilities(["KO"])["KO"].crosses
    refused = broker.submit(order("through", size=-15.0))
    assert (refused.status, refused.order) == (Status.REJECTED, order("through", size=-15.0))
    assert "requested: 15, available: 10" in refused.reason


def test_abilities_are_those_of_the_asset_and_of_the_account(server: Server, broker: Alpaca):
    server.fractionable, server.shortable = {"KO"}, {"PEP"}
    found = broker.abilities(["KO", "PEP"])
    assert (found["KO"].fractions, found["KO"].shorts) == (True, False)
    assert (found["PEP"].fractions, found["PEP"].shorts) == (False, True)
    refused = broker.submit(order("short", size=-1.0))
    assert refused.status is Status.REJECTED and "short" in refused.reason


@pytest.mark.parametrize(("multiplier", "leverage"), [("1", 1.0), ("2", 2.0), ("4", 2.0)])
def test_an_account_without_the_margin_that_is_wanted_is_refused(server: Server, multiplier: str, leverage: float):
    """Four times is of the day; over night it is two."""
    server.multiplier = multiplier
    assert {one.leverage for one in Alpaca(start=FIRST).abilities(["KO", "PEP"]).values()} == {leverage}


def test_money_that_the_first_order_has_reserved_does_not_hide_it(server: Server, broker: Alpaca):
    large = order("large", size=round(150_000.0 / server.close_of("KO")))
    assert broker.submit(large) == broker.submit(large) == Alpaca(start=FIRST).submit(large)
    assert broker.submit(large._replace(id="test-other")).reason == "insufficient buying power"
    assert len(server.orders) == 1


@pytest.mark.parametrize("size", [1e-10, -1e-10, 0.0, -0.0, np.nan, np.inf, -np.inf])
def test_what_is_no_number_of_shares_is_refused_here(server: Server, broker: Alpaca, size: float):
    answer = broker.submit(order(size=size))
    assert answer.status is Status.REJECTED and "shares" in answer.reason
    assert not server.orders and "POST" not in [method for method, *_ in server.log]


@pytest.mark.parametrize("size", [7, np.int64(7), np.float64(7.0)])
def test_sizes_of_any_type_are_numbers(server: Server, broker: Alpaca, size: float):
    assert broker.submit(order(size=size)).order.size == 7.0
    assert server.all_orders()[0]["time_in_force"] == "opg"


def test_a_long_list_of_open_orders_is_read_to_its_end(server: Server, broker: Alpaca):
    for number in range(1203):
        server.put(symbol="KO", qty=1 + number, side="sell", client_order_id=f"other-{number}", time_in_force="day")
    assert [answer.order.size for answer in broker.waiting()] == [-1.0 - number for number in range(1203)]


def test_history_comes_in_pages_from_the_day_that_was_asked_for(server: Server, broker: Alpaca):
    server.advance(60)
    server.page_bars, server.log = 7, []
    found = broker.bars(["PEP", "KO"])
    assert len(server.log) > 15
    np.testing.assert_array_equal(found.close, BARS.select(["PEP", "KO"]).close[:62])
    later = Alpaca(start=FIRST + timedelta(days=30)).bars(["KO"])
    assert later.stamps[0] >= np.datetime64(FIRST) + 30 and later.stamps[-1] == found.stamps[-1]


@pytest.mark.parametrize(
    ("close", "when", "complete"),
    [
        ("16:00", (9, 31), 2),
        ("16:00", (16, 0), 2),
        ("16:00", (16, 15), 2),
        ("16:00", (16, 16), 3),
        ("16:00", (23, 59), 3),
        ("13:00", (13, 15), 2),
        ("13:00", (13, 16), 3),
    ],
)
def test_a_day_is_told_when_its_session_is_over(server: Server, close: str, when: tuple[int, int], complete: int):
    server.open()
    server.closes = {str(server.now.date()): close}
    server.now = datetime.combine(server.now.date(), clock_time(*when), server.now.tzinfo)
    server.is_open = when < (int(close[:2]), 0)
    assert Alpaca(start=FIRST).bars(["KO"]).n_bars == complete


def test_a_split_rescales_the_past_and_moves_no_price(server: Server, broker: Alpaca):
    server.advance(5)
    before = broker.bars(["KO", "PEP"])
    raw = {field: getattr(BARS, field).copy() for field in ("open", "high", "low", "close", "volume")}
    for field, values in raw.items():
        values[8:, 0] *= 2.0 if field == "volume" else 0.5
    server.bars = type(BARS).checked("split", BARS.symbols, BARS.stamps, **raw)
    server.splits = {"KO": (8, 2.0)}
    broker.submit(order())
    server.advance(2)
    after = broker.bars(["KO", "PEP"])
    np.testing.assert_array_equal(after.close[: before.n_bars, 0], before.close[:, 0] / 2.0)
    np.testing.assert_array_equal(after.close[: before.n_bars, 1], before.close[:, 1])
    assert max(abs(b / a - 1.0) for a, b in pairwise(after.close[:, 0])) < 0.1
    assert broker.account().positions == {"KO": 20.0}


def test_a_symbol_without_a_bar_on_a_day_has_none(server: Server, broker: Alpaca):
    holed = {field: getattr(BARS, field).copy() for field in ("open", "high", "low", "close")}
    for values in holed.values():
        values[3, 0] = np.nan
    server.bars = type(BARS).checked("holed", BARS.symbols, BARS.stamps, **holed)
    broker.submit(order())
    server.advance(3)
    found = broker.bars(["KO", "PEP"])
    assert np.isnan(found.close[:, 0]).tolist() == [False, False, False, True, False]
    assert found.n_bars == 5


def test_a_blocked_account_is_refused_at_once(server: Server):
    server.blocked = True
    with pytest.raises(BrokerError, match="trading_blocked") as caught:
        Alpaca(start=FIRST)
    assert not caught.value.again


def test_a_stand_in_is_asked_without_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Alpaca(start=FIRST).account().cash == 100_000.0


def everything_said(error: BaseException) -> str:
    """Messages, causes, and tracebacks with the values of all names in them, but for the frame of the test."""
    shown = error.__traceback__.tb_next if error.__traceback__ else None
    told = traceback.TracebackException(type(error), error, shown, capture_locals=True)
    return "\n".join([*told.format(), repr(error), repr(vars(error)), repr(error.__context__), repr(error.__cause__)])


def test_no_key_is_in_any_word(server: Server, monkeypatch, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    broker = Alpaca(start=FIRST)
    said = [repr(broker), broker.name, repr(vars(broker)), repr(vars(broker._connection))]
    errors: list[BaseException] = []
    broker = connected("slow")
    for fault in FAULTS:
        for method in METHODS.values():
            server.faults = [fault] * 3
            try:
                said.append(repr(method(broker)))
            except HybridError as error:
                errors.append(error)
    server.faults = []
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET + "x")  # which this server repeats in its answer
    with pytest.raises(BrokerError, match="not authorized") as caught:
        Alpaca(start=FIRST)
    errors.append(caught.value)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET + "\N{SNOWMAN}")
    with pytest.raises(BrokerError, match="APCA_API_SECRET_KEY holds no key") as caught:
        Alpaca(start=FIRST)
    errors.append(caught.value)
    said += map(everything_said, errors)
    said += [caplog.text, *capsys.readouterr()]
    assert len(errors) > 50
    told = [text for text in said if SECRET in text or KEY in text]
    assert not told, [text[max(text.find(SECRET), text.find(KEY)) - 300 :][:400] for text in told[:3]]


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that would have been asked; nothing leaves the machine."""
    found: list[str] = []

    def send(_: object, request: requests.PreparedRequest, **settings: object) -> requests.Response:
        assert settings["timeout"] == alpaca_rest.TIMEOUT_SECONDS
        found.append(str(request.url))
        raise requests.ConnectionError

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    for name, value in {"APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET}.items():
        monkeypatch.setenv(name, value)
    for name in ("HYBRID_BT_LIVE", "HYBRID_BT_ALPACA_URL"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_real_money_is_said_twice(urls: list[str], monkeypatch: pytest.MonkeyPatch):
    def attempt(live: bool, agreed: str | None) -> str:
        if agreed is not None:
            monkeypatch.setenv("HYBRID_BT_LIVE", agreed)
        monkeypatch.setenv("APCA_API_BASE_URL", "https://api.alpaca.markets")  # of other programs: without meaning here
        with pytest.raises(BrokerError) as caught:
            Alpaca(live=live)
        return str(caught.value)

    assert "said twice" in attempt(True, None)
    for agreed in ("", "no", "1", "YES ", "true"):
        assert "said twice" in attempt(True, agreed)
    assert urls == []
    attempt(False, "yes")
    attempt(True, "yes")
    assert urls == ["https://paper-api.alpaca.markets/v2/account", "https://api.alpaca.markets/v2/account"]


@pytest.mark.parametrize("url", ["https://api.alpaca.markets", "http://10.0.0.1", "http://127.0.0.1.evil.example", "x"])
def test_keys_go_to_alpaca_or_to_this_machine(urls: list[str], monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("HYBRID_BT_ALPACA_URL", url)
    with pytest.raises(BrokerError, match="HYBRID_BT_ALPACA_URL"):
        Alpaca()
    monkeypatch.setenv("HYBRID_BT_ALPACA_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HYBRID_BT_LIVE", "yes")
    with pytest.raises(BrokerError, match="HYBRID_BT_ALPACA_URL"):
        Alpaca(live=True)
    assert urls == []


@pytest.mark.parametrize("value", [None, "", " ", "two words", "line\nbreak", "sn\N{SNOWMAN}w"])
@pytest.mark.parametrize("name", ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"])
def test_without_keys_it_says_which_and_where(urls: list[str], monkeypatch, name: str, value: str | None):
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(BrokerError, match=f"in the environment, and {name} holds no key"):
        Alpaca()
    assert urls == []


def test_without_the_library_it_says_how_to_have_it(urls: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "alpaca.trading.client", None)
    with pytest.raises(HybridError, match=r"pip install '\.\[alpaca\]'") as caught:
        Alpaca()
    assert SECRET not in everything_said(caught.value) and urls == []
