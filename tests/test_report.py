"""What a run writes: columns, exact values, agreement to the cent, all files or none, the same bytes twice."""

from __future__ import annotations

import csv
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

from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.flows import fill_arrays, marked_close, round_trips
from hybrid_bt.guard import rule_names
from hybrid_bt.records import AccountPath, Decisions, Fill, ManagedPaths, PairPaths, RunRecord
from hybrid_bt.report import OUR_FILES, curves, quantstats_page, tearsheet, write_report, writing
from hybrid_bt.report import tables as tables_of_a_run
from hybrid_bt.report.style import in_sample_spans
from hybrid_bt.report.tables import write_table
from hybrid_bt.report.tearsheet import METRICS, alike, checks, cross_check, daily_returns
from hybrid_bt.texts import csv_of_columns, csv_of_rows, plain, stamp_texts

T, SYMBOLS, PAIRS = 90, ("KO", "PEP", "A$B"), ("KO:PEP",)
START = 1_000_000.0
ACCOUNTS = ("hybrid", "sac", "kalman", "gate-off", "equal-weight", "vol-target")
TABLES = ("summary_pnl", "per_ticker_pnl", "equity", "fills", "decisions", "pairs", "attribution", "conditional")


def make_bars(t: int = T, *, minutes: int = 1440, seed: int = 0) -> Bars:
    rng = np.random.default_rng(seed)
    stamps = np.datetime64("2020-01-01", "ns") + np.arange(t) * np.timedelta64(minutes, "m")
    close = 50.0 * np.exp(rng.normal(0, 0.02, (t, len(SYMBOLS))).cumsum(axis=0))
    open_ = close * np.exp(rng.normal(0, 0.002, close.shape))
    close[:5, 2] = open_[:5, 2] = np.nan  # begins later
    close[-1, 1] = open_[-1, 1] = np.nan  # misses its last bar
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return Bars("toy", SYMBOLS, stamps, open_, high, low, close, np.zeros_like(close))


def make_account(bars: Bars, *, every: float, seed: int) -> AccountPath:
    """Cash by the book: pay for what fills, pay its costs, pay for shorts; random sizes, longs and shorts."""
    rng = np.random.default_rng(seed)
    t, n = bars.close.shape
    cash, held, mark = START, np.zeros(n), np.zeros(n)
    path = AccountPath(np.zeros(t), np.zeros(t), np.zeros((t, n)), np.zeros((t, n)), (), 2)
    fills = []
    for row in range(t):
        path.borrow[row] = np.where(held < 0, -held * mark * 0.01 / 365, 0.0)
        cash -= path.borrow[row].sum()
        for symbol in range(n):
            price = float(bars.open[row, symbol])
            if row and rng.random() < every and not math.isnan(price):
                size = float(rng.choice([-held[symbol] or 100.0, 1500.0, -1500.0]))
                fills.append(Fill(row, row - 1, symbol, size, price, abs(size) * price * 2e-4))
                cash -= size * price + fills[-1].commission
                held[symbol] += size
        mark = np.where(np.isnan(bars.close[row]), mark, bars.close[row])
        path.cash[row], path.size[row], path.equity[row] = cash, held, cash + float(held @ mark)
    return dataclasses.replace(path, fills=tuple(fills))


