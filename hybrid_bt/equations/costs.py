"""What trading costs: half a spread and a fee per side, interest on shorts, interest on the borrowed part of longs.

    commission  c = |q| p (spread / 2 + fee) 1e-4
    interest    i = days (rate / 365) |q| e        rate = borrow                on shorts
                                                   rate = financing (1 - 1/L)   on longs

    q signed shares, p fill price, e average entry price, L leverage, rates in fractions a year (bps * 1e-4)

The interest has the arithmetic of Backtrader's `CommInfoBase._get_credit_interest`: actual/365 on the *entry* value.
Everything is a plain function of floats, so that CPython and numba give the same bits; `SpreadFeeCommission` (the
Backtrader side) and `hybrid_bt.equations.accounting` call the very same functions.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Lt

BPS = 1e-4  # one basis point as a fraction
DAYS_PER_YEAR = 365.0  # Backtrader's day count


class Costs(NamedTuple):
    """Trading costs and leverage; the same for every symbol of an account. ConfigError where they are used, if one is
    below 0 or not finite.

    >>> Costs(spread_bps=4.0, fee_bps=1.0).fee_bps
    1.0
    """

    spread_bps: Annotated[float, Ge(0), Lt(1e4), "bid-ask spread, bps of price; half of it is paid per side"] = 4.0
    fee_bps: Annotated[float, Ge(0), Lt(1e4), "broker's fee, bps of notional per side"] = 1.0
    borrow_bps_per_year: Annotated[float, Ge(0), "interest on shorts, bps of their entry value a year"] = 50.0
    leverage: Annotated[float, Ge(1), "L: position value per unit of own cash that the broker allows"] = 1.0
    financing_bps_per_year: Annotated[float, Ge(0), "the same on the borrowed (1 - 1/L) of longs"] = 0.0


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
