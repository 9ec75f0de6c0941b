"""What happens to an account besides trading: each thing has a rule, and a line in the log."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trade_cases import PAIRS, SYMBOLS, Desk, Odd, scaled, small

from hybrid_bt import load_bars, load_config
from hybrid_bt.bars.market import Market
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import ConfigError, StateError
from hybrid_bt.trade.brokers import Abilities, Answer, BrokerError, Fill, Holdings, Order, Place, Status, open_broker
from hybrid_bt.trade.orders import Standing, check_abilities, order_id, sized
from hybrid_bt.trade.rows import seen
from hybrid_bt.trade.status import read_standing
from hybrid_bt.trade.trader import Step

DAYS = ("2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An account that has traded one evening."""
    one = Desk(tmp_path, small("2020-01-31"))
    assert one.step(DAYS[0]) is not None and one.events() == []
    return one


def lines(desk: Desk) -> list[dict[str, object]]:
    return [json.loads(line) for line in (desk.home / "s.log").read_text().splitlines()]


def events(desk: Desk) -> list[object]:
    return [line["event"] for line in lines(desk)]


def size_of(desk: Desk, until: str) -> dict[str, float]:
    with desk.opened(until) as trader:
        return dict(trader.broker.account().positions)


def behind_orders(step: Step, symbol: str) -> float:
    """Shares that are held once the orders are filled."""
    ordered = {one.symbol: one.size for one in step.sized.orders}
    return step.holdings.positions.get(symbol, 0.0) + ordered[symbol]


def wanted_shares(step: Step, symbol: str) -> int:
    """By the target, in whole shares."""
    i = SYMBOLS.index(symbol)
    return math.trunc(step.targets[i] * step.holdings.equity / step.closes[i])


def prepared(desk: Desk, **methods: Callable[..., object]) -> None:
    """From now on the broker has these methods, each told the paper broker first."""

    def put(odd: Odd) -> None:
        for name, method in methods.items():
            setattr(odd, name, lambda *given, method=method: method(odd.paper, *given))

    desk.prepared = put


def test_an_evening_without_a_new_bar_does_nothing(desk: Desk) -> None:
    """A holiday, or the same evening again."""
    before = (desk.home / "s").read_bytes()
    assert desk.step(DAYS[0]) is None
    assert (desk.home / "s").read_bytes() == before and desk.events() == []


def test_missed_bars_are_decided_on_and_not_traded(desk: Desk) -> None:
    step = desk.step(DAYS[2])
    assert step is not None and desk.events() == ["missed"]
    with desk.opened(DAYS[2]) as trader:
        assert [row.sent is None for row in trader.state.rows] == [False, True, False]
    unbroken = Desk(desk.home / "other", desk.market)
    unbroken.home.mkdir()
    for day in DAYS[:3]:
        last = unbroken.step(day)
    assert last is not None and last.decision.fused == step.decision.fused  # the same memory of all bars


