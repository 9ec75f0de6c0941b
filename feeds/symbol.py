"""One symbol's bars on one price, and what of them can be traded on but may be wrong: splits, jumps, standing still.

A jump by a usual split ratio is a split only if the volume agrees: behind a split the money traded stays about what it
was, in a crash it multiplies. Small ratios, 5 for 4 and 3 for 2, are moves of bad days too: there the shares traded
must have changed by the ratio, and stayed, and the other symbols must have stood still. Where that is not shown, the
jump is a warning. A factor of 50, 100 or 1000 with the shares traded unchanged is a change of unit, as of pence and
pounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars import Finding, FloatArray, OnBadData, RawBars, Stamps, say_stamp
from hybrid_bt.bars.checks import ROUNDING, BoolArray, completed, first_of

RATIOS = (1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 50.0, 100.0, 1000.0)
UNITS = (50.0, 100.0, 1000.0)  #: that prices are confused in
SMALL = 1.6  #: ratios below are never told by the price; what a day without news has of the money usually traded
RATIO_ERROR = 0.04  #: |log| between a jump and a ratio; an ordinary night moves a price by 1 to 2 %
JUMP = 3.0  #: a factor from one bar to the next that is worth a word, whatever its ratio
UNUSUAL = 10.0  #: a jump is larger than this multiple of the symbol's median move
UNIT_ERROR = 0.1  #: the same for units, which nothing else comes near to
STAYED = 0.2  #: |log| from open to close on the bar of a jump
QUIET = 0.02  #: |log|; a median move of the other symbols above this is a day of its own
VOLUME_BARS = 20  #: bars before the jump, and from it on, whose median trading is compared
MONEY_RISE = 3.0  #: at a split, money traded stays below this multiple of that median
STALE_BARS = 10  #: bars without any movement
Others = Callable[[np.datetime64], float]  #: stamp -> move of the other symbols into that bar


class SymbolBars(NamedTuple):
    """The bars of one symbol: arrays of shape (T,), no cell missing."""

    stamps: Stamps
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray


def symbol_bars(symbol: str, raw: RawBars, *, raw_prices: bool) -> SymbolBars:
    """Put one symbol's rows on one price, that of its adjusted close if it has one and `raw_prices` is False; errors as
    `bars.checks.completed`."""
    open, high, low, close, volume = completed(symbol, raw.columns)
    if not raw_prices and "adj" in raw.columns:
        # adj * (x / close) rather than x * (adj / close): the close becomes adj exactly, and rounding keeps the order.
        open, high, low, close = (raw.columns["adj"] * (values / close) for values in (open, high, low, close))
    return SymbolBars(raw.stamps, open, high, low, close, volume)


def others_move(series: Mapping[str, SymbolBars], symbol: str, stamp: np.datetime64) -> float:
    """Median of the logarithms of open over the close before, of the other symbols that have the bar; 0.0 of none."""
    moves = []
    for name, one in series.items():
        row = int(np.searchsorted(one.stamps, stamp))
        if name != symbol and 0 < row < len(one.stamps) and one.stamps[row] == stamp:
            moves.append(float(np.log(one.open[row] / one.close[row - 1])))
    return float(np.median(moves)) if moves else 0.0


def inspect_prices(symbol: str, bars: SymbolBars, mode: OnBadData, others: Others) -> tuple[SymbolBars, list[Finding]]:
    """Findings about one symbol's prices, and the bars with splits and units taken out where `mode` is "mend".

    `others` gives the move of the other symbols into a bar, as `others_move` does.
    """
    found: list[Finding] = []
    shown = [(row, ratio, _kind(bars, row, ratio, others)) for row, ratio, usual in _candidates(bars) if usual]
    for row, ratio, kind in reversed([one for one in shown if one[2]]):
        what = f"close {bars.close[row - 1]:g}, then {bars.open[row]:g}: {_say_ratio(ratio)}"
        found.insert(0, Finding(kind, "", 1, say_stamp(bars.stamps[row]), what))
        if mode == "mend":
            bars = _rescaled(bars, row, ratio, shares=kind == "split")
    found += _jumps(bars, {one.first for one in found})
    found += _stale(bars)
    found += first_of("volume_missing", bars.stamps, bars.volume == 0.0)
    return bars, [one._replace(symbol=symbol) for one in found]


def _nearest(factor: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The split ratio nearest to each price factor (2.0 for a price halved, 0.5 for one doubled), and if it is near."""
    logs = np.log(np.array([*RATIOS, *(1.0 / ratio for ratio in RATIOS)]))
    gaps = np.abs(-np.log(factor)[:, None] - logs)
    best = np.argmin(gaps, axis=1)
    allowed = np.where(np.isin(best % len(RATIOS), [RATIOS.index(unit) for unit in UNITS]), UNIT_ERROR, RATIO_ERROR)
    return np.exp(logs[best]), gaps[np.arange(len(best)), best] < allowed


