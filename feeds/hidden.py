"""Several symbols in one table that does not say so: a column tells rows of one date apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_bt.bars.stamps import Stamps, say_stamp
from hybrid_bt.errors import BarsError

REPEATED = 0.3  #: share of rows that have a date in common, from which on a column of text is one of symbols


def hidden_symbol(
    stamps: Stamps,
    codes: Mapping[int, NDArray[np.int32]],
    head: pd.DataFrame,
    names: Sequence[str],
    where: str,
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
    ids = [int(place) for place in few if often and _tells(first, pd.factorize(head[place])[0])]
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
