"""One account of N assets, as an environment trades it: pure functions that CPython runs and numba compiles.

The bar is that of Backtrader's broker (`paper.trade_row`), the limits are those of the hybrid (`risk.limit_in_place`).
An account is a lane (`hybrid_bt.lanes`), so that many of them can be stepped in one call.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hybrid_bt.accounting import Account, Book, OrderRules, Tape
from hybrid_bt.costs import Costs
from hybrid_bt.features import CLIP
from hybrid_bt.lanes import GOES_ON, RUINED, TRUNCATED, LaneState, book_of, load_account, store_account
from hybrid_bt.paper import FULLY_INVESTED, REWARD_SCALE, reward_of, trade_row
from hybrid_bt.risk import RiskParams, limit_in_place

NO_LIMITS = RiskParams(math.inf, 1.0, math.inf, math.inf, math.inf, 252.0)  #: targets go to the broker as they are
UNLEVERED = NO_LIMITS._replace(gross_limit=FULLY_INVESTED)  #: the rest of the cash is for gaps and costs


class PortfolioTask(NamedTuple):
    """What is asked of a policy for a whole account."""

    low: float  #: ends of the action space
    high: float
    risk_aversion: float
    risk: RiskParams
    costs: Costs
    rules: OrderRules


class PortfolioMarket(NamedTuple):
    """T bars of N assets."""

    features: Any  #: (T, F) float32
    volatility: Any  #: (T, N)
    opens: Any  #: (T, N)
    closes: Any  #: (T, N)
    correlation: Any  #: (T,)
    days: Any  #: (T,) int64


def portfolio_bar(
    account: Account,
    book: Book,
    first: int,
    row: int,
    wanted: Any,
    market: PortfolioMarket,
    task: PortfolioTask,
    tape: Tape,
) -> tuple[Account, float, bool]:
    """From the close of `row` to the next.

    Parameters
    ----------
    wanted : (N,)
        Signed fractions of equity, NaN to keep what is held; limited in place.

    Returns
    -------
    The account, the reward (see `hybrid_bt.portfolio_env.PortfolioEnv`), and whether the account is ruined.
    """
    limit_in_place(wanted, market.volatility[row], market.correlation[row], task.risk)
    prices = market.opens, market.closes
    after = trade_row(
        account, book, first, row, wanted, prices[0], prices[1], market.days, task.costs, task.rules, tape
    )
    growth = after.equity / account.equity
    if not growth > 0.0:
        return after, -REWARD_SCALE, True
    return after, reward_of(growth, task.risk_aversion), False


def see_portfolio(observation: Any, features: Any, equity: float, book: Book) -> None:
    """Write what a policy sees at a close: features, then the weights held."""
    n = len(features)
    for k in range(n):
        observation[k] = features[k]
    for i in range(len(book.size)):
        weight = book.size[i] * book.close[i] / equity if equity > 0.0 else 0.0
        observation[n + i] = min(max(weight, -CLIP), CLIP)


def step_portfolio(
    lane: int,
    actions: Any,
    state: LaneState,
    market: PortfolioMarket,
    task: PortfolioTask,
    tape: Tape,
    observation: Any,
) -> tuple[float, int]:
    """Take one lane to its next close.

    Parameters
    ----------
    actions : (N,) float32
    observation : (F + N,) float32, written

    Returns
    -------
    The reward, and GOES_ON, TRUNCATED or RUINED.
    """
    floats = state.floats[lane]
    wanted, book = floats[6], book_of(floats, state.ints[lane])
    for i in range(len(wanted)):
        asked = float(actions[i])
        wanted[i] = task.low if asked < task.low else task.high if asked > task.high else asked
    row = state.row[lane]
    account, reward, ruined = portfolio_bar(
        load_account(state.accounts[lane]), book, state.first[lane], row, wanted, market, task, tape
    )
    store_account(state.accounts[lane], account)
    row += 1
    state.row[lane] = row
    see_portfolio(observation, market.features[row], account.equity, book)
    return reward, RUINED if ruined else TRUNCATED if row >= state.last[lane] else GOES_ON


def step_portfolios(
    actions: Any,
    state: LaneState,
    market: PortfolioMarket,
    task: PortfolioTask,
    tape: Tape,
    observations: Any,
    rewards: Any,
    ended: Any,
) -> int:
    """Take every lane to its next close; L rows of everything, and the rest as `lanes.step_lanes`."""
    over = 0
    for lane in range(len(actions)):
        reward, end = step_portfolio(lane, actions[lane], state, market, task, tape, observations[lane])
        rewards[lane] = reward
        ended[lane] = end
        over += end != GOES_ON
    return over
