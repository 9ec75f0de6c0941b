"""What makes a market an environment, and what is no action: one error for all of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NoReturn

import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.error import ResetNeeded as ResetNeeded
from numpy import ndarray
from numpy.typing import NDArray

from hybrid_bt.account.replay import checked_terms
from hybrid_bt.brain.observing import OF_ASSET, OF_PORTFOLIO, OF_REGIME, Observation
from hybrid_bt.equations import env_step as step
from hybrid_bt.equations.env_step import Task
from hybrid_bt.equations.fusion import RiskParams, RiskUnit
from hybrid_bt.equations.parameters import validated
from hybrid_bt.equations.rewards import Terms
from hybrid_bt.errors import ConfigError, check_names

SINGLE = np.dtype(np.float32)
ENDS = "low", "high"  #: of the action space
MAX_SAID = 100  #: letters of an action


class Spec(NamedTuple):
    """What makes a market an environment."""

    act: step.Act
    reward: step.Pay | Terms
    observation: Observation
    per_asset: bool = False  #: an action holds a number for each asset; else one

    @property
    def see(self) -> step.See:
        """What writes numbers of the account behind the features."""
        return step.see_weights if self.sees else step.see_nothing

    @property
    def sees(self) -> int:
        """Numbers of each asset that `see` writes, within +-`CLIP` as features are."""
        return len(self.observation.account)

    @property
    def mixes(self) -> bool:
        """Whether an action mixes recorded legs."""
        return self.act is step.act_regime

    @property
    def accounts(self) -> int:
        """Of a lane; 2 with a shadow that keeps `base_action`."""
        return 1 + (self.reward is step.pay_over_shadow)


ASSET = Spec(step.act_asset, step.pay_over_asset, OF_ASSET)
REGIME = Spec(step.act_regime, step.pay_over_shadow, OF_REGIME)
PORTFOLIO = Spec(step.act_portfolio, step.pay_growth, OF_PORTFOLIO, per_asset=True)
#: every environment that there is
SPECS = {"Asset": ASSET, "Regime": REGIME, "Portfolio": PORTFOLIO}


def named(env: str) -> str:
    """The key of `SPECS` that is meant by it, or by gymnasium's name; ConfigError if there is none."""
    key = str(env).removeprefix("hybrid_bt/").removesuffix("-v0")
    check_names([key], SPECS, "environment: there is no spec")
    return key


class ActionError(ConfigError, InvalidAction):
    """No finite numbers of the action space's shape."""


def refuse(given: object, shape: tuple[int, ...], ends: tuple[float, float]) -> NoReturn:
    """Raise `ActionError`, which names the first number that is none where that is what is wrong."""
    said = " ".join(f"{given!r}".split())[:MAX_SAID]
    if isinstance(given, np.ndarray) and given.shape == shape and given.dtype == SINGLE:
        where = tuple(np.argwhere(~np.isfinite(given))[0].tolist())
        said = f"{given[where]} at {where}"
    raise ActionError(
        f"action: finite numbers of shape {shape} from {ends[0]} to {ends[1]}, not {said}; an agent that answers NaN "
        "has diverged"
    )


def as_action(given: object, shape: tuple[int, ...], ends: tuple[float, float]) -> NDArray[np.float32]:
    """Numbers of a shape, laid out as kernels read them; these look whether they are finite.

    Raises
    ------
    ActionError
    """
    if type(given) is ndarray and given.dtype is SINGLE and given.shape == shape and given.flags.carray:
        return given
    try:
        action = np.asarray(given)
    except (ValueError, TypeError, RuntimeError):  # rows of several lengths, tensors that are elsewhere
        refuse(given, shape, ends)
    if action.shape != shape or action.dtype.kind not in "fiu":
        refuse(given, shape, ends)
    with np.errstate(over="ignore"):  # to infinite, which is refused
        return action.astype(np.float32, order="C")


def checked_task(cash: float, task: Task) -> tuple[float, Task]:
    """Start value and task, in range, the action space as float32 can say it; a limit may be infinite."""
    for name, usual in Task._field_defaults.items():
        value: Any = getattr(task, name)
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if isinstance(usual, float) and not (is_number and (math.isfinite(value) or name in ENDS)):
            raise ConfigError(f"environment: {name} is {value!r}; give a finite number")
    if not task.reward_unit > 0.0:
        raise ConfigError(
            f"environment: reward_unit is {task.reward_unit}; rewards are divided by it, give one above 0"
        )
    low, high = float(np.float32(task.low)), float(np.float32(task.high))  # what an action space can say
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"action range {task.low, task.high}: two finite ends, the lower below the upper")
    cash, costs, rules = checked_terms(cash, task.costs, task.rules)
    unit, limits = validated(RiskUnit, task.unit, "unit"), task.risk
    if isinstance(limits, RiskParams):
        limits = RiskParams(*(1.0 if limit == math.inf else limit for limit in limits))
    validated(RiskParams, limits, "risk")
    return cash, task._replace(low=low, high=high, unit=unit, costs=costs, rules=rules)
