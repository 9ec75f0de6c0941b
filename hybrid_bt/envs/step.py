"""One bar of an environment: pure functions that CPython runs on lists and numba compiles on arrays as they stand.

An environment is a market and three rules, a `Spec`:

    act       targets that an action asks for
    see       what an observation holds behind the market's features
    baseline  reward that `base_action` would have had, which is subtracted

The account is the broker's (`hybrid_bt.accounting`): the action of the close of a row fills at the next open, pays
spread, fee and interest, and is marked at the next close. A lane is one episode; L of them are stepped in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from hybrid_bt.accounting import Account, Book, OrderRules, Tape, broker_day, open_account, send_orders
from hybrid_bt.costs import Costs
from hybrid_bt.features import CLIP
from hybrid_bt.fusion import FusionParams, RiskParams, limit_in_place, sac_weight, weight_at
from hybrid_bt.legs.sac import RiskUnit, exposure

START_CASH = 1_000_000.0
REWARD_SCALE = 100.0  #: rewards are in percent: networks like numbers near 1
FULLY_INVESTED = 0.97  #: an unlevered account keeps this little in cash for gaps and costs
NO_LIMITS = RiskParams(math.inf, 1.0, math.inf, math.inf, math.inf, 252.0)  #: targets go to the broker as they are
UNLEVERED = NO_LIMITS._replace(gross_limit=FULLY_INVESTED)  #: the rest of the cash is for gaps and costs

GOES_ON, TRUNCATED, RUINED = 0, 1, 2  #: how a step ended
WANTED, ASKED, FLOAT_ROWS, INT_ROWS = 6, 7, 8, 4  # rows of `State.floats` behind those of the book
EQUITY, ROW, LAST, SCALARS = 1, 10, 11, 12  # columns of `State.scalars`


class Task(NamedTuple):
    """What is asked of a policy, and under which terms it trades."""

    low: float = -1.0  #: ends of the action space
    high: float = 1.0
    risk_aversion: float = 0.0  #: of the reward, 100 (g - aversion / 2 g^2) of a bar's net log return g
    base_action: float = 0.0  #: its reward is subtracted (`Spec.baseline`)
    reward_unit: float = 1.0  #: rewards are divided by it
    unit: RiskUnit = RiskUnit(0.20, 1.0, 252.0)  #: of an asset's action
    fusion: FusionParams = FusionParams(0.5, 0.5, 0.5)  #: of a regime's action
    risk: RiskParams = UNLEVERED  #: limits of a portfolio and of a mix of legs
    costs: Costs = Costs()
    rules: OrderRules = OrderRules()


class World(NamedTuple):
    """L lanes, changed in place, and what they read: arrays, or lists in lists.

    R rows of N assets, all tracks one behind the other. A accounts: L, or 2 L where each lane has a shadow.
    """

    floats: Any  #: (A, 8, N) of `Book`; targets; the action in force
    ints: Any  #: (A, 4, N) of `Book`
    scalars: Any  #: (A, 12) of `Account`; the row of the next decision; the row that the episode is cut at
    features: Any  #: (R, F) float32
    opens: Any  #: (R, N), NaN where a symbol has no bar
    closes: Any  #: (R, N), likewise
    volatility: Any  #: (R, N) per bar
    legs: Any  #: (L + 1, R, N) targets of all legs, and 1 where a symbol waits; or none of them
    lines: Any  #: (3 (L - 2),) weights of the legs behind the first two, at r = -1, 0 and +1
    days: Any  #: (R,)
    correlation: Any  #: (R,)
    task: Task
    tape: Tape  #: of empty sequences


class Spec(NamedTuple):
    """What makes a market an environment."""

    act: Callable[..., None]  #: (wanted (N,) written, action in force, row, world)
    see: Callable[..., None]  #: (observation written, from where on, action in force, book, equity)
    baseline: Callable[..., float]  #: (lane, row, world)
    bounds: Callable[[int, Task], list[tuple[float, float]]]  #: (N, task) -> of each number that `see` writes
    per_asset: bool = False  #: an action holds a number for each asset; else one
    accounts: int = 1  #: of a lane; 2 with a shadow that keeps `base_action`


def reward_of(growth: float, risk_aversion: float) -> float:
    """100 (g - aversion / 2 g^2) of a bar on which equity grew by the factor `growth`, g = log growth."""
    g = math.log(growth)
    return REWARD_SCALE * (g - 0.5 * risk_aversion * g * g)


def no_baseline(lane: int, row: int, world: World) -> float:
    """Rewards stand as they are."""
    return 0.0


# --- one asset: exposure in units of risk


def asset_target(action: float, volatility: float, unit: RiskUnit) -> float:
    """Signed fraction of equity that an action asks for in an account of one asset."""
    wanted = exposure(action, volatility, unit)
    if wanted > FULLY_INVESTED:
        return FULLY_INVESTED
    return wanted if wanted >= -FULLY_INVESTED else -FULLY_INVESTED


def act_asset(wanted: Any, asked: Any, row: int, world: World) -> None:
    """Exposure to the asset."""
    wanted[0] = asset_target(asked[0], world.volatility[row][0], world.task.unit)


def see_action(seen: Any, n: int, asked: Any, book: Book, equity: float) -> None:
    """The action in force."""
    seen[n] = asked[0]


def held_for_nothing(lane: int, row: int, world: World) -> float:
    """Reward of holding `base_action` without costs: no action can change it, and it takes out the market's noise."""
    task = world.task
    if task.base_action == 0.0:
        return 0.0
    held = asset_target(task.base_action, world.volatility[row][0], task.unit)
    move = world.closes[row + 1][0] / world.closes[row][0] - 1.0
    return reward_of(1.0 + held * move, task.risk_aversion)


