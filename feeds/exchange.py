"""Sessions of an exchange, from the package exchange_calendars (extra `calendars`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import BarsError, ConfigError, did_you_mean

__all__ = ["sessions_between"]


def sessions_between(calendar: str, first: np.datetime64, last: np.datetime64) -> NDArray[np.datetime64]:
    """The exchange's trading days from `first` to `last`, both included, as datetime64[D].

    Raises
    ------
    ConfigError
        Without exchange_calendars, or for a calendar that it does not know.
    BarsError
        For days that the calendar does not reach.
    """
    try:
        import exchange_calendars
    except ImportError:
        raise ConfigError("calendar: needs exchange_calendars; pip install 'hybrid_bt[calendars]'") from None
    known = exchange_calendars.get_calendar_names()
    if calendar not in known:
        raise ConfigError(f"calendar: {calendar!r} is no exchange{did_you_mean(calendar, known)}")
    try:
        sessions = exchange_calendars.get_calendar(calendar, start=str(first), end=str(last)).sessions
    except ValueError as error:
        raise BarsError(
            f"bars: {calendar} has no sessions from {first} to {last}: {error}; leave calendar out"
        ) from None
    days: NDArray[np.datetime64] = sessions.to_numpy().astype("M8[D]")
    return days
