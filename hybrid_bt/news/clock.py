"""When a bar closes, in UTC.

A daily bar is stamped with its date alone and closes at a time of day in a zone, by default at 16:00 in New York, and
there not after 13:00 on days on which the exchange closes early (`hybrid_bt.news.early_closes`). A bar within a day is
stamped with its close, in a zone of its own, by default UTC. Which of the two a panel has is asked once of all its
stamps, for a bar of a day stamped 00:00 is no daily bar.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.config import NewsConfig
from hybrid_bt.errors import ConfigError
from hybrid_bt.news.documents import EPOCH
from hybrid_bt.news.early_closes import EARLY_CLOSE, NEW_YORK, closes_early

__all__ = ["Clock", "clock_of", "is_daily"]

US_PER_MINUTE = 60_000_000


class Clock(NamedTuple):
    """Turns stamps into the last moments at which a document could still be read; microseconds, UTC."""

    daily: bool
    close: time  #: of a daily bar
    zone: ZoneInfo  #: of that time, or of stamps within a day
    latency_us: int

    def cutoff(self, stamp: datetime) -> int:
        """Of the bar with this stamp (without zone)."""
        moment = datetime.combine(stamp.date(), self._close_on(stamp.date())) if self.daily else stamp
        return (moment.replace(tzinfo=self.zone).astimezone(UTC) - EPOCH) // _ONE - self.latency_us

    def cutoffs(self, stamps: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """Of each bar, (T,)."""
        moments = stamps.astype("datetime64[us]").tolist()
        return np.array([self.cutoff(moment) for moment in moments], dtype=np.int64)

    def _close_on(self, day: date) -> time:
        """Of the daily bar of this day."""
        if self.zone.key in NEW_YORK and closes_early(day):
            return min(self.close, EARLY_CLOSE)
        return self.close


_ONE = datetime.resolution


def clock_of(config: NewsConfig, daily: bool) -> Clock:
    """The clock of a configuration.

    Raises
    ------
    ConfigError
        If a zone is not known.
    """
    hour, minute = config.close_time.split(":")
    key = "time_zone" if daily else "stamp_zone"
    try:
        zone = ZoneInfo(getattr(config, key))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        name = getattr(config, key)
        raise ConfigError(f"news.{key}: no zone {name!r} is known; write one such as America/New_York") from None
    return Clock(daily, time(int(hour), int(minute)), zone, round(config.latency_minutes * US_PER_MINUTE))


def is_daily(stamps: NDArray[np.datetime64]) -> bool:
    """Whether all stamps are dates alone."""
    return bool((stamps.astype("datetime64[D]") == stamps).all())
