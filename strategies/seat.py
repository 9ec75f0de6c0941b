"""An agent that learned in one of our environments: what it is shown and asked, and how it stands as a leg.

What it sees of an account and of the market, and what its action asks for, are made by the functions that the
environment steps with (`equations.env_step`), from the features of the one reader of markets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import View, Wish, each_asset
from hybrid_bt.brain.observing import Observer
from hybrid_bt.config import Config
from hybrid_bt.config.build import learned_until
from hybrid_bt.envs import declared, named
from hybrid_bt.envs.specs import Spec, checked_task
from hybrid_bt.equations.env_step import CLOSE, FLOAT_ROWS, NO_LIMITS, SIZE, Task, World, take_action
from hybrid_bt.equations.guard_limits import GuardFacts
from hybrid_bt.errors import ConfigError
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.strategies.asking import Asked

KINDS = {"sac": "Asset", "gate": "Regime", "portfolio": "Portfolio"}  #: of a frozen policy -> where it learned


class Agent(NamedTuple):
    """An agent in the place of a leg: what it wants is mixed with what other legs want, under the hybrid's limits.

    >>> cerebro.addstrategy(HybridStrategy, legs={"sac": Agent(PPO.load("agent"), trained_until=date(2009, 12, 31))})

    It is asked on the bars that are traded, from the first one on which all features are warm, and sees the weights
    that the account holds, whichever leg wanted them. Alone it trades as `AgentStrategy` does under the same limits.
    """

    agent: Any  #: with `predict` as Stable-Baselines3 has it, or a function of the observation
    #: `Portfolio`, or `Asset` with one symbol, or gymnasium's name; by default a frozen policy's own, else `Portfolio`
    env: str = ""
    vecnormalize: Any = None  #: Stable-Baselines3's, that it learned under
    #: fields of `Task`, and `observation`, by name; limits, costs and orders are the hybrid's
    terms: Mapping[str, Any] = {}
    trained_until: date | None = None  #: by default what a frozen policy says

    def __call__(self, symbols: Sequence[str], pairs: Sequence[tuple[int, int]], config: Config) -> AgentLeg:
        """The leg."""
        return AgentLeg(self, symbols, config)

    @property
    def learned_in(self) -> str:
        """The environment."""
        return (
            named(self.env)
            if self.env
            else KINDS.get(getattr(getattr(self.agent, "manifest", None), "kind", ""), "Portfolio")
        )

    @property
    def learned_until(self) -> date | None:
        """Last day that it learned from."""
        return learned_until(self.agent) if self.trained_until is None else self.trained_until

    @property
    def is_object(self) -> str:
        """What answers where it is no frozen file."""
        name = getattr(self.agent, "__name__", type(self.agent).__name__)
        return (
            "" if isinstance(self.agent, FrozenPolicy) else getattr(self.agent, "is_object", f"{name}, as it was given")
        )

    @property
    def learner(self) -> str:
        """What learned, in lower case, which gives the account of this leg alone its name."""
        known = getattr(getattr(self.agent, "manifest", None), "algorithm", type(self.agent).__name__.lower())
        return f"{known} object" if self.is_object else known

    def declared(self, config: Config) -> tuple[Spec, Task]:
        """What makes its environment, under a configuration; ConfigError for what there is not."""
        spec, task = declared(self.learned_in, config, self.terms)
        return spec, checked_task(1.0, task)[1]

    def facts(self) -> dict[str, str | None]:
        """For `run.json`."""
        said = {"env": self.learned_in, "learner": self.learner, "sha256": getattr(self.agent, "sha256", None)}
        return said | ({"object": self.is_object} if self.is_object else {})


class AgentLeg:
    """A wish for each asset: the agent's action, before limits."""

    def __init__(self, given: Agent, symbols: Sequence[str], config: Config) -> None:
        spec, task = given.declared(config)
        self._seat = Seat("legs", given, symbols, spec, task._replace(risk=NO_LIMITS))
        if self._seat.observer.has_own:
            raise ConfigError("legs: a leg sees no bars, so no features of one's own; trade it as AgentStrategy")
        self._told: GuardFacts | None = None
        self._wanted = [0.0] * len(symbols)

    def told(self, facts: GuardFacts | None) -> None:
        """The account at the close that is to be asked about; None where nothing is traded."""
        self._told = facts

    def wishes(self, view: View) -> list[Wish]:
        """One for each asset; what was wanted last where the agent is not asked."""
        facts, self._told = self._told, None
        if facts is not None and all(view.warm):
            # weights as shares of a price of 1 in an account of 1
            _, self._wanted = self._seat.wants(view, 1.0, facts.held, [1.0] * len(self._wanted))
        return each_asset(self._wanted)


