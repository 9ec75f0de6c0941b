"""Where verdicts come from: a scorer, a recording of one, or both.

A recorded verdict is one JSON line, appended and never changed, found by the sha256 of what was asked. The key covers
the moment, the documents' contents, the scorer's name (model, prompt version, settings) and the version of the schema.
In `replay` nothing else is asked, so two runs give the same bytes; in `record` what is missing is asked and kept,
failures too, so that a replay of the recording is the recording. Each line is sealed: one that was edited or damaged is
named, whoever's it is, and only one that a crash cut off is passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from hybrid_bt.errors import ConfigError, NewsError, first_fault, os_errors
from hybrid_bt.files import append_line
from hybrid_bt.news import verdicts
from hybrid_bt.news.chat import KEY_VARIABLE, ChatScorer
from hybrid_bt.news.lexicon import LexiconScorer
from hybrid_bt.news.store import SAMPLE
from hybrid_bt.news.verdicts import RiskRequest, RiskScorer, RiskVerdict, ScorerError, add_up

LEXICON = "lexicon"  #: the scorer, by name
TORN = "\x18"  #: "cancel", at the end of a line that a crash cut off
Usage = dict[str, Annotated[verdicts.Number, Field(ge=0, allow_inf_nan=False)]]
_USAGE: TypeAdapter[dict[str, float]] = TypeAdapter(Usage)


class Asked(NamedTuple):
    """What a bar asks: enough for a key, and a way to the texts."""

    key: str
    bar: str  #: for messages
    request: Callable[[], RiskRequest]


class Recorded(BaseModel):
    """One line of a recording."""

    format: Literal[2] = 2
    key: str
    scorer: str
    bar: str = ""
    failed: str | None = None  #: why there is no verdict
    verdict: RiskVerdict | None = None
    calls: tuple[RiskVerdict, ...]  #: single answers that the verdict is the median of
    usage: Usage  #: tokens, cost and seconds of all calls

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.failed is None) == (self.verdict is None):
            raise ValueError("a line holds a verdict or a failure")
        return self


def read_recorded(path: Path, scorer: str) -> Iterator[Recorded]:
    """What was recorded of a scorer, in order; of several lines with one key the last counts.

    Raises
    ------
    NewsError
        If the file cannot be read, or a line is not as it was recorded, or is no verdict of this scorer.
    """
    remedy = "record them with --risk record"
    with os_errors(NewsError, f"verdicts: cannot read {path}", remedy), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if one := _line(line, scorer, f"{path}:{number}"):
                yield one


def _line(line: bytes, scorer: str, where: str) -> Recorded | None:
    """None for another scorer's, and for one that a crash cut off, whose verdict is then a miss."""
    remedy = "restore the file, record anew, or update hybrid_bt"
    whole = line.removesuffix(b"\n").removesuffix(TORN.encode())
    try:
        entry = json.loads(whole)
        if entry.pop("seal") != seal_of(entry):
            raise ValueError("its seal does not fit")
        return Recorded.model_validate(entry) if entry.get("scorer") == scorer else None
    except ValidationError as error:
        raise NewsError(f"{where}: no verdict: {first_fault(error, 'line')}; {remedy}") from None
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        is_torn = isinstance(error, json.JSONDecodeError) and not error.msg.startswith("Extra data")
        if is_torn and line != whole + b"\n":
            return None
        raise NewsError(f"{where}: no verdict: the line was edited, damaged, or never sealed; {remedy}") from None


