"""Stack and risk manager under watch: everything that they know at a bar, as numbers.

The risk manager is audited by documents: one that becomes known later, or is altered later, moves nothing earlier.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from operator import not_
from typing import Any

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.legs import PairView
from hybrid_bt.brain.legs.base import Decision, Opinion, View
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies
from hybrid_bt.config.parts import NewsConfig
from hybrid_bt.config.task import Case
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.features import ASSET_FEATURES, MARKET_FEATURES, WARMUP_BARS, AssetState, MarketState
from hybrid_bt.equations.history import History
from hybrid_bt.evidence.audit.cerebros import Fill
from hybrid_bt.evidence.audit.replays import Check, cut_rows, last_rows
from hybrid_bt.evidence.audit.trace import NOBODY, Known, Trace, columns_of, numbers_of
from hybrid_bt.feeds.framework import Framework
from hybrid_bt.news import Document, clock_of, is_daily
from hybrid_bt.news.answers import Answers
from hybrid_bt.news.desk import Desk
from hybrid_bt.news.index import visible
from hybrid_bt.news.store import DocumentStore
from hybrid_bt.news.verdicts import RiskScorer
from hybrid_bt.strategies import HybridStrategy, KalmanHedge, SpreadFeeCommission

EVERY = 15  #: bars between cuts
OF_A_SYMBOL = ("risk read", "sentiment read", "multiplier", "final target")


class WatchedBrain(Hybrid):
    """Decides as the brain that it is made from, and lays each bar's numbers open."""

    def __init__(self, brain: Hybrid, symbols: Sequence[str], pairs: Sequence[str]) -> None:
        vars(self).update(vars(brain))
        self.symbols, self.pairs = tuple(symbols), tuple(pairs)
        self.known: list[Known] = []  #: of the last bar
        self.numbers = array("d")  #: of every bar so far

    def decide(
        self, closes: Sequence[float], advice: Advice | None = None, held: Sequence[float] | None = None
    ) -> Decision:
        """As `Hybrid.decide`."""
        decision = super().decide(closes, advice, held)
        positions = Known(["pair position"], self.pairs, decision.positions)
        views = seen(decision.view, self.symbols, self.pairs)
        self.known = [*self._memories(), positions, *views, *decided(decision, self.symbols)]
        self.numbers.extend(numbers_of(self.known))
        return decision

    def _memories(self) -> list[Known]:
        """Of all recursions, and of the gate."""
        reader, gate = self.reader, getattr(self.gate, "policy", None)
        memory: dict[str, Any] = getattr(gate, "state", dict)()
        cells = [cell for part in memory.values() for cell in np.ravel(part).tolist()]
        return [
            Known([f"recursion {field}" for field in AssetState._fields], self.symbols, reader.assets),
            *(_recursion(name, getattr(reader.market, name)) for name in MarketState._fields),
            Known([f"LSTM state {i}" for i in range(len(cells))], NOBODY, cells),
        ]


def _recursion(name: str, part: float | AssetState | History) -> Known:
    """A number of the market's memory, or several together."""
    if isinstance(part, float):
        return Known([f"market recursion {name}"], NOBODY, [part])
    return Known([f"market recursion {name}.{field}" for field in part._fields], NOBODY, part)


def seen(view: View, symbols: Sequence[str], pairs: Sequence[str], kind: str = "") -> list[Known]:
    """What all parts see at a close, or at every close of a panel."""
    return [
        Known([f"{kind}feature {name}" for name in ASSET_FEATURES], symbols, view.features),
        Known([f"{kind}feature {name}" for name in MARKET_FEATURES], NOBODY, view.market),
        Known([f"{kind}pair {field}" for field in PairView._fields], pairs, view.pairs),
        Known([f"{kind}volatility"], symbols, view.volatility),
        Known([f"{kind}correlation"], NOBODY, view.correlation),
    ]


def decided(decision: Decision, symbols: Sequence[str]) -> list[Known]:
    """What each part wanted, and what came of it."""
    mix = ("regime r", *(f"weight of {leg}" for leg in decision.weights), "scale of the base")
    targets = {f"leg target {leg}": wanted for leg, wanted in decision.legs.items()}
    targets |= {"fused target": decision.fused, "final target": decision.target}
    return [
        Known(mix, NOBODY, [decision.regime, *decision.weights.values(), decision.scale]),
        *(Known([name], symbols, wanted) for name, wanted in targets.items()),
    ]


