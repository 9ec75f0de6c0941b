"""What columns hold against what they are taken for: closes of symbols, one bar without names, clocks of 12 hours.

Prices move little and without return; what jumps up and down, stands at or below 0, or is a whole number a hundred
times the others, is none. Columns that stay within a few percent of each other, one never below the
other, are one company's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hybrid_bt.bars.checks import FloatArray
from hybrid_bt.bars.stamps import Stamps
from hybrid_bt.errors import BarsError

NEAR, FAR = 0.1, 0.7  #: log of a ratio: the median of one company's columns, and the most
CLOSE_BY = 0.25  #: the same on few rows
AS_ONE, SMOOTHER, TIED = 0.1, 0.6, 9.5  #: of one column's moves: the ratio's, another's, the range of the ratio
FEW_ROWS = 20  #: below, two columns say nothing about each other
FEW_COLUMNS = 30  #: more are no company's
RESTLESS, RETURNING = 0.08, -0.2  #: median move and autocorrelation of what is no price
AT_ZERO = 0.05  #: share of values at or below 0
TIMES = 100.0
APART = 0.8  #: of the moves from close to open, and from open to close
ROUNDING = 1e-9
REMEDY = "leave out what is no close, or ask for symbols by name"


def refuse_no_closes(closes: Mapping[str, FloatArray], where: str) -> None:
    """BarsError where columns that were taken for closes of symbols hold something else."""
    strange = [name for name, values in closes.items() if _is_no_price(values)]
    medians = {name: float(np.nanmedian(v)) for name, v in closes.items() if not np.isnan(v).all()}
    whole = {name for name in medians if not (closes[name] != np.round(closes[name])).any()}
    usual = float(np.median([medians[name] for name in medians if name not in whole] or [np.inf]))
    strange += [name for name in sorted(whole) if medians[name] >= TIMES * usual and name not in strange]
    if strange:
        raise BarsError(
            f"bars: {where} would be read as closes of {_listed(list(closes))}, but {_listed(strange)} "
            f"{'holds' if len(strange) == 1 else 'hold'} no prices (values at or below 0, that jump up and down, or "
            f"whole numbers far above the others); {REMEDY}"
        )
    for one, other, why in _pairs(closes):
        raise BarsError(
            f"bars: {where} would be read as closes of {_listed(list(closes))}, but {one} and {other} look like one "
            f"company's: {why}; name the columns open, high, low and close, or {REMEDY}"
        )


def _is_no_price(values: FloatArray) -> bool:
    here = values[~np.isnan(values)]
    if len(here) and np.mean(here <= 0.0) > AT_ZERO:
        return True
    moves = np.diff(np.log(here[here > 0.0]))
    if len(moves) < 4:
        return False
    if len(moves) >= FEW_ROWS and (np.diff(here) == 1.0).all():  # a count of rows
        return True
    size = float(np.median(np.abs(moves)))
    if len(moves) < FEW_ROWS:
        return size > 3.0 * RESTLESS
    spread = moves - moves.mean()
    return size > RESTLESS and float(spread[1:] @ spread[:-1]) < RETURNING * float(spread @ spread)


def _pairs(closes: Mapping[str, FloatArray]) -> Iterator[tuple[str, str, str]]:
    """Two columns that may be one company's, and why."""
    if not 2 <= len(closes) <= FEW_COLUMNS:
        return
    names, table = list(closes), np.column_stack(list(closes.values()))
    for i, j in ((i, j) for i in range(len(names)) for j in range(len(names)) if i != j):
        rows = (table[:, i] > 0.0) & (table[:, j] > 0.0)
        if np.count_nonzero(rows) >= 3 and (why := _alike(*np.log(table[rows][:, [i, j]]).T)):
            yield names[i], names[j], why.format(names[i], names[j])


def _alike(one: FloatArray, other: FloatArray) -> str:
    """Why two rows of logs may be prices of one company; "" where they are not."""
    apart = other - one
    moves, own = np.abs(np.diff(one)), float(np.median(np.abs(np.diff(other))))
    if not apart.any():  # equal to the bit: another check names them
        return ""
    if own and float(np.median(np.abs(np.diff(apart)))) < AS_ONE * own:
        return "{0} and {1} move as one"
    if np.median(np.abs(apart)) > NEAR or np.abs(apart).max() > FAR:
        return ""
    if len(apart) < FEW_ROWS:
        return "{0} stays near {1} on the few rows there are" if np.abs(apart).max() < CLOSE_BY else ""
    if apart.min() >= -ROUNDING:
        return "{0} is never above {1}, and near it"
    if np.mean(moves) < SMOOTHER * np.abs(np.diff(other)).mean():
        return "{0} is a smoother {1}"
    return "{0} always returns to {1}" if np.ptp(apart) < TIED * own else ""


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
        raise BarsError(
            f"bars: {where} has no header, and its first four numbers are no open, high, low, close; {remedy}"
        )
    # a bar opens near where the one before closed, and closes further away
    forth, back = (np.abs(one[1:] - other[:-1]) for one, other in ((open, close), (close, open)))
    enough = len(close) >= FEW_ROWS
    sure = enough and np.nanmedian(forth) < APART * np.nanmedian(back)
    exchanged = enough and np.nanmedian(back) < APART * np.nanmedian(forth)
    if exchanged or not (sure or (known and enough)):
        raise BarsError(f"bars: {where} has no header, and open and close may be exchanged; {remedy}")
    for values in (*([fields["volume"]] if "volume" in fields else []), *others):
        rows = (values > 0.0) & (close > 0.0)
        if np.count_nonzero(rows) > 2 and np.median(np.abs(np.log(values[rows] / close[rows]))) < FAR:
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
        raise BarsError(
            f"bars: {where} has times that begin again within a day: 12 hours without AM and PM; write 24 hours"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
