"""Whatever is given to a public strategy, indicator or analyzer: it runs, or an error of ours says what to give."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from brain_cases import random_bars
from strategy_cases import cerebro_of

import hybrid_bt.strategies as public
from hybrid_bt.analyzers import ANALYZERS
from hybrid_bt.bars.market import Market
from hybrid_bt.errors import BarsError, ConfigError, HybridError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import AgentStrategy, FinRLStrategy, HybridStrategy, KalmanHedge, SpreadFeeCommission

BARS = random_bars(40, 2)
LONG = random_bars(300, 2)
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 3.5, float("nan"), float("inf"), 10**400, "", "x", "AA,BB", b"x", Path("nowhere")),
    *((), [], {}, set(), object(), [3], [None], ["AA"], ("AA", "BB"), [("AA", "BB")], {"a": 1}, {"risk": 3}),
    *(np.arange(3.0), lambda *_: None),
)
STRATEGIES: dict[Any, dict[str, Any]] = {
    AgentStrategy: {"agent": lambda seen: [0.1, -0.1]},
    HybridStrategy: {"pairs": "AA:BB", "allow_in_sample": True, "compiled": False},
    FinRLStrategy: {"agent": lambda state: [0.1, -0.1], "indicators": ("open",)},
}


def run(kind: Any, bars: Any = BARS, modes: Any = None, **params: Any) -> Any:
    cerebro = cerebro_of(to_feeds(bars), **(modes or {}))
    cerebro.addstrategy(kind, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cerebro.run()[0]


def watching(*data: Any, **params: Any) -> Any:
    """A strategy with the indicator; data are feeds by number, functions of the strategy, or what they are."""

    class Watching(bt.Strategy):
        def __init__(self) -> None:
            given = [self.datas[one] if type(one) is int else one(self) if callable(one) else one for one in data]
            self.hedge = KalmanHedge(*given, **params)
            self.seen: list[Any] = []

        def next(self) -> None:
            self.seen.append((len(self.data0), len(self.data1), self.hedge.beta[0], self.hedge.zscore[0]))

        prenext = next

    return Watching


def test_every_public_strategy_is_tried() -> None:
    found = {getattr(public, name) for name in public.__all__}
    assert {one for one in found if issubclass(one, bt.Strategy)} == set(STRATEGIES)
    assert {one for one in found if issubclass(one, bt.Indicator)} == {KalmanHedge}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in STRATEGIES for name in kind.params._getkeys()], ids=str
)
def test_odd_values_of_a_strategy_run_or_are_refused_in_words(
    kind: Any, name: str, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # a state may be called anything
    for odd in ODD:
        try:
            run(kind, **{**STRATEGIES[kind], name: odd})
        except HybridError as error:
            assert len(str(error)) > 20
        for left in tmp_path.iterdir():
            left.unlink()


@pytest.mark.parametrize("name", KalmanHedge.params._getkeys())
def test_odd_values_of_the_indicator_run_or_are_refused_in_words(name: str) -> None:
    for odd in ODD:
        try:
            run(watching(0, 1, **{name: odd}))
        except HybridError as error:
            assert name in str(error)


@pytest.mark.parametrize("name", ["ledger", "returns"])
def test_odd_values_of_an_analyzer_run_or_are_refused_in_words(name: str) -> None:
    for parameter in ANALYZERS[name].params._getkeys():
        for odd in ODD:
            cerebro = cerebro_of(to_feeds(BARS))
            cerebro.addanalyzer(ANALYZERS[name], _name="it", **{parameter: odd})
            try:
                cerebro.run()[0].analyzers.it.get_analysis()
            except HybridError as error:
                assert len(str(error)) > 20


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        (HybridStrategy, {"mode": 3}, "HybridStrategy: mode is 3; give str"),
        (HybridStrategy, {"overrides": {"risk": 3}}, "overrides: 'risk' is 3; give {section: {key: value}}"),
        (HybridStrategy, {"use_sac": "no"}, "use_sac is 'no'; give int"),
        (HybridStrategy, {"news": 3}, "news is 3; give an object with advise"),
        (HybridStrategy, {"kalman_params": [3]}, r"kalman_params are \[3\]; give a KalmanParams for each pair"),
        (HybridStrategy, {"pairs": ("AA", "BB")}, "pair 'AA': write Y:X, for example KO:PEP"),
        (HybridStrategy, {"pairs": [("AA", "BB", "CC")]}, "is no name; give texts, and of a pair 'Y:X' or"),
        (HybridStrategy, {"pairs": 3}, "3 is no names; give a text with commas or a list of texts"),
        (FinRLStrategy, {"hmax": -1}, "hmax is -1; give shares above 0"),
        (FinRLStrategy, {"hmax": float("nan")}, "hmax is nan; give shares above 0"),
        (FinRLStrategy, {"indicators": "macd"}, "indicators is 'macd'; give tuple | list"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_can(kind: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(kind, **{**STRATEGIES[kind], **params})


@pytest.mark.parametrize(
    "pairs",
    [[("AA", "BB")], (("AA", "BB"),), [["AA", "BB"]], iter([("AA", "BB")])],
    ids=("list", "tuple", "lists", "iterator"),
)
def test_two_names_in_a_tuple_are_a_pair(pairs: Any) -> None:
    pairs = list(pairs)
    targets = [
        run(HybridStrategy, LONG, pairs=one, record=True).recorder.decisions().target for one in (pairs, "AA:BB")
    ]
    assert np.array_equal(*targets) and targets[0].any()
    assert Market("two", LONG, pairs).columns == [(0, 1)]


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"exactbars": 1}], ids=str)
@pytest.mark.parametrize(
    "data",
    [(0,), (0, 0), (0, lambda s: s.data0.open), (0, 1, 0), (0, 1, 1e-4), (0, 5.0), (0, lambda s: bt.ind.SMA(s.data1))],
    ids=range(7),
)
def test_an_indicator_without_its_two_feeds_says_what_to_give(data: Any, modes: Any) -> None:
    with pytest.raises(ConfigError, match=r"give two feeds, or a line of each.*KalmanHedge\(self.data0, self.data1"):
        run(watching(*data), modes=modes)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"exactbars": 1}], ids=str)
@pytest.mark.parametrize("data", [(), (lambda s: s.data0.close, lambda s: s.data1.close)], ids=["none", "lines"])
def test_lines_of_feeds_and_the_first_two_feeds_are_data(data: Any, modes: Any) -> None:
    assert repr(run(watching(*data), modes=modes).seen) == repr(run(watching(0, 1), modes=modes).seen)


def frames(dropped: int, bad: float | None = None) -> Any:
    for i, name in enumerate(LONG.symbols):
        columns = {field: getattr(LONG, field)[:, i].copy() for field in ("open", "high", "low", "close")}
        if bad is not None and i == 0:
            columns["close"][50] = bad
        frame = pd.DataFrame(columns, index=pd.DatetimeIndex(LONG.stamps))
        yield bt.feeds.PandasData(dataname=frame.drop(frame.index[dropped]) if i and dropped else frame, name=name)


def hedged(kind: Any, feeds: Any, **modes: Any) -> Any:
    cerebro = cerebro_of(feeds, **modes)
    cerebro.addstrategy(kind)
    return cerebro.run()[0].seen


def test_dates_that_backtrader_would_pair_by_their_number_are_refused() -> None:
    with pytest.raises(BarsError, match="AA and BB have other dates from 2011-02-12 on: run with runonce=False"):
        hedged(watching(0, 1), frames(40))
    rows = hedged(watching(0, 1), frames(40), runonce=False)
    whole = hedged(watching(0, 1), frames(0), runonce=False)
    assert rows[:40] == whole[:40]
    assert rows[40] == (41, 40, *rows[39][2:]), "a prediction without an update"
    assert rows[41][2:] != whole[41][2:] and len(rows) == LONG.n_bars


def test_rows_of_other_feeds_do_not_count_for_the_dependent_one() -> None:
    """A dependent with fewer bars, its first one alone for long: as if the hedge had no others."""
    gone = [*range(1, 41), *range(42, 300, 2)]
    sparse = hedged(watching(1, 0), frames(gone), runonce=False)
    both = [
        feed.p.dataname.drop(feed.p.dataname.index[gone]) if i == 0 else feed.p.dataname
        for i, feed in enumerate(frames(gone))
    ]
    short = [bt.feeds.PandasData(dataname=one, name=name) for one, name in zip(both, LONG.symbols, strict=True)]
    wanted = hedged(watching(1, 0), short, runonce=False)
    kept = [row for row in range(300) if row not in gone]
    assert [sparse[row][2:] for row in kept] == [row[2:] for row in wanted]
    assert all(sparse[row][2:] == sparse[row - 1][2:] for row in gone)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}], ids=str)
@pytest.mark.parametrize("data", [(0, 1), (lambda s: s.data0.close, 1)], ids=["feeds", "a line"])
def test_a_bad_close_of_a_line_is_named_with_its_date(data: Any, modes: Any) -> None:
    with pytest.raises(BarsError, match=r"the close of AA is -1.0 on 2011-02-22"):
        hedged(watching(*data), frames(0, -1.0), **modes)


@pytest.mark.parametrize("name", SpreadFeeCommission.params._getkeys())
def test_odd_costs_are_charged_or_refused_in_words(name: str) -> None:
    for odd in ODD:
        if not isinstance(odd, np.ndarray):
            try:
                assert np.isfinite(SpreadFeeCommission(**{name: odd}).getcommission(10.0, 50.0))
            except HybridError as error:
                assert name in str(error)