def test_a_symbol_without_a_bar_waits(tmp_path: Path) -> None:
    """A halt: no order for it, and one under way fills when it trades again."""
    market = small("2020-01-31")
    row = int(np.searchsorted(market.bars.stamps, np.datetime64(DAYS[1])))
    prices = {name: getattr(market.bars, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for column in prices.values():
        column[row, 1] = np.nan
    from hybrid_bt import Bars

    halted = Bars("small", market.bars.symbols, market.bars.stamps, **prices)
    desk = Desk(tmp_path, market)
    first = desk.step(DAYS[0], halted)
    assert first is not None and "PEP" in [order.symbol for order in first.sized.orders]
    step = desk.step(DAYS[1], halted)
    assert step is not None and "PEP" not in [order.symbol for order in step.sized.orders]
    assert "PEP" not in step.holdings.positions
    last = desk.step(DAYS[2], halted)
    assert last is not None and "PEP" in last.holdings.positions and desk.events() == []


def test_what_was_meant_and_not_sent_is_sent_once(desk: Desk) -> None:
    """The process died after the intent was on the disk, at each of its orders."""
    meant = desk.step(DAYS[1])
    assert meant is not None and len(meant.sized.orders) > 1
    for dies_at in range(len(meant.sized.orders)):
        one = Desk(desk.home / str(dies_at), desk.market)
        one.home.mkdir()
        one.step(DAYS[0])
        sent: list[str] = []

        def submit(paper: object, order: Order, sent: list[str] = sent, n: int = dies_at) -> Answer:
            if len(sent) == n:
                raise KeyboardInterrupt
            sent.append(order.id)
            return paper.submit(order)  # type: ignore[attr-defined, no-any-return]

        prepared(one, submit=submit)
        with pytest.raises(KeyboardInterrupt):
            one.step(DAYS[1])
        one.prepared = lambda odd: None
        assert one.step(DAYS[1]) is None and one.events() == []
        assert "goes on sending" in events(one)
        with one.opened(DAYS[1]) as trader:
            waiting = [answer.order for answer in trader.broker.waiting()]
        assert waiting == list(meant.sized.orders)  # all of them, in their order


def test_what_was_never_sent_lapses_with_its_open(desk: Desk) -> None:
    def submit(paper: object, order: Order) -> Answer:
        raise KeyboardInterrupt

    prepared(desk, submit=submit)
    with pytest.raises(KeyboardInterrupt):
        desk.step(DAYS[1])
    desk.prepared = lambda odd: None
    place = Place(desk.home / "s", lambda: desk.market.bars.between(None, DAYS[1]), *desk.terms)
    with closing(open_broker("paper", place)) as paper:
        held = paper.account().positions
    step = desk.step(DAYS[2])
    assert step is not None and desk.events() == ["lapsed"]
    assert dict(step.holdings.positions) == held  # nothing of them was sent
    with desk.opened(DAYS[2]) as trader:
        answers = seen(trader.state.rows[-1])["answers"]
        assert {answer[0] for answer in answers.values()} == {"lapsed"} and trader.state.pending


def test_an_answer_that_got_lost_is_no_second_order(desk: Desk) -> None:
    """The broker took the order, and the line broke, twice; then it answered."""
    calls: list[str] = []

    def submit(paper: object, order: Order) -> Answer:
        answer: Answer = paper.submit(order)  # type: ignore[attr-defined]
        calls.append(order.id)
        if calls.count(order.id) < 3:
            raise BrokerError("broker: 500", again=True)
        return answer

    prepared(desk, submit=submit)
    step = desk.step(DAYS[1])
    assert step is not None and len(calls) == 3 * len(step.sized.orders) and desk.events() == []
    assert events(desk).count("broker asked again") == 2 * len(step.sized.orders)
    with desk.opened(DAYS[1]) as trader:
        assert [answer.order.id for answer in trader.broker.waiting()] == [order.id for order in step.sized.orders]


def test_a_broker_that_stays_away_ends_the_step_and_the_next_one_goes_on(desk: Desk) -> None:
    def submit(paper: object, order: Order) -> Answer:
        raise BrokerError("broker: no answer", again=True)

    prepared(desk, submit=submit)
    with pytest.raises(BrokerError):
        desk.step(DAYS[1])
    desk.prepared = lambda odd: None
    assert desk.step(DAYS[1]) is None and "goes on sending" in events(desk)


def test_a_refused_order_is_an_alarm_and_keeps_no_other_waiting(desk: Desk) -> None:
    def submit(paper: object, order: Order) -> Answer:
        if order.symbol == "CVX":
            raise BrokerError("broker: 403 not allowed")
        return paper.submit(order)  # type: ignore[attr-defined, no-any-return]

    prepared(desk, submit=submit)
    step = desk.step(DAYS[1])
    assert step is not None and desk.events() == ["rejected"]
    others = [order.symbol for order in step.sized.orders if order.symbol != "CVX"]
    with desk.opened(DAYS[1]) as trader:
        assert [answer.order.symbol for answer in trader.broker.waiting()] == others != []


def _half(desk: Desk) -> None:
    """From now on PEP's fills are told, and held, by half."""

    def orders(paper: object, ids: object) -> dict[str, Answer]:
        found = dict(paper.orders(ids))  # type: ignore[attr-defined]
        for id, answer in found.items():
            if answer.order.symbol == "PEP" and answer.fills:
                fills = [one._replace(size=one.size / 2.0) for one in answer.fills]
                found[id] = answer._replace(status=Status.CANCELLED, fills=fills, reason="expired")
        return found

    def account(paper: object) -> object:
        found = paper.account()  # type: ignore[attr-defined]
        return found._replace(positions={**found.positions, "PEP": found.positions["PEP"] / 2.0})

    prepared(desk, orders=orders, account=account)


def test_a_partial_fill_is_an_alarm_and_what_is_missing_is_ordered_again(desk: Desk) -> None:
    whole = desk.step(DAYS[1])
    other = Desk(desk.home / "half", desk.market)
    other.home.mkdir()
    other.step(DAYS[0])
    _half(other)
    step = other.step(DAYS[1])
    assert whole is not None and step is not None and other.events() == ["position"]
    (line,) = [one for one in other.log.alarms if one["event"] == "position"]
    assert line["symbol"] == "PEP" and line["found"] == whole.holdings.positions["PEP"] / 2 == line["assumed"] / 2
    assert behind_orders(step, "PEP") == wanted_shares(step, "PEP")


def test_an_order_still_open_counts_as_under_way(desk: Desk) -> None:
    """Otherwise what it still brings would be ordered twice."""
    whole = desk.step(DAYS[1])
    other = Desk(desk.home / "open", desk.market)
    other.home.mkdir()
    other.step(DAYS[0])
    _half(other)
    halves = other.prepared

    def put(odd: Odd) -> None:
        halves(odd)
        told = odd.orders
        odd.orders = lambda ids: {id: one._replace(status=Status.OPEN) for id, one in told(ids).items()}

    other.prepared = put
    step = other.step(DAYS[1])
    assert whole is not None and step is not None
    ordered = [{one.symbol: one.size for one in done.sized.orders}.get("PEP") for done in (whole, step)]
    assert ordered[0] == ordered[1]


def test_a_position_changed_by_hand_is_told_once_and_sized_from(desk: Desk) -> None:
    def account(paper: object) -> object:
        found = paper.account()  # type: ignore[attr-defined]
        return found._replace(positions={**found.positions, "KO": found.positions.get("KO", 0.0) + 100.0})

    other = Desk(desk.home / "hand", desk.market)
    other.home.mkdir()
    other.step(DAYS[0])
    prepared(other, account=account)
    step = other.step(DAYS[1])
    assert step is not None and other.events() == ["by hand"]
    assert behind_orders(step, "KO") == wanted_shares(step, "KO")
    assert other.step(DAYS[2]) is not None and other.events() == []


@pytest.mark.parametrize("factor", [0.5, 0.1, 2.0])
def test_a_split_over_night_changes_shares_and_nothing_else(desk: Desk, factor: float) -> None:
    plain = Desk(desk.home / "plain", desk.market)
    plain.home.mkdir()
    for day in DAYS[:2]:
        plain.step(day)
    desk.step(DAYS[1])
    bars = scaled(desk.market.bars, "KO", factor)  # as a source gives them once the split is known
    before, step = plain.step(DAYS[2]), desk.step(DAYS[2], bars)
    assert before is not None and step is not None and desk.events() == []
    assert step.holdings.positions["KO"] == pytest.approx(before.holdings.positions["KO"] / factor)
    assert step.holdings.equity == pytest.approx(before.holdings.equity, rel=1e-9)
    told = lines(desk)
    assert [one["scales"] for one in told if one["event"] == "prices rescaled"] == [{"KO": pytest.approx(factor)}]
    assert "split" in [one["event"] for one in told]
    after = desk.step(DAYS[3], bars)  # and once more, in a process that knows only the rows
    assert after is not None and desk.events() == []
    with desk.opened(DAYS[3], bars=bars) as trader:
        assert [seen(row)["scales"].get("KO") for row in trader.state.rows][2] == pytest.approx(factor)


@pytest.mark.parametrize("evenings", [1, 2, 3])
def test_a_dividend_in_adjusted_and_rounded_prices(tmp_path: Path, evenings: int) -> None:
    """On the first evenings too, and in every process after it; another one later."""
    market = small("2020-01-31")
    desk, plain = Desk(tmp_path, market), Desk(tmp_path / "plain", market)
    plain.home.mkdir()
    days = [str(stamp)[:10] for stamp in market.bars.stamps[market.bars.stamps >= np.datetime64(DAYS[0])]]
    for day in days[:evenings]:
        desk.step(day)
        plain.step(day)
    bars = market.bars
    for at, factor in ((evenings, 0.9931), (evenings + 3, 0.9875)):
        row = int(np.searchsorted(bars.stamps, np.datetime64(days[at])))
        bars = scaled(bars, "KO", factor, before=row)
        prices = {name: np.round(getattr(bars, name), 3) for name in ("open", "high", "low", "close")}
        bars = type(bars)(bars.name, bars.symbols, bars.stamps, volume=bars.volume, **prices)
        for day in days[at : at + 3]:
            assert desk.step(day, bars) is not None and desk.events() == []
    told = [line["scales"] for line in lines(desk) if line["event"] == "prices rescaled"]
    assert told == [{"KO": pytest.approx(factor, rel=1e-4)} for factor in (0.9931, 0.9875)]


def test_prices_adjusted_for_a_dividend_move_no_share_of_a_broker_that_pays_it(desk: Desk) -> None:
    """Its shares stay, and the account is sized from what it has."""
    desk.step(DAYS[1])
    held = size_of(desk, DAYS[1])
    bars = scaled(desk.market.bars, "KO", 0.993, before=-15)

    def account(paper: object) -> object:
        found = paper.account()  # type: ignore[attr-defined]
        return found._replace(positions=held)

    prepared(desk, account=account)
    with desk.opened(DAYS[1], bars=bars) as trader:
        assert trader.step() is None
    assert "prices rescaled" in events(desk)


@pytest.mark.parametrize("evenings", [1, 2])
@pytest.mark.parametrize("rescaled", [False, True])
def test_a_close_that_is_corrected_is_no_split(tmp_path: Path, evenings: int, rescaled: bool) -> None:
    """Where one price is all that is known of a symbol since it was rescaled, the bars before it tell."""
    market = small("2020-01-31")
    desk, bars = Desk(tmp_path, market), market.bars
    for day in DAYS[:evenings]:
        desk.step(day)
    if rescaled:
        bars = scaled(bars, "KO", 0.5)
        desk.step(DAYS[evenings], bars)
    last, kept = DAYS[evenings - 1 + rescaled], (tmp_path / "s").read_bytes()
    row = int(np.searchsorted(bars.stamps, np.datetime64(last)))
    corrected = scaled(scaled(bars, "KO", 1.02, before=row + 1), "KO", 1.0 / 1.02, before=row)
    with pytest.raises(StateError, match="revised"):
        desk.step(last, corrected)
    assert (tmp_path / "s").read_bytes() == kept
    assert desk.step(DAYS[evenings + rescaled], bars) is not None and desk.events() == []  # with the earlier data


def test_revised_data_is_refused(desk: Desk) -> None:
    desk.step(DAYS[1])
    bars = desk.market.bars
    row = int(np.searchsorted(bars.stamps, np.datetime64(DAYS[1])))
    prices = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
    for column in prices.values():
        column[row, 0] *= 1.03
    revised = type(bars)(bars.name, bars.symbols, bars.stamps, volume=bars.volume, **prices)
    with pytest.raises(StateError, match=r"KO .*revised"):
        desk.step(DAYS[2], revised)
    plain = Desk(desk.home / "plain", desk.market)
    plain.home.mkdir()
    for day in DAYS[:2]:
        plain.step(day)
    assert size_of(desk, DAYS[2]) == size_of(plain, DAYS[2])  # a correction moves no share
    assert desk.step(DAYS[2]) is not None and desk.events() == []  # and with the earlier data all goes on


def test_two_processes_at_once(desk: Desk) -> None:
    with desk.opened(DAYS[0]):
        code = "import sys; from pathlib import Path; from hybrid_bt.trade.log import Log; Log(Path(sys.argv[1]))"
        other = [sys.executable, "-c", code, str(desk.home / "s.log")]
        done = subprocess.run(other, capture_output=True, text=True, check=False)
        kept = (desk.home / "s").read_bytes()
        with (desk.home / "s").open("ab") as file:
            file.write(b"12345678 [7372")  # of a row that is being written
        assert len(read_standing(desk.home / "s").rows) == 1  # who only looks is never in the way
        assert (desk.home / "s").read_bytes() == kept + b"12345678 [7372"
    assert done.returncode == 1 and "another process trades" in done.stderr


def test_no_order_while_the_market_is_open(desk: Desk) -> None:
    def clock(paper: object) -> object:
        found = paper.clock()  # type: ignore[attr-defined]
        return found._replace(is_open=True, next_open=found.now + timedelta(hours=18))

    prepared(desk, clock=clock)
    with pytest.raises(BrokerError, match="open"):
        desk.step(DAYS[1])
    desk.prepared = lambda odd: None
    assert desk.step(DAYS[1]) is not None and desk.events() == []


def test_the_kill_switch_stands_last(tmp_path: Path) -> None:
    kill = tmp_path / "kill"
    desk = Desk(tmp_path, small("2020-01-31"), overrides={"guard": {"kill_file": str(kill)}})
    desk.step(DAYS[0])
    desk.step(DAYS[1])
    kill.touch()
    step = desk.step(DAYS[2])
    assert step is not None
    orders = {order.symbol: order.size for order in step.sized.orders}
    assert orders == {symbol: -size for symbol, size in step.holdings.positions.items()} != {}


def test_guard_sees_the_account_of_the_broker(tmp_path: Path) -> None:
    """A day's loss that the broker has, and no price tells."""
    desk = Desk(tmp_path, small("2020-01-31"), overrides={"guard": {"daily_loss_limit": 0.05}})
    desk.step(DAYS[0])
    desk.step(DAYS[1])

    def account(paper: object) -> object:
        found = paper.account()  # type: ignore[attr-defined]
        return found._replace(equity=found.equity * 0.9, cash=found.cash - 0.1 * found.equity)

    prepared(desk, account=account)
    step = desk.step(DAYS[2])
    assert step is not None and "equity" in desk.events()
    assert set(step.targets) == {0.0}


def test_a_fill_far_from_the_open_is_an_alarm(desk: Desk) -> None:
    def orders(paper: object, ids: object) -> dict[str, Answer]:
        found = dict(paper.orders(ids))  # type: ignore[attr-defined]
        for id, answer in found.items():
            fills: list[Fill] = [one._replace(price=one.price * 1.01) for one in answer.fills]
            found[id] = answer._replace(fills=fills)
        return found

    prepared(desk, orders=orders)
    step = desk.step(DAYS[1])
    assert step is not None and set(desk.events()) == {"fill"}
    for line in desk.log.alarms:
        bought = step.holdings.positions[line["symbol"]] > 0.0
        assert line["bps"] == pytest.approx(100.0 if bought else -100.0)


def test_another_account_or_plan_is_refused(desk: Desk) -> None:
    other = Desk(desk.home, desk.market, overrides={"risk": {"volatility_target": 0.07}})
    with pytest.raises(StateError, match="volatility_target"):
        other.step(DAYS[1])
    prepared(desk, **{})
    desk.prepared = lambda odd: setattr(odd, "name", "somebody else's")
    with pytest.raises(StateError, match="broker"):
        desk.step(DAYS[1])


def test_order_ids_are_of_account_bar_symbol_and_target() -> None:
    given = ("paper", 737000.0, "KO", 0.1)
    others = [
        ("alpaca", *given[1:]),
        ("paper", 737001.0, "KO", 0.1),
        ("paper", 737000.0, "PEP", 0.1),
        (*given[:3], 0.2),
    ]
    ids = {order_id(*one) for one in (given, *others)}  # type: ignore[arg-type]
    assert len(ids) == 5 and order_id(*given) in ids
    assert all(len(one) <= 48 and set(one) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for one in ids)


def test_what_a_broker_cannot_do_is_said_before_the_first_order() -> None:
    whole = {"KO": Abilities(fractions=False, shorts=True, leverage=2.0)}
    check_abilities(whole, OrderRules(lot=1.0), 2.0)
    for lot in (0.0, 0.5, 1.5):
        with pytest.raises(ConfigError, match="--lot 1"):
            check_abilities(whole, OrderRules(lot=lot), 1.0)
    with pytest.raises(ConfigError, match=r"at most 2 x its equity, account\.leverage is 2\.5"):
        check_abilities(whole, OrderRules(lot=1.0), 2.5)


def test_leverage_is_that_of_the_backtest_at_a_broker_that_tells_cash_alone(tmp_path: Path) -> None:
    """Cash with longs paid for in full, below zero where they are borrowed, gives the orders of the paper account."""
    leveraged = {"risk": {"volatility_target": 0.6}}
    desks = [Desk(tmp_path / name, small("2020-02-14"), "aggressive", leveraged) for name in ("paper", "foreign")]
    for desk in desks:
        desk.home.mkdir()

    def account(paper: object) -> Holdings:
        cash, equity, positions, _ = paper.account()  # type: ignore[attr-defined]
        return Holdings(cash, equity, positions)

    prepared(desks[1], account=account)
    least = 0.0
    for stamp in desks[0].market.bars.stamps[desks[0].market.bars.stamps >= np.datetime64(DAYS[0])]:
        paper, foreign = (desk.step(str(stamp)[:10]) for desk in desks)
        assert paper is not None and foreign is not None
        assert [one[1:] for one in foreign.sized.orders] == [one[1:] for one in paper.sized.orders]
        assert desks[1].events() == []
        least = min(least, foreign.holdings.cash / foreign.holdings.equity)
    assert least < -0.1
    standings = [read_standing(desk.home / "s") for desk in desks]
    assert standings[0].twin.path.equity.tolist() == standings[1].twin.path.equity.tolist()


def test_a_jump_on_the_bar_that_is_traded_is_an_alarm_once(tmp_path: Path) -> None:
    """An unadjusted split, or a bad print, is told before it is old."""
    bars = small("2020-01-31").bars
    row = int(np.searchsorted(bars.stamps, np.datetime64(DAYS[2])))
    raw = scaled(scaled(bars, "KO", 0.5), "KO", 2.0, before=row)  # two for one, on that day
    names = ("open", "high", "low", "close", "volume")
    files = {
        symbol: pd.DataFrame({name: getattr(raw, name)[:, i] for name in names}, index=pd.DatetimeIndex(raw.stamps))
        for i, symbol in enumerate(SYMBOLS)
    }
    desk = Desk(tmp_path, Market("small", bars, PAIRS))
    for day in DAYS:
        now = load_bars({symbol: frame[:day] for symbol, frame in files.items()}, on_bad_data="warn")
        assert desk.step(day, now) is not None
        prices = [one for one in desk.log.alarms if one["event"] == "price"]
        assert [one["symbol"] for one in prices] == ["KO"] * (day == DAYS[2])


def test_a_paper_account_that_is_gone_is_not_begun_anew(desk: Desk) -> None:
    (desk.home / "s.paper").rename(desk.home / "away")
    with pytest.raises(StateError, match="is gone"):
        desk.step(DAYS[1])
    assert not (desk.home / "s.paper").exists()
    (desk.home / "away").rename(desk.home / "s.paper")
    assert desk.step(DAYS[1]) is not None and desk.events() == []


def test_a_paper_account_says_what_it_was_begun_with(desk: Desk) -> None:
    for overrides, why in (
        ({"costs": {"fee_bps": 3.0}}, "fee_bps 2.0, now it is 3.0"),
        ({"account": {"cash": 5000.0}}, "cash 1000000.0, now it is 5000.0"),
    ):
        with pytest.raises(StateError, match=f"s.paper was begun with {why}"):
            Desk(desk.home, desk.market, overrides=overrides).step(DAYS[1])
    with pytest.raises(StateError, match="no bar on 2020-01-02, the last one of"):
        desk.step("2019-12-31")


def test_where_shorts_are_not_allowed_the_whole_decision_waits() -> None:
    config = load_config("stable")
    can = {name: Abilities(fractions=True, shorts=name != "B") for name in "ABC"}
    standing = Standing(1000.0, 1000.0, (0.0, 0.0, 0.0), False)
    decided = [0.2, -0.2, 0.1], [0, 0, 1]
    found = sized("x", 1.0, tuple("ABC"), [10.0] * 3, decided, standing, (config.order_rules, config.costs), can)
    assert [order.symbol for order in found.orders] == ["C"] and found.held_back == ("A", "B")
    closing = Standing(1000.0, 1000.0, (0.0, 5.0, 0.0), False)
    decided = [0.0, 0.0, 0.0], [0, 1, 2]
    found = sized("x", 1.0, tuple("ABC"), [10.0] * 3, decided, closing, (config.order_rules, config.costs), can)
    assert [(order.symbol, order.size) for order in found.orders] == [("B", -5.0)]


def test_other_holdings_of_the_account_are_named(desk: Desk) -> None:
    def account(paper: object) -> object:
        found = paper.account()  # type: ignore[attr-defined]
        return found._replace(positions={**found.positions, "TSLA": 7.0}, equity=found.equity + 7000.0)

    prepared(desk, account=account)
    assert desk.step(DAYS[1]) is not None and desk.events() == ["equity"]
    assert "holds TSLA as well" in desk.log.alarms[0]["why"]
