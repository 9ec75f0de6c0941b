"""Who advises: what is new to read at a bar, the request that it makes, the verdict, and for how long that stands.

A request depends on documents and on the clock alone, never on prices, policies or the account. So a verdict that was
recorded once serves every configuration, and a backtest can have all of them before its first bar.

A verdict fades: the excess of a risk over the neutral 3 is halved every `half_life_bars`, and forgotten after
`memory_bars`. A symbol's risk is its own or the market's, whichever is higher.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account import collector_paused
from hybrid_bt.config import Config
from hybrid_bt.config.parts import NewsConfig
from hybrid_bt.equations.advice import NEUTRAL_RISK, Advice
from hybrid_bt.errors import NewsError
from hybrid_bt.news import US_PER_DAY, clock_of, is_daily, say_us
from hybrid_bt.news.answers import Answers, Asked, Recorded, RiskSetup, answers_of
from hybrid_bt.news.embeddings import EMBEDDINGS, EmbeddingRanker
from hybrid_bt.news.index import BM25, Selected, index_of
from hybrid_bt.news.store import SAMPLE, DocumentStore, documents_named
from hybrid_bt.news.verdicts import MARKET, SCHEMA_VERSION, Passage, RiskRequest

#: what reports call documents
SAMPLE_NAME, UNNAMED = "the embedded sample", "documents in memory"


@collector_paused()  # a store of many documents is many tuples and no cycles
def open_desk(setup: RiskSetup, config: NewsConfig, symbols: Sequence[str]) -> Desk:
    """A desk for these symbols.

    Raises
    ------
    HybridError
        If documents, scorer or recorded verdicts cannot be used.
    """
    name = SAMPLE_NAME if setup.news == SAMPLE else setup.news
    return Desk(documents_named(setup.news), answers_of(setup), config, symbols, name)


class Desk:
    """Answers what the bars of any run ask about `symbols`; documents about others are not read."""

    def __init__(
        self, store: DocumentStore, answers: Answers, config: NewsConfig, symbols: Sequence[str], name: str = UNNAMED
    ) -> None:
        self.answers, self.config, self.symbols, self.name = answers, config, tuple(symbols), name
        self.index = index_of(store, EmbeddingRanker(store) if config.retrieval == EMBEDDINGS else None)
        self._store, self._quoted = store, {name: json.dumps(name) for name in (MARKET, *symbols)}
        self._alone = threading.Lock()  # questions may be put by several threads, the database is one

    def stage(self, stamps: NDArray[np.datetime64], row: int) -> RiskStage:
        """The stage of a backtest on bars with these stamps, traded from `row` on, all verdicts at hand."""
        stage = RiskStage(self, is_daily(stamps))
        stage.prepare(stamps[row:])
        return stage

    def trial(self, config: Config) -> dict[str, Any]:
        """What makes a run with these documents another trial than one without, or with others."""
        asked = {"scorer": self.answers.scorer, "documents_sha256": self.index.sha256}
        return config.sections()["news"] | asked

    def verdicts(self, cutoffs: Sequence[int], since: int | None = None) -> dict[int, tuple[Selected, Recorded] | None]:
        """Of bars by their cutoffs, what was new since the one before, and the verdict on it; None where nothing was.

        `since` is the cutoff before the first, as in `DocumentIndex.select`.
        """
        window, k = round(self.config.window_days * US_PER_DAY), self.config.documents
        selected = self.index.select(cutoffs, self.symbols, k, window, since)
        answers = self.answers.answer([self._asked(documents, cutoffs[row]) for row, documents in selected.items()])
        answered = zip((cutoffs[row] for row in selected), selected.values(), answers, strict=True)
        return dict.fromkeys(cutoffs) | {cutoff: (documents, answer) for cutoff, documents, answer in answered}

    def _asked(self, selected: Selected, cutoff: int) -> Asked:
        content = self.index.content
        parts = []  # json.dumps of everything, the long way round: a backtest has hundreds of thousands of contents
        for name, places in selected:
            joined = '","'.join(map(content, places))
            parts.append(f'[{self._quoted[name]},["{joined}"]]')
        head = [SCHEMA_VERSION, self.answers.scorer, cutoff, self.config.document_chars]
        # the default stands in no key, so that earlier recordings stay good
        ranked = "" if self.index.retrieval == BM25 else f",{json.dumps(self.index.retrieval)}"
        whole = f"{json.dumps(head, separators=(',', ':'))[:-1]},[{','.join(parts)}]{ranked}]"
        key = hashlib.sha256(whole.encode()).hexdigest()
        return Asked(key, say_us(cutoff), lambda: self._request(selected, cutoff))

    def _request(self, selected: Selected, cutoff: int) -> RiskRequest:
        with self._alone:
            documents = {name: tuple(map(self._passage, places)) for name, places in selected}
        return RiskRequest(say_us(cutoff), documents)

    def _passage(self, place: int) -> Passage:
        one = self._store.get(self.index.ids[place])
        return Passage(one.id, say_us(one.published_at), one.source, one.title, one.text[: self.config.document_chars])


class _Standing(NamedTuple):
    """A verdict on one symbol, or on the market, that still stands."""

    risk: float
    sentiment: float
    row: int  #: bar that it was made on
    reason: str
    documents: str


_NOTHING = _Standing(NEUTRAL_RISK, 0.0, -(10**9), "", "")


class RiskStage:
    """Gives the advice for each bar of one run, in order; `daily` are bars that are stamped with dates alone."""

    def __init__(self, desk: Desk, daily: bool) -> None:
        self.desk, self._clock, self._config = desk, clock_of(desk.config, daily), desk.config
        self._planned: dict[int, tuple[Selected, Recorded] | None] = {}
        self._standing = dict.fromkeys((MARKET, *desk.symbols), _NOTHING)
        self._regime = (0.0, 0.0, -(10**9))  # r, confidence, row
        self._veto, self._row = (-1, ""), -1  # last row of it, reason; this one
        #: what is left of a verdict by its age in bars
        self._fading = [float(0.5 ** (age / self._config.half_life_bars)) for age in range(self._config.memory_bars)]
        self._last: int | None = None
        self.reasons = Counter[str]()  #: bars that failed, by why
        self.counts = {"bars": 0, "bars_with_documents": 0, "documents_read": 0, "failures": 0, "vetoes": 0}

    def prepare(self, stamps: NDArray[np.datetime64]) -> None:
        """Ask about all bars of a backtest at once; what each is told does not change by it."""
        self._planned = self.desk.verdicts(self._clock.cutoffs(stamps))

    def advise(self, stamp: datetime) -> Advice:
        """What documents say at the close of a bar, by its stamp, without zone.

        Raises
        ------
        NewsError
            If it is not later than that of the call before.
        """
        # Backtrader keeps moments as floats of days, which are exact to some 10 microseconds
        whole = (stamp + timedelta(seconds=0.5)).replace(microsecond=0)
        cutoff = self._clock.cutoff(whole)
        if self._last is not None and cutoff <= self._last:
            raise NewsError(f"news: the bar of {stamp} comes after a later one; give each run a stage of its own")
        self._row += 1
        if cutoff not in self._planned:
            self._planned |= self.desk.verdicts([cutoff], self._last)
        found = self._planned.pop(cutoff)  # asked for once
        self._last = cutoff
        self.counts["bars"] += 1
        failed = self._take(*found) if found is not None else None
        return self._advice(failed)

    def facts(self) -> dict[str, Any]:
        """What `run.json` says of the documents and of what was made of them."""
        desk, index = self.desk, self.desk.index
        counts = {**self.counts, "failures_by_reason": dict(self.reasons.most_common(20))}
        return {
            "documents": {
                "store": desk.name,
                "sha256": index.sha256,
                "documents": len(index),
                "without_first_seen_at": index.n_unseen,
                "about_other_symbols": sorted(index.symbols - set(desk.symbols))[:20],
                "retrieval": index.retrieval,
                "symbols_without_documents": sorted(set(desk.symbols) - index.symbols),
            },
            "risk_manager": {"scorer": desk.answers.scorer, **counts, "answers": desk.answers.counts},
        }

    def notes(self) -> list[str]:
        """What every reader of the result must see."""
        counts, desk = self.counts, self.desk
        read = f"{desk.answers.scorer} read {desk.name}, new documents on {counts['bars_with_documents']}"
        notes = [f"Risk manager: {read} of {counts['bars']} bars; the account risk-off is the same hybrid without it."]
        if desk.name == SAMPLE_NAME:
            notes.append("The embedded documents were chosen in hindsight: with them the risk manager proves nothing.")
        if desk.index.n_unseen:
            unseen = f"{desk.index.n_unseen} of {len(desk.index)} documents have no first_seen_at"
            notes.append(f"{unseen} and count as known one trading day after their publication.")
        if counts["failures"]:
            did = "took no new risk" if self._config.on_failure == "no_new_risk" else "went on without a verdict"
            notes.append(f"The scorer failed on {counts['failures']} bars, which {did}; {self.chief_reason()}")
        return notes

    def chief_reason(self) -> str:
        """Why most bars failed, of those that did."""
        return "on {1} of them: {0}".format(*self.reasons.most_common(1)[0])

    def _take(self, selected: Selected, answer: Recorded) -> str | None:
        """Let a verdict stand; why it failed, if it did."""
        self.counts["bars_with_documents"] += 1
        self.counts["documents_read"] += len({place for _, places in selected for place in places})
        verdict = answer.verdict
        if verdict is None:
            self.counts["failures"] += 1
            self.reasons[str(answer.failed)] += 1
            return answer.failed
        cited, ids_of = set(verdict.documents), self.desk.index.ids
        for name, places in selected:
            risk = verdict.market if name == MARKET else verdict.symbols[name]
            ids = [ids_of[place] for place in places]
            said = " ".join([one for one in ids if one in cited] or ids)
            self._standing[name] = _Standing(risk.risk, risk.sentiment, self._row, verdict.reason, said)
        if verdict.confidence > 0.0:
            self._regime = verdict.regime, verdict.confidence, self._row
        if verdict.veto:
            self.counts["vetoes"] += 1
            self._veto = self._row + self._config.veto_bars - 1, f"veto: {verdict.reason}"
        return None

    def _advice(self, failed: str | None) -> Advice:
        market = self._standing[MARKET]
        of_market = (market.risk - NEUTRAL_RISK) * self._left(market.row)
        risk, sentiment, reasons, documents = [], [], [], []
        for name in self.desk.symbols:
            mine = self._standing[name]
            left = self._left(mine.row)
            own = (mine.risk - NEUTRAL_RISK) * left
            leading = market if of_market > max(own, 0.0) else mine
            excess = max(own, of_market) if of_market > 0.0 else own
            told = leading.row == self._row or excess > 0.0
            risk.append(NEUTRAL_RISK + excess)
            sentiment.append(mine.sentiment * left)
            reasons.append(leading.reason if told else "")
            documents.append(leading.documents if told else "")
        r, confidence, row = self._regime
        until, veto = self._veto
        ban = f"scorer failed: {failed}" if failed is not None else veto if self._row <= until else None
        if ban is not None:
            reasons = [ban] * len(reasons)
        no_new_risk = ban is not None and (failed is None or self._config.on_failure == "no_new_risk")
        return Advice(risk, sentiment, r, confidence * self._left(row), no_new_risk, reasons, documents)

    def _left(self, row: int) -> float:
        """What is left of a verdict of an earlier bar, [0, 1]."""
        age = self._row - row
        return self._fading[age] if age < len(self._fading) else 0.0
