"""Lanes of an asset or of a whole account, stepped in one call.

A call takes some 0.04 us per array handed over, and more for a tuple of them: settings travel as one array of numbers,
the tape that nobody reads is made of slices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from hybrid_bt import accounting, costs, features, fusion, lanes, paper, portfolio, risk, sizing
from hybrid_bt.accounting import OrderRules, Tape
from hybrid_bt.costs import Costs
from hybrid_bt.kernels.accounts import ACCOUNTING
from hybrid_bt.kernels.compiling import as_tuple, borrowed, compile_kernel, digest_of, frozen, register
from hybrid_bt.lanes import LaneMarket, LaneState
from hybrid_bt.legs import sac
from hybrid_bt.legs.sac import RiskUnit
from hybrid_bt.paper import AssetTask
from hybrid_bt.portfolio import PortfolioMarket, PortfolioTask
from hybrid_bt.risk import RiskParams

register(ACCOUNTING)
register((fusion.mix_into, risk.portfolio_volatility, risk.limit_in_place))
register((sac.exposure, paper.reward_of, paper.asset_target, paper.trade_row, paper.asset_bar))
register((lanes.book_of, lanes.load_account, lanes.store_account, lanes.begin_lane, lanes.step_lane, lanes.step_lanes))
register((portfolio.portfolio_bar, portfolio.see_portfolio, portfolio.step_portfolio, portfolio.step_portfolios))

N_COSTS, N_RULES = len(Costs._fields), len(OrderRules._fields)
MODULES = (costs, sizing, accounting, sac, paper, features, risk, lanes, portfolio)


@register_jitable
def _asset_task(t: Any) -> AssetTask:
    unit, rules = RiskUnit(t[0], t[1], t[2]), OrderRules(*as_tuple(t[5 + N_COSTS :], N_RULES))
    return AssetTask(unit, t[3], t[4], Costs(*as_tuple(t[5:], N_COSTS)), rules)


@register_jitable
def _portfolio_task(t: Any) -> PortfolioTask:
    limits = RiskParams(t[3], t[4], t[5], t[6], t[7], t[8])
    rules = OrderRules(*as_tuple(t[9 + N_COSTS :], N_RULES))
    return PortfolioTask(t[0], t[1], t[2], limits, Costs(*as_tuple(t[9:], N_COSTS)), rules)


@register_jitable
def _no_tape(floats: Any, counts: Any) -> Tape:
    table = borrowed(floats)[0, :0]
    zero, row = table[0:0, 0], borrowed(counts)[0, :0]
    return Tape(zero, zero, table, row, row, row, zero, zero, zero)


@register_jitable
def _state(floats: Any, ints: Any, accounts: Any, counts: Any) -> LaneState:
    three = borrowed(counts)
    return LaneState(borrowed(floats), borrowed(ints), borrowed(accounts), three[0], three[1], three[2])


@register_jitable
def _assets(observations: Any, panel: Any, days: Any) -> LaneMarket:
    p = borrowed(panel)
    return LaneMarket(borrowed(observations), p[0, :, 0], p[1], p[2], borrowed(days))


@register_jitable
def _whole(features: Any, panel: Any, correlation: Any, days: Any) -> PortfolioMarket:
    p = borrowed(panel)
    return PortfolioMarket(borrowed(features), p[0], p[1], p[2], borrowed(correlation), borrowed(days))


def _begin_kernel() -> Callable[..., None]:
    digest = digest_of(MODULES)

    def begin(
        floats: Any,
        ints: Any,
        accounts: Any,
        counts: Any,
        panel: Any,
        days: Any,
        c: Any,
        cash: float,
        lane: int,
        first: int,
        last: int,
    ) -> None:
        assert digest >= 0
        state, p = _state(floats, ints, accounts, counts), borrowed(panel)
        terms, tape = Costs(*as_tuple(c, N_COSTS)), _no_tape(floats, counts)
        lanes.begin_lane(lane, first, last, cash, state, p[1], p[2], borrowed(days), terms, tape)

    return compile_kernel(begin, parallel=False)


def _asset_kernels() -> tuple[Callable[..., int], Callable[..., tuple[float, int]]]:
    digest = digest_of(MODULES)

    def many(
        floats: Any,
        ints: Any,
        accounts: Any,
        counts: Any,
        seen: Any,
        panel: Any,
        days: Any,
        task: Any,
        low: float,
        high: float,
        actions: Any,
        out_observations: Any,
        out_rewards: Any,
        out_ended: Any,
    ) -> int:
        assert digest >= 0
        state, market = _state(floats, ints, accounts, counts), _assets(seen, panel, days)
        numbers, tape = _asset_task(task), _no_tape(floats, counts)
        out = borrowed(out_observations), borrowed(out_rewards), borrowed(out_ended)
        return lanes.step_lanes(borrowed(actions), low, high, state, market, numbers, tape, out[0], out[1], out[2])

    def one(
        floats: Any,
        ints: Any,
        accounts: Any,
        counts: Any,
        seen: Any,
        panel: Any,
        days: Any,
        task: Any,
        low: float,
        high: float,
        actions: Any,
        observation: Any,
    ) -> tuple[float, int]:
        assert digest >= 0
        state, market = _state(floats, ints, accounts, counts), _assets(seen, panel, days)
        numbers, tape, out = _asset_task(task), _no_tape(floats, counts), borrowed(observation)
        return lanes.step_lane(0, borrowed(actions), low, high, state, market, numbers, tape, out)

    return compile_kernel(many, parallel=False), compile_kernel(one, parallel=False)


def _portfolio_kernels() -> tuple[Callable[..., int], Callable[..., tuple[float, int]]]:
    digest = digest_of(MODULES)

    def many(
        floats: Any,
        ints: Any,
        accounts: Any,
        counts: Any,
        features: Any,
        panel: Any,
        correlation: Any,
        days: Any,
        task: Any,
        actions: Any,
        out_observations: Any,
        out_rewards: Any,
        out_ended: Any,
    ) -> int:
        assert digest >= 0
        state, market = _state(floats, ints, accounts, counts), _whole(features, panel, correlation, days)
        numbers, tape = _portfolio_task(task), _no_tape(floats, counts)
        out = borrowed(out_observations), borrowed(out_rewards), borrowed(out_ended)
        return portfolio.step_portfolios(borrowed(actions), state, market, numbers, tape, out[0], out[1], out[2])

    def one(
        floats: Any,
        ints: Any,
        accounts: Any,
        counts: Any,
        features: Any,
        panel: Any,
        correlation: Any,
        days: Any,
        task: Any,
        actions: Any,
        observation: Any,
    ) -> tuple[float, int]:
        assert digest >= 0
        state, market = _state(floats, ints, accounts, counts), _whole(features, panel, correlation, days)
        numbers, tape, out = _portfolio_task(task), _no_tape(floats, counts), borrowed(observation)
        return portfolio.step_portfolio(0, borrowed(actions), state, market, numbers, tape, out)

    return compile_kernel(many, parallel=False), compile_kernel(one, parallel=False)


_begin = _begin_kernel()
_step_assets, _step_asset = _asset_kernels()
_step_portfolios, _step_portfolio = _portfolio_kernels()


class Kernels(NamedTuple):
    """Bound to the arrays of some lanes."""

    begin: Callable[..., None]  #: (lane, first, last)
    step: Callable[..., int]  #: (actions, observations, rewards, ended), see `lanes.step_lanes`
    one: Callable[..., tuple[float, int]]  #: (actions, observation) of lane 0, see `lanes.step_lane`


def asset_kernels(
    task: AssetTask, action_range: tuple[float, float], cash: float, state: Any, market: LaneMarket
) -> Kernels:
    """`state`: floats, ints, accounts and counts (3, L)."""
    panel, days = _panel(market.volatility[:, np.newaxis], market), frozen(market.days)
    numbers = _numbers(*task.unit, task.risk_aversion, task.base_action, *task.costs, *task.rules)
    fixed = *state, frozen(market.observations), panel, days, numbers, *action_range
    begin = partial(_begin, *state, panel, days, _numbers(*task.costs), cash)
    return Kernels(begin, partial(_step_assets, *fixed), partial(_step_asset, *fixed))


def portfolio_kernels(task: PortfolioTask, cash: float, state: Any, market: PortfolioMarket) -> Kernels:
    """`state`: floats, ints, accounts and counts (3, L)."""
    panel, days = _panel(market.volatility, market), frozen(market.days)
    numbers = _numbers(task.low, task.high, task.risk_aversion, *task.risk, *task.costs, *task.rules)
    fixed = *state, frozen(market.features), panel, frozen(market.correlation), days, numbers
    begin = partial(_begin, *state, panel, days, _numbers(*task.costs), cash)
    return Kernels(begin, partial(_step_portfolios, *fixed), partial(_step_portfolio, *fixed))


def _panel(volatility: Any, market: Any) -> Any:
    """(3, T, N): volatility, opens, closes."""
    return frozen(np.stack([volatility, market.opens, market.closes]))


def _numbers(*settings: float) -> Any:
    return np.array(settings, dtype=np.float64)