def _candidates(bars: SymbolBars) -> list[tuple[int, float, bool]]:
    """Row, ratio, and whether the ratio is a usual one, of each jump; the price must stay there on that bar."""
    factors = bars.open[1:] / bars.close[:-1]
    if len(factors) < VOLUME_BARS:
        return []
    moves = np.abs(np.log(factors))
    unusual = max(np.log(RATIOS[0]) - RATIO_ERROR, UNUSUAL * float(np.median(moves)))
    large = np.flatnonzero(moves > unusual)
    ratios, near = _nearest(factors[large])
    stayed = np.abs(np.log(bars.close[1:][large] / bars.open[1:][large])) < STAYED
    return [(int(row) + 1, float(r), bool(n and s)) for row, r, n, s in zip(large, ratios, near, stayed, strict=True)]


def _kind(bars: SymbolBars, row: int, ratio: float, others: Others) -> str:
    """Of a jump by a usual ratio: split, unit, or nothing that is shown."""
    before, after = bars.volume[max(row - VOLUME_BARS, 0) : row], bars.volume[row : row + VOLUME_BARS]
    usual, later = float(np.median(before)), float(np.median(after))
    change = float(np.log(later / usual)) if usual > 0.0 and later > 0.0 else np.nan
    size = max(ratio, 1.0 / ratio)
    if any(abs(size / unit - 1.0) < ROUNDING for unit in UNITS) and not abs(change) > np.log(MONEY_RISE):
        return "unit"
    money = bars.volume[: row + 1] * bars.close[: row + 1]
    rise = float(money[row] / np.median(money[-1 - VOLUME_BARS : -1])) if usual > 0.0 else 0.0
    if size > SMALL:
        return "split" if 1.0 / MONEY_RISE**2 < rise < MONEY_RISE else ""
    changed = len(after) >= VOLUME_BARS / 2 and abs(change - np.log(ratio)) < np.log(size) / 2
    ordinary = 1.0 / SMALL < rise < SMALL and abs(others(bars.stamps[row])) < QUIET
    return "split" if changed and ordinary else ""


def _rescaled(bars: SymbolBars, row: int, ratio: float, shares: bool) -> SymbolBars:
    before = np.arange(len(bars.stamps)) < row
    prices = (np.where(before, values / ratio, values) for values in bars[1:5])
    return SymbolBars._make((bars.stamps, *prices, np.where(before & shares, bars.volume * ratio, bars.volume)))


def _jumps(bars: SymbolBars, known: set[str]) -> Iterator[Finding]:
    """Jumps that are no split for sure: a small ratio, any usual one without volume to ask, or a very large factor."""
    quiet = not bars.volume.any()
    for row, ratio, usual in _candidates(bars):
        factor = bars.open[row] / bars.close[row - 1]
        first = say_stamp(bars.stamps[row])
        small = max(ratio, 1.0 / ratio) < SMALL
        if first in known or not ((usual and (quiet or small)) or max(factor, 1.0 / factor) > JUMP):
            continue
        shape = f": {_say_ratio(ratio)}" if usual else ""
        yield Finding("jump", "", 1, first, f"{bars.close[row - 1]:g}, then {bars.open[row]:g}{shape}")


def _say_ratio(ratio: float) -> str:
    new, old = (ratio, 1.0) if ratio > 1.0 else (1.0, 1.0 / ratio)
    whole = {1.25: 4.0, 1.5: 2.0}.get(round(max(new, old), 9), 1.0)  # 5 for 4, 3 for 2
    return f"{new * whole:g} for {old * whole:g}"


def _stale(bars: SymbolBars) -> list[Finding]:
    still = np.append(False, (bars.close[1:] == bars.close[:-1]) & (bars.high[1:] == bars.low[1:]))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], still, [False])).astype(np.int8)))
    first, after = edges[::2], edges[1::2]
    long = after - first >= STALE_BARS
    if not long.any():
        return []
    bad = np.zeros(len(still), np.bool_)
    for begin, end in zip(first[long], after[long], strict=True):
        bad[begin:end] = True
    return first_of("stale", bars.stamps, bad, f"at {bars.close[first[long][0]]:g}")
