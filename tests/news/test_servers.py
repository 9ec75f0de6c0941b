"""Servers as they differ: which form of `response_format` each takes, what models say around a verdict, and why."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from news_cases import REQUEST, Server, reply
from price_files import write_prices
from test_scorers import GOOD, completion

from hybrid_bt.commands.run import main
from hybrid_bt.news.chat import CLOSE, OPEN
from hybrid_bt.news.schema import read_verdict, schema_of, without_thoughts
from hybrid_bt.news.verdicts import MARKET, Passage, RiskRequest, RiskVerdict, ScorerError

pytest.importorskip("httpx")

VERDICT = RiskVerdict.model_validate(GOOD)
LITERAL = "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'input': 'json_schema'}]"
Said = Callable[[dict[str, Any]], object]


def good(asked: dict[str, Any]) -> object:
    return GOOD


def form_of(asked: dict[str, Any]) -> str:
    form = asked.get("response_format", {"type": "none"})
    return f"{form['type']}+schema" if "schema" in form else str(form["type"])


class Refusing:
    """A server that answers some forms with a status, as those named do, and the others as its model says."""

    def __init__(self, refused: dict[str, int], said: Said = good) -> None:
        self.refused, self.said, self.forms = refused, said, list[str]()

    def __call__(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        form = form_of(asked)
        self.forms.append(form)
        if status := self.refused.get(form):
            error = {"message": LITERAL, "type": "internal_server_error", "param": None, "code": None}
            return reply(handler, json.dumps({"error": error}).encode(), status)
        return reply(handler, completion(self.said(asked)))


EVERY = ("json_schema", "json_object+schema", "json_object", "none")
#: what each refuses with what, and how many forms it takes until one is taken
SERVERS = {
    "vLLM, Ollama, llama.cpp": ({}, 1),
    "llama-cpp-python": ({"json_schema": 500}, 2),
    "DeepSeek": ({"json_schema": 400, "json_object+schema": 422}, 3),
    "LM Studio": ({"json_object": 400, "json_object+schema": 400}, 1),
    "older than response_format": (dict.fromkeys(EVERY[:3], 400), 4),
}


@pytest.fixture
def serve() -> Iterator[Callable[[Refusing], Server]]:
    running: list[Server] = []

    def start(behave: Refusing) -> Server:
        running.append(Server(behave))
        return running[-1]

    yield start
    for server in running:
        server.stop()


Serve = Callable[[Refusing], Server]


@pytest.mark.parametrize("name", SERVERS)
def test_forms_are_tried_in_turn_and_the_one_taken_is_remembered(name: str, serve: Serve) -> None:
    refused, tries = SERVERS[name]
    behave = Refusing(refused)
    scorer = serve(behave).scorer()
    assert scorer.score(REQUEST) == VERDICT and scorer.usage()["calls"] == tries
    assert scorer.score(REQUEST) == VERDICT and scorer.usage()["calls"] == 1
    assert behave.forms == [*EVERY[:tries], EVERY[tries - 1]]


def test_server_that_fails_in_every_form_says_why_and_is_asked_in_each_once(serve: Serve) -> None:
    behave = Refusing(dict.fromkeys(EVERY, 500))
    scorer = serve(behave).scorer()
    with pytest.raises(ScorerError, match=r"status 500: \[\{'type': 'literal_error'"):
        scorer.score(REQUEST)
    assert behave.forms == list(EVERY)


def test_form_that_was_taken_once_is_not_left_for_a_passing_fault(serve: Serve) -> None:
    behave = Refusing({})
    scorer = serve(behave).scorer()
    scorer.score(REQUEST)
    behave.refused = {"json_schema": 500}
    with pytest.raises(ScorerError, match="status 500"):
        scorer.score(REQUEST)
    assert behave.forms == ["json_schema"] * 3


def test_key_is_in_no_reason_and_a_refused_key_quotes_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_BT_LLM_KEY", "literal_error")
    for status in (401, 403, 404, 503):
        with pytest.raises(ScorerError) as caught:
            serve(Refusing(dict.fromkeys(EVERY, status))).scorer().score(REQUEST)
        assert str(caught.value) == f"the server answered with status {status}"
    monkeypatch.delenv("HYBRID_BT_LLM_KEY")
    with pytest.raises(ScorerError, match=r"status 404: .*literal_error"):
        serve(Refusing(dict.fromkeys(EVERY, 404))).scorer().score(REQUEST)


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """The part of JSON Schema that our schemas use."""
    if "enum" in schema:
        return value in schema["enum"] and not isinstance(value, bool)
    if schema["type"] == "object":
        names = schema["properties"]
        assert schema["required"] == list(names) and schema["additionalProperties"] is False
        return (
            isinstance(value, dict) and value.keys() == names.keys() and all(valid(value[n], names[n]) for n in names)
        )
    if schema["type"] == "array":
        return len(value) <= schema["maxItems"] and all(valid(one, schema["items"]) for one in value)
    return isinstance(value, bool) if schema["type"] == "boolean" else len(value) <= schema["maxLength"]


def drawn(schema: dict[str, Any], rng: random.Random) -> Any:
    """What a model that is held to a schema says, whatever it thinks."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if schema["type"] == "object":
        return {name: drawn(one, rng) for name, one in schema["properties"].items()}
    if schema["type"] == "array":
        return [drawn(schema["items"], rng) for _ in range(rng.randint(0, schema["maxItems"]))]
    return rng.random() < 0.5 if schema["type"] == "boolean" else "x" * rng.randint(0, schema["maxLength"])


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(st.dictionaries(names | st.just(MARKET), st.lists(names, min_size=1, max_size=4), min_size=1), st.randoms())
def test_whatever_fits_the_schema_of_a_question_is_a_verdict_on_it(asked: dict[str, list[str]], rng: Any) -> None:
    request = RiskRequest("now", {name: tuple(Passage(i, "", "", "", "t") for i in ids) for name, ids in asked.items()})
    schema = schema_of(request)
    symbols = schema["properties"]["symbols"]
    assert symbols["required"] == sorted(set(asked) - {MARKET}) and set(schema["required"]) == set(
        RiskVerdict.model_fields
    )
    assert set(schema["properties"]["documents"]["items"]["enum"]) == {one for ids in asked.values() for one in ids}
    said = json.loads(json.dumps(drawn(schema, rng)))
    assert valid(said, schema)
    verdict = read_verdict(json.dumps(said), request)
    assert verdict.model_dump(mode="json") == {**said, "reason": said["reason"]}


