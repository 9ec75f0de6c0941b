"""The first bar that a strategy may trade: behind what its policies were trained on."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime, timedelta

from hybrid_bt.errors import ConfigError, InSampleError
from hybrid_bt.strategies.framework import bt


def as_datetime(moment: date | datetime | str) -> datetime:
    """A day is its midnight; a text is a date or time in ISO 8601."""
    if isinstance(moment, str):
        with suppress(ValueError):
            return datetime.fromisoformat(moment)
    if not isinstance(moment, date):
        raise ConfigError(f"trade_from is {moment!r}; give a date, a datetime or a text such as '2010-01-04'")
    return moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)


def first_traded_stamp(
    training_end: date | None, trade_from: date | datetime | str | None, allow_in_sample: bool
) -> float:
    """Backtrader's number of the first moment that may be traded.

    Raises
    ------
    InSampleError
        If `trade_from` lies in the training span and that is not allowed.
    """
    free = datetime.min if training_end is None else as_datetime(training_end) + timedelta(days=1)
    if allow_in_sample:
        free = datetime.min
    wanted = as_datetime(trade_from) if trade_from else free
    if wanted < free:
        raise InSampleError(
            f"trade_from {wanted:%Y-%m-%d} lies in the policies' training span, which ends {training_end}: "
            f"trade from {free:%Y-%m-%d} on, or pass allow_in_sample=True and call the result in-sample"
        )
    return 0.0 if wanted == datetime.min else float(bt.date2num(wanted))