def make_record(
    t: int = T, *, minutes: int = 1440, every: float = 0.1, in_sample: int = 0, pairs: tuple[str, ...] = PAIRS
) -> RunRecord:
    bars = make_bars(t, minutes=minutes)
    n, p = len(SYMBOLS), len(pairs)
    rng = np.random.default_rng(1)
    r = np.tanh(rng.normal(0, 1, t))
    legs = {"sac": rng.normal(0, 0.1, (t, n)), "kalman": rng.normal(0, 0.1, (t, n))}
    weights = {"sac": 0.5 + 0.3 * r, "kalman": 0.5 - 0.3 * r}
    fused = sum(weights[leg][:, None] * legs[leg] for leg in legs)
    path = rng.normal(0, 1, (8, t, p)).cumsum(axis=1) * 0.1
    path[:, :7] = np.nan  # before the pair's first bar
    return RunRecord(
        bars=bars,
        accounts={name: make_account(bars, every=every, seed=k) for k, name in enumerate(ACCOUNTS)},
        decisions=Decisions(legs, weights, r, fused, 0.8 * fused, np.full(t, 0.8)),
        pairs=PairPaths(
            pairs, path[0], path[1], path[2] ** 2, path[3], 1 + path[4] ** 2, path[5], 5 * path[6], np.sign(path[7])
        ),
        entry_z=2.0,
        exit_z=0.5,
        benchmark="equal-weight",
        start_value=START,
        in_sample=np.arange(t) < in_sample,
        config={"costs": {"spread_bps": 2.0, "fee_bps": 1.0}, "limit": math.inf, "out": Path("fig")},
        facts={"seed": 0, "warnings": {"rejected": np.int64(2)}, "data": {"source": "test"}, "wall_clock": {"s": 1.0}},
        notes=("survivors only",),
    )


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with open(folder / f"{table}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(folder: Path, table: str, name: str) -> np.ndarray:
    return np.array([float(row[name]) if row[name] else math.nan for row in rows(folder, table)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return make_record(in_sample=20)


@pytest.fixture(scope="module")
def tables(record, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "deep" / "fig"
    write_report(record, out, plots=False)
    return out


@pytest.fixture(scope="module")
def full(record, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    written = write_report(record, out, claim="claim of a test")
    assert {path.name for path in written} == set(OUR_FILES) - {
        "risk.png",
    }  # no documents were read
    return out


COLUMNS = {
    "summary_pnl": "account start_date end_date start_value end_value pnl return_pct cagr sharpe sortino max_drawdown "
    "volatility turnover_per_year costs",
    "per_ticker_pnl": "symbol gross_pnl costs pnl_net buys sells trades",
    "equity": "datetime cash equity gross_exposure net_exposure drawdown benchmark",
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
    conditions = 3 + 3 + 1 + 1  # terciles of r and of volatility, 2020, and the spring of it
    assert lengths == dict(zip(TABLES, (6, 3, T, fills, T * 3, T, T, conditions * 6), strict=True))
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
    path = AccountPath(*np.zeros((4, 1)), tuple(Fill(k, k - 1, 0, size, 1.0, 0.0) for k, size in enumerate(sizes, 1)))
    assert round_trips(fill_arrays(path), 2).tolist() == [3, 0]


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
    monkeypatch.setattr(tables_of_a_run, "BARS_AT_ONCE", at_once)
    write_table(whole, "decisions.csv", tmp_path)
    found = rows(tmp_path, "decisions")
    assert [row["reason"] for row in found] == [*reasons]
    assert column(tmp_path, "decisions", "target_before_guard").tolist() == matrix.ravel().tolist()
    assert column(tmp_path, "decisions", "m").tolist() == matrix.ravel().tolist()
    assert [row["guard"] for row in found[-matrix.shape[1] - 1 :]][:2] == ["", rule_names(1)[0]]


def test_dates_have_a_time_only_where_bars_have():
    assert stamp_texts(np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]")) == ["2020-01-01", "2020-01-02"]
    mixed = np.array(["2020-01-01T00:00", "2020-01-01T09:30"], "datetime64[ns]")
    assert stamp_texts(mixed) == ["2020-01-01T00:00:00", "2020-01-01T09:30:00"]


def test_one_writer_writes_every_csv_file():
    head = ("name", "value", "count", "said")
    table = [("a", 0.1 + 0.2, 3, 'x, "y"'), ("b", np.float64(1e-300), 4, "two\nlines"), ("c", math.nan, 5, "")]
    text = csv_of_rows((head, *table))
    assert csv_of_columns(zip(*table, strict=True), head) == text
    assert text.splitlines()[1] == 'a,0.30000000000000004,3,"x, ""y"""' and text.endswith("\nc,,5,\n")
    read = list(csv.reader(text.splitlines(keepends=True)))
    assert tuple(read[0]) == head and float(read[2][1]) == 1e-300 and read[2][3] == "two\nlines"
    square = np.array([[1.5, math.nan], [-0.0, math.inf]])
    assert csv_of_columns([square, range(4)]) == "1.5,0\n,1\n-0.0,2\ninf,3\n", "arrays in row-major order"
    with pytest.raises(ValueError, match="shorter"):
        csv_of_columns([square, range(3)])


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


def test_plain_refuses_what_has_no_json_form():
    assert plain({"a": (np.float64(1.5), np.nan, np.datetime64("2020-01-01"))}) == {"a": [1.5, None, "2020-01-01"]}
    with pytest.raises(TypeError, match="no JSON form"):
        plain({"a": object()})


def test_in_sample_spans():
    assert in_sample_spans(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 1), (3, 3), (6, 6)]
    assert in_sample_spans(np.zeros(3, bool)) == []


def test_daily_returns_of_intraday_bars_count_from_the_start_value():
    stamps = np.array(["2020-01-01T10", "2020-01-01T16", "2020-01-02T10", "2020-01-02T16"], "datetime64[ns]")
    days, returns = daily_returns(np.array([100.0, 110.0, 0.5, 99.0]), stamps)
    assert days.astype(str).tolist() == ["2020-01-01", "2020-01-02"]
    assert returns == pytest.approx([0.1, -0.1])
    days, returns = daily_returns(np.array([100.0, 110.0]), stamps[::2].astype("datetime64[D]"))
    assert days.astype(str).tolist() == ["2020-01-02"]
    assert returns == pytest.approx([0.1])


def test_same_record_gives_the_same_bytes(record, full, tmp_path):
    again = write_report(record, tmp_path / "again", claim="claim of a test")
    assert {path.name: path.read_bytes() for path in again} == contents(full)


def test_pictures_are_1200_wide_and_not_blank(full, record):
    from matplotlib.image import imread

    for name in writing.picture_names(record):
        image = imread(full / name)
        assert image.shape[1] == 1200, name
        ink = (image[:, :, :3].min(axis=2) < 0.9).mean(axis=0)
        assert (ink[150:1000] > 0).mean() > 0.9, f"{name} has empty columns"


def test_a_name_stands_where_its_line_ends(record):
    from matplotlib.dates import date2num

    t, n = record.decisions.target.shape
    one, texts = np.ones((t, n)), ("",) * (t * n)
    managed = ManagedPaths(
        2.0 * record.decisions.target, one, one[:, 0], one, one, one[:, 0], one[:, 0], one[:, 0] < 0, texts, texts
    )
    of = dataclasses.replace(record, decisions=dataclasses.replace(record.decisions, managed=managed))
    figure = curves.risk_manager(of, date2num(record.bars.stamps))
    axes = figure.axes[1]
    (name,) = [text for text in axes.texts if text.get_text().startswith("final")]
    assert "50.0% taken" in name.get_text()
    final = axes.lines[0].get_ydata()[-1]
    _, height = axes.transAxes.inverted().transform(axes.transData.transform((0.0, final)))
    assert name.xy[1] == pytest.approx(height, abs=0.02)


def test_tearsheet_needs_no_network_and_says_what_it_shows(full):
    page = (full / "tearsheet.html").read_text(encoding="utf-8")
    assert not re.search(r"<(link|script|iframe|img)\b|@import|url\((?!#)|\bsrc=|onload=", page)
    assert set(re.findall(r'href="(?!#)([^"]*)', page)) <= {"http://quantstats.io"}
    title = re.search(r"<title>(.*?)</title>", page)
    assert title and title[1] == "PARTLY IN SAMPLE · hybrid against equal-weight"
    assert "toy · 2020-01-01 to 2020-03-30 · net of costs: 2 bps a side" in page
    assert page.count("<svg") > 10 and "Sharpe" in page


def test_without_plots_neither_matplotlib_nor_quantstats_is_imported(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import test_report as t; from pathlib import Path;"
        "t.write_report(t.make_record(), Path(sys.argv[3]), plots=False);"
        "print(sorted({'matplotlib', 'quantstats', 'pandas', 'backtrader', 'torch'} & set(sys.modules)))"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(here.parent), str(here), str(tmp_path / "fig")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_run_without_plots_takes_the_earlier_pictures_away_and_nothing_else(record, tmp_path):
    for name in ("trades.png", "tearsheet.html", "run.json", "mine.png"):
        (tmp_path / name).write_text("earlier")
    write_report(record, tmp_path, plots=False)
    assert sorted(contents(tmp_path)) == sorted(["mine.png", "run.json", *(f"{table}.csv" for table in TABLES)])
    assert (tmp_path / "run.json").read_text() != "earlier"


def test_a_failing_picture_leaves_nothing_behind(record, tmp_path, monkeypatch):
    monkeypatch.setitem(writing.PICTURES, "pnl_per_ticker.png", lambda *_: 1 / 0)
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


@pytest.mark.parametrize(
    "record",
    [make_record(every=0.0), make_record(2), make_record(40, minutes=97, pairs=(), in_sample=40)],
    ids=["never traded", "two bars", "intraday without pairs"],
)
def test_bare_runs_are_drawn_too(record, tmp_path):
    told: list[str] = []
    names = {path.name for path in write_report(record, tmp_path, tell=told.append)}
    assert told == [], "quantstats neither failed nor disagreed"
    assert names == set(OUR_FILES) - {"risk.png"} - (set() if record.pairs.names else {"pairs.png"})
    page = (tmp_path / "tearsheet.html").read_text(encoding="utf-8")
    assert ("never vary" in page) == (not record.accounts["hybrid"].fills and record.bars.n_bars > 2)
    assert ("IN SAMPLE" in page) == bool(record.in_sample.all())


def test_a_ruined_account_is_reported(tmp_path):
    record = make_record(30)
    equity = np.concatenate([np.linspace(START, -5.0, 10), np.full(20, -5.0)])
    ruined = dataclasses.replace(record.accounts["hybrid"], equity=equity)
    record = dataclasses.replace(record, accounts={**record.accounts, "hybrid": ruined})
    write_report(record, tmp_path)
    assert rows(tmp_path, "summary_pnl")[0]["cagr"] == "-1.0"
    assert rows(tmp_path, "equity")[-1]["gross_exposure"] == ""
    assert "ruined" in (tmp_path / "tearsheet.html").read_text(encoding="utf-8")


def without_quantstats(folder: Path, how: str) -> str:
    (folder / "quantstats.py").write_text(how)
    return str(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise ModuleNotFoundError(\"No module named 'quantstats'\")", "No module named 'quantstats'"),
        ("import sys; sys.exit(3)", "status 3"),
        ("raise ValueError('a change in some version')", "a change in some version"),
    ],
    ids=["missing", "dead", "broken"],
)
def test_without_quantstats_the_page_is_ours_and_says_why(record, tmp_path, monkeypatch, how, said):
    monkeypatch.syspath_prepend(without_quantstats(tmp_path, how))
    told: list[str] = []
    writing.write_picture(record, "equity_drawdown.png", tmp_path)
    with tearsheet.Tearsheet(record, tmp_path, "claim: none") as sheet:
        page = sheet.finish(told.append).read_text(encoding="utf-8")
    assert len(told) == 1 and said in told[0] and "\n" not in told[0]
    assert "claim: none" in page and "PARTLY IN SAMPLE" in page and "data:image/png;base64," in page
    assert said in page.replace("&#x27;", "'")
    growth = record.accounts["hybrid"].equity[-1] / START - 1  # the record lies within one year
    assert f"<td>2020</td><td>{growth:.2%}</td>".replace("-", "\u2212") in page
    assert not re.search(r"https?:", page)


def test_a_quantstats_that_never_ends_is_ended(record, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(without_quantstats(tmp_path, "import time; time.sleep(60)"))
    monkeypatch.setattr(quantstats_page, "LONGEST_SECONDS", 1.0)
    told: list[str] = []
    with tearsheet.Tearsheet(record, tmp_path) as sheet:
        page = sheet.finish(told.append)
    assert "more than 1 s" in told[0] and "more than 1 s" in page.read_text(encoding="utf-8")


def test_the_first_page_gives_each_metric_twice_and_leaves_nothing_unexplained(full):
    page = (full / "tearsheet.html").read_text(encoding="utf-8")
    first, rest = page.split("</section>", 1)
    assert first.index("claim of a test") < first.index("Cross-check") and "Key Performance Metrics" in rest
    figures = re.findall(r"<tr><td>hybrid</td><td class=\"text\">([^<]*)</td>" + r"<td>([^<]*)</td>" * 4, first)
    assert [row[0] for row in figures] == list(METRICS)
    summary = rows(full, "summary_pnl")[0]
    sharpe = next(row for row in figures if row[0] == "Sharpe")
    assert sharpe[1] == f"{float(summary['sharpe']):.4f}".replace("-", "\u2212")
    assert sharpe[2] == sharpe[3], "quantstats and our formula under its conventions"
    assert "nothing is left unexplained" in first


def test_a_difference_that_conventions_do_not_explain_is_told():
    returns = np.random.default_rng(0).normal(0.0005, 0.01, 500)
    ours = alike(returns, 252)
    wrong = ours | {"Sharpe": ours["Sharpe"] * 1.001}
    found = checks("hybrid", ours, ours, wrong)
    assert [check.metric for check in found if not check.agrees] == ["Sharpe"]
    page = cross_check(found, dict.fromkeys(METRICS, ""))
    assert "DISAGREE" in page and page.count('class="bad"') == 1


def test_the_metrics_under_quantstats_conventions_are_worked_out_by_hand():
    found = alike(np.array([0.1, -0.5, 0.2]), 3)
    assert found["total return"] == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert found["CAGR"] == pytest.approx(found["total return"]), "three periods are one year"
    assert found["max drawdown"] == pytest.approx(-0.5)
    mean = -0.2 / 3
    deviation = math.sqrt(sum((r - mean) ** 2 for r in (0.1, -0.5, 0.2)) / 2)
    assert found["Sharpe"] == pytest.approx(math.sqrt(3) * mean / deviation)
    assert found["Sortino"] == pytest.approx(math.sqrt(3) * mean / math.sqrt(0.25 / 3))


def test_the_symbols_of_the_picture_of_fills_can_be_chosen(record, tmp_path, monkeypatch):
    drawn: list[list[str]] = []
    monkeypatch.setattr(writing, "save", lambda figure, path: drawn.append(_panel_names(figure)))
    for chosen in ((), ("PEP",), ("A$B", "KO", "A$B")):
        writing.write_picture(record, "trades.png", tmp_path, chosen)
    assert [sorted(set(names) & set(SYMBOLS)) for names in drawn] == [sorted(SYMBOLS), ["PEP"], ["A$B", "KO"]]
    assert sum("position" in name for name in drawn[2]) == 2, "a panel of the position below each price"
    with pytest.raises(BarsError, match="did you mean 'PEP'"):
        writing.write_picture(record, "trades.png", tmp_path, ("PEPP",))


def _panel_names(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]
