"""What columns hold against what they are taken for: closes of symbols, one bar without names, clocks of 12 hours.

Prices move little and without return; what jumps up and down, stands at or below 0, or is a whole number a hundred
times the others, is none. Of two columns of one company the distance is one and the same but for the last digit (an
adjusted close, a market value), or it always returns (the prices of one bar), or one follows the other (a mean, the
close before). Two symbols drift apart, and where they hardly do (funds of one index, classes of shares) their distance
moves by far more than the last digit and far less than they do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from hybrid_bt.bars import Stamps
from hybrid_bt.bars.checks import FloatArray, decimals_of
from hybrid_bt.errors import BarsError, listed
from hybrid_bt.feeds.names import says_computed

FEW_ROWS = 20  #: below, columns say little about each other
COMPARED = 10_000  #: rows of two columns, at most
FEW_COLUMNS = 30  #: more are no company's
NEAR, BESIDE = 0.1, 1.5  #: median distance of two columns, as a logarithm, and in moves of a bar
SINGLE = 2e-7  #: relative, what single precision loses
TOLD, SAME = 4.0, 0.35  #: median move of a bar, and of the distance, in last digits, that shows columns moving as one
TICKS = 6.0  #: last digits between the two sides of one quote
APART_MOVES = 0.2  #: of the moves themselves: two funds of one index differ by less, prices of one bar by more
RETURNS, RETURNS_NEAR, FEW_RETURN = -4.8, -3.5, -7.0  #: t of a distance that comes back to its mean, which no walk does
FOLLOWS, FOLLOWS_NEAR, FEW_FOLLOW = 5.0, 4.0, 6.0  #: t of a column that goes to where another was
MANY = 0.55  #: of such a t for ten times as many pairs
FEWEST_STEPS, FEWEST_NEAR = 7, 11  #: behind such a t
ONE_WAY = 11  #: moves of a distance all one way, as dividends move it
LEANS = 0.5  #: the less moves together, the more two symbols may be
TICKER = re.compile(r"\^?[A-Z0-9]{1,8}(?:[.=/-][A-Z0-9]{1,6})?")
RESTLESS, RESTLESS_FEW, RETURNING = 0.08, 0.12, -0.2  #: median move and autocorrelation of what is no price
AT_ZERO = 0.05  #: share of values at or below 0
TIMES = 100.0
FIFTH = 0.7  #: log of a ratio: a fifth column nearer to the close is a price
APART = 0.8  #: of the moves from close to open, and from open to close
ROUNDING = 1e-9
REMEDY = "leave out what is no close, or ask for symbols by name"


def refuse_no_closes(closes: Mapping[str, FloatArray], where: str) -> None:
    """BarsError where columns that were taken for closes of symbols hold something else."""
    said = () if all(map(TICKER.fullmatch, closes)) else filter(says_computed, closes)
    strange = list(dict.fromkeys([*said, *(name for name, values in closes.items() if _is_no_price(values))]))
    medians = {name: float(np.nanmedian(v)) for name, v in closes.items() if not np.isnan(v).all()}
    whole = {name for name in medians if not (closes[name] != np.round(closes[name])).any()}
    usual = float(np.median([medians[name] for name in medians if name not in whole] or [np.inf]))
    strange += [name for name in sorted(whole) if medians[name] >= TIMES * usual and name not in strange]
    if strange:
        raise BarsError(
            f"bars: {where} would be read as closes of {listed(list(closes))}, but {listed(strange)} "
            f"{'holds' if len(strange) == 1 else 'hold'} no prices (values at or below 0, that jump up and down or go "
            f"one way in steps, whole numbers far above the others, or a name of what is computed); {REMEDY}"
        )
    for one, other, why in _pairs(closes):
        raise BarsError(
            f"bars: {where} would be read as closes of {listed(list(closes))}, but {one} and {other} look like one "
            f"company's: {why}; name the columns open, high, low and close, or {REMEDY}"
        )


def refuse_lone(closes: Mapping[str, FloatArray], where: str) -> None:
    """BarsError where the first column, which is called close, may be a ticker's among others."""
    word, *others = closes
    for name in others:
        if says_computed(name):
            continue
        try:
            refuse_no_closes({word: closes[word], name: closes[name]}, where)
        except BarsError:
            continue
        raise BarsError(
            f"bars: {where} may hold the closes of {word}, {name}, or one symbol's close with other columns beside it; "
            "ask for symbols by name, or leave the others out"
        )


