"""What legs and gate say of a whole panel, some bars at a time: the same steps in the same order as bar by bar.

What a part says at a close depends on bars up to it and on nothing else, so it may be asked before any of them is
traded: row t of everything here is a function of rows up to t. A part that answers for many bars at once
(`wishes_of_bars`, `scores_of_bars`) is asked so; any other, and one that fails, bar by bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from hybrid_bt.brain.hybrid import Hybrid, answer, asked, looks_at_account
from hybrid_bt.brain.laid import FloatArray, Sides, Whole
from hybrid_bt.brain.legs.base import Decision, Leg, Opinion, View, Wish
from hybrid_bt.brain.legs.sac import Gate
from hybrid_bt.brain.reader import cut, panel_rows, piece_rows, read_in_pieces
from hybrid_bt.brain.records import Decisions, Opinions
from hybrid_bt.brain.settling import decided
from hybrid_bt.equations.bundles import Bundle, bundles_of
from hybrid_bt.equations.compiled import choose
from hybrid_bt.equations.leg_risk import Seen, risk_bars
from hybrid_bt.equations.pair import PairView
from hybrid_bt.equations.waiting import tied_rows
from hybrid_bt.errors import LegError

BARS_LISTED = 32  #: made lists of at once; more would keep Python's cycle collector busy
SECONDS_PER_CELL = 1e-6  # of a bar x side, interpreted


class _Columns(NamedTuple):
    """From a call for many bars."""

    bundles: Sequence[Bundle]
    amounts: FloatArray  #: (T, sides), bundle after bundle

    def laid(self, sides: Sides) -> FloatArray:
        """Side by side, (T, S)."""
        sides.laid(self.wishes(0))
        found, column = np.zeros((len(self.amounts), sides.n)), 0
        for bundle in self.bundles:
            first, n = sides.firsts[bundle], len(bundle)
            found[:, first : first + n] += self.amounts[:, column : column + n]
            column += n
        return found

    def wishes(self, t: int) -> list[Wish]:
        """Of one bar."""
        row = iter(self.amounts[t].tolist())
        return [Wish(bundle, tuple(next(row) for _ in bundle)) for bundle in self.bundles]


class _Rows(NamedTuple):
    """From one call a bar."""

    rows: Sequence[Sequence[Wish]]

    def laid(self, sides: Sides) -> FloatArray:
        rows = [sides.laid(wishes) for wishes in self.rows]  # which grow; zeros behind them
        return np.array([[*row, *([0.0] * (sides.n - len(row)))] for row in rows]).reshape(len(rows), sides.n)

    def wishes(self, t: int) -> Sequence[Wish]:
        return self.rows[t]


class Heard(NamedTuple):
    """Some bars, and what was said of them."""

    views: View
    said: Opinions
    positions: FloatArray  #: (T, P) direction of each pair
    failures: list[list[str]]  #: (T,) what parts did wrong

    def rows(self, rows: slice) -> Heard:
        """Bars in a row alone; the arrays are views."""
        return Heard(cut(self.views, rows), self.said.rows(rows), self.positions[rows], self.failures[rows])


_Answers: TypeAlias = _Columns | _Rows  #: what one leg wants on T bars


def can_be_foreseen(brain: Hybrid) -> bool:
    """Whether every part of a brain answers for many bars at once; of any other nobody knows what it looks at."""
    legs: list[Any] = [leg for leg in brain.legs.values() if leg is not None]
    policies = [part.policy for part in (*legs, brain.gate) if hasattr(part, "policy")]
    known = all(hasattr(policy, "is_recurrent") and hasattr(policy, "run") for policy in policies)
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
    """What a brain says of a whole panel (`reader.read_panel` of its reader); its reader is not driven.

    Raises
    ------
    LegError
        If a leg looks at the account, so that bars alone do not say what it wants.
    """
    check_blind(brain)
    whole = Whole(len(panel.traded))
    for heard in hear(brain, (cut(panel, rows) for rows in piece_rows(*panel.traded.shape))):
        whole.write(heard.said)
    said: Opinions = whole.records()[0]
    return said


def hear(brain: Hybrid, views: Iterable[View]) -> Iterator[Heard]:
    """What a brain says of a panel that is read some bars at a time."""
    return (Heard(piece, *_said(brain, piece)) for piece in views)


def check_blind(brain: Hybrid) -> None:
    """LegError if a leg looks at the account, so that bars alone do not say what it wants."""
    for name, leg in brain.legs.items():
        if looks_at_account(leg):
            raise LegError(
                f"legs: {name} looks at the account, and here is none; trade it (HybridStrategy, run_backtest)"
            )


def opinions_in_turn(brain: Hybrid, views: Iterable[View]) -> Iterator[Opinion]:
    """The same bar by bar, as `Hybrid.opine` has them: parts are asked some hundred bars ahead, when one is wanted."""
    for heard in hear(brain, views):
        for few in range(0, len(heard.failures), BARS_LISTED):
            yield from _listed(heard.rows(slice(few, few + BARS_LISTED)))


def decisions_in_turn(brain: Hybrid, heard: Heard) -> Iterator[Decision]:
    """What `Hybrid.settle` makes of some bars that nobody advises on, settled together."""
    views, n_bars = heard.views, len(heard.failures)
    risk = brain.risk._replace(bars_per_year=float(views.bars_per_year[-1]))
    whole = decided(heard.said, views.traded, views.market, brain.lines, risk) if n_bars else None
    for few in range(0, n_bars, BARS_LISTED):
        rows = slice(few, few + BARS_LISTED)
        assert whole is not None
        yield from _settled(_listed(heard.rows(rows)), whole.rows(rows))


def _settled(opinions: Iterator[Opinion], whole: Decisions) -> Iterator[Decision]:
    names, alone = tuple(whole.legs), list(range(whole.target.shape[1]))
    legs, weights = (
        zip(*(path.tolist() for path in paths.values()), strict=True) for paths in (whole.legs, whole.weights)
    )
    columns = (whole.regime, whole.fused, whole.target, whole.sides, whole.scale, whole.together, whole.waits)
    rows = zip(opinions, legs, weights, *(column.tolist() for column in columns), strict=True)
    for opinion, wanted, parts, r, fused, target, sides, scale, together, waits in rows:
        named = dict(zip(names, wanted, strict=True)), dict(zip(names, parts, strict=True))
        labels = together if together != alone else ()
        yield Decision(opinion, *named, r, fused, target, sides, scale, labels, waits if True in waits else ())


def absorb(brain: Hybrid, closes: FloatArray) -> list[str]:
    """Let a brain that `can_be_foreseen` read bars that nobody decides on, (T, N); what parts did wrong on them."""
    heard = hear(brain, read_in_pieces(closes, brain.reader))
    return [failure for piece in heard for of_bar in piece.failures for failure in of_bar]


def _listed(heard: Heard) -> Iterator[Opinion]:
    views, said, positions, failures = heard
    bundles, layout = bundles_of(said.layout), said.layout
    tied = tied_rows(said.amounts, said.before, layout, views.traded)
    ties = [[bundles[b] for b in np.flatnonzero(row)] for row in tied]
    targets = zip(*(target.tolist() for target in said.legs.values()), strict=True)
    seen = panel_rows(views, arrays=("closes", "features", "market"))
    given = seen, targets, said.amounts.tolist(), ties, positions.tolist(), said.risks.tolist(), said.regime.tolist()
    for (view, wanted, amounts, tie, held, risks, r), wrong in zip(zip(*given, strict=True), failures, strict=True):
        yield Opinion(view, wanted, amounts, layout, tie, held, risks, r, tuple(wrong))


def _said(brain: Hybrid, views: View) -> tuple[Opinions, FloatArray, list[list[str]]]:
    """Opinions, the direction of each pair, (T, P), and what parts did wrong, (T,)."""
    n_bars = len(views.traded)
    failures: list[list[str]] = [[] for _ in range(n_bars)]
    answers = {name: _answers(brain, name, leg, views, failures) for name, leg in brain.legs.items()}
    regime = np.zeros(n_bars) if brain.gate is None else _scores(brain.gate, views, failures)
    was = {key: True for key in brain.open}
    amounts = np.hstack([said.laid(sides) for said, sides in zip(answers.values(), brain.sides, strict=True)])
    layout, _, hedges = brain.places()
    before, held = np.zeros(amounts.shape[1]), np.zeros((n_bars, len(brain.reader.columns)))
    for key, first in hedges:
        before[first] = key in was
        if key[1] in brain.reader.columns:
            held[:, brain.reader.columns.index(key[1])] += amounts[:, first]
    risks = _risks(brain, views, amounts)
    for name, said in answers.items():
        brain.wishes[name] = said.wishes(n_bars - 1)
    brain.open = [key for key, first in hedges if amounts[-1, first : first + len(key[1])].any()]
    names, seen = tuple(brain.legs), (views.volatility, views.correlation, views.warm)
    return Opinions(names, layout, amounts, before, risks, regime, *seen), np.sign(held) + 0.0, failures


def _risks(brain: Hybrid, views: View, amounts: FloatArray) -> FloatArray:
    """How risky each leg is, (T, L), by the brain's memory."""
    layout, pair_of, _ = brain.places()
    risks, sds = np.zeros((len(amounts), len(brain.legs))), views.pairs[:, :, PairView._fields.index("innovation_sd")]
    seen = views.closes, views.volatility, views.correlation, sds
    if choose(None, amounts.size * SECONDS_PER_CELL):
        from hybrid_bt.equations.compiled.panel import weigh_all

        weigh_all(brain.memory, Seen(*seen), amounts, layout, pair_of, risks)
        return risks
    rows = risks.tolist()
    risk_bars(brain.memory, Seen(*(column.tolist() for column in seen)), amounts.tolist(), layout, pair_of, rows)
    return np.array(rows)


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
