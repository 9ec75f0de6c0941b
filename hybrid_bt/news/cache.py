"""Verdicts on disk: one JSON line each, appended and never changed, found by the sha256 of what was asked.

The key covers the moment, the documents' contents, the scorer's name (model, prompt version, settings) and the version
of the schema. In `replay` nothing else is asked, so two runs give the same bytes; in `record` what is missing is asked
and kept, failures too, so that a replay of the recording is the recording.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from hybrid_bt.errors import NewsError
from hybrid_bt.files import append_line
from hybrid_bt.news.desk import Asked, Failed
from hybrid_bt.news.verdicts import RiskScorer, RiskVerdict, ScorerError, SymbolRisk

__all__ = ["Recorded", "Recording", "Replay", "median_verdict", "read_cache", "read_verdicts"]

FORMAT = 1


class Recorded(NamedTuple):
    """One line of the cache."""

    verdict: RiskVerdict | Failed
    calls: tuple[RiskVerdict, ...]  #: single answers that the verdict is the median of
    usage: dict[str, float]  #: tokens, cost and seconds of all calls


def read_cache(path: Path, scorer: str | None = None) -> dict[str, Recorded]:
    """Key -> what was recorded; of several lines with one key the last counts.

    Parameters
    ----------
    scorer : str, optional
        Read this one's lines alone.

    Raises
    ------
    NewsError
        If the file cannot be read, or a line other than a torn one is no verdict.
    """
    found: dict[str, Recorded] = {}
    for number, line in enumerate(_lines(path), 1):
        entry = _entry(line)
        if entry is not None and (scorer is None or entry.get("scorer") == scorer):
            found[str(entry.get("key"))] = _recorded(entry, f"{path}:{number}")
    return found


def read_verdicts(path: Path, scorer: str) -> dict[str, RiskVerdict | Failed]:
    """Key -> verdict alone, as `read_cache` has it; sooner, since single calls and their costs are passed over.

    Raises
    ------
    NewsError
        As `read_cache`.
    """
    found: dict[str, RiskVerdict | Failed] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            one = _Verdict.model_validate_json(line)
        except ValidationError:  # torn, damaged, another format, or another scorer's
            entry = _entry(line)
            if entry is not None and entry.get("scorer") == scorer:
                found[str(entry.get("key"))] = _recorded(entry, f"{path}:{number}").verdict
            continue
        if one.scorer == scorer:
            found[one.key] = one.verdict if one.failed is None else Failed(one.failed)  # type: ignore[assignment]
    return found


class _Verdict(BaseModel):
    """What a replay needs of a line."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: Literal[1]  #: `FORMAT`
    key: str
    scorer: str
    failed: str | None
    verdict: RiskVerdict | None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.failed is None) == (self.verdict is None):
            raise ValueError("a verdict or a failure")
        return self