class WatchedHybrid(HybridStrategy):
    """`HybridStrategy` with its brain laid open to the probe, and one indicator per pair whose feeds tick together.

    To look at the brain would end the path of opinions made ahead (`compiled`), so there it shows decisions alone.
    """

    params: Framework = (("hedges", ()),)

    def __init__(self, **unknown: Framework) -> None:
        super().__init__(**unknown)
        self._watched: WatchedBrain | None = None
        if not self.p.compiled:
            self.brain = self._watched = WatchedBrain(self.brain, self.symbols, self.pair_names)
        feeds = dict(zip(self.symbols, self.datas, strict=True))
        self.hedges = [KalmanHedge(*(feeds[side] for side in pair.split(":"))) for pair in self.p.hedges]

    def laid_open(self) -> list[Known]:
        """What the probe reads at the end of a bar."""
        decision: Framework = self.decision
        return self._watched.known if self._watched else decided(decision, self.symbols)

    def stop(self) -> None:
        super().stop()
        assert self._watched or self.session.decider.ahead, "the audit of opinions made ahead ran bar by bar"


def fill_with_hybrid(config: Config, policies: Policies, pairs: Sequence[str], *, ahead: bool = False) -> Fill:
    """Puts the whole stack into a Cerebro; training spans do not matter here, since no result is reported.

    Parameters
    ----------
    ahead : bool
        With opinions made ahead, which needs numba, instead of bar by bar under watch.
    """

    def fill(cerebro: Framework, bars: Bars) -> None:
        whole = {symbol for symbol in bars.symbols if bars.traded[:, bars.index_of(symbol)].all()}
        cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
        cerebro.addstrategy(
            WatchedHybrid,
            compiled=ahead,
            config=config,
            policies=policies,
            pairs=tuple(pairs),
            hedges=tuple(pair for pair in pairs if not ahead and whole.issuperset(pair.split(":"))),
            allow_in_sample=True,
        )

    return fill


def _altered(document: Document, number: int) -> Document:
    sha256 = hashlib.sha256(f"{document.sha256} {number}".encode()).hexdigest()
    return document._replace(text=f"bankruptcy fraud panic crash {number}", sha256=sha256)


def _doubled(documents: Sequence[Document]) -> list[Document]:
    """Each with a copy about the market, of other words."""
    copies = (_altered(one, -1 - i)._replace(id=f"{one.id}+{i}", symbols=()) for i, one in enumerate(documents))
    return [*copies, *documents]


#: what happens to the documents that are not known yet at a cut
CHANGES: dict[str, Callable[[Sequence[Document]], list[Document]]] = {
    "documents cut": lambda later: [],
    "documents altered": lambda later: [_altered(one, i) for i, one in enumerate(later)],
    "documents added": _doubled,
}


def audit_documents(stack: Case, documents: Sequence[Document], scorer: RiskScorer, every: int = EVERY) -> Check:
    """Replay the risk manager on stores with another future.

    Parameters
    ----------
    documents : sequence of Document
        The last of them should fall on the bars of the stack.
    every : int
        Bars between cuts.
    """
    brain, whole = stack.brain(), stack.market.bars
    opinions = [brain.opine(closes) for closes in whole.close.tolist()]
    bars = last_rows(whole, max(whole.n_bars - WARMUP_BARS, 1))
    check = Check("documents", bars=bars.n_bars)
    run = partial(_trace, stack.config.news, bars, brain, opinions[-bars.n_bars :], scorer)
    full = run(documents)
    moments = visible(documents).tolist()
    cutoffs = clock_of(stack.config.news, is_daily(bars.stamps)).cutoffs(bars.stamps)
    for row in cut_rows(1, bars.n_bars, every):
        known = [moment <= cutoffs[row - 1] for moment in moments]
        earlier, later = list(compress(documents, known)), list(compress(documents, map(not_, known)))
        for how, change in CHANGES.items():
            check.compare(how, full, partial(run, [*change(later), *earlier]), cut=bars.stamps[row])
    return check


def _trace(
    news: NewsConfig, bars: Bars, brain: Hybrid, said: list[Opinion], scorer: RiskScorer, documents: Sequence[Document]
) -> Trace:
    """Everything that the risk manager knows and does on each bar."""
    store = DocumentStore()
    store.add(documents)
    stage = Desk(store, Answers(scorer), news, bars.symbols).stage(bars.stamps, 0)
    rows, held = [], [0.0] * bars.n_symbols
    for stamp, opinion in zip(bars.stamps.astype("datetime64[us]").tolist(), said, strict=True):
        advice = stage.advise(stamp)
        decision = brain.settle(opinion, advice, held)
        held = decision.target
        assert decision.managed is not None
        read = advice.risk, advice.sentiment, decision.managed.multipliers, held
        known = [Known([name], bars.symbols, values) for name, values in zip(OF_A_SYMBOL, read, strict=True)]
        known.append(Known(["regime r'", "no new risk"], NOBODY, [decision.managed.regime, advice.no_new_risk]))
        rows.append(numbers_of(known))
    return Trace(columns_of(known), np.array(rows), bars.stamps)
