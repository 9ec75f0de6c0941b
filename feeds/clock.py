"""The clock of bars: from UTC to the exchange's own, and from the beginning of a bar to its end.

Rows whose dates carried a zone come in UTC. They are turned into the zone that was asked for, else the one that the
dates themselves carried; daily bars that stood at its midnight are dates, whatever else was asked for. In the hour that
a clock repeats in autumn, the second pass stands within the hour's last second: no bar is lost, and all keep their
order. A bar that is stamped by its beginning is moved to its end, a day or longer to the date on which that lies: later
in time, never earlier, since what is known by a stamp is all that a decision may see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Finding, RawBars, Stamps, say_stamp
from hybrid_bt.errors import BarsError, ConfigError, did_you_mean

StampedBy = Literal["begin", "end"]
STAMPED_BY: tuple[StampedBy, ...] = ("begin", "end")
NO_ZONE = "no zone"  #: among zones, for the dates that carry none
#: offsets of winter and summer, in minutes, of exchanges whose dates carry no name; checked on every date
SEASONS: Mapping[tuple[int, ...], str] = {
    (-360, -300): "America/Chicago",
    (-300, -240): "America/New_York",
    (0, 60): "Europe/London",
    (60, 120): "Europe/Berlin",
    (600, 660): "Australia/Sydney",
}
NANOSECOND, SECOND, HOUR, DAY = (np.timedelta64(1, unit) for unit in ("ns", "s", "h", "D"))
LAST_MINUTE = np.timedelta64(23 * 60 + 59, "m")  #: of a day: its end
WEEKEND_TRADE = 0.25  #: of the bars; two days of seven are 0.29, the Sundays of FX at most 0.2
SECOND_PASS = 3600  #: an hour's bars within a second
SUNDAY, FRIDAY, SUNDAYS_PER_FRIDAY = 6, 4, 5  #: more Sundays than that: nobody trades on Sundays and not on Fridays


def zone_named(name: str) -> tzinfo:
    """ConfigError for a name that is none."""
    zone = _zone(name)
    if zone is None:
        raise ConfigError(f"time_zone: {name!r} is no zone{did_you_mean(name, sorted(available_timezones()))}")
    return zone


def on_exchange_clock(symbol: str, raw: RawBars, asked: tzinfo | None = None) -> tuple[RawBars, list[Finding]]:
    """Rows in UTC on the clock of the exchange, their zones forgotten; others as they are.

    Raises
    ------
    BarsError
        If the dates carry several zones, or none in part, and no zone was asked for that they could be turned into.
    """
    if not raw.zones or not len(raw.stamps):
        return raw._replace(zones=frozenset()), []
    own, said = _own_zone(raw), ", ".join(sorted(raw.zones)[:4])
    local = raw.stamps if own is None else _local(raw.stamps, own)
    zone = own if own is not None and _are_days(local) else asked or own
    if zone is None or NO_ZONE in raw.zones:
        raise BarsError(
            f"bars: {symbol} has dates in several time zones ({said}); say the exchange's with "
            "time_zone='America/New_York', or write all dates in its time without a zone"
        )
    local = local if zone is own else _local(raw.stamps, zone)
    first = "" if np.isnat(local[0]) else say_stamp(local[0])
    found = Finding("time_zone", symbol, len(local), first, said if zone is own else f"{said}, now {zone}")
    return raw._replace(stamps=local, zones=frozenset()), [found]


def by_end(symbol: str, raw: RawBars, stamped_by: StampedBy | None, had_zone: bool) -> tuple[RawBars, list[Finding]]:
    """Sorted rows stamped by their end, where they were by their beginning; daily ones that had a zone become dates."""
    stamps = raw.stamps
    if len(stamps) < 2:
        return raw, []
    step = np.median(steps_of(stamps).astype(np.int64)).astype("m8[ns]")
    rule, what = ("", "") if stamped_by else _beginnings(stamps, step)
    found = [Finding(rule, symbol, len(stamps), say_stamp(stamps[0]), what)] if rule else []
    begin = stamped_by == "begin" or rule == "begins"
    ends = stamps + step if begin else stamps
    dates = (ends - NANOSECOND).astype("M8[D]").astype("M8[ns]") if begin else dates_of(stamps)
    if step >= DAY and (begin or had_zone) and (dates[1:] > dates[:-1]).all():
        ends = dates
    return raw._replace(stamps=ends), found


def steps_of(stamps: Stamps) -> NDArray[np.timedelta64]:
    """From each bar to the next, but for those within the second into which the hour of autumn is put."""
    steps = np.diff(stamps)
    return steps[steps >= SECOND] if (steps >= SECOND).any() else steps


def dates_of(stamps: Stamps) -> Stamps:
    """Dates on which daily bars are known: their own, or the next, where a market trades at weekends too and a stamp in
    the middle of a day may be a beginning."""
    days: Stamps = stamps.astype("M8[D]").astype("M8[ns]")
    share = np.mean(~np.is_busday(days.astype("M8[D]")))
    return np.where((stamps > days) & (stamps - days < LAST_MINUTE) & (share > WEEKEND_TRADE), days + DAY, days)


def _beginnings(stamps: Stamps, step: np.timedelta64) -> tuple[str, str]:
    """Rule and words where stamps cannot be, or are seldom, ends of bars: evenings from Sunday to Thursday, Mondays of
    weeks, firsts of months."""
    days = stamps.astype("M8[D]")
    weekday = (days.astype(np.int64) + 3) % 7  # 1970 began on a Thursday
    evening = weekday[stamps != days]
    if DAY <= step < 5 * DAY and (evening == SUNDAY).sum() > SUNDAYS_PER_FRIDAY * (evening == FRIDAY).sum():
        return "begins", f"{say_stamp(stamps[stamps != days][0])[11:16]} from Sunday to Thursday"
    if 6 * DAY <= step <= 8 * DAY and (weekday == 0).all():
        return "begins_of_weeks", "weeks on Mondays"
    if 28 * DAY <= step <= 31 * DAY and (days == days.astype("M8[M]")).all():
        return "begins_of_weeks", "months on their first"
    return "", ""


def _are_days(local: Stamps) -> bool:
    return bool((local[~np.isnat(local)] == local[~np.isnat(local)].astype("M8[D]")).all())


def _clock(stamps: Stamps, zone: tzinfo) -> Stamps:
    import pandas as pd

    index = pd.DatetimeIndex(stamps).tz_localize("UTC").tz_convert(zone)
    return index.tz_localize(None).to_numpy().astype("M8[ns]")  # type: ignore[no-any-return]


def _local(stamps: Stamps, zone: tzinfo) -> Stamps:
    """The clock of a zone at instants in UTC: never back, and no two instants at once."""
    local = _clock(stamps, zone)
    hour_end = (local.astype("M8[h]") + HOUR).astype("M8[ns]")
    second_pass = _clock(stamps - HOUR, zone) >= local
    return np.where(second_pass, hour_end - (hour_end - local) // SECOND_PASS, local)


def _own_zone(raw: RawBars) -> tzinfo | None:
    """The one that the dates carried: by its name or offset, or by the offsets of its winter and summer."""
    if len(raw.zones) == 1:
        return _zone(*raw.zones)
    seasons = tuple(sorted({shift // timedelta(minutes=1) for shift in offsets_of(raw.zones)}))
    zone = _zone(SEASONS.get(seasons, ""))
    if zone is None:
        return None
    moved = np.unique((_clock(raw.stamps, zone) - raw.stamps)[~np.isnat(raw.stamps)]).astype("m8[m]")
    return zone if tuple(moved.astype(np.int64).tolist()) == seasons else None


def one_clock(zones: frozenset[str]) -> bool:
    """Whether zones differ by no more than summer does."""
    offsets = offsets_of(zones)
    return len(zones) < 2 or (len(offsets) == len(zones) and max(offsets) - min(offsets) <= timedelta(hours=1))


def offsets_of(zones: Iterable[str]) -> list[timedelta]:
    """Distances from UTC, of those that are the same the whole year."""
    found = [_zone(name) for name in zones]
    return [shift for zone in found if zone is not None and (shift := zone.utcoffset(None)) is not None]


def _zone(name: str) -> tzinfo | None:
    """`Z`, `+05:30`, `UTC-05:00` or `Asia/Tokyo`; None for what is no zone."""
    try:
        return datetime.strptime(name.removeprefix("UTC"), "%z").tzinfo
    except ValueError:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            return None
