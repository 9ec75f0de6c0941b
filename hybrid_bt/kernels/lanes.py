"""Lanes of the asset environment, stepped in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import register_jitable

from hybrid_bt import accounting, costs, lanes, paper, sizing
from hybrid_bt.accounting import OrderRules, Tape
from hybrid_bt.costs import Costs
from hybrid_bt.kernels.accounts import ACCOUNTING
from hybrid_bt.kernels.compiling import borrowed, compile_kernel, digest_of, frozen, register
from hybrid_bt.lanes import LaneMarket, LaneState
from hybrid_bt.legs import sac
from hybrid_bt.legs.sac import RiskUnit
from hybrid_bt.paper import AssetTask

__all__ = ["compiled_lanes"]

register(ACCOUNTING)
register((sac.exposure, paper.reward_of, paper.asset_target, paper.trade_row, paper.asset_bar))
register((lanes._book, lanes._load, lanes._store, lanes.begin_lane, lanes.step_lanes))


MODULES = (costs, sizing, accounting, sac, paper, lanes)


@register_jitable
def _task(t: Any) -> AssetTask:
    """From the numbers that `_numbers` made of it."""
    unit, rules = RiskUnit(t[0], t[1], t[2]), OrderRules(t[10], t[11], t[12])
    return AssetTask(unit, t[3], t[4], Costs(t[5], t[6], t[7], t[8], t[9]), rules)


def _numbers(task: AssetTask) -> Any:
    """(13,), since a nested tuple takes longer to hand over than to use."""
    return np.array([*task.unit, task.risk_aversion, task.base_action, *task.costs, *task.rules], dtype=np.float64)


@register_jitable
def _no_tape(rows: Any, borrow: Any, columns: Any) -> Tape:
    zero, row, blank = borrowed(columns), borrowed(rows), borrowed(borrow)
    return Tape(zero, zero, blank, row, row, row, zero, zero, zero)


@register_jitable
def _state(floats: Any, ints: Any, accounts: Any, first: Any, row: Any, last: Any) -> LaneState:
    counts = borrowed(first), borrowed(row), borrowed(last)
    return LaneState(borrowed(floats), borrowed(ints), borrowed(accounts), counts[0], counts[1], counts[2])


@register_jitable
def _market(observations: Any, volatility: Any, opens: Any, closes: Any, days: Any) -> LaneMarket:
    prices = borrowed(opens), borrowed(closes)
    return LaneMarket(borrowed(observations), borrowed(volatility), prices[0], prices[1], borrowed(days))


def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    digest = digest_of(MODULES)

    def begin(
        lane: int,
        begins: int,
        ends: int,
        floats: Any,
        ints: Any,
        accounts: Any,
        first: Any,
        row: Any,
        last: Any,
        observations: Any,
        volatility: Any,
        opens: Any,
        closes: Any,
        days: Any,
        task: Any,
        no_rows: Any,
        no_borrow: Any,
        no_money: Any,
    ) -> None:
        assert digest >= 0
        lanes.begin_lane(
            lane,
            begins,
            ends,
            _state(floats, ints, accounts, first, row, last),
            _market(observations, volatility, opens, closes, days),
            _task(task),
            _no_tape(no_rows, no_borrow, no_money),
        )

    def step(
        actions: Any,
        low: float,
        high: float,
        floats: Any,
        ints: Any,
        accounts: Any,
        first: Any,
        row: Any,
        last: Any,
        observations: Any,
        volatility: Any,
        opens: Any,
        closes: Any,
        days: Any,
        out_observations: Any,
        out_rewards: Any,
        out_ended: Any,
        task: Any,
        no_rows: Any,
        no_borrow: Any,
        no_money: Any,
    ) -> None:
        assert digest >= 0
        lanes.step_lanes(
            borrowed(actions),
            low,
            high,
            _state(floats, ints, accounts, first, row, last),
            _market(observations, volatility, opens, closes, days),
            _task(task),
            _no_tape(no_rows, no_borrow, no_money),
            borrowed(out_observations),
            borrowed(out_rewards),
            borrowed(out_ended),
        )

    return compile_kernel(begin, parallel=False), compile_kernel(step, parallel=False)


_begin, _step = _kernels()


def compiled_lanes(task: AssetTask) -> tuple[Callable[..., None], Callable[..., None]]:
    """`begin_lane` and `step_lanes` of one task: begin(lane, first, last, state, market) and step(actions, low, high,
    state, market, observations, rewards, ended)."""
    fixed = _numbers(task), np.zeros(0, np.int64), np.zeros((0, 0)), np.zeros(0)

    def begin(lane: int, first: int, last: int, state: LaneState, market: LaneMarket) -> None:
        _begin(lane, first, last, *state, *market, *fixed)

    def step(actions: Any, low: float, high: float, state: LaneState, market: LaneMarket, *out: Any) -> None:
        _step(frozen(actions), low, high, *state, *market, *out, *fixed)

    return begin, step