def test_a_small_model_held_to_the_schema_answers_every_question(serve: Serve) -> None:
    rng = random.Random(0)
    behave = Refusing({"json_schema": 500}, lambda asked: drawn(asked["response_format"]["schema"], rng))
    scorer = serve(behave).scorer()
    for _ in range(20):
        assert set(scorer.score(REQUEST).symbols) == {"KO"}
    assert len(behave.forms) == 21


TEXT = json.dumps(GOOD, indent=1)
DRAFT = json.dumps({**GOOD, "symbols": {"KO": {"risk": 1, "sentiment": 1}}})


@pytest.mark.parametrize(
    "said",
    [
        f"<think>Profit fell. Perhaps {DRAFT}? No.</think>\n\n{TEXT}",
        f"Perhaps {DRAFT}? No.\n</think>\n{TEXT}",  # the template began the thought
        f"<thinking>{DRAFT}</thinking>{TEXT}",
        f"[THINK]{DRAFT}[/THINK]{TEXT}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{TEXT}",
        f"```json\n{TEXT}\n```",
        f"Here is my verdict:\n\n```json\n{TEXT}\n```\nI hope this helps. {{smile}}",
        f"<think>hm</think>Sure! ```\n{TEXT}``` Note: {{}}",
        f"{TEXT}\n{json.dumps(GOOD)}",  # the same twice
        f"[{TEXT}]",
    ],
)
def test_verdict_is_taken_out_of_thoughts_fences_and_words(said: str, serve: Serve) -> None:
    behave = Refusing({}, lambda asked: said)
    assert serve(behave).scorer().score(REQUEST) == VERDICT and len(behave.forms) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (f"<think>Perhaps {DRAFT}", "no object"),  # the thought never ended
        (f"{TEXT} or rather {DRAFT}", "2 JSON objects"),
        (TEXT[:-20], "no object with 'symbols'"),
        ('{"symbols": {"KO": {"risk": 1, "risk": 5, "sentiment": 0}}}', "'risk' stands twice"),
        ('{"a":' * 100_000, "no object"),
        ("{" * 100_000, "no object"),
        ('{"symbols": {"KO": ' + '{"risk": ' * 900 + "1" + "}" * 902, "verdict: "),
        ('{"symbols": {' + ", ".join(f'"{n}": 1' for n in [*range(50_000), 49_999]) + "}}", "'49999' stands twice"),
        ('{"symbols": {"KO": {"risk": ' + "9" * 5000 + ', "sentiment": 0}}}', "verdict: "),
    ],
)
def test_answer_of_two_readings_or_none_is_refused(said: str, why: str) -> None:
    with pytest.raises(ScorerError, match=why) as caught:
        read_verdict(without_thoughts(said), REQUEST)
    assert len(str(caught.value)) <= 280


def saying(**fields: object) -> str:
    risk = {"risk": fields.pop("risk", 4), "sentiment": fields.pop("sentiment", -0.5)}
    return json.dumps({**GOOD, "symbols": {"KO": risk}, **fields})


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"confidence": "80%"}, {"confidence": 0.8}),
        ({"confidence": "5 %"}, {"confidence": 0.05}),
        ({"confidence": 80}, {"confidence": 0.8}),
        ({"confidence": "0.8"}, {"confidence": 0.8}),
        ({"regime": "-0.5", "veto": "False"}, {"regime": -0.5, "veto": False}),
        ({"risk": "4"}, {"symbols": {"KO": {"risk": 4, "sentiment": -0.5}}}),
    ],
)
def test_what_has_one_reading_is_mended(said: dict[str, object], read: dict[str, object]) -> None:
    assert read_verdict(saying(**said), REQUEST) == RiskVerdict.model_validate({**GOOD, **read})


