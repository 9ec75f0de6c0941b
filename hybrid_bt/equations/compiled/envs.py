"""`hybrid_bt.equations.env_step` compiled: an environment alone, or lanes of it in one call.

A call takes some 0.02 us per array handed over, and more for a tuple of them: settings travel as one array of numbers,
what is one number a row as one more plane of the panel, and the tape that nobody reads is made of slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from hybrid_bt.equations import env_step as step
from hybrid_bt.equations.book import Tape
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.equations.compiled.compiling import (
    SOURCES,
    Floats,
    Ints,
    Singles,
    as_kernel,
    as_tuple,
    frozen,
    jitable,
    straight,
    takes,
)
from hybrid_bt.equations.env_step import Act, Pay, See, Task, World
from hybrid_bt.equations.rewards import TRIED, Reward, Terms, are_ours, paying

PARTS: tuple[Any, ...] = tuple(type(field) for field in Task() if isinstance(field, tuple))  # the last of its fields
PLAIN = len(Task._fields) - len(PARTS)
ENDS = tuple(np.cumsum([PLAIN, *(len(part._fields) for part in PARTS)]).tolist())


def _part(k: int) -> Callable[[Floats], tuple[float, ...]]:
    kind, first, end = PARTS[k], ENDS[k], ENDS[k + 1]
    size = end - first
    part: Callable[[Floats], tuple[float, ...]] = register_jitable(
        lambda numbers: kind(*as_tuple(numbers[first:end], size))
    )
    return part


_unit, _risk, _costs, _rules = map(_part, range(len(PARTS)))


@register_jitable
def _task(numbers: Floats) -> Task:
    n = numbers
    fields = as_tuple(n[:PLAIN], PLAIN) + (_unit(n), _risk(n), _costs(n), _rules(n))  # noqa: RUF005
    return Task(*fields)


@register_jitable
def _world(
    floats: Floats,
    ints: Ints,
    scalars: Floats,
    features: Singles,
    panel: Floats,
    said: Floats,
    layout: Ints,
    task: Floats,
) -> World:
    table, no_rows = floats[0, :0], ints[0, 0, :0]
    blank = table[0:0, 0]
    tape = Tape(blank, blank, table, no_rows, no_rows, no_rows, blank, blank, blank)
    joins, n_assets = int(task[ENDS[-1]]), panel.shape[2]
    market = features, panel[0], panel[1], panel[2], panel[3], panel[4], joins * n_assets, panel[5 * joins]
    n_sides = layout.shape[1]
    n_legs, n_bundles = said.shape[1] - n_sides, 0
    for end in layout[1]:
        n_bundles += end >= 0
    whole = Layout(layout[0], layout[1, :n_bundles], layout[2, :n_bundles])
    lines, room = task[ENDS[-1] + 1 :][: 3 * n_legs], task[ENDS[-1] + 1 + 3 * n_legs :]
    by_leg = room[n_sides:]
    rooms = room[:n_sides], by_leg[:n_legs], by_leg[n_legs : 2 * n_legs], by_leg[2 * n_legs :]
    return World(floats, ints, scalars, *market, panel[5 + joins :], said, whole, lines, rooms, _task(task), tape)


def _begin_kernel() -> Callable[..., None]:
    sources = SOURCES

    def begin(
        floats: Floats,
        ints: Ints,
        scalars: Floats,
        features: Singles,
        panel: Floats,
        said: Floats,
        layout: Ints,
        task: Floats,
        n_lanes: int,
        cash: float,
        lane: int,
        row: int,
        last: int,
    ) -> None:
        assert sources >= 0
        step.begin_lane(
            _world(floats, ints, scalars, features, panel, said, layout, task), n_lanes, cash, lane, row, last
        )

    return as_kernel(begin, allocates=False)


@cache
def take(reward: Reward) -> bool:
    """Whether numba compiles a reward; a hint says why it does not."""
    step = jitable(reward.step)
    kernel = as_kernel(lambda state, outcome: step(state, outcome), allocates=False, kept=False)
    return takes(getattr(reward.step, "__name__", "reward"), kernel, reward.start, TRIED)


@cache
def _step_kernels(
    act: Act, see: See, reward: Pay | Terms
) -> tuple[Callable[..., int], Callable[..., tuple[float, int]]]:
    """All lanes, and lane 0 alone; numba compiles one of each for three rules, and keeps those of ours."""
    sources, kept = SOURCES, are_ours(reward)
    pay = reward if callable(reward) else paying(reward, jitable, as_tuple)

    def many(
        floats: Floats,
        ints: Ints,
        scalars: Floats,
        features: Singles,
        panel: Floats,
        said: Floats,
        layout: Ints,
        task: Floats,
        actions: Singles,
        seen: Singles,
        rewards: Singles,
        ended: Ints,
    ) -> int:
        assert sources >= 0
        world = _world(floats, ints, scalars, features, panel, said, layout, task)
        return step.step_lanes(act, see, pay, world, actions, seen, rewards, ended)

    def one(
        floats: Floats,
        ints: Ints,
        scalars: Floats,
        features: Singles,
        panel: Floats,
        said: Floats,
        layout: Ints,
        task: Floats,
        actions: Singles,
        seen: Singles,
    ) -> tuple[float, int]:
        assert sources >= 0
        world = _world(floats, ints, scalars, features, panel, said, layout, task)
        return step.step_lane(act, see, pay, world, 0, actions, seen)

    return as_kernel(many, allocates=False, kept=kept), as_kernel(one, allocates=False, kept=kept)


_begin = _begin_kernel()


def bound(
    rules: tuple[Act, See, Pay | Terms],
    task: Task,
    n_lanes: int,
    cash: float,
    state: Sequence[NDArray[Any]],
    market: tuple[Singles, Floats, Floats, Ints, bool, Floats],
) -> tuple[Callable[..., None], Callable[[], Callable[..., Any]], Callable[[], Callable[..., Any]]] | None:
    """`begin_lane`, and makers of `step_lanes` and `step_lane` of lane 0, on arrays; None if numba takes no reward so.

    Parameters
    ----------
    state
        Floats, ints and scalars of `World`, which are written.
    market
        Features (R, F), panel (planes, R, N), said (R, S + K), layout (3, S), whether it has labels, and lines: see
        `hybrid_bt.envs.lanes.TrackRows`.

    Returns
    -------
    f(lane, first row, last row); makers of f(actions, seen, rewards, ended) and of f(actions, seen).
    """
    act, see, reward = rules  # whose weights and first states are numbers of the lanes, so a kernel has none
    if not callable(reward) and not all(take(term) for term, _ in reward):
        return None
    features, panel, said, layout, joins, lines = market
    parts: tuple[Any, ...] = task[PLAIN:]
    room = np.zeros(said.shape[1] + len(lines) // 3 + panel.shape[2])  # kernels allocate nothing
    settings = *task[:PLAIN], *(number for part in parts for number in part), joins
    numbers = np.array([*settings, *lines, *room], dtype=np.float64)
    fixed = *state, *map(frozen, (features, panel, said, layout)), numbers
    many, one = _step_kernels(act, see, reward if callable(reward) else tuple((term, 1.0) for term, _ in reward))
    table, row, whole = np.zeros((0, 0), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    begin = partial(_begin, *fixed, n_lanes, cash)
    return begin, straight(many, fixed, table, table, row, whole), straight(one, fixed, row, row)
