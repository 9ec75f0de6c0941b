"""Who asks the frozen policies: the SAC leg about every asset in one call, the regime gate about the market.

The policy's action is exposure in units of risk. Asset i of n gets

    target_i = action_i min(exposure_cap, risk_unit / sigma_i) / n,      sigma_i = volatility per year,

so that the same action means the same risk on a utility and on a chip maker. The policy sees its own previous action,
never the account.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.brain.legs.base import View, Wish
from hybrid_bt.equations.fusion import RiskUnit, exposure
from hybrid_bt.errors import PolicyError

FloatArray = NDArray[np.float64]


class AssetPolicy(Protocol):
    """Anything that maps (n, features) observations to (n,) actions."""

    def act(self, observations: NDArray[np.float64]) -> NDArray[np.float64]: ...


class SacLeg:
    """A wish for each asset; symbols that are not warm get 0, symbols without a bar keep their action.

    Parameters
    ----------
    unit : RiskUnit
        Its `bars_per_year` is that of the view.
    """

    Params = RiskUnit

    def __init__(
        self, symbols: Sequence[str], pairs: Sequence[tuple[int, int]], unit: RiskUnit, policy: AssetPolicy
    ) -> None:
        self.unit = unit
        self.actions = [0.0] * len(symbols)
        self.policy = policy

    def wishes(self, view: View) -> list[Wish]:
        """One for each asset."""
        asked = [i for i, (warm, traded) in enumerate(zip(view.warm, view.traded, strict=True)) if warm and traded]
        if asked:
            rows = [(*view.features[i], self.actions[i]) for i in asked]
            answers = checked_actions(self.policy, self.policy.act(np.array(rows)), len(rows))
            for i, action in zip(asked, answers.tolist(), strict=True):
                self.actions[i] = action
        n_warm, unit = sum(view.warm), self.unit
        if unit.bars_per_year != view.bars_per_year:
            unit = unit._replace(bars_per_year=view.bars_per_year)
        parts = zip(self.actions, view.volatility, view.warm, strict=True)
        amounts = [exposure(action, sigma, unit) / n_warm if warm else 0.0 for action, sigma, warm in parts]
        return [Wish((i,), (amount,)) for i, amount in enumerate(amounts)]

    def wishes_of_bars(self, views: View) -> tuple[list[tuple[int]], FloatArray]:
        """All symbols, and what is wanted of them, (T, N); the policy hands its actions on from bar to bar."""
        asked, policy = views.warm & views.traded, self.policy
        actions = policy.act_in_turn(views.features, asked, np.array(self.actions))  # type: ignore[attr-defined]
        checked_actions(policy, actions.ravel(), actions.size)
        self.actions = actions[-1].tolist()
        return [(i,) for i in range(asked.shape[1])], exposures(actions, views, self.unit)


class Gate:
    """Regime score of each bar, +1 trend and -1 mean reversion; neutral until the market's features are warm.

    It sees market features only, never targets or the account, so its scores do not depend on costs, weights or limits
    and can be recorded once. Where the policy fails, its memory is put back to what it was before, if it can be.
    """

    def __init__(self, policy: AssetPolicy) -> None:
        self.policy = policy

    def score(self, view: View) -> float:
        """R in [-1, 1] at this close."""
        if not view.market_warm:
            return 0.0
        scores: list[float] = self._asked(self.policy.act, np.array([view.market])).tolist()
        return min(max(scores[0], -1.0), 1.0)

    def scores_of_bars(self, views: View) -> NDArray[np.float64]:
        """R of many bars, (T,): the same bits; where it raises, the memory is as it was before."""
        scores = np.zeros(len(views.market))
        warm = views.market_warm
        if warm.any():
            policy: Any = self.policy
            scores[warm] = np.clip(self._asked(policy.run, views.market[warm]), -1.0, 1.0)
        return scores

    def _asked(self, ask: Callable[[FloatArray], ArrayLike], observations: NDArray[np.float64]) -> NDArray[np.float64]:
        policy: Any = self.policy
        before = policy.state() if hasattr(policy, "restore") else None
        try:
            return checked_actions(policy, ask(observations), len(observations))
        except Exception:
            if before is not None:
                policy.restore(before)
            raise


def exposures(actions: FloatArray, views: View, unit: RiskUnit) -> FloatArray:
    """`exposure` in equal shares of equity to each warm symbol of many bars, (T, N).

    Products and quotients alone, so the bits are those of `SacLeg.wishes`; a year's root is taken as there, by `math`.
    """
    roots = {rate: math.sqrt(rate) for rate in set(views.bars_per_year.tolist())}
    yearly = views.volatility * np.array([roots[rate] for rate in views.bars_per_year.tolist()])[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(
            yearly * unit.exposure_cap <= unit.risk_unit, actions * unit.exposure_cap, actions * unit.risk_unit / yearly
        )
        found: FloatArray = np.where(views.warm, scaled / views.warm.sum(axis=1, keepdims=True), 0.0)
    return found


def checked_actions(policy: object, actions: ArrayLike, rows: int) -> FloatArray:
    """Actions (rows,) as a policy may give them.

    Raises
    ------
    PolicyError
        For another shape, a NaN or infinite action, or one outside the policy's range (-1 to 1 where it names none).
    """
    found: FloatArray = np.asarray(actions, dtype=np.float64)
    if found.shape != (rows,):
        raise PolicyError(f"{rows} rows gave actions of shape {found.shape}")
    manifest = getattr(policy, "manifest", None)
    low, high = float(getattr(manifest, "action_low", -1.0)), float(getattr(manifest, "action_high", 1.0))
    for action in found.tolist():
        if not low <= action <= high:  # NaN is within no range
            raise PolicyError(f"action {action!r} is outside [{low:g}, {high:g}]")
    return found
