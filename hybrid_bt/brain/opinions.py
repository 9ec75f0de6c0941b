"""What legs and gate say of a whole panel, some bars at a time: the same steps in the same order as bar by bar.

What a part says at a close depends on bars up to it and on nothing else, so it may be asked before any of them is
traded: row t of everything here is a function of rows up to t. A part that answers for many bars at once
(`wishes_of_bars`, `scores_of_bars`) is asked so; any other, and one that fails, bar by bar.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.brain.hybrid import Hybrid, answer, asked, netted
from hybrid_bt.brain.legs.base import Leg, Opinion, View, Wish
from hybrid_bt.brain.legs.sac import Gate
from hybrid_bt.brain.reader import cut, panel_rows
from hybrid_bt.brain.records import Opinions
from hybrid_bt.equations.waiting import Bundle, open_bundles, tied_bundles

FloatArray = NDArray[np.float64]

BARS_A_CALL = 512  #: that a part answers at once
BARS_LISTED = 32  #: made lists of at once; more would keep Python's cycle collector busy


class _Columns(NamedTuple):
    """From a call for many bars."""

    bundles: Sequence[Bundle]
    amounts: FloatArray  #: (T, sides), bundle after bundle

    def targets(self, n_symbols: int) -> FloatArray:
        """(T, N), netted in the order of the bundles."""
        found = np.zeros((len(self.amounts), n_symbols))
        columns = [column for bundle in self.bundles for column in bundle]
        for side, column in enumerate(columns):
            found[:, column] += self.amounts[:, side]
        return found

    def wishes(self, t: int) -> list[Wish]:
        """Of one bar."""
        row = iter(self.amounts[t].tolist())
        return [Wish(bundle, tuple(next(row) for _ in bundle)) for bundle in self.bundles]

    def of_pair(self, pair: tuple[int, int]) -> FloatArray | float:
        """(T,) what is wanted of the first side of bundles of these columns."""
        firsts = accumulate(map(len, self.bundles), initial=0)
        return sum((self.amounts[:, a] for bundle, a in zip(self.bundles, firsts, strict=False) if bundle == pair), 0.0)


class _Rows(NamedTuple):
    """From one call a bar."""

    rows: Sequence[Sequence[Wish]]

    def targets(self, n_symbols: int) -> FloatArray:
        return np.array([netted(wishes, n_symbols) for wishes in self.rows])

    def wishes(self, t: int) -> Sequence[Wish]:
        return self.rows[t]

    def of_pair(self, pair: tuple[int, int]) -> FloatArray | float:
        amounts = [[amounts[0] for columns, amounts in wishes if columns == pair] for wishes in self.rows]
        return np.array([sum(found, 0.0) for found in amounts])


_Answers: TypeAlias = _Columns | _Rows  #: what one leg wants on T bars


def can_be_foreseen(brain: Hybrid) -> bool:
    """Whether every part of a brain answers for many bars at once; of any other nobody knows what it looks at."""
    legs: list[Any] = [leg for leg in brain.legs.values() if leg is not None]
    policies = [part.policy for part in (*legs, brain.gate) if hasattr(part, "policy")]
    known = all(hasattr(policy, "act_in_turn") and hasattr(policy, "run") for policy in policies)
    return known and all(map(_answers_many, legs))


def _answers_many(leg: object) -> bool:
    """Whether a leg's `wishes_of_bars` is that of its `wishes`, and not of a class whose `wishes` were overridden."""
    for own in (getattr(leg, "__dict__", {}), *map(vars, type(leg).__mro__)):
        if "wishes_of_bars" in own:
            return True
        if "wishes" in own:
            return False
    return False


def opinions(brain: Hybrid, panel: View) -> Opinions:
    """What a brain says of a whole panel (`reader.read_panel` of its reader); its reader is not driven."""
    return _said(brain, panel)[0]


