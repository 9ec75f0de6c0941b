"""From a configuration to a brain: frozen policies loaded and checked, pairs resolved, legs and gate put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_bt.config import Config
from hybrid_bt.errors import ConfigError, LegError, did_you_mean
from hybrid_bt.features import MARKET_FEATURES
from hybrid_bt.hybrid import Hybrid, MarketReader
from hybrid_bt.kalman import KalmanParams
from hybrid_bt.legs import Leg, SacLeg, leg_named
from hybrid_bt.legs import sac as sac_leg
from hybrid_bt.legs.sac import Gate
from hybrid_bt.policy import FrozenPolicy

PACKAGED = "package:"
OBSERVATIONS = {"sac": sac_leg.OBSERVATION, "gate": MARKET_FEATURES}

#: makes a leg of the user's own from the symbols, the pairs as columns (y, x), and the configuration
LegMaker = Callable[[tuple[str, ...], list[tuple[int, int]], Config], Leg]


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
    sac = load_policy(config.sac.file, "sac") if config.sac.enabled else None
    gate = load_policy(config.gate.file, "gate") if config.gate.enabled else None
    return Policies(sac, gate)


def load_policy(file: str, kind: str) -> FrozenPolicy:
    """One policy, `sac` or `gate`, checked to be that and to read what the code produces."""
    policy = FrozenPolicy.load(policy_path(file))
    if policy.manifest.kind != kind:
        raise ConfigError(f"policy {file} is a {policy.manifest.kind}, not a {kind}; check --sac and --gate")
    policy.check_observation(OBSERVATIONS[kind])
    return policy


def taking_part(policies: Policies, config: Config) -> Policies:
    """Without the policies of parts that the configuration switches off."""
    return Policies(policies.sac if config.sac.enabled else None, policies.gate if config.gate.enabled else None)


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
        sides = _sides(name, columns)
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


def _sides(name: str, symbols: Collection[str]) -> tuple[str, str]:
    """Y and X of `Y:X`; a symbol may hold colons itself where that leaves one reading only."""
    parts = name.split(":")
    cuts = [(":".join(parts[:i]), ":".join(parts[i:])) for i in range(1, len(parts))]
    known = [cut for cut in cuts if cut[0] in symbols and cut[1] in symbols]
    if len(known) > 1:
        readings = " or ".join(f"{y!r} against {x!r}" for y, x in known)
        raise ConfigError(f"pair {name!r} can be read as {readings}; give the feeds other names")
    if not known and (len(cuts) != 1 or not all(parts)):
        raise ConfigError(f"pair {name!r}: write Y:X, for example KO:PEP")
    return (known or cuts)[0]


def build(
    config: Config,
    symbols: Sequence[str],
    pairs: Sequence[str],
    policies: Policies,
    kalman_params: Sequence[KalmanParams] | None = None,
    legs: Mapping[str, LegMaker] | None = None,
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
    """
    columns, names = resolve_pairs(pairs, symbols), tuple(symbols)
    noise = kalman_params or [config.kalman_params] * len(columns)
    reader = MarketReader(len(names), columns, noise, config.spread_params, config.risk.bars_per_year)
    gate = _fresh(taking_part(policies, config).gate)
    made: dict[str, Leg | None] = {}
    for name, is_on in config.legs_enabled().items():
        if not is_on:
            made[name] = None
        elif legs and name in legs:
            made[name] = legs[name](names, columns, config)
        else:
            made[name] = _leg(config, name, names, columns, policies)
        if made[name] is not None and not callable(getattr(made[name], "wishes", None)):
            raise LegError(
                f"legs: {name} is a {type(made[name]).__name__} without wishes(view); see hybrid_bt.legs.Leg"
            )
    return Hybrid(reader, made, Gate(gate) if gate else None, config.mix(), config.risk, config.manager)


def _leg(config: Config, name: str, symbols: tuple[str, ...], pairs: list[tuple[int, int]], policies: Policies) -> Any:
    if name == "sac":
        policy: Any = _fresh(policies.sac)
        return None if policy is None else SacLeg(symbols, pairs, config.risk_unit, policy)
    params = config.pair_rules if name == "kalman" else config.legs[name].params
    return leg_named(name)(symbols, pairs, params)


def _fresh(policy: FrozenPolicy | None) -> FrozenPolicy | None:
    if policy is None:
        return None
    own = copy.copy(policy)
    own.reset()
    return own
