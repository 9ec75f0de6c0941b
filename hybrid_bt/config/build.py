"""From a configuration to a brain: frozen policies loaded and checked, pairs resolved, legs and gate put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.legs import Leg, SacLeg, leg_named
from hybrid_bt.brain.legs.sac import Gate
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.config import Config
from hybrid_bt.equations.features import OBSERVATIONS
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.errors import ConfigError, LegError
from hybrid_bt.policies.frozen import FrozenPolicy

PACKAGED = "package:"

#: makes a leg of the user's own from the symbols, the pairs as columns (y, x), and the configuration
LegMaker = Callable[[tuple[str, ...], list[tuple[int, int]], Config], Leg]


class Policies(NamedTuple):
    """Frozen policies of a run; None where the part is switched off."""

    sac: FrozenPolicy | None
    gate: FrozenPolicy | None

    def loaded(self) -> dict[str, FrozenPolicy]:
        """The policies that take part, by name."""
        return {name: policy for name, policy in self._asdict().items() if policy is not None}

    def learner(self) -> str:
        """The algorithm that answers for the leg `sac`, which gives that leg's account its name; `sac` if unknown."""
        learner = str(getattr(getattr(self.sac, "manifest", None), "algorithm", "sac"))
        return f"{learner} object" if hasattr(self.sac, "is_object") else learner

    def sha256s(self) -> dict[str, str]:
        """Of their files, by name."""
        return {name: policy.sha256 for name, policy in self.loaded().items()}


def policy_path(file: str) -> Traversable:
    """Path of a policy file; `package:NAME` is one that ships with hybrid_bt, which may lie within a zip itself."""
    if file.startswith(PACKAGED):
        return resources.files("hybrid_bt.policies") / file.removeprefix(PACKAGED)
    return Path(file)


def load_policies(config: Config) -> Policies:
    """Load the policies that are switched on and check that the code produces what they observe."""
    sac = load_policy(config.sac.file, "sac") if config.sac.enabled else None
    gate = load_policy(config.gate.file, "gate") if config.gate.enabled else None
    return Policies(sac, gate)


def load_policy(file: str, kind: str) -> FrozenPolicy:
    """One policy, `sac` or `gate`, checked to be that and to read what the code produces."""
    policy = FrozenPolicy.load(policy_path(file))
    if policy.manifest.kind != kind:
        leg = f"it is a leg: hybrid-bt run --sac, or legs={{'sac': FrozenPolicy.load({file!r})}}"
        remedy = leg if policy.manifest.kind == "portfolio" else "check --sac and --gate"
        raise ConfigError(f"policy {file} is a {policy.manifest.kind}, not a {kind}; {remedy}")
    policy.columns_in(OBSERVATIONS[kind])
    return policy


def training_end(policies: Policies, legs: Mapping[str, LegMaker] | None = None) -> date | None:
    """Last day that any of the policies, or an agent in the place of a leg, was trained on or chosen by, if any was."""
    days = [learned_until(policy) for policy in policies.loaded().values()]
    days += [getattr(maker, "learned_until", None) for maker in (legs or {}).values()]
    return max((day for day in days if day is not None), default=None)


def learned_until(policy: object) -> date | None:
    """Last day that a policy was trained on or chosen by; None where it does not say."""
    manifest = getattr(policy, "manifest", None)
    days = getattr(manifest, "train_end", None), getattr(manifest, "valid_end", None)
    return max((day for day in days if day is not None), default=None)


def build(
    config: Config,
    symbols: Sequence[str],
    pairs: Sequence[str],
    policies: Policies,
    kalman_params: Sequence[KalmanParams] | None = None,
    legs: Mapping[str, LegMaker] | None = None,
    pairs_found: bool = False,
) -> Hybrid:
    """A fresh brain for these symbols and pairs, with copies of the policies that remember nothing.

    Parameters
    ----------
    policies : Policies
        None leaves a part out, as does a configuration that switches it off.
    kalman_params : one per pair, optional
        Fitted noise variances; by default every pair has the mode's.
    legs : mapping, optional
        Legs of the user's own in the place of those that the configuration names; one that is off is not made.
    pairs_found : bool
        Whether a rule chose the pairs: few of them carry little (`Config.lines`).
    """
    columns, names = resolve_pairs(pairs, symbols), tuple(symbols)
    noise = kalman_params or [config.kalman_params] * len(columns)
    reader = MarketReader(len(names), columns, noise, config.spread_params, config.risk.bars_per_year, names)
    gate = _fresh(policies.gate if config.gate.enabled else None)
    made = {
        name: _leg(config, name, names, columns, policies, legs or {}) if is_on else None
        for name, is_on in config.legs_enabled().items()
    }
    lines = (config.with_pairs_found(len(columns)) if pairs_found else config).lines()
    return Hybrid(reader, made, Gate(gate) if gate else None, lines, config.risk, config.manager)


def _leg(
    config: Config,
    name: str,
    symbols: tuple[str, ...],
    pairs: list[tuple[int, int]],
    policies: Policies,
    own: Mapping[str, LegMaker],
) -> Leg | None:
    if name == "sac" and name not in own:
        policy: Any = _fresh(policies.sac)
        return None if policy is None else SacLeg(symbols, pairs, config.tilt_params, policy)
    params = config.pair_rules if name == "kalman" else config.legs[name].params if name in config.legs else ()
    leg: Leg = own[name](symbols, pairs, config) if name in own else leg_named(name)(symbols, pairs, params)
    if not callable(getattr(leg, "wishes", None)):
        raise LegError(f"legs: {name} is a {type(leg).__name__} without wishes(view); see hybrid_bt.brain.legs.Leg")
    return leg


def _fresh(policy: FrozenPolicy | None) -> FrozenPolicy | None:
    if policy is None:
        return None
    own = copy.copy(policy)
    own.reset()
    return own
