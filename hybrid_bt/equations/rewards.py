"""What a step pays: pure steps (state, outcome) -> (state, value), by name or somebody's own, and their sum.

===================  ================================================================================================
log_growth           100 g, g = log growth of equity from one open to the next, costs included
differential_sharpe  (B dA - A dB / 2) / (B - A^2)^(3/2), dA = g - A, dB = g^2 - B, with A and B as they were before:
                     what the step does to an exponential Sharpe ratio (Moody & Saffell, IEEE TNN 12(4), 2001)
drawdown             100 times what the step adds to the deepest drawdown of the episode, <= 0: the sum is 100 times it
turnover             -100 times the value traded over equity
===================  ================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from hybrid_bt.equations import Lines, Written
from hybrid_bt.equations.env_step import EQUITY, HELD, REWARD_SCALE, SCALARS, SIZE, WORTH, Pay, World
from hybrid_bt.errors import ConfigError, check_names

SPAN = 1.0 / 252.0  #: gain of A and B
FLAT = 1e-12  #: variance of g below which there is no Sharpe ratio to move


class Outcome(NamedTuple):
    """What a step of an environment brought."""

    growth: float  #: factor of equity, above 0, from the open that it filled at to the next, costs included
    equity: float  #: at the close between them
    turnover: float  #: value traded at the open, over equity there


TRIED = Outcome(1.01, 1e6, 0.1)  #: that every reward is tried on as it is declared


class Reward(NamedTuple):
    """A reward of one's own.

    >>> def cautious(state, outcome):
    ...     g = math.log(outcome.growth)
    ...     return state, 100.0 * (g - 2.0 * g * g)
    >>> Reward(cautious).step((), Outcome(1.0, 101.0, 0.0))
    ((), 0.0)
    """

    step: Callable[[Any, Outcome], tuple[Any, float]]
    start: tuple[float, ...] = ()  #: state at the beginning of an episode: numbers, as a plain or a named tuple


def log_growth(state: tuple[()], outcome: Outcome) -> tuple[tuple[()], float]:
    """What the account earned."""
    return state, REWARD_SCALE * math.log(outcome.growth)


class Moments(NamedTuple):
    """Of log growth."""

    n: float = 0.0
    mean: float = 0.0
    square: float = 0.0


def differential_sharpe(m: Moments, outcome: Outcome) -> tuple[Moments, float]:
    """What the step does for the Sharpe ratio; 0 while nothing has moved."""
    g = math.log(outcome.growth)
    d_mean, d_square, variance = g - m.mean, g * g - m.square, m.square - m.mean * m.mean
    gain = max(SPAN, 1.0 / (m.n + 1.0))  # plain averages at first
    after = Moments(m.n + 1.0, m.mean + gain * d_mean, m.square + gain * d_square)
    if variance <= FLAT:
        return after, 0.0
    return after, (m.square * d_mean - 0.5 * m.mean * d_square) / (variance * math.sqrt(variance))


class Depth(NamedTuple):
    """Of the account below its peak."""

    below: float = 0.0  #: log equity less its peak
    deepest: float = 0.0  #: drawdown so far, <= 0


def drawdown(depth: Depth, outcome: Outcome) -> tuple[Depth, float]:
    """What the step adds to the deepest drawdown."""
    below = min(depth.below + math.log(outcome.growth), 0.0)
    deepest = min(depth.deepest, math.exp(below) - 1.0)
    return Depth(below, deepest), REWARD_SCALE * (deepest - depth.deepest)


def turnover(state: tuple[()], outcome: Outcome) -> tuple[tuple[()], float]:
    """Value traded, as a cost."""
    return state, -REWARD_SCALE * outcome.turnover


#: every reward that has a name
REWARDS = {
    "log_growth": Reward(log_growth),
    "differential_sharpe": Reward(differential_sharpe, Moments()),
    "drawdown": Reward(drawdown, Depth()),
    "turnover": Reward(turnover),
}
Terms: TypeAlias = tuple[tuple[Reward, float], ...]  #: rewards and their weights, which are added up


def terms_of(reward: object) -> Terms:
    """A name, a `Reward`, a function without a state, or a mapping of such to their weights.

    Raises
    ------
    ConfigError
    """
    given: list[tuple[Any, Any]] = [*reward.items()] if isinstance(reward, Mapping) else [(reward, 1.0)]
    check_names([one for one, _ in given if isinstance(one, str)], REWARDS, "environment: there is no reward")
    terms = []
    for one, weight in given:
        step, start = REWARDS[one] if isinstance(one, str) else one if isinstance(one, Reward) else Reward(one)
        numbers = (weight, *start) if isinstance(start, tuple) else (math.nan,)
        if not callable(step) or not all(map(_is_number, numbers)):
            raise ConfigError(
                f"environment: reward {step!r} with start {start!r} and weight {weight!r}; give a name, a function, or "
                "Reward(function, start) with a tuple of numbers to start from, and finite weights"
            )
        numbers = tuple(map(float, start))
        reward = Reward(step, numbers if type(start) is tuple else type(start)(*numbers))
        _check_tried(reward)
        terms.append((reward, float(weight)))
    if not terms:
        raise ConfigError("environment: reward has no term; leave it out for the one that there is by default")
    return tuple(terms)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_tried(reward: Reward) -> None:
    """Refuse a step that is none, by what it makes of an outcome."""
    made, n = reward.step(reward.start, TRIED), len(reward.start)
    try:
        state, value = made
        numbers = value, *state
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != n + 1 or not all(map(_is_number, numbers)):
        raise ConfigError(
            f"environment: reward {reward.step!r} makes {made!r} of {TRIED}; a step takes (state, outcome) and gives "
            f"(state, value): {n} numbers as it starts with, and one finite number"
        )


def are_ours(reward: Pay | Terms) -> bool:
    """Whether all of it has a name, and so is compiled code that can be kept from one process to another."""
    return callable(reward) or all(term.step in {named.step for named in REWARDS.values()} for term, _ in reward)


def first_of(values: Sequence[float], n: int) -> tuple[float, ...]:
    """The first n numbers of a row."""
    return tuple(values[:n])


def paying(terms: Terms, ready: Callable[[Any], Any] = lambda f: f, as_tuple: Callable[..., Any] = first_of) -> Pay:
    """The rule that pays the sum of terms; weights are read where `remembered` puts them.

    Parameters
    ----------
    ready, as_tuple
        How compiled code is told of a function, and has a tuple of the first numbers of a row.
    """
    total, first = None, SCALARS
    for reward, _ in terms:
        term = ready(_term(reward, first, ready, as_tuple))
        total = term if total is None else ready(_both(total, term))
        first += len(reward.start) + 1
    whole: Any = total

    def pay(lane: int, row: int, growth: float, world: World) -> float:
        floats, scalars, opens = world.floats[lane], world.scalars[lane], world.opens[row + 1]
        turned_over = _traded(floats, opens) * growth / scalars[WORTH]
        paid: float = whole(scalars, Outcome(growth, scalars[EQUITY], turned_over))
        return paid

    rule: Pay = ready(pay)
    return rule


def remembered(terms: Terms) -> list[float]:
    """What an account's scalars hold behind the others as an episode begins: of each term its state and its weight."""
    return [number for reward, weight in terms for number in (*reward.start, weight)]


