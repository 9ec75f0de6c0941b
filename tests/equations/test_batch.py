"""Compiled, batched or bar by bar: the same bits, with numba and without it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import ACTIVE, PAIRS, random_bars, stand_ins, with_rows
from broker_cases import Panel, feeds, random_case
from gymnasium.error import ResetNeeded
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from hybrid_bt.account.records import AccountPath, Fill, Fills
from hybrid_bt.account.replay import replay
from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import MarketReader, read_history, read_panel
from hybrid_bt.brain.records import Opinions, record
from hybrid_bt.brain.settling import mix_of, settle_panel
from hybrid_bt.config import load_config, overridden
from hybrid_bt.config.build import build, load_policies
from hybrid_bt.envs import ASSET, Span, Task, Track, TradingEnv, asset_tracks
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.features import ASSET_FEATURES, MARKET_FEATURES
from hybrid_bt.equations.fusion import WHOLE, RiskParams, RiskUnit
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission
from hybrid_bt.train.vec_envs import LaneVecEnv

CONFIG = load_config("stable", overrides=ACTIVE)
FUSION = (0.9, 0.5, 0.2)
RISK = RiskParams(0.15, 2.0, 3.0, 1.5, 2.0, 0.97, 0.3, 252.0)
COSTS = Costs(spread_bps=4.0, fee_bps=2.0, borrow_bps_per_year=300.0)
PATH_FIELDS = ("cash", "equity", "size", "borrow")
PANELS = [
    random_bars(400, seed=1),
    random_bars(380, seed=2, missing=0.2, late=90),
    random_bars(300, 2, seed=3, late=150),
]


def reader_of(bars: Bars, pairs: tuple[str, ...] = PAIRS) -> MarketReader:
    columns = resolve_pairs([p for p in pairs if all(s in bars.symbols for s in p.split(":"))], bars.symbols)
    return MarketReader(bars.n_symbols, columns, [CONFIG.kalman_params] * len(columns), CONFIG.spread_params)


def assert_same_arrays(mine: Any, theirs: Any) -> None:
    for one, other in zip(mine, theirs, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def assert_same_path(mine: AccountPath, theirs: AccountPath) -> None:
    for field in PATH_FIELDS:
        assert np.array_equal(getattr(mine, field), getattr(theirs, field)), field
    assert mine.fills == theirs.fills and mine.rejected == theirs.rejected


def random_opinions(case: Any, seed: int) -> Opinions:
    """Of three legs: a base of assets, pairs that are not always open, and a leg of assets on top."""
    rng = np.random.default_rng(seed)
    base = np.nan_to_num(case.targets)
    t, n = base.shape
    pairs = [(i, (i + 1) % n) for i in range(n if n > 1 else 0)]
    hedges = (rng.uniform(-0.5, 0.5, (t, len(pairs))) * (rng.random((t, len(pairs))) < 0.5)).repeat(2, axis=1)
    hedges[:, 1::2] *= -0.7
    layout = layout_of([[(i,) for i in range(n)], pairs, [(i,) for i in range(n)]])
    amounts = np.hstack([base, hedges, 0.4 * np.roll(base, 5, axis=0)])
    seen = rng.uniform(0.005, 0.03, (t, n)), rng.uniform(0.0, 0.9, t), np.ones((t, n), np.bool_)
    names, before, risks = ("sac", "kalman", "third"), np.zeros(amounts.shape[1]), rng.uniform(0.0, 0.02, (t, 3))
    return Opinions(names, layout, amounts, before, risks, rng.uniform(-1.5, 1.5, t), *seen)


# --- the market


@pytest.mark.parametrize("bars", PANELS)
@pytest.mark.parametrize("pairs", [PAIRS, ()])
def test_history_is_the_same_compiled(bars: Bars, pairs: tuple[str, ...]) -> None:
    reader = reader_of(bars, pairs)
    slow, fast = (read_history(bars, reader, compiled=compiled) for compiled in (False, True))
    assert slow.warm.any() and (np.abs(slow.market[..., MARKET_FEATURES.index("pair_stretch")]).max() > 0.5) == bool(
        reader.columns
    )
    assert_same_arrays(fast[1:], slow[1:])


@pytest.mark.parametrize("bars", PANELS)
def test_opinions_of_a_panel_are_the_streamed_ones(bars: Bars) -> None:
    names = [name for name in PAIRS if all(symbol in bars.symbols for symbol in name.split(":"))]
    config = overridden(CONFIG, {"kalman": {"entry_z": 0.5, "max_hold_bars": 5}})
    policies = load_policies(config)
    streamed = record(build(config, bars.symbols, names, policies), bars, names).opinions()
    for compiled in (False, True):
        brain = build(config, bars.symbols, names, policies)
        said = opinions(brain, read_panel(bars.close, brain.reader, compiled=compiled))
        assert all(np.abs(leg).max() > 0.0 for leg in said.legs.values())
        assert_same_arrays(said.legs.values(), streamed.legs.values())
        for field in ("amounts", "before", "risks", "regime", "volatility", "correlation", "warm"):
            assert_same_arrays([getattr(said, field)], [getattr(streamed, field)])
        assert said.layout == streamed.layout


def test_history_refuses_what_the_reader_refuses() -> None:
    bars = with_rows(PANELS[0], slice(0, 20))
    close = bars.close.copy()
    close[7, 2] = -1.0
    bars = Bars(bars.name, bars.symbols, bars.stamps, bars.open, bars.high, bars.low, close, bars.volume)
    for compiled in (False, True):
        with pytest.raises(BarsError, match="number 2"):
            read_history(bars, reader_of(bars), compiled=compiled)


# --- recorded legs


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_settled_targets_are_the_same_compiled(seed: int) -> None:
    case = random_case(seed)
    said = random_opinions(case, seed)
    mix = mix_of(said.regime, (WHOLE, FUSION, (0.0, 0.1, 0.4)))
    slow, fast = (settle_panel(said, case.panel.traded, mix, RISK, compiled=compiled) for compiled in (False, True))
    assert np.array_equal(slow.targets, fast.targets, equal_nan=True) and np.nanmax(np.abs(slow.targets)) > 0.0
    assert np.array_equal(slow.together, fast.together)


@pytest.mark.parametrize("bars", PANELS[:2])
def test_replayed_legs_are_the_cerebro_run(bars: Bars) -> None:
    rules = OrderRules(CONFIG.order_rules.lot, CONFIG.order_rules.eps_trade, CONFIG.order_rules.rebalance_band)
    panel = Panel(bars.symbols, bars.stamps, bars.open, bars.high, bars.low, bars.close, bars.traded)
    cerebro = bt.Cerebro(stdstats=False)
    for symbol, feed in zip(bars.symbols, feeds(panel), strict=True):
        cerebro.adddata(feed, name=symbol)
    cerebro.broker.setcash(1e6)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(COSTS))
    cerebro.addstrategy(Cold, overrides=ACTIVE, pairs=PAIRS, record=True, allow_in_sample=True)
    cerebro.addanalyzer(Ledger, _name="ledger")
    (strategy,) = cerebro.run()
    said = strategy.recorder.opinions()
    assert all(np.abs(leg).max() > 0.0 for leg in said.legs.values()) and np.ptp(said.regime) > 0.1
    for compiled in (False, True):
        settled = settle_panel(said, bars.traded, mix_of(said.regime, CONFIG.lines()), CONFIG.risk, compiled=compiled)
        given = {"cash": 1e6, "costs": COSTS, "rules": rules, "sides": settled.together}
        path = replay(settled.targets, bars, **given, compiled=compiled)
        assert len(path.fills) > 100
        assert_same_path(path, strategy.analyzers.ledger.path())


class Cold(HybridStrategy):
    """With stand-ins for policies."""

    def __init__(self, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.brain = build(self.config, self.symbols, self.pair_names, stand_ins())


def test_opinions_of_another_shape_or_without_a_number_are_refused() -> None:
    case = random_case(1)
    said, traded = random_opinions(case, 1), case.panel.traded
    mix = mix_of(said.regime, (WHOLE, FUSION, (0.0, 0.0, 0.0)))
    with pytest.raises(ConfigError, match="must be of shape"):
        settle_panel(said, traded[1:], mix, RISK)
    with pytest.raises(ConfigError, match="the mix must be of shape"):
        settle_panel(said, traded, mix_of(said.regime, (WHOLE, FUSION)), RISK)
    said.amounts[5, 1] = np.nan
    with pytest.raises(ConfigError, match="what legs wish is not finite at \\[5, 1\\]"):
        settle_panel(said, traded, mix, RISK)


def test_fills_are_a_sequence_of_fills() -> None:
    case = random_case(4)
    fills = replay(case.targets, case.panel, cash=case.cash, costs=case.costs, rules=case.rules).fills
    assert isinstance(fills, Fills) and len(fills) > 10
    assert isinstance(fills[3], Fill) and type(fills[3].bar) is int and type(fills[3].price) is float
    assert fills == tuple(fills) and tuple(fills) == fills and fills[2:4] == [fills[2], fills[3]]
    assert fills != tuple(fills)[1:] and fills[-1] == list(fills)[-1] and fills[0] in fills


# --- environments side by side


def crashing_track() -> Track:
    """Closes that treble every 30 bars: a short is ruined."""
    n = 200
    closes = np.array([[100.0 * 3.0 ** (t // 30)] for t in range(n)])
    seen = np.zeros((n, len(ASSET_FEATURES)), np.float32)
    return Track(("UP",), seen, np.full((n, 1), 0.01), np.zeros(n), closes, closes, np.arange(n), Span(5, n - 2))


def tracks_of(bars: Bars) -> list[Track]:
    return asset_tracks(read_history(bars, reader_of(bars)), "2011-01-01", "2012-12-31")


TRACKS = [*tracks_of(PANELS[0]), crashing_track()]


def environment(**options: Any) -> TradingEnv:
    rules = OrderRules(lot=0.0, rebalance_band=0.05)
    task = Task(risk_aversion=1.0, base_action=0.5, unit=RiskUnit(0.2, 1.0, 252.0), costs=COSTS, rules=rules)
    return TradingEnv(ASSET, TRACKS, task, **({"episode_bars": 25} | options))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("episode_bars", [25, None])
def test_lanes_are_environments_side_by_side(compiled: bool, episode_bars: int | None) -> None:
    def make() -> TradingEnv:
        return environment(episode_bars=episode_bars, compiled=not compiled)  # the objects in the other way

    n, rng, ruins = 6, np.random.default_rng(0), 0
    lanes = VecMonitor(LaneVecEnv(environment(episode_bars=episode_bars, compiled=compiled), n))
    objects = VecMonitor(DummyVecEnv([make] * n))
    for env in (lanes, objects):
        env.seed(11)
    assert_same_arrays([lanes.reset()], [objects.reset()])
    for _ in range(230):
        actions = rng.uniform(-1.0, 1.0, (n, 1)).astype(np.float32)
        *mine, infos = lanes.step(actions)
        *theirs, expected = objects.step(actions)
        assert_same_arrays(mine, theirs)
        for info, other in zip(infos, expected, strict=True):
            assert info.keys() == other.keys() and info["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            if "terminal_observation" in info:
                assert np.array_equal(info["terminal_observation"], other["terminal_observation"])
                assert (info["episode"]["r"], info["episode"]["l"]) == (other["episode"]["r"], other["episode"]["l"])
                ruins += not info["TimeLimit.truncated"]
        assert lanes.venv.reset_infos == objects.venv.reset_infos
    assert ruins > 0


def test_training_gives_the_same_weights_on_lanes() -> None:
    def weights(compiled: bool) -> dict[str, Any]:
        lanes = LaneVecEnv(environment(compiled=compiled), 4)
        model = PPO("MlpPolicy", lanes, n_steps=16, batch_size=32, n_epochs=1, seed=5, device="cpu").learn(200)
        found: dict[str, Any] = model.policy.state_dict()
        return found

    lanes, objects = weights(True), weights(False)
    assert lanes.keys() == objects.keys()
    assert all(bool((lanes[name] == objects[name]).all()) for name in lanes)


def test_lanes_that_have_not_begun_are_not_stepped() -> None:
    lanes = LaneVecEnv(environment(), 2)
    with pytest.raises(ResetNeeded, match=r"\[0, 1\] have ended or not begun"):
        lanes.step(np.zeros((2, 1), np.float32))


def test_lanes_take_options_and_refuse_rows_outside_the_span() -> None:
    lanes = LaneVecEnv(environment(), 2)
    lanes.set_options({"track": len(TRACKS) - 1, "row": 7})
    lanes.reset()
    assert [info["symbol"] for info in lanes.reset_infos] == ["UP", "UP"]
    lanes.set_options({"track": len(TRACKS) - 1, "row": 10_000})
    with pytest.raises(ConfigError, match="row 10000 of UP"):
        lanes.reset()


# --- without numba


def test_everything_works_without_numba_and_says_so_once() -> None:
    script = """