@pytest.mark.parametrize("field", ["risk", "sentiment", "regime", "confidence", "veto"])
@pytest.mark.parametrize(
    "value", [True, "high", 7, "7/10", 1.5e300, -3, None, [4], "50% or so", 0.5, "0.8%", "60%", 5.5]
)
def test_types_and_ranges_hold_for_every_number(field: str, value: object) -> None:
    """Of all these only these are a number, or a switch, within its bounds."""
    fine = {"sentiment": [0.5], "regime": [0.5], "confidence": [0.5, "60%"], "veto": [True]}.get(field, [])
    if any(value is one or (type(value) is type(one) and value == one) for one in fine):
        read_verdict(saying(**{field: value}), REQUEST)
        return
    with pytest.raises(ScorerError, match=f"verdict: (symbols.KO.)?{field}: .*got") as caught:
        read_verdict(saying(**{field: value}), REQUEST)
    assert repr(value)[:20] in str(caught.value)


def test_second_question_says_what_was_wrong_with_the_first_answer(serve: Serve) -> None:
    def learning(asked: dict[str, Any]) -> object:
        talk = asked["messages"]
        return f"<think>hm</think>{saying(risk=7)}" if len(talk) == 2 else GOOD

    server = serve(Refusing({}, learning))
    assert server.scorer().score(REQUEST) == VERDICT
    (_, first), (_, second) = server.requests
    assert second["messages"][:2] == first["messages"]
    answer, question = second["messages"][2:]
    assert answer == {"role": "assistant", "content": saying(risk=7)} and question["role"] == "user"
    assert "symbols.KO.risk: Input should be less than or equal to 5, got 7" in question["content"]


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -5}, {"completion_tokens": True}, {"prompt_tokens": 1e300}, {"completion_tokens": "9"}]
)
def test_tokens_that_cannot_be_are_refused_and_missing_ones_are_none(usage: dict[str, object], serve: Serve) -> None:
    def behave(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        reply(handler, json.dumps({**json.loads(completion(GOOD)), "usage": told[0]}).encode())

    told: list[object] = [usage]
    server = Server(behave)
    with pytest.raises(ScorerError, match="tokens are whole and from 0 on"):
        server.scorer().score(REQUEST)
    for told[0] in (None, {}, {"prompt_tokens": None}):
        assert server.scorer().score(REQUEST) == VERDICT
    server.stop()


def test_answer_that_was_cut_off_says_so(serve: Serve) -> None:
    def behave(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        choice = {"message": {"content": "<think>Well, let me"}, "finish_reason": "length"}
        reply(handler, json.dumps({"choices": [choice], "usage": {"completion_tokens": 700}}).encode())

    server = Server(behave)
    with pytest.raises(ScorerError, match="no object with 'symbols'; it was cut off after 700 tokens"):
        server.scorer().score(REQUEST)
    server.stop()


@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_reason_of_failures_stands_in_the_note_and_in_run_json(mode: str, serve: Serve, tmp_path: Path) -> None:
    documents = tmp_path / "n.jsonl"
    days = [f"2016-03-{day:02d}T10:00:00Z" for day in (1, 8, 15)]
    rows = [{"text": f"News {day}", "published_at": day, "first_seen_at": day, "symbols": "AAA"} for day in days]
    documents.write_text("\n".join(map(json.dumps, rows)))

    def said(asked: dict[str, Any]) -> object:
        content = asked["messages"][1]["content"]
        risk = 7 if "2016-03-08" in json.loads(content[len(OPEN) : -len(CLOSE)])["as_of"] else True
        return {"symbols": {"AAA": {"risk": risk, "sentiment": 0}}}

    server = serve(Refusing({"json_schema": 500}, said))
    options = ("--data", write_prices(tmp_path / "four"), "--news", documents, "--scorer", server.url, "--mode", mode,
               "--scorer-model", "m", "--no-plots", "--risk", "live", "--out", tmp_path / "fig")  # fmt: skip
    done = CliRunner().invoke(main, [str(one) for one in options])
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "fig" / "run.json").read_text())
    reasons = facts["risk_manager"]["failures_by_reason"]
    by_type, by_range = "symbols.AAA.risk: Value error, must be a number", "less than or equal to 5, got 7"
    assert sorted(reasons.values()) == [1, 2] and all(by_type in why or by_range in why for why in reasons)
    (note,) = [one for one in facts["notes"] if "failed on 3 bars" in one]
    assert f"on 2 of them: verdict: {by_type}" in note
    assert "failed on 3 bars" in done.output and "must be a number" in " ".join(done.output.split())
