"""Environment steps: ours, one at a time and in batches, against pandas environments and gymnasium itself."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.measure import Bound, Row, at_least, medians, missing
from benchmarks.pandas_env import INDICATORS, PandasEnv, finrl_frame
from benchmarks.panels import START_CASH, random_panel
from hybrid_bt.bars import Bars
from hybrid_bt.brain.reader import MarketReader, read_history
from hybrid_bt.config import load_config
from hybrid_bt.envs import (
    ASSET,
    PORTFOLIO,
    REGIME,
    Episode,
    Lanes,
    Span,
    Task,
    Track,
    TradingEnv,
    asset_tracks,
    portfolio_track,
)
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules

__all__ = ["env_steps"]

WARM_ROW = 300
HMAX = 100
FEE = 1e-3
LANES = (64, 512)
TEN_YEARS = 2_500
NONE = Bound("faster", math.nan)


class Idle(gym.Env[Any, Any]):
    """What gymnasium itself costs: spaces, a copy of an observation, nothing else."""

    def __init__(self, shape: Any) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, shape, np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.row = np.zeros(shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.row.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.row.copy(), 0.0, False, False, {}


def stepper(env: Any, actions: Any) -> Callable[[], None]:
    """Step through `actions`, starting over where an episode ends."""

    def run() -> None:
        env.reset(seed=0)
        for action in actions:
            _, _, over, cut, _ = env.step(action)
            if over or cut:
                env.reset()

    return run


COSTS, RULES = Costs(4.0, 1.0, 50.0), OrderRules(lot=0.0)


def regime_env(bars: Bars) -> TradingEnv:
    """Two legs that trade on every bar, an account of all symbols and its shadow."""
    rng = np.random.default_rng(0)
    config = load_config("stable")
    n, wished = bars.n_symbols, rng.uniform(-0.4, 0.4, (bars.n_bars, 2 * bars.n_symbols)) / bars.n_symbols
    track = Track(
        bars.symbols,
        rng.normal(size=(bars.n_bars, 10)).astype(np.float32),
        np.full(bars.close.shape, 0.01),
        np.full(bars.n_bars, 0.3),
        bars.open,
        bars.close,
        bars.stamps.astype("datetime64[D]").astype(np.int64),
        Span(WARM_ROW, bars.n_bars - 2),
        np.hstack([wished, np.full((bars.n_bars, 2), 0.01)]),
        layout_of([[(i,) for i in range(n)]] * 2),
        (np.zeros(bars.close.shape, np.bool_),),
        config.lines(),
    )
    terms = Task(risk=config.risk, risk_aversion=2.0, costs=COSTS, rules=RULES)
    return TradingEnv(REGIME, [track], terms, episode_bars=None)


def asset_env(bars: Bars) -> TradingEnv:
    """The SAC leg's world over the panel's assets, one at a time; every step trades."""
    config = load_config("stable")
    reader = MarketReader(bars.n_symbols, [], [], config.spread_params)
    tracks = asset_tracks(read_history(bars, reader), bars.stamps[WARM_ROW], bars.stamps[-1])
    terms = Task(risk_aversion=2.0, base_action=0.5, costs=COSTS, rules=RULES)
    return TradingEnv(ASSET, tracks, terms, episode_bars=None)


def account_env(bars: Bars) -> TradingEnv:
    """One account of all symbols, an action per symbol: the work of FinRL's environment; every step trades all."""
    history = read_history(bars, MarketReader(bars.n_symbols, [], [], load_config("stable").spread_params))
    track = portfolio_track(history, bars.stamps[WARM_ROW], bars.stamps[-1])
    return TradingEnv(PORTFOLIO, [track], Task(risk_aversion=2.0, costs=COSTS, rules=RULES), episode_bars=None)


def restart(lanes: Lanes, tracks: Any) -> None:
    """Every lane at the first bar of one of the tracks."""
    for lane in range(lanes.n_lanes):
        track = lane % len(tracks)
        lanes.begin(lane, Episode(track, tracks[track].span.first, tracks[track].span.last))


def lane_stepper(lanes: Lanes, tracks: Any, actions: Any) -> Callable[[], None]:
    """Step all lanes through `actions`, (steps, lanes, assets)."""

    def run() -> None:
        restart(lanes, tracks)
        for row in actions:
            lanes.step(row)

    return run


def check_lanes(env: TradingEnv, lanes: Lanes, actions: Any) -> None:
    """The first lane's rewards are the single environment's."""
    restart(lanes, env.tracks)
    env.reset(options={"track": 0})
    for action in actions[:50]:
        single = env.step(action)[1]
        batched = lanes.step(np.stack([action] * lanes.n_lanes))[1][0]
        if batched != np.float32(single):
            raise AssertionError(f"a lane's reward is {batched}, the environment's {single}")


