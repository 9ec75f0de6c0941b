"""The stamps of bars: read from what people write, said again, and counted by the year.

How many bars a year has is what a volatility per bar is multiplied with, from the calendar of the bars themselves.

    daily or longer   (T - 1) bars over the years between the first stamp and the last
    intraday          bars per session times sessions per year

Sessions are days of the clock. Where they span less than 90 days, or come within 5 % of 252 a year as those of stock
exchanges do, they are taken as 252; but of a market that trades at weekends, as it shows after one or two of them, days
are counted: 365.25 where it never closes. The first and the last session may be cut and are left out of the count of
bars; where there are no others, a session is taken to last 6.5 hours, or as long as the bars show.

Reports use the span that was traded. Decisions may not see it, so they use `decision_rate` of the bars before trading,
which is 252 for daily bars: set `risk.bars_per_year = 365` for days of a market that never closes.
"""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.errors import BarsError

Stamps = NDArray[np.datetime64]
Moment = str | date | np.datetime64  #: a day ("2010-01-04"), a month ("2010-01") or an instant, without time zone
FIRST_DAY, LAST_DAY = np.datetime64("1678-01-01"), np.datetime64("2261-12-31")  #: the whole years of datetime64[ns]

EXCHANGE_SESSIONS = 252.0  #: per year; NYSE has had 249 to 254 since 1990
TOLERANCE = 0.05  #: relative
FEWEST_DAILY = 130.0  #: bars per year, half the days of an exchange; fewer are weekly or monthly bars
DAYS_PER_YEAR = 365.25
SHORT_SESSION = np.timedelta64(390, "m")  #: of a US stock exchange, the shortest in wide use
FEW_DAYS = 90.0  #: a shorter span says little: one holiday more or less moves it by percents
WEEKEND_SHARE = 0.5  #: of the Saturdays and Sundays within a span; FX has bars on its Sundays alone


def instant(value: Moment, *, whole: bool = False) -> np.datetime64:
    """A date as datetime64[ns]; with `whole`, the last nanosecond of the day, month or year that was named.

    A date that no bar can bear, beyond `FIRST_DAY` and `LAST_DAY`, becomes the nearest that lies beyond them.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        raise BarsError(f"bars: {value} has a time zone; give exchange time without one")
    try:
        if str(value).lower() in ("", "nat", "none"):  # a missing date has no unit, which NumPy will refuse one day
            raise ValueError
        moment = np.datetime64(value)
    except (TypeError, ValueError):
        raise BarsError(f"bars: {value!r} is no date; write YYYY-MM-DD") from None
    day = moment.astype("M8[D]")
    if day < FIRST_DAY or day > LAST_DAY:
        return np.datetime64("1677-12-31" if day < FIRST_DAY else "2262-01-01", "ns")
    unit = np.datetime_data(moment.dtype)[0]
    if whole and unit in ("Y", "M", "W", "D"):
        behind = moment + np.timedelta64(1, unit)  # type: ignore[call-overload]
        return np.datetime64(behind.astype("M8[ns]") - np.timedelta64(1, "ns"))
    return np.datetime64(moment.astype("M8[ns]"))


def say_stamp(stamp: np.datetime64) -> str:
    """A stamp as people write it: the date alone at midnight, and no more digits than it takes."""
    return str(np.datetime_as_string(stamp, next((u for u in ("D", "s") if stamp == stamp.astype(f"M8[{u}]")), "ns")))


def nanoseconds(stamps: ArrayLike, owner: str) -> Stamps:
    """As datetime64[ns]; a date beyond `FIRST_DAY` and `LAST_DAY` is refused, before a cast would wrap it around."""
    array = np.asarray(stamps)
    if array.ndim != 1 or array.dtype.kind != "M":
        rule, got = "one row of datetime64 without time zone", f"{array.dtype} of shape {array.shape}"
        raise BarsError(f"bars: stamps must be {rule}, got {got}; convert to exchange time and drop the zone")
    days = array.astype("M8[D]")
    far = (days < FIRST_DAY) | (days > LAST_DAY)
    if far.any():
        row = int(np.argmax(far))
        raise BarsError(f"bars: {owner} has dates outside 1678 to 2261, the first {days[row]}; mend the dates")
    return array.astype("M8[ns]")


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
    if span < FEW_DAYS and not _trades_at_weekends(days):
        return EXCHANGE_SESSIONS
    rate = (len(days) - 1) * DAYS_PER_YEAR / span
    return EXCHANGE_SESSIONS if abs(rate / EXCHANGE_SESSIONS - 1.0) <= TOLERANCE else rate


def _trades_at_weekends(days: Stamps) -> bool:
    """Whether two or more weekend days have bars, and enough of all that lie between the first day and the last."""
    calendar = np.arange(days[0], days[-1] + np.timedelta64(1, "D"))
    traded, there = (np.count_nonzero(~np.is_busday(some)) for some in (days, calendar))
    return bool(traded > 1 and traded >= WEEKEND_SHARE * there)


def _days_between(stamps: Stamps) -> float:
    return float((stamps[-1] - stamps[0]) / np.timedelta64(86_400, "s")) if len(stamps) > 1 else 0.0
