"""`hybrid-bt trade` and `hybrid-bt advise`, as they are typed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from places import ROOT
from trade_cases import PAIRS, SYMBOLS

from hybrid_bt import load_bars
from hybrid_bt.commands.advise import main as advise
from hybrid_bt.commands.trade import LIVE, NAP, main, stay
from hybrid_bt.trade.holdings import read_holdings

SESSIONS = load_bars("us20").stamps.astype("M8[D]")
CLI = "import sys; from hybrid_bt.commands.cli import main; main(sys.argv[1:])"
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
    done = trade("--until", "2022-12-22", "--no-plots", "-q", "--on-alarm", command, state=state)
    assert done.exit_code == 3 and done.output.startswith("ALARM missed")  # and nothing else
    lines = [json.loads(line) for line in (tmp_path / "my.state.log").read_text().splitlines()]
    assert [json.loads(line) for line in heard.read_text().splitlines()] == [one for one in lines if one.get("alarm")]
    assert not (tmp_path / "fig").exists()


def test_an_evening_that_is_refused_is_an_alarm(tmp_path: Path) -> None:
    """Prices that are gone, revised or shorter, and other words: whatever a person at a terminal would read."""
    state, heard, prices = tmp_path / "my.state", tmp_path / "heard", tmp_path / "prices.csv"
    bars = load_bars("us20").select(SYMBOLS).between("2020-12-01", "2022-12-22")
    rows = [[str(stamp)[:10], *map(str, row)] for stamp, row in zip(bars.stamps, bars.close.tolist(), strict=True)]
    head = ["Date", *SYMBOLS]
    revised, lately = ([row[:] for row in rows] for _ in range(2))
    revised[-60][1], lately[-2][1] = (str(1.02 * float(row[1])) for row in (rows[-60], rows[-2]))
    text, prices_of = quoted([head, *rows], ","), ["--data", str(prices), "--pairs", PAIRS[0], "--no-plots", "-q"]
    command = f"{sys.executable} -c \"import sys; open({str(heard)!r}, 'w').write(sys.stdin.read())\""
    given = ["--state", str(state), *prices_of, "--on-alarm", command]
    prices.write_text(quoted([head, *rows[:-1]], ","))
    assert CliRunner().invoke(main, given).exit_code == 0 and not heard.exists()
    kept = state.read_bytes()
    for text, more, why in (
        (None, (), "neither a source"),
        (quoted([head, *rows[:-2]], ","), (), "no bar on"),
        (quoted([head, *revised], ","), (), "earlier prices were revised"),
        (quoted([head, *lately], ","), (), "revised"),
        (quoted([head, *rows], ","), ("--fee-bps", "3"), "fee_bps"),
    ):
        prices.unlink(missing_ok=True)
        if text is not None:
            prices.write_text(text)
        done = CliRunner().invoke(main, [*given, *more])
        assert done.exit_code == 2, done.output
        told = json.loads(heard.read_text())
        assert told["event"] == "refused" and why in told["why"] and told["why"].split(";")[0] in done.output
        heard.unlink()
        assert state.read_bytes() == kept
    assert CliRunner().invoke(main, given).exit_code == 0


def test_an_alarm_command_that_fails_is_told(tmp_path: Path) -> None:
    state = tmp_path / "my.state"
    trade("--until", "2022-12-20", "--no-plots", state=state)
    assert trade("--until", "2022-12-22", "--no-plots", "--on-alarm", "/no/such", state=state).exit_code == 3
    assert '"alarm command failed"' in (tmp_path / "my.state.log").read_text()


def test_no_order_waits_for_an_alarm_command_and_none_writes_into_our_output(tmp_path: Path) -> None:
    """It is told behind the orders, and prints to standard error."""
    state, seen = tmp_path / "my.state", tmp_path / "seen"
    code = f"import shutil; shutil.copy({str(state) + '.log'!r}, {str(seen)!r}); print('told')"
    command = ["trade", *MARKET, "--state", str(state), "--no-plots", "--json"]
    command += ["--on-alarm", f'{sys.executable} -c "{code}"', "--until"]
    done = [
        subprocess.run(
            [sys.executable, "-c", CLI, *command, day], cwd=ROOT, capture_output=True, text=True, check=False
        )
        for day in ("2022-12-20", "2022-12-22")
    ]
    assert [one.returncode for one in done] == [0, 3], done[1].stderr
    orders = json.loads(done[1].stdout)["orders"]
    assert "told" in done[1].stderr
    events = [json.loads(line)["event"] for line in seen.read_text().splitlines()]
    assert events.index("missed") < len(events) - len(orders) and events[-len(orders) :] == ["order"] * len(orders)


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


@pytest.mark.parametrize("name", ["my", "my[1].state", "*"])
def test_dry_run_takes_its_own_account_whatever_else_is_called_alike(tmp_path: Path, name: str) -> None:
    (tmp_path / "my_prices").mkdir()
    trade("--until", "2022-12-20", "--no-plots", state=tmp_path / "my.other")
    assert trade("--until", "2022-12-20", "--no-plots", state=tmp_path / name).exit_code == 0
    dry = json.loads(trade("--until", "2022-12-21", "--dry-run", "--json", state=tmp_path / name).output)
    assert dry == json.loads(trade("--until", "2022-12-21", "--no-plots", "--json", state=tmp_path / name).output)
    assert any(line["held"] for line in dry["lines"])


def test_replay_begins_and_ends_where_it_is_told(tmp_path: Path) -> None:
    state = tmp_path / "my.state"
    flags = ("--replay", "--start", "2022-11-01", "--until", "2022-11-30", "--json")
    assert trade(*flags, state=state).exit_code == 0
    told = json.loads(CliRunner().invoke(main, ["status", "--state", str(state), "--json"]).output)
    assert (told["begun"], told["bar"], told["difference_bps"]) == ("2022-11-01", "2022-11-30", 0.0)
    assert trade("--replay", "--until", "2022-12-05", "--json", state=state).exit_code == 0  # and goes on from there
    told = json.loads(CliRunner().invoke(main, ["status", "--state", str(state), "--json"]).output)
    assert (told["begun"], told["bar"], told["alarms"]) == ("2022-11-01", "2022-12-05", 0)
    again = trade(*flags[:3], "--until", "2022-12-06", "--json", state=state)  # the same words, later
    assert again.exit_code == 0 and json.loads(again.output)["bar"] == "2022-12-06"
    other = trade("--replay", "--start", "2022-11-02", "--until", "2022-12-07", state=state)
    assert other.exit_code == 2 and "began on 2022-11-01" in other.output


def test_spans_one_after_the_other_are_one_span(tmp_path: Path) -> None:
    """To the byte, whether replayed at once, in pieces, or traded in the evening in between."""
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    trade("--replay", "--start", "2022-11-01", "--until", "2022-11-30", "--no-plots", "-q", state=whole)
    for flags in (
        ("--replay", "--start", "2022-11-01", "--until", "2022-11-09"),
        ("--until", "2022-11-10"),
        ("--replay", "--until", "2022-11-23"),
        ("--until", "2022-11-25"),
        ("--replay", "--until", "2022-11-30"),
    ):
        assert trade(*flags, "--no-plots", "-q", state=pieces).exit_code == 0
    assert whole.read_bytes() == pieces.read_bytes()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--replay", "--broker", "alpaca"), "only --broker paper"),
        (("--replay", "--dry-run"), "leave one out"),
        (("--start", "2022-01-03"), "belongs to --replay"),
        (("--every", "close"), "--calendar"),
        (("--live",), LIVE),
        (("--broker", "papr"), "did you mean 'paper'"),
        (("--on-alarm", "tell 'me"), "--on-alarm tell 'me: No closing quotation"),
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


@pytest.mark.parametrize("place", [".", "/", ".."])
def test_a_folder_is_no_state(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = trade("--until", "2022-12-20", "--no-plots", state=Path(place))
    assert done.exit_code == 2 and "is a folder; name a file" in done.output
    assert [*tmp_path.rglob("*")] == [tmp_path / "here"]


def test_what_cannot_be_drawn_is_refused_before_it_is_traded(tmp_path: Path) -> None:
    (tmp_path / "fig").write_text("mine")
    assert trade("--until", "2022-12-20", state=tmp_path / "s").exit_code == 2
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


HELD = {"KO": 1234.0, "PEP": -5.5}
WAYS = {  #: how shares and money are written, and the separators beside which nothing else is meant
    "plain": ("1234", "-5.5", "10000", ",;\t|"),
    "English": ("1,234", "-5.50", "$10,000.00", ",;\t|"),
    "comma": ("1234", "-5,5", "10000,0", ",;\t|"),
    "continental": ("1.234", "-5,5", "10.000,00 EUR", ",;\t|"),
    "spaces": ("1 234", "(5.5)", "1e4", ",;\t|"),
    "typeset": ("1'234.0", "\u22125.5", "10K", ",;\t|"),
}
HEADS = (
    (("symbol", "shares"), "row"),
    (("Ticker", "Account", "Qty"), "row"),
    (("Description", "SYMBOL", "Quantity", "Price"), "row"),
    (("Symbol", "Name", "Position", "Cash"), "column"),
)


def quoted(rows: Iterable[Sequence[str]], separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("head", "cash"), HEADS)
def test_holdings_as_people_and_brokers_write_them(tmp_path: Path, way: str, head: tuple[str, ...], cash: str) -> None:
    """Separators, decimal marks, case, titles, encodings and columns that nobody asked for change nothing."""
    ko, pep, money, separators = WAYS[way]
    path = tmp_path / "held.csv"
    lines = [("ko", ko), ("Pep", pep), ("CVX", "0")] + [("Cash", money)] * (cash == "row")
    for separator in separators:
        rows = [[*head]]
        for symbol, shares in lines:
            of = {"symbol": symbol, "ticker": symbol, "shares": shares, "qty": shares, "quantity": shares}
            of |= {"position": shares, "cash": money if symbol == "ko" else "", "price": "1,5"}
            rows.append([of.get(name.lower(), f"a {separator} b") for name in head])
        for before, encoding in (
            ("", "utf-8"),
            ("", "utf-8-sig"),
            (f"sep={separator}\n", "utf-16"),
            ("Mine\n\n", "utf-8"),
        ):
            path.write_bytes((before + quoted(rows, separator)).encode(encoding))
            assert read_holdings(path, (*SYMBOLS, "CASH")) == (10_000.0, HELD), path.read_text(encoding)


@pytest.mark.parametrize(
    ("text", "flags", "why"),
    [
        (None, (), "--holdings H.csv, --cash"),
        ("symbol,shares\nKO,1\ncash,5\n", ("--cash", "7"), "said twice"),
        ("symbol,shares\nKOO,1\n", (), "did you mean 'KO'"),
        ("symbol,shares\nKO,1\nko,2\n", (), "row 3"),
        ("symbol,shares\nKO,many\n", (), "row 2"),
        ("symbol,shares\nKO,inf\n", (), "row 2"),
        ("symbol,shares\nKO,1_0\n", (), "row 2"),
        ("symbol,shares\nKO,\n", (), "row 2"),
        ("symbol,shares\n,5\n", (), "row 2"),
        ("symbol,shares\nKO,1,234\n", (), "'KO,1,234'"),
        ("symbol;shares\nKO;1,234\n", (), "row 2"),
        ("symbol;shares\nPEP;-6\nKO;1.234\n", (), "'1.234'"),
        ("symbol;shares\nKO;1,5\nPEP;1.5\n", (), "two decimal marks"),
        ("symbol,shares,shares\nKO,1,2\n", (), "one column shares"),
        ("symbol,shares,cash\nKO,1,5\nPEP,1,6\n", (), "5.00 and as 6.00"),
        ("symbol,shares,cash\nKO,1,5\ncash,6,\n", (), "5.00 and as 6.00"),
        ("symbol,shares,cash\nKO,1,inf\n", (), "row 2"),
        ("symbol,price\nKO,1\n", (), "one column symbol"),
        ("PK\x03\x04\0\0", (), "save it as CSV"),
        ("", (), "one column symbol"),
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


def test_what_is_held_and_has_no_price_yet_is_refused(tmp_path: Path) -> None:
    bars = load_bars("us20").select(["KO", "PEP"]).between("2020-01-02", "2022-12-20")
    rows = [
        [str(stamp)[:10], *map(str, closes)] for stamp, closes in zip(bars.stamps, bars.close.tolist(), strict=True)
    ]
    for row in rows[:-5]:
        row[2] = ""
    (tmp_path / "prices.csv").write_text(quoted([["Date", "KO", "PEP"], *rows], ","))
    (tmp_path / "held.csv").write_text("symbol,shares\nPEP,5\ncash,1000\n")
    asked = ["--data", str(tmp_path / "prices.csv"), "--holdings", str(tmp_path / "held.csv")]
    done = CliRunner().invoke(advise, [*asked, "--until", rows[-9][0]], catch_exceptions=False)
    assert done.exit_code == 2 and "PEP has no price up to" in done.output
    for row in rows[-2:]:
        row[2] = ""  # and where it has none today, nothing else is said to stand in the way
    rows[-3][2] = rows[-4][2]
    (tmp_path / "prices.csv").write_text(quoted([["Date", "KO", "PEP"], *rows], ","))
    done = CliRunner().invoke(advise, [*asked, "--json"], catch_exceptions=False)
    (line,) = [one for one in json.loads(done.output)["lines"] if one["symbol"] == "PEP"]
    assert line["reason"] == "no bar here: no order" and line["order"] == 0.0


def test_what_is_decided_in_sample_is_marked_in_every_form() -> None:
    for form in ("--csv", "--json", "--lot=1"):
        asked = [*MARKET, "--cash", "1e6", "--until", "2008-06-02", form]
        assert CliRunner().invoke(advise, asked).exit_code == 2
        done = CliRunner().invoke(advise, [*asked, "--allow-in-sample"])
        assert done.exit_code == 0 and "in-sample" in done.output
    assert "in-sample" not in advised("--cash", "1e6").output


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


class Clock:
    """A day in a moment: who sleeps moves it."""

    def __init__(self, now: str) -> None:
        self.time, self.naps = datetime.fromisoformat(now).replace(tzinfo=UTC), list[float]()

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0.0
        self.naps.append(seconds)
        self.time += timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("begins", "steps"),
    [  # Thanksgiving is the 24th, the 25th a half day, and then a weekend; the clocks of New York change on the 6th
        ("2022-11-23 15:00", ("2022-11-23 21:30", "2022-11-25 18:30", "2022-11-28 21:30")),
        ("2022-11-23 21:10", ("2022-11-23 21:30", "2022-11-25 18:30")),
        ("2022-11-23 22:00", ("2022-11-23 22:00", "2022-11-25 18:30", "2022-11-28 21:30")),
        ("2022-11-26 12:00", ("2022-11-26 12:00", "2022-11-28 21:30", "2022-11-29 21:30")),
        ("2022-11-04 14:00", ("2022-11-04 20:30", "2022-11-07 21:30")),
    ],
)
def test_every_close_steps_behind_each_session_of_the_exchange(
    tmp_path: Path, begins: str, steps: tuple[str, ...]
) -> None:
    """By the exchange's own calendar; each step trades the bars that there are by then."""
    pytest.importorskip("exchange_calendars")
    clock, done, state = Clock(begins), list[str](), tmp_path / "my.state"

    def step() -> None:
        done.append(f"{clock.time:%Y-%m-%d %H:%M}")
        told = trade("--until", f"{clock.time:%Y-%m-%d}", "--no-plots", "--json", state=state)
        assert told.exit_code == 0, told.output  # nothing was missed
        if len(done) == len(steps):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stay(step, "XNYS", clock.now, clock.sleep)
    assert tuple(done) == steps and max(clock.naps) <= NAP
    told = json.loads(CliRunner().invoke(main, ["status", "--state", str(state), "--json"]).output)
    sessions = [day for day in map(str, SESSIONS) if day <= steps[-1][:10]]
    assert (told["bar"], told["alarms"]) == (sessions[-1], 0)
    assert told["bars"] == len([day for day in sessions if day >= told["begun"]])


def test_every_close_needs_an_exchange_that_there_is(tmp_path: Path) -> None:
    pytest.importorskip("exchange_calendars")
    done = trade("--every", "close", "--calendar", "XNYZ", state=tmp_path / "s")
    assert done.exit_code == 2 and "is no exchange" in done.output


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


def test_every_other_command_of_the_guide_lacks_its_data_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline and in an empty folder: Yahoo's prices, or the file that is named."""
    from hybrid_bt.commands.cli import main as every

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    guide = (ROOT / "docs" / "trade.md").read_text(encoding="utf-8")
    asked = [shlex.split(words) for words in re.findall(r"hybrid-bt ((?:trade|advise) .*--data .*)", guide)]
    assert len(asked) >= 5
    for words in asked:
        stays = ["--every", "close"]
        given = [word for word in words if word not in stays]
        assert not set(stays) & set(words) or "--calendar" in words
        done = CliRunner().invoke(every, [*given, "--offline"], catch_exceptions=False)
        assert done.exit_code == 2, words
        assert re.search("no snapshot of KO|prices.csv is neither", done.output), (words, done.output)


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
