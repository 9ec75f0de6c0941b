"""The audit of documents: one that becomes known later, or is altered later, moves nothing earlier."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import compress
from operator import not_

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.legs.base import Opinion
from hybrid_bt.config import Config
from hybrid_bt.config.task import Task
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.evidence.audit.replays import Check, cut_rows, last_rows
from hybrid_bt.evidence.audit.trace import NOBODY, Known, Trace, columns_of, numbers_of
from hybrid_bt.news.answers import Answers
from hybrid_bt.news.desk import Desk
from hybrid_bt.news.documents import Document, clock_of, is_daily
from hybrid_bt.news.index import UNKNOWN, visible_at
from hybrid_bt.news.store import DocumentStore
from hybrid_bt.news.verdicts import RiskScorer

EVERY = 15  #: bars between cuts
OF_A_SYMBOL = ("risk read", "sentiment read", "multiplier", "final target")


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


def audit_documents(stack: Task, documents: Sequence[Document], scorer: RiskScorer, every: int = EVERY) -> Check:
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
    check = Check("documents", bars.n_bars)

    def run(known: Sequence[Document]) -> Trace:
        return _trace(stack.config, bars, brain, opinions[-bars.n_bars :], known, scorer)

    full = run(documents)
    published = np.array([one.published_at for one in documents], dtype=np.int64)
    first_seen = [UNKNOWN if one.first_seen_at is None else one.first_seen_at for one in documents]
    moments = visible_at(published, np.array(first_seen, dtype=np.int64)).tolist()
    cutoffs = clock_of(stack.config.news, is_daily(bars.stamps)).cutoffs(bars.stamps)
    for row in cut_rows(1, bars.n_bars, every):
        known = [moment <= cutoffs[row - 1] for moment in moments]
        earlier, later = list(compress(documents, known)), list(compress(documents, map(not_, known)))
        for how, change in CHANGES.items():
            check.compare(how, full, run([*change(later), *earlier]), cut=bars.stamps[row])
    return check


def _trace(
    config: Config,
    bars: Bars,
    brain: Hybrid,
    opinions: Sequence[Opinion],
    documents: Sequence[Document],
    scorer: RiskScorer,
) -> Trace:
    """Everything that the risk manager knows and does on each bar."""
    store = DocumentStore()
    store.add(documents)
    stage = Desk(store, Answers(scorer), config.news, bars.symbols).stage(bars.stamps, 0)
    rows, held = [], [0.0] * bars.n_symbols
    for stamp, opinion in zip(bars.stamps.astype("datetime64[us]").tolist(), opinions, strict=True):
        advice = stage.advise(stamp)
        decision = brain.settle(opinion, advice, held)
        held = decision.target
        assert decision.managed is not None
        read = advice.risk, advice.sentiment, decision.managed.multipliers, held
        known = [Known([name], bars.symbols, values) for name, values in zip(OF_A_SYMBOL, read, strict=True)]
        known.append(Known(["regime r'", "no new risk"], NOBODY, [decision.managed.regime, advice.no_new_risk]))
        rows.append(numbers_of(known))
    return Trace(columns_of(known), np.array(rows), bars.stamps)
