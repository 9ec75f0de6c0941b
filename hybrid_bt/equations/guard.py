"""Limits outside the model: what an account may hold and order, whatever the brain wants.

    policy failed        hold what is held, or flatten                              \\
    kill switch          flatten while the file is there                            |  what is wanted at all
    daily loss           equity / yesterday's last equity - 1 <= -limit: flat until the date changes
    drawdown brake       equity / peak - 1 <= -limit: targets times `drawdown_scale`, until equity is back within
                         `drawdown_release` of the peak, or for `drawdown_pause_bars`, after which the peak begins anew
    asset, pair, gross, net                                                         |  how much of it
    max order notional   what would open more is sent in pieces                     /

All facts are those of the account at the close of the bar: equity, and each position at its last close as a fraction
of equity. A limit looks at what would be held if every order were filled at that close, so a position that drifted past
it is cut back, and a symbol without a bar, which cannot be traded, takes its share of the room. Reducing a position is
always allowed. 0 switches a rule off; with all of them off nothing is changed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hybrid_bt.equations import Pairs
from hybrid_bt.equations.guard_limits import BRAKE, DAY, FAILED, KILLED, GuardFacts, GuardParams, Wanted, keep_limits


class GuardState(NamedTuple):
    """What the guard remembers from bar to bar."""

    day: int  #: date of the last bar, in days; -1 before the first
    day_equity: float  #: at the last close of an earlier date
    equity: float  #: at the last close
    stopped: bool  #: by the daily loss, until the date changes
    peak: float  #: highest equity at a close
    braked_bars: int  #: closes since the brake went on; -1 while it is off


def initial_guard() -> GuardState:
    """No bar seen."""
    return GuardState(-1, 0.0, 0.0, False, 0.0, -1)


def guard_step(
    state: GuardState, wanted: Wanted, facts: GuardFacts, pairs: Pairs, params: GuardParams, band: float
) -> tuple[GuardState, int]:
    """Let a bar's targets pass, or cut them down in place.

    Parameters
    ----------
    pairs : (P,) columns (y, x)
    band : float
        `OrderRules.rebalance_band`: a reduction that a limit asks for is made at least so large, or no order would be
        sent for it.

    Returns
    -------
    The new state, and the mask of the rules that changed something. At or below an equity of 0 the targets pass as they
    are: `accounting` closes everything then.
    """
    state = _remembered(state, facts, params)
    if not facts.equity > 0.0:
        return state, 0
    mask = _wanted_at_all(state, wanted, facts, params)
    return state, mask | keep_limits(wanted, facts, pairs, params, band)


def _remembered(state: GuardState, facts: GuardFacts, params: GuardParams) -> GuardState:
    equity, first = facts.equity, state.day < 0
    new_day = first or facts.day != state.day
    day_equity = (equity if first else state.equity) if new_day else state.day_equity
    stopped = state.stopped and not new_day
    if params.daily_loss_limit > 0.0:
        stopped = stopped or equity <= day_equity * (1.0 - params.daily_loss_limit)
    peak, braked = max(state.peak, equity), state.braked_bars
    if params.drawdown_limit > 0.0:
        braked = braked + 1 if braked >= 0 else -1
        if 0.0 < params.drawdown_pause_bars <= braked:
            peak, braked = equity, -1
        elif braked > 0 and equity >= peak * (1.0 - params.drawdown_release):
            braked = -1
        elif braked < 0 and equity <= peak * (1.0 - params.drawdown_limit):
            braked = 0
    return GuardState(facts.day, day_equity, equity, stopped, peak, braked)


def _wanted_at_all(state: GuardState, wanted: Wanted, facts: GuardFacts, params: GuardParams) -> int:
    """Leave what the safe rule, the switch, the stop and the brake do; bits of those that are on."""
    mask, n, flat = 0, len(wanted.targets), False
    if state.braked_bars >= 0:
        for values in (wanted.targets, wanted.sides):
            values[:] = [value * params.drawdown_scale for value in values]
        mask |= BRAKE
    if facts.failed:
        flat, mask = params.on_policy_failure == "flatten", mask | FAILED
        wanted.targets[:] = [math.nan] * n
    if state.stopped:
        flat, mask = True, mask | DAY
    if facts.killed:
        flat, mask = True, mask | KILLED
    if flat:
        wanted.targets[:], wanted.sides[:] = [0.0] * n, [0.0] * len(wanted.sides)
    return mask