def _is_no_price(values: FloatArray) -> bool:
    here = values[~np.isnan(values)]
    if len(here) and np.mean(here <= 0.0) > AT_ZERO:
        return True
    moves = np.diff(np.log(here[here > 0.0]))
    if len(moves) < 4:
        return False
    few = len(moves) < FEW_ROWS
    if not few and (np.diff(here) == 1.0).all():  # a count of rows
        return True
    if not few and 0.0 < np.mean(moves != 0.0) < 0.5 and ((moves >= 0.0).all() or (moves <= 0.0).all()):
        return True  # the highest, or the lowest, until then
    size, spread = float(np.median(np.abs(moves))), moves - moves.mean()
    restless = (RESTLESS_FEW if few else RESTLESS) < size
    return restless and float(spread[1:] @ spread[:-1]) < RETURNING * float(spread @ spread)


def _pairs(closes: Mapping[str, FloatArray]) -> Iterator[tuple[str, str, str]]:
    """Two columns that may be one company's, and why."""
    if not 2 <= len(closes) <= FEW_COLUMNS:
        return
    names, table = list(closes), np.column_stack(list(closes.values()))
    tickers = all(map(TICKER.fullmatch, names))
    start = table[0]
    rebased = bool((start == start[0]).all() and start[0] > 0.0 and float(np.log10(start[0])).is_integer())
    ticks = [10.0 ** -decimals_of([values]) for values in table.T]
    chance = MANY * math.log10(math.comb(len(names), 2))
    for i, j in combinations(range(len(names)), 2):
        rows = np.flatnonzero((table[:, i] > 0.0) & (table[:, j] > 0.0))[:COMPARED]
        if len(rows) >= 3:
            one, other = table[rows][:, [i, j]].T
            bound = ticks[i] / one + ticks[j] / other + SINGLE
            if why := _alike(np.log(one), np.log(other), bound, near_by_chance=rebased, tickers=tickers, chance=chance):
                yield names[i], names[j], why.format(names[i], names[j])


def _alike(
    one: FloatArray, other: FloatArray, bound: FloatArray, *, near_by_chance: bool, tickers: bool, chance: float
) -> str:
    """Why two rows of logs may be prices of one company; "" where they are not.

    Parameters
    ----------
    bound : ndarray of shape (T,)
        What rounding may make of their distance.
    near_by_chance : bool
        All symbols begin at one value.
    tickers : bool
        All names look like symbols': then few rows must show more.
    chance : float
        By how much a t must be greater, since of many pairs some come back by chance.
    """
    apart = other - one
    if not np.ptp(apart):  # equal to the bit, or a multiple: another check names them
        return ""
    moves = np.diff(apart)
    shift = float(np.median(np.abs(moves)))
    own = float(max(np.median(np.abs(np.diff(logs))) for logs in (one, other)))
    rounding, n = float(np.median(bound)), len(moves)
    if own > TOLD * rounding and np.median(np.abs(moves) / bound[1:]) <= SAME:
        return "{0} and {1} move as one, but for the last digit"
    if n >= ONE_WAY and own > TOLD * rounding and ((moves > -bound[1:]).all() or (moves < bound[1:]).all()):
        return "{1} over {0} only ever moves one way"
    distance = float(np.median(np.abs(apart)))
    if distance <= TICKS * rounding and not near_by_chance:
        return "{0} and {1} are few last digits apart"
    if n + 1 < FEW_ROWS and not near_by_chance:
        if distance <= BESIDE * own or (not tickers and distance < NEAR):
            return "{0} stays near {1} on the few rows there are"
        if not tickers and shift < LEANS * own:
            return "{0} moves with {1} on the few rows there are"
    if shift < APART_MOVES * own or n < FEWEST_STEPS:
        return ""
    chance *= 1.0 + FEW_ROWS / n
    few, near = n + 1 < FEW_ROWS, distance < NEAR and n >= FEWEST_NEAR and not near_by_chance
    if _slope(moves, apart) < (RETURNS_NEAR if near else FEW_RETURN if few else RETURNS) - chance:
        return "{0} always returns to {1}"
    follows = (FOLLOWS_NEAR if near else FEW_FOLLOW if few else FOLLOWS) + chance
    if _slope(np.diff(one), apart) > follows:
        return "{0} follows {1}"
    return "{1} follows {0}" if _slope(np.diff(other), -apart) > follows else ""


