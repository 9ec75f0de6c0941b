"""From a configuration to a brain: frozen policies loaded and checked, pairs resolved, legs and gate put together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from hybrid_bt import regime
from hybrid_bt.config import Config
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.hybrid import Hybrid, MarketReader
from hybrid_bt.kalman import KalmanParams
from hybrid_bt.legs import KalmanLeg, SacLeg
from hybrid_bt.legs import sac as sac_leg
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.regime import Gate

__all__ = ["Policies", "build", "load_policies", "policy_path", "resolve_pairs", "taking_part", "training_end"]

PACKAGED = "package:"


class Policies(NamedTuple):
    """Frozen policies of a run; None where the part is switched off."""

    sac: FrozenPolicy | None
    gate: FrozenPolicy | None

    def loaded(self) -> dict[str, FrozenPolicy]:
        """The policies that take part, by name."""
        return {name: policy for name, policy in self._asdict().items() if policy is not None}


def policy_path(file: str) -> Path:
    """Path of a policy file; `package:NAME` is one that ships with hybrid_bt."""
    if file.startswith(PACKAGED):
        return Path(str(resources.files("hybrid_bt") / "policies" / file.removeprefix(PACKAGED)))
    return Path(file)


def load_policies(config: Config) -> Policies:
    """Load the policies that are switched on and check that the code produces what they observe."""
    sac = _load(config.sac.file, "sac", sac_leg.OBSERVATION) if config.sac.enabled else None
    gate = _load(config.gate.file, "gate", regime.OBSERVATION) if config.gate.enabled else None
    return Policies(sac, gate)


def _load(file: str, kind: str, observation: tuple[str, ...]) -> FrozenPolicy:
    policy = FrozenPolicy.load(policy_path(file))
    if policy.manifest.kind != kind:
        raise ConfigError(f"policy {file} is a {policy.manifest.kind}, not a {kind}; check --sac and --gate")
    policy.check_observation(observation)
    return policy


def taking_part(policies: Policies, config: Config) -> Policies:
    """Without the policies of parts that the configuration switches off."""
    return Policies(
        policies.sac if config.sac.enabled else None,
        policies.gate if config.gate.enabled else None,
    )


def training_end(policies: Policies) -> date | None:
    """Last day that any of the policies was trained on or chosen by; None without policies."""
    days = [
        day
        for policy in policies.loaded().values()
        for day in (policy.manifest.train_end, policy.manifest.valid_end)
        if day is not None
    ]
    return max(days, default=None)


def resolve_pairs(pairs: Sequence[str], symbols: Sequence[str]) -> list[tuple[int, int]]:
    """Columns (y, x) of pairs named `Y:X`.

    Raises
    ------
    ConfigError
        If a name is not `Y:X`, names an unknown symbol, the same symbol twice, or comes twice.
    """
    columns = {symbol: i for i, symbol in enumerate(symbols)}
    found: list[tuple[int, int]] = []
    for name in pairs:
        sides = name.split(":")
        if len(sides) != 2 or not all(sides):
            raise ConfigError(f"pair {name!r}: write Y:X, for example KO:PEP")
        for side in sides:
            if side not in columns:
                raise ConfigError(f"pair {name!r}: symbol {side!r} is not in the data{did_you_mean(side, symbols)}")
        pair = columns[sides[0]], columns[sides[1]]
        if pair[0] == pair[1]:
            raise ConfigError(f"pair {name!r}: a symbol cannot hedge itself; name two symbols")
        if pair in found or pair[::-1] in found:
            raise ConfigError(f"pair {name!r} comes twice (in either order); name each pair once")
        found.append(pair)
    return found


def build(
    config: Config,
    symbols: Sequence[str],
    pairs: Sequence[str],
    policies: Policies,
    kalman_params: Sequence[KalmanParams] | None = None,
) -> Hybrid:
    """A fresh brain for these symbols and pairs, with copies of the policies that remember nothing.

    Parameters
    ----------
    policies : Policies
        None leaves a part out, as does a configuration that switches it off.
    kalman_params : one per pair, optional
        Fitted noise variances; by default every pair has the mode's.
    """
    columns = resolve_pairs(pairs, symbols)
    n = len(symbols)
    sac, gate = (_fresh(policy) for policy in taking_part(policies, config))
    reader = MarketReader(n, columns, kalman_params or [config.kalman_params()] * len(columns), config.spread_params())
    return Hybrid(
        reader,
        SacLeg(n, sac, config.risk_unit()) if sac else None,
        KalmanLeg(n, len(columns), config.pair_rules()) if config.kalman.enabled else None,
        Gate(gate) if gate else None,
        config.fusion_params(),
        config.risk_params(),
    )


def _fresh(policy: FrozenPolicy | None) -> FrozenPolicy | None:
    if policy is None:
        return None
    own = copy.copy(policy)
    own.reset()
    return own
