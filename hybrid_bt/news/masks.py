"""Documents without names and dates: what a model knows of the company or the day from elsewhere is of no use then.

A verdict that changes under the mask was not read from the document alone: the contamination gap.
"""

from __future__ import annotations

import re

from hybrid_bt.news.verdicts import MARKET, Passage, RiskRequest, RiskScorer, RiskVerdict, ScorerError

__all__ = ["Masked"]

_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DATES = re.compile(
    rf"\b(?:\d{{4}}-\d{{2}}-\d{{2}}|(?:{_MONTHS})(?:\s+\d{{1,2}})?(?:,?\s+\d{{4}})?|(?:19|20)\d{{2}})\b", re.IGNORECASE
)
_NAMES = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w&'-]*(?:\s+(?:of\s+)?[A-Z][\w&'-]*)*")


class Masked:
    """A scorer that is shown documents without names of companies, people and places, and without dates.

    Symbols, and every run of capitalised words that does not open a sentence, become `NAME`; dates and years become
    `DATE`; ids, sources and the moment asked for are hidden. A name that opens a sentence stays, so the mask is a lower
    bound of the gap.
    """

    def __init__(self, scorer: RiskScorer) -> None:
        self._scorer, self.name = scorer, f"{scorer.name}+masked"

    def score(self, request: RiskRequest) -> RiskVerdict:
        """The verdict on the masked request, in the request's own names."""
        hidden = {name: MARKET if name == MARKET else f"S{i}" for i, name in enumerate(request.documents)}
        ids: dict[str, str] = {}
        documents = {
            hidden[name]: tuple(self._passage(one, name, ids) for one in passages)
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

    def usage(self) -> dict[str, float]:
        """The scorer's own."""
        found: dict[str, float] = getattr(self._scorer, "usage", dict)()
        return found

    @staticmethod
    def _passage(passage: Passage, symbol: str, ids: dict[str, str]) -> Passage:
        number = ids.setdefault(passage.id, f"D{len(ids) + 1}")
        return Passage(number, "DATE", "", _masked(passage.title, symbol), _masked(passage.text, symbol))


def _masked(text: str, symbol: str) -> str:
    if symbol != MARKET:
        text = re.sub(rf"\b{re.escape(symbol)}\b", "NAME", text)
    return _NAMES.sub("NAME", _DATES.sub("DATE", text))