def _lines(path: Path) -> Iterator[bytes]:
    """One at a time."""
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise NewsError(
            f"verdicts: cannot read {path}: {error.strerror or error}; record them with --risk record"
        ) from None


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line's object; None for one that a crash cut off, whose verdict is then a miss."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _recorded(entry: dict[str, Any], where: str) -> Recorded:
    if entry.get("format") != FORMAT:
        raise NewsError(f"{where}: format {entry.get('format')!r}, and {FORMAT} is known; update hybrid_bt")
    try:
        calls = tuple(RiskVerdict.model_validate(one) for one in entry["calls"])
        failed = entry.get("failed")
        verdict: RiskVerdict | Failed
        if failed is not None:
            verdict = Failed(str(failed))
        elif len(calls) == 1 and entry["calls"][0] == entry["verdict"]:
            verdict = calls[0]
        else:
            verdict = RiskVerdict.model_validate(entry["verdict"])
        usage = {str(key): float(value) for key, value in entry["usage"].items()}
    except (ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        said = str(error).splitlines()[0]
        raise NewsError(f"{where}: no verdict: {said}; restore the file, or record anew") from None
    return Recorded(verdict, calls, usage)


class Replay:
    """Answers from the cache alone.

    Parameters
    ----------
    path : Path
    scorer : str
        Name that the verdicts were recorded under.
    """

    def __init__(self, path: Path, scorer: str) -> None:
        self.path, self.scorer = path, scorer
        self._known = read_verdicts(path, scorer)
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
        """What was asked for, for evaluation; the cache may hold verdicts of other spans and documents."""
        whole = read_cache(self.path, self.scorer)
        return [whole[key] for key in self._asked_for]

    def counts(self) -> dict[str, object]:
        """Cache hits."""
        return {"hits": self._hits, "verdicts_in_cache": len(self._known)}


class Recording:
    """Answers from the cache, and of a scorer for what is not in it, which is then kept.

    Parameters
    ----------
    path : Path, optional
        None keeps nothing: `live`.
    calls : int
        Calls per question; the verdict is their median.
    concurrency : int
        Questions at once.
    """

    def __init__(
        self,
        scorer: RiskScorer,
        path: Path | None,
        calls: int = 1,
        concurrency: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.scorer, self._scorer, self._path = scorer.name, scorer, path
        self._calls, self._concurrency, self._progress = calls, concurrency, progress
        self._known = read_cache(path, scorer.name) if path is not None and path.exists() else {}
        self._counts: dict[str, float] = {"hits": 0, "asked": 0, "failed": 0}
        self._asked_for: dict[str, None] = {}

    def answer(self, asked: Sequence[Asked]) -> list[RiskVerdict | Failed]:
        """One for each; a failure that was recorded is asked again."""
        missing = [one for one in asked if not self._has(one.key)]
        self._asked_for |= dict.fromkeys(one.key for one in asked)
        self._counts["hits"] += len(asked) - len(missing)
        for done, (one, recorded) in enumerate(self._asked(missing), 1):
            self._known[one.key] = recorded
            self._keep(one, recorded)
            if self._progress is not None:
                self._progress(done, len(missing))
        return [self._known[one.key].verdict for one in asked]

    def recorded(self) -> list[Recorded]:
        """What was asked for, for evaluation; the cache may hold verdicts of other spans and documents."""
        return [self._known[key] for key in self._asked_for]

    def counts(self) -> dict[str, object]:
        """Hits, calls, failures, tokens and cost."""
        return dict(self._counts)

    def _has(self, key: str) -> bool:
        return key in self._known and not isinstance(self._known[key].verdict, Failed)

    def _asked(self, missing: Sequence[Asked]) -> Iterator[tuple[Asked, Recorded]]:
        if self._concurrency == 1 or len(missing) < 2:
            yield from ((one, self._ask(one)) for one in missing)
            return
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                yield from zip(missing, pool.map(self._ask, missing), strict=True)
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, one: Asked) -> Recorded:
        request, answers, failed = one.request(), [], None
        usage: dict[str, float] = {}
        for _ in range(self._calls):
            try:
                answers.append(self._scorer.score(request))
            except ScorerError as error:
                failed = Failed(str(error))
            for key, value in getattr(self._scorer, "usage", dict)().items():
                usage[key] = usage.get(key, 0.0) + value
        if failed is not None and len(answers) * 2 <= self._calls:
            return Recorded(failed, tuple(answers), usage)
        return Recorded(median_verdict(answers), tuple(answers), usage)

    def _keep(self, one: Asked, recorded: Recorded) -> None:
        self._counts["asked"] += 1
        self._counts["failed"] += isinstance(recorded.verdict, Failed)
        for name, value in recorded.usage.items():
            self._counts[name] = self._counts.get(name, 0.0) + value
        if self._path is None:
            return
        failed = recorded.verdict.why if isinstance(recorded.verdict, Failed) else None
        entry = {
            "format": FORMAT,
            "key": one.key,
            "scorer": self.scorer,
            "bar": one.bar,
            "failed": failed,
            "verdict": recorded.verdict.model_dump(mode="json") if isinstance(recorded.verdict, RiskVerdict) else None,
            "calls": [call.model_dump(mode="json") for call in recorded.calls],
            "usage": recorded.usage,
        }
        try:
            append_line(self._path, json.dumps(entry, sort_keys=True))
        except OSError as error:
            raise NewsError(f"verdicts: cannot write to {self._path}: {error.strerror or error}") from None


def median_verdict(verdicts: Sequence[RiskVerdict]) -> RiskVerdict:
    """Number by number; a veto by more than half; reason and citations of the answer nearest to the medians."""
    if len(verdicts) == 1:
        return verdicts[0]
    symbols = {name: _median_risk([one.symbols[name] for one in verdicts]) for name in sorted(verdicts[0].symbols)}
    market = _median_risk([one.market for one in verdicts])

    def distance(one: RiskVerdict) -> float:
        return sum(abs(one.symbols[name].risk - risk.risk) for name, risk in symbols.items()) + abs(
            one.market.risk - market.risk
        )

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
