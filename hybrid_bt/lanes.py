"""Many asset environments side by side: a lane is one episode of one asset, and one call steps all of them.

The bar is `paper.asset_bar`, as in `hybrid_bt.envs.AssetEnv`; state lies in arrays so that `hybrid_bt.kernels.lanes`
can compile `step_lanes` as it stands. `hybrid_bt.batch_env` holds the arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hybrid_bt.accounting import Account, Book, Tape, broker_day, open_account
from hybrid_bt.paper import START_CASH, AssetTask, asset_bar

__all__ = ["GOES_ON", "RUINED", "TRUNCATED", "LaneMarket", "LaneState", "begin_lane", "step_lanes"]

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

    floats: Any  #: (L, 7, 1) of `Book`, and room for a target
    ints: Any  #: (L, 4, 1) int64, of `Book`
    accounts: Any  #: (L, 10) fields of `Account`
    first: Any  #: (L,) int64, row of the first decision
    row: Any  #: (L,) int64, row of the next one
    last: Any  #: (L,) int64, row that the episode is cut at


def _book(floats: Any, ints: Any) -> Book:
    return Book(floats[0], floats[1], floats[2], ints[0], floats[3], floats[4], ints[1], floats[5], ints[2], ints[3])


def _load(v: Any) -> Account:
    whole = int(v[2]), int(v[3]), int(v[4]), int(v[6]), int(v[7])
    return Account(v[0], v[1], whole[0], whole[1], whole[2], v[5] > 0.0, whole[3], whole[4], v[8], v[9])


def _store(v: Any, account: Account) -> None:
    v[0], v[1], v[2], v[3], v[4] = account.cash, account.equity, account.seen, account.waiting, account.submitted
    v[5] = 1.0 if account.ruined else 0.0
    v[6], v[7], v[8], v[9] = account.rejected, account.fills, account.commission, account.interest


def begin_lane(
    lane: int, first: int, last: int, state: LaneState, market: LaneMarket, task: AssetTask, tape: Tape
) -> None:
    """A new episode from the close of row `first` on, in cash."""
    state.floats[lane] = 0.0
    state.ints[lane] = 0
    state.first[lane], state.row[lane], state.last[lane] = first, first, last
    book = _book(state.floats[lane], state.ints[lane])
    prices = market.opens[first], market.closes[first]
    account = broker_day(open_account(START_CASH), book, 0, market.days[first], prices[0], prices[1], task.costs, tape)
    _store(state.accounts[lane], account)


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
) -> None:
    """Take every lane to its next close.

    Parameters
    ----------
    actions : (L, 1) float32
    low, high : float
        Ends of the action space.
    tape : Tape
        Of empty arrays.
    observations : (L, features) float32, written
        What the policy sees after the step; of an episode that has ended, its last.
    rewards : (L,) float32, written
    ended : (L,) int64, written
        GOES_ON, TRUNCATED or RUINED.
    """
    for lane in range(len(actions)):
        asked = float(actions[lane, 0])
        held = low if asked < low else high if asked > high else asked
        first, row = state.first[lane], state.row[lane]
        floats = state.floats[lane]
        account, reward, ruined = asset_bar(
            _load(state.accounts[lane]),
            _book(floats, state.ints[lane]),
            first,
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
        _store(state.accounts[lane], account)
        row += 1
        state.row[lane] = row
        seen = market.observations[row]
        for k in range(len(seen) - 1):
            observations[lane, k] = seen[k]
        observations[lane, len(seen) - 1] = held
        rewards[lane] = reward
        ended[lane] = RUINED if ruined else TRUNCATED if row >= state.last[lane] else GOES_ON
