"""Prices that come again: the same, all of one symbol multiplied by a factor, or revised."""

from __future__ import annotations

from collections.abc import Sequence

from hybrid_bt.equations.book import Book
from hybrid_bt.equations.sizing import SIZE_GRID

LOOKED_AT = 20  #: bars that tell a factor from a correction
APART = 0.1  #: of a factor's distance from 1: what rounding to cents may make of it


def scale_of(before: Sequence[float], now: Sequence[float]) -> float | None:
    """What the prices of one symbol were multiplied by; 1.0 where they are the same, None where by no one factor.

    NaN is a bar that is missing. A factor needs two prices at least; it is that of the last one.
    """
    ratios = [b / a for a, b in zip(before, now, strict=True) if a == a or b == b]
    if all(ratio == 1.0 for ratio in ratios):
        return 1.0
    factor = ratios[-1]
    room = APART * abs(factor - 1.0)
    uniform = len(ratios) > 1 and all(abs(ratio - factor) <= room for ratio in ratios)
    return factor if uniform else None


def rescale(book: Book, scales: Sequence[float]) -> None:
    """Divide shares by what prices were multiplied by."""
    for i, scale in enumerate(scales):
        if scale != 1.0:
            book.size[i] = round(book.size[i] / scale * SIZE_GRID) / SIZE_GRID
            book.order[i] = round(book.order[i] / scale * SIZE_GRID) / SIZE_GRID
            for prices in (book.entry, book.close, book.order_close):
                prices[i] *= scale