def seal_of(entry: Mapping[str, object]) -> str:
    """Digest of a line's other fields."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


class Answers:
    """Answers from a recording, and of a scorer for what is not in it, which is then kept.

    Parameters
    ----------
    path : Path, optional
        The recording; None keeps nothing.
    calls : int
        Calls per question; the verdict is their median.
    concurrency : int
        Questions at once.
    asks : bool
        Whether the scorer is asked; if not, what is missing is an error.
    """

    def __init__(
        self, scorer: RiskScorer, path: Path | None = None, *, calls: int = 1, concurrency: int = 1, asks: bool = True
    ) -> None:
        self.scorer, self._scorer, self._path = scorer.name, scorer, path
        self._calls, self._concurrency, self._asks = calls, concurrency, asks
        is_read = path is not None and (path.exists() or not asks)
        self._known = {one.key: one for one in read_recorded(path, scorer.name)} if path and is_read else {}
        #: what was done, for `run.json`: hits and calls, failures, tokens and cost; or verdicts at hand
        self.counts: dict[str, float] = {} if path is None else {"hits": 0}
        self.counts |= {"asked": 0, "failed": 0} if asks else {"verdicts_in_cache": len(self._known)}
        self._asked_for: dict[str, None] = {}

    def answer(self, asked: Sequence[Asked]) -> list[Recorded]:
        """One for each, in order; the same question is asked once, also where a failure was recorded by another run.

        Raises
        ------
        NewsError
            For the first bar that has none, where the scorer is not asked.
        """
        fresh = {one.key: one for one in asked if one.key not in self._asked_for}
        known = self._known
        missing = [one for one in fresh.values() if one.key not in known or (self._asks and not known[one.key].verdict)]
        if missing and not self._asks:
            bar = f"the bar whose documents end at {missing[0].bar} (key {missing[0].key[:12]})"
            remedy = "record it with --risk record, with these documents and settings"
            raise NewsError(f"replay: {self._path} has no verdict of {self.scorer} for {bar}; {remedy}")
        self._asked_for |= dict.fromkeys(fresh)
        if "hits" in self.counts:
            self.counts["hits"] += len(fresh) - len(missing)
        for one in self._asked(missing):
            known[one.key] = one
            self._keep(one)
        return [known[one.key] for one in asked]

    def recorded(self) -> list[Recorded]:
        """What was asked for, for evaluation; the file may hold verdicts of other spans and documents."""
        return [self._known[key] for key in self._asked_for]

    def _asked(self, missing: Sequence[Asked]) -> Iterator[Recorded]:
        if self._concurrency == 1 or len(missing) < 2:
            yield from map(self._ask, missing)
            return
        with ThreadPoolExecutor(self._concurrency) as pool:
            yield from pool.map(self._ask, missing)

    def _ask(self, one: Asked) -> Recorded:
        request, answers, failed = one.request(), [], None
        usage: dict[str, float] = {}
        for _ in range(self._calls):
            try:
                answers.append(self._scorer.score(request))
            except ScorerError as error:
                failed = str(error)
            try:
                add_up(usage, _USAGE.validate_python(getattr(self._scorer, "usage", dict)()))
            except ValidationError as error:
                why = first_fault(error, "all of it")
                raise NewsError(f"{self.scorer}: what it says of its usage cannot be: {why}; count from 0") from None
        enough = failed is None or len(answers) * 2 > self._calls
        return Recorded(
            key=one.key,
            scorer=self.scorer,
            bar=one.bar,
            failed=None if enough else failed,
            verdict=verdicts.median_verdict(answers) if enough else None,
            calls=tuple(answers),
            usage=usage,
        )

    def _keep(self, one: Recorded) -> None:
        self.counts["asked"] += 1
        self.counts["failed"] += one.verdict is None
        add_up(self.counts, one.usage)
        if self._path is not None:
            with os_errors(NewsError, f"verdicts: cannot write to {self._path}"):
                entry = one.model_dump(mode="json")
                append_line(self._path, json.dumps({**entry, "seal": seal_of(entry)}, sort_keys=True), torn=TORN)


class RiskSetup(NamedTuple):
    """What the user asked for."""

    risk: str = "off"  #: off, lexicon, replay, record or live
    news: str = SAMPLE  #: `sample`, a store, or a file or folder that `hybrid-bt news add` reads
    scorer: str = LEXICON  #: `lexicon`, an http(s) address, or `module:callable`
    scorer_model: str = ""  #: asked for at that address
    scorer_key_env: str = KEY_VARIABLE
    scorer_timeout: float = 60.0  #: seconds
    scorer_jobs: int = 4  #: questions at once
    scorer_price: tuple[float, float] = (0.0, 0.0)  #: US dollars per million tokens in, and out
    verdicts: Path = Path("verdicts.jsonl")
    calls: int = 1  #: per question, in `record`
    loughran_mcdonald: Path | None = None
    masked: bool = False  #: the scorer is shown no names and no dates


def answers_of(setup: RiskSetup) -> Answers:
    """Who answers what the bars of a run ask."""
    if setup.risk == LEXICON and setup.scorer != LEXICON:
        raise ConfigError(f"--risk lexicon reads word lists; for {setup.scorer} say --risk record, replay or live")
    plain = _scorer(setup)
    scorer = verdicts.Masked(plain) if setup.masked else plain
    concurrency = setup.scorer_jobs if isinstance(plain, ChatScorer) else 1
    if setup.risk in (LEXICON, "live"):
        return Answers(scorer, concurrency=concurrency)
    return Answers(scorer, setup.verdicts, calls=setup.calls, concurrency=concurrency, asks=setup.risk == "record")


def _scorer(setup: RiskSetup) -> RiskScorer:
    if setup.scorer == LEXICON:
        return LexiconScorer(setup.loughran_mcdonald)
    if setup.scorer.startswith(("http://", "https://")):
        if not setup.scorer_model:
            raise ConfigError("--scorer is an address; name the model with --scorer-model")
        how = setup.scorer_key_env, setup.scorer_timeout, setup.scorer_price
        return ChatScorer(setup.scorer, setup.scorer_model, *how)
    if ":" in setup.scorer:
        return verdicts.named_scorer(setup.scorer)
    raise ConfigError(f"--scorer {setup.scorer!r}: give lexicon, an http(s) address, or module:callable")
