"""What a leg sees and what it answers, and what a brain makes of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from hybrid_bt.equations.advice import Managed
from hybrid_bt.equations.bundles import Bundle, Layout
from hybrid_bt.errors import BarsError


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
    pairs: Any  #: (P,) `pair.PairView`; of a panel (T, P, fields)
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
    memory is as it was before. A leg that looks at the account has a method `told(facts)`, which is called before
    `wishes` on every bar, with `GuardFacts` where the bar is traded and None where it is not.

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


class Opinion(NamedTuple):
    """What each part said at a close, before anything was mixed: it depends on bars alone."""

    view: View
    targets: Sequence[Sequence[float]]  #: (L, N) of each leg, netted, signed fractions of equity
    amounts: Sequence[float]  #: (S,) what they are made of, side by side
    layout: Layout  #: of those sides
    ties: Sequence[tuple[int, Bundle]]  #: leg and columns of the bundles that are one decision on this bar
    positions: Sequence[float]  #: (P,) +1 long y and short x, -1 the reverse, 0 flat
    risks: Sequence[float]  #: (L,) volatility per bar of each leg's wishes
    regime: float  #: r in [-1, 1]
    failures: tuple[str, ...] = ()  #: what parts did wrong


class Decision(NamedTuple):
    """What each part wanted at a close, and what is to be held; targets are signed fractions of equity."""

    opinion: Opinion
    legs: dict[str, Sequence[float]]  #: leg -> (N,) as it wished
    weights: dict[str, float]  #: leg -> what its wishes were multiplied by
    regime: float  #: r, or what a risk manager made of it
    fused: list[float]  #: (N,) the sum of weights times legs
    target: list[float]  #: (N,) after limits
    sides: list[float]  #: (S,) what the target is made of, in the layout of the opinion
    scale: float  #: of the base, to the volatility target
    together: Sequence[int] = ()  #: (N,) symbols of the same label are one decision; empty for nobody
    waits: Sequence[bool] = ()  #: (N,) what is held is kept on this bar, whatever the target; empty for nobody
    managed: Managed | None = None  #: what the risk manager did; None where it was not asked
    wanted: list[float] | None = None  #: (N,) `target` before the guard; None where no guard stood behind it
    guard: int = 0  #: rules of `hybrid_bt.equations.guard` that changed it, as a mask

    @property
    def view(self) -> View:
        """What was seen."""
        return self.opinion.view

    @property
    def positions(self) -> Sequence[float]:
        """(P,) direction in which each pair is held."""
        return self.opinion.positions

    @property
    def failures(self) -> tuple[str, ...]:
        """What parts did wrong on this bar."""
        return self.opinion.failures


def check_closes(closes: Sequence[float], names: Sequence[str] = (), when: str = "") -> None:
    """Refuse a close that is neither NaN nor positive and finite; `when` says on which bar, " on 2011-10-30"."""
    for column, close in enumerate(closes):
        if not math.isnan(close) and not 0.0 < close < math.inf:
            name = names[column] if names else f"symbol number {column}"
            raise BarsError(f"bars: the close of {name} is {close!r}{when}; a close must be positive and finite")
