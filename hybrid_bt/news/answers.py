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
from typing import Literal, NamedTuple, Protocol, Self

from pydantic import BaseModel, ValidationError, model_validator

from hybrid_bt.errors import NewsError
from hybrid_bt.files import append_line
from hybrid_bt.news.verdicts import RiskRequest, RiskScorer, RiskVerdict, ScorerError, SymbolRisk

FORMAT = 1


class Asked(NamedTuple):
    """What a bar asks: enough for a key, and a way to the texts."""

    key: str
    bar: str  #: for messages
    request: Callable[[], RiskRequest]


class Failed(NamedTuple):
    """In the place of a verdict."""

    why: str


class Answers(Protocol):
    """Where verdicts come from."""

    scorer: str  #: name of the scorer, part of every key

    def answer(self, asked: Sequence[Asked]) -> list[RiskVerdict | Failed]:
        """One for each, in order."""
        ...

    def counts(self) -> dict[str, object]:
        """What was done, for `run.json`."""
        ...


class Direct:
    """Answers of a scorer that is asked every time."""

    def __init__(self, scorer: RiskScorer) -> None:
        self._scorer, self.scorer = scorer, scorer.name
        self._asked = self._failed = 0

    def answer(self, asked: Sequence[Asked]) -> list[RiskVerdict | Failed]:
        """In order, one at a time."""
        return [self._one(one) for one in asked]

    def _one(self, one: Asked) -> RiskVerdict | Failed:
        self._asked += 1
        try:
            return self._scorer.score(one.request())
        except ScorerError as error:
            self._failed += 1
            return Failed(str(error))

    def counts(self) -> dict[str, object]:
        """Calls and failures."""
        return {"asked": self._asked, "failed": self._failed}


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

    @property
    def answer(self) -> RiskVerdict | Failed:
        """The verdict, or the failure in its place."""
        return self.verdict or Failed(self.failed or "")


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
                one = _line(line, scorer, f"{path}:{number}")
                if one is not None:
                    yield one
    except OSError as error:
        raise NewsError(
            f"verdicts: cannot read {path}: {error.strerror or error}; record them with --risk record"
        ) from None


def _line(line: bytes, scorer: str, where: str) -> Recorded | None:
    """None for another scorer's, and for one that a crash cut off, whose verdict is then a miss."""
    try:
        one = Recorded.model_validate_json(line)
    except ValidationError as error:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.get("scorer") != scorer:
            return None
        if entry.get("format") != FORMAT:
            stated = entry.get("format")
            raise NewsError(f"{where}: format {stated!r}, and {FORMAT} is known; update hybrid_bt") from None
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise NewsError(f"{where}: no verdict: {field}: {first['msg']}; restore the file, or record anew") from None
    return one if one.scorer == scorer else None


class Replay:
    """Answers from a recording alone.

    Parameters
    ----------
    path : Path
    scorer : str
        Name that the verdicts were recorded under.
    """

    def __init__(self, path: Path, scorer: str) -> None:
        self.path, self.scorer = path, scorer
        self._known = {one.key: one.answer for one in read_recorded(path, scorer)}
        self._hits = 0
        self._asked_for: dict[str, None] = {}

    def answer(self, asked: Sequence[Asked]) -> list[RiskVerdict | Failed]:
        """One for each.

        Raises
        ------
        NewsError
            For the first bar that has none.
        """
        for one in asked:
            if one.key not in self._known:
                raise NewsError(
                    f"replay: {self.path} has no verdict of {self.scorer} for the bar whose documents end at {one.bar} "
                    f"(key {one.key[:12]}); record it with --risk record, with these documents and settings"
                )
        self._hits += len(asked)
        self._asked_for |= dict.fromkeys(one.key for one in asked)
        return [self._known[one.key] for one in asked]

    def recorded(self) -> list[Recorded]:
        """What was asked for, for evaluation; the file may hold verdicts of other spans and documents."""
        whole = {one.key: one for one in read_recorded(self.path, self.scorer)}  # single calls are kept by no run
        return [whole[key] for key in self._asked_for]

    def counts(self) -> dict[str, object]:
        """Questions answered, and verdicts at hand."""
        return {"hits": self._hits, "verdicts_in_cache": len(self._known)}


class Recording:
    """Answers from a recording, and of a scorer for what is not in it, which is then kept.

    Parameters
    ----------
    path : Path, optional
        None keeps nothing: `live`.
    calls : int
        Calls per question; the verdict is their median.
    concurrency : int
        Questions at once.
    """

    def __init__(self, scorer: RiskScorer, path: Path | None, calls: int = 1, concurrency: int = 1) -> None:
        self.scorer, self._scorer, self._path = scorer.name, scorer, path
        self._calls, self._concurrency = calls, concurrency
        kept = read_recorded(path, scorer.name) if path is not None and path.exists() else ()
        self._known = {one.key: one for one in kept}
        self._counts: dict[str, float] = {"hits": 0, "asked": 0, "failed": 0}
        self._asked_for: dict[str, None] = {}

    def answer(self, asked: Sequence[Asked]) -> list[RiskVerdict | Failed]:
        """One for each; a failure that was recorded is asked again."""
        missing = [one for one in asked if one.key not in self._known or self._known[one.key].verdict is None]
        self._asked_for |= dict.fromkeys(one.key for one in asked)
        self._counts["hits"] += len(asked) - len(missing)
        for one in self._asked(missing):
            self._known[one.key] = one
            self._keep(one)
        return [self._known[one.key].answer for one in asked]

    def recorded(self) -> list[Recorded]:
        """What was asked for, for evaluation; the file may hold verdicts of other spans and documents."""
        return [self._known[key] for key in self._asked_for]

    def counts(self) -> dict[str, object]:
        """Hits, calls, failures, tokens and cost."""
        return dict(self._counts)

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
            for key, value in getattr(self._scorer, "usage", dict)().items():
                usage[key] = usage.get(key, 0.0) + value
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
        for name, value in one.usage.items():
            self._counts[name] = self._counts.get(name, 0.0) + value
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
    symbols = {name: _median_risk([one.symbols[name] for one in verdicts]) for name in sorted(verdicts[0].symbols)}
    market = _median_risk([one.market for one in verdicts])

    def distance(one: RiskVerdict) -> float:
        gaps = (abs(one.symbols[name].risk - risk.risk) for name, risk in symbols.items())
        return sum(gaps) + abs(one.market.risk - market.risk)

    nearest = min(verdicts, key=distance)
    return RiskVerdict(
        symbols=symbols,
        market=market,
        regime=statistics.median(one.regime for one in verdicts),
        confidence=statistics.median(one.confidence for one in verdicts),
        veto=2 * sum(one.veto for one in verdicts) > len(verdicts),
        reason=nearest.reason,
        documents=nearest.documents,
    )


def _median_risk(risks: Sequence[SymbolRisk]) -> SymbolRisk:
    return SymbolRisk(
        risk=statistics.median(one.risk for one in risks), sentiment=statistics.median(one.sentiment for one in risks)
    )
