"""Bars that are none, feeds on two clocks, Cerebro's old clock: a strategy sees what it would see without."""

from __future__ import annotations

import warnings
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import random_bars
from hypothesis import given, settings
from hypothesis import strategies as st
from live_rehearsal import RehearsalFeed, RehearsalStore

from hybrid_bt.analyzers import Ledger
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import FinRLStrategy, HybridStrategy, KalmanHedge, TargetOrders
from hybrid_bt.strategies.admission import admit
from hybrid_bt.strategies.rows import traded_feeds

BARS = random_bars(320, 3)
MODES: tuple[dict[str, Any], ...] = ({}, {"runonce": False}, {"preload": False}, {"exactbars": 1}, {"exactbars": -1})
DAY_END = pd.Timedelta("23:59:59.999989")


def agent(state: Any) -> Any:
    return np.sin(np.arange(1, 4) * state[1])


STRATEGIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "hybrid": (HybridStrategy, {"pairs": ["AA:BB"], "record": True}),
    "own feeds": (HybridStrategy, {"pairs": [("AA", "BB")], "record": True, "own_feeds": True}),
    "finrl": (FinRLStrategy, {"agent": agent, "indicators": ("open",), "hmax": 300}),
}


def frame(column: int) -> pd.DataFrame:
    columns = {name: getattr(BARS, name)[:, column] for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(BARS.stamps))


def frames(changed: int = 0, change: Any = lambda one: one) -> dict[str, pd.DataFrame]:
    return {name: change(frame(i)) if i == changed else frame(i) for i, name in enumerate(BARS.symbols)}


def shown(
    of: dict[str, pd.DataFrame], kind: Any, params: Any, modes: Any = MappingProxyType({}), twice: bool = False
) -> Any:
    """All that a run shows: rows, decisions, account, and what was warned of."""
    cerebro = bt.Cerebro(stdstats=False, **modes)
    for name, one in of.items():
        cerebro.adddata(one if isinstance(one, bt.feed.DataBase) else bt.feeds.PandasData(dataname=one), name=name)
    cerebro.broker.setcash(1e6)
    cerebro.addstrategy(kind, **params)
    cerebro.addanalyzer(Ledger, _name="ledger")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        (strategy,) = cerebro.run()
        if twice:
            (strategy,) = cerebro.run()
    ledger = strategy.analyzers.ledger
    path = ledger.path()
    decisions = strategy.recorder.decisions().target.tolist() if kind is HybridStrategy else strategy.state.tolist()
    dates = ledger.stamps.astype("M8[D]").tolist()
    said = [str(one.message) for one in told if "passed over" in str(one.message)]
    return (len(strategy), dates, repr(decisions), path.equity.tolist(), path.fills), strategy, said, ledger.stamps


