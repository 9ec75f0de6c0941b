"""An agent that learned in one of our environments, traded by Backtrader's broker: the environment's bits."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from hybrid_bt.bars import FIELDS
from hybrid_bt.bars.market import names_of
from hybrid_bt.brain.legs.base import View
from hybrid_bt.config import load_config
from hybrid_bt.envs.episodes import reader_of
from hybrid_bt.strategies.asking import AskingStrategy
from hybrid_bt.strategies.orders import TargetOrders
from hybrid_bt.strategies.seat import Agent, Seat
from hybrid_bt.strategies.underway import Underway


class AgentStrategy(AskingStrategy):
    """Asks an agent what it would have been asked in `hybrid_bt/Portfolio-v0` or `hybrid_bt/Asset-v0`, and trades it.

    >>> cerebro, agent = bt.Cerebro(), lambda seen: np.zeros(2)  # or PPO.load("agent")
    >>> cerebro.addstrategy(AgentStrategy, agent=agent, trained_until=date(2009, 12, 31))
    0

    Under the same bars, cash, costs (`SpreadFeeCommission`) and terms its observations, actions and equity are those of
    the environment to the last bit. The agent is first asked on the first bar to be traded on which all features are
    warm.

    Parameters
    ----------
    agent, symbols, trained_until, trade_from, allow_in_sample, allow_cheating
        As `AskingStrategy`. The order of the feeds is that of the training's symbols.
    env : str
        `Portfolio`, or `Asset` with one feed; `Regime` gives no positions. By default a frozen policy's own, else
        `Portfolio`.
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

    params = (("env", ""), ("mode", "stable"), ("pairs", ()), ("terms", None), ("vecnormalize", None))

    def __init__(self, **unknown: object) -> None:
        super().__init__(**unknown)
        self._seat = Seat("AgentStrategy", self._given, self.symbols, self._spec, self._task)
        self._reader = reader_of(self.symbols, names_of(self.p.pairs), self._config)
        self._view: View | None = None

    def _under_way(self) -> Underway:
        self._config = load_config(self.p.mode)
        self._given = Agent(self.p.agent, self.p.env, self.p.vecnormalize, self.p.terms or {})
        self._spec, self._task = self._given.declared(self._config)
        self.target_orders = TargetOrders(self, self._task.rules, self.feeds)
        return self.target_orders.underway

    def _reads(self, closes: Sequence[float]) -> bool:
        self._view, observer = self._reader.read(closes), self._seat.observer
        is_ready = observer.read(np.array(self._prices(*FIELDS))) if observer.has_own else True
        return is_ready and all(self._view.warm)

    def _trade(self, closes: Sequence[float]) -> None:
        assert self._view is not None
        equity, sizes, worth, _ = self.target_orders.books()
        self.state, wanted = self._seat.wants(self._view, equity, sizes, worth)
        self.target_orders.send(wanted)

    def _pass(self) -> None:
        self.target_orders.skip()

    def laid_open(self) -> list[Any]:
        """What an audit reads at the end of a bar: what the agent saw last, by name."""
        names = self._seat.names
        values = np.zeros(len(names)) if self.state is None else self.state
        return [SimpleNamespace(names=names, owners=("-",), values=values)]
