"""What a run writes: columns, exact values, agreement to the cent, all files or none."""

from __future__ import annotations

import colorsys
import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import CASES, ROOT
from report_cases import ACCOUNTS, START, TABLES, T, column, contents, make_record, rows

import hybrid_bt
from hybrid_bt.account.flows import marked_close, round_trips
from hybrid_bt.account.records import Fill, Fills, RunRecord
from hybrid_bt.brain.laid import ManagedPaths
from hybrid_bt.equations.guard_limits import rule_names
from hybrid_bt.errors import ConfigError
from hybrid_bt.report import PICTURES, draw_picture, write_report
from hybrid_bt.report import tables as tables_of_a_run
from hybrid_bt.report.quantstats_page import THEIR_COLORS
from hybrid_bt.report.style import ACCOUNT_LINES, COLORS, TEXT_COLORS
from hybrid_bt.report.tables import write_table
from hybrid_bt.report.tearsheet import first_page


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return make_record(in_sample=20)


@pytest.fixture(scope="module")
def tables(record, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "deep" / "fig"
    write_report(record, out, plots=False)
    return out


COLUMNS = {
    "summary_pnl": "account start_date end_date start_value end_value pnl return_pct cagr sharpe sortino max_drawdown "
    "volatility turnover_per_year costs",
    "per_ticker_pnl": "symbol gross_pnl costs pnl_net buys sells trades",
    "equity": "datetime cash interest equity gross_exposure net_exposure drawdown benchmark benchmark_cash "
    "benchmark_interest",
    "fills": "datetime symbol size price notional commission decided",
    "decisions": "datetime symbol target_sac target_kalman r w_sac w_kalman fused target",
    "attribution": "datetime sac_market sac_selection kalman_spread kalman_hedge_revision kalman_market execution "
    "commissions borrow",
    "conditional": "condition account bars total_return return_per_year volatility sharpe max_drawdown",
    "pairs": "datetime pair alpha beta innovation S z spread zscore position",
}


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_those_of_the_contract(tables, table):
    assert list(rows(tables, table)[0]) == COLUMNS[table].split()


def test_one_row_per_account_bar_symbol_and_pair(tables, record):
    lengths = {table: len(rows(tables, table)) for table in TABLES}
    fills = len(record.accounts["hybrid"].fills)
    n, conditions = len(ACCOUNTS), 3 + 3 + 1 + 1  # terciles of r and of volatility, 2020, and the spring of it
    assert lengths == dict(zip(TABLES, (n, 3, T, fills, T * 3, T, T, conditions * n), strict=True))
    assert [row["account"] for row in rows(tables, "summary_pnl")] == list(ACCOUNTS)


def test_equity_begins_with_the_untouched_start_value(tables):
    first = rows(tables, "equity")[0]
    assert (first["datetime"], float(first["cash"]), float(first["equity"])) == ("2020-01-01", START, START)
    assert float(first["gross_exposure"]) == 0.0


def test_exposures_are_what_is_held_in_parts_of_equity(tables, record):
    path = record.accounts["hybrid"]
    money = path.size * marked_close(record.bars.close)
    assert column(tables, "equity", "net_exposure") == pytest.approx(money.sum(axis=1) / path.equity, rel=1e-12)
    assert column(tables, "equity", "gross_exposure") == pytest.approx(
        np.abs(money).sum(axis=1) / path.equity, rel=1e-12
    )
    assert np.ptp(money.sum(axis=1)) > 0.0


def test_floats_read_back_exactly(tables, record):
    hybrid = record.accounts["hybrid"]
    assert np.array_equal(column(tables, "equity", "equity"), hybrid.equity)
    assert np.array_equal(column(tables, "equity", "benchmark"), record.accounts["equal-weight"].equity)
    assert np.array_equal(column(tables, "fills", "price"), [fill.price for fill in hybrid.fills])
    assert np.array_equal(column(tables, "decisions", "target").reshape(T, 3), record.decisions.target)
    assert np.array_equal(column(tables, "decisions", "w_sac").reshape(T, 3)[:, 2], record.decisions.weights["sac"])
    assert np.array_equal(column(tables, "pairs", "beta"), record.pairs.beta[:, 0], equal_nan=True)


def test_pairs_z_is_the_innovation_in_its_own_deviations(tables):
    z, innovation, variance = (column(tables, "pairs", name) for name in ("z", "innovation", "S"))
    assert z[7:] ** 2 * variance[7:] == pytest.approx(innovation[7:] ** 2)
    assert rows(tables, "pairs")[0]["z"] == ""  # before the pair's first bar


def test_summary_tickers_equity_and_fills_agree_to_the_cent(tables):
    hybrid = rows(tables, "summary_pnl")[0]
    earned = float(hybrid["end_value"]) - float(hybrid["start_value"])
    net, gross, costs = (column(tables, "per_ticker_pnl", name) for name in ("pnl_net", "gross_pnl", "costs"))
    assert net.sum() == pytest.approx(earned, abs=0.005)
    assert float(hybrid["pnl"]) == pytest.approx(earned, abs=0.005)
    assert column(tables, "equity", "equity")[-1] == float(hybrid["end_value"])
    assert gross - costs == pytest.approx(net, abs=0.005)
    assert costs.sum() == pytest.approx(float(hybrid["costs"]), abs=0.005)
    assert column(tables, "fills", "commission").sum() < costs.sum()  # the rest is borrow interest
    size, price = column(tables, "fills", "size"), column(tables, "fills", "price")
    assert column(tables, "fills", "notional") == pytest.approx(abs(size) * price)
    spent = float((size * price).sum()) + costs.sum()
    assert START - spent == pytest.approx(column(tables, "equity", "cash")[-1], abs=0.005)


def test_a_fill_names_the_bar_of_its_decision(tables):
    for row in rows(tables, "fills"):
        assert row["decided"] < row["datetime"]
    sides = [float(row["size"]) > 0 for row in rows(tables, "fills") if row["symbol"] == "KO"]
    ko = rows(tables, "per_ticker_pnl")[0]
    assert (int(ko["buys"]), int(ko["sells"])) == (sum(sides), len(sides) - sum(sides))


def test_trades_are_positions_opened():
    sizes = [5.0, 5.0, -10.0, -5.0, 10.0]  # open, add, close, open short, flip
    fills = Fills.of(Fill(k, k - 1, 0, size, 1.0, 0.0) for k, size in enumerate(sizes, 1))
    assert round_trips(fills, 2).tolist() == [3, 0]


def test_a_missing_bar_is_marked_at_the_last_close():
    nan = math.nan
    assert marked_close(np.array([[nan], [2.0], [nan], [3.0], [nan]])).ravel().tolist() == [0.0, 2.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("at_once", [1, 7, T, T + 1])
def test_decisions_are_the_same_however_many_bars_are_written_at_once(record, tmp_path, monkeypatch, at_once):
    matrix = np.arange(float(record.decisions.target.size)).reshape(record.decisions.target.shape)
    reasons = tuple(f"row {i}, said" for i in range(matrix.size))
    vector = matrix[:, 0]
    managed = ManagedPaths(
        matrix, matrix, vector, matrix, matrix, vector, vector, vector > 9.0, reasons, ("",) * matrix.size
    )
    decisions = dataclasses.replace(
        record.decisions, managed=managed, wanted=matrix, guard=np.zeros(T), waits=matrix > 9.0
    )
    decisions.guard[-1] = 1.0  # the first bars alone do not show that there is a guard
    whole = dataclasses.replace(record, decisions=decisions)
    monkeypatch.setattr(tables_of_a_run, "ROWS_AT_ONCE", at_once)
    write_table(whole, "decisions.csv", tmp_path)
    found = rows(tmp_path, "decisions")
    assert [row["reason"] for row in found] == [*reasons]
    assert column(tmp_path, "decisions", "target_before_guard").tolist() == matrix.ravel().tolist()
    assert column(tmp_path, "decisions", "m").tolist() == matrix.ravel().tolist()
    assert [row["guard"] for row in found[-matrix.shape[1] - 1 :]][:2] == ["", rule_names(1)[0]]


def test_run_json_is_sorted_plain_and_complete(tables, record):
    text = (tables / "run.json").read_text(encoding="utf-8")
    run = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert list(run) == sorted(run)
    assert run["config"] == {"costs": {"spread_bps": 2.0, "fee_bps": 1.0}, "limit": None, "out": "fig"}
    assert run["data"]["sha256"] == record.bars.sha256 and run["data"]["source"] == "test"
    assert run["span"]["in_sample"] == [{"start": "2020-01-01", "end": "2020-01-20"}]
    assert (run["span"]["start"], run["span"]["end"], run["span"]["out_of_sample"]) == (
        "2020-01-01",
        "2020-03-30",
        False,
    )
    assert run["accounts"]["hybrid"] == {"fills": len(record.accounts["hybrid"].fills), "rejected": 2}
    assert (run["seed"], run["warnings"], run["notes"]) == (0, {"rejected": 2}, ["survivors only"])
    assert run["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_without_plots_neither_matplotlib_nor_quantstats_is_imported(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import report_cases as t; from pathlib import Path;"
        "from hybrid_bt.report import write_report;"
        "write_report(t.make_record(), Path(sys.argv[3]), plots=False);"
        "print(sorted({'matplotlib', 'quantstats', 'pandas', 'backtrader', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(CASES), str(tmp_path / "fig")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_run_without_plots_takes_the_earlier_pictures_away_and_nothing_else(record, tmp_path):
    for name in ("trades.png", "tearsheet.html", "run.json", "mine.png"):
        (tmp_path / name).write_text("earlier")
    write_report(record, tmp_path, plots=False)
    assert sorted(contents(tmp_path)) == sorted(["mine.png", "run.json", *(f"{table}.csv" for table in TABLES)])
    assert (tmp_path / "run.json").read_text() != "earlier"


def test_a_failing_picture_leaves_nothing_behind(record, tmp_path, monkeypatch):
    monkeypatch.setitem(PICTURES, "pnl_per_ticker.png", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(record, tmp_path / "deep" / "fig")
    assert contents(tmp_path) == {}
    (tmp_path / "run.json").write_text("earlier")
    with pytest.raises(ZeroDivisionError):
        write_report(record, tmp_path)
    assert contents(tmp_path) == {"run.json": b"earlier"}


@pytest.mark.parametrize("fail_at", [0, 1, 2, 5, 8])
def test_a_failing_move_puts_the_earlier_run_back(record, tmp_path, monkeypatch, fail_at):
    for name in ("equity.csv", "trades.png", "mine.txt"):
        (tmp_path / name).write_text("earlier")
    before, moves, replace = contents(tmp_path), iter(range(10_000)), os.replace

    def failing(source, target):
        if next(moves) == fail_at:
            raise PermissionError(13, "file is open elsewhere")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ConfigError, match="open elsewhere; give another folder"):
        write_report(record, tmp_path, plots=False)
    assert contents(tmp_path) == before


def test_out_that_is_a_file_or_holds_a_folder_of_our_name_is_refused(record, tmp_path):
    taken = tmp_path / "fig"
    taken.write_text("mine")
    with pytest.raises(ConfigError, match="cannot write to"):
        write_report(record, taken, plots=False)
    (tmp_path / "trades.png").mkdir()
    with pytest.raises(ConfigError, match=r"trades\.png is a folder"):
        write_report(record, tmp_path, plots=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fig", "trades.png"]


def test_one_colour_has_one_meaning():
    """All hues stand in one table; the others are greys, tints of paper and text variants of the table's own."""
    assert len(set(COLORS.values())) == len(COLORS) and set(TEXT_COLORS) < set(COLORS)
    known = {*COLORS.values(), *TEXT_COLORS.values()}
    package = Path(hybrid_bt.__file__).parent
    for path in [*(package / "report").iterdir(), *(package / "evidence" / "study").iterdir()]:
        if path.suffix in (".py", ".js", ".html", ".mplstyle") and not path.name.startswith("plotly"):
            hues = {color for color in re.findall(r"#[0-9a-fA-F]{6}\b", path.read_text()) if _saturation(color) > 0.2}
            allowed = known if path.name == "style.py" else set()
            assert hues - allowed - set(THEIR_COLORS) == set(), path.name


def test_small_text_stands_out_from_the_paper():
    """4.5 to 1, as WCAG 2.2 asks (1.4.3)."""
    for color in [*TEXT_COLORS.values(), "#767676", *(COLORS[name] for name in COLORS if name in ("hybrid", "costs"))]:
        shares = [int(color[k : k + 2], 16) / 255.0 for k in (1, 3, 5)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        assert 1.05 / (0.05 + float(np.dot(linear, (0.2126, 0.7152, 0.0722)))) >= 4.5, color


def test_alarms_of_the_tearsheet_are_in_the_colour_of_text(record):
    assert f".stamp{{color:{TEXT_COLORS['alarm']}" in first_page(record, "")


def _saturation(color: str) -> float:
    return colorsys.rgb_to_hsv(*(int(color[k : k + 2], 16) for k in (1, 3, 5)))[1]


def test_lines_of_accounts_are_told_apart_without_their_colours():
    assert set(ACCOUNT_LINES) <= set(COLORS)
    assert len({(width, str(dash)) for width, dash in ACCOUNT_LINES.values()}) == len(ACCOUNT_LINES)


def test_the_z_score_is_drawn_whole(record):
    known = record.pairs.zscore[np.isfinite(record.pairs.zscore[:, 0]), 0]
    low, high = draw_picture(record, "pairs.png").axes[1].get_ylim()
    assert low <= known.min() and known.max() <= high
