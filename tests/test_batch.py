"""Compiled, batched or bar by bar: the same bits, with numba and without it."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import ACTIVE, PAIRS, random_bars, stand_ins, with_rows
from broker_cases import Panel, feeds, random_case
from gymnasium.error import ResetNeeded
from numba import njit
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from hybrid_bt.accounting import OrderRules
from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.build import build, resolve_pairs
from hybrid_bt.config import load_config
from hybrid_bt.costs import Costs
from hybrid_bt.envs import ASSET, Span, Task, Track, TradingEnv, asset_tracks
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.fusion import FusionParams
from hybrid_bt.history import read_history, record_kalman_leg
from hybrid_bt.kernels import compiling
from hybrid_bt.leg_replay import constant_weight, replay_legs, replay_legs_many
from hybrid_bt.legs.sac import OBSERVATION, RiskUnit
from hybrid_bt.reader import MarketReader
from hybrid_bt.recording import record
from hybrid_bt.records import AccountPath, Fill, Fills, LegPaths
from hybrid_bt.risk import RiskParams
from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission
from hybrid_bt.target_replay import replay, replay_many
from hybrid_bt.train.sac import train_sac
from hybrid_bt.train.spec import SacSpec
from hybrid_bt.train.vecenv import LaneVecEnv

CONFIG = load_config("stable", overrides=ACTIVE)
FUSION = FusionParams(0.2, 0.5, 0.9)
RISK = RiskParams(0.15, 2.0, 1.5, 0.97, 0.3, 252.0)
COSTS = Costs(spread_bps=4.0, fee_bps=2.0, borrow_bps_per_year=300.0)
PATH_FIELDS = ("cash", "equity", "size", "borrow")
PANELS = [
    random_bars(400, seed=1),
    random_bars(380, seed=2, missing=0.2, late=90),
    random_bars(300, 2, seed=3, late=150),
]


def reader_of(bars: Bars, pairs: tuple[str, ...] = PAIRS) -> MarketReader:
    columns = resolve_pairs([p for p in pairs if all(s in bars.symbols for s in p.split(":"))], bars.symbols)
    return MarketReader(bars.n_symbols, columns, [CONFIG.kalman_params()] * len(columns), CONFIG.spread_params())


def assert_same_arrays(mine: Any, theirs: Any) -> None:
    for one, other in zip(mine, theirs, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def assert_same_path(mine: AccountPath, theirs: AccountPath) -> None:
    for field in PATH_FIELDS:
        assert np.array_equal(getattr(mine, field), getattr(theirs, field)), field
    assert mine.fills == theirs.fills and mine.rejected == theirs.rejected


def random_legs(case: Any, seed: int) -> LegPaths:
    rng = np.random.default_rng(seed)
    sac = np.nan_to_num(case.targets)
    t, n = sac.shape
    volatility, rho = rng.uniform(0.005, 0.03, (t, n)), rng.uniform(0.0, 0.9, t)
    return LegPaths(sac, 0.7 * np.roll(sac, 3, axis=0)[:, ::-1], rng.uniform(-1.0, 1.0, t), volatility, rho)


# --- sums


def test_compiled_fsum_is_the_correctly_rounded_sum() -> None:
    summed = njit(lambda values: math.fsum(values))
    assert compiling.MOST_PARTIALS > 40
    rng = np.random.default_rng(0)
    hard = [[], [-0.0], [0.1, 0.2], [1e16, 1.0, -1e16], [1.0, 2.0**-53, 2.0**-106], [1e308, -1e308, 1e-320]]
    some = [rng.normal(0, 1, rng.integers(0, 40)) * 10.0 ** rng.integers(-300, 300, 1) for _ in range(300)]
    wide = [rng.normal(0, 1, 30) * 10.0 ** rng.integers(-200, 200, 30) for _ in range(300)]
    cancelling = [np.concatenate([x, -x[::-1], rng.normal(0, 1e-9, 3)]) for x in wide]
    for values in (*hard, *some, *wide, *cancelling):
        array = np.array(values, dtype=np.float64)
        assert summed(array) == math.fsum(array)


# --- the market


@pytest.mark.parametrize("bars", PANELS)
@pytest.mark.parametrize("pairs", [PAIRS, ()])
def test_history_is_the_same_compiled(bars: Bars, pairs: tuple[str, ...]) -> None:
    reader = reader_of(bars, pairs)
    slow, fast = (read_history(bars, reader, compiled=compiled) for compiled in (False, True))
    assert slow.warm.any() and (np.abs(slow.assets[..., -1]).max() > 0.5) == bool(reader.columns)
    assert_same_arrays(fast[1:], slow[1:])


@pytest.mark.parametrize("bars", PANELS)
def test_recorded_kalman_leg_is_the_brains(bars: Bars) -> None:
    reader, rules = reader_of(bars), CONFIG.pair_rules()._replace(entry_z=0.5, max_hold_bars=5.0)
    names = [name for name in PAIRS if all(symbol in bars.symbols for symbol in name.split(":"))]
    slow, fast = (record_kalman_leg(bars, reader, rules, names, compiled=compiled) for compiled in (False, True))
    assert np.abs(slow[0]).max() > 0.0
    assert_same_arrays([fast[0], *vars(fast[1]).values()][2:], [slow[0], *vars(slow[1]).values()][2:])
    assert np.array_equal(fast[0], slow[0])
    brain = build(CONFIG, bars.symbols, names, stand_ins())
    assert brain.kalman is not None
    brain.kalman.rules = rules
    recorder = record(brain, bars, names)
    assert np.array_equal(recorder.decisions().legs["kalman"], fast[0])
    assert_same_arrays(list(vars(recorder.pairs()).values())[1:], list(vars(fast[1]).values())[1:])


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
def test_legs_are_the_same_compiled(seed: int) -> None:
    case = random_case(seed)
    terms: dict[str, Any] = {"fusion": FUSION, "risk": RISK, "cash": case.cash, "costs": case.costs}
    paths = [
        replay_legs(random_legs(case, seed), case.panel, rules=case.rules, compiled=compiled, **terms)
        for compiled in (False, True)
    ]
    assert_same_path(paths[1], paths[0])


@pytest.mark.parametrize("bars", PANELS[:2])
def test_replayed_legs_are_the_cerebro_run(bars: Bars) -> None:
    rules = OrderRules(CONFIG.account.lot, CONFIG.account.eps_trade, CONFIG.account.rebalance_band)
    panel = Panel(bars.symbols, bars.stamps, bars.open, bars.high, bars.low, bars.close, bars.traded)
    cerebro = bt.Cerebro(stdstats=False)
    for symbol, feed in zip(bars.symbols, feeds(panel), strict=True):
        cerebro.adddata(feed, name=symbol)
    cerebro.broker.setcash(1e6)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(COSTS))
    cerebro.addstrategy(Cold, overrides=ACTIVE, pairs=PAIRS, record=True, allow_in_sample=True)
    cerebro.addanalyzer(Ledger, _name="ledger")
    (strategy,) = cerebro.run()
    legs = strategy.recorder.legs()
    assert np.abs(legs.sac).max() > 0.0 and np.abs(legs.kalman).max() > 0.0 and np.ptp(legs.regime) > 0.1
    for compiled in (False, True):
        path = replay_legs(
            legs,
            bars,
            fusion=CONFIG.fusion_params(),
            risk=CONFIG.risk_params(),
            cash=1e6,
            costs=COSTS,
            rules=rules,
            compiled=compiled,
        )
        assert len(path.fills) > 100
        assert_same_path(path, strategy.analyzers.ledger.path())


class Cold(HybridStrategy):
    """With stand-ins for policies."""

    def __init__(self, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.brain = build(self.config, self.symbols, self.pair_names, stand_ins())


@pytest.mark.parametrize("compiled", [False, True])
def test_scenarios_of_legs_equal_single_replays(compiled: bool) -> None:
    cases = [random_case(seed) for seed in (1, 6)]
    t = min(len(case.targets) for case in cases)
    case = cases[0]
    rng = np.random.default_rng(5)
    boots = rng.integers(0, len(case.targets), (3, t))
    panels = [case.panel._replace(open=case.panel.open[rows], close=case.panel.close[rows]) for rows in boots]
    panels = [panel._replace(stamps=panel.stamps[:t], traded=~np.isnan(panel.close)) for panel in panels]
    recorded = [LegPaths(*(values[rows] for values in vars(random_legs(case, 4)).values())) for rows in boots]
    each: dict[str, list[Any]] = {
        "bars": panels,
        "legs": recorded,
        "fusion": [FUSION, constant_weight(1.0), constant_weight(0.0)],
        "risk": [RISK, RISK._replace(gross_limit=0.4), RISK._replace(volatility_target=0.5)],
        "regime": list(rng.uniform(-1.5, 1.5, (3, t))),
        "cash": [1e6, 3e4, 2e5],
        "costs": [COSTS, COSTS._replace(fee_bps=50.0), COSTS._replace(leverage=2.0)],
        "rules": [OrderRules(), OrderRules(lot=0.0), OrderRules(rebalance_band=0.05)],
    }
    for varied in (*({name} for name in each), set(each)):
        given = {name: values if name in varied else values[0] for name, values in each.items()}
        many = replay_legs_many(given.pop("legs"), given.pop("bars"), compiled=compiled, **given)
        assert many.equity.shape == (3, t)
        for b in range(3):
            own = {name: values[b if name in varied else 0] for name, values in each.items()}
            one = replay_legs(own.pop("legs"), own.pop("bars"), compiled=False, **own)
            assert np.array_equal(many.equity[b], one.equity) and np.array_equal(many.cash[b], one.cash)
            assert (many.fills[b], many.rejected[b]) == (len(one.fills), one.rejected)


def test_targets_may_be_replayed_on_bars_of_their_own() -> None:
    case = random_case(9)
    rows = np.arange(len(case.targets))[::-1]
    panels = [case.panel, case.panel._replace(open=case.panel.open[rows], close=case.panel.close[rows])]
    for compiled in (False, True):
        many = replay_many(case.targets, panels, costs=case.costs, compiled=compiled)
        for b, panel in enumerate(panels):
            assert np.array_equal(many.equity[b], replay(case.targets, panel, costs=case.costs, compiled=False).equity)


def test_legs_of_another_shape_or_without_a_number_are_refused() -> None:
    case = random_case(1)
    legs = random_legs(case, 1)
    terms: dict[str, Any] = {"fusion": FUSION, "risk": RISK}
    with pytest.raises(ConfigError, match="must be of shape"):
        replay_legs(LegPaths(legs.sac[1:], *list(vars(legs).values())[1:]), case.panel, **terms)
    legs.kalman[5, 1] = np.nan
    with pytest.raises(ConfigError, match="Kalman leg's targets is not finite at \\[5, 1\\]"):
        replay_legs(legs, case.panel, **terms)
    with pytest.raises(ConfigError, match="the same number"):
        replay_legs_many(random_legs(case, 1), case.panel, fusion=[FUSION] * 2, risk=[RISK] * 3)


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
    seen = np.zeros((n, len(OBSERVATION) - 1), np.float32)
    return Track(("UP",), seen, np.full((n, 1), 0.01), np.zeros(n), closes, closes, np.arange(n), Span(5, n - 1))


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
        actions = rng.uniform(-1.5, 1.5, (n, 1)).astype(np.float32)
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


def test_training_gives_the_same_weights_on_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SacSpec(
        action_low=-0.5, action_high=1.0, risk_aversion=1.0, gamma=0.9, net=(8, 8), n_envs=8, learning_starts=64
    )
    spec = spec.model_copy(update={"batch_size": 32, "episode_bars": 15})

    def weights() -> dict[str, Any]:
        return train_sac(TRACKS[:-1], CONFIG, spec, steps=400, seed=5).policy.state_dict()

    lanes = weights()
    monkeypatch.setattr("hybrid_bt.envs.trading.have_numba", lambda: False)
    objects = weights()
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
sys.path.insert(0, "tests")
sys.modules["numba"] = None
import numpy as np
from brain_cases import PAIRS, random_bars
from hybrid_bt.build import resolve_pairs
from hybrid_bt.config import load_config
from hybrid_bt.envs import asset_tracks
from hybrid_bt.history import read_history, record_kalman_leg
from hybrid_bt.reader import MarketReader
from hybrid_bt.records import LegPaths
from hybrid_bt.target_replay import replay, replay_many
from hybrid_bt.leg_replay import replay_legs, replay_legs_many
from hybrid_bt.train.sac import asset_env
from hybrid_bt.train.spec import SAC_SPECS
from hybrid_bt.train.vecenv import vec_env

config, bars = load_config("stable"), random_bars(400)
columns = resolve_pairs(PAIRS, bars.symbols)
reader = MarketReader(4, columns, [config.kalman_params()] * 2, config.spread_params())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = read_history(bars, reader, compiled=True)
    targets, _ = record_kalman_leg(bars, reader, config.pair_rules(), PAIRS, compiled=True)
    legs = LegPaths(targets, targets, np.zeros(400), history.volatility, history.correlation)
    mix = {"fusion": config.fusion_params(), "risk": config.risk_params(), "compiled": True}
    assert min(len(replay(targets, bars, compiled=True).fills), len(replay_legs(legs, bars, **mix).fills)) > 0
    assert replay_many(targets, bars, cash=[1e5, 1e6], compiled=True).equity.shape == (2, 400)
    assert replay_legs_many(legs, bars, **mix).equity.shape == (1, 400)
    tracks = asset_tracks(history, "2011-01-01", "2012-12-31")
    envs = vec_env(asset_env(tracks, config, SAC_SPECS["stable"]), 2)
    envs.reset()
    envs.step(np.zeros((2, 1), np.float32))
assert [str(w.message) for w in caught if "numba" in str(w.message)] == [str(w.message) for w in caught][:1], caught
assert sum("numba" in str(w.message) for w in caught) == 1, caught
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_small_work_does_not_load_numba() -> None:
    script = """
import sys
sys.path.insert(0, "tests")
import numpy as np
from broker_cases import random_case
from hybrid_bt.target_replay import replay
case = random_case(1)
replay(case.targets, case.panel)
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
