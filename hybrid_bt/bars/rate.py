"""How many bars a year has: what a volatility per bar is multiplied with, from the calendar of the bars themselves.

    daily or longer   (T - 1) bars over the years between the first stamp and the last
    intraday          bars per session times sessions per year

Sessions are days of the clock. Where they span less than 90 days, or come within 5 % of 252 a year as those of stock
exchanges do, they are taken as 252. The first and the last session may be cut and are left out of the count of bars;
where there are no others, a session is taken to last 6.5 hours, or as long as the bars show.

Reports use the span that was traded. Decisions may not see it, so they use `decision_rate` of the bars before trading,
which is 252 for daily bars: set `risk.bars_per_year = 365` for a market that never closes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXCHANGE_SESSIONS = 252.0  #: per year; NYSE has had 249 to 254 since 1990
TOLERANCE = 0.05  #: relative
FEWEST_DAILY = 130.0  #: bars per year, half the days of an exchange; fewer are weekly or monthly bars
DAYS_PER_YEAR = 365.25
SHORT_SESSION = np.timedelta64(390, "m")  #: of a US stock exchange, the shortest in wide use
FEW_DAYS = 90.0  #: a shorter span says little: one holiday more or less moves it by percents

Stamps = NDArray[np.datetime64]


def is_intraday(stamps: Stamps) -> bool:
    """Whether some day has several bars."""
    days = stamps.astype("M8[D]")
    return bool((days[1:] == days[:-1]).any())


def bars_per_year(stamps: Stamps) -> float:
    """Bars per calendar year of 365.25 days; 0.0 if the stamps span no time."""
    span = _days_between(stamps)
    if span <= 0.0:
        return 0.0
    if not is_intraday(stamps):
        return (len(stamps) - 1) * DAYS_PER_YEAR / span
    days, counts = np.unique(stamps.astype("M8[D]"), return_counts=True)
    return _bars_per_session(stamps, counts) * _sessions_per_year(days)


def decision_rate(stamps: Stamps) -> float:
    """Bars per year as decisions take it: 252 for daily bars, whatever holidays their span had, else `bars_per_year`.

    Parameters
    ----------
    stamps : ndarray of datetime64[ns], shape (T,)
        Of the bars before the first decision; of fewer than two it is 252.
    """
    rate = bars_per_year(stamps)
    if rate == 0.0 or (not is_intraday(stamps) and rate > FEWEST_DAILY):
        return EXCHANGE_SESSIONS
    return rate


def _bars_per_session(stamps: Stamps, counts: NDArray[np.intp]) -> float:
    if len(counts) > 2:
        return float(counts[1:-1].mean())
    usual = SHORT_SESSION / np.median(np.diff(stamps))
    return max(float(counts.max()), float(usual))


def _sessions_per_year(days: Stamps) -> float:
    span = _days_between(days)
    if span < FEW_DAYS:
        return EXCHANGE_SESSIONS
    rate = (len(days) - 1) * DAYS_PER_YEAR / span
    return EXCHANGE_SESSIONS if abs(rate / EXCHANGE_SESSIONS - 1.0) <= TOLERANCE else rate


def _days_between(stamps: Stamps) -> float:
    return float((stamps[-1] - stamps[0]) / np.timedelta64(86_400, "s")) if len(stamps) > 1 else 0.0
