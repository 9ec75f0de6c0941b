"""What trading costs: half a spread and a fee per side, interest on shorts, interest on what the account has borrowed.

    commission  c = |q| p (spread / 2 + fee) 1e-4
    interest    i = days (rate / 365) |q| e
    rate        of longs    financing D / G               - idle (C - R) / (G + S)
                of shorts   borrow      - rebate R / S    - idle (C - R) / (G + S)

    q signed shares, p fill price, e average entry price, rates in fractions a year (bps * 1e-4)
    G, S  sums of |q| e over all longs and all shorts
    C     the account's cash at the last close, longs paid for in full and shorts' proceeds in it: equity less the
          market value of what is held. The broker's own is higher by (1 - 1/L) of each long's entry value, L leverage
    D     debit balance, max(0, -C): what longs exceed equity plus the cash of shorts by, as a margin account reckons
    R     the part of the shorts' proceeds that is still there, min(max(0, C), S); the rest of C is idle

Every unit of cash earns once, or is owed once. Where all symbols traded on the same days the sums over positions are
D, R and C - R, each times its rate. What an account without positions owes or is due is not booked: Backtrader asks for
positions alone, and cash is of no symbol, so that idle cash is paid to what is held, in proportion.

The interest has the arithmetic of Backtrader's `CommInfoBase._get_credit_interest`: actual/365 on the *entry* value.
Everything is a plain function of floats, so that CPython and numba give the same bits; `SpreadFeeCommission` (the
Backtrader side) and `hybrid_bt.equations.accounting` call the very same functions.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Le, Lt

from hybrid_bt.equations import Rate

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
    borrow_bps_per_year: Annotated[Rate, "interest on shorts, bps of their entry value a year"] = 50.0
    leverage: Annotated[float, Ge(1), Le(1e3), "L: position value per unit of own cash that the broker allows"] = 1.0
    financing_bps_per_year: Annotated[Rate, "interest on the debit balance, bps a year; longs pay it"] = 0.0
    rebate_bps_per_year: Annotated[Rate, "paid on shorts' proceeds that buy no longs, bps a year"] = 0.0
    idle_cash_bps_per_year: Annotated[Rate, "paid on other cash while anything is held, bps a year"] = 0.0


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


def reads_cash(costs: Costs) -> bool:
    """Whether interest depends on more than the position: on what the account has borrowed or left."""
    return costs.financing_bps_per_year > 0.0 or costs.rebate_bps_per_year > 0.0 or costs.idle_cash_bps_per_year > 0.0


def interest_rates(held: tuple[float, float, float], costs: Costs) -> tuple[float, float]:
    """What longs and shorts owe on their entry value, bps a year; negative where they are paid.

    Parameters
    ----------
    held
        C, G and S of the account at the last close, see `hybrid_bt.equations.book.balance`.
    """
    cash, longs, shorts = held
    if cash < 0.0:
        return costs.financing_bps_per_year * (-cash / longs) if longs > 0.0 else 0.0, costs.borrow_bps_per_year
    proceeds = cash if cash < shorts else shorts
    rebate = costs.rebate_bps_per_year * (proceeds / shorts) if shorts > 0.0 else 0.0
    idle = costs.idle_cash_bps_per_year * ((cash - proceeds) / (longs + shorts)) if longs + shorts > 0.0 else 0.0
    return 0.0 - idle, costs.borrow_bps_per_year - rebate - idle


def interest(size: float, entry_price: float, days: int, rates: tuple[float, float]) -> float:
    """Interest on a position held over `days` calendar days, in account currency.

    Parameters
    ----------
    size : float
        Signed shares held over those days.
    entry_price : float
        Average entry price of the position.
    days : int
        Calendar days between the dates of the symbol's previous bar and this one; 0 within a day.
    rates
        Of `interest_rates`.

    Returns
    -------
    float
        Negative where the position is paid.
    """
    daily = rates[0] * BPS / DAYS_PER_YEAR if size > 0.0 else rates[1] * BPS / DAYS_PER_YEAR
    return days * daily * abs(size) * entry_price
