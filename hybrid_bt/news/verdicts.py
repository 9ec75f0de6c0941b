"""What is asked of a scorer, the bounded numbers that it may answer with, and scorers of somebody else's."""

from __future__ import annotations

import os
import pkgutil
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from hybrid_bt.equations.advice import NEUTRAL_RISK
from hybrid_bt.errors import ConfigError, NewsError, first_fault
from hybrid_bt.news import clean

MARKET = "*"  #: stands among symbols for documents about the market as a whole
MAX_REASON = 280
SCHEMA_VERSION = 1  #: part of every cache key
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DATES = re.compile(
    rf"\b(?:\d{{4}}-\d{{2}}-\d{{2}}|(?:{_MONTHS})(?:\s+\d{{1,2}})?(?:,?\s+\d{{4}})?|(?:19|20)\d{{2}})\b", re.IGNORECASE
)
_NAMES = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w&'-]*(?:\s+(?:of\s+)?[A-Z][\w&'-]*)*")


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


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError("must be a number")
    return value


def _switch(value: object) -> object:
    if not isinstance(value, bool) and isinstance(value, Real | str | bytes):
        raise ValueError("must be true or false")
    return value


Number = Annotated[float, BeforeValidator(_number)]  #: pydantic alone takes true for 1


class _Bounded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SymbolRisk(_Bounded):
    """One symbol, or the market."""

    risk: Number = Field(ge=1, le=5, description="1 none, 3 neutral, 5 extreme, for holding a position")
    sentiment: Number = Field(ge=-1, le=1, description="-1 bad news, +1 good news")


NEUTRAL = SymbolRisk(risk=NEUTRAL_RISK, sentiment=0.0)


class RiskVerdict(_Bounded):
    """A scorer's answer."""

    symbols: dict[str, SymbolRisk] = Field(description="one entry for every symbol that was asked about")
    market: SymbolRisk = Field(default=NEUTRAL, description="risk and sentiment of the market as a whole")
    regime: Number = Field(default=0.0, ge=-1, le=1, description="-1 mean reversion, +1 trend")
    confidence: Number = Field(default=0.0, ge=0, le=1, description="in `regime`")
    veto: Annotated[bool, BeforeValidator(_switch)] = Field(default=False, description="no new risk may be taken")
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
    """A scorer that gave no usable verdict: it failed, ran late, or answered something else; why, in one short line."""

    def __init__(self, why: str) -> None:
        super().__init__(" ".join(clean(why[: 10 * MAX_REASON]).split())[:MAX_REASON])


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
        raise ScorerError(f"verdict: {first_fault(error, 'answer')}, got {error.errors()[0]['input']!r:.60}") from None
    asked = request.documents.keys() - {MARKET}
    if verdict.symbols.keys() != asked:
        strange = sorted(verdict.symbols.keys() ^ asked)[0]
        raise ScorerError(f"verdict: {strange!r} was {'not answered' if strange in asked else 'not asked about'}")
    given = {passage.id for passages in request.documents.values() for passage in passages}
    for cited in sorted(set(verdict.documents) - given):
        raise ScorerError(f"verdict: cites {cited[:60]!r}, which was not given")
    return verdict


def median_verdict(verdicts: Sequence[RiskVerdict]) -> RiskVerdict:
    """Number by number; a veto by more than half; reason and citations of the answer nearest to the medians."""
    if len(verdicts) == 1:
        return verdicts[0]
    said = [{**one.symbols, MARKET: one.market} for one in verdicts]
    risks = {}
    for name in (*sorted(verdicts[0].symbols), MARKET):
        risk, sentiment = (statistics.median(getattr(one[name], of) for one in said) for of in ("risk", "sentiment"))
        risks[name] = SymbolRisk(risk=risk, sentiment=sentiment)
    gaps = [sum(abs(one[name].risk - risk.risk) for name, risk in risks.items()) for one in said]
    nearest = verdicts[gaps.index(min(gaps))]
    return RiskVerdict(
        market=risks.pop(MARKET),
        symbols=risks,
        regime=statistics.median(one.regime for one in verdicts),
        confidence=statistics.median(one.confidence for one in verdicts),
        veto=2 * sum(one.veto for one in verdicts) > len(verdicts),
        reason=nearest.reason,
        documents=nearest.documents,
    )


class CallableScorer:
    """A function of the user's: `RiskRequest` -> `RiskVerdict`, or a dict of its fields.

    Parameters
    ----------
    name : str
        Part of every cache key: change it with the function (`function.version` is added where there is one).
    """

    def __init__(self, name: str, function: Callable[[RiskRequest], Any]) -> None:
        version = getattr(function, "version", "")
        self.name, self._function = f"{name}@{version}" if version else name, function

    def score(self, request: RiskRequest) -> RiskVerdict:
        """What the function answers, checked; whatever it raises is a failure of this bar."""
        try:
            answer = self._function(request)
        except Exception as error:  # a scorer of somebody else's may raise anything; it is counted and printed
            raise ScorerError(f"{self.name} raised {type(error).__name__}: {error}") from error
        return checked_verdict(answer, request)


def named_scorer(name: str) -> CallableScorer:
    """The scorer that is a function, `module:callable`."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does, for the console script
    try:
        found: Any = pkgutil.resolve_name(name)
    except Exception as error:  # a stranger's module may raise anything
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"--scorer {name}: {why}; write module:callable of a module that can be imported") from None
    if not callable(found):
        raise ConfigError(f"--scorer {name}: {type(found).__name__} is not callable; name a function")
    return CallableScorer(name, found)


class Masked:
    """A scorer that is shown documents without names of companies, people and places, and without dates.

    Symbols, and every run of capitalised words that does not open a sentence, become `NAME`; dates and years become
    `DATE`; ids, sources and the moment asked for are hidden. A name that opens a sentence stays, so the mask is a lower
    bound of the gap. A verdict that changes under the mask was not read from the document alone: the contamination gap.
    """

    def __init__(self, scorer: RiskScorer) -> None:
        self._scorer, self.name = scorer, f"{scorer.name}+masked"
        self.usage = getattr(scorer, "usage", dict)  # its own

    def score(self, request: RiskRequest) -> RiskVerdict:
        """The verdict on the masked request, in the request's own names."""
        hidden = {name: MARKET if name == MARKET else f"S{i}" for i, name in enumerate(request.documents)}
        ids: dict[str, str] = {}
        given = request.documents.items()
        documents = {hidden[name]: tuple(_hidden(one, name, ids) for one in passages) for name, passages in given}
        verdict = self._scorer.score(RiskRequest("DATE", documents))
        back = {other: name for name, other in hidden.items()}
        shown = {other: real for real, other in ids.items()}
        try:
            symbols = {back[name]: risk for name, risk in verdict.symbols.items()}
            cited = tuple(shown[one] for one in verdict.documents)
        except KeyError as error:
            raise ScorerError(f"verdict: {error.args[0]!r} was not given") from None
        return verdict.model_copy(update={"symbols": symbols, "documents": cited})


def _hidden(passage: Passage, symbol: str, ids: dict[str, str]) -> Passage:
    number = ids.setdefault(passage.id, f"D{len(ids) + 1}")
    return Passage(number, "DATE", "", _masked(passage.title, symbol), _masked(passage.text, symbol))


def _masked(text: str, symbol: str) -> str:
    if symbol != MARKET:
        text = re.sub(rf"\b{re.escape(symbol)}\b", "NAME", text)
    return _NAMES.sub("NAME", _DATES.sub("DATE", text))
