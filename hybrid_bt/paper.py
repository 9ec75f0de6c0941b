"""One bar of trading on paper, as environments do it: pure functions that CPython runs and numba compiles.

`trade_row` is what Backtrader's broker would do with the orders of one close; `asset_bar` is the whole bar of the SAC
leg's world: action, target, orders, next close, reward.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hybrid_bt.accounting import Account, Book, OrderRules, Tape, broker_day, send_orders
from hybrid_bt.costs import Costs
from hybrid_bt.legs.sac import RiskUnit, exposure

START_CASH = 1_000_000.0  #: the environments trade fractions of shares, so only ratios matter
REWARD_SCALE = 100.0  #: rewards are in percent: networks like numbers near 1
FULLY_INVESTED = 0.97  #: an unlevered account keeps this little in cash for gaps and costs


class AssetTask(NamedTuple):
    """What is asked of a policy for one asset."""

    unit: RiskUnit
    risk_aversion: float
    base_action: float  #: its reward is subtracted; 0 for nothing
    costs: Costs
    rules: OrderRules


def reward_of(growth: float, risk_aversion: float) -> float:
    """100 (g - aversion / 2 g^2) of a bar on which equity grew by the factor `growth`, g = log growth."""
    g = math.log(growth)
    return REWARD_SCALE * (g - 0.5 * risk_aversion * g * g)


def trade_row(
    account: Account,
    book: Book,
    first: int,
    row: int,
    targets: Any,
    opens: Any,
    closes: Any,
    days: Any,
    costs: Costs,
    rules: OrderRules,
    tape: Tape,
) -> Account:
    """Send the orders of the close of `row` and go to the close of the next; rows count from `first` on the tape."""
    sent = send_orders(account, book, row - first, targets, closes[row], rules)
    row += 1
    return broker_day(sent, book, row - first, days[row], opens[row], closes[row], costs, tape)


def asset_target(action: float, volatility: float, unit: RiskUnit) -> float:
    """Signed fraction of equity that an action asks for in an account of one asset."""
    wanted = exposure(action, volatility, unit)
    if wanted > FULLY_INVESTED:
        return FULLY_INVESTED
    return wanted if wanted >= -FULLY_INVESTED else -FULLY_INVESTED


def asset_bar(
    account: Account,
    book: Book,
    first: int,
    row: int,
    action: float,
    wanted: Any,
    volatility: Any,
    opens: Any,
    closes: Any,
    days: Any,
    task: AssetTask,
    tape: Tape,
) -> tuple[Account, float, bool]:
    """From the close of `row` to the next.

    Parameters
    ----------
    action : float
        Exposure in units of risk.
    wanted : (1,)
        Room for the target.
    volatility, days : (T,)
    opens, closes : (T, 1)

    Returns
    -------
    The account, the reward (see `hybrid_bt.envs.AssetEnv`), and whether the account is ruined.
    """
    now = volatility[row]
    wanted[0] = asset_target(action, now, task.unit)
    after = trade_row(account, book, first, row, wanted, opens, closes, days, task.costs, task.rules, tape)
    growth = after.equity / account.equity
    if not growth > 0.0:
        return after, -REWARD_SCALE, True
    reward = reward_of(growth, task.risk_aversion)
    if task.base_action != 0.0:
        move = closes[row + 1][0] / closes[row][0] - 1.0
        reward -= reward_of(1.0 + asset_target(task.base_action, now, task.unit) * move, task.risk_aversion)
    return after, reward, False
