"""A trader at the stand-in, killed and lied to: the orders and the account are those of one that nothing happens to."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from alpaca_server import FAULTS, Server

from hybrid_bt import load_bars, load_config
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.trade.brokers import Abilities, BrokerError, alpaca_rest
from hybrid_bt.trade.brokers.alpaca import Alpaca
from hybrid_bt.trade.log import Log
from hybrid_bt.trade.orders import Standing, sized
from hybrid_bt.trade.trader import Plan, Trader

SYMBOLS = ("KO", "PEP", "CVX", "XOM", "AAPL", "MSFT")
BARS = load_bars("us20").select(SYMBOLS).between("2014-03-01", "2015-12-31")
FIRST, ROW = BARS.stamps[0].astype("M8[D]").item(), int((BARS.stamps < np.datetime64("2015-06-01")).sum())
PLAN = Plan("stable", load_config(), SYMBOLS, ("KO:PEP", "CVX:XOM"), allow_in_sample=True)
EVENINGS = 12


class Account(NamedTuple):
    """What a server has in the end."""

    orders: list[tuple[object, ...]]
    cash: float
    positions: dict[str, float]


@contextmanager
def venue(patch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(BARS, row=ROW, cash=1e6) as server:
        server.patience_seconds = 0.5
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


def evening(state: Path) -> None:
    """One process, started again until it is through."""
    while True:
        try:
            broker = Alpaca(start=FIRST)
            trader = Trader(broker, PLAN, state, Log(None, pauses=(0.0, 0.0)))
            try:
                trader.step()
                return
            finally:
                trader.close()
        except BrokerError as error:
            assert error.again, error


def traded(server: Server, state: Path, before: Callable[[], None] = lambda: None) -> Account:
    for _ in range(EVENINGS):
        before()
        evening(state)
        server.draw = lambda: ""
        server.advance()
    fields = ("client_order_id", "symbol", "qty", "side", "time_in_force", "status", "filled_avg_price")
    orders = [tuple(order[field] for field in fields) for order in server.all_orders()]
    assert len({order[0] for order in orders}) == len(orders) > EVENINGS
    return Account(orders, server.cash, server.positions)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Account:
    with pytest.MonkeyPatch.context() as patch, venue(patch) as server:
        return traded(server, tmp_path_factory.mktemp("unbroken") / "state")


@pytest.mark.parametrize("kills", [24, pytest.param(204, marks=pytest.mark.slow)])
def test_killed_at_random_moments(wanted: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int):
    processes, chance, done, longest = multiprocessing.get_context("forkserver"), random.Random(kills), [0], [0.8]
    processes.set_forkserver_preload(["test_alpaca_trader"])
    state = tmp_path / "state"

    def kill() -> None:
        for _ in range(kills // EVENINGS):
            process = processes.Process(target=evening, args=(state,))
            began = time.perf_counter()
            process.start()
            process.join(chance.uniform(0.05, longest[0]))
            done[0] += process.exitcode is None
            if process.exitcode is not None:  # so long does an evening take here
                longest[0] = max(time.perf_counter() - began, 0.1)
            process.kill()
            process.join()

    with venue(monkeypatch) as server:
        assert traded(server, state, kill) == wanted
    assert done[0] > kills / 2


@pytest.mark.parametrize("faults", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_through_faults(wanted: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: int):
    monkeypatch.setattr(alpaca_rest, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(alpaca_rest, "RETRY_SECONDS", 0)
    chance, drawn = random.Random(faults), [0]

    with venue(monkeypatch) as server:

        def lie() -> None:
            left = [2 * faults // EVENINGS]

            def draw() -> str:
                if not left[0] or chance.random() > 0.4:
                    return ""
                left[0] -= 1
                drawn[0] += 1
                return chance.choice(FAULTS)

            server.draw = draw

        assert traded(server, tmp_path / "state", lie) == wanted
    assert drawn[0] >= faults


def test_a_target_on_the_other_side_is_reached_in_two_bars_where_no_order_goes_through_zero():
    def ordered(held: float, target: float, lot: float, can: Abilities) -> list[float]:
        standing = Standing(cash=10_000.0 - 100.0 * held, equity=10_000.0, sizes=[held], ruined=False)
        terms = OrderRules(lot=lot, cash_buffer=0.0), Costs()
        found = sized("test", 0.0, ["KO"], [100.0], ([target], []), standing, terms, {"KO": can})
        return [order.size for order in found.orders]

    any_way, alpaca = Abilities(True, True), Abilities(True, True, crosses=False, fractional_shorts=False)
    for side in (1.0, -1.0):
        assert ordered(side * 30.0, -0.5 * side, 1.0, any_way) == [-80.0 * side]
        assert ordered(side * 30.0, -0.5 * side, 1.0, alpaca) == [-30.0 * side]
        assert ordered(0.0, -0.5 * side, 1.0, alpaca) == [-50.0 * side]
        assert ordered(side * 30.0, 0.5 * side, 1.0, alpaca) == [20.0 * side]
    assert ordered(10.5, -0.5, 0.0, alpaca) == [-10.5]
    assert ordered(0.0, -0.503, 0.0, any_way) == pytest.approx([-50.3], abs=1e-5)
    assert ordered(0.0, -0.503, 0.0, alpaca) == [-50.0]
    assert ordered(-50.0, -0.503, 0.0, alpaca) == []
    assert ordered(-50.0, -0.107, 0.0, alpaca) == [40.0]
    assert ordered(0.0, 0.503, 0.0, alpaca) == pytest.approx([50.3], abs=1e-5)