# --- a portfolio: fractions of equity


def act_portfolio(wanted: Any, asked: Any, row: int, world: World) -> None:
    """The action itself, limited."""
    for i in range(len(wanted)):
        wanted[i] = asked[i]
    limit_in_place(wanted, world.volatility[row], world.correlation[row], world.task.risk)


def see_weights(seen: Any, n: int, asked: Any, book: Book, equity: float) -> None:
    """The weights held."""
    for i in range(len(book.size)):
        weight = book.size[i] * book.close[i] / equity if equity > 0.0 else 0.0
        seen[n + i] = min(max(weight, -CLIP), CLIP)


# --- a regime: the mix of recorded legs


def settle(wanted: Any, row: int, r: float, world: World) -> None:
    """Mix the legs at score r, limit the mix, and withhold what waits for the other side of its pair."""
    legs, lines, task = world.legs, world.lines, world.task
    n_legs, w_sac = len(legs) - 1, sac_weight(r, task.fusion)
    sac, kalman, waits = legs[0][row], legs[1][row], legs[n_legs][row]
    for i in range(len(wanted)):
        wanted[i] = w_sac * sac[i] + (1.0 - w_sac) * kalman[i]
    for leg in range(2, n_legs):
        k, further = 3 * (leg - 2), legs[leg][row]
        weight = weight_at(r, lines[k], lines[k + 1], lines[k + 2])
        for i in range(len(wanted)):
            wanted[i] += weight * further[i]
    limit_in_place(wanted, world.volatility[row], world.correlation[row], task.risk)
    for i in range(len(wanted)):
        if waits[i] > 0.0:
            wanted[i] = math.nan


def act_regime(wanted: Any, asked: Any, row: int, world: World) -> None:
    """The mix at score r."""
    settle(wanted, row, asked[0], world)


def see_nothing(seen: Any, n: int, asked: Any, book: Book, equity: float) -> None:
    """Features are all there is."""


def shadow_of(lane: int, row: int, world: World) -> float:
    """Reward of the lane's second account, which keeps `base_action` throughout."""
    shadow = lane + len(world.scalars) // 2
    floats = world.floats[shadow]
    floats[ASKED][0] = world.task.base_action
    act_regime(floats[WANTED], floats[ASKED], row, world)
    growth = trade(shadow, row, world)
    return reward_of(growth, world.task.risk_aversion) if growth > 0.0 else 0.0


def _previous(n_assets: int, task: Task) -> list[tuple[float, float]]:
    return [(min(task.low, 0.0), max(task.high, 0.0))]


def _weights(n_assets: int, task: Task) -> list[tuple[float, float]]:
    return [(-CLIP, CLIP)] * n_assets


def _nothing(n_assets: int, task: Task) -> list[tuple[float, float]]:
    return []


ASSET = Spec(act_asset, see_action, held_for_nothing, _previous)
REGIME = Spec(act_regime, see_nothing, shadow_of, _nothing, accounts=2)
PORTFOLIO = Spec(act_portfolio, see_weights, no_baseline, _weights, per_asset=True)

#: every environment that there is
SPECS = {"Asset": ASSET, "Regime": REGIME, "Portfolio": PORTFOLIO}


# --- lanes


def book_of(floats: Any, ints: Any) -> Book:
    """The book of an account, on (8, N) and (4, N)."""
    return Book(floats[0], floats[1], floats[2], ints[0], floats[3], floats[4], ints[1], floats[5], ints[2], ints[3])


