"""Opinions made ahead are those made bar by bar, to the last bit; whoever looks finds the state of the bar."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import PAIRS, altered_from, random_bars

from hybrid_bt.brain.records import record
from hybrid_bt.config import load_config
from hybrid_bt.config.build import build, load_policies
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.evidence.audit.cerebros import pandas_feeds
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import HybridStrategy

pytest.importorskip("numba")

WHOLE = random_bars(420, 4)
HOLED = random_bars(420, 4, seed=3, missing=0.05, late=120)
OPTIONS = {
    "whole": {},
    "no SAC": {"use_sac": False},
    "no pairs": {"use_kalman": False},
    "no gate": {"use_ppo_lstm": False},
}


def run(feeds: Any, strategy: Any = HybridStrategy, modes: Any = None, **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False, **(modes or {}))
    cerebro.broker.setcash(1_000_000.0)
    for feed in feeds:
        cerebro.adddata(feed, name=feed._name)
    cerebro.addstrategy(strategy, **{"pairs": PAIRS, "record": True, "allow_in_sample": True, **params})
    (found,) = cerebro.run()
    return found


def assert_same(mine: Any, theirs: Any) -> None:
    """Everything that recorders keep, and the money."""
    for a, b in (
        (mine.recorder.decisions(), theirs.recorder.decisions()),
        (mine.recorder.pairs(), theirs.recorder.pairs()),
    ):
        for name, values in vars(a).items():
            if isinstance(values, dict):
                assert all(np.array_equal(values[leg], getattr(b, name)[leg]) for leg in values), name
            elif isinstance(values, np.ndarray):
                assert np.array_equal(values, getattr(b, name), equal_nan=True), name
    one, other = mine.recorder.opinions(), theirs.recorder.opinions()
    for name in ("amounts", "before", "risks", "regime", "volatility", "correlation", "warm"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert (one.names, one.layout) == (other.names, other.layout)
    assert mine.recorder.decisions().layout == theirs.recorder.decisions().layout
    assert mine.clipped_observations == theirs.clipped_observations
    assert mine.broker.getvalue() == theirs.broker.getvalue()


def memories(brain: Any) -> list[Any]:
    """All that a brain remembers."""
    reader, sac, kalman = brain.reader, brain.legs["sac"], brain.legs["kalman"]
    found = [reader.assets.copy(), reader.market, reader.pairs.copy(), brain.open, brain.wishes.copy()]
    found += [kalman.positions.copy()] if kalman else []
    found += [sac.actions.copy(), sac.scores.copy()] if sac else []
    found += [np.array(values).tolist() for values in brain.memory]
    return found + ([{key: value.tolist() for key, value in brain.gate.policy.state().items()}] if brain.gate else [])


@pytest.mark.parametrize("bars", [WHOLE, HOLED], ids=["whole", "holed"])
@pytest.mark.parametrize("option", OPTIONS)
def test_ahead_equals_bar_by_bar(bars: Any, option: str) -> None:
    ahead, plain = (run(to_feeds(bars), compiled=compiled, **OPTIONS[option]) for compiled in (True, False))
    assert ahead.session.decider.ahead and not plain.session.decider.ahead
    assert_same(ahead, plain)
    assert np.abs(plain.recorder.decisions().target).sum() > 1.0
    assert memories(ahead.brain) == memories(plain.brain)
    assert not ahead.session.decider.ahead  # who holds the brain may change it


def test_own_and_stock_feeds_are_foreseen_alike() -> None:
    ours, stock = (run(make(HOLED), compiled=True) for make in (to_feeds, pandas_feeds))
    assert ours.session.decider.ahead and stock.session.decider.ahead
    assert_same(ours, stock)


class Keeping(HybridStrategy):
    """Keeps every decision, as a strategy that builds on this one may read it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.kept: list[Any] = []

    def next(self) -> None:
        super().next()
        self.kept.append(self.decision)


@pytest.mark.parametrize("bars", [WHOLE, HOLED], ids=["whole", "holed"])
@pytest.mark.parametrize("rate", ["auto", 252.0])
def test_decisions_made_together_are_those_of_one_bar(bars: Any, rate: Any) -> None:
    given = {"overrides": {"risk": {"bars_per_year": rate}}}
    ahead, plain = (run(to_feeds(bars), Keeping, compiled=compiled, **given) for compiled in (True, False))
    assert ahead.session.decider.ahead and len(ahead.kept) == len(plain.kept) > 400
    assert any(True in one.waits for one in plain.kept) == (bars is HOLED)
    assert any(one.together for one in plain.kept) and not all(one.together for one in plain.kept)
    for mine, theirs in zip(ahead.kept, plain.kept, strict=True):
        assert repr(mine._replace(opinion=None, waits=())) == repr(theirs._replace(opinion=None, waits=()))
        assert (mine.waits or [False] * 4) == (theirs.waits or [False] * 4)


class Onlooker(HybridStrategy):
    """Asks for the brain, and for the whole view, on a bar in the middle."""

    def next(self) -> None:
        super().next()
        assert self.decision is not None
        if len(self) == 300:
            self.seen = self.decision.view
            self.ahead_before = bool(self.session.decider.ahead)
            self.memories = memories(self.brain)
            self.ahead_after = bool(self.session.decider.ahead)


def test_onlooker_sees_the_bar_and_nothing_later() -> None:
    found = run(to_feeds(HOLED), Onlooker, compiled=True)
    assert found.ahead_before and not found.ahead_after
    config = load_config("stable")
    brain = build(config, HOLED.symbols, PAIRS, load_policies(config))
    for closes in HOLED.close[:300].tolist():
        view = brain.decide(closes).view
    assert repr(found.memories) == repr(memories(brain))
    for name, seen, wanted in zip(view._fields, found.seen, view, strict=True):
        assert np.array_equal(seen, wanted, equal_nan=name in ("closes", "pairs")), name
    assert_same(found, run(to_feeds(HOLED), compiled=False))


