"""What a brain remembers, as plain data, and what a snapshot must fit before a run goes on from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_bt.build import Policies
from hybrid_bt.config import Config
from hybrid_bt.errors import PolicyError, StateError
from hybrid_bt.hybrid import Hybrid
from hybrid_bt.legs.base import Wish

PATHS = (("sac", "file"), ("gate", "file"), ("guard", "kill_file"))  #: names of files; their content is what counts


def brain_state(brain: Hybrid) -> dict[str, Any]:
    """The memory of every part of a brain, by the part's name.

    Raises
    ------
    StateError
        If a part or a policy of the user's own gives no `state` or takes none back.
    """
    found = {name: _part_state(name, part) for name, part in _parts(brain)}
    return found | {"brain": {"open": brain.open, "wishes": brain.wishes}}


def restore_brain(brain: Hybrid, state: Mapping[str, Any]) -> None:
    """Put back what `brain_state` gave, into a brain that was built alike.

    Raises
    ------
    StateError
        If the parts or their shapes are others.
    """
    parts, state = dict(_parts(brain)), dict(state)
    own = state.pop("brain", {"open": [], "wishes": {}})
    brain.open = [[tuple(columns) for columns in bundles] for bundles in own["open"]]
    brain.wishes = {name: [Wish(tuple(c), tuple(a)) for c, a in wishes] for name, wishes in own["wishes"].items()}
    if set(parts) != set(state):
        raise StateError(
            f"state: it holds the parts {sorted(state)}, the brain has {sorted(parts)}; switch the same on"
        )
    for name, part in parts.items():
        kept = state[name]
        try:
            if "memory" in kept:
                part.restore(kept["memory"])
            if "policy" in kept:
                part.policy.restore(kept["policy"])
                part.policy.clipped_count = kept["clipped_count"]
        except (KeyError, TypeError, ValueError, PolicyError) as error:
            raise StateError(
                f"state: the memory of {name} does not fit ({error}); remove the state to begin anew"
            ) from None


def _parts(brain: Hybrid) -> Iterator[tuple[str, Any]]:
    """Reader, legs and gate."""
    for name, part in {"reader": brain.reader, **brain.legs, "gate": brain.gate}.items():
        if part is not None:
            yield name, part


def _part_state(name: str, part: Any) -> dict[str, Any]:
    policy, kept = getattr(part, "policy", None), {}
    if _remembers(part):
        kept["memory"] = part.state()
    if policy is not None and _remembers(policy):
        kept |= {"policy": policy.state(), "clipped_count": int(getattr(policy, "clipped_count", 0))}
    elif policy is not None or not kept:
        what = type(part if policy is None else getattr(policy, "policy", policy)).__name__
        raise StateError(
            f"state: {name} ({what}) has no state() and restore(), so its memory would be lost; add both "
            "(they may give and take an empty dict), or drop state="
        )
    return kept


def _remembers(thing: Any) -> bool:
    return callable(getattr(thing, "state", None)) and callable(getattr(thing, "restore", None))


def fit_of(
    config: Config,
    symbols: Sequence[str],
    pairs: Sequence[str],
    policies: Policies,
    kalman_params: Sequence[Sequence[float]] | None,
    trade_from: float,
) -> dict[str, Any]:
    """What a snapshot holds true for, as plain data.

    Parameters
    ----------
    trade_from : float
        Backtrader's number of the first moment that may be traded.
    """
    numbers = config.without_news()
    for section, key in PATHS:
        numbers.get(section, {}).pop(key, None)
    fit = {
        "symbols": list(symbols),
        "pairs": list(pairs),
        "policies": {
            name: getattr(policy, "sha256", None) or repr(policy) for name, policy in policies.loaded().items()
        },
        "config": numbers,
        "kalman_params": None if kalman_params is None else [list(params) for params in kalman_params],
        "trade_from": trade_from,
    }
    plain: dict[str, Any] = json.loads(json.dumps(fit))
    return plain


def check_fit(path: Path, kept: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Say the first thing in which a run differs from the one that a snapshot was taken of.

    Raises
    ------
    StateError
    """
    for name, now in mine.items():
        before = kept.get(name)
        if before != now:
            what, before, now = _narrowed(name, before, now)
            raise StateError(
                f"state: {path} was written with {what} {_short(before)}, now it is {_short(now)}; "
                "go on as before, name another state file, or remove this one and its journal to begin anew"
            )


def _narrowed(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """The first key that differs, where both are tables."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
        inner = key if name == "config" else f"{name}.{key}"
        return _narrowed(inner, before.get(key), now.get(key))
    return name, before, now


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
