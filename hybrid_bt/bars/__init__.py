"""Bars: a checked panel of open, high, low, close and volume on one calendar.

T bars, N symbols. A cell in which a symbol has no bar holds NaN in all four prices and 0 in volume; everything else
is finite and above zero. What cannot be traded on is refused here, by symbol, date and value, because Backtrader takes
it in silence: a NaN open makes cash NaN for ever, and calendars that differ let indicators read tomorrow's bar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.bars import checks
from hybrid_bt.bars.checks import FIELDS, PRICES, BoolArray, FloatArray, RawBars
from hybrid_bt.bars.findings import Finding, OnBadData
from hybrid_bt.bars.stamps import Moment, Stamps, bars_per_year, instant, nanoseconds, say_stamp
from hybrid_bt.errors import BarsError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FIELDS", "MIN_BARS", "PRICES", "Bars", "BoolArray", "Finding", "FloatArray", "Moment", "OnBadData", "RawBars",
    "Stamps", "instant", "say_stamp",
]  # fmt: skip

SHOWN = 6  #: symbols that a representation names
MIN_BARS = 2  # one decision and one fill


class Others(TypedDict, total=False):
    """Prices beside the close, (T, N)."""

    open: ArrayLike | None
    high: ArrayLike | None
    low: ArrayLike | None
    volume: ArrayLike | None


@dataclass(frozen=True, eq=False, repr=False)
class Bars:
    """Prices of N symbols on T bars. Arrays are float64, C-contiguous and read-only.

    >>> load_bars("us20").between("2010", "2019").select(["KO", "PEP"]).to_frame().shape
    (5032, 7)

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
    findings : tuple of Finding
        What the checks of the source found, and what was done about it.
    """

    name: str
    symbols: tuple[str, ...]
    stamps: Stamps
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "stamps", _frozen(nanoseconds(self.stamps, self.name)))
        shape = (len(self.stamps), len(self.symbols))
        frozen: dict[int, FloatArray] = {}  # close-only bars share one array among four names
        for field in ("close", "open", "high", "low", "volume"):
            values = getattr(self, field)
            if np.shape(values) != shape:
                raise BarsError(f"bars: {field} has shape {np.shape(values)}; expected (bars, symbols) = {shape}")
            array = frozen.setdefault(id(values), _frozen(checks.floats(field, values)))
            object.__setattr__(self, field, array)

    @classmethod
    def checked(
        cls,
        name: str,
        symbols: Sequence[str],
        stamps: ArrayLike,
        close: ArrayLike,
        *,
        notes: Iterable[str] = (),
        findings: Iterable[Finding] = (),
        **others: Unpack[Others],
    ) -> Bars:
        """Bars from arrays of unknown quality.

        Parameters
        ----------
        name, symbols, stamps, close, notes, findings, open, high, low, volume
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
        given = {"close": close, **{field: array for field, array in others.items() if array is not None}}
        columns = checks.completed(name, {field: checks.floats(field, array) for field, array in given.items()})
        bars = cls(name, tuple(symbols), nanoseconds(stamps, name), *columns, tuple(notes), tuple(findings))
        bars._check_symbols()
        if bars.n_bars < MIN_BARS:
            raise BarsError(f"bars: {name} holds {bars.n_bars} bar(s); at least {MIN_BARS} are needed; give more data")
        checks.check_panel(name, bars.symbols, bars.stamps, {field: getattr(bars, field) for field in FIELDS})
        bars._check_presence()
        return bars

    def _check_symbols(self) -> None:
        if not self.symbols:
            raise BarsError(f"bars: {self.name} has no symbols; give at least one")
        for position, symbol in enumerate(self.symbols):
            checks.check_name(symbol)
            if symbol in self.symbols[:position]:
                raise BarsError(f"bars: {self.name} holds symbol {symbol!r} twice; rename or remove one")

    def _check_presence(self) -> None:
        for column, symbol in enumerate(self.symbols):
            if not self.traded[:, column].any():
                raise BarsError(f"bars: {symbol} has no bar at all in {self.name}; give prices or remove the symbol")
        there = self.traded.any(axis=1)
        if not there.all():
            stamp = say_stamp(self.stamps[int(np.argmin(there))])
            raise BarsError(f"bars: {self.name} {stamp} holds no price of any symbol; remove the row")

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
        """Bars per calendar year (365.25 days) over the span, for annualisation: see `hybrid_bt.bars.stamps`."""
        rate = bars_per_year(self.stamps)
        if rate <= 0.0:
            raise BarsError(f"bars: {self.name} spans no time, so nothing can be annualised; give more bars")
        return rate

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

    def _cut(self, symbols: tuple[str, ...], where: slice | tuple[slice, list[int]], stamps: Stamps) -> Bars:
        cut: dict[int, FloatArray] = {}  # one cut for close-only bars, whose four prices are one array
        prices = (self.open, self.high, self.low, self.close)
        for values in prices:
            if id(values) not in cut:
                cut[id(values)] = values[where]
        open, high, low, close = (cut[id(values)] for values in prices)
        findings = tuple(one for one in self.findings if not one.symbol or one.symbol in symbols)
        return Bars(self.name, symbols, stamps, open, high, low, close, self.volume[where], self.notes, findings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)  # pickling forgets it
        self.__dict__.update(state)

    def __repr__(self) -> str:
        span = f"{say_stamp(self.stamps[0])}..{say_stamp(self.stamps[-1])}" if self.n_bars else "empty"
        named = ", ".join(self.symbols[:SHOWN]) + (", ..." if self.n_symbols > SHOWN else "")
        return f"Bars({self.name!r}, {self.n_bars} bars {span}, {self.n_symbols} symbols: {named})"

    def to_frame(self) -> pd.DataFrame:
        """A row a bar of a symbol, columns date, symbol, open, high, low, close, volume: `load_bars` takes it back."""
        import pandas as pd

        rows, columns = np.nonzero(self.traded)
        named = {"date": self.stamps[rows], "symbol": np.array(self.symbols)[columns]}
        return pd.DataFrame(named | {field: getattr(self, field)[rows, columns] for field in FIELDS})


def _frozen(values: NDArray[Any]) -> NDArray[Any]:
    """Read-only and C-contiguous; the caller's own array stays as it is."""
    array = np.ascontiguousarray(values)
    if array.flags.writeable:
        array = array.copy() if array is values or array.base is not None else array
        array.setflags(write=False)
    return array
