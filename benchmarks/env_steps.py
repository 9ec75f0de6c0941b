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
from hybrid_bt.accounting import OrderRules
from hybrid_bt.bars import Bars
from hybrid_bt.config import load_config
from hybrid_bt.costs import Costs
from hybrid_bt.envs import RegimeEnv, RegimeTrack, Reward, Span

__all__ = ["env_steps"]

WARM_ROW = 300
HMAX = 100
FEE = 1e-3


class Idle(gym.Env[Any, Any]):
    """What gymnasium itself costs: spaces, a copy of an observation, nothing else."""

    def __init__(self, n_features: int) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (n_features,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.row = np.zeros(n_features, np.float32)

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


def portfolio_env(bars: Bars) -> RegimeEnv:
    """Two legs that trade on every bar, an account of all symbols and its shadow."""
    rng = np.random.default_rng(0)
    config = load_config("stable")
    legs = rng.uniform(-0.4, 0.4, (2, *bars.close.shape)) / bars.n_symbols
    track = RegimeTrack(
        rng.normal(size=(bars.n_bars, 10)).astype(np.float32),
        legs[0].tolist(),
        legs[1].tolist(),
        np.full(bars.close.shape, 0.01).tolist(),
        [0.3] * bars.n_bars,
        bars.open.tolist(),
        bars.close.tolist(),
        bars.stamps.astype("datetime64[D]").astype(np.int64).tolist(),
        Span(WARM_ROW, bars.n_bars - 1),
    )
    return RegimeEnv(
        track,
        fusion=config.fusion_params(),
        risk=config.risk_params(),
        reward=Reward(2.0),
        costs=Costs(4.0, 1.0, 50.0),
        rules=OrderRules(lot=0.0),
        episode_bars=None,
    )


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
    """A step of a portfolio of 2 and of 5 assets that trades all of them."""
    rows = [row for n in (2, 5) for row in _of(n, quick, finrl)]
    if finrl is None or not Path(finrl).is_file():
        rows.append(missing("env step, FinRL", "not given: --finrl PATH of env_stocktrading.py"))
    return rows


def _of(n_symbols: int, quick: bool, finrl: str | None) -> list[Row]:
    bars = random_panel(1_000, n_symbols)
    n_steps = 200 if quick else 600
    rng = np.random.default_rng(1)
    shares = rng.uniform(-1.0, 1.0, (n_steps, n_symbols)).astype(np.float32)
    scores = rng.uniform(-1.0, 1.0, (n_steps, 1)).astype(np.float32)
    cases = {
        "ours": stepper(portfolio_env(bars), scores),
        "gymnasium": stepper(Idle(10), scores),
        "pandas": stepper(PandasEnv(finrl_frame(bars), START_CASH, FEE, HMAX), shares),
    }
    if finrl is not None and Path(finrl).is_file():
        cases["finrl"] = stepper(finrl_env(finrl, bars), shares)
    cost = {name: seconds * 1e6 / n_steps for name, seconds in medians(cases, 3 if quick else 5).items()}
    what = f"env step, {n_symbols} assets, two accounts"
    none = Bound("faster", math.nan)
    rows = [
        Row(what, "us", cost["ours"], "gymnasium's own overhead", cost["gymnasium"], none),
        Row(what, "us", cost["ours"], "pandas environment", cost["pandas"], none),
    ]
    if "finrl" in cost:
        rows.append(Row(what, "us", cost["ours"], "FinRL StockTradingEnv", cost["finrl"], at_least(200.0)))
    return rows
