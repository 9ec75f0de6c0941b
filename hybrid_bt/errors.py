"""What can go wrong, as one tree.

    HybridError
    |-- BarsError             prices or calendars that cannot be traded on
    |-- ConfigError           a flag, a key or a combination that makes no sense
    |-- PolicyError           a frozen policy that is damaged, newer, or asks for what the code does not produce
    |-- LegError              a leg of the user's own that breaks the contract of a leg
    |-- NewsError             documents, verdicts or scorers that cannot be used
    |-- StateError            a state that is damaged, of another format, or of another run
    |-- InSampleError         bars that the policies were trained on, about to be reported as a result
    `-- ReconciliationError   an account whose own fills do not explain its equity

Every message holds the rule, what came (value, symbol, date) and what to do. The commands print it on one line and
exit with status 2; anything that is not a `HybridError` is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MOST_SAID = 300  #: letters of what a library says of a failure


class Hint(UserWarning):
    """Nothing is wrong, but something could be better; a command says it last, and never under --quiet."""


class HybridError(Exception):
    """Root of all errors that a user can mend; the message says the rule, what came, and what to do.

    >>> try:
    ...     load_bars("us20", symbols=["KOO"])
    ... except HybridError as error:
    ...     print(error)
    bars: us20 has no symbol 'KOO'; did you mean 'KO'?
    """


class BarsError(HybridError, ValueError):
    """Prices or calendars that cannot be traded on."""


class ConfigError(HybridError, ValueError):
    """A flag, a key or a combination that makes no sense."""


class PolicyError(HybridError, ValueError):
    """A frozen policy that is damaged, newer than the code, or asks for an observation that the code does not make."""


class LegError(HybridError, ValueError):
    """A leg of the user's own breaks the contract of a leg."""


class NewsError(HybridError, ValueError):
    """Documents, verdicts or scorers that cannot be used."""


class StateError(HybridError, ValueError):
    """A state that is damaged, of another format, or does not fit the run that is to go on from it."""


class InSampleError(HybridError):
    """Bars inside a policy's training span, about to be traded as if they were out of sample."""


class ReconciliationError(HybridError):
    """An account whose fills do not explain its equity."""


@contextmanager
def os_errors(
    kind: type[HybridError], what: str, remedy: str = "", *, of: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """What the system refuses inside, or a library by errors `of` its own, told as `WHAT: why; REMEDY` on one line."""
    try:
        yield
    except HybridError:
        raise  # is told already
    except of as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:MOST_SAID] or type(error).__name__
        raise kind(f"{what}: {why}{remedy and f'; {remedy}'}") from error


def library(name: str, extra: str, what: str, kind: type[HybridError] = ConfigError) -> ModuleType:
    """A module of an extra; without it an error that says what needs it, and how to have it."""
    try:
        return import_module(name)
    except ImportError:
        raise kind(f"{what}: {how_to_install(extra)}") from None


def how_to_install(extra: str) -> str:
    """How an extra is had: from the checkout, for on the package index the name may be anybody's."""
    return f"pip install '.[{extra}]' in the checkout of hybrid_bt"


def first_fault(error: ValidationError, whole: str) -> str:
    """The first thing that pydantic found wrong: its field, or `whole` where it is all of them, and why."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


def check_names(
    names: Iterable[object], known: Collection[str], what: str, kind: type[HybridError] = ConfigError
) -> None:
    """Refuse the first name that is none of those known, in words that begin with `what`, and offer the nearest."""
    for name in names:
        if name not in known:
            raise kind(f"{what} {name!r}{did_you_mean(str(name), known)}")


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first of several names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known name, else the known names in short."""
    names = list(known)
    upper = {name.upper(): name for name in names}
    near = difflib.get_close_matches(word.upper(), upper, n=1)
    if near:
        return f"; did you mean {upper[near[0]]!r}?"
    return "; known: " + ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