def finrl_env(path: str, bars: Bars) -> Any:
    """FinRL's own environment, loaded by the path of its file (importing `finrl` needs all that it depends on)."""
    found = importlib.util.spec_from_file_location("finrl_env", path)
    if found is None or found.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    n = bars.n_symbols
    return module.StockTradingEnv(
        df=finrl_frame(bars),
        stock_dim=n,
        hmax=HMAX,
        initial_amount=int(START_CASH),
        num_stock_shares=[0] * n,
        buy_cost_pct=[FEE] * n,
        sell_cost_pct=[FEE] * n,
        reward_scaling=1e-4,
        state_space=1 + n * (2 + len(INDICATORS)),
        action_space=n,
        tech_indicator_list=INDICATORS,
        print_verbosity=1_000_000,
    )


def env_steps(quick: bool, finrl: str | None = None) -> list[Row]:
    """A step of an account of 2 and of 5 assets that trades all of them; and of the environments that training uses.

    The rivals step on the same bars by the same actions, one account at a time, which is all that they can. They hold
    shares long only, so that a part of their sales is none; compiling, and the first episode of ours, are outside.
    """
    rows = [row for n in (2, 5) for row in _of(n, quick, finrl)]
    if finrl is None or not Path(finrl).is_file():
        rows.append(missing("env step, FinRL", "not given: --finrl PATH of env_stocktrading.py"))
    return rows


def _of(n_symbols: int, quick: bool, finrl: str | None) -> list[Row]:
    bars = random_panel(TEN_YEARS, n_symbols)
    n_steps, n_rival = 2_000, 200 if quick else 600  # ours are over before a clock ticks twice
    rng = np.random.default_rng(1)
    shares = rng.uniform(-1.0, 1.0, (n_steps, n_symbols)).astype(np.float32)
    slow = {"pandas", "finrl"}
    scores = rng.uniform(-1.0, 1.0, (n_steps, 1)).astype(np.float32)
    alone, account = asset_env(bars), account_env(bars)
    check_lanes(alone, alone.lanes(2), scores)
    check_lanes(account, account.lanes(2), shares)
    cases = {
        "regime": stepper(regime_env(bars), scores),
        "asset": stepper(alone, scores),
        "account": stepper(account, shares),
        "gymnasium": stepper(Idle(account.observation_space.shape), scores),
        "pandas": stepper(PandasEnv(finrl_frame(bars), START_CASH, FEE, HMAX), shares[:n_rival]),
    }
    for n_lanes in LANES:
        given = rng.uniform(-1.0, 1.0, (n_steps, n_lanes, n_symbols)).astype(np.float32)
        lanes = account.lanes(n_lanes, reuse=True)
        cases[f"account {n_lanes}"] = lane_stepper(lanes, account.tracks, given)
        cases[f"asset {n_lanes}"] = lane_stepper(alone.lanes(n_lanes, reuse=True), alone.tracks, given[:, :, :1])
    if finrl is not None and Path(finrl).is_file():
        cases["finrl"] = stepper(finrl_env(finrl, bars), shares[:n_rival])
    for name, work in cases.items():
        if name not in ("finrl", "pandas"):
            work()  # compiles
    spent = medians(cases, 3 if quick else 7)
    cost = {name: seconds * 1e6 / (n_rival if name in slow else n_steps) for name, seconds in spent.items()}
    rival = ("FinRL StockTradingEnv", cost["finrl"]) if "finrl" in cost else ("pandas environment", cost["pandas"])
    given_finrl = "finrl" in cost
    nothing = "gymnasium's own overhead", cost["gymnasium"], NONE
    what = f"{n_symbols} assets in one account"
    rows = [
        Row(f"env step, {what}", "us", cost["account"], *rival, _bound(200.0, given_finrl)),
        *(
            Row(f"env step, {what}, {n} lanes", "us", cost[f"account {n}"] / n, *rival, _bound(3_000.0, given_finrl))
            for n in LANES
        ),
        Row(f"env step, {what}", "us", cost["account"], "pandas environment", cost["pandas"], NONE),
        Row(f"env step, {what}", "us", cost["account"], *nothing),
        Row(f"gate's env step, {n_symbols} assets, two accounts", "us", cost["regime"], *nothing),
    ]
    if n_symbols == 2:
        rows.append(Row("SAC's env step, one asset", "us", cost["asset"], *nothing))
        rows += [Row(f"SAC's env step, one asset, {n} lanes", "us", cost[f"asset {n}"] / n, *nothing) for n in LANES]
    return rows


def _bound(limit: float, given: bool) -> Bound:
    """The bound is against FinRL; the stand-in is faster."""
    return at_least(limit) if given else NONE
