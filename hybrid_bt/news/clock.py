"""When a bar closes, in UTC.

A daily bar is stamped with its date alone and closes at a time of day in a zone, by default at 16:00 in New York, and
there not after 13:00 on days on which the exchange closes early. A bar within a day is stamped with its close, in a
zone of its own, by default UTC. Which of the two a panel has is asked once of all its stamps, for a bar of a day
stamped 00:00 is no daily bar.

The New York Stock Exchange closes early, at 13:00, on the day after Thanksgiving, the day before Christmas, and a day
beside July 4. Until 1992 such days closed at 14:00 or not early at all; some single days closed at other times after
13:00. All count as 13:00, and where the rule is not sure it says early: a document then waits for the next bar, and no
bar reads one from after its close.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.config_parts import NewsConfig
from hybrid_bt.errors import ConfigError
from hybrid_bt.news.documents import EPOCH

US_PER_MINUTE = 60_000_000
EARLY_CLOSE = time(13)
NEW_YORK = frozenset({"America/New_York", "US/Eastern"})  #: names of the exchange's zone
WEDNESDAY, FRIDAY = 2, 4  #: of `date.weekday`
JULY_3_ON_WEDNESDAYS = 2013  #: first year in which July 3 closes early before a Thursday's holiday; July 5 did before
#: snow, snow, the fall of the day halted trading; three days beside holidays; a failure of the exchange's systems
_ONCE = "1994-02-11 1996-01-08 1997-10-27 1997-12-26 1999-12-31 2003-12-26 2005-06-01"
ONCE = frozenset(map(date.fromisoformat, _ONCE.split()))


class Clock(NamedTuple):
    """Turns stamps into the last moments at which a document could still be read; microseconds, UTC."""

    daily: bool
    close: time  #: of a daily bar
    zone: ZoneInfo  #: of that time, or of stamps within a day
    latency_us: int

    def cutoff(self, stamp: datetime) -> int:
        """Of the bar with this stamp (without zone)."""
        moment = stamp
        if self.daily:
            early = self.zone.key in NEW_YORK and closes_early(stamp.date())
            moment = datetime.combine(stamp.date(), min(self.close, EARLY_CLOSE) if early else self.close)
        return (moment.replace(tzinfo=self.zone).astimezone(UTC) - EPOCH) // datetime.resolution - self.latency_us

    def cutoffs(self, stamps: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """Of each bar, (T,)."""
        moments = stamps.astype("datetime64[us]").tolist()
        return np.array([self.cutoff(moment) for moment in moments], dtype=np.int64)


def clock_of(config: NewsConfig, daily: bool) -> Clock:
    """The clock of a configuration.

    Raises
    ------
    ConfigError
        If a zone is not known.
    """
    hour, minute = config.close_time.split(":")
    key = "time_zone" if daily else "stamp_zone"
    name = getattr(config, key)
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"news.{key}: no zone {name!r} is known; write one such as America/New_York") from None
    return Clock(daily, time(int(hour), int(minute)), zone, round(config.latency_minutes * US_PER_MINUTE))


def is_daily(stamps: NDArray[np.datetime64]) -> bool:
    """Whether all stamps are dates alone."""
    return bool((stamps.astype("datetime64[D]") == stamps).all())


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
