"""One symbol's bars on one price, and what of them can be traded on but may be wrong: splits, jumps, standing still.

A jump by a usual split ratio is a split only if the volume agrees: behind a split the money traded stays about what it
was, in a crash it multiplies. Where there is no volume to ask, the jump is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars.checks import BoolArray, FloatArray, RawBars, completed, first_of
from hybrid_bt.bars.findings import Finding, OnBadData
from hybrid_bt.bars.stamps import Stamps, say_stamp

RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 50.0, 100.0)  #: new for old
RATIO_ERROR = 0.04  #: |log| between a jump and a ratio; an ordinary night moves a price by 1 to 2 %
JUMP = 3.0  #: a factor from one bar to the next that is worth a word, whatever its ratio
UNUSUAL = 10.0  #: a jump is larger than this multiple of the symbol's median move
VOLUME_BARS = 20  #: bars before the jump whose median trading is compared with
MONEY_RISE = 3.0  #: at a split, money traded stays below this multiple of that median
STALE_BARS = 10  #: bars without any movement


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


def inspect_prices(symbol: str, bars: SymbolBars, mode: OnBadData) -> tuple[SymbolBars, list[Finding]]:
    """Findings about one symbol's prices, and the bars with splits taken out where `mode` is "mend"."""
    found: list[Finding] = []
    splits = [(row, ratio) for row, ratio, usual in _candidates(bars) if usual and _volume_agrees(bars, row)]
    for row, ratio in reversed(splits):
        what = f"close {bars.close[row - 1]:g}, then {bars.open[row]:g}: {_say_ratio(ratio)}"
        found.insert(0, Finding("split", "", 1, say_stamp(bars.stamps[row]), what))
        if mode == "mend":
            bars = _rescaled(bars, row, ratio)
    found += _jumps(bars, {one.first for one in found})
    found += _stale(bars)
    found += first_of("volume_missing", bars.stamps, bars.volume == 0.0)
    return bars, [one._replace(symbol=symbol) for one in found]


def _nearest(factor: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The split ratio nearest to each price factor (2.0 for a price halved, 0.5 for one doubled), and if it is near."""
    logs = np.log(np.array([*RATIOS, *(1.0 / ratio for ratio in RATIOS)]))
    gaps = np.abs(-np.log(factor)[:, None] - logs)
    best = np.argmin(gaps, axis=1)
    return np.exp(logs[best]), gaps[np.arange(len(best)), best] < RATIO_ERROR


def _candidates(bars: SymbolBars) -> list[tuple[int, float, bool]]:
    """Row, ratio, and whether the ratio is a usual one, of each jump; the price must stay there on that bar."""
    factors = bars.open[1:] / bars.close[:-1]
    if len(factors) < VOLUME_BARS:
        return []
    moves = np.abs(np.log(factors))
    unusual = max(np.log(RATIOS[0]) - RATIO_ERROR, UNUSUAL * float(np.median(moves)))
    large = np.flatnonzero(moves > unusual)
    ratios, near = _nearest(factors[large])
    stayed = np.abs(np.log(bars.close[1:][large] / bars.open[1:][large])) < np.log(RATIOS[0]) / 2
    return [(int(row) + 1, float(r), bool(n and s)) for row, r, n, s in zip(large, ratios, near, stayed, strict=True)]


def _volume_agrees(bars: SymbolBars, row: int) -> bool:
    before = slice(max(row - VOLUME_BARS, 0), row)
    usual = float(np.median(bars.volume[before] * bars.close[before]))
    money = float(bars.volume[row] * bars.close[row])
    return usual > 0.0 and money > 0.0 and usual / MONEY_RISE**2 < money < usual * MONEY_RISE


def _rescaled(bars: SymbolBars, row: int, ratio: float) -> SymbolBars:
    before = np.arange(len(bars.stamps)) < row
    prices = (np.where(before, values / ratio, values) for values in bars[1:5])
    return SymbolBars._make((bars.stamps, *prices, np.where(before, bars.volume * ratio, bars.volume)))


def _jumps(bars: SymbolBars, known: set[str]) -> Iterator[Finding]:
    """Jumps that are no split for sure: a usual ratio without volume to ask, or a very large factor."""
    quiet = not bars.volume.any()
    for row, ratio, usual in _candidates(bars):
        factor = bars.open[row] / bars.close[row - 1]
        first = say_stamp(bars.stamps[row])
        if first in known or not ((usual and quiet) or max(factor, 1.0 / factor) > JUMP):
            continue
        shape = f": {_say_ratio(ratio)}" if usual else ""
        yield Finding("jump", "", 1, first, f"{bars.close[row - 1]:g}, then {bars.open[row]:g}{shape}")


def _say_ratio(ratio: float) -> str:
    new, old = (ratio, 1.0) if ratio > 1.0 else (1.0, 1.0 / ratio)
    whole = 2.0 if abs(max(new, old) - 1.5) < 1e-9 else 1.0  # 3 for 2
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
