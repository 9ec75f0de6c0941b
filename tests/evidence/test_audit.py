"""The audit: every planted leak is caught, what is clean passes, and misuse is said."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import planted_leaks
import pytest
from brain_cases import random_bars, stack_of, stand_ins
from click.testing import CliRunner

import hybrid_bt.evidence.audit.stack as audited
from hybrid_bt.account.records import Fills
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.brain import foresight
from hybrid_bt.commands.audit import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import load_policies
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.evidence.audit.replays import BROKER_FUTURES, FUTURES, Check, alter
from hybrid_bt.evidence.audit.stack import PARTS, audit_stack
from hybrid_bt.evidence.audit.trace import Column, Trace, first_move
from hybrid_bt.evidence.audit.user import audit_strategy, check_strategy

SPAN = ("--data", "us20", "--symbols", "KO,PEP", "--bars", "150")
BARS = random_bars(300, 3)
STACK = stack_of(BARS, load_config("stable"), stand_ins())


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are looked for are not broken."""
    monkeypatch.setenv("COLUMNS", "400")


def audit(name: str, *more: str) -> Any:
    return CliRunner().invoke(main, ["--strategy", f"planted_leaks:{name}", *SPAN, *more])


# --- anybody's strategy ---


@pytest.mark.parametrize("name", planted_leaks.CLEAN)
def test_clean_strategy_passes(name: str) -> None:
    result = audit(name)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("clean")


@pytest.mark.parametrize("name", planted_leaks.LEAKS)
def test_planted_leak_is_caught(name: str) -> None:
    result = audit(name, "--json")
    assert result.exit_code == 1, result.output
    findings = [finding for check in json.loads(result.stdout)["checks"] for finding in check["findings"]]
    leaks = [finding for finding in findings if finding["kind"] in ("future", "same bar")]
    assert any(planted_leaks.LEAKS[name] in finding["quantity"] for finding in leaks), leaks
    assert all(finding["bar"] < finding["cut"] for finding in leaks if finding["cut"])


@pytest.mark.parametrize("name", planted_leaks.LINES)
def test_line_that_no_order_depends_on_is_named_and_no_leak(name: str) -> None:
    result = audit(name)
    assert result.exit_code == 0, result.output
    assert "line, future: first on 2022-" in result.output and planted_leaks.LINES[name] in result.output
    assert result.output.splitlines()[-1] == "clean: lines moved, and no order with them"
    answer = json.loads(audit(name, "--json").stdout)
    assert answer["clean"] and [check["findings"] for check in answer["checks"]] == [[], []]
    assert {line["kind"] for check in answer["checks"] for line in check["lines"]} >= {"future"}


@pytest.mark.parametrize("name", planted_leaks.UNREPEATABLE)
def test_strategy_that_differs_on_the_same_bars_is_not_judged(name: str) -> None:
    more = [word for setting in planted_leaks.UNREPEATABLE[name] for word in ("--set", setting)]
    result = audit(name.split()[0], *more)
    assert result.exit_code == 2, result.output
    assert "two runs on the same bars part on 20" in result.stderr and "LEAK" not in result.output


@pytest.mark.parametrize("name", planted_leaks.ENDS)
def test_who_knows_where_the_data_end_is_told_from_who_knows_prices(name: str) -> None:
    result = audit(name)
    assert result.exit_code == 1, result.output
    assert result.output.splitlines()[-1].startswith("KNOWS WHERE THE DATA END")
    assert "  end: first on 2022-" in result.output and "future: " not in result.output


def test_what_the_audit_cannot_see_is_said() -> None:
    """Orders that no price moves; none at all. A strategy's prints are not in the answer."""
    answer = json.loads(audit("MadeBeforehand", "--json").stdout)
    assert ["do not react to prices" in note for note in answer["checks"][0]["notes"]] == [True]
    text = audit("MadeBeforehand").stdout
    assert "do not react to prices behind a cut" in text and "may print" not in text
    assert "no order was sent" in audit("Idle").stdout and "note" not in audit("SmaCross").stdout


def test_text_names_bar_symbol_quantity_and_both_values() -> None:
    result = audit("CloudSeenEarly", "--every", "40")
    assert result.exit_code == 1
    line = next(line for line in result.output.splitlines() if "future:" in line)
    assert "KO, cloud (Ichimoku).chikou_span: " in line and " became " in line and "first on 2022-" in line
    assert "when the bars from 2022-" in result.output and "KO, order: buy market 10" in result.output
    assert "run mode: first on" in result.output  # bar by bar, the line is not there yet
    assert result.output.splitlines()[-1].startswith("LEAK FOUND")