def resent(one: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([one.iloc[:290], one.iloc[285:]])


def last_doubled(one: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([one, one.iloc[-1:]])


def day_doubled(one: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([one.iloc[:100], one.iloc[99:]])


def last_at_another_time(one: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([one, one.iloc[-1:].set_index(one.index[-1:] + pd.Timedelta("16:00:01"))])


def late_ones(one: pd.DataFrame) -> pd.DataFrame:
    """Fifty bars that stand behind later ones, which have them already."""
    rng = np.random.default_rng(1)
    order = [*range(10)]
    for row in range(10, len(one)):
        order += [row, int(rng.integers(0, row))] if row % 6 == 0 and len(order) < 10_000 else [row]
    return one.iloc[order]


CHANGES = ((resent, 5), (last_doubled, 1), (day_doubled, 1), (last_at_another_time, 1), (late_ones, 52))


@cache
def clean_run(name: str, modes: tuple[tuple[str, Any], ...]) -> Any:
    return shown(frames(), *STRATEGIES[name], dict(modes))


@pytest.mark.parametrize(
    ("name", "modes", "change", "count"),
    [
        (name, modes, *change)
        for i, name in enumerate(STRATEGIES)
        for j, modes in enumerate(MODES)
        for k, change in enumerate(CHANGES)
        if k == 0 or (i + j + k) % 3 == 0
    ],
)
def test_a_bar_not_later_than_the_last_is_passed_over_and_counted(
    name: str, modes: dict[str, Any], change: Any, count: int
) -> None:
    kind, params = STRATEGIES[name]
    clean, _, nothing, _ = clean_run(name, tuple(modes.items()))
    found, strategy, said, _ = shown(frames(1, change), kind, params, modes)
    assert found == clean and clean[4] and not nothing
    assert dict(strategy.passed_over) == {"BB": count}
    assert len(said) == 1 and said[0].startswith(kind.__name__) and ", the first 20" in said[0]
    if modes in ({}, {"runonce": False}, {"exactbars": -1}):
        assert f"in passed_over: BB {count}, the" in said[0]


@pytest.mark.parametrize("modes", [{}, {"preload": False}], ids=str)
def test_a_cerebro_that_runs_twice_passes_over_the_same_bars(modes: dict[str, Any]) -> None:
    kind, params = STRATEGIES["hybrid"]
    found, strategy, said, _ = shown(frames(1, resent), kind, params, modes, twice=True)
    assert found == shown(frames(), kind, params, modes)[0] and dict(strategy.passed_over) == {"BB": 5}
    assert len(said) == 2


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("modes", MODES, ids=str)
def test_a_feed_newest_first_is_refused_in_words(name: str, modes: dict[str, Any]) -> None:
    kind, params = STRATEGIES[name]
    with pytest.raises(BarsError, match=r"the bars of AA come newest first, .* before .*: sort them by date"):
        shown(frames(0, lambda one: last_doubled(one).iloc[::-1]), kind, params, modes)


class Sees(bt.Strategy):
    """What a feed shows to a strategy that reads by `admit`."""

    def __init__(self) -> None:
        self.passed_over = admit(self, *traded_feeds(self.datas, None))
        self.seen: list[Any] = []

    def next(self) -> None:
        now = [feed for feed in self.datas if len(feed)]
        self.seen.append({feed._name: (len(feed), feed.datetime[0], feed.close[0]) for feed in now})

    prenext = next


def flat(index: Any) -> pd.DataFrame:
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 5.0), index=index)


def seen(of: dict[str, Any], modes: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False, **modes)
    for name, one in of.items():
        cerebro.adddata(one if isinstance(one, bt.feed.DataBase) else bt.feeds.PandasData(dataname=one), name=name)
    cerebro.addstrategy(Sees)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (strategy,) = cerebro.run()
    return strategy.seen, strategy.passed_over


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_late_bars_anywhere_change_nothing_in_any_mode(data: Any) -> None:
    """Stale bars of any prices, rows without a close, at any place of any feed, daily or of minutes."""
    n = data.draw(st.integers(3, 12))
    step = data.draw(st.sampled_from(["1D", "5min", "12h"]))
    stamps = pd.date_range("2020-01-06", periods=n, freq=step)
    clean, dirty, late = {}, {}, 0
    for name in ("A", "B"):
        prices = pd.DataFrame({k: np.arange(1.0, n + 1) for k in ("open", "high", "low", "close")}, index=stamps)
        pieces = [prices.iloc[:3]]
        for row in range(3, n + 1):
            again = data.draw(st.lists(st.integers(0, row - 1), max_size=2))
            pieces.append(prices.iloc[again] * 7.0)
            late += len(again)
            if data.draw(st.booleans()):
                pieces.append(prices.iloc[row - 1 : row] * np.nan)
            pieces.append(prices.iloc[row : row + 1])
        clean[name], dirty[name] = prices, pd.concat(pieces)
    modes = data.draw(st.sampled_from(MODES))
    wanted, nothing = seen(clean, modes)
    found, passed_over = seen(dirty, modes)
    assert found == wanted and not nothing and passed_over.total() == late


class Resending(RehearsalFeed):
    """A live feed that sends its last five bars again after row 300."""

    def start(self) -> None:
        super().start()
        if self.p.column == 0:
            self._rows = [*self._rows[:301], *self._rows[296:]]


@pytest.mark.parametrize("name", STRATEGIES)
def test_bars_that_a_live_store_sends_again_change_nothing(name: str) -> None:
    kind, params = STRATEGIES[name]
    runs = []
    for feed in (RehearsalFeed, Resending):
        store = RehearsalStore(BARS, latency=2)
        feeds = {symbol: feed(store=store, column=i, name=symbol) for i, symbol in enumerate(BARS.symbols)}
        runs.append(shown(feeds, kind, params))
    (clean, _, nothing, _), (found, strategy, said, _) = runs
    assert found[2:] == clean[2:] and clean[4] and not nothing
    assert dict(strategy.passed_over) == {"AA": 5} and len(said) == 1


# --- two clocks ---


def at_the_end(one: pd.DataFrame) -> pd.DataFrame:
    return one.set_index(one.index + DAY_END)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("modes", MODES, ids=str)
def test_daily_bars_go_by_their_date(name: str, modes: dict[str, Any]) -> None:
    """AA at 23:59:59.999989, BB at 00:00, CC at 16:00: one row a day, and the account of all at 00:00."""
    kind, params = STRATEGIES[name]
    clean = clean_run(name, tuple(modes.items()))[0]
    mixed = frames() | {"AA": at_the_end(frame(0)), "CC": frame(2).set_index(frame(2).index + pd.Timedelta("16:00:00"))}
    found, _, said, _ = shown(mixed, kind, params, modes)
    assert found == clean and clean[0] == BARS.n_bars and clean[4] and not said


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_several_strategies_see_the_same_days(modes: dict[str, Any]) -> None:
    lengths = []
    for change in (lambda one: one, at_the_end, resent):
        cerebro = bt.Cerebro(stdstats=False, **modes)
        for symbol, one in frames(0, change).items():
            cerebro.adddata(bt.feeds.PandasData(dataname=one), name=symbol)
        for _ in range(3):
            cerebro.addstrategy(Sees)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            lengths.append([len(one.seen) for one in cerebro.run()])
        assert len(told) == (change is resent)
    assert lengths == [[BARS.n_bars] * 3] * 3


@pytest.mark.parametrize("name", ["hybrid", "finrl"])
def test_files_of_backtrader_and_frames_are_one_row(tmp_path: Any, name: str) -> None:
    kind, params = STRATEGIES[name]
    one = frame(0).assign(openinterest=0.0)
    one.to_csv(tmp_path / "AA.csv", date_format="%Y-%m-%d")
    file = bt.feeds.GenericCSVData(dataname=str(tmp_path / "AA.csv"), dtformat="%Y-%m-%d")
    assert shown({**frames(), "AA": file}, kind, params)[0] == shown(frames(), kind, params)[0]


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_bars_are_moved_later_and_never_earlier_and_minutes_not_at_all(modes: dict[str, Any]) -> None:
    """Two daily feeds on two clocks beside one of minutes."""
    days = pd.bdate_range("2020-01-06", periods=6)
    minutes = pd.DatetimeIndex([day + pd.Timedelta(minutes=570 + 5 * i) for day in days for i in range(4)])
    found, _ = seen({"A": flat(days + DAY_END), "B": flat(days), "M": flat(minutes)}, modes)
    ends = [day.replace(hour=23, minute=59, second=59, microsecond=999_990) for day in days.to_pydatetime()]
    stamps = {name: sorted({row[name][1] for row in found if name in row}) for name in "ABM"}
    assert stamps["A"] == stamps["B"] == [bt.date2num(end) for end in ends]
    assert stamps["M"] == [bt.date2num(minute) for minute in minutes.to_pydatetime()]
    assert len(found) == len(days) * 5


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_a_day_beside_minutes_is_known_at_its_end(modes: dict[str, Any]) -> None:
    """At midnight, where a frame has it, it would tell of the minutes to come."""
    days = pd.bdate_range("2020-01-06", periods=6)
    minutes = pd.DatetimeIndex([day + pd.Timedelta(minutes=570 + 5 * i) for day in days for i in range(4)])
    found, _ = seen({"A": flat(days), "M": flat(minutes)}, modes)
    assert [row["M"][0] for row in found if "A" in row and row["A"][0] == 1] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_minutes_keep_their_stamps(modes: dict[str, Any]) -> None:
    """Feeds of which nobody said that they are of minutes, at different seconds: each stamp is a row."""
    minutes = pd.date_range("2020-01-06 00:00", periods=40, freq="1min")
    of = {}
    for name, shift in (("A", "0s"), ("B", "7s"), ("C", "59.999989s")):
        of[name] = pd.DataFrame(
            dict.fromkeys(("open", "high", "low", "close"), 5.0), index=minutes + pd.Timedelta(shift)
        )
    found, passed_over = seen(of, modes)
    assert len(found) == 120 and not passed_over


def test_dates_are_those_of_the_feeds_own_clock() -> None:
    """A day of New York ends on the next date in UTC."""
    days = pd.bdate_range("2020-01-06", periods=6)
    new_york = dict.fromkeys(("tz", "tzinput"), "America/New_York")
    for modes in MODES:
        late = bt.feeds.PandasData(dataname=flat(days + DAY_END), **new_york)
        found, passed_over = seen({"A": late, "B": bt.feeds.PandasData(dataname=flat(days), **new_york)}, modes)
        assert [[row[name][0] for name in row] for row in found] == [[i, i] for i in range(1, 7)] and not passed_over


class OtherClock(RehearsalFeed):
    """A live feed; the first symbol's days end a second before midnight."""

    def start(self) -> None:
        super().start()
        if self.p.column == 0:
            self._numbers = self._numbers + bt.date2num(datetime(2020, 1, 1, 23, 59, 59)) % 1.0


@pytest.mark.parametrize("name", ["hybrid", "finrl"])
def test_live_days_on_two_clocks_are_one_row(name: str) -> None:
    kind, params = STRATEGIES[name]
    runs = []
    for feed in (RehearsalFeed, OtherClock):
        store = RehearsalStore(BARS, latency=0)
        feeds = {symbol: feed(store=store, column=i, name=symbol) for i, symbol in enumerate(BARS.symbols)}
        runs.append(shown(feeds, kind, params)[1])
    one, other = runs
    if kind is HybridStrategy:
        mine, theirs = (run.recorder.decisions().target for run in runs)
        assert len(theirs) == BARS.n_bars and np.array_equal(mine, theirs)
    assert one.broker.getvalue() == pytest.approx(other.broker.getvalue(), rel=1e-12) and one.broker.orders


# --- the old clock ---


class Fixed(bt.Strategy):
    """Holds a third of each, by TargetOrders."""

    def __init__(self) -> None:
        self.orders = TargetOrders(self, OrderRules())

    def next(self) -> None:
        self.orders.send([0.3 for _ in self.datas])


class Pairs(bt.Strategy):
    """Buys one feed where the indicator says so."""

    def __init__(self) -> None:
        self.hedge = KalmanHedge(self.data0, self.data1)

    def next(self) -> None:
        self.order_target_size(self.data0, 10 if self.hedge.zscore[0] > 0.0 else -10)


@pytest.mark.parametrize("runonce", [True, False])
@pytest.mark.parametrize(
    ("kind", "params"), [*STRATEGIES.values(), (Fixed, {}), (Pairs, {})], ids=[*STRATEGIES, "orders", "indicator"]
)
def test_old_synchronisation_gives_the_same_account(kind: Any, params: Any, runonce: bool) -> None:
    accounts = []
    for oldsync in (False, True):
        cerebro = bt.Cerebro(oldsync=oldsync, runonce=runonce)
        for feed in to_feeds(BARS):
            cerebro.adddata(feed)
        cerebro.addstrategy(kind, **params)
        cerebro.addanalyzer(Ledger, _name="ledger")
        (strategy,) = cerebro.run()
        accounts.append(strategy.analyzers.ledger.path())
    assert accounts[0].equity.tolist() == accounts[1].equity.tolist() and accounts[1].fills


@pytest.mark.parametrize("name", STRATEGIES)
def test_old_synchronisation_of_other_dates_is_refused(name: str) -> None:
    kind, params = STRATEGIES[name]
    with pytest.raises(ConfigError, match="oldsync pairs bars by their number, and those of BB are not those of AA"):
        shown(frames(1, lambda one: one.drop(one.index[7])), kind, params, {"oldsync": True})


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_that_backtrader_keeps_in_a_strategy_is_written_over(name: str) -> None:
    """The clock of a strategy is its first feed, also behind an attribute of ours that is called so."""
    kinds: list[dict[str, Any]] = []

    class Watched(bt.Analyzer):
        def start(self) -> None:
            kinds.append({key: type(value) for key, value in vars(self.strategy).items()})

    class Bare(bt.Strategy):
        pass

    for kind, params in ((Bare, {}), STRATEGIES[name]):
        cerebro = bt.Cerebro(stdstats=False)
        for feed in to_feeds(BARS):
            cerebro.adddata(feed)
        cerebro.addstrategy(kind, **params)
        cerebro.addanalyzer(Watched)
        cerebro.run()
    bare, ours = kinds
    own_to_a_class = {"params", "p", "lines", "l", "plotinfo", "plotlines"}
    assert {key for key in bare if ours[key] is not bare[key]} <= own_to_a_class and "_clock" in bare


# --- a ticker that is listed later ---


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_bars_without_all_tickers_are_counted_for_an_agent_of_finrl(modes: dict[str, Any]) -> None:
    kind, params = STRATEGIES["finrl"]
    for lacking, n in ((slice(0, 210), 210), (slice(100, 103), 3)):
        of = frames(1, lambda one, lacking=lacking: one.drop(one.index[lacking]))
        with pytest.warns(UserWarning, match=f"FinRLStrategy: {n} of 320 bars are left out, BB has none on {n}: the"):
            cerebro = bt.Cerebro(stdstats=False, **modes)
            for name, one in of.items():
                cerebro.adddata(bt.feeds.PandasData(dataname=one), name=name)
            cerebro.addstrategy(kind, **params)
            cerebro.run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown(frames(), kind, params, modes)
        later = frames(1, lambda one: one.iloc[210:])
        shown(later, kind, params | {"trade_from": BARS.stamps[215].astype("M8[us]").item()}, modes)


def test_an_agent_that_no_day_suits_names_the_tickers() -> None:
    kind, params = STRATEGIES["finrl"]
    of = frames(1, lambda one: one.iloc[200:]) | {"CC": frame(2).iloc[:150]}
    with pytest.raises(BarsError, match="asked on none of 320 bars, BB has none on 200, CC has none on 170; every"):
        shown(of, kind, params)


# --- feeds that are walked faster ---


class Everything(bt.Strategy):
    """Keeps all that the feeds show on each bar."""

    params = (("admits", True),)

    def __init__(self) -> None:
        if self.p.admits:
            admit(self, *traded_feeds(self.datas, None))
        self.seen: list[Any] = []

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        for feed in self.datas:
            ticks = sorted((name, value) for name, value in vars(feed).items() if name.startswith("tick_"))
            lines = {alias: getattr(feed, alias)[0] for alias in feed.getlinealiases()} if len(feed) else {}
            zone = feed.datetime.datetime(tz=bt.utils.dateintern.UTC, naive=False) if len(feed) else None
            moment = feed.datetime.datetime(0) if len(feed) else None
            before = feed.datetime.datetime(-1) if len(feed) > 1 else None
            self.seen.append((len(feed), feed.buflen(), feed.advance_peek(), ticks, lines, moment, before, zone))


class WithMore(bt.feeds.PandasData):
    lines = ("pe",)
    params = (("pe", -1),)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"oldsync": True}], ids=str)