def _traded(floats: Lines, opens: Written) -> float:
    """Value that was traded at an open since the last step."""
    sizes, held, value = floats[SIZE], floats[HELD], 0.0
    for i in range(len(sizes)):
        if sizes[i] != held[i]:
            value += abs(sizes[i] - held[i]) * opens[i]
            held[i] = sizes[i]
    return value


def _term(
    reward: Reward, first: int, ready: Callable[[Any], Any], as_tuple: Callable[..., Any]
) -> Callable[[Written, Outcome], float]:
    """One reward, with its memory and its weight in the account's scalars."""
    step, kind, n = ready(reward.step), type(reward.start), len(reward.start)

    plain = ready(lambda scalars: as_tuple(scalars[first:], n))
    recalled = plain if kind is tuple else ready(lambda scalars: kind(*plain(scalars)))

    def term(scalars: Written, outcome: Outcome) -> float:
        state, value = step(recalled(scalars), outcome)
        for k in range(n):
            scalars[first + k] = state[k]
        paid: float = scalars[first + n] * value
        return paid

    return term


def _both(
    one: Callable[[Written, Outcome], float], other: Callable[[Written, Outcome], float]
) -> Callable[[Written, Outcome], float]:
    return lambda scalars, outcome: one(scalars, outcome) + other(scalars, outcome)
