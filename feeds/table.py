"""A table, taken part by part and told as rows of symbols when all of it is there.

Each part becomes numbers at once: prices as float64, dates as numbers, names as codes. What only the whole column can
tell (the order of day and month, whether symbols repeat dates, whether columns are one bar) is decided at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.bars import PRICES, FloatArray, RawBars, Stamps
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.alike import hidden_symbol
from hybrid_bt.feeds.dates import DateColumn, clocks_of, coded
from hybrid_bt.feeds.doubts import refuse_half_days, refuse_lone, refuse_no_bar, refuse_no_closes
from hybrid_bt.feeds.figures import numbers
from hybrid_bt.feeds.names import refuse_mixed
from hybrid_bt.feeds.reading import OWN, Plan, Reading, reading_of

MOST_TEXTS = 20_000  #: different cells of a column that may hold symbols
LEAN_SCALE = 10_000.0
ACTION = r"[\d.:/]+ (?:Dividend|(?:Stock )?Split)s?"
PAIR = re.compile("[A-Z0-9]{2,10}/[A-Z]{3,5}")  #: of currencies; a slash names no file


class Table:
    """The columns of one file.

    Parameters
    ----------
    own : str
        The symbol that the file names, for a table that names none.
    decimal : "." or "," or ""
        Mark of the numbers; "" where no row has shown one.
    """

    def __init__(self, plan: Plan, where: str, own: str, decimal: str, date_format: str | None) -> None:
        self.plan, self.where, self.own, self.decimal = plan, where, own, decimal
        self._owner = where if plan.symbol is not None or plan.wide else own
        self._dates = [DateColumn(self._owner, date_format) for _ in plan.dates]
        self._values: dict[int, list[FloatArray]] = {place: [] for place in plan.numeric}
        coded = (*plan.texts, *(place for place in (plan.symbol, plan.clock) if place is not None))
        self._codes: dict[int, list[NDArray[np.int32]]] = {place: [] for place in coded}
        self._seen: dict[int, dict[str, int]] = {place: {} for place in coded}
        self._said = {
            place: f"{own if label == OWN else label} {field}"
            for label, fields in plan.tables.items()
            for field, place in fields.items()
        }
        self._head = pd.DataFrame()  #: the first rows of columns that are not understood
        self.rules: list[str] = []  #: that decided, beside the plan's

    def add(self, part: pd.DataFrame) -> None:
        """Rows whose columns are counted from 0; BarsError for a cell that is no date or no number."""
        part = self._without_actions(part)
        days = part[self.plan.dates[0]]
        for column, place in zip(self._dates, self.plan.dates, strict=True):
            column.add(part[place])
        for place, pieces in self._values.items():
            pieces.append(numbers(part[place], self._said[place], days, self.decimal))
        for place in list(self._codes):
            seen = self._seen[place]
            codes = coded(part[place], seen)
            if place == self.plan.symbol and (codes == seen.get("", -1)).any():
                row = int(part.index[int(np.argmax(codes == seen[""]))]) + 1
                raise BarsError(f"bars: {self.where} row {row} has no symbol; fill it in")
            self._codes[place].append(codes)
            if len(seen) > MOST_TEXTS and place in self.plan.texts:
                del self._codes[place]
        if not len(self._head):
            self._head = part[list(self.plan.others)].copy()

    def _without_actions(self, part: pd.DataFrame) -> pd.DataFrame:
        """Without rows of one cell that tell a dividend or a split, as a page shows them between the bars."""
        first = part[self.plan.numeric[0]]
        if first.dtype.kind != "O":
            return part
        is_alone = part[self.plan.numeric].notna().sum(axis=1).to_numpy() == 1
        told = is_alone & first.astype(str).str.fullmatch(ACTION).to_numpy(dtype=bool)
        if told.any():
            self.rules.append(f"left out {np.count_nonzero(told)} rows that tell a dividend or a split")
        return part[~told] if told.any() else part

    def finished(self) -> tuple[dict[str, RawBars], Reading]:
        """Rows of each symbol, and how they were understood.

        Raises
        ------
        BarsError
            If dates have two readings, or columns do not hold what their names or places say.
        """
        codes = {place: np.concatenate(pieces) for place, pieces in self._codes.items()}
        stamps, zones, rules = self._stamps(codes)
        symbol = self.plan.symbol
        if symbol is None and set(self.plan.tables) == {OWN}:
            texts = {place: codes[place] for place in self.plan.texts if place in codes}
            symbol = hidden_symbol(stamps, texts, self._head, self.plan.names, self.where)
            if symbol is not None:
                rules.append(f"symbols from the column {self.plan.names[symbol]}: it tells equal dates apart")
        values = {}
        for place, pieces in self._values.items():
            values[place] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            pieces.clear()
        tables = {
            label: {field: values[place] for field, place in self._chosen(fields, values).items()}
            for label, fields in self.plan.tables.items()
        }
        del values
        refuse_mixed(tables, self.where)
        self._doubt(tables, stamps)
        found: dict[str, RawBars] = {}
        for name, raw in self._split(tables, stamps, zones, symbol, codes):
            plain = name.replace("/", "-") if PAIR.fullmatch(name) else name
            if not zones:
                refuse_half_days(raw.stamps, self.where)
            if plain in found:
                raise BarsError(f"bars: {self.where} has {name} and another symbol of the name {plain}; rename one")
            found[plain] = raw
        refuse_mixed([*found], self.where)
        return found, reading_of(self.plan, self.where, found, rules, zones)

    def _stamps(self, codes: Mapping[int, NDArray[np.int32]]) -> tuple[Stamps, frozenset[str], list[str]]:
        decided = [column.decided() for column in self._dates]
        first = max(decided, key=lambda one: bool(one.zones))
        for one in decided:
            if one is not first and not np.array_equal(one.stamps, first.stamps):
                row = int(np.argmax(one.stamps != first.stamps))
                names = " and ".join(self.plan.names[place] for place in self.plan.dates)
                what = f"more than one column for 'date': {names} differ in row {row + 1}"
                raise BarsError(f"bars: {self.where} has {what}; keep one")
        stamps, rules = first.stamps, [self.plan.rule, first.how, *self.rules]
        if (clock := self.plan.clock) is not None:
            clocks, own = clocks_of(self._seen[clock], self._owner)[codes[clock]], stamps - stamps.astype("M8[D]")
            name = self.plan.names[clock]
            if own.astype(np.int64).any() and not np.array_equal(own, clocks):
                raise BarsError(f"bars: {self.where} has dates with times other than those of {name}; keep one")
            stamps = stamps - own + clocks
            rules.append(f"dates joined with the times of {name}")
        zones = first.zones or frozenset({self.plan.zone} - {""})
        return stamps, zones, rules

    def _chosen(self, fields: Mapping[str, int], values: Mapping[int, FloatArray]) -> dict[str, int]:
        """Ticks stand for a volume that is missing, or 0 throughout."""
        chosen = dict(fields)
        ticks = chosen.pop("ticks", None)
        if ticks is not None and not ("volume" in chosen and np.nan_to_num(values[chosen["volume"]]).any()):
            chosen["volume"] = ticks
        return chosen

    def _doubt(self, tables: Mapping[str, Mapping[str, FloatArray]], stamps: Stamps) -> None:
        if self.plan.format == "LEAN" and self.plan.scale == 1.0 and not (tables[OWN]["close"] % 1.0).any():
            many = f"prices of LEAN, multiplied by {LEAN_SCALE:,.0f}"
            raise BarsError(f"bars: {self.where} may hold {many}; leave it in LEAN's zip, or give a header")
        if self.plan.wide and self.plan.doubtful:
            refuse_no_closes({label: fields["close"] for label, fields in tables.items()}, self.where)
        if self.plan.wide or not (self.plan.doubtful or self.plan.lone):
            return
        (fields,) = tables.values()
        others = {}
        for place in self._head:
            with suppress(BarsError):  # text somewhere: no prices
                others[self.plan.names[place]] = numbers(self._head[place], "", None, self.decimal)
        if self.plan.lone:
            word = self.plan.names[self.plan.tables[OWN]["close"]]
            refuse_lone({word: fields["close"][: len(self._head)], **others}, self.where)
            return
        rows = slice(len(self._head) if others else None)
        step = -1 if stamps[0] > stamps[-1] else 1  # oldest first
        bar = {field: values[rows][::step] for field, values in self._scaled(fields).items()}
        further = [values[::step] for values in others.values()]
        refuse_no_bar(bar, further, self.where, known=bool(self.plan.format))

    def _split(
        self,
        tables: dict[str, dict[str, FloatArray]],
        stamps: Stamps,
        zones: frozenset[str],
        symbol: int | None,
        codes: Mapping[int, NDArray[np.int32]],
    ) -> Iterator[tuple[str, RawBars]]:
        for label in list(tables):
            columns = self._scaled(tables.pop(label))
            raw = RawBars(stamps, columns, zones, self._unread())
            if label != OWN or self.plan.wide:  # an empty cell is the only way to say that a symbol has no bar
                here = ~np.logical_and.reduce([np.isnan(columns[field]) for field in columns if field in PRICES])
                raw = raw if here.all() else raw.take(here)
                if not here.any():
                    raise BarsError(f"bars: {label} has no price at all in {self.where}; remove the column")
            if symbol is None:
                yield (self.own if label == OWN else label), _forward(raw)
                continue
            names = list(self._seen[symbol])
            order = np.argsort(codes[symbol], kind="stable")
            ends = np.searchsorted(codes[symbol][order], np.arange(len(names) + 1))
            for code, name in enumerate(names):
                yield name, _forward(raw.take(order[ends[code] : ends[code + 1]]))

    def _scaled(self, columns: Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
        if self.plan.scale == 1.0 or any((columns[field] % 1.0).any() for field in columns if field in PRICES):
            return columns
        return {field: values / self.plan.scale if field in PRICES else values for field, values in columns.items()}

    def _unread(self) -> tuple[str, ...]:
        """Names of columns with numbers that are not read."""
        return tuple(self.plan.names[place] for place in self._head if self._head[place].notna().any())


def _forward(raw: RawBars) -> RawBars:
    """Rows that come newest first, turned round."""
    steps, zero = np.diff(raw.stamps), np.timedelta64(0, "ns")
    is_newest_first = (steps <= zero).all() and (steps < zero).any()
    return raw.take(np.arange(len(raw.stamps))[::-1]) if is_newest_first else raw


def without_idle(raw: RawBars) -> RawBars:
    """Without an adjusted close that is the close itself: scaling by it would move the last digits."""
    idle = "adj" in raw.columns and np.array_equal(raw.columns["adj"], raw.columns["close"], equal_nan=True)
    return raw._replace(columns={f: v for f, v in raw.columns.items() if f != "adj"}) if idle else raw
