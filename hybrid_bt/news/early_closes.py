"""Days on which the New York Stock Exchange closes early.

At 13:00: the day after Thanksgiving, the day before Christmas, and a day beside July 4. Until 1992 such days closed at
14:00 or not early at all; some single days closed at other times after 13:00. All count as 13:00, and where the rule is
not sure it says early: a document then waits for the next bar, and no bar reads one from after its close.
"""

from __future__ import annotations

from datetime import date, time

__all__ = ["EARLY_CLOSE", "NEW_YORK", "closes_early"]

EARLY_CLOSE = time(13)
NEW_YORK = frozenset({"America/New_York", "US/Eastern"})  #: names of the exchange's zone
WEDNESDAY, FRIDAY = 2, 4  #: of `date.weekday`
JULY_3_ON_WEDNESDAYS = 2013  #: first year in which July 3 closes early before a Thursday's holiday; July 5 did before
ONCE = frozenset(
    {
        date(1994, 2, 11),  # snow
        date(1996, 1, 8),  # snow
        date(1997, 10, 27),  # the fall of the day halted trading
        date(1997, 12, 26),
        date(1999, 12, 31),
        date(2003, 12, 26),
        date(2005, 6, 1),  # a failure of the exchange's systems
    }
)


def closes_early(day: date) -> bool:
    """Whether the exchange, if it is open on this day, may close before 16:00."""
    month, number, weekday = day.month, day.day, day.weekday()
    if month == 11:
        return weekday == FRIDAY and 23 <= number <= 29  # the fourth Thursday is the 22nd to the 28th
    if month == 12 and number == 24:
        return True
    if month == 7 and number == 3:
        return weekday != WEDNESDAY or day.year >= JULY_3_ON_WEDNESDAYS
    if month == 7 and number == 5:
        return weekday == FRIDAY and day.year < JULY_3_ON_WEDNESDAYS
    return day in ONCE
