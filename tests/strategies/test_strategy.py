"""The strategy is the brain in Backtrader's clothes: same decisions in every mode and on any feeds."""

from __future__ import annotations

import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import backtrader as bt
import matplotlib
import numpy as np
import pandas as pd
import pytest
from brain_cases import PAIRS, SYMBOLS, random_bars
from strategy_cases import MODES, assert_same_decisions, pandas_feeds

from hybrid_bt.analyzers import Ledger
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.brain.records import record
from hybrid_bt.config import load_config
from hybrid_bt.config.build import build, load_policies
from hybrid_bt.equations.kalman import follow_pair, intercept
from hybrid_bt.equations.pair import initial_spread as first_spread
from hybrid_bt.equations.pair import rates_of, spread_step
from hybrid_bt.errors import BarsError, ConfigError, InSampleError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import HybridStrategy, KalmanHedge

CONFIG = load_config("stable")
BARS = random_bars(400)
HOLED = random_bars(400, missing=0.1, late=40)


def cerebro_of(feeds: list[Any], **modes: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False, **modes)
    for feed in feeds:
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    return cerebro


def run(feeds: list[Any], modes: Any = None, strategy: Any = HybridStrategy, **params: Any) -> Any:
    cerebro = cerebro_of(feeds, **(modes or {}))
    cerebro.addstrategy(strategy, **{"pairs": PAIRS, "record": True, **params})
    cerebro.addanalyzer(Ledger, _name="ledger")
    (found,) = cerebro.run()
    return found


def recorded(bars: Bars, mode: str = "stable") -> Any:
    config = load_config(mode)
    return record(build(config, bars.symbols, PAIRS, load_policies(config)), bars, PAIRS)


# --- the same decisions everywhere ---


@pytest.mark.parametrize("modes", MODES, ids=lambda modes: "-".join(map(str, modes.values())))
def test_decisions_equal_the_brain_in_every_run_mode(modes: dict[str, Any]) -> None:
    strategy = run(to_feeds(BARS), modes)
    assert_same_decisions(strategy, recorded(BARS))
    path = strategy.analyzers.ledger.path()
    assert len(path.fills) > 20
    assert np.array_equal(path.equity, run(to_feeds(BARS)).analyzers.ledger.path().equity)


@pytest.mark.parametrize("bars", [BARS, HOLED], ids=["whole", "holed"])
@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"preload": False}, {"exactbars": 1}], ids=str)
def test_decisions_and_account_do_not_depend_on_the_feed_class(bars: Bars, modes: dict[str, Any]) -> None:
    ours, theirs = run(to_feeds(bars), modes), run(pandas_feeds(bars), modes)
    wanted = recorded(bars)
    assert_same_decisions(ours, wanted)
    assert_same_decisions(theirs, wanted)
    mine, other = ours.analyzers.ledger.path(), theirs.analyzers.ledger.path()
    assert np.array_equal(mine.equity, other.equity) and mine.fills == other.fills and len(mine.fills) > 20


@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_modes_are_those_of_the_configuration(mode: str) -> None:
    assert_same_decisions(run(to_feeds(BARS), mode=mode), recorded(BARS, mode))


def test_pairs_may_be_written_with_commas() -> None:
    assert_same_decisions(run(to_feeds(BARS), pairs="AA:BB, CC:AA"), recorded(BARS))


# --- orders ---


class Noting(HybridStrategy):
    """Keeps the row and feed of every order."""

    def __init__(self, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.sent: list[tuple[int, str]] = []

    def buy(self, data: Any = None, **kwargs: Any) -> Any:
        self.sent.append((self.n_bars, data._name))
        return super().buy(data=data, **kwargs)

    def sell(self, data: Any = None, **kwargs: Any) -> Any:
        self.sent.append((self.n_bars, data._name))
        return super().sell(data=data, **kwargs)


@pytest.mark.parametrize("make", [to_feeds, pandas_feeds])
@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"preload": False}], ids=str)
def test_no_order_is_made_on_a_bar_that_its_feed_did_not_deliver(make: Any, modes: dict[str, Any]) -> None:
    strategy = run(make(HOLED), modes, Noting)
    assert len(strategy.sent) > 20
    assert all(HOLED.traded[row, SYMBOLS.index(name)] for row, name in strategy.sent)
    assert any(not HOLED.traded[row].all() for row, _ in strategy.sent)


