"""From flags to a desk: which documents, which scorer, asked or replayed."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_bt.account import collector_paused
from hybrid_bt.config.parts import NewsConfig
from hybrid_bt.errors import ConfigError
from hybrid_bt.news.answers import Answers
from hybrid_bt.news.chat import KEY_VARIABLE, ChatScorer, ChatSettings
from hybrid_bt.news.desk import SAMPLE_NAME, Desk
from hybrid_bt.news.lexicon import LexiconScorer
from hybrid_bt.news.store import open_store
from hybrid_bt.news.verdicts import MARKET, Passage, RiskRequest, RiskScorer, RiskVerdict, ScorerError, checked_verdict

SAMPLE = "sample"  #: the embedded documents, by name
LEXICON = "lexicon"  #: the scorer, by name
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DATES = re.compile(
    rf"\b(?:\d{{4}}-\d{{2}}-\d{{2}}|(?:{_MONTHS})(?:\s+\d{{1,2}})?(?:,?\s+\d{{4}})?|(?:19|20)\d{{2}})\b", re.IGNORECASE
)
_NAMES = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w&'-]*(?:\s+(?:of\s+)?[A-Z][\w&'-]*)*")


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


@collector_paused()  # a store of many documents is many tuples and no cycles
def open_desk(setup: RiskSetup, config: NewsConfig, symbols: Sequence[str]) -> Desk:
    """A desk for these symbols.

    Raises
    ------
    HybridError
        If documents, scorer or recorded verdicts cannot be used.
    """
    is_sample = setup.news == SAMPLE
    store = open_store(sample_path() if is_sample else Path(setup.news))
    return Desk(store, _answers(setup), config, symbols, SAMPLE_NAME if is_sample else setup.news)


def sample_path() -> Path:
    """The embedded documents."""
    return Path(str(resources.files("hybrid_bt.news") / "sample" / "events.jsonl"))


def _answers(setup: RiskSetup) -> Answers:
    if setup.risk == LEXICON and setup.scorer != LEXICON:
        raise ConfigError(f"--risk lexicon reads word lists; for {setup.scorer} say --risk record, replay or live")
    plain = _scorer(setup)
    scorer = Masked(plain) if setup.masked else plain
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
        asked = setup.scorer, setup.scorer_model, setup.scorer_key_env, setup.scorer_timeout, setup.scorer_price
        return ChatScorer(ChatSettings(*asked))
    if ":" in setup.scorer:
        return CallableScorer(setup.scorer, _found(setup.scorer))
    raise ConfigError(f"--scorer {setup.scorer!r}: give lexicon, an http(s) address, or module:callable")


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
            raise ScorerError(f"{self.name} raised {type(error).__name__}: {str(error)[:120]}") from error
        return checked_verdict(answer, request)


def _found(name: str) -> Callable[[RiskRequest], Any]:
    module, _, function = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does, for the console script
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--scorer {name}: {error}; write module:callable of a module that can be imported") from None
    if not callable(found):
        raise ConfigError(f"--scorer {name}: {type(found).__name__} is not callable; name a function")
    return found  # type: ignore[no-any-return]


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
        documents = {
            hidden[name]: tuple(_hidden(one, name, ids) for one in passages)
            for name, passages in request.documents.items()
        }
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
