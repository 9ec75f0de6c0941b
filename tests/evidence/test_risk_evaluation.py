"""The risk manager weighed: recorded from a server that speaks the protocol, replayed, to figures that are known."""

from __future__ import annotations

import csv
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result
from news_cases import SECRET, Server, reply
from price_files import read, write_prices

from hybrid_bt.commands.news import evaluate
from hybrid_bt.commands.run import main as run
from hybrid_bt.news.answers import seal_of
from hybrid_bt.news.chat import CLOSE, OPEN

pytest.importorskip("arch")
pytest.importorskip("bm25s")
pytest.importorskip("httpx")
pytest.importorskip("vaderSentiment")

#: risk that the calls about a document give, in turn; neutral is 3
RISKS = {"Steady": (4.0, 4.0, 4.0), "Doubtful": (2.0, 4.5, 5.0), "Calm": (1.0, 3.0, 2.0), "Odd": (4.0, 4.0, 2.5)}
DAYS = ("2016-03-01", "2016-03-15", "2016-04-05", "2016-04-19", "2016-05-03", "2016-05-17", "2016-06-07", "2016-06-21")
IN, OUT = 130, 24  #: tokens of an answer
CALLS = 3
FEW = ("--placebos", 3)
FLIPS = 4 / 8  #: Doubtful and Odd are on both sides of neutral; 3 itself is not above it


