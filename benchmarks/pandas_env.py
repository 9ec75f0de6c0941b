"""A trading environment written the way many are: a long DataFrame, looked up and concatenated on every step.

The layout is that of FinRL's `StockTradingEnv` (state: cash, closes, shares, indicators; action: shares to trade in
units of `hmax`; trades at the close, sells first), written from its description for machines without FinRL.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd

from hybrid_bt.bars import Bars

__all__ = ["INDICATORS", "PandasEnv", "finrl_frame"]

INDICATORS = ["return_1", "trend_5", "trend_21", "trend_63"]


def finrl_frame(bars: Bars) -> pd.DataFrame:
    """Long frame, one row per day and symbol, indexed by day number; indicators are trailing returns."""
    parts = []
    for i, symbol in enumerate(bars.symbols):
        close = pd.Series(bars.close[:, i])
        part = pd.DataFrame({"date": bars.stamps.astype("datetime64[D]").astype(str), "tic": symbol, "close": close})
        for name in INDICATORS:
            part[name] = close.pct_change(int(name.split("_")[1])).fillna(0.0)
        parts.append(part)
    frame = pd.concat(parts).sort_values(["date", "tic"], kind="stable")
    frame.index = pd.factorize(frame["date"])[0]
    return frame


class PandasEnv(gym.Env[Any, Any]):
    """See the module; one account, costs as a fraction of notional."""

    def __init__(self, frame: pd.DataFrame, cash: float, cost: float, hmax: int) -> None:
        self.frame, self.cash, self.cost, self.hmax = frame, cash, cost, hmax
        self.n = frame["tic"].nunique()
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self.n,))
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1 + self.n * (2 + len(INDICATORS)),))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.day = 0
        self.values: list[float] = []
        self.state = self._observe(self.cash, [0.0] * self.n)
        return self.state, {}

    def _observe(self, cash: float, shares: list[float]) -> list[float]:
        today = self.frame.loc[self.day, :]
        indicators = [value for name in INDICATORS for value in today[name].values.tolist()]
        return [cash, *today["close"].values.tolist(), *shares, *indicators]

    def _value(self) -> float:
        n = self.n
        return float(self.state[0] + sum(np.array(self.state[1 : n + 1]) * np.array(self.state[n + 1 : 2 * n + 1])))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Trade at today's closes, go to the next day."""
        if self.day >= len(self.frame.index.unique()) - 1:
            return self.state, 0.0, True, False, {}
        before = self._value()
        wanted = (np.asarray(action) * self.hmax).astype(int)
        for i in np.argsort(wanted):
            self._trade(int(i), float(wanted[i]))
        self.day += 1
        self.state = self._observe(self.state[0], self.state[self.n + 1 : 2 * self.n + 1])
        after = self._value()
        self.values.append(after)
        return self.state, after - before, False, False, {}

    def _trade(self, i: int, wanted: float) -> None:
        price, held = self.state[1 + i], self.state[1 + self.n + i]
        affordable = self.state[0] // (price * (1.0 + self.cost))
        size = max(wanted, -held) if wanted < 0.0 else min(wanted, affordable)
        self.state[0] -= size * price + abs(size) * price * self.cost
        self.state[1 + self.n + i] += size
