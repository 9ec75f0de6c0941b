"""The brain: closes in, decision out. It knows no broker, no order and no framework.

a = sum_l w_l(r) a_l = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman + ...

in units of risk (`equations.fusion`), within limits that keep hedges whole, less what the risk manager takes away
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from hybrid_bt.brain.laid import Sides
from hybrid_bt.brain.legs.base import Decision, Leg, Opinion, View, Wish
from hybrid_bt.brain.legs.sac import Gate
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.equations.advice import Advice, Managed, ManagerParams, blend, multipliers, reduce
from hybrid_bt.equations.bundles import Bundle, Layout, joined, layout_of
from hybrid_bt.equations.fusion import Line, RiskParams, Said, Settled, leg_shares, legs_traded, settle_bar
from hybrid_bt.equations.guard_limits import GuardFacts
from hybrid_bt.equations.leg_risk import LegMemory, Seen, new_memory, risk_bars
from hybrid_bt.equations.tilt import lean
from hybrid_bt.equations.waiting import waiting_symbols
from hybrid_bt.errors import HybridError, LegError

Answer = TypeVar("Answer")


class Hybrid:
    """Legs, a gate, a mix and limits.

    A part that fails (an exception, or an answer that it may not give) cannot bring a run down: the failure is noted in
    the opinion, a leg is taken to want what it wanted last, and r is 0. The guard then moves the account to its rule.

    Parameters
    ----------
    reader : MarketReader
    legs : mapping
        Name -> leg, the base first; None where it is switched off.
    gate : Gate or None
        Without a gate r is 0.
    lines : sequence
        The share of each leg at r = -1, 0 and +1, in their order.
    manager : ManagerParams, optional
        Of the risk manager; needed where decisions are made under an `Advice`.

    Attributes
    ----------
    wishes : dict
        What each leg wanted last.
    """

    def __init__(
        self,
        reader: MarketReader,
        legs: Mapping[str, Leg | None],
        gate: Gate | None,
        lines: Sequence[Line],
        risk: RiskParams,
        manager: ManagerParams | None = None,
    ) -> None:
        self.reader, self.legs, self.gate = reader, dict(legs), gate
        self.lines, self.risk, self._manager = tuple(lines), risk, manager
        self._traded = legs_traded(lines)
        self.wishes: dict[str, Sequence[Wish]] = dict.fromkeys(self.legs, ())
        self.sides = [Sides() for _ in self.legs]
        self.memory: LegMemory = new_memory(len(self.legs), reader.n_symbols)
        self.open: list[tuple[int, Bundle]] = []  #: leg and columns of hedges that were wanted last
        self._places: tuple[Layout, list[int], list[tuple[tuple[int, Bundle], int]]] = (layout_of([]), [], [])

    def places(self) -> tuple[Layout, list[int], list[tuple[tuple[int, Bundle], int]]]:
        """The layout of all wishes so far, the pair that each bundle is (-1 for none), and the hedges and where they
        begin: found anew where a leg has wished for something new.
        """
        if len(self._places[0].columns) != sum(sides.n for sides in self.sides):
            layout, pair_of, hedges, before = layout_of([list(sides.firsts) for sides in self.sides]), [], [], 0
            for leg, sides in enumerate(self.sides):
                for bundle, first in sides.firsts.items():
                    pair_of.append(self.reader.columns.index(bundle) if bundle in self.reader.columns else -1)
                    if len(bundle) > 1:
                        hedges.append(((leg, bundle), before + first))
                before += sides.n
            self._places = layout, pair_of, hedges
        return self._places

    def decide(
        self, closes: Sequence[float], advice: Advice | None = None, held: Sequence[float] | None = None
    ) -> Decision:
        """Decision at the close of a bar; closes (N,), NaN where a symbol has no bar; the rest as in `settle`."""
        return self.settle(self.opine(closes), advice, held)

    def tell(self, facts: GuardFacts | None) -> None:
        """Show the account at a close that is to be traded to the legs that look at it; None where it is not."""
        for leg in self.legs.values():
            if looks_at_account(leg):
                leg.told(facts)  # type: ignore[union-attr]

    def opine(self, closes: Sequence[float]) -> Opinion:
        """Step every memory over the close of a bar and ask each part."""
        return self.opine_on(self.reader.read(closes))

    def opine_on(self, view: View) -> Opinion:
        """Ask each part about a bar that the reader has read."""
        n, failures, before = len(view.traded), list[str](), self.wishes.copy()
        for name, leg in self.legs.items():
            if leg is not None:
                self.wishes[name] = asked(name, failures, before[name], answer, leg, view, n)
        r = asked("gate", failures, 0.0, self.gate.score, view) if self.gate else 0.0
        laid = map(Sides.laid, self.sides, self.wishes.values())
        amounts = [amount for of_leg in laid for amount in of_leg]
        layout, pair_of, hedges = self.places()
        was, self.open = self.open, [key for key, k in hedges if any(amounts[k : k + len(key[1])])]
        closed = [key for key in was if key not in self.open and all(view.traded[i] for i in key[1])]
        risks, sds = [0.0] * len(self.legs), [pair.innovation_sd for pair in view.pairs]
        seen = Seen([view.closes], [view.volatility], [view.correlation], [sds])
        risk_bars(self.memory, seen, [amounts], layout, pair_of, [risks])
        positions = [0.0] * len(view.pairs)
        for key, k in hedges:
            if key[1] in self.reader.columns:
                positions[self.reader.columns.index(key[1])] += amounts[k]
        directions = [1.0 if amount > 0.0 else -1.0 if amount < 0.0 else 0.0 for amount in positions]
        targets = [list(wanted) for wanted in self.memory.wanted]
        ties = [key for key, _ in hedges if key in self.open or key in closed]
        return Opinion(view, targets, amounts, layout, ties, directions, risks, r, tuple(failures))

    def settle(self, opinion: Opinion, advice: Advice | None = None, held: Sequence[float] | None = None) -> Decision:
        """Mix and limit, and take away what documents advise against; remembers nothing.

        Parameters
        ----------
        advice : Advice, optional
            What documents say at this close.
        held : (N,) sequence of float, optional
            The last final targets; nothing by default.
        """
        plain = self._mixed(opinion, opinion.regime)
        if advice is None or self._manager is None:
            return plain
        r = blend(opinion.regime, advice, self._manager)
        moved = plain if r == opinion.regime else _capped(self._mixed(opinion, r), plain)
        hedges = [columns for leg, columns in opinion.ties if self._traded[leg]]
        factors, sources = multipliers(moved.target, held or [0.0] * len(moved.target), hedges, advice, self._manager)
        managed = Managed(advice, r, moved.target, factors, sources)
        sides = reduce(moved.sides, [factors[column] for column in opinion.layout.columns])
        target = reduce(moved.target, factors)
        return moved._replace(regime=opinion.regime, target=target, sides=sides, managed=managed)

    def _mixed(self, opinion: Opinion, r: float) -> Decision:
        view, targets, risk = opinion.view, opinion.targets, self.risk
        if risk.bars_per_year != view.bars_per_year:
            risk = risk._replace(bars_per_year=view.bars_per_year)
        n, n_legs = len(view.traded), len(targets)
        out = Settled([0.0] * n, [0.0] * len(opinion.amounts), [0.0] * n_legs)
        amounts, shares = opinion.amounts, leg_shares(r, self.lines)
        if shares[0] not in (0.0, 1.0):
            amounts, base = _leaned(opinion, shares[0])
            shares, targets = (1.0, *shares[1:]), [base, *targets[1:]]
        said = Said(amounts, opinion.risks, view.volatility, view.correlation)
        scale = settle_bar(out, said, opinion.layout, shares, risk, [0.0] * n)
        target, sides, weights = out
        fused = [0.0] * n
        for weight, wanted in zip(weights, targets, strict=True):
            fused = [mixed + weight * amount for mixed, amount in zip(fused, wanted, strict=True)]
        tied = [columns for leg, columns in opinion.ties if self._traded[leg]]
        together = joined(n, tied) if tied else ()
        waits = waiting_symbols(view.traded, together)
        legs, parts = dict(zip(self.legs, targets, strict=True)), dict(zip(self.legs, weights, strict=True))
        return Decision(opinion, legs, parts, r, fused, list(target), list(sides), scale, together, waits)


def _leaned(opinion: Opinion, share: float) -> tuple[list[float], list[float]]:
    """All wishes, (S,), with those of the base as r weighs them, and what the base wants of each symbol, (N,)."""
    volatility, layout = opinion.view.volatility, opinion.layout
    amounts, wanted, first = list(opinion.amounts), [0.0] * len(volatility), 0
    lean(amounts, opinion.amounts, volatility, layout, share)
    for leg, end in zip(layout.legs, layout.ends, strict=True):
        if leg > 0:
            break  # the base comes first
        for side in range(first, end):
            wanted[layout.columns[side]] += amounts[side]
        first = end
    return amounts, wanted


def looks_at_account(leg: object) -> bool:
    """Whether what a leg wants is no matter of bars alone."""
    return hasattr(leg, "told")


def answer(leg: Leg, view: View, n_symbols: int) -> Sequence[Wish]:
    """What a leg wants on a bar, checked."""
    return checked_wishes(leg.wishes(view), n_symbols)


def asked(name: str, failures: list[str], instead: Answer, ask: Callable[..., Answer], *given: object) -> Answer:
    """What a part answers; where it fails, `instead`, and a word in `failures`."""
    try:
        return ask(*given)
    except Exception as error:  # anything may go wrong in somebody's own part; it is named, counted and reported
        failures.append(f"{name}: {_said(error)}")
        return instead


def _said(error: Exception) -> str:
    if isinstance(error, HybridError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"


def _capped(moved: Decision, plain: Decision) -> Decision:
    """The mix at r', with no more gross exposure than the mix at r."""
    gross, most = (sum(map(abs, decision.target)) for decision in (moved, plain))
    if gross <= most:
        return moved
    cap = most / gross
    target, sides = ([cap * value for value in values] for values in (moved.target, moved.sides))
    return moved._replace(target=target, sides=sides)


def checked_wishes(wishes: Iterable[tuple[Sequence[int], Sequence[float]]], n_symbols: int) -> list[Wish]:
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