SCRIPT = """
import argparse, os, sys
import backtrader as bt
import beside

here = os.path.dirname(os.path.abspath(sys.argv[0]))
threshold = float(open(os.path.join(here, "threshold.txt")).read())


class Mine(bt.Strategy):
    def __init__(self):
        assert os.path.samefile(os.path.dirname(os.path.abspath(sys.argv[0])), here)
        self.mean = bt.indicators.SMA(self.data, period=5)

    def next(self):
        self.order_target_size(target=10 if self.data.close[0] > self.mean[0] + threshold else 5)


assert argparse.ArgumentParser().parse_args() == argparse.Namespace()
print("a script may print")
cerebro = bt.Cerebro()
cerebro.addstrategy(Mine)
sys.exit(0)
"""


@pytest.mark.parametrize(
    "named", ["scripts/mine.py", "./scripts/mine.py", "{}/scripts/mine.py", "inside/mine.py", "inside.mine"]
)
def test_script_is_imported_as_its_author_runs_it(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("inside" if "inside" in named else "scripts")
    folder.mkdir()
    (folder / "mine.py").write_text(SCRIPT)
    (folder / "threshold.txt").write_text("0.1")
    (tmp_path if named == "inside.mine" else folder).joinpath("beside.py").touch()
    monkeypatch.chdir(tmp_path)
    before = list(sys.argv), list(sys.path), dict(os.environ)
    result = CliRunner().invoke(main, ["--strategy", f"{named.format(tmp_path)}:Mine", *SPAN, "--json"])
    for module in ("beside", "inside", "inside.mine"):
        sys.modules.pop(module, None)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["checks"][0]["orders"] > 100
    assert "a script may print" in result.stderr
    assert before == (sys.argv, sys.path, os.environ)


def weekly_frame(bars: Bars, label: str) -> pd.DataFrame:
    """Weekly closes, stamped at the first or the last bar of their week."""
    daily = pd.DataFrame({"close": bars.close[:, 0], "stamp": bars.stamps})
    weeks = daily.groupby(pd.DatetimeIndex(bars.stamps).to_period("W"))
    close, stamp = weeks["close"].last().to_numpy(), getattr(weeks["stamp"], label)()
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return pd.DataFrame({**prices, "volume": 0.0}, index=pd.DatetimeIndex(stamp))


def with_weekly_feed(label: str) -> Any:
    def fill(cerebro: Any, bars: Bars) -> None:
        cerebro.adddata(bt.feeds.PandasData(dataname=weekly_frame(bars, label)), name="WEEK")
        cerebro.addstrategy(planted_leaks.Idle)

    return fill


def test_resampled_bar_stamped_at_its_start_is_seen_early() -> None:
    bars = random_bars(120, 1)
    early = check_strategy("early", with_weekly_feed("first"), bars, 9)
    assert {(f.symbol, f.kind) for check in early for f in check.findings} >= {("WEEK", "future")}
    cuts_at_week_ends = check_strategy("late", with_weekly_feed("last"), random_bars(127, 1, start="2011-01-03"), 7)
    assert [f for check in cuts_at_week_ends for f in check.findings if f.kind == "future"] == []


def test_backtrader_resampling_is_clean() -> None:
    # regression: where the data end, Backtrader hands out the unfinished week; that is no look-ahead
    def fill(cerebro: Any, bars: Bars) -> None:
        cerebro.resampledata(cerebro.datas[0], timeframe=bt.TimeFrame.Weeks, name="WEEK")
        cerebro.addstrategy(planted_leaks.LastFeed)

    checks = check_strategy("weekly", fill, random_bars(200, 1))
    assert [finding for check in checks for finding in check.findings] == []
    assert checks[0].orders > 20


def test_module_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder_only_strategy.py").write_text(
        "import backtrader as bt\nclass Mine(bt.Strategy):\n    params = (('size', 1),)\n"
        "    def next(self):\n        self.order_target_size(target=self.p.size * (len(self) % 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path not in ("", str(tmp_path))])
    named = ["--strategy", "folder_only_strategy:Mine", *SPAN]
    result = CliRunner().invoke(main, [*named, "--set", "size=7"])
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(main, ["--strategy", "folder_only_strategi:Mine", *SPAN])
    assert wrong.exit_code == 2 and "did you mean 'folder_only_strategy'" in wrong.stderr
    wrong = CliRunner().invoke(main, [*named, "--set", "sise=7"])
    assert wrong.exit_code == 2 and "did you mean 'size'" in wrong.stderr


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("planted_leaks", "write module:Class"),
        ("./nowhere.py:X", "no module './nowhere.py'"),
        ("..planted_leaks:SmaCross", "write module:Class or file.py:Class"),
        ("a/b:X", "write module:Class or file.py:Class"),
        (":X", "write module:Class"),
        ("planted_leaks:Leaves", "raised SystemExit: 0"),
        ("planted_leaks:SmaCros", "did you mean 'SmaCross'"),
        ("planted_leaks:Centred", "not as a Backtrader strategy"),
        ("planted_leaks:Broken", "raised ValueError: no such thing"),
        ("planted_leaks:Patient", "give a longer history (--bars)"),
        ("no_such_module_anywhere:X", "no module 'no_such_module_anywhere'"),
    ],
)
def test_misuse_is_status_2(strategy: str, message: str) -> None:
    result = CliRunner().invoke(main, ["--strategy", strategy, *SPAN])
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "Traceback" not in result.output