class Seat:
    """Shows an agent what its environment showed it, and takes its answer as the environment does.

    Parameters
    ----------
    owner : str
        Whose errors they are.
    symbols : sequence of str
        In the order of the training's.
    spec : Spec
        Of the environment, as it was declared.
    task : Task
        With the limits that are laid on its answers.

    Raises
    ------
    ConfigError
        For an environment that gives no positions, or an agent that learned another.
    """

    def __init__(self, owner: str, given: Agent, symbols: Sequence[str], spec: Spec, task: Task) -> None:
        env, n, self._spec = given.learned_in, len(symbols), spec
        if spec.mixes or not (spec.per_asset or n == 1):
            rule = (
                "gives r, which is no position: it mixes legs; freeze it (hybrid-bt policy import-sb3 --kind gate) for "
                "HybridStrategy(gate=...) or hybrid-bt run --gate"
            )
            rule = rule if spec.mixes else f"takes one feed; here are {n} feeds"
            raise ConfigError(f"{owner}: an agent of {env} {rule}")
        self._scaler = given.vecnormalize
        if self._scaler is not None and not hasattr(self._scaler, "normalize_obs"):
            raise ConfigError(f"{owner}: vecnormalize is {self._scaler!r}; give SB3's VecNormalize")
        self.names = spec.observation.names(symbols)  #: of what it sees
        shown = len(self.names)
        read = getattr(getattr(given.agent, "observation_space", None), "shape", (shown,))
        if read != (shown,):
            raise ConfigError(f"{owner}: {env} shows {shown} numbers for {n} feeds, and the agent reads {read}")
        known = getattr(getattr(given.agent, "manifest", None), "symbols", ())
        if spec.per_asset and sorted(known) == sorted(symbols) and tuple(known) != tuple(symbols):
            raise ConfigError(f"{owner}: the agent learned {', '.join(known)}, in this order; give the feeds in it")
        self._agent, self.observer = Asked(given.agent, owner), Observer(spec.observation, symbols)
        self._volatility, self._correlation = [[0.0] * n], [[0.0]]  # of the one row of the world
        nothing: tuple[Any, ...] = ((),) * len(World._fields)
        here: dict[str, Any] = {"volatility": self._volatility, "correlation": self._correlation, "task": task}
        self._world = World(*nothing)._replace(**here)
        self._wanted, self._asked = [0.0] * n, [0.0] * n

    def wants(
        self, view: View, equity: float, sizes: Sequence[float], worth: Sequence[float]
    ) -> tuple[NDArray[np.float32], list[float]]:
        """What the agent saw at a close, and the targets that its answer asks for, (N,).

        Raises
        ------
        BarsError
            If a feature of one's own is not finite.
        PolicyError
            If the answer is not one finite number for each action.
        """
        seen = self._observation(view, equity, sizes, worth)
        actions = self._agent.act(self._scaled(seen), len(sizes) if self._spec.per_asset else 1)
        self._volatility[0], self._correlation[0][0] = list(view.volatility), view.correlation
        take_action(self._asked, actions.astype(np.float32).tolist(), self._world.task)
        self._spec.act(self._wanted, self._asked, 0, self._world)
        return seen, list(self._wanted)

    def _observation(
        self, view: View, equity: float, sizes: Sequence[float], worth: Sequence[float]
    ) -> NDArray[np.float32]:
        """As the environment's: features as they were clipped and rounded, then what is seen of the account."""
        known = self.observer.see(view)
        seen = np.append(known, np.zeros(self._spec.sees * len(sizes), np.float32))
        floats: list[Any] = [()] * FLOAT_ROWS
        floats[SIZE], floats[CLOSE] = sizes, worth
        self._spec.see(seen, len(known), floats, equity)
        return seen

    def _scaled(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._scaler is None:
            return observation
        return np.asarray(self._scaler.normalize_obs(observation), dtype=np.float32)