@pytest.mark.parametrize("row", [254, 300, 418])
def test_no_decision_made_ahead_knows_a_later_bar(row: int) -> None:
    full = run(to_feeds(WHOLE), compiled=True)
    other = run(to_feeds(altered_from(WHOLE, row)), compiled=True)
    assert full.session.decider.ahead and other.session.decider.ahead
    mine, theirs = full.recorder.decisions(), other.recorder.decisions()
    assert np.array_equal(mine.target[:row], theirs.target[:row]) and mine.target[:row].any()
    assert not np.array_equal(mine.target[row:], theirs.target[row:])


class Insider(HybridStrategy):
    """Sees a bar more than was foreseen."""

    def next(self) -> None:
        if len(self) == 280:
            close = self.datas[0].lines.close
            close.array[close.idx] = self.handed
        super().next()


@pytest.mark.parametrize("handed", [WHOLE.close[279, 0], 1.01 * WHOLE.close[279, 0]], ids=["foreseen", "another"])
def test_bar_that_was_not_foreseen_is_decided_on_its_own_closes(handed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Insider, "handed", handed, raising=False)
    found = run(to_feeds(WHOLE), Insider, compiled=True)
    assert bool(found.session.decider.ahead) is bool(handed == WHOLE.close[279, 0])
    assert_same(found, run(to_feeds(WHOLE), Insider, compiled=False))


@pytest.mark.parametrize(
    "modes", [{"preload": False}, {"runonce": False}, {"exactbars": 1}, {"exactbars": -1}], ids=lambda m: str(m)
)
def test_uncertain_rows_are_decided_bar_by_bar(modes: dict[str, Any]) -> None:
    found = run(to_feeds(WHOLE), compiled=True, modes=modes)
    assert not found.session.decider.ahead
    assert_same(found, run(to_feeds(WHOLE), compiled=True))


def test_resampled_feeds_are_decided_bar_by_bar() -> None:
    cerebro = bt.Cerebro(stdstats=False)
    feeds = to_feeds(WHOLE)
    for feed in feeds:
        cerebro.adddata(feed, name=feed._name)
    cerebro.resampledata(feeds[0], timeframe=bt.TimeFrame.Weeks, name="WEEK")
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, record=True, allow_in_sample=True, compiled=True)
    (found,) = cerebro.run()
    assert not found.session.decider.ahead and found.recorder.decisions().target.any()


def test_bad_close_is_refused_on_its_own_bar() -> None:
    class Late(bt.feeds.PandasData):
        params = (("bad", 300),)

        def _load(self) -> Any:
            loaded = super()._load()
            if len(self) == self.p.bad:
                self.lines.close[0] = 0.0
            return loaded

    seen: list[int] = []
    feeds = [Late(dataname=feed.p.dataname, name=feed._name) for feed in pandas_feeds(WHOLE)]
    with pytest.raises(BarsError, match=f"close of {WHOLE.symbols[0]} is"):
        run(feeds, compiled=True, on_bar=lambda: seen.append(1))
    assert len(seen) == 299


def test_recorder_of_a_run_is_the_recording_of_the_brain() -> None:
    config = load_config("stable")
    wanted = record(build(config, WHOLE.symbols, PAIRS, load_policies(config)), WHOLE, PAIRS)
    found = run(to_feeds(WHOLE), compiled=True)
    assert np.array_equal(found.recorder.decisions().target, wanted.decisions().target)


@pytest.mark.parametrize("bars", [WHOLE, HOLED], ids=["whole", "holed"])
@pytest.mark.parametrize("compiled", [True, False], ids=["ahead", "bar by bar"])
def test_bars_before_the_feeds_are_remembered_from_an_array(bars: Any, compiled: bool) -> None:
    row = next(row for row in range(300, bars.n_bars) if bars.traded[row].all())
    start = bars.stamps[row].astype("datetime64[us]").item()
    whole = run(to_feeds(bars), compiled=compiled, trade_from=start)
    short = run(to_feeds(bars.between(bars.stamps[row])), compiled=compiled, trade_from=start, history=bars.close[:row])
    assert bool(short.session.decider.ahead) is compiled
    for found, wanted in ((short.recorder.decisions(), whole.recorder.decisions(row)),):
        assert np.array_equal(found.target, wanted.target) and np.array_equal(found.regime, wanted.regime)
        assert np.array_equal(found.waits, wanted.waits)
    assert np.array_equal(short.recorder.pairs().zscore, whole.recorder.pairs(row).zscore, equal_nan=True)
    assert short.clipped_observations == whole.clipped_observations
    assert short.broker.getvalue() == whole.broker.getvalue() != 1_000_000.0
    assert memories(short.brain) == memories(whole.brain)


@pytest.mark.parametrize(
    ("history", "said"), [(np.ones(3), "shape"), (np.ones((3, 1)), "shape"), (np.zeros((3, 4)), "above 0")]
)
def test_a_history_that_is_no_closes_is_refused(history: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(to_feeds(WHOLE), history=history)


def test_a_policy_that_fails_on_the_history_is_named_and_moves_nothing() -> None:
    def fails_early(observations: Any) -> Any:
        fails_early.calls += 1
        if fails_early.calls == 10:
            raise ValueError("not today")
        return np.zeros(len(observations))

    fails_early.calls = 0
    with pytest.warns(UserWarning, match="not today"):
        found = run(to_feeds(WHOLE.between(WHOLE.stamps[300])), history=WHOLE.close[:300], sac=fails_early)
    assert any("not today" in text for text in found.guard.failures)
    assert not any(found.recorder.decisions().guard)