def load_account(v: Any) -> Account:
    """The account that `store_account` wrote."""
    whole = int(v[2]), int(v[3]), int(v[4]), int(v[6]), int(v[7])
    return Account(v[0], v[1], whole[0], whole[1], whole[2], v[5] > 0.0, whole[3], whole[4], v[8], v[9])


def store_account(v: Any, account: Account) -> None:
    """Write an account over the first ten of (12,)."""
    v[0], v[1], v[2], v[3], v[4] = account.cash, account.equity, account.seen, account.waiting, account.submitted
    v[5] = 1.0 if account.ruined else 0.0
    v[6], v[7], v[8], v[9] = account.rejected, account.fills, account.commission, account.interest


def trade(k: int, row: int, world: World) -> float:
    """Send the orders of account k at the close of `row`, go to the next, and return the growth of equity."""
    floats, scalars = world.floats[k], world.scalars[k]
    book, before = book_of(floats, world.ints[k]), load_account(scalars)
    sent = send_orders(before, book, row, floats[WANTED], world.closes[row], world.task.rules)
    row += 1
    day, opens, closes = int(world.days[row]), world.opens[row], world.closes[row]
    after = broker_day(sent, book, row, day, opens, closes, world.task.costs, world.tape)
    store_account(scalars, after)
    return after.equity / before.equity


def begin_lane(world: World, n_lanes: int, cash: float, lane: int, row: int, last: int) -> None:
    """A new episode from the close of a row on, in cash."""
    for k in range(lane, len(world.scalars), n_lanes):
        floats, ints, scalars = world.floats[k], world.ints[k], world.scalars[k]
        for i in range(len(floats[0])):
            for j in range(FLOAT_ROWS):
                floats[j][i] = 0.0
            for j in range(INT_ROWS):
                ints[j][i] = 0
        fresh, book, day, tape = open_account(cash), book_of(floats, ints), int(world.days[row]), world.tape
        marked = broker_day(fresh, book, row, day, world.opens[row], world.closes[row], world.task.costs, tape)
        store_account(scalars, marked)
        scalars[ROW], scalars[LAST] = row, last


def step_lane(act: Any, see: Any, baseline: Any, world: World, lane: int, actions: Any, seen: Any) -> tuple[float, int]:
    """Take one lane to its next close.

    Parameters
    ----------
    act, see, baseline
        Of a `Spec`.
    actions : (1,) or (N,) float32
        Those outside the action space are the nearer end. NaN sends no order: what is held is kept, and the action in
        force stays the last one.
    seen : (features,) float32, written
        What the policy sees after the step; of an episode that has ended, its last.

    Returns
    -------
    The reward, and GOES_ON, TRUNCATED or RUINED.
    """
    floats, scalars, task = world.floats[lane], world.scalars[lane], world.task
    wanted, asked, row = floats[WANTED], floats[ASKED], int(scalars[ROW])
    silent = False
    for k in range(len(actions)):
        action = float(actions[k])
        if action == action:
            asked[k] = task.low if action < task.low else task.high if action > task.high else action
        else:
            silent = True
    act(wanted, asked, row, world)
    if silent:
        for i in range(len(wanted)):
            if math.isnan(actions[i if len(actions) > 1 else 0]):
                wanted[i] = math.nan
    growth = trade(lane, row, world)
    ruined = not growth > 0.0
    reward = -REWARD_SCALE
    if not ruined:
        reward = reward_of(growth, task.risk_aversion) - baseline(lane, row, world)
    row += 1
    scalars[ROW] = row
    if ruined:
        scalars[LAST] = row
    features = world.features[row]
    for k in range(len(features)):
        seen[k] = features[k]
    see(seen, len(features), asked, book_of(floats, world.ints[lane]), scalars[EQUITY])
    return reward / task.reward_unit, RUINED if ruined else TRUNCATED if row >= scalars[LAST] else GOES_ON


def step_lanes(
    act: Any, see: Any, baseline: Any, world: World, actions: Any, seen: Any, rewards: Any, ended: Any
) -> int:
    """Take every lane to its next close.

    Parameters
    ----------
    actions : (L, 1 or N) float32
    seen : (L, features) float32, written
    rewards : (L,) float32, written
    ended : (L,) int64, written

    Returns
    -------
    How many episodes have ended.
    """
    over = 0
    for lane in range(len(actions)):
        reward, end = step_lane(act, see, baseline, world, lane, actions[lane], seen[lane])
        rewards[lane] = reward
        ended[lane] = end
        over += end != GOES_ON
    return over