def opinions_in_turn(brain: Hybrid, panel: View) -> Iterator[Opinion]:
    """The same bar by bar, as `Hybrid.opine` has them: parts are asked `BARS_A_CALL` bars ahead, when one is wanted."""
    for first in range(0, len(panel.traded), BARS_A_CALL):
        views = cut(panel, slice(first, first + BARS_A_CALL))
        said, positions, failures = _said(brain, views)
        for few in range(0, len(failures), BARS_LISTED):
            rows = slice(few, few + BARS_LISTED)
            yield from _listed(cut(views, rows), said.rows(rows), positions[rows], failures[rows])


def _listed(views: View, said: Opinions, positions: FloatArray, failures: list[list[str]]) -> Iterator[Opinion]:
    nobody: list[Sequence[Bundle]] = [()] * len(said.legs)
    targets = zip(*(target.tolist() for target in said.legs.values()), strict=True)
    seen = panel_rows(views, arrays=("closes", "features", "market"))
    told = zip(seen, targets, positions.tolist(), said.regime.tolist(), failures, strict=True)
    for t, (view, wanted, held, r, wrong) in enumerate(told):
        yield Opinion(view, wanted, said.ties.get(t, nobody), held, r, tuple(wrong))


def _said(brain: Hybrid, views: View) -> tuple[Opinions, FloatArray, list[list[str]]]:
    """Opinions, the direction of each pair, (T, P), and what parts did wrong, (T,)."""
    n_bars, n_symbols = views.traded.shape
    failures: list[list[str]] = [[] for _ in range(n_bars)]
    answers = {name: _answers(brain, name, leg, views, failures) for name, leg in brain.legs.items()}
    regime = np.zeros(n_bars) if brain.gate is None else _scores(brain.gate, views, failures)
    ties = _ties(brain, list(answers.values()), views.traded)
    for name, said in answers.items():
        brain.wishes[name] = said.wishes(n_bars - 1)
    held = [sum((said.of_pair(pair) for said in answers.values()), np.zeros(n_bars)) for pair in brain.reader.columns]
    legs = {name: said.targets(n_symbols) for name, said in answers.items()}
    opinions = Opinions(legs, regime, views.volatility, views.correlation, views.warm, ties)
    return opinions, np.sign(np.array(held).reshape(len(held), n_bars).T) + 0.0, failures


def _answers(brain: Hybrid, name: str, leg: Leg | None, views: View, failures: list[list[str]]) -> _Answers:
    n_bars, n_symbols = views.traded.shape
    if leg is None:
        return _Columns((), np.zeros((n_bars, 0)))
    if _answers_many(leg):
        ask: Any = leg.wishes_of_bars  # type: ignore[attr-defined]
        try:
            return _Columns(*ask(views))
        except Exception:
            pass
    rows: list[Sequence[Wish]] = []
    for view, wrong in zip(panel_rows(views), failures, strict=True):
        last = rows[-1] if rows else brain.wishes[name]
        rows.append(asked(name, wrong, last, answer, leg, view, n_symbols))
    return _Rows(rows)


def _scores(gate: Gate, views: View, failures: list[list[str]]) -> FloatArray:
    try:
        found: FloatArray = gate.scores_of_bars(views)
    except Exception:
        rows = zip(panel_rows(views), failures, strict=True)
        return np.array([asked("gate", wrong, 0.0, gate.score, view) for view, wrong in rows])
    return found


def _ties(brain: Hybrid, legs: Sequence[_Answers], traded: NDArray[np.bool_]) -> dict[int, list[Sequence[Bundle]]]:
    """`tied_bundles` of each leg, on the rows on which a symbol has no bar."""
    found = {}
    for t in np.flatnonzero(~traded.all(axis=1)).tolist():
        row = traded[t].tolist()
        before = [open_bundles(leg.wishes(t - 1)) for leg in legs] if t else brain.open
        now = [open_bundles(leg.wishes(t)) for leg in legs]
        ties = [tied_bundles(was, then, row) for was, then in zip(before, now, strict=True)]
        if any(ties):
            found[t] = ties
    return found
