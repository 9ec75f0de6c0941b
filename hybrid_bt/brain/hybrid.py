"""The brain: closes in, decision out. It knows no broker, no order and no framework.

a = sum_l w_l(r) a_l = w_SAC(r) a_SAC + w_Kalman(r) a_Kalman + ...,   then limits, then what the risk manager takes away
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from hybrid_bt.brain.legs.base import Decision, Leg, Opinion, View, Wish, check_closes
from hybrid_bt.brain.legs.sac import Gate
from hybrid_bt.equations import features, pair
from hybrid_bt.equations.advice import Advice, Managed, ManagerParams, blend, multipliers, reduce
from hybrid_bt.equations.fusion import MixParams, RiskParams, legs_traded, settled
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import SpreadParams
from hybrid_bt.equations.waiting import Bundle, open_bundles, tied_bundles, waiting_symbols
from hybrid_bt.errors import HybridError, LegError

Answer = TypeVar("Answer")


class MarketReader:
    """Drives the recursions of all assets and pairs (y, x) from one bar to the next.

    `bars_per_year`, which views name, may be set anew between bars.
    """

    def __init__(
        self,
        n_symbols: int,
        pairs: Sequence[tuple[int, int]],
        kalman_params: Sequence[KalmanParams],
        spread_params: SpreadParams,
        bars_per_year: float = 252.0,
    ) -> None:
        self.n_symbols, self.columns = n_symbols, [(int(y), int(x)) for y, x in pairs]
        self.kalman_params, self.spread_params = list(kalman_params), spread_params
        self.rates = pair.rates_of(spread_params)
        self.bars_per_year = bars_per_year
        #: (N,) pairs that each asset is a side of
        self.n_pairs_of = [sum(i in sides for sides in self.columns) for i in range(n_symbols)]
        self.assets = [features.initial_asset()] * n_symbols
        self.market = features.initial_market()
        self.pairs = [pair.first_pair(y, x, params) for (y, x), params in zip(self.columns, kalman_params, strict=True)]

    def anew(self) -> MarketReader:
        """A reader of the same pairs and parameters that has seen nothing."""
        return MarketReader(self.n_symbols, self.columns, self.kalman_params, self.spread_params, self.bars_per_year)

    def read(self, closes: Sequence[float]) -> View:
        """Absorb the closes of one bar, (N,), NaN where a symbol has no bar."""
        logs = [math.log(close) if 0.0 < close < math.inf else math.nan for close in closes]
        traded = [log == log for log in logs]
        if not all(traded):
            check_closes(closes)
        self.market = market = features.absorb_bar(logs, traded, self.assets, self.market)
        pair.absorb_bar(self.pairs, logs, self.kalman_params, self.rates)
        zscores = [0.0] * len(logs)
        stretch = pair.pair_zscores(self.pairs, self.n_pairs_of, zscores)
        seen = features.seen_of(self.assets, market, zscores, stretch)
        return View(closes, traded, *seen, [*map(pair.pair_view, self.pairs)], self.bars_per_year)


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
        self._mix, self._risk, self._manager = fusion, risk, manager
        self._traded = legs_traded(fusion)
        self._untied: list[Sequence[Bundle]] = [()] * len(self.legs)
        self.wishes: dict[str, Sequence[Wish]] = dict.fromkeys(self.legs, ())

    @property
    def open(self) -> list[list[Bundle]]:
        """Bundles of several assets that each leg held open last."""
        return [open_bundles(wishes) for wishes in self.wishes.values()]

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
        n, failures, ties = len(view.traded), list[str](), self._untied
        before = self.wishes.copy()
        for name, leg in self.legs.items():
            if leg is not None:
                self.wishes[name] = asked(name, failures, before[name], answer, leg, view, n)
        r = asked("gate", failures, 0.0, self.gate.score, view) if self.gate else 0.0
        if not all(view.traded):
            pairs = zip(before.values(), self.wishes.values(), strict=True)
            ties = [tied_bundles(open_bundles(was), open_bundles(now), view.traded) for was, now in pairs]
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
        risk = self._risk
        if risk.bars_per_year != view.bars_per_year:
            risk = risk._replace(bars_per_year=view.bars_per_year)
        weights, fused, target, scale = settled(r, targets, view.volatility, view.correlation, self._mix, risk)
        waits = waiting_symbols(view.traded, ties, self._traded) if any(ties) else ()
        legs, parts = dict(zip(self.legs, targets, strict=True)), dict(zip(self.legs, weights, strict=True))
        return Decision(legs, parts, positions, r, fused, target, scale, view, waits, ties, failures)


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
    return moved._replace(target=[cap * target for target in moved.target], scale=cap * moved.scale)


def netted(wishes: Iterable[Wish], n_symbols: int) -> list[float]:
    """What the wishes come to for each symbol, (N,)."""
    targets = [0.0] * n_symbols
    for columns, amounts in wishes:
        for column, amount in zip(columns, amounts, strict=True):
            targets[column] += amount
    return targets


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
