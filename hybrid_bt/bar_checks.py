"""What bars must hold to be traded on: each rule a function that names the first cell that breaks it.

`Bars` applies them to every panel from outside; the sources apply some of them to one symbol before it joins a panel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import BarsError

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars

__all__ = [
    "GREATEST_PRICE",
    "LEAST_PRICE",
    "ROUNDING",
    "Moment",
    "check_name",
    "check_positive",
    "check_presence",
    "check_prices",
    "check_stamps",
    "check_symbols",
    "floats",
    "instant",
    "nanoseconds",
    "say_stamp",
]

FloatArray = NDArray[np.float64]
Moment = str | date | np.datetime64  #: a day ("2010-01-04"), a month ("2010-01") or an instant, without time zone

LEAST_PRICE, GREATEST_PRICE = 1e-12, 1e15  #: in any currency; beyond, sums of money lose their digits
ROUNDING = 1e-9  #: relative; scaling by an adjusted close moves a price by a few 1e-16, single precision by 6e-8
FIRST_DAY, LAST_DAY = np.datetime64("1678-01-01"), np.datetime64("2261-12-31")  #: the whole years of datetime64[ns]
SYMBOL = re.compile(r"""[^\s:,/\\"'*?<>|.][^\s:,/\\"'*?<>|]{0,31}""")


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
    """A stamp as people write it: the date alone at midnight."""
    return str(np.datetime_as_string(stamp, "D" if stamp == stamp.astype("M8[D]") else "s"))


def check_stamps(stamps: NDArray[np.datetime64], owner: str) -> None:
    """BarsError naming the first stamp of `owner` (a symbol or a panel) that is missing, repeated or out of order."""
    if np.isnat(stamps).any():
        row = int(np.argmax(np.isnat(stamps)))
        raise BarsError(f"bars: {owner} row {row + 1} has no date; every bar needs one; fill it in or remove the row")
    late = np.flatnonzero(stamps[1:] <= stamps[:-1])
    if not len(late):
        return
    before, stamp = stamps[late[0]], stamps[late[0] + 1]
    if before == stamp:
        raise BarsError(f"bars: {owner} {say_stamp(stamp)} appears twice; keep one row per bar")
    raise BarsError(
        f"bars: {owner} {say_stamp(stamp)} comes after {say_stamp(before)}; dates must increase; sort the rows by date"
    )


def check_positive(
    field: str, values: FloatArray, stamps: NDArray[np.datetime64], symbols: Sequence[str], *, allow_nan: bool
) -> None:
    """BarsError naming the first cell of (T, N) `values` that is not finite and above zero."""
    with np.errstate(invalid="ignore"):
        good = (values >= LEAST_PRICE) & (values <= GREATEST_PRICE)
        absurd = ~good & (values > 0.0) & (values < np.inf)
    mend = "mend the value or remove the row"
    bad = ~good & ~absurd & ~(np.isnan(values) & allow_nan)
    _refuse(bad, (field, values), stamps, symbols, f"prices must be finite and above 0; {mend}")
    rule = f"prices must lie within {LEAST_PRICE:g} and {GREATEST_PRICE:g}; {mend}"
    _refuse(absurd, (field, values), stamps, symbols, rule)


def check_prices(bars: Bars) -> None:
    """BarsError naming the first bar that is partly missing, not positive, outside its range or of negative volume."""
    prices = {"open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close}
    missing = np.isnan(bars.open) & np.isnan(bars.high) & np.isnan(bars.low) & np.isnan(bars.close)
    for field, values in prices.items():
        rule = "a bar has all four prices or none; fill it in or remove the row"
        _refuse(np.isnan(values) & ~missing, (field, values), bars.stamps, bars.symbols, rule)
        check_positive(field, values, bars.stamps, bars.symbols, allow_nan=True)
    for field, values in (("open", bars.open), ("close", bars.close)):
        _refuse(
            bars.low > values * (1.0 + ROUNDING),
            ("low", bars.low),
            bars.stamps,
            bars.symbols,
            f"low must not exceed the {field}; mend or remove the row",
        )
        _refuse(
            bars.high < values * (1.0 - ROUNDING),
            ("high", bars.high),
            bars.stamps,
            bars.symbols,
            f"high must not be below the {field}; mend or remove the row",
        )
    rule = "volume must be finite and not negative; mend the value or leave it empty"
    _refuse(~(bars.volume >= 0.0) | np.isinf(bars.volume), ("volume", bars.volume), bars.stamps, bars.symbols, rule)


def _refuse(
    bad: NDArray[np.bool_],
    what: tuple[str, FloatArray],
    stamps: NDArray[np.datetime64],
    symbols: Sequence[str],
    rule: str,
) -> None:
    """Raise for the first True cell of `bad`, earliest date first."""
    count = int(np.count_nonzero(bad))
    if count:
        row, column = (int(i) for i in np.argwhere(bad)[0])
        field, values = what
        more = f" ({count - 1} more like it)" if count > 1 else ""
        value = float(values[row, column])
        raise BarsError(f"bars: {symbols[column]} {say_stamp(stamps[row])} {field} is {value!r}; {rule}{more}")


def check_symbols(bars: Bars) -> None:
    if not bars.symbols:
        raise BarsError(f"bars: {bars.name} has no symbols; give at least one")
    for position, symbol in enumerate(bars.symbols):
        check_name(symbol)
        if symbol in bars.symbols[:position]:
            raise BarsError(f"bars: {bars.name} holds symbol {symbol!r} twice; rename or remove one")


def check_name(symbol: object) -> None:
    """BarsError for what cannot name a symbol, a file and a pair's side."""
    if not isinstance(symbol, str) or not SYMBOL.fullmatch(symbol):
        raise BarsError(
            f"bars: {str(symbol)[:60]!r} is no symbol name: 1 to 32 characters, no space and none of "
            ": , / \\ \" ' * ? < > | and no dot in front; rename it"
        )


def check_presence(bars: Bars) -> None:
    for column, symbol in enumerate(bars.symbols):
        if not bars.traded[:, column].any():
            raise BarsError(f"bars: {symbol} has no bar at all in {bars.name}; give prices or remove the symbol")
    empty = ~np.asarray(bars.traded.any(axis=1))
    if empty.any():
        stamp = say_stamp(bars.stamps[int(np.argmax(empty))])
        raise BarsError(f"bars: {bars.name} {stamp} holds no price of any symbol; remove the row")


def floats(field: str, values: Any) -> FloatArray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BarsError(f"bars: {field} must hold numbers: {error}") from None


def nanoseconds(stamps: Any, owner: str) -> NDArray[np.datetime64]:
    """As datetime64[ns]; a date beyond `FIRST_DAY` and `LAST_DAY` is refused, before a cast would wrap it around."""
    array = np.asarray(stamps)
    if array.ndim != 1 or array.dtype.kind != "M":
        raise BarsError(
            f"bars: stamps must be one row of datetime64 without time zone, got {array.dtype} of shape {array.shape}; "
            "convert to exchange time and drop the zone"
        )
    days = array.astype("M8[D]")
    far = (days < FIRST_DAY) | (days > LAST_DAY)
    if far.any():
        row = int(np.argmax(far))
        raise BarsError(f"bars: {owner} has dates outside 1678 to 2261, the first {days[row]}; mend the dates")
    return array.astype("M8[ns]")
