"""The Kalman leg: mean reversion of hedged pairs, by the rules of `hybrid_bt.equations.pair`.

Several pairs may share an asset: what they ask of it adds up.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.legs.base import View, Wish
from hybrid_bt.equations import Pairs
from hybrid_bt.equations.compiled import choose
from hybrid_bt.equations.pair import PairView
from hybrid_bt.equations.pair_rules import PairBars, PairPosition, PairRules, hold_bars, pays

FloatArray = NDArray[np.float64]

READ = ("fresh", "zscore", "spread", "prior_beta")  #: of a `PairView`
SECONDS_PER_CELL = 7e-6  # of a bar x pair, interpreted


class IdlePair(UserWarning):
    """A pair that cannot open as it stands, or never did."""


class KalmanLeg:
    """A wish for each pair: both of its sides by one decision."""

    Params = PairRules

    def __init__(self, symbols: Sequence[str], pairs: Pairs, rules: PairRules) -> None:
        self.rules = rules
        self.positions = [PairPosition()] * len(pairs)
        self._pairs = list(pairs)

    def wishes(self, view: View) -> list[Wish]:
        """One for each pair (y, x); a pair whose assets did not both trade keeps its position, up to `orphan_bars`."""
        seen = [(pair.fresh, pair.zscore, pair.spread, pair.prior_beta) for pair in view.pairs]
        fresh, zscores, spreads, ratios = zip(*seen, strict=True) if seen else ((), (), (), ())
        amounts = [0.0] * (2 * len(self._pairs))
        hold_bars(self.positions, PairBars([fresh], [zscores], [spreads], [ratios]), self.rules, [amounts])
        return [Wish(sides, (amounts[2 * p], amounts[2 * p + 1])) for p, sides in enumerate(self._pairs)]

    def wishes_of_bars(self, views: View) -> tuple[list[tuple[int, int]], FloatArray]:
        """The pairs, and what is wanted of their sides, (T, 2 P)."""
        amounts = np.zeros((len(views.traded), 2 * len(self._pairs)))
        columns: list[Any] = [views.pairs[:, :, PairView._fields.index(name)] for name in READ]
        if choose(None, amounts.size / 2 * SECONDS_PER_CELL):
            from hybrid_bt.equations.compiled.panel import hold_all

            self.positions = hold_all(self.positions, PairBars(*columns), self.rules, amounts)
        else:
            hold_bars(self.positions, PairBars(*(column.tolist() for column in columns)), self.rules, amounts)
        return self._pairs, amounts


class IdlePairs:
    """Watches, while an account trades, the pairs that have not opened yet, and says what keeps each closed.

    Parameters
    ----------
    names : P names `Y:X`
    rules : PairRules or None
        By which they open; None watches nothing.

    Attributes
    ----------
    closed : dict
        Number -> name of the pairs that have not opened.
    at_start : list of str
        Pairs kept out by their hedge ratio on the first bar on which they could have opened; warned of there.
    """

    def __init__(self, names: Sequence[str] = (), rules: PairRules | None = None) -> None:
        self.closed, self.at_start = dict(enumerate(names if rules else ())), list[str]()
        self._rules, self._n_bars = rules, 0
        #: of each pair, bars on which: it had a z-score, its hedge ratio was in bounds, its z-score was wide, and wide
        #: and worth the costs
        self._counts = [[0, 0, 0, 0] for _ in names]

    def see(self, pairs: Sequence[PairView], positions: Sequence[float]) -> None:
        """Look at a traded bar: what was seen of each pair, and the direction in which the leg holds it."""
        rules, self._n_bars = self._rules, self._n_bars + 1
        for p, name in list(self.closed.items()):
            fresh, zscore, spread, ratio = (getattr(pairs[p], read) for read in READ)
            counts = self._counts[p]
            if positions[p] != 0.0:
                del self.closed[p]
            elif rules and fresh and zscore != 0.0:
                told = _told(zscore, spread, ratio, rules)
                if not (told[0] or counts[0]):
                    self._keep_out(name, ratio, rules)
                counts[:] = [count + more for count, more in zip(counts, (1, *told), strict=True)]

    def see_bars(self, pairs: NDArray[np.float64], positions: NDArray[np.float64]) -> None:
        """The same of T bars: fields of `PairView`, (T, P, fields), and directions, (T, P)."""
        rules, self._n_bars, kept_out = self._rules, self._n_bars + len(pairs), []
        for p, name in list(self.closed.items()):
            opens, counts = np.flatnonzero(positions[:, p]), self._counts[p]
            seen = pairs[: opens[0] if len(opens) else None, p]
            fresh, zscore, spread, ratio = (seen[:, PairView._fields.index(read)] for read in READ)
            if len(opens):
                del self.closed[p]
            rows = np.flatnonzero((fresh > 0.0) & (zscore != 0.0))
            if rules and len(rows):
                told = _told(zscore[rows], spread[rows], ratio[rows], rules)
                if not (told[0][0] or counts[0]):
                    kept_out.append((rows[0], p, name, float(ratio[rows[0]])))
                more = len(rows), *(int(np.count_nonzero(one)) for one in told)
                counts[:] = [count + few for count, few in zip(counts, more, strict=True)]
        for _, _, name, first in sorted(kept_out):
            assert rules is not None
            self._keep_out(name, first, rules)

    def _keep_out(self, name: str, ratio: float, rules: PairRules) -> None:
        remedy = "set [kalman] min_hedge_ratio or max_hedge_ratio" if ratio > 0.0 else "leave the pair out"
        self.at_start.append(
            f"Pair {name} cannot open as it stands: its hedge ratio is {ratio:.3g} as trading begins, not in "
            f"[{rules.min_hedge_ratio:g}, {rules.max_hedge_ratio:g}]; name a hedge that moves with it, or {remedy}."
        )
        warnings.warn(self.at_start[-1], IdlePair, stacklevel=1)

    def at_end(self) -> list[str]:
        """The pairs that never opened, and why, as far as that is known."""
        texts = [f"{name} ({_why(*self._counts[p])})" for p, name in self.closed.items()]
        return [f"Pairs that never opened on {self._n_bars} traded bars: {', '.join(texts)}."] if texts else []


def _told(zscore: Any, spread: Any, ratio: Any, rules: PairRules) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """Of one bar or many: hedge ratio in bounds, z-score wide, and that worth the costs."""
    is_wide = abs(zscore) >= rules.entry_z
    is_in = (rules.min_hedge_ratio <= ratio) & (ratio <= rules.max_hedge_ratio)
    return is_in, is_wide, is_wide & pays(zscore, spread, ratio, rules)


def _why(n_seen: int, n_in: int, n_wide: int, n_worth: int) -> str:
    n_out, n_poor = n_seen - n_in, n_wide - n_worth
    out = f"hedge ratio out of bounds on {n_out} of {n_seen} bars, " if n_out else ""
    wide = f"|z| reached entry_z on {n_wide}" if n_wide else "|z| never reached entry_z"
    poor = f", not worth its costs on {n_poor} of these" if n_poor else ""
    return out + wide + poor if n_seen else "no z-score on any bar"
