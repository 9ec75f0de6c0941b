"""From a bar to a verdict: the documents that are new, the request they make, and the answer to it.

A request depends on documents and on the clock alone, never on prices, policies or the account. So a verdict that was
recorded once serves every configuration, and a backtest can have all of them before its first bar.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.config import Config
from hybrid_bt.config_parts import NewsConfig
from hybrid_bt.news.answers import Answers, Asked, Failed
from hybrid_bt.news.clock import clock_of, is_daily
from hybrid_bt.news.documents import US_PER_DAY, say_us
from hybrid_bt.news.index import BM25, DocumentIndex, Selected
from hybrid_bt.news.stage import RiskStage
from hybrid_bt.news.store import DocumentStore
from hybrid_bt.news.verdicts import MARKET, SCHEMA_VERSION, Passage, RiskRequest, RiskVerdict


class Desk:
    """Answers what the bars of any run ask.

    Parameters
    ----------
    store, index : DocumentStore, DocumentIndex
    answers : Answers
    config : NewsConfig
    symbols : sequence of str
        That are traded; documents about others are not read.
    name : str
        Of the documents, in reports.
    """

    def __init__(
        self,
        store: DocumentStore,
        index: DocumentIndex,
        answers: Answers,
        config: NewsConfig,
        symbols: Sequence[str],
        name: str = "documents in memory",
    ) -> None:
        self.store, self.index, self.answers, self.config = store, index, answers, config
        self.symbols, self.name = tuple(symbols), name
        self.is_sample = False  #: the documents are the embedded ones
        self._quoted = {name: json.dumps(name) for name in (MARKET, *symbols)}
        self._known: dict[str, RiskVerdict | Failed] = {}
        self._alone = threading.Lock()  # questions may be put by several threads, the database is one

    def stage(self, stamps: NDArray[np.datetime64], row: int) -> RiskStage:
        """The stage of a backtest on bars with these stamps, traded from `row` on, all verdicts at hand."""
        stage = RiskStage(self, clock_of(self.config, is_daily(stamps)))
        stage.prepare(stamps[row:])
        return stage

    def trial(self, config: Config) -> dict[str, Any]:
        """What makes a run with these documents another trial than one without, or with others."""
        asked = {"scorer": self.answers.scorer, "documents_sha256": self.index.sha256}
        return config.sections()["news"] | asked

    def select(self, cutoffs: Sequence[int], since: int | None = None) -> list[Selected]:
        """What is asked on bars with these cutoffs (`DocumentIndex.select`)."""
        window = round(self.config.window_days * US_PER_DAY)
        return self.index.select(np.asarray(cutoffs, np.int64), self.symbols, self.config.documents, window, since)

    def verdicts(self, selected: Sequence[Selected], cutoffs: Sequence[int]) -> list[RiskVerdict | Failed]:
        """One verdict per selected bar; the same question is asked once."""
        asked = [self._asked(one, cutoffs[one.row]) for one in selected]
        fresh = list({one.key: one for one in asked if one.key not in self._known}.values())
        self._known.update(zip((one.key for one in fresh), self.answers.answer(fresh), strict=True))
        return [self._known[one.key] for one in asked]

    def _asked(self, selected: Selected, cutoff: int) -> Asked:
        content = self.index.content
        parts = []  # json.dumps of everything, the long way round: a backtest has hundreds of thousands of contents
        for name, places in selected.documents:
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
            documents = {name: tuple(map(self._passage, places)) for name, places in selected.documents}
        return RiskRequest(say_us(cutoff), documents)

    def _passage(self, place: int) -> Passage:
        one = self.store.get(int(self.index.number[place]))
        text = one.text[: self.config.document_chars]
        return Passage(one.id, say_us(one.published_at), one.source, one.title, text)
