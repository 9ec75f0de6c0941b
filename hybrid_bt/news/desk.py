"""From a bar to a verdict: when its documents end, which of them are new, the request they make, and the answer to it.

A request depends on documents and on the clock alone, never on prices, policies or the account. So a verdict that was
recorded once serves every configuration, and a backtest can have all of them before its first bar.

A daily bar is stamped with its date alone and closes at a time of day in a zone, by default at 16:00 in New York, and
there not after 13:00 on days on which the exchange closes early. A bar within a day is stamped with its close, in a
zone of its own, by default UTC. Which of the two a panel has is asked once of all its stamps, for a bar of a day
stamped 00:00 is no daily bar.

The New York Stock Exchange closes early, at 13:00, on the day after Thanksgiving, the day before Christmas, and a day
beside July 4. Until 1992 such days closed at 14:00 or not early at all; some single days closed at other times after
13:00. All count as 13:00, and where the rule is not sure it says early: a document then waits for the next bar, and no
bar reads one from after its close.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.config import Config
from hybrid_bt.config.parts import NewsConfig
from hybrid_bt.errors import ConfigError
from hybrid_bt.news.answers import Answers, Asked, Recorded
from hybrid_bt.news.documents import EPOCH, US_PER_DAY, say_us
from hybrid_bt.news.embeddings import EMBEDDINGS, EmbeddingRanker
from hybrid_bt.news.index import BM25, Selected, index_of
from hybrid_bt.news.stage import RiskStage
from hybrid_bt.news.store import DocumentStore
from hybrid_bt.news.verdicts import MARKET, SCHEMA_VERSION, Passage, RiskRequest

SAMPLE_NAME = "the embedded sample"
US_PER_MINUTE = 60_000_000
EARLY_CLOSE = time(13)
NEW_YORK = frozenset({"America/New_York", "US/Eastern"})  #: names of the exchange's zone
WEDNESDAY, FRIDAY = 2, 4  #: of `date.weekday`
JULY_3_ON_WEDNESDAYS = 2013  #: first year in which July 3 closes early before a Thursday's holiday; July 5 did before
#: snow, snow, the fall of the day halted trading; three days beside holidays; a failure of the exchange's systems
_ONCE = "1994-02-11 1996-01-08 1997-10-27 1997-12-26 1999-12-31 2003-12-26 2005-06-01"
ONCE = frozenset(map(date.fromisoformat, _ONCE.split()))


class Clock(NamedTuple):
    """Turns stamps into the last moments at which a document could still be read; microseconds, UTC."""

    daily: bool
    close: time  #: of a daily bar
    zone: ZoneInfo  #: of that time, or of stamps within a day
    latency_us: int

    def cutoff(self, stamp: datetime) -> int:
        """Of the bar with this stamp (without zone)."""
        moment = stamp
        if self.daily:
            early = self.zone.key in NEW_YORK and closes_early(stamp.date())
            moment = datetime.combine(stamp.date(), min(self.close, EARLY_CLOSE) if early else self.close)
        return (moment.replace(tzinfo=self.zone).astimezone(UTC) - EPOCH) // datetime.resolution - self.latency_us

    def cutoffs(self, stamps: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """Of each bar, (T,)."""
        moments = stamps.astype("datetime64[us]").tolist()
        return np.array([self.cutoff(moment) for moment in moments], dtype=np.int64)


def clock_of(config: NewsConfig, daily: bool) -> Clock:
    """The clock of a configuration.

    Raises
    ------
    ConfigError
        If a zone is not known.
    """
    hour, minute = config.close_time.split(":")
    key = "time_zone" if daily else "stamp_zone"
    name = getattr(config, key)
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"news.{key}: no zone {name!r} is known; write one such as America/New_York") from None
    return Clock(daily, time(int(hour), int(minute)), zone, round(config.latency_minutes * US_PER_MINUTE))


def is_daily(stamps: NDArray[np.datetime64]) -> bool:
    """Whether all stamps are dates alone."""
    return bool((stamps.astype("datetime64[D]") == stamps).all())


def closes_early(day: date) -> bool:
    """Whether the exchange, if it is open on this day, may close before 16:00."""
    month, number, weekday = day.month, day.day, day.weekday()
    if month == 11:
        return weekday == FRIDAY and 23 <= number <= 29  # the fourth Thursday is the 22nd to the 28th
    if month == 12 and number == 24:
        return True
    if month == 7 and number == 3:
        return weekday != WEDNESDAY or day.year >= JULY_3_ON_WEDNESDAYS
    if month == 7 and number == 5:
        return weekday == FRIDAY and day.year < JULY_3_ON_WEDNESDAYS
    return day in ONCE


class Desk:
    """Answers what the bars of any run ask.

    Parameters
    ----------
    store : DocumentStore
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
        answers: Answers,
        config: NewsConfig,
        symbols: Sequence[str],
        name: str = "documents in memory",
    ) -> None:
        self.answers, self.config, self.symbols, self.name = answers, config, tuple(symbols), name
        self.index = index_of(store)
        if config.retrieval == EMBEDDINGS:
            self.index.ranker = EmbeddingRanker(store)
        self.is_sample = name == SAMPLE_NAME
        self._store, self._quoted = store, {name: json.dumps(name) for name in (MARKET, *symbols)}
        self._alone = threading.Lock()  # questions may be put by several threads, the database is one

    def stage(self, stamps: NDArray[np.datetime64], row: int) -> RiskStage:
        """The stage of a backtest on bars with these stamps, traded from `row` on, all verdicts at hand."""
        stage = RiskStage(self, is_daily(stamps))
        stage.prepare(stamps[row:])
        return stage

    def clock(self, daily: bool) -> Clock:
        """The clock of its configuration."""
        return clock_of(self.config, daily)

    def trial(self, config: Config) -> dict[str, Any]:
        """What makes a run with these documents another trial than one without, or with others."""
        asked = {"scorer": self.answers.scorer, "documents_sha256": self.index.sha256}
        return config.sections()["news"] | asked

    def verdicts(self, cutoffs: Sequence[int], since: int | None = None) -> dict[int, tuple[Selected, Recorded] | None]:
        """Of bars by their cutoffs, what was new since the one before, and the verdict on it; None where nothing was.

        `since` is the cutoff before the first, as in `DocumentIndex.select`.
        """
        window, k = round(self.config.window_days * US_PER_DAY), self.config.documents
        selected = self.index.select(np.asarray(cutoffs, np.int64), self.symbols, k, window, since)
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
        one = self._store.get(int(self.index.number[place]))
        text = one.text[: self.config.document_chars]
        return Passage(one.id, say_us(one.published_at), one.source, one.title, text)
