"""From flags to a desk: which documents, which scorer, asked or replayed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_bt.collector import collector_paused
from hybrid_bt.config import NewsConfig
from hybrid_bt.errors import ConfigError
from hybrid_bt.news.cache import Recording, Replay
from hybrid_bt.news.chat import KEY_VARIABLE, ChatScorer, ChatSettings
from hybrid_bt.news.desk import Answers, Desk, Direct
from hybrid_bt.news.embeddings import ranked_by
from hybrid_bt.news.index import index_of
from hybrid_bt.news.lexicon import LexiconScorer
from hybrid_bt.news.store import open_store
from hybrid_bt.news.verdicts import RiskRequest, RiskScorer, RiskVerdict, ScorerError, checked_verdict

__all__ = ["CACHE", "SAMPLE", "CallableScorer", "RiskSetup", "open_desk", "sample_path"]

CACHE = "verdicts.jsonl"
SAMPLE = "sample"  #: the embedded documents, by name
LEXICON = "lexicon"  #: the scorer, by name


class RiskSetup(NamedTuple):
    """What the user asked for."""

    mode: str = "off"  #: off, lexicon, replay, record or live
    documents: str = SAMPLE  #: `sample`, a store, or a file or folder that `hybrid-bt news add` reads
    scorer: str = LEXICON  #: `lexicon`, an http(s) address, or `module:callable`
    model: str = ""  #: asked for at that address
    cache: Path = Path(CACHE)
    key_variable: str = KEY_VARIABLE
    calls: int = 1  #: per question, in `record`
    concurrency: int = 4
    timeout_seconds: float = 60.0
    loughran_mcdonald: Path | None = None
    usd_per_million: tuple[float, float] = (0.0, 0.0)  #: tokens in, tokens out


@collector_paused()  # a store of many documents is many tuples and no cycles
def open_desk(
    setup: RiskSetup,
    config: NewsConfig,
    symbols: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    wrap: Callable[[RiskScorer], RiskScorer] | None = None,
) -> Desk:
    """A desk for these symbols.

    Parameters
    ----------
    wrap : callable, optional
        Put around the scorer, for variants of it.

    Raises
    ------
    HybridError
        If documents, scorer or cache cannot be used.
    """
    store = open_store(sample_path() if setup.documents == SAMPLE else Path(setup.documents))
    name = "the embedded sample" if setup.documents == SAMPLE else setup.documents
    index = ranked_by(config.retrieval, store, index_of(store))
    desk = Desk(store, index, _answers(setup, progress, wrap), config, symbols, name)
    desk.is_sample = setup.documents == SAMPLE
    return desk


def sample_path() -> Path:
    """The embedded documents."""
    return Path(str(resources.files("hybrid_bt.news") / "sample" / "events.jsonl"))


def _answers(
    setup: RiskSetup, progress: Callable[[int, int], None] | None, wrap: Callable[[RiskScorer], RiskScorer] | None
) -> Answers:
    if setup.mode == LEXICON and setup.scorer != LEXICON:
        raise ConfigError(f"--risk lexicon reads word lists; for {setup.scorer} say --risk record, replay or live")
    scorer = _scorer(setup)
    scorer = scorer if wrap is None else wrap(scorer)
    if setup.mode == LEXICON:
        return Direct(scorer)
    if setup.mode == "replay":
        return Replay(setup.cache, scorer.name)
    path = setup.cache if setup.mode == "record" else None
    calls = setup.calls if setup.mode == "record" else 1
    concurrency = setup.concurrency if isinstance(scorer, ChatScorer) else 1
    return Recording(scorer, path, calls, concurrency, progress)


def _scorer(setup: RiskSetup) -> RiskScorer:
    if setup.scorer == LEXICON:
        return LexiconScorer(setup.loughran_mcdonald)
    if setup.scorer.startswith(("http://", "https://")):
        if not setup.model:
            raise ConfigError("--scorer is an address; name the model with --scorer-model")
        read, written = setup.usd_per_million
        chosen = ChatSettings(setup.scorer, setup.model, setup.key_variable, setup.timeout_seconds)
        return ChatScorer(chosen._replace(usd_per_million_in=read, usd_per_million_out=written))
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
