"""What bars must hold to be traded on: one walk over the price rules, which finds what breaks them and mends it.

A look is one rule, or a few of a kind: it gives the rows that are left behind it, and what it found. `Bars.checked`
raises the first finding; the sources of prices refuse, mend or list them. The rules are in `hybrid_bt.bars.findings`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars.findings import Finding, OnBadData, refusal
from hybrid_bt.bars.stamps import Stamps, say_stamp
from hybrid_bt.errors import BarsError, os_errors

BoolArray = NDArray[np.bool_]
FIELDS = ("open", "high", "low", "close", "volume")
PRICES = (*FIELDS[:4], "adj")
FloatArray = NDArray[np.float64]
FiveArrays = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]

LEAST_PRICE, GREATEST_PRICE = 1e-12, 1e15  #: in any currency; beyond, sums of money lose their digits
ROUNDING = 1e-9  #: relative; scaling by an adjusted close moves a price by a few 1e-16, single precision by 6e-8
ONE_TICK, SMALL_TICK = 1.5, 2e-4  #: what bid and mid of one quote are apart: in units of the last digit, and relative
MANY_TWINS, TWIN_SHARE = 3, 0.05  #: dates with several rows that differ; more of both are no correction but a clue
SYMBOL = re.compile(r"""[^\s:,/\\"'*?<>|.][^\s:,/\\"'*?<>|]{0,31}""")


class RawBars(NamedTuple):
    """One symbol's rows as they came: arrays of shape (T,), nothing checked but their types."""

    stamps: Stamps  #: datetime64[ns], the clock as written; UTC where there are zones
    columns: Mapping[str, FloatArray]  #: "close"; open, high, low, volume and adj where there are any
    zones: frozenset[str] = frozenset()  #: UTC offsets or names that the dates carried
    unread: tuple[str, ...] = ()  #: columns with numbers whose names mean nothing here

    def take(self, rows: NDArray[np.intp] | BoolArray) -> RawBars:
        """Those rows alone."""
        columns = {field: values[rows] for field, values in self.columns.items()}
        return self._replace(stamps=self.stamps[rows], columns=columns)


Looked = tuple[RawBars, list[Finding]]
Look = Callable[[RawBars, OnBadData], Looked]


def check_panel(name: str, symbols: Sequence[str], stamps: Stamps, panel: Mapping[str, FloatArray]) -> None:
    """BarsError for the first rule that a panel of (T, N) columns breaks; where all prices are missing is no bar."""
    _refuse_first(inspect_rows(name, RawBars(stamps, {}), "fail", DATE_LOOKS))
    for column, symbol in enumerate(symbols):
        own = {field: np.ascontiguousarray(values[:, column]) for field, values in panel.items()}
        _refuse_first(inspect_rows(symbol, RawBars(stamps, own), "fail", CELL_LOOKS))


def _refuse_first(looked: Looked) -> None:
    for found in looked[1]:
        raise BarsError(f"bars: {refusal(found)}")


def inspect_rows(symbol: str, raw: RawBars, mode: OnBadData, looks: Sequence[Look] = ()) -> Looked:
    """Walk all rules over the rows of one symbol, or some looks; with "fail" they go on as with "mend".

    What is left is sorted, has each date once, every price finite and above 0, and ranges whole.
    """
    found: list[Finding] = []
    for look in looks or ROW_LOOKS:
        raw, more = look(raw, mode)
        found += more
    return raw, [one._replace(symbol=symbol) for one in found]


def first_of(rule: str, stamps: Stamps, bad: BoolArray, what: str = "", said: str = "") -> list[Finding]:
    """The finding for the True rows of `bad`, or none."""
    count = int(np.count_nonzero(bad))
    if not count:
        return []
    stamp = stamps[int(np.argmax(bad))]
    return [Finding(rule, "", count, "" if np.isnat(stamp) else say_stamp(stamp), what, refusal=said)]


def _without(raw: RawBars, bad: BoolArray, rule: str, what: str, said: str) -> Looked:
    found = first_of(rule, raw.stamps, bad, what, said)
    return (raw.take(~bad) if found else raw), found


def _dates(raw: RawBars, mode: OnBadData) -> Looked:
    bad = np.isnat(raw.stamps)
    said = f"row {int(np.argmax(bad)) + 1} has no date; every bar needs one; fill it in or remove the row"
    return _without(raw, bad, "no_date", "", said)


def _order(raw: RawBars, mode: OnBadData) -> Looked:
    if not (bad := np.append(False, raw.stamps[1:] < raw.stamps[:-1])).any():
        return raw, []
    after = f"after {say_stamp(raw.stamps[int(np.argmax(bad)) - 1])}"
    said = f"comes {after}; dates must increase; sort the rows by date"
    return raw.take(np.argsort(raw.stamps, kind="stable")), first_of("unsorted", raw.stamps, bad, after, said)


def _repeats(raw: RawBars, mode: OnBadData) -> Looked:
    followed = np.append(raw.stamps[1:] == raw.stamps[:-1], False)
    what, twin = "equal rows", np.flatnonzero(followed)
    unequal = np.zeros(len(twin), np.bool_)
    for values in raw.columns.values():
        one, other = values[twin], values[twin + 1]
        unequal |= (one != other) & ~(np.isnan(one) & np.isnan(other))
    if unequal.any():
        one, other = raw.columns["close"][twin[0] : twin[0] + 2]
        what = f"close {one:g} and {other:g}"
    n, n_days = len(np.unique(raw.stamps[twin[unequal]])), len(raw.stamps) - len(twin)
    if n >= MANY_TWINS and n > TWIN_SHARE * n_days:
        many = f"has several rows with other prices, as {n} of {n_days} dates have"
        said = f"{many}; give the time of day with the date, or one file a symbol"
        return _without(raw, followed, "told_apart", what, said)
    return _without(raw, followed, "duplicate", what, "appears twice; keep one row per bar")


def _holes(raw: RawBars) -> dict[str, BoolArray]:
    return {field: np.isnan(raw.columns[field]) for field in PRICES if field in raw.columns}


def _empty(raw: RawBars, mode: OnBadData) -> Looked:
    holes = _holes(raw)
    bad = np.logical_and.reduce(list(holes.values()))
    if bad.any() and not bad.all():  # before the first and behind the last a symbol of a joined table is not listed
        listed = np.logical_or.accumulate(~bad) & np.logical_or.accumulate(~bad[::-1])[::-1]
        raw, bad = raw.take(listed), bad[listed]
    said = f"{next(iter(holes))} is nan; prices must be finite and above 0; mend the value or remove the row"
    return _without(raw, bad, "no_price", "", said)


def _signs(raw: RawBars, mode: OnBadData) -> Looked:
    prices = {field: raw.columns[field] for field in PRICES if field in raw.columns}
    wrong = {field: (values < LEAST_PRICE) | (values > GREATEST_PRICE) for field, values in prices.items()}  # not NaN
    if not (bad := np.logical_or.reduce(list(wrong.values()))).any():
        return raw, []
    row = int(np.argmax(bad))
    field = next(field for field in wrong if wrong[field][row])
    value = float(prices[field][row])
    rule = f"within {LEAST_PRICE:g} and {GREATEST_PRICE:g}" if 0.0 < value < np.inf else "finite and above 0"
    said = f"{field} is {value!r}; prices must be {rule}; mend the value or remove the row"
    return _without(raw, bad, "not_positive", f"{field} {value:g}", said)


def _missing(raw: RawBars, mode: OnBadData) -> Looked:
    holes = _holes(raw)
    some, every = (reach.reduce(list(holes.values())) for reach in (np.logical_or, np.logical_and))
    if not (bad := some & ~every).any():
        return raw, []
    fields = [field for field in holes if holes[field][int(np.argmax(bad))]]
    said = f"{fields[0]} is nan; a bar has all four prices or none; fill it in or remove the row"
    found = first_of("nan", raw.stamps, bad, ", ".join(fields), said)
    if mode != "warn" and "open" in holes:  # high and low can be had from what is there; open, close and adj cannot
        columns = dict(raw.columns)
        for field, reach in (("high", np.fmax), ("low", np.fmin)):
            if field in columns:
                known = reach(columns["open"], columns["close"])
                columns[field] = np.where(holes[field], known, columns[field])
        raw = raw._replace(columns=columns)
        bad = np.logical_or.reduce(list(_holes(raw).values()))
    return raw.take(~bad), found


def _ranges(raw: RawBars, mode: OnBadData) -> Looked:
    if not {"open", "high", "low"} <= raw.columns.keys():
        return raw, []
    open, high, low, close = (raw.columns[field] for field in ("open", "high", "low", "close"))
    least, most = np.minimum(open, close), np.maximum(open, close)
    above, below = low > least * (1.0 + ROUNDING), high < most * (1.0 - ROUNDING)
    if not (outside := above | below).any():
        return raw, []
    tick = ONE_TICK * 10.0 ** -decimals_of([open, high, low, close])
    small = np.maximum(low - least, most - high) <= np.minimum(tick, SMALL_TICK * least)
    found = []
    for rule, field, bad, values, bound, must in (
        ("low_above", "low", above & ~small, low, least, "must not exceed"),
        ("high_below", "high", below & ~small, high, most, "must not be below"),
        ("one_tick", "low", above & small, low, least, "must not exceed"),
        ("one_tick", "high", below & ~above & small, high, most, "must not be below"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            side = "open" if bound[row] == open[row] else "close"
            said = f"{field} is {float(values[row])!r}; {field} {must} the {side}; mend or remove the row"
            found += first_of(rule, raw.stamps, bad, f"{values[row]:.10g} against {bound[row]:.10g}", said)
    # greatest and least of all four: a low and a high that were exchanged end up in their places
    mended = {
        "low": np.where(outside, np.minimum(np.minimum(low, high), least), low),
        "high": np.where(outside, np.maximum(np.maximum(low, high), most), high),
    }
    whole = raw._replace(columns={**raw.columns, **mended})
    return (whole.take(~outside | small) if mode == "warn" else whole), found


def decimals_of(columns: Sequence[FloatArray]) -> int:
    """How many decimals prices are written with; 16 where they are not rounded, so that a tick is nothing."""
    here = np.concatenate(columns)
    scaled = (here[np.isfinite(here)] * 10.0**n for n in range(9))
    return next((n for n, prices in enumerate(scaled) if (abs(prices - np.round(prices)) < 1e-6).all()), 16)


def _volume(raw: RawBars, mode: OnBadData) -> Looked:
    volume = raw.columns.get("volume", np.empty(0))
    bad = (volume < 0.0) | np.isinf(volume)
    if not bad.any():
        return raw, []
    value = float(volume[int(np.argmax(bad))])
    said = f"volume is {value!r}; volume must be finite and not negative; mend the value or leave it empty"
    found = first_of("volume_bad", raw.stamps, bad, f"{value:g}", said)
    return raw._replace(columns={**raw.columns, "volume": np.where(bad, 0.0, volume)}), found


DATE_LOOKS: tuple[Look, ...] = (_dates, _order, _repeats)
CELL_LOOKS: tuple[Look, ...] = (_signs, _missing, _ranges, _volume)
ROW_LOOKS = (_dates, _order, _empty, _signs, _missing, _ranges, _repeats, _volume)  #: a bad row hides no good one


def completed(owner: str, columns: Mapping[str, FloatArray]) -> FiveArrays:
    """Open, high, low, close and volume: where there is nothing else they equal the close, and the volume is 0;
    BarsError if some of open, high and low are there, but not all."""
    close = columns["close"]
    ranges = [columns[field] for field in ("open", "high", "low") if field in columns]
    if len(ranges) not in (0, 3):
        raise BarsError(f"bars: {owner} has only some of open, high and low; add the missing columns or drop all three")
    volume = np.nan_to_num(columns.get("volume", np.zeros(close.shape)), posinf=np.inf, neginf=-np.inf)
    open, high, low = ranges or (close, close, close)
    return open, high, low, close, volume


def check_name(symbol: object) -> None:
    """BarsError for what cannot name a symbol, a file and a pair's side."""
    known = isinstance(symbol, str) and SYMBOL.fullmatch(symbol) and symbol.isprintable()
    if not known or unicodedata.normalize("NFC", str(symbol)) != symbol:  # else it looks like another
        raise BarsError(
            f"bars: {str(symbol)[:60]!a} is no symbol name: 1 to 32 characters that print, composed (NFC), no space "
            "and none of : , / \\ \" ' * ? < > | and no dot in front; rename it"
        )


def floats(field: str, values: object) -> FloatArray:
    with os_errors(BarsError, f"bars: {field} must hold numbers", of=(TypeError, ValueError)):
        return np.asarray(values, dtype=np.float64)
