"""A scorer over any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, or a hosted one.

Documents are data: they stand in one JSON text between marks that cannot occur in it, without unseen characters, and
the model has no tools. What comes back is checked against the schema, and bounded numbers are all that is used; an
answer that breaks it is asked for once more, with what was wrong, then it is a failure. The key is read from the
environment when a request is sent; an answer that holds it is refused, so it reaches neither cache nor report.

Servers differ in how they take a schema. The ways are tried in turn, and the first that a server does not refuse stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from hybrid_bt.errors import ConfigError, library
from hybrid_bt.news import clean
from hybrid_bt.news.schema import AGAIN, LEVELS, forms_of, read_verdict, schema_of, without_thoughts
from hybrid_bt.news.verdicts import RiskRequest, RiskVerdict, ScorerError, add_up

if TYPE_CHECKING:
    import httpx

PROMPT_VERSION = 2
KEY_VARIABLE = "HYBRID_BT_LLM_KEY"
MAX_TOKENS, TEMPERATURE = 2000, 0.0  #: of an answer; part of a scorer's name
MAX_ANSWER_BYTES, MOST_TOKENS = 1_000_000, 10**9  #: of an answer
TOKENS = "prompt_tokens", "completion_tokens"
MOST_PATIENCE = 20.0  #: seconds that a server's Retry-After is followed
HERE = ("localhost", "127.0.0.1", "::1")  #: hosts that a key may go to unencrypted
OPEN, CLOSE = "<documents>", "</documents>"
OK, BAD_KEY = 200, (401, 403)  #: statuses; what is said with the latter may hold a part of the key
REFUSALS = (400, 415, 422, 500, 501)  #: statuses of servers that do not know a form
MOST_QUOTED = 1000  #: characters of a wrong answer that its model is shown

#: with the marks `OPEN` and `CLOSE`, and `MARKET`
_SYSTEM = (resources.files("hybrid_bt.news") / "prompt.txt").read_text(encoding="utf-8").rstrip()


Talk: TypeAlias = list[dict[str, str]]


class _RefusedError(ScorerError):
    """By a server that does not know the form, or fails in any."""


class ChatScorer:
    """Asks a model.

    Parameters
    ----------
    address : str
        Such as http://localhost:11434/v1.
    model : str
    key_variable : str
        Environment variable of the key; none is sent where it is not set.
    timeout_seconds : float
        Of a whole answer.
    usd_per_million : pair of float
        Price of tokens in, and out.

    Raises
    ------
    ConfigError
        Without httpx, or for an address that is none, holds a password, or would carry a key unencrypted.
    """

    def __init__(
        self,
        address: str,
        model: str,
        key_variable: str = KEY_VARIABLE,
        timeout_seconds: float = 60.0,
        usd_per_million: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._address, self._model = _checked(address, key_variable), model
        self._key_variable, self._timeout, self._price = key_variable, timeout_seconds, usd_per_million
        asked = [_SYSTEM, AGAIN, LEVELS, MAX_TOKENS, TEMPERATURE]
        self.name = f"{model}@prompt-{PROMPT_VERSION}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}"
        self._spent = threading.local()
        self._form: int | None = None  # of `forms_of`, that this server took

    def score(self, request: RiskRequest) -> RiskVerdict:
        """Ask, and once more, saying why, if the answer was none; ScorerError after that."""
        self._spent.usage = {}
        talk, forms = messages(request), forms_of(schema_of(request))
        try:
            return self._verdict(talk, forms, request)
        except ScorerError as error:
            if self._form is None and isinstance(error, _RefusedError):
                raise  # in every form: it was asked often enough
            time.sleep(self._spent.patience)
            if self._spent.said is not None:
                talk.append({"role": "assistant", "content": self._spent.said[:MOST_QUOTED] or "{}"})
                talk.append({"role": "user", "content": AGAIN.format(why=error)})
        return self._verdict(talk, forms, request)

    def usage(self) -> dict[str, float]:
        """Calls, tokens and dollars of this thread's last question."""
        return dict(getattr(self._spent, "usage", {}))

    @cached_property
    def _client(self) -> httpx.Client:
        """Made when it is first needed: a replay needs none."""
        module = library("httpx", "llm", "a model is asked through httpx")
        client: httpx.Client = module.Client(timeout=self._timeout, follow_redirects=False)
        return client

    def _verdict(self, talk: Talk, forms: Sequence[dict[str, Any]], request: RiskRequest) -> RiskVerdict:
        said = self._answer(talk, forms)
        try:
            return read_verdict(said, request)
        except ScorerError as error:
            raise ScorerError(f"{error}{self._spent.cut}") from None

    def _answer(self, talk: Talk, forms: Sequence[dict[str, Any]]) -> str:
        """What the model said, in the form that this server takes."""
        refused = []
        for number in range(len(forms)) if self._form is None else (self._form,):
            try:
                answer, self._form = self._asked(talk, forms[number]), number
                return answer
            except _RefusedError as error:
                refused.append(error)
        raise refused[0]

    def _asked(self, talk: Talk, form: dict[str, Any]) -> str:
        client = self._client
        import httpx

        add_up(self._spent.usage, {"calls": 1})
        self._spent.patience, self._spent.said = 0.0, None
        body = {"model": self._model, "messages": talk, "temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}
        try:
            content = self._sent(client, body | form)
        except httpx.TimeoutException:
            raise ScorerError(f"late: no answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise ScorerError(f"no connection: {type(error).__name__}") from None
        return self._text(content)

    def _sent(self, client: httpx.Client, body: Mapping[str, Any]) -> bytes:
        """The whole answer of a server, within the time that a whole answer may take."""
        until = time.monotonic() + self._timeout
        key = os.environ.get(self._key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        whole = bytearray()
        with client.stream("POST", self._address, json=body, headers=headers) as answer:
            for part in answer.iter_bytes():
                whole += part
                if len(whole) > MAX_ANSWER_BYTES:
                    raise ScorerError(f"the answer has over {MAX_ANSWER_BYTES:,} bytes")
                if time.monotonic() > until:
                    raise ScorerError(f"late: no whole answer within {self._timeout:g} s")
        if answer.status_code != OK:
            wait = answer.headers.get("Retry-After", "")
            self._spent.patience = min(float(wait), MOST_PATIENCE) if wait.isascii() and wait.isdigit() else 0.0
            why = "" if answer.status_code in BAD_KEY else self._complaint(bytes(whole))
            kind = _RefusedError if answer.status_code in REFUSALS else ScorerError
            raise kind(f"the server answered with status {answer.status_code}{why and f': {why}'}")
        return bytes(whole)

    def _complaint(self, content: bytes) -> str:
        """What a server says of a failure, unless it holds the key."""
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            return ""
        for name in ("error", "message", "detail"):
            found = found.get(name, found) if isinstance(found, dict) else found
        return found if isinstance(found, str) and not self._leaks(content, found) else ""

    def _text(self, content: bytes) -> str:
        try:
            answer = json.loads(content)
            choice = answer["choices"][0]
            text = choice["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise ScorerError("the answer is no chat completion") from None
        if not isinstance(text, str):
            raise ScorerError("the answer holds no text")
        if self._leaks(content, text):
            raise ScorerError("the answer holds the key that was sent; do not trust this server")
        usage = answer.get("usage")
        told = usage if isinstance(usage, dict) else {}
        counts = [told.get(name) or 0 for name in TOKENS]
        if any(type(n) is not int or not 0 <= n < MOST_TOKENS for n in counts):
            raise ScorerError(f"the answer counts {counts} as {' and '.join(TOKENS)}; tokens are whole and from 0 on")
        dollars = sum(n * price for n, price in zip(counts, self._price, strict=True)) / 1e6
        add_up(self._spent.usage, {**dict(zip(TOKENS, map(float, counts), strict=True)), "usd": dollars})
        is_cut = choice.get("finish_reason") == "length"
        self._spent.cut = f"; it was cut off after {counts[1] or MAX_TOKENS} tokens" if is_cut else ""
        self._spent.said = said = without_thoughts(text)
        return said

    def _leaks(self, content: bytes, text: str) -> bool:
        key = os.environ.get(self._key_variable, "")
        return bool(key) and any(key in said for said in (content.decode(errors="replace"), text, _unescaped(text)))


def messages(request: RiskRequest) -> Talk:
    """The prompt: rules, then documents as one JSON text in which no mark can occur."""
    documents = {
        name: [{key: clean(value) for key, value in passage._asdict().items()} for passage in passages]
        for name, passages in request.documents.items()
    }
    quoted = json.dumps({"as_of": request.as_of, "documents": documents}).replace("<", "\\u003c")
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": f"{OPEN}\n{quoted}\n{CLOSE}"}]


def _unescaped(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _checked(address: str, key_variable: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigError("scorer: the address must be http(s)://HOST[:PORT]/PATH, such as http://localhost:11434/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"scorer: the address may hold no user, password or query; put the key into ${key_variable}")
    if parts.scheme == "http" and os.environ.get(key_variable) and host not in HERE:
        raise ConfigError(f"scorer: ${key_variable} would go to {host} unencrypted; use https, or unset it")
    return address.rstrip("/") + "/chat/completions"
