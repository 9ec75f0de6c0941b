"""`hybrid_bt.envs.step` compiled: an environment alone, or lanes of it in one call.

A call takes some 0.04 us per array handed over, and more for a tuple of them: settings travel as one array of numbers,
the tape that nobody reads is made of slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numba.extending import register_jitable

from hybrid_bt import accounting, costs, features, fusion, sizing
from hybrid_bt.accounting import Tape
from hybrid_bt.envs import step
from hybrid_bt.envs.step import Spec, Task, World
from hybrid_bt.kernels.accounts import ACCOUNTING
from hybrid_bt.kernels.compiling import as_tuple, borrowed, compile_kernel, digest_of, frozen, register
from hybrid_bt.legs import sac

register(ACCOUNTING)
register((fusion.sac_weight, fusion.weight_at, fusion.portfolio_volatility, fusion.limit_in_place))
register((sac.exposure, step.reward_of, step.no_baseline))
register((step.asset_target, step.act_asset, step.see_action, step.held_for_nothing))
register((step.act_portfolio, step.see_weights, step.settle, step.act_regime, step.see_nothing, step.shadow_of))
register((step.book_of, step.load_account, step.store_account, step.trade))
register((step.begin_lane, step.step_lane, step.step_lanes))

MODULES = (costs, sizing, accounting, sac, fusion, features, step)

PARTS: tuple[Any, ...] = tuple(type(field) for field in Task() if isinstance(field, tuple))  # the last of its fields
PLAIN = len(Task._fields) - len(PARTS)
ENDS = tuple(np.cumsum([PLAIN, *(len(part._fields) for part in PARTS)]).tolist())


def _part(k: int) -> Any:
    kind, first, end = PARTS[k], ENDS[k], ENDS[k + 1]
    size = end - first
    return register_jitable(lambda numbers: kind(*as_tuple(numbers[first:end], size)))


_unit, _fusion, _risk, _costs, _rules = map(_part, range(len(PARTS)))


@register_jitable
def _task(numbers: Any) -> Task:
    n = borrowed(numbers)
    fields = as_tuple(n[:PLAIN], PLAIN) + (_unit(n), _fusion(n), _risk(n), _costs(n), _rules(n))  # noqa: RUF005
    return Task(*fields)


@register_jitable
def _world(floats: Any, ints: Any, scalars: Any, features: Any, panel: Any, rows: Any, task: Any) -> World:
    f, i, p, r = borrowed(floats), borrowed(ints), borrowed(panel), borrowed(rows)
    table, no_rows = f[0, :0], i[0, 0, :0]
    blank = table[0:0, 0]
    tape = Tape(blank, blank, table, no_rows, no_rows, no_rows, blank, blank, blank)
    lines = borrowed(task)[ENDS[-1] :]
    market = borrowed(features), p[0], p[1], p[2], p[3:], lines, r[0], r[1]
    return World(f, i, borrowed(scalars), *market, _task(task), tape)


def _begin_kernel() -> Callable[..., None]:
    digest = digest_of(MODULES)

    def begin(
        floats: Any,
        ints: Any,
        scalars: Any,
        features: Any,
        panel: Any,
        rows: Any,
        task: Any,
        n_lanes: int,
        cash: float,
        lane: int,
        row: int,
        last: int,
    ) -> None:
        assert digest >= 0
        step.begin_lane(_world(floats, ints, scalars, features, panel, rows, task), n_lanes, cash, lane, row, last)

    return compile_kernel(begin, parallel=False)


@cache
def env_kernel(act: Any, see: Any, baseline: Any) -> tuple[Callable[..., int], Callable[..., tuple[float, int]]]:
    """All lanes, and lane 0 alone; numba compiles and keeps one of each for three rules."""
    digest = digest_of(MODULES)

    def many(
        floats: Any,
        ints: Any,
        scalars: Any,
        features: Any,
        panel: Any,
        rows: Any,
        task: Any,
        actions: Any,
        seen: Any,
        rewards: Any,
        ended: Any,
    ) -> int:
        assert digest >= 0
        world = _world(floats, ints, scalars, features, panel, rows, task)
        given = borrowed(actions), borrowed(seen), borrowed(rewards), borrowed(ended)
        return step.step_lanes(act, see, baseline, world, *given)

    def one(
        floats: Any,
        ints: Any,
        scalars: Any,
        features: Any,
        panel: Any,
        rows: Any,
        task: Any,
        actions: Any,
        seen: Any,
    ) -> tuple[float, int]:
        assert digest >= 0
        world = _world(floats, ints, scalars, features, panel, rows, task)
        return step.step_lane(act, see, baseline, world, 0, borrowed(actions), borrowed(seen))

    return compile_kernel(many, parallel=False), compile_kernel(one, parallel=False)


_begin = _begin_kernel()


def bound(spec: Spec, task: Task, n_lanes: int, cash: float, state: Sequence[Any], market: Sequence[Any]) -> Any:
    """`begin_lane`, `step_lanes` and `step_lane` of lane 0 on arrays.

    Parameters
    ----------
    state
        Floats, ints and scalars of `step.World`, which are written.
    market
        Features (R, F), panel (planes, R, N), rows (2, R) and lines, see `hybrid_bt.envs.lanes.Market`.

    Returns
    -------
    f(lane, first row, last row); f(actions, seen, rewards, ended); f(actions, seen).
    """
    parts: tuple[Any, ...] = task[PLAIN:]
    *arrays, lines = market
    numbers = np.array([*task[:PLAIN], *(number for part in parts for number in part), *lines], dtype=np.float64)
    fixed = *state, *map(frozen, arrays), numbers
    many, one = env_kernel(spec.act, spec.see, spec.baseline)
    return partial(_begin, *fixed, n_lanes, cash), partial(many, *fixed), partial(one, *fixed)