# --- our own stack ---


def test_own_stack_is_clean_in_every_mode() -> None:
    result = CliRunner().invoke(main, ["--symbols", "KO,PEP,JNJ", "--bars", "295", "--jobs", "2", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["clean"] and len(answer["checks"]) == len(PARTS)
    for check in answer["checks"]:
        assert check["findings"] == [] and check["replays"] >= 2, check
        least = 30_000 if "ahead" in check["name"] else 100_000  # decisions only, no states
        assert check["orders"] > 20 and check["values"] > least, check
    modes = [check for check in answer["checks"] if "16 run modes" in check["name"]]
    assert [check["replays"] for check in modes] == [48, 48]


def only(part: str) -> Check:
    return PARTS[part](STACK, 17)


def test_brain_that_reads_the_next_row_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = audited.record

    def shifted(brain: Any, bars: Bars, pairs: Any) -> Any:
        ahead = np.vstack([bars.close[1:], bars.close[-1:]])
        return honest(brain, Bars(bars.name, bars.symbols, bars.stamps, *[ahead] * 4, volume=bars.volume), pairs)

    monkeypatch.setattr(audited, "record", shifted)
    check = only("dense arrays")
    assert {finding.quantity for finding in check.findings} & {"recursion log_close", "recursion n_returns"}
    assert all(finding.bar < finding.cut for finding in check.findings)


def test_features_scaled_by_the_whole_panel_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = audited.read_panel

    def scaled(closes: Any, reader: Any) -> Any:
        panel = honest(closes, reader)
        return panel._replace(features=panel.features / panel.features.std(axis=(0, 1)))

    monkeypatch.setattr(audited, "read_panel", scaled)
    assert any(finding.quantity.startswith("panel feature") for finding in only("whole history").findings)


def test_opinions_made_ahead_from_the_next_row_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = foresight.read_in_pieces

    def shifted(closes: Any, *rest: Any, **named: Any) -> Any:
        first = 0
        for piece in honest(np.vstack([closes[1:], closes[-1:]]), *rest, **named):
            own = closes[first : first + len(piece.closes)]
            first += len(own)
            yield piece._replace(closes=own, traded=~np.isnan(own))

    monkeypatch.setattr(foresight, "read_in_pieces", shifted)
    config = load_config("stable")
    check = PARTS["opinions ahead"](STACK._replace(config=config, policies=load_policies(config)), 60)
    findings = check.findings
    assert findings and all(finding.bar < finding.cut for finding in findings)


def test_replay_that_fills_at_the_deciding_close_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = audited.traded_at

    def same_close(terms: Any, targets: Any, bars: Bars, together: Any) -> Any:
        path = honest(terms, targets, bars, together)
        fills = Fills.of(f._replace(price=float(bars.close[f.decided, f.symbol])) for f in path.fills)
        return replace(path, fills=fills)

    monkeypatch.setattr(audited, "traded_at", same_close)
    assert [finding.kind for finding in only("dense arrays").findings] == ["same bar"]


def test_too_few_bars_are_refused() -> None:
    with pytest.raises(BarsError, match="the audit needs 292"):
        audit_stack(STACK._replace(market=Market("few", random_bars(200, 3))))


# --- the parts ---


@pytest.mark.parametrize("kind", FUTURES)
def test_alteration_keeps_the_past_and_changes_the_next_bar(kind: str) -> None:
    other = alter(BARS, 200, kind, 30)
    assert np.array_equal(other.close[:200], BARS.close[:200]) and np.array_equal(other.stamps[:200], BARS.stamps[:200])
    assert not np.array_equal(other.close[200], BARS.close[200])
    assert other.n_bars <= 230
    if kind in BROKER_FUTURES:
        Bars.checked("x", other.symbols, other.stamps, other.close, open=other.open, high=other.high, low=other.low)


def test_first_move_is_the_earliest_bar() -> None:
    stamps = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D")
    values = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])
    full = Trace((Column("a", "X"), Column("b", "Y")), values, stamps)
    assert first_move(full, full) is None
    changed = values.copy()
    changed[2, 1], changed[3, 0] = 5.5, 0.0
    moved = first_move(full, Trace(full.columns, changed, stamps))
    assert moved is not None and moved == (stamps[2], "Y", "b", "5.0", "5.5")
    assert first_move(full, Trace(full.columns, changed, stamps), stamps[2]) is None
    short = first_move(full, Trace(full.columns, values[:2], stamps[:2], error="raised IndexError: x"), stamps[3])
    assert short is not None and (short.stamp, short.after) == (stamps[2], "raised IndexError: x")


def test_what_is_no_strategy_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="<class 'int'> is no Backtrader strategy"):
        audit_strategy(int)