class Model:
    """Answers the n-th question about a document by the n-th of its risks, and now and then nonsense first."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.shown: list[str] = []
        self._alone = threading.Lock()

    def __call__(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        said = asked["messages"][1]["content"]
        documents = json.loads(said[len(OPEN) : -len(CLOSE)])["documents"]
        passages = [one for found in documents.values() for one in found]
        newest = max(passages, key=lambda one: int(re.findall(r"(\d+) times", one["text"])[0]))
        with self._alone:
            self.shown.append(said)
            self.asked[said] += 1
            turn = self.asked[said] - 1
        symbols = {name: {"risk": self._risk(newest["text"], turn), "sentiment": -0.5} for name in documents}
        self._send(handler, {"symbols": symbols, "reason": "as told", "documents": [newest["id"]]})

    @staticmethod
    def _risk(text: str, turn: int) -> float:
        return next(risks for word, risks in RISKS.items() if word in text)[turn % CALLS]

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, answer: object) -> None:
        usage = {"prompt_tokens": IN, "completion_tokens": OUT}
        choices = [{"message": {"content": json.dumps(answer)}}]
        reply(handler, json.dumps({"choices": choices, "usage": usage}).encode())


class Case(NamedTuple):
    home: Path
    server: Server
    model: Model
    common: tuple[object, ...]
    recorded: Result


def invoke(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("weighed")
    prices = write_prices(home / "four")
    words = list(RISKS)
    rows = [
        {
            "text": f"{words[i % 4]} results were told {i} times of Acme Corporation in 2016",
            "published_at": f"{day}T10:00:00Z",
            "first_seen_at": f"{day}T10:00:00Z",
            "symbols": ["AAA"],
        }
        for i, day in enumerate(DAYS)
    ]
    (home / "n.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = Model()
    server = Server(model)
    common = ("--data", prices, "--news", home / "n.jsonl", "--scorer", server.url, "--scorer-model", "m",
              "--verdicts", home / "v.jsonl")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRID_BT_LLM_KEY", SECRET)
        recorded = invoke(evaluate, *common, *FEW, "--risk", "record", "--calls", CALLS, "--scorer-price", 2, 10)
        assert recorded.exit_code == 0, recorded.output
        yield Case(home, server, model, common, recorded)
    server.stop()


def replayed(case: Case, out: Path, *more: object) -> Result:
    """`news evaluate` from the record, which calls nobody."""
    before = len(case.server.requests)
    found = invoke(evaluate, *case.common, *FEW, "--risk", "replay", "--out", out, *more)
    assert found.exit_code == 0, found.output
    assert len(case.server.requests) == before
    return found


def effects(path: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (one["span"], one["variant"], one["measure"]): {
            name: float(one[name]) for name in list(one)[3:] if one[name] != ""
        }
        for one in rows
    }


@pytest.fixture(scope="module")
def traded(case: Case) -> Path:
    """The report of a run that replays."""
    flags = ("--risk", "replay", "--no-plots", "--no-ledger", "--out", case.home / "fig")
    before = len(case.server.requests)
    found = invoke(run, *case.common, *flags)
    assert found.exit_code == 0, found.output
    assert len(case.server.requests) == before
    return case.home / "fig"


def test_flip_rate_tokens_and_dollars_are_those_that_the_server_gave(case: Case, traded: Path, tmp_path: Path) -> None:
    calls = len(DAYS) * CALLS
    assert len(case.server.requests) == 2 * calls  # as they are, and masked
    bars = len(read(traded, "equity"))
    dollars = calls * (2 * IN + 10 * OUT) / 1e6 * 1000 / bars
    output = replayed(case, tmp_path).output
    for line in (
        f"verdict flip rate between calls: {FLIPS:.1%}",
        f"per 1,000 bars: {calls * IN * 1000 / bars:,.0f} tokens in, {calls * OUT * 1000 / bars:,.0f} out, "
        f"{dollars:.4f} US dollars",
        "contamination gap): 0.0000 points",  # this model reads no names
    ):
        assert line in output and line in case.recorded.output


def test_verdicts_of_other_documents_in_the_same_file_cost_this_evaluation_nothing(case: Case, tmp_path: Path) -> None:
    rows = (case.home / "v.jsonl").read_text().splitlines()
    other = {**json.loads(rows[0]), "key": "0" * 64}
    other["seal"] = seal_of({name: value for name, value in other.items() if name != "seal"})
    (tmp_path / "v.jsonl").write_text("\n".join([*rows, json.dumps(other)]))
    found = invoke(evaluate, *case.common, *FEW, "--risk", "replay", "--verdicts", tmp_path / "v.jsonl")
    assert found.output == replayed(case, tmp_path / "e").output


def test_masked_model_is_shown_no_name_and_no_year(case: Case) -> None:
    names = ("AAA", "Acme", "2016")
    plain = [said for said in case.model.shown if "AAA" in said]
    masked = [said for said in case.model.shown if not any(name in said for name in names)]
    assert len(plain) == len(masked) == len(DAYS) * CALLS


def test_effects_are_those_of_the_run_s_own_accounts(case: Case, traded: Path, tmp_path: Path) -> None:
    replayed(case, tmp_path)
    found = effects(tmp_path / "news_effects.csv")
    accounts = {row["account"]: row for row in read(traded, "summary_pnl")}
    for variant, account in (("on", "hybrid"), ("off", "risk-off")):
        for measure in ("sharpe", "max_drawdown", "volatility"):
            value = found["whole span", variant, measure]["value"]
            assert value == pytest.approx(float(accounts[account][measure]), rel=1e-9)
    equity = np.array([float(row["equity"]) for row in read(traded, "equity")])
    returns = np.sort(equity[1:] / equity[:-1] - 1)
    worst = returns[: int(0.05 * len(returns))].mean()
    assert found["whole span", "on", "cvar"]["value"] == pytest.approx(worst, rel=1e-9)
    assert {variant for _, variant, _ in found} == {"off", "on", "lexicon", "masked", "delayed", "placebo 0"}
    masked, on = (found["whole span", name, "sharpe"] for name in ("masked", "on"))
    assert masked == on
    assert found["whole span", "delayed", "sharpe"]["value"] != on["value"]


def test_cutoff_parts_the_span_and_the_parts_know_nothing_of_each_other(case: Case, tmp_path: Path) -> None:
    replayed(case, tmp_path / "a", "--cutoff", "2016-05-10")
    spans = effects(tmp_path / "a" / "news_effects.csv")
    assert {span for span, _, _ in spans} == {"whole span", "before cut-off", "after cut-off"}
    replayed(case, tmp_path / "b", "--cutoff", "2016-05-10", "--end", "2016-07-15")
    earlier = effects(tmp_path / "b" / "news_effects.csv")
    for measure in ("cvar", "max_drawdown"):  # others are per year, which is counted on the whole span
        one, other = (found["before cut-off", "on", measure]["value"] for found in (spans, earlier))
        assert one == other
    short = replayed(case, tmp_path / "c", "--cutoff", "2016-07-29").output
    assert "too few bars after the cut-off" in short
    assert spans["after cut-off", "on", "sharpe"] != earlier["after cut-off", "on", "sharpe"]


def test_no_secret_is_on_disk_or_in_what_was_printed(case: Case, traded: Path, tmp_path: Path) -> None:
    assert all(headers["Authorization"] == f"Bearer {SECRET}" for headers, _ in case.server.requests)
    said = [case.recorded.output, replayed(case, tmp_path).output]
    assert not any(SECRET in text for text in said)
    for path in (*case.home.rglob("*"), *tmp_path.rglob("*")):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_replay_with_nobody_there_and_no_key_gives_the_same(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = replayed(case, tmp_path / "a").output
    monkeypatch.delenv("HYBRID_BT_LLM_KEY")
    assert replayed(case, tmp_path / "b").output == before
    tables = [(tmp_path / name / "news_effects.csv").read_bytes() for name in "ab"]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--risk lexicon"),
        (("--risk", "replay", "--verdicts", "nowhere.jsonl"), "--risk record"),
    ],
)
def test_mistakes_end_in_one_line(
    flags: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = invoke(evaluate, *flags)
    assert found.exit_code == 2 and says in found.stderr and len(found.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
