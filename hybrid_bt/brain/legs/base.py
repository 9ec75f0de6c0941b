"""What a leg sees and what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from hybrid_bt.errors import LegError


class View(NamedTuple):
    """The market at a close; everything in it is known at that close.

    Of one bar, sequences of the lengths given here; of a whole panel, arrays with one axis more in front, for T bars.

    >>> View._fields[:3]
    ('closes', 'traded', 'warm')
    """

    closes: Any  #: (N,) NaN where the symbol has no bar
    traded: Any  #: (N,) bool, the symbol has a bar
    warm: Any  #: (N,) bool, the symbol's features have seen `features.WARMUP_BARS` returns
    features: Any  #: (N, features) named in `features.ASSET_FEATURES`, not clipped
    market: Any  #: (features,) named in `features.MARKET_FEATURES`, not clipped
    market_warm: Any  #: bool
    volatility: Any  #: (N,) per bar
    correlation: Any  #: of the universe, in [0, 1)
    pairs: Any  #: (P,) `market.PairView`; of a panel (T, P, fields)
    bars_per_year: Any  #: for volatilities per year, as known at this close


class Wish(NamedTuple):
    """What a leg wants of one asset, or of several that belong together: they are traded together or not at all.

    >>> Wish(columns=(0, 1), amounts=(0.1, -0.08))
    Wish(columns=(0, 1), amounts=(0.1, -0.08))
    """

    columns: tuple[int, ...]  #: of the symbols
    amounts: tuple[float, ...]  #: signed fractions of equity, one for each


class Leg(Protocol):
    """A causal signal: it knows nothing of cash, fills or orders, and its memory is its own.

    A leg that can answer for many bars at once has a method `wishes_of_bars(views)` as well: a view of T bars in, the
    columns of each wish and their amounts (T, sides) out, the same bits as `wishes` bar by bar; where it raises, its
    memory is as it was before.

    >>> class Half:
    ...     def __init__(self, symbols, pairs, config):
    ...         self.n = len(symbols)
    ...     def wishes(self, view):
    ...         return [Wish((i,), (0.5 / self.n,)) for i in range(self.n)]
    >>> half = run_backtest("us20", legs={"sac": Half}, config={"gate": {"enabled": False}}, start=date(2021, 1, 4))
    """

    def wishes(self, view: View) -> Sequence[Wish]:
        """One wish for each asset or bundle of assets, from this and earlier views only."""
        ...


def each_asset(amounts: Iterable[float]) -> list[Wish]:
    """A wish for each asset alone, from one amount per symbol."""
    return [Wish((i,), (amount,)) for i, amount in enumerate(amounts)]


def netted(wishes: Iterable[Wish], n_symbols: int) -> list[float]:
    """What the wishes come to for each symbol, (N,)."""
    targets = [0.0] * n_symbols
    for columns, amounts in wishes:
        for column, amount in zip(columns, amounts, strict=True):
            targets[column] += amount
    return targets


def checked_wishes(wishes: Any, n_symbols: int) -> list[Wish]:
    """The wishes of one bar, as a leg may answer.

    Raises
    ------
    LegError
        If one is no wish, names a symbol that is not there, or an amount is not finite.
    """
    try:
        found = [Wish(tuple(columns), tuple(amounts)) for columns, amounts in wishes]
    except (TypeError, ValueError):
        raise LegError(f"wishes is {wishes!r:.80}; give a list of Wish(columns, amounts)") from None
    for columns, amounts in found:
        if len(columns) != len(amounts) or not columns:
            raise LegError(f"{len(amounts)} amounts for the symbols {columns}; give one for each")
        for column, amount in zip(columns, amounts, strict=True):
            if not (isinstance(column, int) and 0 <= column < n_symbols):
                raise LegError(f"wish for symbol number {column!r}; there are {n_symbols}, counted from 0")
            if not -math.inf < amount < math.inf:
                raise LegError(f"amount {amount!r} for symbol number {column}; it must be finite, 0.0 for no opinion")
    return found