def _slope(moves: FloatArray, level: FloatArray) -> float:
    """t of the slope of moves on the level before them."""
    before, moves = level[:-1] - level[:-1].mean(), moves - moves.mean()
    spread = float(before @ before)
    if spread == 0.0:
        return 0.0
    slope = float(before @ moves) / spread
    left = moves - slope * before
    error = float(left @ left) / ((len(moves) - 2) * spread)
    return slope / float(np.sqrt(error)) if error > 0.0 else float(np.sign(slope) * np.inf)


def refuse_no_bar(fields: Mapping[str, FloatArray], others: Sequence[FloatArray], where: str, *, known: bool) -> None:
    """BarsError where columns without names are no open, high, low, close and volume.

    Parameters
    ----------
    known : bool
        An export has this order: it is refused where the rows contradict, or are too few to.
    """
    remedy = "give a header with the names of the columns"
    open, high, low, close = (fields[field] for field in ("open", "high", "low", "close"))
    least, most = np.fmin(open, close), np.fmax(open, close)
    good = (low <= least * (1.0 + ROUNDING)) & (high >= most * (1.0 - ROUNDING))
    if good.mean() < 0.95 or not (close > 0.0).any():
        what = "its first four numbers are no open, high, low, close"
        raise BarsError(f"bars: {where} has no header, and {what}; {remedy}")
    # a bar opens near where the one before closed, and closes further away
    forth, back = (np.abs(one[1:] - other[:-1]) for one, other in ((open, close), (close, open)))
    enough = len(close) >= FEW_ROWS
    sure = enough and np.nanmedian(forth) < APART * np.nanmedian(back)
    exchanged = enough and np.nanmedian(back) < APART * np.nanmedian(forth)
    if exchanged or not (sure or (known and enough)):
        raise BarsError(f"bars: {where} has no header, and open and close may be exchanged; {remedy}")
    for values in (*([fields["volume"]] if "volume" in fields else []), *others):
        rows = (values > 0.0) & (close > 0.0)
        if np.count_nonzero(rows) < 3 or np.median(np.abs(np.diff(np.log(values[rows])))) > RESTLESS:
            continue
        if np.median(np.abs(np.log(values[rows] / close[rows]))) < FIFTH:
            raise BarsError(f"bars: {where} has no header, and a fifth column of prices, maybe adjusted ones; {remedy}")
    if (np.nan_to_num(fields.get("volume", close)) < 0.0).any():
        raise BarsError(f"bars: {where} has no header, and a volume below 0; {remedy}")


def refuse_half_days(stamps: Stamps, where: str) -> None:
    """BarsError for clocks of 12 hours without AM and PM: after 12:59 they begin again."""
    stamps = stamps[~np.isnat(stamps)]
    hours = ((stamps - stamps.astype("M8[D]")) / np.timedelta64(1, "h")).astype(np.int64)
    if len(hours) < 2 or hours.min() < 1 or hours.max() > 12:
        return
    same, steps = np.diff(stamps.astype("M8[D]")) == np.timedelta64(0, "D"), np.diff(stamps)
    if (same & (steps < np.timedelta64(0, "ns"))).any() and (same & (steps > np.timedelta64(0, "ns"))).any():
        what = "times that begin again within a day: 12 hours without AM and PM"
        raise BarsError(f"bars: {where} has {what}; write 24 hours")
