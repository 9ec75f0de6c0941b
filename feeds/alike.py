"""Which rows are one symbol's: pieces of a history that follow one another, copies of it under several names, and
several symbols in one table that does not say so: a column tells rows of one date apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Finding, Stamps, say_stamp
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds.symbol import SymbolBars

if TYPE_CHECKING:
    import pandas as pd

_DAY = r"(?:19|20)\d\d(?:[-_.]?(?:0[1-9]|1[0-2])(?:[-_.]?(?:0[1-9]|[12]\d|3[01]))?|[-_.]?[QH][1-4])?"
DATED = re.compile(rf"[-_.]*(?<![0-9]){_DAY}(?![0-9])|[-_.]\d{{1,3}}$")  #: a date part, or a counter at the end
NO_TIME, PIECES_APART = np.timedelta64(0, "ns"), np.timedelta64(10, "D")  #: of two pieces, at most, or two bars
ANCHORS = 512  #: bars on which returns are compared with those of all other symbols
LEAST_EQUAL = 3  #: of them, before all bars are compared
LEAST_COMMON, LEAST_MOVES = 20, 10  #: bars that two symbols share, and moves among them, before they can be called one
REPEATED = 0.3  #: share of rows that have a date in common, from which on a column of text is one of symbols
SAME_RETURN, SAME_RATIO = 2e-5, 1e-5  #: of logarithms; closes are written with 5 digits or more


def base_of(name: str) -> str:
    """A name without its date parts and its counter: SPY of SPY_2018, BTCUSDT-1h of BTCUSDT-1h-2022-01."""
    base = DATED.sub("", name).strip("-_.")
    return base if re.search(r"[^\W\d_]", base) else name


def lies_apart(stamps: Stamps, spans: list[tuple[np.datetime64, np.datetime64]]) -> bool:
    """Whether no stamp lies within the spans of the other pieces of a symbol; its own is added to them."""
    known = stamps[~np.isnat(stamps)]
    first, last = (known.min(), known.max()) if len(known) else (np.datetime64("NaT"), np.datetime64("NaT"))
    apart = all(last < other[0] or other[1] < first for other in spans)
    spans.append((first, last))
    return apart


def join_pieces(series: Sequence[tuple[str, SymbolBars]]) -> tuple[dict[str, SymbolBars], list[Finding]]:
    """Those of one name as one, and those whose names differ in a date part or a counter and whose spans follow one
    another, all of them; the joined one stands in the first one's place."""
    groups: dict[str, list[tuple[str, SymbolBars]]] = {}
    for name, bars in series:
        groups.setdefault(base_of(name), []).append((name, bars))
    whole: dict[str, SymbolBars] = {}
    found = []
    for base, pieces in groups.items():
        names = [name for name, _ in pieces]
        parts = sorted((bars for _, bars in pieces), key=lambda one: one.stamps[0])
        one_name = len(set(names)) == 1
        if len(parts) < 2 or not (one_name or all(_follows(one, other) for one, other in pairwise(parts))):
            whole |= dict(pieces)
            continue
        name = names[0] if one_name else base
        whole[name] = SymbolBars._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
        what = f"{len(parts)} files" if one_name else f"{', '.join(names[:2])}{', ...' if len(names) > 2 else ''}"
        found.append(Finding("pieces", name, 0, say_stamp(parts[0].stamps[0]), what))
    return whole, found


def _follows(one: SymbolBars, other: SymbolBars) -> bool:
    gap = other.stamps[0] - one.stamps[-1]
    step = np.median(np.diff(one.stamps[-20:])) if len(one.stamps) > 1 else NO_TIME
    return bool(NO_TIME < gap <= max(PIECES_APART, 2 * step))


