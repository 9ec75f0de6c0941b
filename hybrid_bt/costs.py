"""What trading costs: half a spread and a fee per side, interest on shorts, interest on the borrowed part of longs.

    commission  c = |q| p (spread / 2 + fee) 1e-4
    interest    i = days (rate / 365) |q| e        rate = borrow                on shorts
                                                   rate = financing (1 - 1/L)   on longs

    q signed shares, p fill price, e average entry price, L leverage, rates in fractions a year (bps * 1e-4)

The interest has the arithmetic of Backtrader's `CommInfoBase._get_credit_interest`: actual/365 on the *entry* value.
Everything is a plain function of floats, so that CPython and numba give the same bits; `SpreadFeeCommission` (the
Backtrader side) and `hybrid_bt.accounting` call the very same functions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hybrid_bt.errors import ConfigError

__all__ = ["Costs", "borrow_interest", "checked_costs", "commission"]

BPS = 1e-4  # one basis point as a fraction
DAYS_PER_YEAR = 365.0  # Backtrader's day count


class Costs(NamedTuple):
    """Trading costs and leverage; the same for every symbol of an account."""

    spread_bps: float = 4.0  #: full bid-ask spread, bps of price; half of it is paid per side
    fee_bps: float = 1.0  #: broker's fee, bps of notional per side
    borrow_bps_per_year: float = 50.0  #: interest on shorts, bps of their entry value a year
    leverage: float = 1.0  #: L: a long position ties up 1/L of its value in cash
    financing_bps_per_year: float = 0.0  #: interest on the borrowed (1 - 1/L) of longs, bps of entry value a year


def checked_costs(costs: Costs) -> Costs:
    """The same costs as plain floats.

    Raises
    ------
    ConfigError
        If a cost is negative or not finite, or the leverage is below 1.
    """
    plain = Costs(*(float(value) for value in costs))
    for name, value in zip(Costs._fields, plain, strict=True):
        least = 1.0 if name == "leverage" else 0.0
        if not (math.isfinite(value) and value >= least):
            raise ConfigError(f"costs: {name} must be a finite number of at least {least:g}, not {value!r}")
    return plain


def commission(size: float, price: float, costs: Costs) -> float:
    """Half spread plus fee on one execution, in account currency.

    Parameters
    ----------
    size : float
        Signed shares executed.
    price : float
        Fill price.

    Returns
    -------
    float
        >= 0.
    """
    return abs(size) * price * (0.5 * costs.spread_bps + costs.fee_bps) * BPS


def borrow_interest(size: float, entry_price: float, days: int, costs: Costs) -> float:
    """Interest charged on a position held over `days` calendar days, in account currency.

    Parameters
    ----------
    size : float
        Signed shares held over those days.
    entry_price : float
        Average entry price of the position.
    days : int
        Calendar days between the dates of the symbol's previous bar and this one; 0 within a day.

    Returns
    -------
    float
        >= 0. Longs pay only if they are leveraged and `financing_bps_per_year` is set.
    """
    rate = costs.borrow_bps_per_year if size < 0.0 else costs.financing_bps_per_year * (1.0 - 1.0 / costs.leverage)
    return days * (rate * BPS / DAYS_PER_YEAR) * abs(size) * entry_price