@pytest.mark.parametrize("bars", [BARS, HOLED], ids=["whole", "holed"])
def test_fill_is_the_next_open_of_its_feed(bars: Bars) -> None:
    fills = run(to_feeds(bars)).analyzers.ledger.path().fills
    assert len(fills) > 20
    for fill in fills:
        later = np.flatnonzero(bars.traded[fill.decided + 1 :, fill.symbol])
        assert fill.bar == fill.decided + 1 + later[0]
        assert fill.price == bars.open[fill.bar, fill.symbol]


def test_nothing_is_traded_before_trade_from() -> None:
    start = BARS.stamps[300].astype("datetime64[us]").item()
    for moment in (start, start.date()):
        strategy = run(to_feeds(BARS), trade_from=moment)
        fills = strategy.analyzers.ledger.path().fills
        assert strategy.first_traded_row == 300
        assert min(fill.decided for fill in fills) == 300
        assert_same_decisions(strategy, recorded(BARS))


def test_feed_that_begins_last_holds_nobody_back() -> None:
    strategy = run(to_feeds(random_bars(400, late=390)))
    assert strategy.recorder.decisions().target.shape == (400, 4)
    assert {fill.symbol for fill in strategy.analyzers.ledger.path().fills} <= {0, 1, 2}
    assert strategy.analyzers.ledger.path().fills


