"""Parameters are declared once, beside the equation that takes them: bounds, unit and meaning in the type of a field.

    class Costs(NamedTuple):
        fee_bps: Annotated[float, Ge(0), Lt(1e4), "fee, bps of notional per side"] = 1.0

A method `contradiction(self) -> str`, if there is one, says what does not fit together, "" for nothing. `validated`
holds whatever somebody gives against all of it; a field with words is a key of the configuration (`hybrid_bt.config`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from reprlib import repr as short
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from hybrid_bt.errors import ConfigError, did_you_mean

T = TypeVar("T")


def meanings(cls: type) -> dict[str, str]:
    """Field -> its words, of the fields that have some."""
    hints = get_type_hints(cls, include_extras=True)
    last = {name: getattr(hint, "__metadata__", (None,))[-1] for name, hint in hints.items()}
    return {name: words for name, words in last.items() if isinstance(words, str)}


class _Slip(NamedTuple):
    """What pydantic would take for a number or a truth value, and a reader for a mistake: `cash = true`, `"1"`."""

    given: object

    def __repr__(self) -> str:
        return short(self.given)


@cache
def _adapter(cls: Hashable) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    named = cast(type, cls)
    return TypeAdapter(named, config=ConfigDict(allow_inf_nan=False)), get_type_hints(named)


def parsed(cls: type[T], given: Mapping[str, Any]) -> tuple[T | None, list[tuple[str, str]]]:
    """The NamedTuple `cls` of these fields, and what is wrong: with which field ("" for several together), and why."""
    adapter, kinds = _adapter(cast(Hashable, cls))
    try:
        meant = {name: _Slip(one) if _is_slip(one, kinds.get(name)) else one for name, one in given.items()}
        value: T = adapter.validate_python(meant)
    except ValidationError as error:
        return None, [_problem(cls, **found) for found in error.errors()]
    contradiction = getattr(value, "contradiction", str)()
    return value, [("", contradiction)] if contradiction else []


def _is_slip(value: object, kind: object) -> bool:
    if kind is bool:
        return not isinstance(value, (bool, np.bool_))
    return kind in (int, float) and isinstance(value, (bool, np.bool_, str, bytes))


def _problem(cls: type, type: str, loc: Sequence[Any], msg: str, input: object, **_: object) -> tuple[str, str]:
    field = str(loc[0])
    if type == "extra_forbidden":
        return (field, "unknown key" + did_you_mean(field, cls.__annotations__))
    words = f" [{meanings(cls)[field]}]" if field in meanings(cls) else ""
    return (field, f"{msg}{words}" + ("" if type == "missing" else f" (got {short(input)})"))


def validated(cls: type[T], given: Mapping[str, Any] | Sequence[Any], where: str) -> T:
    """The NamedTuple `cls`, with every value inside its bounds.

    Parameters
    ----------
    given : mapping or sequence
        Values by their field, or in the order of the fields: a tuple that was made in code, say.
    where : str
        What the message begins with, such as "costs" or "legs.momentum".

    Raises
    ------
    ConfigError
        Naming every field that is unknown, missing, out of range, infinite or not a number.
    """
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise ConfigError(f"{where}: {short(given)} is no {cls.__name__}; give one, or a table of its fields")
    named = given if isinstance(given, Mapping) else dict(zip(cls.__annotations__, given, strict=False))
    value, problems = parsed(cls, named)
    if value is None or problems:
        told = (f"{field}: {text}" if field else text for field, text in problems)
        raise ConfigError(f"{where}: {'; '.join(told)}")
    return value
