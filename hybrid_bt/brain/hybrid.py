"""The brain: closes in, decision out. It knows no broker, no order and no framework.

a = sum_l w_l(r) a_l = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman + ...,   then limits, then what the risk manager takes away
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hybrid_bt.brain.gate import Gate
from hybrid_bt.brain.legs.base import Leg, View, Wish, checked_wishes, netted
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.equations.advice import Advice, Managed, ManagerParams, blend, multipliers, reduce
from hybrid_bt.equations.fusion import MixParams, leg_weights, legs_traded, mix_into
from hybrid_bt.equations.risk import RiskParams, limit
from hybrid_bt.equations.waiting import Bundle, open_bundles, tied_bundles, waiting_symbols
from hybrid_bt.errors import HybridError

Answer = TypeVar("Answer")


class Opinion(NamedTuple):
    """What each part said at a close, before anything was mixed: it depends on bars alone."""

    view: View
    targets: Sequence[Sequence[float]]  #: (L, N) of each leg, netted, signed fractions of equity
    ties: Sequence[Sequence[Bundle]]  #: (L,) bundles that trade as a whole; looked at where a symbol has no bar
    positions: Sequence[float]  #: (P,) +1 long y and short x, -1 the reverse, 0 flat
    regime: float  #: r in [-1, 1]
    failures: tuple[str, ...] = ()  #: what parts did wrong


class Decision(NamedTuple):
    """What each part wanted at a close, and what is to be held; targets are signed fractions of equity."""

    legs: dict[str, Sequence[float]]  #: leg -> (N,)
    weights: dict[str, float]  #: leg -> its part in the mix
    positions: Sequence[float]  #: (P,) direction in which each pair is held
    regime: float
    fused: list[float]  #: (N,)
    target: list[float]  #: (N,) after limits
    scale: float
    view: View
    waits: Sequence[bool] = ()  #: (N,) what is held is kept on this bar, whatever the target; empty for nobody
    ties: Sequence[Sequence[Bundle]] = ()  #: as in `Opinion`
    failures: tuple[str, ...] = ()  #: what parts did wrong on this bar
    managed: Managed | None = None  #: what the risk manager did; None where it was not asked
    wanted: list[float] | None = None  #: (N,) `target` before the guard; None where no guard stood behind it
    guard: int = 0  #: rules of `hybrid_bt.equations.guard` that changed it, as a mask


class Hybrid:
    """Legs, a gate, a mix and limits.

    A part that fails (an exception, or an answer that it may not give) cannot bring a run down: the failure is noted in
    the opinion, a leg is taken to want what it wanted last, and r is 0. The guard then moves the account to its rule.

    Parameters
    ----------
    reader : MarketReader
    legs : mapping
        Name -> leg, in the order of the weights of `fusion`; None where it is switched off.
    gate : Gate or None
        Without a gate r is 0.
    manager : ManagerParams, optional
        Of the risk manager; needed where decisions are made under an `Advice`.

    Attributes
    ----------
    wishes : dict
        What each leg wanted last.
    open : list
        Bundles of several assets that each leg held open last.
    """

    def __init__(
        self,
        reader: MarketReader,
        legs: Mapping[str, Leg | None],
        gate: Gate | None,
        fusion: MixParams,
        risk: RiskParams,
        manager: ManagerParams | None = None,
    ) -> None:
        self.reader, self.legs, self.gate = reader, dict(legs), gate
        self._fusion, self._risk, self._manager = fusion, risk, manager
        self._traded = legs_traded(fusion)
        self.wishes: dict[str, Sequence[Wish]] = {name: () for name in self.legs}
        self.open: list[Sequence[Bundle]] = [()] * len(self.legs)

    def decide(
        self, closes: Sequence[float], advice: Advice | None = None, held: Sequence[float] | None = None
    ) -> Decision:
        """Decision at the close of a bar; closes (N,), NaN where a symbol has no bar; the rest as in `settle`."""
        return self.settle(self.opine(closes), advice, held)

    def opine(self, closes: Sequence[float]) -> Opinion:
        """Step every memory over the close of a bar and ask each part."""
        return self.opine_on(self.reader.read(closes))

    def opine_on(self, view: View) -> Opinion:
        """Ask each part about a bar that the reader has read."""
        n, failures = len(view.traded), list[str]()
        for name, leg in self.legs.items():
            if leg is not None:
                self.wishes[name] = asked(name, failures, self.wishes[name], answer, leg, view, n)
        r = asked("gate", failures, 0.0, self.gate.score, view) if self.gate else 0.0
        before, self.open = self.open, [open_bundles(wishes) for wishes in self.wishes.values()]
        ties = [tied_bundles(was, now, view.traded) for was, now in zip(before, self.open, strict=True)]
        targets = [netted(wishes, n) for wishes in self.wishes.values()]
        return Opinion(view, targets, ties, self._positions(), r, tuple(failures))

    def _positions(self) -> list[float]:
        if not self.reader.columns:
            return []
        held = dict.fromkeys(self.reader.columns, 0.0)
        for wishes in self.wishes.values():
            for columns, amounts in wishes:
                if columns in held:
                    held[columns] += amounts[0]
        return [1.0 if amount > 0.0 else -1.0 if amount < 0.0 else 0.0 for amount in held.values()]

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
        pairs = [pair for pair, held_so in zip(self.reader.columns, opinion.positions, strict=True) if held_so != 0.0]
        factors, sources = multipliers(moved.target, held or [0.0] * len(moved.target), pairs, advice, self._manager)
        managed = Managed(advice, r, moved.target, factors, sources)
        return moved._replace(regime=opinion.regime, target=reduce(moved.target, factors), managed=managed)

    def _mixed(self, opinion: Opinion, r: float) -> Decision:
        view, targets, ties, positions, _, failures = opinion
        weights = leg_weights(r, self._fusion)
        fused = [0.0] * len(view.traded)
        mix_into(fused, targets, weights)
        target, scale = limit(fused, view.volatility, view.correlation, self._risk_at(view.bars_per_year))
        waits = waiting_symbols(view.traded, ties, self._traded)
        legs, parts = dict(zip(self.legs, targets, strict=True)), dict(zip(self.legs, weights, strict=True))
        return Decision(legs, parts, positions, r, fused, target, scale, view, waits, ties, failures)

    def _risk_at(self, bars_per_year: float) -> RiskParams:
        risk = self._risk
        return risk if risk.bars_per_year == bars_per_year else risk._replace(bars_per_year=bars_per_year)


def answer(leg: Leg, view: View, n_symbols: int) -> Sequence[Wish]:
    """What a leg wants on a bar, checked."""
    return checked_wishes(leg.wishes(view), n_symbols)


def asked(name: str, failures: list[str], instead: Answer, ask: Callable[..., Answer], *given: Any) -> Answer:
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
    return moved._replace(target=[cap * target for target in moved.target], scale=cap * moved.scale)