import sys, warnings
sys.path.insert(0, "tests/cases")
sys.modules["numba"] = None
import numpy as np
from brain_cases import PAIRS, random_bars
from hybrid_bt.config.build import Policies, build
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.config import load_config, overridden
from hybrid_bt.envs import asset_tracks
from hybrid_bt.brain.reader import read_history
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.brain.settling import mix_of, settle_panel
from hybrid_bt.account.replay import replay
from hybrid_bt.train.vec_envs import LaneVecEnv
from hybrid_bt.envs import ASSET, TradingEnv

config, bars = load_config("stable"), random_bars(400)
columns = resolve_pairs(PAIRS, bars.symbols)
reader = MarketReader(4, columns, [config.kalman_params] * 2, config.spread_params)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = read_history(bars, reader, compiled=True)
    off = overridden(config, {"sac": {"enabled": False}, "gate": {"enabled": False}, "kalman": {"entry_z": 0.5}})
    brain = build(off, bars.symbols, PAIRS, Policies(None, None))
    said = opinions(brain, read_panel(bars.close, reader, compiled=True))
    targets = settle_panel(said, bars.traded, mix_of(said.regime, off.lines()), config.risk, compiled=True).targets
    assert len(replay(targets, bars, compiled=True).fills) > 0
    tracks = asset_tracks(history, "2011-01-01", "2012-12-31")
    envs = LaneVecEnv(TradingEnv(ASSET, tracks), 2)
    envs.reset()
    envs.step(np.zeros((2, 1), np.float32))
assert [str(w.message) for w in caught if "numba" in str(w.message)] == [str(w.message) for w in caught][:1], caught
assert sum("numba" in str(w.message) for w in caught) == 1, caught
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_small_work_does_not_load_numba() -> None:
    script = """
import sys
sys.path.insert(0, "tests/cases")
import numpy as np
from broker_cases import random_case
from hybrid_bt.account.replay import replay
case = random_case(1)
replay(case.targets, case.panel)
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_many_small_replays_load_numba_once_they_are_as_long_as_a_long_one() -> None:
    script = """
import sys
sys.path.insert(0, "tests/cases")
from broker_cases import random_case
from hybrid_bt.equations import compiled as batch
from hybrid_bt.account.replay import SECONDS_PER_CELL, replay
case = random_case(1)
def once() -> list[float]:
    return replay(case.targets, case.panel).equity.tolist()
first = once()
enough = batch.SECONDS_TO_LOAD / (case.targets.size * SECONDS_PER_CELL)
batch._interpreted_so_far[0] = batch.SECONDS_TO_LOAD * (1.0 - 3.0 / enough)
assert once() == first and "numba" not in sys.modules
assert [once() for _ in range(4)] == [first] * 4 and "numba" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
