"""Prices from files: a folder with one file per symbol, one long file, or one wide file of closes.

    folder   KO.csv, PEP.csv.gz, XOM.parquet: the file's name is the symbol
    long     one file with a `symbol` column
    wide     first column the date, every other column one symbol's close; no column may be named after a price field

Columns are matched without case: date|datetime|timestamp, open, high, low, close, volume, adj close|adj_close|adj.
Close alone is enough. Dates are ISO (YYYY-MM-DD, with a time if there is one) without time zone. Numbers are read to
the last digit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.align import SymbolBars, align, pick, symbol_bars

__all__ = ["frame_bars", "load_table"]

FIELDS = {name: name for name in ("open", "high", "low", "close", "volume")} | {
    "date": "date",
    "datetime": "date",
    "timestamp": "date",
    "adj close": "adj",
    "adj_close": "adj",
    "adj": "adj",
    "symbol": "symbol",
}
PRICES = ("open", "high", "low", "close", "adj")
SUFFIXES = (".csv.gz", ".csv", ".parquet")
EMPTY = ("", "NaN", "nan", "NA", "N/A", "null", "NULL", "None")
ISO = r"\d{4}-?\d{2}-?\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?"
ZONED = r".*\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})"
NO_ZONE = "convert to exchange time and write it without a zone"


def load_table(path: Path, *, symbols: Sequence[str] | None = None, raw_prices: bool = False, hint: str = "") -> Bars:
    """Checked bars from a folder or a file.

    Parameters
    ----------
    path : Path
        Folder, .csv, .csv.gz or .parquet (which needs pyarrow).
    symbols : sequence of str, optional
        Which ones, in this order. All by default: a folder's in alphabetical order, a file's as they come.
    raw_prices : bool
        Leave prices unscaled where an adjusted close is given.
    hint : str
        Ends the message about a missing path.

    Raises
    ------
    BarsError
        Missing path, empty folder, no rows, missing columns, text among numbers, unreadable, unsorted, repeated or
        zoned dates, prices that cannot be traded on; by file or symbol, date and value, with what to do.
    """
    if not path.exists():
        raise BarsError(f"bars: {path} is neither a source nor an existing path{hint}")
    paths = _files(path)
    if path.is_dir() and symbols is not None and set(symbols) <= {_stem(one) for one in paths}:
        paths = [one for one in paths if _stem(one) in symbols]
    series: dict[str, SymbolBars] = {}
    for one in paths:
        for symbol, own in _read(one, raw_prices).items():
            if symbol in series:
                raise BarsError(f"bars: {symbol} comes from {one.name} and from another file in {path}; keep one")
            series[symbol] = own
    chosen = pick(str(path), series, symbols)
    return align(_stem(path), {symbol: series[symbol] for symbol in chosen})


def frame_bars(frame: Any, symbol: str, *, raw_prices: bool = False) -> Bars:
    """Bars of one symbol from a DataFrame with a date column or a date index."""
    return align(symbol, {symbol: _single(_dated(frame), symbol, raw_prices)})


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise BarsError(f"bars: {path} is no table; give one of {', '.join(SUFFIXES)} or a folder of them")
        return [path]
    found = [one for one in sorted(path.iterdir()) if one.name.lower().endswith(SUFFIXES) and one.name[0] != "."]
    if not found:
        raise BarsError(f"bars: folder {path} holds no {', '.join(SUFFIXES)} file; put one file per symbol there")
    return found


def _stem(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.resolve().name


def _read(path: Path, raw_prices: bool) -> dict[str, SymbolBars]:
    """Every symbol of one file."""
    frame = _parquet(path) if path.name.lower().endswith(".parquet") else _csv(path)
    if not len(frame):
        raise BarsError(f"bars: {path} has no rows; give at least 2 bars")
    fields = [_field(column) for column in frame.columns]
    if "symbol" in fields:
        return _long(frame, path.name, raw_prices)
    if any(field in PRICES for field in fields) or "volume" in fields:
        return {_stem(path): _single(frame, _stem(path), raw_prices)}
    return _wide(frame, path.name)


def _field(column: object) -> str | None:
    return FIELDS.get(str(column).strip().lower())


def _csv(path: Path) -> Any:
    """Dates and symbols as text, all else as numbers where every cell is one; nothing is guessed or dropped."""
    import pandas as pd

    try:
        head = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        names = [str(cell).strip() for cell in head.iloc[0]]
        _refuse_repeats(names, path.name)
        text = {name: str for i, name in enumerate(names) if _field(name) in ("date", "symbol") or i == 0}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            return pd.read_csv(
                path,
                header=0,
                names=names,
                index_col=False,
                dtype=text,
                keep_default_na=False,
                na_values={name: list(EMPTY) for name in names if name not in text},
                **_exact_floats(pd.__version__),
                encoding="utf-8-sig",
                low_memory=False,
            )
    except pd.errors.EmptyDataError:
        raise BarsError(f"bars: {path} is empty; give a header and at least 2 bars") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError, OSError, EOFError) as error:
        raise BarsError(f"bars: {path} cannot be read as CSV in UTF-8: {str(error).strip()}; mend the file") from error


def _exact_floats(pandas_version: str) -> dict[str, Any]:
    """The option that makes pandas read every digit; from 3.1 it always does, and the option is deprecated."""
    major, minor = (int(part) for part in pandas_version.split(".")[:2])
    return {} if (major, minor) >= (3, 1) else {"float_precision": "round_trip"}


def _parquet(path: Path) -> Any:
    import pandas as pd

    try:
        return _dated(pd.read_parquet(path))
    except ImportError as error:
        raise BarsError(f"bars: {path} needs pyarrow; pip install pyarrow, or give CSV") from error
    except (OSError, ValueError) as error:
        if isinstance(error, BarsError):
            raise
        raise BarsError(f"bars: {path} cannot be read as Parquet: {error}; mend the file") from error


def _dated(frame: Any) -> Any:
    """The frame with its dates as a column, taken from the index if they are there."""
    import pandas as pd

    if isinstance(frame.columns, pd.MultiIndex):
        raise BarsError("bars: a table with two rows of headers holds several symbols; give one table per symbol")
    if not any(_field(column) == "date" for column in frame.columns) and isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.rename_axis(index="date").reset_index()
    _refuse_repeats([str(column) for column in frame.columns], "the table")
    return frame


def _refuse_repeats(names: list[str], where: str) -> None:
    """BarsError if two columns have one name or one meaning."""
    meanings = [_field(name) or name for name in names]
    for position, meaning in enumerate(meanings):
        if meaning in meanings[:position]:
            raise BarsError(f"bars: {where} has more than one column for {meaning!r}: {', '.join(names)}; keep one")


def _long(frame: Any, where: str, raw_prices: bool) -> dict[str, SymbolBars]:
    column = next(name for name in frame.columns if _field(name) == "symbol")
    names = frame[column].fillna("").astype(str).str.strip()
    if (names == "").any():
        raise BarsError(f"bars: {where} row {int(np.argmax(names == '')) + 1} has no symbol; fill it in")
    groups = frame.drop(columns=column).groupby(names.to_numpy(), sort=False)
    return {str(symbol): _single(group, str(symbol), raw_prices) for symbol, group in groups}


def _single(frame: Any, symbol: str, raw_prices: bool) -> SymbolBars:
    """One symbol's columns. An empty price is an error: a bar that does not exist has no row."""
    columns = {field: column for column in frame.columns if (field := _field(column)) is not None}
    for needed in ("date", "close"):
        if needed not in columns:
            raise BarsError(f"bars: {symbol} has no {needed} column; found {', '.join(map(str, frame.columns))}")
    stamps = _stamps(frame[columns["date"]], symbol)
    values = {
        field: _numbers(frame[columns[field]], f"{symbol} {field}", stamps)
        for field in (*PRICES, "volume")
        if field in columns
    }
    return symbol_bars(symbol, stamps, values, raw_prices=raw_prices)