# --- misuse ---


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"moed": "stable"}, "no parameter 'moed'; did you mean 'mode'"),
        ({"mode": "stabel"}, "mode 'stabel' is unknown; did you mean 'stable'"),
        ({"pairs": ["AA:ZZ"]}, "symbol 'ZZ' is not among those traded"),
        ({"overrides": {"risk": {"limit": 1.0}}}, "unknown key risk.limit"),
        ({"config": "nowhere.toml"}, "nowhere.toml cannot be read: No such file"),
        ({"use_kalman": False, "use_sac": False}, "at least one leg must be on"),
    ],
)
def test_misuse_is_refused_before_the_run(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(to_feeds(BARS), **params)


def test_feeds_of_the_same_name_are_refused() -> None:
    cerebro = bt.Cerebro()
    for feed in to_feeds(BARS)[:2]:
        cerebro.adddata(feed, name="AA")
    cerebro.addstrategy(HybridStrategy)
    with pytest.raises(ConfigError, match="two feeds are named 'AA'"):
        cerebro.run()


def old_bars() -> Bars:
    """Bars of 2001 and 2002, inside the training span of every shipped policy."""
    return random_bars(400, start="2001-01-01")


def test_bars_of_the_training_span_are_refused() -> None:
    with pytest.raises(InSampleError, match="all 400 bars lie in the policies' training span"):
        run(to_feeds(old_bars()))
    with pytest.raises(InSampleError, match="trade_from 2001-10-01 lies in the policies' training span"):
        run(to_feeds(old_bars()), trade_from=date(2001, 10, 1))


@pytest.mark.parametrize("trade_from", [None, datetime(2001, 10, 1)])
def test_bars_of_the_training_span_are_traded_if_allowed(trade_from: datetime | None) -> None:
    # regression: without trade_from nothing was traded, and nothing said so
    strategy = run(to_feeds(old_bars()), allow_in_sample=True, trade_from=trade_from)
    fills = strategy.analyzers.ledger.path().fills
    assert fills
    assert strategy.first_traded_row == (0 if trade_from is None else 273)
    assert min(fill.decided for fill in fills) >= strategy.first_traded_row


def test_first_traded_bar_is_the_first_behind_the_training_span() -> None:
    bars = random_bars(700, start="2009-01-01")
    strategy = run(to_feeds(bars))
    wanted = int(np.searchsorted(bars.stamps, np.datetime64(strategy.training_end), "right"))
    assert 0 < strategy.first_traded_row == wanted


def test_start_behind_the_last_bar_is_refused() -> None:
    with pytest.raises(BarsError, match="trade_from 2030-01-01 lies behind the last of 400 bars, 2012-02-06"):
        run(to_feeds(BARS), trade_from=date(2030, 1, 1))


def test_too_few_bars_are_said() -> None:
    with pytest.warns(UserWarning, match="200 bars are fewer than the 253 that the features need"):
        run(to_feeds(random_bars(200)))


def test_switches_work_on_a_whole_configuration_and_on_given_policies() -> None:
    # regression: both were passed over in silence
    strategy = run(to_feeds(BARS), config=CONFIG, policies=load_policies(CONFIG), use_sac=False, use_ppo_lstm=False)
    assert strategy.brain.legs["sac"] is None and strategy.brain.gate is None
    assert strategy.training_end is None
    capped = run(to_feeds(BARS), config=CONFIG, overrides={"risk": {"asset_limit": 0.05}})
    assert np.abs(capped.recorder.decisions().target).max() <= 0.05 * (1.0 + 1e-12)


def test_file_overrides_the_mode_and_switches_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[kalman]\nenabled = false\n[risk]\nasset_limit = 0.06\n")
    strategy = run(to_feeds(BARS), config=file, overrides={"risk": {"asset_limit": 0.05}})
    assert strategy.brain.legs["kalman"] is None and strategy.config.risk.asset_limit == 0.05
    assert run(to_feeds(BARS), config=str(file), use_kalman=True).brain.legs["kalman"] is not None


# --- company ---


def test_two_strategies_keep_their_own_memory() -> None:
    policies = load_policies(CONFIG)
    cerebro = cerebro_of(to_feeds(BARS))
    for _ in range(2):
        cerebro.addstrategy(HybridStrategy, pairs=PAIRS, record=True, policies=policies)
    for strategy in cerebro.run():
        assert_same_decisions(strategy, recorded(BARS))


class Opinion(bt.Analyzer):
    """What survives of a strategy in another process."""

    def stop(self) -> None:
        self.targets = self.strategy.recorder.decisions().target
        self.value = self.strategy.broker.getvalue()

    def get_analysis(self) -> dict[str, Any]:
        return {"targets": self.targets, "value": self.value}


@pytest.mark.parametrize("maxcpus", [1, 2])
@pytest.mark.parametrize("optreturn", [True, False])
def test_optstrategy_equals_single_runs(maxcpus: int, optreturn: bool) -> None:
    cerebro = cerebro_of(to_feeds(BARS), optreturn=optreturn)
    cerebro.optstrategy(HybridStrategy, mode=["stable", "aggressive"], pairs="AA:BB,CC:AA", record=True)
    cerebro.addanalyzer(Opinion, _name="opinion")
    found = [strategies[0] for strategies in cerebro.run(maxcpus=maxcpus)]
    assert [strategy.p.mode for strategy in found] == ["stable", "aggressive"]
    for strategy in found:
        analysis = strategy.analyzers.opinion.get_analysis()
        assert np.array_equal(analysis["targets"], recorded(BARS, strategy.p.mode).decisions().target)
        alone = run(to_feeds(BARS), mode=strategy.p.mode)
        assert analysis["value"] == alone.analyzers.ledger.path().equity[-1]


def test_works_beside_resampled_data_and_observers() -> None:
    cerebro = bt.Cerebro()
    feeds = to_feeds(BARS)
    for feed in feeds:
        cerebro.adddata(feed, name=feed._name)
    cerebro.resampledata(feeds[0], timeframe=bt.TimeFrame.Weeks, name="WEEK")
    cerebro.addstrategy(HybridStrategy, pairs=PAIRS, record=True)
    (strategy,) = cerebro.run()
    assert strategy.symbols == (*BARS.symbols, "WEEK")
    assert strategy.recorder.decisions().target[260:, :4].any()


def test_backtest_trades_what_the_brain_decides_and_adds_up() -> None:
    done: list[tuple[int, int]] = []
    found = run_backtest(HOLED, config=CONFIG, pairs=PAIRS, progress=lambda *step: done.append(step))
    assert np.array_equal(found.decisions.target, recorded(HOLED).decisions(252).target)
    assert found.facts["replay_difference"] <= 1e-9
    assert found.bars.stamps[0] == HOLED.stamps[252] and not found.in_sample.any()
    assert done[-1] == (384, 400)
    assert list(found.accounts) == ["hybrid", "sac", "kalman", "gate-off", "equal-weight", "vol-target", "inverse-vol"]
    assert found.accounts["hybrid"].equity[0] == 1e6 and len(found.accounts["hybrid"].fills) > 20


# --- the indicator ---


class Hedging(bt.Strategy):
    """Holds one indicator."""

    def __init__(self) -> None:
        self.hedge = KalmanHedge(self.data0, self.data1)


@pytest.mark.parametrize("modes", [*MODES[:8], {"runonce": False}], ids=str)
def test_indicator_is_the_core(modes: dict[str, Any]) -> None:
    cerebro = cerebro_of(to_feeds(BARS)[:2], **modes)
    seen: list[tuple[float, ...]] = []

    class Reading(Hedging):
        def next(self) -> None:
            seen.append(tuple(line[0] for line in self.hedge.lines))

    cerebro.addstrategy(Reading)
    cerebro.run()
    assert seen == hedged(CONFIG.kalman_params, CONFIG.spread_params)
    pairs = recorded(BARS).pairs()
    fields = [values[:, 0] for values in (pairs.alpha, pairs.beta, pairs.spread, pairs.zscore)]
    assert np.array_equal(np.array(seen), np.stack(fields, axis=1))


def hedged(params: Any, spread_params: Any) -> list[tuple[float, ...]]:
    """Lines of the indicator on the first two symbols, from the filter itself."""
    spread, found = first_spread(), []
    logs = [[math.log(value) for value in BARS.close[:, i]] for i in (0, 1)]
    for t, state in enumerate(follow_pair(*logs, params)):
        spread = spread_step(spread, state.innovation, rates_of(spread_params)) if t else spread
        found.append((intercept(state, logs[0][t], logs[1][t]), state.beta, spread.spread, spread.zscore))
    return found


@pytest.mark.parametrize("modes", [*MODES[:8], {"runonce": False}], ids=str)
def test_bars_of_the_indicator_without_a_close_are_predictions_without_an_update(modes: dict[str, Any]) -> None:
    # regression: one NaN made all lines NaN for ever
    close = BARS.close.copy()
    close[[0, 100, 101, 200], [0, 0, 1, 1]] = close[300, :2] = math.nan
    bars = Bars.checked("holed", BARS.symbols, BARS.stamps, close)
    seen = hedging(close, **modes)
    pairs = recorded(bars).pairs()
    assert np.array_equal(
        seen, np.stack([pairs.alpha, pairs.beta, pairs.spread, pairs.zscore])[..., 0].T, equal_nan=True
    )
    assert np.isnan(seen[0]).all() and np.isfinite(seen[1:]).all()
    for t in (100, 101, 200, 300):
        assert np.array_equal(seen[t], seen[t - 1])


@pytest.mark.parametrize("name", ["BB", ""])
@pytest.mark.parametrize("value", [0.0, -1.5, math.inf])
def test_price_that_the_indicator_cannot_take_is_named(value: float, name: str) -> None:
    close = BARS.close.copy()
    close[30, 1] = value
    with pytest.raises(BarsError, match=f"the close of {name or 'data1'} is {value} on 2011-02-02; a close must be"):
        hedging(close, names=("AA", name))


def hedging(close: Any, names: tuple[str, str] = ("AA", "BB"), **modes: Any) -> Any:
    """Lines of the indicator, (T, 4), over frames with these closes."""
    seen: list[tuple[float, ...]] = []

    class Reading(Hedging):
        def next(self) -> None:
            seen.append(tuple(line[0] for line in self.hedge.lines))

    cerebro = bt.Cerebro(stdstats=False, **modes)
    for i, name in enumerate(names):
        frame = pd.DataFrame({"close": close[:, i]}, index=pd.DatetimeIndex(BARS.stamps))
        cerebro.adddata(bt.feeds.PandasData(dataname=frame, name=name))
    cerebro.addstrategy(Reading)
    cerebro.run()
    return np.array(seen)


def test_indicator_takes_parameters() -> None:
    class Reading(bt.Strategy):
        def __init__(self) -> None:
            self.hedge = KalmanHedge(self.data0, self.data1, noise_var=1.0, spread_half_life_bars=3.0)

    (strategy,) = _run_alone(Reading)
    params = CONFIG.kalman_params._replace(noise_var=1.0)
    wanted = hedged(params, CONFIG.spread_params._replace(spread_half_life_bars=3.0))
    assert tuple(line[0] for line in strategy.hedge.lines) == wanted[-1]


def _run_alone(strategy: Any) -> Any:
    cerebro = cerebro_of(to_feeds(BARS)[:2])
    cerebro.addstrategy(strategy)
    return cerebro.run()


def test_indicator_can_be_plotted() -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cerebro = cerebro_of(to_feeds(BARS)[:2])
    cerebro.addstrategy(Hedging)
    cerebro.run()
    ((figure,),) = cerebro.plot(use="Agg", iplot=False)
    labels = " ".join(text.get_text() for axes in figure.axes for text in axes.findobj(matplotlib.text.Text))
    assert "Kalman hedge" in labels and "beta" in labels
    plt.close("all")
