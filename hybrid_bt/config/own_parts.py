"""Parts of your own in the place of the shipped ones: a function as a policy, a class as a leg.

A leg of your own that takes the place of another inherits its weight; one beside them is registered
(`hybrid_bt.brain.legs`). A policy of your own answers in the place of the frozen one, inside the leg or the gate.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.brain.journal import moment_of
from hybrid_bt.brain.legs import leg_named
from hybrid_bt.brain.legs.kalman import IdlePairs
from hybrid_bt.brain.pair_selection import find_pairs
from hybrid_bt.brain.session import Setup
from hybrid_bt.config import Config, Overrides, load_config, overridden
from hybrid_bt.config.build import LegMaker, Policies, build, load_policy
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError, check_names

FloatArray = NDArray[np.float64]
PATHS = ("sac.file", "gate.file", "guard.kill_file")  #: names of files; their content is what counts


class Training(NamedTuple):
    """What a policy without a manifest says about the bars that it learnt from."""

    train_end: date | None
    valid_end: date | None = None
    gradient_steps: int | None = None


class CallablePolicy:
    """A plain function in the place of a frozen policy.

    Parameters
    ----------
    function : callable
        Observations, float64 of shape (rows, features), to one action in [-1, 1] per row. The columns are
        `equations.features.OBSERVATIONS["sac"]`, one row per asset, and `["gate"]`, one row. An object with
        a method `reset` is reset before a run, and every run has a copy of its own.
    trained_until : date, optional
        Last day that it learnt from: earlier bars are refused as in-sample. None says that it did not learn.
    """

    clipped_count = 0
    sha256 = None

    def __init__(self, function: Callable[[FloatArray], ArrayLike], trained_until: date | None = None) -> None:
        self.function = function
        self.manifest = Training(trained_until)

    def __repr__(self) -> str:
        return f"CallablePolicy({getattr(self.function, '__name__', type(self.function).__name__)})"

    def __copy__(self) -> CallablePolicy:
        return CallablePolicy(copy.deepcopy(self.function), self.manifest.train_end)

    def reset(self) -> None:
        """Begin an episode."""
        reset = getattr(self.function, "reset", None)
        if reset is not None:
            reset()

    def act(self, observations: FloatArray) -> FloatArray:
        """Answer one bar: (rows, features) to (rows,); what is no action, `legs.sac.checked_actions` refuses."""
        return np.asarray(self.function(observations), dtype=np.float64).reshape(-1)


def own_policies(
    config: Config, given: Policies | None, own: Mapping[str, object], legs: Mapping[str, LegMaker]
) -> Policies:
    """The policies of a run: yours where you gave one, else the configuration's files.

    Parameters
    ----------
    given : Policies, optional
        Both at once; None inside it leaves a part out.
    own : mapping
        `sac`, `gate` or both -> path, policy or callable, before `given`; None for nothing.
    legs : mapping
        Of `own_legs`: a leg in the place of `sac` asks no policy.

    Raises
    ------
    ConfigError, PolicyError
    """
    if given is not None and not isinstance(given, Policies):
        remedy = "give Policies(sac=..., gate=...), and wrap it in a list for optstrategy, which takes a tuple apart"
        raise ConfigError(f"policies is a {type(given).__name__}; {remedy}")
    check_names(own, Policies._fields, "policies: there is no")
    found: dict[str, Any] = {}
    for kind in Policies._fields:
        part, mine = getattr(config, kind), own.get(kind)
        if mine is None:
            mine = part.file if given is None else getattr(given, kind)
        found[kind] = _as_policy(kind, mine) if part.enabled and kind not in legs else None
    return Policies(**found)


def _as_policy(kind: str, own: object) -> object:
    if own is None or (hasattr(own, "act") and hasattr(own, "manifest")):
        return own
    if isinstance(own, (str, Path)):
        return load_policy(str(own), kind)
    if callable(own):
        return CallablePolicy(own)
    raise ConfigError(f"{kind} is {own!r}; give a frozen policy, its file, or a function of observations")


def own_legs(config: Config, legs: Mapping[str, Any] | None) -> dict[str, LegMaker]:
    """Makers of the user's legs by the name of the leg in whose place they stand.

    Parameters
    ----------
    legs : mapping, optional
        Place (`sac`, `kalman` or a leg of the configuration) -> a class or function that takes (symbols, pairs as
        columns (y, x), config) and gives a leg, or the name of a registered one, which then has its default `Params`.

    Raises
    ------
    ConfigError
        Unknown place or name, or something that cannot be called.
    """
    found: dict[str, LegMaker] = {}
    check_names(legs or (), config.legs_enabled(), "legs: no place")
    for place, leg in (legs or {}).items():
        found[place] = registered(leg) if isinstance(leg, str) else leg
        if not callable(found[place]):
            raise ConfigError(f"legs: {place} is {leg!r}; give a class or function of (symbols, pairs, config)")
    return found


def registered(name: str) -> LegMaker:
    """A maker of a registered leg with its default `Params`."""
    leg = leg_named(name)
    params = validated(leg.Params, {}, f"legs.{name}") if hasattr(leg, "Params") else ()
    return lambda symbols, pairs, config: leg(symbols, pairs, params)


def own_config(
    mode: str, file: Config | str | Path | None, overrides: Overrides | None, switches: Mapping[str, bool | None]
) -> Config:
    """A mode under a file and overrides, or a whole configuration in its place; and parts switched on or off."""
    for section, values in (overrides or {}).items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"overrides: {section!r} is {values!r}; give {{section: {{key: value}}}}")
    merged = {section: dict(values) for section, values in (overrides or {}).items()}
    for section, is_on in switches.items():
        if is_on is not None:
            merged.setdefault(section, {})["enabled"] = is_on
    return overridden(file, merged) if isinstance(file, Config) else load_config(mode, file, merged)


def own_history(given: ArrayLike | None, n_symbols: int) -> FloatArray | None:
    """Closes before the first bar, checked."""
    if given is None:
        return None
    try:
        closes = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"history is {given!r}; give closes of shape (T0, {n_symbols})") from None
    if closes.ndim != 2 or closes.shape[1] != n_symbols:
        raise ConfigError(f"history must be closes of shape (T0, {n_symbols}), not {closes.shape}")
    if (closes <= 0.0).any() or np.isinf(closes).any():
        raise ConfigError("history: closes must be finite and above 0; NaN where a symbol has no bar")
    return closes


def setup_of(
    config: Config,
    symbols: tuple[str, ...],
    pairs: Sequence[str],
    policies: Policies,
    legs: Mapping[str, LegMaker] | None = None,
    kalman_params: Sequence[KalmanParams] | None = None,
) -> Setup:
    """What a session of a configuration decides with; the parameters as in `build`, `pairs` may be ("auto",).

    Raises
    ------
    ConfigError
        As `build`.
    """
    finds, own = tuple(pairs) == ("auto",), legs or {}
    if not all(isinstance(one, KalmanParams) for one in kalman_params or ()):
        raise ConfigError(f"kalman_params are {kalman_params!r}; give a KalmanParams for each pair")
    return Setup(
        symbols,
        partial(build, config, symbols, policies=policies, kalman_params=kalman_params, legs=legs, pairs_found=finds),
        () if finds else tuple(pairs),
        config.guard,
        config.order_rules.rebalance_band,
        find_pairs=partial(_pairs_found, symbols) if finds else None,
        rate=partial(_rate, config) if config.auto_rate else None,
        idle=partial(IdlePairs, rules=config.pair_rules if config.kalman.enabled and "kalman" not in own else None),
    )


def state_fit(
    config: Config,
    policies: Policies,
    symbols: Sequence[str],
    pairs: Sequence[str],
    kalman_params: Sequence[KalmanParams] | None,
    with_news: bool,
) -> dict[str, object]:
    """What the rows of a state hold true for, by name (`brain.journal.Journal`)."""
    sections = config.sections() if with_news else config.without_news()
    numbers = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {
        "symbols": symbols,
        "pairs": pairs,
        **{
            f"policies.{name}": policy and str(getattr(policy, "sha256", None) or type(policy).__name__)
            for name, policy in policies._asdict().items()
        },
        "kalman_params": kalman_params,
        **{name: value for name, value in numbers.items() if name not in PATHS},
    }


def _pairs_found(symbols: Sequence[str], closes: FloatArray) -> tuple[str, ...]:
    """The pairs of `pairs="auto"`, and a warning of what is to be known of them."""
    found = find_pairs(symbols, closes)
    for note in found.notes():
        warnings.warn(f'pairs="auto", on {len(closes)} bars: {note}', stacklevel=1)
    return found.pairs


def _rate(config: Config, stamps: Sequence[float]) -> float:
    """Bars per year by the stamps before trading."""
    return config.for_stamps(np.array([moment_of(stamp) for stamp in stamps], dtype="M8[s]")).risk.bars_per_year
