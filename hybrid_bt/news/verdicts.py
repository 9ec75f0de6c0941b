"""What is asked of a scorer, and the bounded numbers that it may answer with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hybrid_bt.equations.advice import NEUTRAL_RISK
from hybrid_bt.errors import NewsError, first_fault
from hybrid_bt.news.documents import clean

MARKET = "*"  #: stands among symbols for documents about the market as a whole
MAX_REASON = 280
SCHEMA_VERSION = 1  #: part of every cache key


class Passage(NamedTuple):
    """The beginning of a document, as a scorer reads it."""

    id: str
    published_at: str  #: ISO 8601
    source: str
    title: str
    text: str


class RiskRequest(NamedTuple):
    """What documents were known at a bar: symbol (or `MARKET`) -> its most relevant ones."""

    as_of: str  #: last moment at which a document could be read, ISO 8601
    documents: Mapping[str, tuple[Passage, ...]]


class _Bounded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SymbolRisk(_Bounded):
    """One symbol, or the market."""

    risk: float = Field(ge=1, le=5, description="1 none, 3 neutral, 5 extreme, for holding a position")
    sentiment: float = Field(ge=-1, le=1, description="-1 bad news, +1 good news")


NEUTRAL = SymbolRisk(risk=NEUTRAL_RISK, sentiment=0.0)


class RiskVerdict(_Bounded):
    """A scorer's answer."""

    symbols: dict[str, SymbolRisk] = Field(description="one entry for every symbol that was asked about")
    market: SymbolRisk = Field(default=NEUTRAL, description="risk and sentiment of the market as a whole")
    regime: float = Field(default=0.0, ge=-1, le=1, description="-1 mean reversion, +1 trend")
    confidence: float = Field(default=0.0, ge=0, le=1, description="in `regime`")
    veto: bool = Field(default=False, description="no new risk may be taken")
    reason: Annotated[str, Field(max_length=MAX_REASON)] = Field(default="", description="one sentence")
    documents: tuple[str, ...] = Field(default=(), max_length=1000, description="ids of the documents relied on")

    @field_validator("reason")
    @classmethod
    def _one_line(cls, reason: str) -> str:
        return " ".join(clean(reason).split())


def add_up(total: dict[str, float], more: Mapping[str, float]) -> None:
    """Counts of calls, tokens, dollars and seconds, name by name."""
    for name, value in more.items():
        total[name] = total.get(name, 0.0) + value


class ScorerError(NewsError):
    """A scorer that gave no usable verdict: it failed, ran late, or answered something else."""


class RiskScorer(Protocol):
    """Reads documents and answers with a verdict."""

    name: str  #: with its version: part of every cache key

    def score(self, request: RiskRequest) -> RiskVerdict:
        """A verdict on every symbol of the request.

        Raises
        ------
        ScorerError
            If there is none.
        """
        ...


def checked_verdict(answer: object, request: RiskRequest) -> RiskVerdict:
    """A verdict from plain data, JSON text or a `RiskVerdict`, if it answers the request.

    Raises
    ------
    ScorerError
        If it breaks the schema, leaves a symbol out, names another, or cites what was not given.
    """
    try:
        if isinstance(answer, str | bytes):
            verdict = RiskVerdict.model_validate_json(answer)
        else:
            verdict = RiskVerdict.model_validate(answer.model_dump() if isinstance(answer, RiskVerdict) else answer)
    except ValidationError as error:
        raise ScorerError(f"verdict: {first_fault(error, 'answer')}") from None
    asked = request.documents.keys() - {MARKET}
    if verdict.symbols.keys() != asked:
        strange = sorted(verdict.symbols.keys() ^ asked)[0]
        raise ScorerError(f"verdict: {strange!r} was {'not answered' if strange in asked else 'not asked about'}")
    given = {passage.id for passages in request.documents.values() for passage in passages}
    for cited in sorted(set(verdict.documents) - given):
        raise ScorerError(f"verdict: cites {cited[:60]!r}, which was not given")
    return verdict
