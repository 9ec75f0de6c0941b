"""Bars: a checked panel of open, high, low, close and volume on one calendar.

T bars, N symbols. A cell in which a symbol has no bar holds NaN in all four prices and 0 in volume; everything else
is finite and above zero. What cannot be traded on is refused here, by symbol, date and value, because Backtrader takes
it in silence: a NaN open makes cash NaN for ever, and calendars that differ let indicators read tomorrow's bar.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import BarsError, did_you_mean

__all__ = ["Bars", "Moment", "check_positive", "check_prices", "check_stamps", "instant", "say_stamp"]

FloatArray = NDArray[np.float64]
Moment = str | date | np.datetime64  #: a day ("2010-01-04"), a month ("2010-01") or an instant, without time zone

ROUNDING = 1e-9  # relative; scaling by an adjusted close moves a price by a few 1e-16, single precision by 6e-8
DAY = np.timedelta64(1, "D")
DAYS_PER_YEAR = 365.25
MIN_BARS = 2  # one decision and one fill
SYMBOL = re.compile(r"""[^\s:,/\\"'*?<>|.][^\s:,/\\"'*?<>|]{0,31}""")


@dataclass(frozen=True, eq=False, repr=False)
class Bars:
    """Prices of N symbols on T bars. Arrays are float64, C-contiguous and read-only.

    Use `Bars.checked` for prices from outside; the bare constructor looks at shapes only.

    Attributes
    ----------
    name : str
        Where the prices came from: "us20", or a path's stem.
    symbols : tuple of str
        The N columns, in order.
    stamps : ndarray of datetime64[ns], shape (T,)
        Strictly increasing, without time zone.
    open, high, low, close : ndarray, shape (T, N)
        Prices; NaN in all four where the symbol has no bar.
    volume : ndarray, shape (T, N)
        Shares, >= 0; 0 where the symbol has no bar or the source gives none.
    notes : tuple of str
        Caveats that every reader of a result must see.
    """

    name: str
    symbols: tuple[str, ...]
    stamps: NDArray[np.datetime64]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "stamps", _frozen(_nanoseconds(self.stamps)))
        shape = (len(self.stamps), len(self.symbols))
        frozen: dict[int, FloatArray] = {}  # close-only bars share one array among four names
        for field in ("close", "open", "high", "low", "volume"):
            values = getattr(self, field)
            if np.shape(values) != shape:
                raise BarsError(f"bars: {field} has shape {np.shape(values)}; expected (bars, symbols) = {shape}")
            array = frozen.setdefault(id(values), _frozen(_floats(field, values)))
            object.__setattr__(self, field, array)

    @classmethod
    def checked(
        cls,
        name: str,
        symbols: Sequence[str],
        stamps: Any,
        close: Any,
        *,
        open: Any = None,
        high: Any = None,
        low: Any = None,
        volume: Any = None,
        notes: Iterable[str] = (),
    ) -> Bars:
        """Bars from arrays of unknown quality.

        Parameters
        ----------
        name, symbols, stamps, close, open, high, low, volume, notes
            As the attributes. Open, high and low come together or not at all; without them they equal the close, so
            that an order fills at the next close. NaN volume becomes 0.

        Raises
        ------
        BarsError
            Names the rule, the symbol, the date, the value and what to do: wrong shapes; fewer than 2 bars; stamps
            unsorted, repeated or with a time zone; prices that are not finite and above 0; some but not all of a
            bar's prices missing; low or high inside the open-close range; negative volume; a symbol without a bar,
            without a name, or twice.
        """
        given = [values is not None for values in (open, high, low)]
        if any(given) and not all(given):
            raise BarsError(f"bars: {name}: open, high and low come together or not at all; add the missing columns")
        close = _floats("close", close)
        volume = np.zeros(close.shape) if volume is None else np.nan_to_num(_floats("volume", volume), posinf=np.inf)
        open, high, low = (close, close, close) if open is None else (open, high, low)
        bars = cls(name, tuple(symbols), stamps, open, high, low, close, volume, tuple(notes))
        _check_symbols(bars)
        if bars.n_bars < MIN_BARS:
            raise BarsError(f"bars: {name} holds {bars.n_bars} bar(s); at least {MIN_BARS} are needed; give more data")
        check_stamps(bars.stamps, name)
        check_prices(bars)
        _check_presence(bars)
        return bars

    @property
    def n_bars(self) -> int:
        """T."""
        return len(self.stamps)

    @property
    def n_symbols(self) -> int:
        """N."""
        return len(self.symbols)

    @cached_property
    def traded(self) -> NDArray[np.bool_]:
        """(T, N) True where the symbol has a bar."""
        return _frozen(~np.isnan(self.close))

    @cached_property
    def sha256(self) -> str:
        """Hex digest of symbols, stamps, prices and volumes; the name and the notes do not enter."""
        digest = hashlib.sha256("\n".join(self.symbols).encode())
        digest.update(self.stamps.astype("<i8").tobytes())
        for values in (self.open, self.high, self.low, self.close, self.volume):
            # NaN has many bit patterns and zero has two; adding 0.0 leaves one zero, and `where` one NaN.
            digest.update(np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes())
        return digest.hexdigest()

    @property
    def bars_per_year(self) -> float:
        """Bars per calendar year (365.25 days) over the span: about 252 for daily stocks. For annualisation."""
        days = float((self.stamps[-1] - self.stamps[0]) / DAY) if self.n_bars else 0.0
        if days <= 0.0:
            raise BarsError(f"bars: {self.name} spans no time, so nothing can be annualised; give more bars")
        return (self.n_bars - 1) * DAYS_PER_YEAR / days

    def index_of(self, symbol: str) -> int:
        """Column of a symbol; BarsError with the nearest name if there is none."""
        try:
            return self.symbols.index(symbol)
        except ValueError:
            raise BarsError(f"bars: {self.name} has no symbol {symbol!r}{did_you_mean(symbol, self.symbols)}") from None

    def select(self, symbols: Sequence[str]) -> Bars:
        """The named symbols, in the order given, on the same calendar."""
        if not symbols or len(set(symbols)) != len(symbols):
            raise BarsError(f"bars: a selection needs each symbol once, got {list(symbols)}; drop the repeated ones")
        columns = [self.index_of(symbol) for symbol in symbols]
        return self._cut(tuple(symbols), np.s_[:, columns], self.stamps)

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Bars:
        """Bars from `start` to `end`, both included; a day, month or year as `end` is included whole."""
        first = 0 if start is None else int(np.searchsorted(self.stamps, instant(start), "left"))
        last = self.n_bars if end is None else int(np.searchsorted(self.stamps, instant(end, whole=True), "right"))
        if last - first < MIN_BARS:
            span = f"{say_stamp(self.stamps[0])}..{say_stamp(self.stamps[-1])}" if self.n_bars else "no bars"
            raise BarsError(
                f"bars: {self.name} has {max(last - first, 0)} bar(s) from {start or 'its start'} to "
                f"{end or 'its end'}; at least {MIN_BARS} are needed; choose dates within {span}"
            )
        return self._cut(self.symbols, np.s_[first:last], self.stamps[first:last])

    def _cut(self, symbols: tuple[str, ...], where: Any, stamps: NDArray[np.datetime64]) -> Bars:
        cut: dict[int, FloatArray] = {}  # one cut for close-only bars, whose four prices are one array
        prices = (self.open, self.high, self.low, self.close)
        for values in prices:
            if id(values) not in cut:
                cut[id(values)] = values[where]
        open, high, low, close = (cut[id(values)] for values in prices)
        return Bars(self.name, symbols, stamps, open, high, low, close, self.volume[where], self.notes)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)  # pickling forgets it
        self.__dict__.update(state)

    def __repr__(self) -> str:
        span = f"{say_stamp(self.stamps[0])}..{say_stamp(self.stamps[-1])}" if self.n_bars else "empty"
        return (
            f"Bars({self.name!r}, {self.n_bars} bars {span}, {self.n_symbols} symbols: {', '.join(self.symbols[:6])})"
        )


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
        good = (values > 0.0) & (values < np.inf)
    _refuse(
        ~good & ~(np.isnan(values) & allow_nan),
        (field, values),
        stamps,
        symbols,
        "prices must be finite and above 0; mend the value or remove the row",
    )


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


