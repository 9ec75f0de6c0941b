"""One bar of an environment: pure functions that CPython runs on lists and numba compiles on arrays as they stand.

An environment is a market and three rules: what targets an action asks for, what an observation holds behind the
features, and what a step pays. The account is the broker's (`equations.accounting`): the action of the close of a row
fills at the next open, pays spread, fee and interest, and is marked at the next close.

The reward is of what the action earned: growth of equity from the open at which it fills, costs included, to the next
(on closes alone, to the close after). It looks one bar further than the observation beside it, and adds up to the
account. A lane is one episode; L of them are stepped in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from hybrid_bt.equations import Cells, Lines, Numbers, Row, Written, fusion
from hybrid_bt.equations.accounting import broker_day, send_orders, worth_at_open
from hybrid_bt.equations.book import Account, Tape, book_of, open_account
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.features import CLIP
from hybrid_bt.equations.fusion import RiskParams, RiskUnit
from hybrid_bt.equations.sizing import CASH_BUFFER, OrderRules

REWARD_SCALE = 100.0  #: rewards are in percent: networks like numbers near 1
#: targets go to the broker as they are
NO_LIMITS = RiskParams(math.inf, 1.0, 1.0, math.inf, math.inf, math.inf, math.inf, 252.0)
MOST_HELD = 1.0 - CASH_BUFFER  #: what an action can ask for, also of a short, which no buffer cuts
UNLEVERED = NO_LIMITS._replace(gross_limit=MOST_HELD)  #: the rest of the cash is for gaps and costs

GOES_ON, TRUNCATED, RUINED, BARRED = 0, 1, 2, -1  #: how a step ended; the last was none
SIZE, CLOSE, WANTED, ASKED, HELD, FLOAT_ROWS, INT_ROWS = 0, 2, 6, 7, 8, 8, 4  # rows of `World.floats` and `World.ints`
EQUITY, ROW, LAST, WORTH, SCALARS = 1, 10, 11, 12, 13  # columns of `World.scalars`


class Task(NamedTuple):
    """What is asked of a policy, and under which terms it trades."""

    low: float = -1.0  #: ends of the action space
    high: float = 1.0
    risk_aversion: float = 0.0  #: of the reward, 100 (g - aversion / 2 g^2) of a bar's net log return g
    base_action: float = 0.0  #: its reward is subtracted
    reward_unit: float = 1.0  #: rewards are divided by it
    unit: RiskUnit = RiskUnit(0.20, 1.0, 252.0)  #: of an asset's action
    risk: RiskParams = UNLEVERED  #: limits of a portfolio and of a mix of legs
    costs: Costs = Costs()
    rules: OrderRules = OrderRules()


class World(NamedTuple):
    """L lanes, changed in place, and what they read: arrays, or lists in lists.

    R rows of N assets, all tracks one behind the other. A accounts: L, or 2 L where each lane has a shadow.
    """

    floats: Row[Lines]  #: (A, 8, N) of `Book`; targets; the action in force; where rewards ask, sizes before the step
    ints: Row[Row[Cells[int]]]  #: (A, 4, N) of `Book`
    scalars: Lines  #: (A, 13 or more) of `Account`; rows of the next decision and of the cut; equity at the next open
    features: Lines  #: (R, F) float32
    opens: Lines  #: (R, N), NaN where a symbol has no bar
    closes: Lines  #: (R, N), likewise
    volatility: Lines  #: (R, N) per bar
    days: Lines  #: (R, N), the same day in each column
    correlation: Lines  #: (R, N), likewise
    n_labels: int  #: N, or 0 where each symbol is decided alone
    sides: Row[Sequence[float]]  #: (R, N) labels, of which so many are read: see `accounting.send_orders`
    waits: Row[Lines]  #: (1, R, N) 1 where a symbol waits; or none
    said: Any  #: (R, S + K) what K legs wish side by side, and how risky each is
    layout: Layout  #: of those sides
    lines: Written  #: (3 K,) shares of risk of the legs at r = -1, 0 and +1
    room: Lines  #: (S,) and three of (K,), (K,), (N,)
    task: Task
    tape: Tape  #: of empty sequences


Act: TypeAlias = Callable[[Written, Written, int, World], None]  #: (targets written, action in force, row, world)
See: TypeAlias = Callable[[Written, int, Lines, float], None]  #: (observation written, from where on, floats, equity)
Pay: TypeAlias = Callable[[int, int, float, World], float]  #: (lane, row, factor by which equity grew, world)


def reward_of(growth: float, risk_aversion: float) -> float:
    """100 (g - aversion / 2 g^2) of a bar on which equity grew by the factor `growth`, g = log growth."""
    g = math.log(growth)
    return REWARD_SCALE * (g - 0.5 * risk_aversion * g * g)


def pay_growth(lane: int, row: int, growth: float, world: World) -> float:
    """What the account earned."""
    return reward_of(growth, world.task.risk_aversion)


def asset_target(action: float, volatility: float, unit: RiskUnit) -> float:
    """Signed fraction of equity that an action asks for in an account of one asset."""
    return min(max(fusion.exposure(action, volatility, unit), -MOST_HELD), MOST_HELD)


def act_asset(wanted: Written, asked: Written, row: int, world: World) -> None:
    """Of one asset: exposure in units of risk."""
    wanted[0] = asset_target(asked[0], world.volatility[row][0], world.task.unit)


def pay_over_asset(lane: int, row: int, growth: float, world: World) -> float:
    """Less what holding `base_action` for nothing earned: no action changes it, and it takes out the market's noise."""
    task, reward = world.task, reward_of(growth, world.task.risk_aversion)
    if task.base_action == 0.0:
        return reward
    held = asset_target(task.base_action, world.volatility[row][0], task.unit)
    move = world.opens[row + 2][0] / world.opens[row + 1][0] - 1.0
    return reward - reward_of(1.0 + held * move, task.risk_aversion)


