"""Where verdicts come from: a scorer, a recording of one, or both.

A recorded verdict is one JSON line, appended and never changed, found by the sha256 of what was asked. The key covers
the moment, the documents' contents, the scorer's name (model, prompt version, settings) and the version of the schema.
In `replay` nothing else is asked, so two runs give the same bytes; in `record` what is missing is asked and kept,
failures too, so that a replay of the recording is the recording.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ValidationError, model_validator

from hybrid_bt.errors import NewsError, first_fault
from hybrid_bt.files import append_line
from hybrid_bt.news.verdicts import MARKET, RiskRequest, RiskScorer, RiskVerdict, ScorerError, SymbolRisk, add_up

FORMAT = 1


class Asked(NamedTuple):
    """What a bar asks: enough for a key, and a way to the texts."""

    key: str
    bar: str  #: for messages
    request: Callable[[], RiskRequest]


class Recorded(BaseModel):
    """One line of a recording."""

    format: Literal[1] = 1  #: `FORMAT`
    key: str
    scorer: str
    bar: str = ""
    failed: str | None = None  #: why there is no verdict
    verdict: RiskVerdict | None = None
    calls: tuple[RiskVerdict, ...]  #: single answers that the verdict is the median of
    usage: dict[str, float]  #: tokens, cost and seconds of all calls

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
        If the file cannot be read, or a line of this scorer is no verdict.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if one := _line(line, scorer, f"{path}:{number}"):
                    yield one
    except OSError as error:
        raise NewsError(
            f"verdicts: cannot read {path}: {error.strerror or error}; record them with --risk record"
        ) from None


def _line(line: bytes, scorer: str, where: str) -> Recorded | None:
    """None for another scorer's, and for one that a crash cut off, whose verdict is then a miss."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or entry.get("scorer") != scorer:
        return None
    try:
        return Recorded.model_validate(entry)
    except ValidationError as error:
        stated, why = entry.get("format"), first_fault(error, "line")
        if stated != FORMAT:
            raise NewsError(f"{where}: format {stated!r}, and {FORMAT} is known; update hybrid_bt") from None
        raise NewsError(f"{where}: no verdict: {why}; restore the file, or record anew") from None


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
        self._counts: dict[str, float] = {} if path is None else {"hits": 0}
        self._counts |= {"asked": 0, "failed": 0} if asks else {"verdicts_in_cache": len(self._known)}
        self._asked_for: dict[str, None] = {}

    def answer(self, asked: Sequence[Asked]) -> list[Recorded]:
        """One for each, in order; the same question is asked once, also where a failure was recorded by another run.

        Raises
        ------
        NewsError
            For the first bar that has none, where the scorer is not asked.
        """
        fresh = {one.key: one for one in asked if one.key not in self._asked_for}
        missing = [one for one in fresh.values() if self._lacks(one.key)]
        if missing and not self._asks:
            raise NewsError(
                f"replay: {self._path} has no verdict of {self.scorer} for the bar whose documents end at "
                f"{missing[0].bar} (key {missing[0].key[:12]}); record it with --risk record, with these documents and "
                "settings"
            )
        self._asked_for |= dict.fromkeys(fresh)
        if "hits" in self._counts:
            self._counts["hits"] += len(fresh) - len(missing)
        for one in self._asked(missing):
            self._known[one.key] = one
            self._keep(one)
        return [self._known[one.key] for one in asked]

    def recorded(self) -> list[Recorded]:
        """What was asked for, for evaluation; the file may hold verdicts of other spans and documents."""
        return [self._known[key] for key in self._asked_for]

    def counts(self) -> dict[str, float]:
        """What was done, for `run.json`: hits and calls, failures, tokens and cost; or verdicts at hand."""
        return dict(self._counts)

    def _lacks(self, key: str) -> bool:
        known = self._known.get(key)
        return known is None or (self._asks and known.verdict is None)

    def _asked(self, missing: Sequence[Asked]) -> Iterator[Recorded]:
        if self._concurrency == 1 or len(missing) < 2:
            yield from map(self._ask, missing)
            return
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                yield from pool.map(self._ask, missing)
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, one: Asked) -> Recorded:
        request, answers, failed = one.request(), [], None
        usage: dict[str, float] = {}
        for _ in range(self._calls):
            try:
                answers.append(self._scorer.score(request))
            except ScorerError as error:
                failed = str(error)
            add_up(usage, getattr(self._scorer, "usage", dict)())
        enough = failed is None or len(answers) * 2 > self._calls
        return Recorded(
            key=one.key,
            scorer=self.scorer,
            bar=one.bar,
            failed=None if enough else failed,
            verdict=median_verdict(answers) if enough else None,
            calls=tuple(answers),
            usage=usage,
        )

    def _keep(self, one: Recorded) -> None:
        self._counts["asked"] += 1
        self._counts["failed"] += one.verdict is None
        add_up(self._counts, one.usage)
        if self._path is None:
            return
        try:
            append_line(self._path, json.dumps(one.model_dump(mode="json"), sort_keys=True))
        except OSError as error:
            raise NewsError(f"verdicts: cannot write to {self._path}: {error.strerror or error}") from None


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