def copies(series: Mapping[str, SymbolBars]) -> Iterator[Finding]:
    """Symbols whose closes are those of an earlier one, or a multiple of them, on all bars that both have."""
    names = list(series)
    stamps = np.unique(np.concatenate([one.stamps for one in series.values()]))
    if len(stamps) < LEAST_COMMON or len(names) < 2:
        return
    at = stamps[np.linspace(1, len(stamps) - 1, min(ANCHORS, len(stamps) - 1)).astype(int)]
    moves = np.full((len(at), len(names)), np.nan)
    for column, one in enumerate(series.values()):
        rows = np.searchsorted(one.stamps, at)
        there = (rows > 0) & (one.stamps[np.minimum(rows, len(one.stamps) - 1)] == at)
        moves[there, column] = np.log(one.close[rows[there]] / one.close[rows[there] - 1])
    moves[moves == 0.0] = np.nan
    equal: Counter[tuple[int, int]] = Counter()
    for row in moves:
        places = np.argsort(row, kind="stable")
        for place in np.flatnonzero(np.diff(row[places]) < SAME_RETURN):
            first, second = sorted(places[place : place + 2].tolist())
            equal[first, second] += 1
    told = set()
    for (first, second), count in sorted(equal.items()):
        if count >= LEAST_EQUAL and second not in told:
            for found in _copy(names[first], names[second], series[names[first]], series[names[second]]):
                told.add(second)
                yield found


def _copy(name: str, other: str, one: SymbolBars, two: SymbolBars) -> Iterator[Finding]:
    common, i, j = np.intersect1d(one.stamps, two.stamps, assume_unique=True, return_indices=True)
    if len(common) < LEAST_COMMON:
        return
    logs = np.log(two.close[j] / one.close[i])
    if np.ptp(logs) < SAME_RATIO and np.count_nonzero(np.diff(one.close[i])) >= LEAST_MOVES:
        ratio = float(np.exp(np.median(logs)))
        times = "" if abs(ratio - 1.0) < SAME_RATIO else f", times {ratio:.6g}"
        what = f"the closes of {name} on all {len(common)} bars that both have{times}"
        yield Finding("copies", other, len(common), say_stamp(common[0]), what)


def hidden_symbol(
    stamps: Stamps, codes: Mapping[int, NDArray[np.int32]], head: pd.DataFrame, names: Sequence[str], where: str
) -> int | None:
    """Position of the column of text that tells equal dates apart; None where every row has a date of its own.

    Parameters
    ----------
    codes : mapping of position to array of int, shape (T,)
        Columns of text.
    head : DataFrame
        The first rows of columns of numbers that are not read: identifiers, hours.

    Raises
    ------
    BarsError
        If something tells rows apart, and it is no plain column of symbols: they are no history of one.
    """
    steps, zero = np.diff(stamps), np.timedelta64(0, "ns")
    if (steps > zero).all() or (steps < zero).all():
        return None
    unique, which, counts = np.unique(stamps, return_inverse=True, return_counts=True)
    shared = counts[which] > 1
    if not shared.any():
        return None
    often = float(shared.mean()) >= REPEATED
    telling = [place for place, code in codes.items() if _tells(which, code)]
    if len(telling) == 1 and often:
        return telling[0]
    first = which[: len(head)]
    few = [place for place in head if head[place].nunique() <= len(head) / 2]
    ids = [int(place) for place in few if often and _tells(first, head[place].factorize()[0])]
    if telling or ids:
        told, day = names[[*telling, *ids][0]], say_stamp(unique[int(np.argmax(counts > 1))])
        raise BarsError(
            f"bars: {where} {day} has several rows with other prices, which the column {told!r} tells apart; call the "
            "column of symbols symbol, or keep one row per bar"
        )
    return None


def _tells(which: NDArray[np.intp], code: NDArray[np.integer]) -> bool:
    """Whether no two rows of one date have the same value."""
    both = which.astype(np.int64) * (int(code.max(initial=0)) + 2) + code
    return len(np.unique(both)) == len(both) and len(np.unique(which)) < len(which)