def _check_symbols(bars: Bars) -> None:
    if not bars.symbols:
        raise BarsError(f"bars: {bars.name} has no symbols; give at least one")
    for position, symbol in enumerate(bars.symbols):
        if not isinstance(symbol, str) or not SYMBOL.fullmatch(symbol):
            raise BarsError(
                f"bars: {symbol!r} is no symbol name: 1 to 32 characters, no space and none of : , / \\ \" ' * ? < > | "
                "and no dot in front; rename it"
            )
        if symbol in bars.symbols[:position]:
            raise BarsError(f"bars: {bars.name} holds symbol {symbol!r} twice; rename or remove one")


def _check_presence(bars: Bars) -> None:
    for column, symbol in enumerate(bars.symbols):
        if not bars.traded[:, column].any():
            raise BarsError(f"bars: {symbol} has no bar at all in {bars.name}; give prices or remove the symbol")
    empty = ~np.asarray(bars.traded.any(axis=1))
    if empty.any():
        stamp = say_stamp(bars.stamps[int(np.argmax(empty))])
        raise BarsError(f"bars: {bars.name} {stamp} holds no price of any symbol; remove the row")


def _floats(field: str, values: Any) -> FloatArray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BarsError(f"bars: {field} must hold numbers: {error}") from None


def _nanoseconds(stamps: Any) -> NDArray[np.datetime64]:
    array = np.asarray(stamps)
    if array.ndim != 1 or array.dtype.kind != "M":
        raise BarsError(
            f"bars: stamps must be one row of datetime64 without time zone, got {array.dtype} of shape {array.shape}; "
            "convert to exchange time and drop the zone"
        )
    exact = array.astype("M8[ns]")
    if not np.array_equal(exact.astype(array.dtype)[~np.isnat(array)], array[~np.isnat(array)]):
        raise BarsError("bars: stamps must lie within 1678 and 2261; mend the dates")
    return exact


def _frozen(values: NDArray[Any]) -> NDArray[Any]:
    """Read-only and C-contiguous; the caller's own array stays as it is."""
    array = np.ascontiguousarray(values)
    if array.flags.writeable:
        array = array.copy() if array is values or array.base is not None else array
        array.setflags(write=False)
    return array


def instant(value: Moment, *, whole: bool = False) -> np.datetime64:
    """A date as datetime64[ns]; with `whole`, the last nanosecond of the day, month or year that was named."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        raise BarsError(f"bars: {value} has a time zone; give exchange time without one")
    try:
        moment = np.datetime64(value)
    except ValueError:
        raise BarsError(f"bars: {value!r} is no date; write YYYY-MM-DD") from None
    if np.isnat(moment):
        raise BarsError(f"bars: {value!r} is no date; write YYYY-MM-DD")
    unit = np.datetime_data(moment.dtype)[0]
    if whole and unit in ("Y", "M", "W", "D"):
        return np.datetime64((moment + 1).astype("M8[ns]") - np.timedelta64(1, "ns"))
    return np.datetime64(moment.astype("M8[ns]"))
