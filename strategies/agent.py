"""An agent that learned in one of our environments, traded by Backtrader's broker: the environment's bits.

The account is Backtrader's; what the agent sees of it and of the market, and what its action asks for, are made by the
functions that the environment steps with (`equations.env_step`), from the features of the one reader of markets.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import FIELDS
from hybrid_bt.bars.market import names_of
from hybrid_bt.brain.legs.base import View
from hybrid_bt.brain.observing import Observer
from hybrid_bt.config import load_config
from hybrid_bt.envs import declared
from hybrid_bt.envs.episodes import reader_of
from hybrid_bt.envs.specs import checked_task
from hybrid_bt.equations.env_step import CLOSE, FLOAT_ROWS, SIZE, World, take_action
from hybrid_bt.errors import ConfigError
from hybrid_bt.strategies.asking import AskingStrategy
from hybrid_bt.strategies.orders import TargetOrders
from hybrid_bt.strategies.underway import Underway


class AgentStrategy(AskingStrategy):
    """Asks an agent what it would have been asked in `hybrid_bt/Portfolio-v0` or `hybrid_bt/Asset-v0`, and trades it.

    >>> cerebro.addstrategy(AgentStrategy, agent=PPO.load("agent"), trained_until=date(2009, 12, 31))

    Under the same bars, cash, costs (`SpreadFeeCommission`) and terms its observations, actions and equity are those of
    the environment to the last bit. The agent is first asked on the first bar to be traded on which all features are
    warm.

    Parameters
    ----------
    agent, symbols, trained_until, trade_from, allow_in_sample, allow_cheating
        As `AskingStrategy`. The order of the feeds is that of the training's symbols.
    env : str
        `Portfolio`, or `Asset` with one feed; `Regime` gives no positions.
    mode, pairs, terms
        As `gymnasium.make` was given them; `terms` are fields of `Task`, `observation` and `reward` by name. Costs are
        the broker's.
    vecnormalize : object with `normalize_obs`, optional
        Stable-Baselines3's `VecNormalize` that the agent learned under.

    Raises
    ------
    ConfigError
        For an environment or term that there is not, and as `HybridStrategy`.
    PolicyError
        If the agent's answer is not one finite number for each action.
    """

    needs = "give bars behind the training, and as many before them as warm features need"

    params = (("env", "Portfolio"), ("mode", "stable"), ("pairs", ()), ("terms", None), ("vecnormalize", None))

    def __init__(self, **unknown: object) -> None:
        super().__init__(**unknown)
        n = len(self.feeds)
        if self._spec.mixes or not (self._spec.per_asset or n == 1):
            rule = "gives r, which is no position: it is a gate's" if self._spec.mixes else "takes one feed"
            raise ConfigError(f"AgentStrategy: an agent of {self.p.env} {rule}; here are {n} feeds")
        if self.p.vecnormalize is not None and not hasattr(self.p.vecnormalize, "normalize_obs"):
            raise ConfigError(f"AgentStrategy: vecnormalize is {self.p.vecnormalize!r}; give SB3's VecNormalize")
        self._reader = reader_of(self.symbols, names_of(self.p.pairs), self._config)
        self._view: View | None = None
        self._observer = Observer(self._spec.observation, self.symbols)
        self._volatility, self._correlation = [[0.0] * n], [[0.0]]  # of the one row of the world
        nothing: tuple[Any, ...] = ((),) * len(World._fields)
        here: dict[str, Any] = {"volatility": self._volatility, "correlation": self._correlation, "task": self._task}
        self._world = World(*nothing)._replace(**here)
        self._wanted, self._asked = [0.0] * n, [0.0] * n

    def _under_way(self) -> Underway:
        self._config = load_config(self.p.mode)
        self._spec, task = declared(self.p.env, self._config, self.p.terms or {})
        _, self._task = checked_task(1.0, task)
        self.target_orders = TargetOrders(self, self._task.rules, self.feeds)
        return self.target_orders.underway

    def _reads(self, closes: Sequence[float]) -> bool:
        self._view = self._reader.read(closes)
        is_ready = self._observer.read(np.array(self._prices(*FIELDS))) if self._observer.has_own else True
        return is_ready and all(self._view.warm)

    def _trade(self, closes: Sequence[float]) -> None:
        assert self._view is not None
        view, spec = self._view, self._spec
        self.state = self._observation(view)
        actions = self.agent.act(self._scaled(self.state), len(self.feeds) if spec.per_asset else 1)
        self._volatility[0], self._correlation[0][0] = list(view.volatility), view.correlation
        take_action(self._asked, actions.astype(np.float32).tolist(), self._task)
        spec.act(self._wanted, self._asked, 0, self._world)
        self.target_orders.send(self._wanted)

    def _pass(self) -> None:
        self.target_orders.skip()

    def laid_open(self) -> list[Any]:
        """What an audit reads at the end of a bar: what the agent saw last, by name."""
        names = self._spec.observation.names(self.symbols)
        values = np.zeros(len(names)) if self.state is None else self.state
        return [SimpleNamespace(names=names, owners=("-",), values=values)]

    def _observation(self, view: View) -> NDArray[np.float32]:
        """As the environment's: features, then what is seen of the account."""
        spec, n, known = self._spec, len(self.feeds), self._observer.see(view)
        seen = np.append(known, np.zeros(spec.sees * n, np.float32))
        equity, sizes, worth, _ = self.target_orders.books()
        floats: list[Any] = [()] * FLOAT_ROWS
        floats[SIZE], floats[CLOSE] = sizes, worth
        spec.see(seen, len(known), floats, equity)
        return seen

    def _scaled(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.p.vecnormalize is None:
            return observation
        return np.asarray(self.p.vecnormalize.normalize_obs(observation), dtype=np.float32)