def act_portfolio(wanted: Written, asked: Written, row: int, world: World) -> None:
    """Of a portfolio: fractions of equity, limited."""
    for i in range(len(wanted)):
        wanted[i] = asked[i]
    fusion.limit_in_place(wanted, world.volatility[row], world.correlation[row][0], world.task.risk)


def see_nothing(seen: Written, n: int, floats: Lines, equity: float) -> None:
    """Features are all there is."""


def see_weights(seen: Written, n: int, floats: Lines, equity: float) -> None:
    """The weights held."""
    sizes, closes = floats[SIZE], floats[CLOSE]
    for i in range(len(sizes)):
        weight = sizes[i] * closes[i] / equity if equity > 0.0 else 0.0
        seen[n + i] = min(max(weight, -CLIP), CLIP)


def act_regime(wanted: Written, asked: Written, row: int, world: World) -> None:
    """Of a regime: the legs mixed at score r and limited; what waits for the other side of its pair is withheld."""
    sides, weights, shares, bounds = world.room[0], world.room[1], world.room[2], world.room[3]
    for leg in range(len(shares)):
        k = 3 * leg
        shares[leg] = fusion.share_at(asked[0], world.lines[k], world.lines[k + 1], world.lines[k + 2])
    row_said, n = world.said[row], len(sides)
    said = fusion.Said(row_said[:n], row_said[n:], world.volatility[row], world.correlation[row][0])
    fusion.settle_bar(fusion.Settled(wanted, sides, weights), said, world.layout, shares, world.task.risk, bounds)
    for i in range(len(wanted)):
        if world.waits[0][row][i] > 0.0:
            wanted[i] = math.nan


def pay_over_shadow(lane: int, row: int, growth: float, world: World) -> float:
    """Less what the lane's second account earned, which keeps `base_action` throughout."""
    reward, shadow = reward_of(growth, world.task.risk_aversion), lane + len(world.scalars) // 2
    floats = world.floats[shadow]
    floats[ASKED][0] = world.task.base_action
    act_regime(floats[WANTED], floats[ASKED], row, world)
    grown = trade(shadow, row, world)
    return reward - (reward_of(grown, world.task.risk_aversion) if grown > 0.0 else 0.0)


def load_account(v: Written) -> Account:
    """The account that `store_account` wrote."""
    whole = int(v[2]), int(v[3]), int(v[4]), int(v[6]), int(v[7])
    return Account(v[0], v[1], whole[0], whole[1], whole[2], v[5] > 0.0, whole[3], whole[4], v[8], v[9])