@pytest.mark.parametrize("kind", [bt.feeds.PandasData, WithMore])
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_a_feed_in_memory_shows_on_every_bar_what_it_shows_without_us(
    kind: type[bt.feeds.PandasData], modes: dict[str, Any], zone: str | None
) -> None:
    def walked(admits: bool) -> Any:
        cerebro = bt.Cerebro(stdstats=False, tz=zone, **modes)
        for name, one in frames(1, lambda one: one.drop(one.index[[5, 6, 40]]) if not modes else one).items():
            cerebro.adddata(kind(dataname=one.assign(pe=one["close"] / 7.0)[:60], name=name))
        cerebro.addstrategy(Everything, admits=admits)
        seen = [repr(cerebro.run()[0].seen) for _ in range(2)]
        return seen, [feed.advance for feed in cerebro.datas]

    ours, quick = walked(True)
    theirs, slow = walked(False)
    assert ours == theirs
    assert all(one.__func__ is bt.feed.DataBase.advance for one in slow)
    assert not any(one.__func__ is bt.feed.DataBase.advance for one in quick)


def test_a_feed_that_walks_in_its_own_way_is_left_to_it() -> None:
    class Own(bt.feeds.PandasData):
        def advance(self, *args: Any, **kwargs: Any) -> None:
            super().advance(*args, **kwargs)

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(Own(dataname=frame(0)))
    cerebro.addstrategy(Everything)
    cerebro.run()
    assert "advance" not in vars(cerebro.datas[0])
