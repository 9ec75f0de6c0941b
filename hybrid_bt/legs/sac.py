"""The SAC leg: one frozen policy asked about every asset in one call.

The policy's action is exposure in units of risk. Asset i of n gets

    target_i = action_i min(exposure_cap, risk_unit / sigma_i) / n,      sigma_i = volatility per year,

so that the same action means the same risk on a utility and on a chip maker. The policy sees its own previous action,
never the account.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import PolicyError
from hybrid_bt.features import ASSET_FEATURES
from hybrid_bt.legs.base import View, Wish, each_asset
from hybrid_bt.risk import RiskUnit, exposure

FloatArray = NDArray[np.float64]

#: names of a row of the observation, in order
OBSERVATION = (*ASSET_FEATURES, "previous_action")


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
        n_warm, unit = sum(view.warm), self.unit._replace(bars_per_year=view.bars_per_year)
        return each_asset(
            exposure(action, volatility, unit) / n_warm if warm else 0.0
            for action, volatility, warm in zip(self.actions, view.volatility, view.warm, strict=True)
        )

    def wishes_of_bars(self, views: View) -> tuple[list[tuple[int]], FloatArray]:
        """All symbols, and what is wanted of them, (T, N); the policy hands its actions on from bar to bar."""
        asked, policy = views.warm & views.traded, self.policy
        actions = policy.act_in_turn(views.features, asked, np.array(self.actions))  # type: ignore[attr-defined]
        checked_actions(policy, actions.ravel(), actions.size)
        self.actions = actions[-1].tolist()
        return [(i,) for i in range(asked.shape[1])], exposures(actions, views, self.unit)


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


def checked_actions(policy: Any, actions: Any, rows: int) -> FloatArray:
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
    if rows and not (found.min() >= low and found.max() <= high):  # NaN fails this too
        action = next(action for action in found.tolist() if not low <= action <= high)
        raise PolicyError(f"action {action!r} is outside [{low:g}, {high:g}]")
    return found
