"""Many asset environments side by side: a lane is one episode of one asset, and one call steps all of them.

The bar is `paper.asset_bar`, as in `hybrid_bt.envs.AssetEnv`; state lies in arrays so that `hybrid_bt.kernels.lanes`
can compile `step_lanes` as it stands. `hybrid_bt.batch_env` holds the arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hybrid_bt.accounting import Account, Book, Tape, broker_day, open_account
from hybrid_bt.costs import Costs
from hybrid_bt.paper import AssetTask, asset_bar

GOES_ON, TRUNCATED, RUINED = 0, 1, 2  #: how a step ended


class LaneMarket(NamedTuple):
    """All tracks, one behind the other, R rows in all."""

    observations: Any  #: (R, features) float32
    volatility: Any  #: (R,)
    opens: Any  #: (R, 1)
    closes: Any  #: (R, 1)
    days: Any  #: (R,) int64


class LaneState(NamedTuple):
    """L lanes, changed in place."""

    floats: Any  #: (L, 7, N) of `Book`, and room for targets; N = 1 for an asset alone
    ints: Any  #: (L, 4, N) int64, of `Book`
    accounts: Any  #: (L, 10) fields of `Account`
    first: Any  #: (L,) int64, row of the first decision
    row: Any  #: (L,) int64, row of the next one
    last: Any  #: (L,) int64, row that the episode is cut at


def book_of(floats: Any, ints: Any) -> Book:
    """The book of a lane, on (7, N) and (4, N)."""
    return Book(floats[0], floats[1], floats[2], ints[0], floats[3], floats[4], ints[1], floats[5], ints[2], ints[3])


def load_account(v: Any) -> Account:
    """The account that `store_account` wrote."""
    whole = int(v[2]), int(v[3]), int(v[4]), int(v[6]), int(v[7])
    return Account(v[0], v[1], whole[0], whole[1], whole[2], v[5] > 0.0, whole[3], whole[4], v[8], v[9])


def store_account(v: Any, account: Account) -> None:
    """Write an account over (10,)."""
    v[0], v[1], v[2], v[3], v[4] = account.cash, account.equity, account.seen, account.waiting, account.submitted
    v[5] = 1.0 if account.ruined else 0.0
    v[6], v[7], v[8], v[9] = account.rejected, account.fills, account.commission, account.interest


def begin_lane(
    lane: int,
    first: int,
    last: int,
    cash: float,
    state: LaneState,
    opens: Any,
    closes: Any,
    days: Any,
    costs: Costs,
    tape: Tape,
) -> None:
    """A new episode from the close of row `first` on, in cash."""
    state.floats[lane] = 0.0
    state.ints[lane] = 0
    state.first[lane], state.row[lane], state.last[lane] = first, first, last
    book = book_of(state.floats[lane], state.ints[lane])
    account = broker_day(open_account(cash), book, 0, days[first], opens[first], closes[first], costs, tape)
    store_account(state.accounts[lane], account)


def step_lane(
    lane: int,
    actions: Any,
    low: float,
    high: float,
    state: LaneState,
    market: LaneMarket,
    task: AssetTask,
    tape: Tape,
    observation: Any,
) -> tuple[float, int]:
    """Take one lane to its next close.

    Parameters
    ----------
    actions : (1,) float32
        Exposure in units of risk.
    low, high : float
        Ends of the action space.
    tape : Tape
        Of empty arrays.
    observation : (features,) float32, written
        What the policy sees after the step; of an episode that has ended, its last.

    Returns
    -------
    The reward, and GOES_ON, TRUNCATED or RUINED.
    """
    asked = float(actions[0])
    held = low if asked < low else high if asked > high else asked
    row = state.row[lane]
    floats = state.floats[lane]
    account, reward, ruined = asset_bar(
        load_account(state.accounts[lane]),
        book_of(floats, state.ints[lane]),
        state.first[lane],
        row,
        held,
        floats[6],
        market.volatility,
        market.opens,
        market.closes,
        market.days,
        task,
        tape,
    )
    store_account(state.accounts[lane], account)
    row += 1
    state.row[lane] = row
    seen = market.observations[row]
    for k in range(len(seen) - 1):
        observation[k] = seen[k]
    observation[len(seen) - 1] = held
    return reward, RUINED if ruined else TRUNCATED if row >= state.last[lane] else GOES_ON


def step_lanes(
    actions: Any,
    low: float,
    high: float,
    state: LaneState,
    market: LaneMarket,
    task: AssetTask,
    tape: Tape,
    observations: Any,
    rewards: Any,
    ended: Any,
) -> int:
    """Take every lane to its next close.

    Parameters
    ----------
    actions : (L, 1) float32
    observations : (L, features) float32, written
    rewards : (L,) float32, written
    ended : (L,) int64, written

    Returns
    -------
    How many episodes have ended.
    """
    over = 0
    for lane in range(len(actions)):
        reward, end = step_lane(lane, actions[lane], low, high, state, market, task, tape, observations[lane])
        rewards[lane] = reward
        ended[lane] = end
        over += end != GOES_ON
    return over
