"""What every broker must do, whatever it is: one line in `VENUES` puts a broker under all of it."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from alpaca_server import Server
from places import ROOT

from hybrid_bt import Bars, load_bars
from hybrid_bt.equations.costs import Costs
from hybrid_bt.errors import ConfigError, HybridError
from hybrid_bt.trade import brokers
from hybrid_bt.trade.brokers import BROKERS, Broker, BrokerError, Order, Place, Status
from hybrid_bt.trade.brokers.alpaca import Alpaca
from hybrid_bt.trade.brokers.paper import PaperBroker

SAMPLE = load_bars("us20").select(["KO", "PEP", "XOM"]).between("2015-01-02", "2015-03-31")
OPEN = np.vstack([SAMPLE.close[:1], SAMPLE.close[:-1] * 1.003])  # the sample has closes alone
BARS = Bars.checked(
    "with opens",
    SAMPLE.symbols,
    SAMPLE.stamps,
    SAMPLE.close,
    open=OPEN,
    high=np.maximum(OPEN, SAMPLE.close) + 0.25,
    low=np.minimum(OPEN, SAMPLE.close) - 0.25,
    volume=np.arange(1.0, SAMPLE.close.size + 1.0).reshape(SAMPLE.close.shape),
)
CASH = 100_000.0
FREE = Costs()._replace(**{name: 0.0 for name in Costs._fields if name.endswith(("_bps", "_per_year"))})


class Venue(NamedTuple):
    """A market of `BARS`, on the evening of its second bar, with an account of `CASH` that holds nothing."""

    connect: Callable[[], Broker]  #: as a new process would, the one before it being dead
    advance: Callable[[], object]  #: over the next open, to the evening of its day


@contextmanager
def alpaca(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Venue]:
    with Server(BARS, row=1, cash=CASH) as server:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield Venue(lambda: Alpaca(start=BARS.stamps[0].astype("M8[D]").item()), server.advance)


@contextmanager
def paper(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Venue]:
    opened: list[PaperBroker] = []

    def connect() -> Broker:
        while opened:
            opened.pop().close()
        place = Place(folder / "account", lambda: BARS, CASH, FREE, BARS.stamps[1], walks=True)
        opened.append(PaperBroker(place))
        return opened[0]

    yield Venue(connect, lambda: opened[0].walk())
    opened[0].close()


VENUES: dict[str, Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Venue]]] = {
    "alpaca": alpaca,
    "paper": paper,
}


def test_every_registered_broker_is_under_these_tests():
    assert set(VENUES) == set(BROKERS)


def test_what_is_offered_and_is_no_broker_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A module that is not there, one that breaks, and a thing that lacks methods, each by its name."""
    (tmp_path / "broken_broker.py").write_text("1 / 0")
    (tmp_path / "half_broker.py").write_text("class Half:\n    name = 'half'\n    def __init__(self, place): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    kinds = {"gone": "no_such_module:f", "broken": "broken_broker:f", "half": "half_broker:Half"}
    points = [EntryPoint(name, value, "hybrid_bt.brokers") for name, value in kinds.items()]
    monkeypatch.setattr(brokers, "entry_points", lambda group: points)
    for name, why in (("gone", "no_such_module"), ("broken", "division by zero"), ("half", "lacks clock, bars")):
        with pytest.raises(ConfigError, match=f"'{name}'.*{why}"):
            brokers.open_broker(name, Place(tmp_path / "s", lambda: BARS, CASH, FREE))


def test_what_reaches_a_network_is_imported_when_it_is_named():
    code = "import sys, hybrid_bt.trade.trader, hybrid_bt.trade.brokers.paper; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"alpaca", "requests", "urllib3", "httpx", "yfinance"} & set(done.stdout.split()) == set()


@pytest.fixture(params=VENUES)
def venue(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Venue]:
    with VENUES[request.param](tmp_path, monkeypatch) as made:
        yield made


def buy(symbol: str = "KO", size: float = 100.0, name: str = "one", row: int = 1) -> Order:
    return Order(f"test-{name}", symbol, size, float(BARS.close[row, BARS.index_of(symbol)]))


def test_it_is_a_broker_with_a_name_that_ids_can_be_made_of(venue: Venue):
    broker = venue.connect()
    assert isinstance(broker, Broker)
    assert re.fullmatch(r"[a-z0-9-]{1,40}", broker.name)
    assert broker.name == venue.connect().name


def test_bars_are_closed_ones_and_one_more_after_each_session(venue: Venue):
    for row in (1, 2, 3):
        found = venue.connect().bars(["XOM", "KO"])
        wanted = BARS.select(["XOM", "KO"])
        assert found.symbols == ("XOM", "KO")
        assert found.stamps.tolist() == wanted.stamps[: row + 1].tolist()
        for field in ("open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field)[: row + 1])
        venue.advance()


def test_a_symbol_that_is_not_there_is_refused_by_its_name(venue: Venue):
    broker = venue.connect()
    with pytest.raises(HybridError, match="KOO"):
        broker.bars(["KO", "KOO"])
    assert set(broker.abilities(["KO", "PEP"])) == {"KO", "PEP"}


def test_the_clock_is_utc_closed_in_the_evening_and_before_the_next_open(venue: Venue):
    broker = venue.connect()
    before = broker.clock()
    assert before.now.utcoffset() == before.next_open.utcoffset() == timedelta()
    assert not before.is_open and before.now < before.next_open
    assert before.next_open.astimezone(UTC).date() == BARS.stamps[2].astype("M8[D]").item()
    venue.advance()
    after = broker.clock()
    assert before.next_open <= after.now < after.next_open


def test_an_order_is_filled_at_the_next_open_and_its_money_moves(venue: Venue):
    broker, order = venue.connect(), buy(size=100.0)
    sent = broker.submit(order)
    assert (sent.order, sent.status, len(sent.fills)) == (order, Status.OPEN, 0)
    assert broker.account()[:3] == (CASH, CASH, {})
    venue.advance()
    answer = broker.orders([order.id])[order.id]
    assert answer.status is Status.FILLED
    price, fees = float(BARS.open[2, 0]), [fill.fee for fill in answer.fills]
    assert sum(fill.size for fill in answer.fills) == 100.0
    assert all((fill.id, fill.symbol, fill.price) == (order.id, "KO", price) for fill in answer.fills)
    assert all(fill.moment.utcoffset() == timedelta() for fill in answer.fills)
    now = broker.account()
    paid = 0.0 if math.isnan(sum(fees)) else sum(fees)
    assert now.positions == {"KO": 100.0}
    assert now.cash == pytest.approx(CASH - 100.0 * price - paid, abs=1e-9)
    assert now.equity == pytest.approx(now.cash + 100.0 * BARS.close[2, 0], abs=1e-9)


def test_a_short_is_a_negative_position_and_closing_it_leaves_none(venue: Venue):
    broker = venue.connect()
    assert broker.abilities(["PEP"])["PEP"].shorts
    broker.submit(buy("PEP", -50.0, "short"))
    venue.advance()
    assert broker.account().positions == {"PEP": -50.0}
    assert [fill.size for fill in broker.orders(["test-short"])["test-short"].fills] == [-50.0]
    broker.submit(buy("PEP", 50.0, "cover", row=2))
    venue.advance()
    assert broker.account().positions == {}


def test_the_same_order_twice_is_one_order(venue: Venue):
    order = buy(size=700.0)
    for _ in range(2):
        broker = venue.connect()
        first = broker.submit(order)
        assert (broker.submit(order), len(broker.waiting())) == (first, 1)
    venue.advance()
    broker = venue.connect()
    late = broker.submit(order)  # of a process that died, and comes back behind the open
    assert late.status is Status.FILLED and sum(fill.size for fill in late.fills) == 700.0
    venue.advance()
    assert broker.account().positions == {"KO": 700.0} and not broker.waiting()


def test_what_waits_is_seen_oldest_first_and_another_process_sees_it(venue: Venue):
    broker = venue.connect()
    assert list(broker.waiting()) == []
    for symbol in ("XOM", "KO", "PEP"):
        broker.submit(buy(symbol, 10.0, symbol.lower()))
    broker = venue.connect()
    assert [answer.order.symbol for answer in broker.waiting()] == ["XOM", "KO", "PEP"]
    venue.advance()
    assert list(broker.waiting()) == []


def test_orders_that_it_does_not_know_are_left_out(venue: Venue):
    broker = venue.connect()
    broker.submit(buy())
    assert broker.orders([]) == {}
    assert set(broker.orders(["test-one", "test-none"])) == {"test-one"}


def test_a_cancelled_order_is_never_filled_and_never_sent_again(venue: Venue):
    broker, order = venue.connect(), buy()
    broker.submit(order)
    broker.cancel(order.id)
    assert broker.orders([order.id])[order.id].status is Status.CANCELLED
    assert broker.submit(order).status is Status.CANCELLED
    venue.advance()
    assert broker.account()[:3] == (CASH, CASH, {}) and not broker.waiting()


def test_cancelling_what_is_filled_or_unknown_does_nothing(venue: Venue):
    broker, order = venue.connect(), buy()
    broker.cancel("test-none")
    broker.submit(order)
    venue.advance()
    broker.cancel(order.id)
    assert broker.orders([order.id])[order.id].status is Status.FILLED


def test_an_order_that_the_account_cannot_carry_is_refused_in_words_and_moves_nothing(venue: Venue):
    broker, order = venue.connect(), buy("KO", 1e9, "large")
    try:
        answer = broker.submit(order)
        if answer.status is Status.OPEN:  # some find out at the open
            venue.advance()
            answer = broker.orders([order.id])[order.id]
        assert answer.status in (Status.REJECTED, Status.CANCELLED) and not answer.fills
        assert len(answer.reason) > 10
    except BrokerError as refusal:
        assert not refusal.again and len(str(refusal)) > 10
    assert broker.account()[:3] == (CASH, CASH, {})
