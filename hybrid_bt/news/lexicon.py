"""Verdicts from word lists: deterministic, offline, no model. The default scorer.

Sentiment is VADER's (Hutto and Gilbert 2014, ICWSM), its lexicon widened by words of finance, or, where the
user has the file, that of Loughran and McDonald (2011, Journal of Finance 66(1)), whose licence forbids to ship it.
Severity counts words that name a danger to the holder of a position.

    risk = clip(3 - sentiment + severity, 1, 5)             mean sentiment, severity of the gravest document
"""

from __future__ import annotations

import csv
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from hybrid_bt.equations.advice import NEUTRAL_RISK
from hybrid_bt.errors import NewsError, library, os_errors
from hybrid_bt.news.verdicts import MARKET, MAX_REASON, RiskRequest, RiskVerdict, SymbolRisk

_WORDS = tomllib.loads((resources.files("hybrid_bt.news") / "words.toml").read_text(encoding="utf-8"))
#: danger to the holder of a position, points of risk each
SEVERE: dict[str, float] = {word: some["points"] for some in _WORDS["severe"] for word in some["words"].split()}
MOST_SEVERITY = 2.0
TREND, REVERSAL = (frozenset(_WORDS["regime"][name].split()) for name in ("trend", "reversal"))
QUERY: tuple[str, ...] = tuple(_WORDS["query"]["words"].split())  #: what relevance looks for
HALF_SURE = 4.0  #: words about the regime at which half the confidence is reached
VETO_SENTIMENT = -0.5  #: of the market, at the highest severity
MEMORY = 50_000  #: readings kept
_WORD = re.compile(r"[a-z][a-z'-]*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def word_counts(texts: list[str]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Words in all, and how often each word of the query, of every text."""
    bm25s = library("bm25s", "news", "documents are ranked by bm25s", NewsError)
    cut = bm25s.tokenize(texts, stopwords="en", return_ids=True, show_progress=False)
    wanted = {cut.vocab[word]: i for i, word in enumerate(QUERY) if word in cut.vocab}
    for ids in cut.ids:
        yield len(ids), sorted(Counter(wanted[one] for one in ids if one in wanted).items())


class Reading(NamedTuple):
    """What one document says."""

    sentiment: float  #: [-1, 1]
    severity: float  #: [0, 2]
    words: tuple[str, ...]  #: severe ones, in order
    trend: int
    reversal: int


class LexiconScorer:
    """Scores by word lists.

    Parameters
    ----------
    loughran_mcdonald : Path, optional
        The user's copy of their master dictionary (CSV with the columns Word, Negative and Positive).

    Raises
    ------
    NewsError
        If vaderSentiment is not installed, or the dictionary cannot be read.
    """

    def __init__(self, loughran_mcdonald: Path | None = None) -> None:
        self._read = lru_cache(MEMORY)(self._read_anew)
        if loughran_mcdonald is None:
            self.name = "lexicon-1"
            self._sentiment = _vader()
        else:
            content, positive, negative = _dictionary(loughran_mcdonald)
            self.name = f"lexicon-1-lm-{content[:12]}"
            self._sentiment = lambda text: _balance(text, positive, negative)

    def score(self, request: RiskRequest) -> RiskVerdict:
        """Verdict on every symbol; the same request gives the same one."""
        given = request.documents.items()
        read = {name: [self._read(f"{one.title}. {one.text}") for one in passages] for name, passages in given}
        risks = {name: _risk(readings) for name, readings in read.items()}
        market = risks.pop(MARKET, SymbolRisk(risk=NEUTRAL_RISK, sentiment=0.0))
        everything = [reading for readings in read.values() for reading in readings]
        trend, reversal = sum(one.trend for one in everything), sum(one.reversal for one in everything)
        heard = trend + reversal
        gravest = max((one.severity for one in read.get(MARKET, ())), default=0.0)
        return RiskVerdict(
            symbols=risks,
            market=market,
            regime=(trend - reversal) / heard if heard else 0.0,
            confidence=heard / (heard + HALF_SURE),
            veto=gravest >= MOST_SEVERITY and market.sentiment <= VETO_SENTIMENT,
            reason=_reason(read, {**risks, MARKET: market}),
            documents=_cited(request, read),
        )

    def _read_anew(self, text: str) -> Reading:
        words = _WORD.findall(text.lower())
        severe = tuple(dict.fromkeys(word for word in words if word in SEVERE))
        return Reading(
            sentiment=self._sentiment(text),
            severity=min(sum(SEVERE[word] for word in severe), MOST_SEVERITY),
            words=severe,
            trend=sum(word in TREND for word in words),
            reversal=sum(word in REVERSAL for word in words),
        )


def _risk(readings: Sequence[Reading]) -> SymbolRisk:
    sentiment = sum(one.sentiment for one in readings) / len(readings)
    severity = max(one.severity for one in readings)
    return SymbolRisk(risk=min(max(NEUTRAL_RISK - sentiment + severity, 1.0), 5.0), sentiment=sentiment)


def _reason(read: dict[str, list[Reading]], risks: dict[str, SymbolRisk]) -> str:
    """The riskiest first, with their gravest words."""
    parts = []
    for name in sorted(read, key=lambda name: (-risks[name].risk, name)):
        words = list(dict.fromkeys(word for one in read[name] for word in one.words))[:4]
        said = f": {', '.join(words)}" if words else ""
        parts.append(f"{'market' if name == MARKET else name} {risks[name].risk:.1f}{said}")
    return "; ".join(parts)[:MAX_REASON]


def _cited(request: RiskRequest, read: dict[str, list[Reading]]) -> tuple[str, ...]:
    """The gravest document of each."""
    gravities = {name: [one.severity - one.sentiment for one in readings] for name, readings in read.items()}
    found = (request.documents[name][those.index(max(those))].id for name, those in gravities.items())
    return tuple(dict.fromkeys(found))


def _vader() -> Callable[[str], float]:
    vader = library("vaderSentiment.vaderSentiment", "news", "the lexicon needs vaderSentiment", NewsError)
    analyzer = vader.SentimentIntensityAnalyzer()
    analyzer.lexicon.update(_WORDS["valences"])

    def sentiment(text: str) -> float:
        """Mean over the sentences that say anything."""
        scores = [analyzer.polarity_scores(part)["compound"] for part in _SENTENCE.split(text)]
        heard = [score for score in scores if score]
        return float(sum(heard) / len(heard)) if heard else 0.0

    return sentiment


def _balance(text: str, positive: frozenset[str], negative: frozenset[str]) -> float:
    words = _WORD.findall(text.lower())
    good, bad = sum(word in positive for word in words), sum(word in negative for word in words)
    return (good - bad) / (good + bad) if good + bad else 0.0


def _dictionary(path: Path) -> tuple[str, frozenset[str], frozenset[str]]:
    """sha256, positive and negative words. A word is in a list where its cell holds a year above 0."""
    remedy, of = "give Loughran and McDonald's CSV", (OSError, UnicodeDecodeError, csv.Error)
    with os_errors(NewsError, f"{path}: cannot read the dictionary", remedy, of=of):
        content = path.read_bytes()
        rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    positive, negative = (frozenset(_members(rows, column)) for column in ("Positive", "Negative"))
    if not (positive and negative):
        raise NewsError(f"{path}: no words under Word, Positive and Negative; {remedy}")
    return hashlib.sha256(content).hexdigest(), positive, negative


def _members(rows: list[dict[str, str]], column: str) -> Iterable[str]:
    for row in rows:
        year = (row.get(column) or "0").strip()
        if row.get("Word") and year.lstrip("-").isdigit() and int(year) > 0:
            yield row["Word"].strip().lower()
