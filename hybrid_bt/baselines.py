"""Accounts that say what each part added: replayed on the same bars under the same costs and order rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.accounting import OrderRules
from hybrid_bt.bars import Bars
from hybrid_bt.config import Config
from hybrid_bt.fusion import FusionParams
from hybrid_bt.leg_replay import constant_weight, replay_legs
from hybrid_bt.recording import Recorder
from hybrid_bt.records import AccountPath, LegPaths
from hybrid_bt.target_replay import replay

__all__ = ["BENCHMARK", "EQUAL_WEIGHT", "RISK_OFF", "baselines", "leverage_of", "unmanaged"]

EQUAL_WEIGHT = "equal-weight"
BENCHMARK = "benchmark"
RISK_OFF = "risk-off"
HELD = (EQUAL_WEIGHT, BENCHMARK)  #: bought once and never levered, so they pay no financing either
FULLY_INVESTED = 0.97  #: a held account keeps this little in cash, so that a gap does not cost it an order


def leverage_of(account: str, config: Config) -> float:
    """Leverage under which an account of a run trades."""
    return 1.0 if account in HELD else config.costs.leverage


def baselines(
    config: Config, traded: Bars, recorder: Recorder, row: int, benchmark: str = EQUAL_WEIGHT
) -> dict[str, AccountPath]:
    """The accounts beside the hybrid, in the order of the summary.

    Parameters
    ----------
    traded : Bars
        From the first decision on; `row` is that bar's row in the recorder.
    benchmark : str
        A symbol adds the account `benchmark`, which buys and holds it.
    """
    legs = recorder.legs(row)
    both = config.sac.enabled and config.kalman.enabled
    neutral = config.fusion.at_neutral if both else float(config.sac.enabled)
    found: dict[str, AccountPath] = {}
    if config.sac.enabled:
        found["sac"] = _mixed(config, traded, legs, 1.0)
    if config.kalman.enabled:
        found["kalman"] = _mixed(config, traded, legs, 0.0)
    found["gate-off"] = _mixed(config, traded, legs, neutral)
    found[EQUAL_WEIGHT] = _held(config, traded, np.flatnonzero(traded.traded[0]).tolist())
    found["vol-target"] = _mixed(config, traded, replace(legs, sac=_equal_weights(recorder.warm(row))), 1.0)
    if benchmark != EQUAL_WEIGHT:
        found[BENCHMARK] = _held(config, traded, [traded.index_of(benchmark)])
    return found


def unmanaged(config: Config, traded: Bars, recorder: Recorder, row: int) -> AccountPath:
    """The hybrid without its risk manager: the account `risk-off`, where there is one."""
    if config.sac.enabled and config.kalman.enabled:
        return _mixed(config, traded, recorder.legs(row), config.fusion)
    return _mixed(config, traded, recorder.legs(row), float(config.sac.enabled))


def _mixed(config: Config, traded: Bars, legs: LegPaths, mix: float | FusionParams) -> AccountPath:
    """A mix of the recorded legs under the hybrid's limits: by r, or with a constant weight of SAC."""
    return replay_legs(
        legs,
        traded,
        fusion=mix if isinstance(mix, FusionParams) else constant_weight(mix),
        risk=config.risk,
        cash=config.account.cash,
        costs=config.costs,
        rules=config.order_rules,
    )


def _held(config: Config, traded: Bars, columns: Sequence[int]) -> AccountPath:
    """Buy some symbols in equal parts on the first bar and never trade again (NaN: keep what is held)."""
    targets = np.full(traded.close.shape, np.nan)
    targets[0] = 0.0
    targets[0, columns] = FULLY_INVESTED / max(len(columns), 1)
    costs = config.costs._replace(leverage=1.0)
    # no band: among many symbols an equal part is smaller than the change that a rebalanced account waits for
    return replay(targets, traded, cash=config.account.cash, costs=costs, rules=OrderRules(config.order_rules.lot))


def _equal_weights(warm: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1/n in each symbol that is warm, on every bar."""
    weights: NDArray[np.float64] = warm / np.maximum(warm.sum(axis=1, keepdims=True), 1)
    return weights
