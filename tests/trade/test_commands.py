"""`hybrid-bt trade` and `hybrid-bt advise`, as they are typed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from places import ROOT
from trade_cases import PAIRS, SYMBOLS

from hybrid_bt.commands.advise import main as advise
from hybrid_bt.commands.trade import CLOSE_AND, LIVE, main, seconds_to_close

MARKET = ("--symbols", ",".join(SYMBOLS), "--pairs", ",".join(PAIRS))


def trade(*flags: object, state: Path) -> Result:
    given = [*MARKET, "--state", str(state), "--out", str(state.parent / "fig"), *map(str, flags)]
    return CliRunner().invoke(main, given, catch_exceptions=False)


def columns(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_evenings_status_and_page(tmp_path: Path) -> None:
    state = tmp_path / "my.state"
    first = trade("--until", "2022-12-20", state=state)
    assert first.exit_code == 0 and "4 orders sent" in first.output and columns(first.output) <= 80
    second = trade("--until", "2022-12-21", "--json", state=state)
    told = json.loads(second.output)
    assert second.exit_code == 0 and told["bar"] == "2022-12-21" and told["alarms"] == []
    assert "nothing new since 2022-12-21" in trade("--until", "2022-12-21", state=state).output
    status = CliRunner().invoke(main, ["status", "--state", str(state), "--json"])
    stands = json.loads(status.output)
    assert stands["equity"] == stands["backtest_equity"] == told["equity"] and stands["difference_bps"] == 0.0
    assert stands["fills"] == 4 and stands["slippage_bps"] == 0.0 and stands["bars"] == 2
    assert [one["symbol"] for one in stands["pending"]] == [one["symbol"] for one in told["orders"]]
    text = CliRunner().invoke(main, ["status", "--state", str(state)]).output
    assert "0 alarms" in text and columns(text) <= 80
    page = (tmp_path / "fig" / "live.html").read_text()
    assert "<svg" in page and not re.search("https?:|src=", page) and "2022-12-21" in page


def test_an_alarm_is_a_status_a_line_and_a_command(tmp_path: Path) -> None:
    state, heard = tmp_path / "my.state", tmp_path / "heard"
    command = f"{sys.executable} -c \"import sys; open({str(heard)!r}, 'a').write(sys.stdin.read() + chr(10))\""
    assert trade("--until", "2022-12-20", "--no-plots", state=state).exit_code == 0
    done = trade("--until", "2022-12-22", "--no-plots", "--on-alarm", command, state=state)
    assert done.exit_code == 3 and "ALARM missed" in done.output
    lines = [json.loads(line) for line in (tmp_path / "my.state.log").read_text().splitlines()]
    assert [json.loads(line) for line in heard.read_text().splitlines()] == [one for one in lines if one.get("alarm")]
    assert not (tmp_path / "fig").exists()


def test_an_alarm_command_that_fails_is_told(tmp_path: Path) -> None:
    state = tmp_path / "my.state"
    trade("--until", "2022-12-20", "--no-plots", state=state)
    assert trade("--until", "2022-12-22", "--no-plots", "--on-alarm", "/no/such", state=state).exit_code == 3
    assert '"alarm command failed"' in (tmp_path / "my.state.log").read_text()


def test_dry_run_says_what_would_be_sent_and_leaves_no_trace(tmp_path: Path) -> None:
    state = tmp_path / "my.state"
    trade("--until", "2022-12-20", "--no-plots", state=state)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    dry = json.loads(trade("--until", "2022-12-21", "--dry-run", "--json", state=state).output)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    real = json.loads(trade("--until", "2022-12-21", "--json", "--no-plots", state=state).output)
    assert dry == real
    fresh = tmp_path / "none" / "my.state"
    text = trade("--until", "2022-12-21", "--dry-run", state=fresh).output
    assert "KO: SAC wants" in text and "KO:PEP z =" in text and not fresh.exists()


def test_replay_begins_and_ends_where_it_is_told(tmp_path: Path) -> None:
    state = tmp_path / "my.state"
    flags = ("--replay", "--start", "2022-11-01", "--until", "2022-11-30", "--json")
    assert trade(*flags, state=state).exit_code == 0
    told = json.loads(CliRunner().invoke(main, ["status", "--state", str(state), "--json"]).output)
    assert (told["begun"], told["bar"], told["difference_bps"]) == ("2022-11-01", "2022-11-30", 0.0)
    assert trade("--replay", "--until", "2022-12-05", "--json", state=state).exit_code == 0  # and goes on from there
    told = json.loads(CliRunner().invoke(main, ["status", "--state", str(state), "--json"]).output)
    assert (told["begun"], told["bar"], told["alarms"]) == ("2022-11-01", "2022-12-05", 0)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--replay", "--broker", "alpaca"), "only --broker paper"),
        (("--replay", "--dry-run"), "leave one out"),
        (("--start", "2022-01-03"), "belongs to --replay"),
        (("--every", "close"), "--calendar"),
        (("--live",), LIVE),
        (("--broker", "papr"), "did you mean 'paper'"),
        (("--lot", "0.3", "--until", "2022-12-20", "--cash", "-1"), "cash"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: object, why: str
) -> None:
    monkeypatch.delenv(LIVE, raising=False)
    done = trade(*flags, state=tmp_path / "s")  # type: ignore[misc]
    assert done.exit_code == 2 and why in done.output
    assert not (tmp_path / "s").exists()


def test_a_file_that_is_no_state_is_left(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine\n")
    assert trade("--until", "2022-12-20", state=tmp_path / "s").exit_code == 2
    assert (tmp_path / "s").read_text() == "mine\n"
    (tmp_path / "t.paper").write_text("mine, and long enough to be looked at as a database")
    assert trade("--until", "2022-12-20", state=tmp_path / "t").exit_code == 2
    for what in ("s", "none"):
        assert CliRunner().invoke(main, ["status", "--state", str(tmp_path / what)]).exit_code == 2


def advised(*flags: object) -> Result:
    return CliRunner().invoke(advise, [*MARKET, "--until", "2022-12-21", *map(str, flags)], catch_exceptions=False)


def test_advice_is_what_trade_does(tmp_path: Path) -> None:
    """A file of what a paper account holds gives the orders of that account."""
    state, holdings = tmp_path / "my.state", tmp_path / "held.csv"
    trade("--until", "2022-12-20", "--no-plots", state=state)
    sent = json.loads(trade("--until", "2022-12-21", "--no-plots", "--json", state=state).output)
    rows = [["Symbol", "Shares"], ["cash", repr(sent["cash"])]]
    rows += [[line["symbol"], repr(line["held"])] for line in sent["lines"]]
    holdings.write_text("".join(",".join(row) + "\n" for row in rows))
    said = json.loads(advised("--holdings", holdings, "--json").output)
    kept = {name: said[name] for name in ("bar", "cash", "lines")}
    assert kept == {name: sent[name] for name in kept} and said["equity"] == pytest.approx(sent["equity"], rel=1e-12)
    table = list(csv.DictReader(io.StringIO(advised("--holdings", holdings, "--csv").output)))
    assert [row["symbol"] for row in table] == list(SYMBOLS)
    for row, line in zip(table, said["lines"], strict=True):
        assert float(row["order"]) == line["order"] and row["reason"] == line["reason"]
        assert float(row["target_shares"]) == line["held"] + line["order"]
    text = advised("--holdings", holdings).output
    assert columns(text) <= 80 and "target shares" in text


def test_advice_for_cash_alone() -> None:
    said = json.loads(advised("--cash", 10000, "--json").output)
    assert said["equity"] == said["cash"] == 10000.0
    assert sum(line["value"] for line in said["lines"]) <= 10000.0 and said["orders"]


@pytest.mark.parametrize(
    ("text", "flags", "why"),
    [
        (None, (), "--holdings H.csv, --cash"),
        ("symbol,shares\nKO,1\ncash,5\n", ("--cash", "7"), "said twice"),
        ("symbol,shares\nKOO,1\n", (), "did you mean 'KO'"),
        ("symbol,shares\nKO,1\nKO,2\n", (), "row 3"),
        ("symbol,shares\nKO,many\n", (), "row 2"),
        ("symbol,shares\nKO,inf\n", (), "row 2"),
        ("symbol,price\nKO,1\n", (), "columns"),
        ("", (), "columns"),
        ("symbol,shares\ncash,0\n", (), "say the cash"),
    ],
)
def test_holdings_that_cannot_be_read(tmp_path: Path, text: str | None, flags: tuple[str, ...], why: str) -> None:
    path = tmp_path / "held.csv"
    if text is not None:
        path.write_text(text)
        flags = ("--holdings", str(path), *flags)
    done = advised(*flags)
    assert done.exit_code == 2 and why in done.output


ALONE = """
import socket, sys
def refused(*given, **more):
    raise AssertionError("a network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
from hybrid_bt.commands.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = "torch numba matplotlib quantstats pandas backtrader scipy gymnasium httpx alpaca".split()
    print(*[name for name in heavy if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("command", [("trade", "--no-plots", "--state", "s"), ("advise", "--cash", "1000000")])
def test_a_step_loads_little_and_asks_no_network(tmp_path: Path, command: tuple[str, ...]) -> None:
    asked = [sys.executable, "-c", ALONE, *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stderr.split() == [], done.stderr


def test_seconds_to_the_close() -> None:
    from datetime import UTC, datetime, timedelta

    closes = [datetime(2024, 5, day, 20, tzinfo=UTC) for day in (2, 3, 6)]
    calendar = SimpleNamespace(next_close=lambda moment: next(close for close in closes if close > moment))
    for now, to in (
        (closes[0] - timedelta(hours=1), timedelta(hours=1) + CLOSE_AND),
        (closes[0] + CLOSE_AND / 2, CLOSE_AND / 2),
        (closes[1] + 2 * CLOSE_AND, closes[2] - closes[1] - CLOSE_AND),
    ):
        assert seconds_to_close(calendar, lambda now=now: now) == to.total_seconds()  # type: ignore[misc]


def test_a_package_may_offer_a_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hybrid_bt.trade import brokers
    from hybrid_bt.trade.brokers.paper import PaperBroker

    point = SimpleNamespace(name="theirs", load=lambda: PaperBroker)
    monkeypatch.setattr(brokers, "entry_points", lambda group: [point] if group == "hybrid_bt.brokers" else [])
    assert trade("--broker", "theirs", "--until", "2022-12-20", "--no-plots", "-q", state=tmp_path / "s").exit_code == 0


def test_five_commands_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hybrid_bt.commands.cli import main as every

    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "trade.md").read_text(encoding="utf-8")
    block = guide[guide.index("in five commands") :].split("\n\n")[1]
    commands = [line.split()[1:] for line in block.splitlines()]
    assert [words[0] for words in commands] == ["run", "trade", "trade", "trade", "trade"]
    done = [CliRunner().invoke(every, words, catch_exceptions=False) for words in commands]
    assert [one.exit_code for one in done] == [0] * 5, [one.output for one in done]
    assert "2022-12-01" in done[4].output and "(+0.00 bps)" in done[4].output and "0 alarms" in done[4].output
    dry, sent = (one.output.splitlines() for one in done[2:4])
    assert "to send" in dry[0] and "sent" in sent[0] and dry[1:] == sent[1:]


def test_tearsheet_of_the_live_account(tmp_path: Path) -> None:
    state, folder = tmp_path / "my.state", tmp_path / "fig"
    trade("--replay", "--start", "2022-10-03", "--until", "2022-11-30", "--no-plots", "-q", state=state)
    assert not folder.exists()
    asked = ["status", "--state", str(state), "--tearsheet", "--out", str(folder)]
    assert CliRunner().invoke(main, asked, catch_exceptions=False).exit_code == 0
    text = (folder / "live_tearsheet.html").read_text()
    assert "Sharpe" in text and "backtest" in text and "live" in text
    few = tmp_path / "few.state"
    trade("--until", "2022-12-20", "--no-plots", "-q", state=few)
    done = CliRunner().invoke(main, ["status", "--state", str(few), "--tearsheet", "--out", str(folder)])
    assert done.exit_code == 2 and "daily return" in done.output
