"""The SAC leg: one frozen policy asked about every asset in one call.

The policy's action is exposure in units of risk. Asset i of n gets

    target_i = action_i min(exposure_cap, risk_unit / sigma_i) / n,      sigma_i = volatility per year,

so that the same action means the same risk on a utility and on a chip maker. The policy sees its own previous action,
never the account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from hybrid_bt.features import ASSET_FEATURES, context_features, own_features
from hybrid_bt.legs.base import View

__all__ = ["OBSERVATION", "AssetPolicy", "RiskUnit", "SacLeg", "exposure", "exposures"]

#: names of a row of the observation, in order
OBSERVATION = (*ASSET_FEATURES, "previous_action")


class AssetPolicy(Protocol):
    """Anything that maps (n, features) observations to (n,) actions."""

    def act(self, observations: NDArray[np.float64]) -> NDArray[np.float64]: ...


class RiskUnit(NamedTuple):
    """How an action becomes exposure."""

    risk_unit: Annotated[float, Gt(0), "volatility per year of an action of 1"]
    exposure_cap: Annotated[float, Gt(0), "largest exposure of an action of 1, times the asset's share of equity"]
    bars_per_year: float


def exposure(action: float, volatility: float, unit: RiskUnit) -> float:
    """Exposure to one asset, as a fraction of its share of equity; `volatility` is per bar."""
    yearly = volatility * math.sqrt(unit.bars_per_year)
    if yearly * unit.exposure_cap <= unit.risk_unit:
        return action * unit.exposure_cap
    return action * unit.risk_unit / yearly


def exposures(
    actions: NDArray[np.float64], volatility: NDArray[np.float64], warm: NDArray[np.bool_], unit: RiskUnit
) -> NDArray[np.float64]:
    """`SacLeg.exposures` of many bars, each array (T, N): products and quotients alone, so the bits are the same."""
    yearly = volatility * math.sqrt(unit.bars_per_year)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(
            yearly * unit.exposure_cap <= unit.risk_unit, actions * unit.exposure_cap, actions * unit.risk_unit / yearly
        )
        targets: NDArray[np.float64] = np.where(warm, scaled / warm.sum(axis=1, keepdims=True), 0.0)
    return targets


class SacLeg:
    """Targets of a frozen policy; symbols that are not warm get 0, symbols without a bar keep their action."""

    def __init__(self, n_symbols: int, policy: AssetPolicy, unit: RiskUnit) -> None:
        self.unit = unit
        self.actions = [0.0] * n_symbols
        self.policy = policy

    def targets(self, view: View) -> list[float]:
        """(N,) signed fractions of equity."""
        asked = [i for i, (warm, traded) in enumerate(zip(view.warm, view.traded, strict=True)) if warm and traded]
        if asked:
            mean, context = view.market.mean, context_features(view.market)
            rows = [  # `asset_features`, then the previous action
                own_features(view.assets[i], mean) + context + (view.pair_zscores[i], self.actions[i]) for i in asked
            ]
            for i, action in zip(asked, self.policy.act(np.array(rows)).tolist(), strict=True):
                self.actions[i] = action
        return self.exposures(self.actions, view)

    def exposures(self, actions: Sequence[float], view: View) -> list[float]:
        """Targets of actions (N,): exposure to each warm symbol, in equal shares of equity."""
        n_warm = sum(view.warm)
        return [
            exposure(action, volatility, self.unit) / n_warm if warm else 0.0
            for action, volatility, warm in zip(actions, view.volatilities, view.warm, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        """The last actions, for `restore`; the policy's memory is the policy's."""
        return {"actions": np.array(self.actions, dtype=np.float64)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave."""
        self.actions = state["actions"].tolist()
