"""The JSON schema that is made for one question, and the verdict taken out of what a model said to it.

A small model keeps to a few levels and to names that it is given, and seldom to bounds: so each number is an
enumeration, the symbols asked about are required and no others may stand there, and ids are those of the documents.
What a server without schemas lets through is read as `RiskVerdict` has it. Mended is only what has one reading; a risk
of 7 may be meant from 0 or from 1, to 10 or to 100, and is refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hybrid_bt.news.verdicts import MARKET, MAX_REASON, RiskRequest, RiskVerdict, ScorerError, checked_verdict

RISK = {"type": "number", "enum": [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]}
SIGNED = {"type": "number", "enum": [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1]}  #: sentiment, regime
SHARE = {"type": "number", "enum": [0, 0.25, 0.5, 0.75, 1]}  #: confidence
LEVELS = RISK, SIGNED, SHARE
AGAIN = "That cannot be used. {why}. Answer again, with the JSON object alone and all of it right."
MOST_BRACES = 1000  #: places of an answer at which an object is looked for
_END = r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|<\|message\|>"
#: up to the last end of a thought, for a chat template may have begun it; and one that has no end
_THOUGHT = re.compile(rf"\A.*(?:{_END})|(?:<(?:think|thinking|thought|reasoning)>|\[THINK\]).*\Z", re.DOTALL)
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(%?)")
NUMBERS = ("risk", "sentiment", "regime", "confidence")
FEWEST_PERCENT = 11.0  #: a confidence from there on is in percent; one from 1 to 10 may be of ten
DEPTH = 3  #: of a verdict's objects
_SWITCHES = {"true": True, "false": False}


def schema_of(request: RiskRequest) -> dict[str, Any]:
    """What an answer to this request must look like; only a verdict on it does."""
    ids = sorted({passage.id for passages in request.documents.values() for passage in passages})
    risk = _object({"risk": RISK, "sentiment": SIGNED})
    asked = sorted(request.documents.keys() - {MARKET})
    return _object(
        {
            "symbols": _object(dict.fromkeys(asked, risk)),
            "market": risk,
            "regime": SIGNED,
            "confidence": SHARE,
            "veto": {"type": "boolean"},
            "reason": {"type": "string", "maxLength": MAX_REASON},
            "documents": {"type": "array", "items": {"type": "string", "enum": ids}, "maxItems": len(ids)},
        }
    )


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def forms_of(schema: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Ways to ask for JSON of a schema, the strongest first."""
    return (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}},
        {"response_format": {"type": "json_object", "schema": schema}},
        {"response_format": {"type": "json_object"}},
        {},
    )


def read_verdict(said: str, request: RiskRequest) -> RiskVerdict:
    """The verdict in an answer without thoughts, whatever stands around it; errors as `checked_verdict`."""
    return checked_verdict(_mended(_only_object(said)), request)


def without_thoughts(text: str) -> str:
    """An answer behind what a reasoning model thought aloud, drafts of an answer among it."""
    return _THOUGHT.sub("", text).strip()


def _only_object(said: str) -> dict[str, Any]:
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    found: dict[str, dict[str, Any]] = {}
    place, tries = said.find("{"), 0
    while place >= 0 and tries < MOST_BRACES:
        end, tries = place + 1, tries + 1
        try:
            one, end = decoder.raw_decode(said, place)
            found[json.dumps(one, sort_keys=True)] = one
        except ScorerError:
            raise
        except (ValueError, RecursionError):
            pass
        place = said.find("{", end)
    verdicts = [one for one in found.values() if "symbols" in one]
    if not verdicts:
        raise ScorerError("verdict: Invalid JSON: the answer holds no object with 'symbols'")
    if len(verdicts) > 1:
        raise ScorerError(f"verdict: the answer holds {len(verdicts)} JSON objects; it must be one")
    return verdicts[0]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ScorerError(f"verdict: {twice!r} stands twice in one object")
    return found


def _mended(value: object, name: str = "", depth: int = 0) -> object:
    """Numbers and switches that stand there as texts, and a confidence in percent."""
    if isinstance(value, dict):
        return {key: _mended(one, key, depth + 1) for key, one in value.items()} if depth < DEPTH else value
    if name == "veto":
        return _SWITCHES.get(value.strip().lower(), value) if isinstance(value, str) else value
    number = _NUMBER.fullmatch(str(value).strip()) if name in NUMBERS and type(value) in (int, float, str) else None
    if number is None:
        return value
    read, is_percent = float(number[1]), bool(number[2])
    if name == "confidence" and (1.0 if is_percent else FEWEST_PERCENT) <= read <= 100.0:
        return read / 100.0
    return value if is_percent else read