def _wide(frame: Any, where: str) -> dict[str, SymbolBars]:
    """One close per symbol and row. Here an empty cell is the only way to say that a symbol has no bar."""
    first, *symbols = frame.columns
    if _field(first) != "date" or len(symbols) < 2:
        raise BarsError(
            f"bars: {where} has no close column, and is no table of closes (date first, then two or more symbols); "
            f"found {', '.join(map(str, frame.columns))}"
        )
    stamps = _stamps(frame[first], where)
    series = {}
    for symbol in map(str, symbols):
        closes = _numbers(frame[symbol], f"{symbol} close", stamps)
        here = ~np.isnan(closes)
        if not here.any():
            raise BarsError(f"bars: {symbol} has no price at all in {where}; remove the column")
        series[symbol] = symbol_bars(symbol, stamps[here], {"close": closes[here]}, raw_prices=True)
    return series


def _stamps(column: Any, owner: str) -> NDArray[np.datetime64]:
    """Dates as datetime64[ns]; whatever is not plainly an ISO date without time zone is refused."""
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        raise BarsError(f"bars: {owner} dates have the time zone {column.dtype.tz}; {NO_ZONE}")
    if column.dtype.kind == "M":
        return column.to_numpy().astype("M8[ns]")  # type: ignore[no-any-return]
    text = column.astype(str).str.strip().str.replace("/", "-", regex=False)
    zoned = text.str.fullmatch(ZONED).to_numpy(dtype=bool)
    if zoned.any():
        raise BarsError(f"bars: {owner} date {text.iloc[int(np.argmax(zoned))]!r} has a time zone; {NO_ZONE}")
    parsed = pd.to_datetime(text.where(text.str.fullmatch(ISO)), format="ISO8601", errors="coerce")
    bad = parsed.isna().to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        raise BarsError(f"bars: {owner} row {row + 1} date {str(column.iloc[row])!r} is no date; write YYYY-MM-DD")
    return parsed.to_numpy().astype("M8[ns]")  # type: ignore[no-any-return]


def _numbers(column: Any, owner: str, stamps: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """A column as float64; BarsError naming the first cell that is text."""
    import pandas as pd

    if column.dtype.kind in "fiu":
        return column.to_numpy(dtype=np.float64)  # type: ignore[no-any-return]
    bad = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    if not bad.any() and column.dtype.kind != "b":
        # Python reads text to the last digit; pandas' own conversion may miss it.
        return np.array([np.nan if cell != cell or cell is None else float(cell) for cell in column.astype(object)])
    row = int(np.argmax(bad))
    raise BarsError(
        f"bars: {owner} row {row + 1} ({say_stamp(stamps[row])}) is {column.iloc[row]!r}, not a number; "
        "mend the value or remove the row"
    )
