"""`hybrid_bt.envs.step` compiled: an environment alone, or lanes of it in one call.

A call takes some 0.04 us per array handed over, and more for a tuple of them: settings travel as one array of numbers,
the tape that nobody reads is made of slices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple

from hybrid_bt import accounting, costs, features, fusion, risk, sizing
from hybrid_bt.accounting import OrderRules, Tape
from hybrid_bt.costs import Costs
from hybrid_bt.envs import step
from hybrid_bt.envs.step import Market, Spec, State, Task
from hybrid_bt.fusion import FusionParams
from hybrid_bt.kernels.accounts import ACCOUNTING, FUSION
from hybrid_bt.kernels.compiling import borrowed, compile_kernel, digest_of, frozen, register
from hybrid_bt.legs import sac
from hybrid_bt.legs.sac import RiskUnit
from hybrid_bt.risk import RiskParams

register(ACCOUNTING)
register(FUSION)
register((sac.exposure, step.reward_of, step.no_baseline))
register((step.asset_target, step.act_asset, step.see_action, step.held_for_nothing))
register((step.act_portfolio, step.see_weights, step.settle, step.act_regime, step.see_nothing, step.shadow_of))
register((step.book_of, step.load_account, step.store_account, step.trade))
register((step.begin_lane, step.step_lane, step.step_lanes))

MODULES = (costs, sizing, accounting, sac, fusion, risk, features, step)

PARTS = (RiskUnit, FusionParams, RiskParams, Costs, OrderRules)  # the last fields of `Task`, tuples themselves
PLAIN = len(Task._fields) - len(PARTS)
ENDS = tuple(np.cumsum([PLAIN, *(len(part._fields) for part in PARTS)]).tolist())


def _part(k: int) -> Any:
    kind, first, end = PARTS[k], ENDS[k], ENDS[k + 1]
    size = end - first
    return register_jitable(lambda numbers: kind(*to_fixed_tuple(numbers[first:end], size)))


_unit, _fusion, _risk, _costs, _rules = map(_part, range(len(PARTS)))


@register_jitable
def _task(numbers: Any) -> Task:
    n = borrowed(numbers)
    plain = to_fixed_tuple(n[:PLAIN], PLAIN)
    return Task(*plain, _unit(n), _fusion(n), _risk(n), _costs(n), _rules(n))


@register_jitable
def _no_tape(floats: Any, ints: Any) -> Tape:
    table = borrowed(floats)[0, :0]
    zero, row = table[0:0, 0], borrowed(ints)[0, 0, :0]
    return Tape(zero, zero, table, row, row, row, zero, zero, zero)


@register_jitable
def _state(floats: Any, ints: Any, scalars: Any) -> State:
    return State(borrowed(floats), borrowed(ints), borrowed(scalars))


@register_jitable
def _market(features: Any, panel: Any, rows: Any) -> Market:
    p, r = borrowed(panel), borrowed(rows)
    return Market(borrowed(features), p[0], p[1], p[2], p[3:], r[0], r[1])


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
        state, market = _state(floats, ints, scalars), _market(features, panel, rows)
        step.begin_lane(lane, n_lanes, row, last, cash, state, market, _task(task), _no_tape(floats, ints))

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
        state, market = _state(floats, ints, scalars), _market(features, panel, rows)
        numbers, tape = _task(task), _no_tape(floats, ints)
        out = borrowed(seen), borrowed(rewards), borrowed(ended)
        return step.step_lanes(
            act, see, baseline, borrowed(actions), state, market, numbers, tape, out[0], out[1], out[2]
        )

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
        state, market = _state(floats, ints, scalars), _market(features, panel, rows)
        numbers, tape, out = _task(task), _no_tape(floats, ints), borrowed(seen)
        return step.step_lane(act, see, baseline, 0, borrowed(actions), state, market, numbers, tape, out)

    return compile_kernel(many, parallel=False), compile_kernel(one, parallel=False)


_begin = _begin_kernel()


class Kernels(NamedTuple):
    """Bound to the arrays of some lanes."""

    begin: Callable[..., None]  #: (lane, first row, last row)
    many: Callable[..., int]  #: (actions, seen, rewards, ended), see `step.step_lanes`
    one: Callable[..., tuple[float, int]]  #: (actions, seen) of lane 0, see `step.step_lane`


def bound(spec: Spec, task: Task, n_lanes: int, cash: float, state: State, market: Any) -> Kernels:
    """The kernels of a spec over lanes; `market`: features, panel and rows of `hybrid_bt.envs.lanes.Arrays`."""
    numbers = np.array([*task[:PLAIN], *(number for part in task[PLAIN:] for number in part)], dtype=np.float64)
    fixed = *state, *map(frozen, market), numbers
    many, one = env_kernel(spec.act, spec.see, spec.baseline)
    return Kernels(partial(_begin, *fixed, n_lanes, cash), partial(many, *fixed), partial(one, *fixed))