def store_account(v: Written, account: Account) -> None:
    """Write an account over the first ten of (13,)."""
    v[0], v[1], v[2], v[3], v[4] = account.cash, account.equity, account.seen, account.waiting, account.submitted
    v[5] = 1.0 if account.ruined else 0.0
    v[6], v[7], v[8], v[9] = account.rejected, account.fills, account.commission, account.interest


def trade(k: int, row: int, world: World) -> float:
    """Send the orders of account k at the close of `row`, go to the next; what they earn until the open after it."""
    floats, scalars, task = world.floats[k], world.scalars[k], world.task
    book, before = book_of(floats, world.ints[k]), load_account(scalars)
    sides = world.sides[row][: world.n_labels]
    sent = send_orders(before, book, row, floats[WANTED], world.closes[row], sides, task.rules, task.costs)
    row += 1
    day, opens, closes, costs = int(world.days[row][0]), world.opens[row], world.closes[row], task.costs
    after = broker_day(sent, book, row, day, opens, closes, costs, world.tape)
    store_account(scalars, after)
    row += 1
    day, was = int(world.days[row][0]), scalars[WORTH]
    scalars[WORTH] = worth_at_open(after, book, row, day, world.opens[row], world.closes[row], costs, world.tape)
    return scalars[WORTH] / was


def begin_lane(world: World, n_lanes: int, cash: float, lane: int, row: int, last: int) -> None:
    """A new episode from the close of a row on, in cash."""
    for k in range(lane, len(world.scalars), n_lanes):
        for values in world.floats[k]:
            for i in range(len(values)):
                values[i] = 0.0
        for counts in world.ints[k]:
            for i in range(len(counts)):
                counts[i] = 0
        book, day, scalars = book_of(world.floats[k], world.ints[k]), int(world.days[row][0]), world.scalars[k]
        opens, closes, costs = world.opens[row], world.closes[row], world.task.costs
        store_account(scalars, broker_day(open_account(cash), book, row, day, opens, closes, costs, world.tape))
        scalars[ROW], scalars[LAST], scalars[WORTH] = row, last, cash


def is_barred(world: World, lane: int, actions: Written) -> bool:
    """Whether a lane has not begun or has ended, or a number is NaN or infinite."""
    barred = world.scalars[lane][ROW] >= world.scalars[lane][LAST]
    for action in actions:
        barred = barred or not -math.inf < action < math.inf
    return barred


def take_action(asked: Written, actions: Numbers, task: Task) -> None:
    """Write the action in force; outside the action space it is its nearer end."""
    for k, given in enumerate(actions):
        action = float(given)
        asked[k] = task.low if action < task.low else task.high if action > task.high else action


def step_lane(
    act: Act, see: See, pay: Pay, world: World, lane: int, actions: Written, seen: Written
) -> tuple[float, int]:
    """Take one lane to its next close by actions, (1,) or (N,), with `seen` written also after the last step.
    Its reward and how it ended; nothing is done where that is BARRED.
    """
    if is_barred(world, lane, actions):
        return math.nan, BARRED
    floats, scalars, task = world.floats[lane], world.scalars[lane], world.task
    wanted, asked, row = floats[WANTED], floats[ASKED], int(scalars[ROW])
    take_action(asked, actions, task)
    act(wanted, asked, row, world)
    growth = trade(lane, row, world)
    ruined = not (growth > 0.0 and scalars[EQUITY] > 0.0)
    reward = -REWARD_SCALE if ruined else pay(lane, row, growth, world)
    row += 1
    scalars[ROW], scalars[LAST] = row, row if ruined else scalars[LAST]
    for k, feature in enumerate(world.features[row]):
        seen[k] = feature
    see(seen, len(world.features[row]), floats, scalars[EQUITY])
    return reward / task.reward_unit, RUINED if ruined else TRUNCATED if row >= scalars[LAST] else GOES_ON


def step_lanes(
    act: Act, see: See, pay: Pay, world: World, actions: Lines, seen: Lines, rewards: Written, ended: Written
) -> int:
    """`step_lane` for every lane, rewards and endings written; how many episodes have ended, or BARRED if one is."""
    over = 0
    for lane, given in enumerate(actions):
        if is_barred(world, lane, given):
            return BARRED
    for lane, given in enumerate(actions):
        rewards[lane], ended[lane] = step_lane(act, see, pay, world, lane, given, seen[lane])
        over += ended[lane] != GOES_ON
    return over
